r"""Why do deep relu networks stall with Xavier's weights, and what exactly was lost?

Relu classifiers of 22 and 30 hidden layers on ten Gaussian classes, trained by SGD with momentum as in
figures 2 and 3 of He et al. (2015), arXiv:1502.01852, with the same draws and batches for every start:

* ``he``: weights of variance 2 / fan_in;
* ``xavier``: 1 / fan_in, Xavier's variance on square layers;
* ``xavier_rescaled``: those weights, with the input multiplied by 2^(L/2);
* ``xavier_frozen``: those weights, with all biases kept at 0.

Every start gets the same learning rates: two that suit He's networks and 1e5, because a small signal may
want a large rate; with none between, "best" means the best of these. A network has begun to learn when its
training accuracy, the mean over a record of updates, reaches twice chance; the rate that counts is the one at
which most networks begin or, at equal numbers, at which the median begins first. It is chosen on the networks
that are counted, so the intervals of shares hold for all rates at once (0.05 / rates each).

Theory: without biases a relu network is homogeneous, so Xavier's activities are He's times 2^(-l/2): every
direction is kept, and only the size is lost. With V = sqrt(2) W, Xavier's network with an input (or an
output) 2^(L/2) times larger *is* He's, whose hidden layers learn at twice the rate. The size of He's own
signal has an exact law at finite width (Hanin & Nica, arXiv:1812.05994). No theory here gives the number of
successes.
"""

from dataclasses import dataclass
from typing import NamedTuple

from signalprop.bench.engine.errors import InputError, nearest
from signalprop.bench.engine.grid import require_count, require_scale, require_values
from signalprop.bench.experiment import Variable, in_folder
from signalprop.bench.training.settings import require_learning_rates, require_problem


class Start(NamedTuple):
    """How a relu network of L hidden layers begins.

    Attributes:
        label: For people.
        sigma_w: Square root of fan_in times the variance of the weights.
        power: The input is multiplied by 2^(power L / 2).
        bias_rate: Factor of the biases' learning rate; 0 freezes them.
    """

    label: str
    sigma_w: float
    power: float
    bias_rate: float


STARTS = {
    "xavier": Start("Xavier", 1.0, 0.0, 1.0),
    "he": Start("He", 2**0.5, 0.0, 1.0),
    "xavier_rescaled": Start(r"Xavier, input $\times 2^{L/2}$", 1.0, 1.0, 1.0),
    "xavier_frozen": Start("Xavier, biases frozen", 1.0, 0.0, 0.0),
}


@dataclass(frozen=True)
class Settings:
    """Settings of ``he-training``."""

    depth: tuple[int, ...] = (22, 30)
    """Hidden layers."""
    start: tuple[str, ...] = tuple(STARTS)
    """How networks begin: xavier, he, xavier_rescaled, xavier_frozen."""
    learning_rate: tuple[float, ...] = (0.003, 0.01, 1e5)
    """Learning rates, the same for every start."""
    momentum: float = 0.9
    """Momentum of SGD, below 1."""
    data: str = "gm10"
    """Classification problem."""
    width: int = 32
    """Units of every hidden layer."""
    batch_size: int = 16
    """Examples per update."""
    updates: int = 2000
    """Updates of every network."""
    records: int = 40
    """Points of the learning curves; divides the updates."""
    seeds: int = 10
    """Networks per setting."""
    seed: int = 0
    """Root of all random numbers."""
    dtype: str = "float32"
    """Floating-point type."""

    def __post_init__(self) -> None:
        """Refuse settings that cannot be run."""
        require_problem(self.data)
        require_values("start", self.start)
        for name in self.start:
            if name not in STARTS:
                raise InputError(f"start: no {name!r}; {nearest(name, STARTS)}")
        require_learning_rates(self.learning_rate)
        require_scale("momentum", (self.momentum,))
        if self.momentum >= 1:
            raise InputError(f"momentum: got {self.momentum}; write a number below 1")
        require_count("depth", self.depth, 3)
        for axis in ("width", "batch_size", "updates", "records"):
            require_count(axis, (getattr(self, axis),))
        if self.updates % self.records:
            raise InputError(f"records: got {self.records}; write a divisor of the {self.updates} updates")


SIZES = {
    "quick": Settings(
        depth=(22,), start=("xavier", "he", "xavier_rescaled"), learning_rate=(0.003, 1e5), updates=600,
        records=12, seeds=3,
    ),
    "standard": Settings(),
    "full": Settings(
        learning_rate=tuple(10.0**k for k in range(-4, 6)), width=64, batch_size=64, updates=10_000,
        records=100, seeds=20,
    ),
}  # fmt: skip


EXPERIMENT = in_folder(
    __name__,
    SIZES,
    {
        "log_signal": Variable(("layer",), "log |y^l| / |x| before training, mean over examples", "nat"),
        "direction_gap": Variable((), "largest distance of unit activities of the top layer from He's"),
        "log_gradient": Variable(("layer",), "log |dE/dW^l| before training", "nat"),
        "accuracy": Variable(("update",), "training accuracy, mean over a record that ends at the update"),
        "loss": Variable(("update",), "training loss, mean over a record", "nat"),
        "test_accuracy": Variable((), "accuracy on examples not trained on"),
        "diverged_at": Variable((), "update at which the run left float range; 0: never"),
        "twin_gap": Variable((), "largest difference of the twins' losses over ten updates", "nat"),
    },
)
