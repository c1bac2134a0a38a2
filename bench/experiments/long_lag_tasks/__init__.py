r"""Which recurrent networks learn to use what they saw many steps ago?

Recurrent networks, with and without gates, are trained on sequence tasks whose answer depends on early steps:
the adding problem, temporal order, copying and digits shown a row or a pixel at a time
(``bench.training.tasks`` has rules and sources). Every network of a task gets the same sequences, optimizer,
number of updates and learning rates, once with the gradient's norm clipped and once without. The better
learning rate counts, where more seeds solve the task or, at equal numbers, with the smaller median loss. At
the standard size there is one rate for all, 0.001: of 0.001 and 0.003 the better for tanh and IRNN in a pilot
on the adding problem with two seeds. No network was tuned by itself, and Omega keeps the weight of 4 that its
authors used with plain gradient descent.

Measured on sequences that training never saw: whether the task is solved, by the criterion of its source. And
during training the loss, the norm of the gradient, how often clipping engaged and whether the run diverged;
before and after it, how the gradient of the last answer shrinks with the lag.

Theory: the loss at chance; whether a network can be trained at all is said to depend on its exponent, the
slope of the gradient by lag at initialization, so that is ranked against the final loss. No theory gives the
number of successes.

Sources: Hochreiter & Schmidhuber (1997), Neural Computation 9(8); Pascanu, Mikolov & Bengio (2013),
arXiv:1211.5063 (clipping, Omega, figure 7); Le, Jaitly & Hinton (2015), arXiv:1504.00941 (IRNN); Arjovsky,
Shah & Bengio (2016), arXiv:1511.06464 (copying); Jozefowicz, Zaremba & Sutskever (2015), ICML 37.
"""

from dataclasses import dataclass

from signalprop.bench.engine.errors import InputError, nearest
from signalprop.bench.engine.grid import require_count, require_scale, require_values
from signalprop.bench.experiment import Variable, in_folder
from signalprop.bench.training.remedies import REMEDIES, remedy
from signalprop.bench.training.settings import task_and_length

OPTIMIZERS = ("adam", "rmsprop", "sgd")  # of optax


@dataclass(frozen=True)
class Settings:
    """Settings of ``long-lag-tasks``."""

    task: tuple[str, ...] = ("adding-20",)
    """Tasks with their length T, as ``adding-50``; digits have a length of their own, as ``digits_rows``."""
    network: tuple[str, ...] = ("tanh", "irnn", "lstm_1997", "lstm_forget_0", "lstm_forget_1")
    """Networks of ``bench.training.remedies``, or any cell of ``models.cells``."""
    learning_rate: tuple[float, ...] = (0.003,)
    """Learning rates; the better one counts."""
    clip_norm: tuple[float, ...] = (0.0, 1.0)
    """Norms to which gradients are clipped; 0: no clipping."""
    optimizer: str = "adam"
    """Optimizer: adam, rmsprop or sgd."""
    units: int = 32
    """Hidden units."""
    batch_size: int = 16
    """Sequences per update."""
    updates: int = 300
    """Updates of every network."""
    records: int = 20
    """Points of the learning curves; divides the updates."""
    test_size: int = 500
    """Sequences that a trained network is judged on."""
    seeds: int = 3
    """Networks per setting."""
    seed: int = 0
    """Root of all random numbers."""
    dtype: str = "float32"
    """Floating-point type."""

    def __post_init__(self) -> None:
        """Refuse settings that cannot be run."""
        for name in self.task:
            task_and_length(name)
        for name in self.network:
            remedy(name)
        require_values("network", self.network)
        require_scale("clip_norm", self.clip_norm)
        require_scale("learning_rate", self.learning_rate)
        if min(self.learning_rate) == 0:
            raise InputError("learning_rate: got 0; write rates above 0")
        if self.optimizer not in OPTIMIZERS:
            raise InputError(f"optimizer: no {self.optimizer!r}; {nearest(self.optimizer, OPTIMIZERS)}")
        for axis in ("units", "batch_size", "updates", "records", "test_size"):
            require_count(axis, (getattr(self, axis),))
        if self.updates % self.records:
            raise InputError(f"records: got {self.records}; write a divisor of the {self.updates} updates")


SIZES = {
    "quick": Settings(),
    "standard": Settings(
        task=("adding-50", "temporal_order-20", "copying-10", "digits_rows"),
        network=tuple(name for name in REMEDIES if name != "minimal_rnn"),
        learning_rate=(0.001,),
        units=40,
        updates=2000,
        records=40,
        test_size=1000,
        seeds=6,
    ),
    "full": Settings(
        network=tuple(REMEDIES),
        task=(
            *(f"adding-{length}" for length in (50, 100, 200, 400)),
            *(f"temporal_order-{length}" for length in (20, 50, 100, 200)),
            *(f"copying-{length}" for length in (20, 100, 200)),
            "digits_rows",
            "digits_pixels",
        ),
        learning_rate=(0.0003, 0.001, 0.003),
        units=100,
        batch_size=20,
        updates=20_000,
        records=100,
        test_size=10_000,
        seeds=20,
    ),
}


EXPERIMENT = in_folder(
    __name__,
    SIZES,
    {
        "test_loss": Variable((), "loss on sequences not trained on"),
        "correct": Variable((), "share of right answers on them"),
        "solved": Variable((), "1 if the task is solved"),
        "curve": Variable(("update",), "training loss without regulariser, mean around the update"),
        "log_gradient_norm": Variable(("update",), "log of the gradient norm before clipping", "nats"),
        "clip_rate": Variable(("update",), "share of updates that were clipped"),
        "diverged_at": Variable((), "update at which the run left float range; 0: never"),
        "lag_before": Variable(("lag",), "log gradient by lag over that at lag 0, untrained", "nats"),
        "lag_after": Variable(("lag",), "log gradient by lag over that at lag 0, trained", "nats"),
    },
)
