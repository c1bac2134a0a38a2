r"""Does batch norm make the loss smoother along the gradient, and training faster?

Relu classifiers of five hidden layers train by stochastic gradient descent: plain, with batch norm before
every activation, and with batch norm followed by noise whose mean and scale change from step to step, which
brings back the shifts of distribution that the norm was thought to remove. During training the loss and its
gradient are looked at along the gradient: the range of the loss over steps of 0.05 to 0.4 times the gradient,
the relative change of the gradient, and its change per distance moved (effective beta-smoothness). All start
at He's scale, where the plain network keeps its signal, and at the smaller default of a common framework,
variance 1/3 over the fan-in. The better learning rate counts: the one with the smaller median final loss.

Sources: Santurkar, Tsipras, Ilyas & Madry (2018), arXiv:1805.11604, figures 2 and 4; Ioffe & Szegedy (2015),
arXiv:1502.03167.
"""

from dataclasses import dataclass

from signalprop.bench.engine.errors import InputError
from signalprop.bench.engine.grid import require_count, require_known, require_scale
from signalprop.bench.experiment import Variable, in_folder
from signalprop.bench.measure.names import INPUTS
from signalprop.bench.training.settings import PROBLEMS, require_learning_rates

NETWORKS = {"plain": "plain", "batch_norm": "batch norm", "noisy_batch_norm": "batch norm + noise"}


@dataclass(frozen=True)
class Settings:
    """Settings of ``loss-landscape``."""

    network: tuple[str, ...] = tuple(NETWORKS)
    """Networks: plain, batch_norm or noisy_batch_norm."""
    sigma_w2: tuple[float, ...] = (1 / 3, 2.0)
    """Variances of the weights times the fan-in."""
    learning_rate: tuple[float, ...] = (0.1,)
    """Learning rates; the better one counts."""
    data: str = "digits"
    """Data set."""
    depth: int = 5
    """Hidden layers."""
    width: int = 50
    """Units of each."""
    batch_size: int = 64
    """Examples per update, at least two."""
    updates: int = 60
    """Updates of every network."""
    records: int = 10
    """Steps at which the loss is looked at; divides the updates."""
    seeds: int = 2
    """Networks per setting."""
    seed: int = 0
    """Root of all random numbers."""
    dtype: str = "float32"
    """Floating-point type."""

    def __post_init__(self) -> None:
        """Refuse settings that cannot be run."""
        require_known("network", self.network, NETWORKS)
        require_known("data", (self.data,), (*PROBLEMS, *INPUTS))
        require_scale("sigma_w2", self.sigma_w2)
        require_learning_rates(self.learning_rate)
        require_count("batch_size", (self.batch_size,), 2)
        for axis in ("depth", "width", "updates", "records"):
            require_count(axis, (getattr(self, axis),))
        if self.updates % self.records:
            raise InputError(f"records: got {self.records}; write a divisor of the {self.updates} updates")


SIZES = {
    "quick": Settings(),
    "standard": Settings(learning_rate=(0.03, 0.1, 0.3), width=100, updates=300, records=30, seeds=8),
    "full": Settings(
        learning_rate=(0.01, 0.03, 0.1, 0.3), width=100, batch_size=128, updates=3000, records=300, seeds=20
    ),
}


EXPERIMENT = in_folder(
    __name__,
    SIZES,
    {
        "loss": Variable(("update",), "training loss, mean over the updates of a record", "nats"),
        "loss_range": Variable(("update",), "range of the loss along the gradient", "nats"),
        "gradient_change": Variable(("update",), "largest relative change of the gradient there"),
        "smoothness": Variable(("update",), "largest change of the gradient per distance moved"),
        "diverged_at": Variable((), "update at which the run left float range; 0: never"),
    },
)
