r"""Which activation learns fastest at equal criticality, and does relu's zero slope help?

Plain classifiers of ten classes of four clusters each, 5 and 20 hidden layers, SGD with momentum. Every
activation has the weights and biases at which wide networks keep gradients (chi_1 = 1) and lengths, q = 1,
from the first layer on; for the sigmoid such a point exists only at q = 45.6. Five of the activations differ
in one number alone, the slope k below zero, at the scale sigma_w^2 = 2 / (1 + k^2). All draw the same weights
and batches and try the same learning rates; the one counts at which most networks reach half of the training
examples right or, at equal numbers, at which the median does so first. The first quarter of the networks
chooses it and the others are compared, so the intervals are those of a rate chosen beforehand.

Measured: updates until then, errors after training; before training the mean activity and the share of slopes
that are exactly 0. Theory: the mean E phi(z) of layer 1 by quadrature; the share of zeros, 1/2 for relu and
none for leaky rectifiers; the cost of an activation as XLA counts it. No theory gives the speed.

Sources: He et al. (2015), arXiv:1502.01852; Clevert, Unterthiner & Hochreiter (2016), arXiv:1511.07289 (elu);
Poole et al. (2016), arXiv:1606.05340 (criticality).
"""

from dataclasses import dataclass
from typing import NamedTuple

from signalprop.bench.engine.errors import InputError, nearest
from signalprop.bench.engine.grid import require_count, require_scale, require_values
from signalprop.bench.experiment import Variable, in_folder
from signalprop.bench.training.settings import require_learning_rates, require_problem

SMOOTH = ("elu", "gelu", "tanh", "sigmoid")


class Racer(NamedTuple):
    """One activation.

    Attributes:
        label: For people.
        family: 0 for rectifiers, else its place in ``SMOOTH`` from 1.
        slope: A rectifier's slope k below 0; not used by the others.
    """

    label: str
    family: int
    slope: float


RACERS = {
    "linear": Racer("linear, $k=1$", 0, 1.0),
    "leaky_0.3": Racer("leaky, $k=0.3$", 0, 0.3),
    "leaky_0.01": Racer("leaky, $k=0.01$", 0, 0.01),
    "relu": Racer("relu, $k=0$", 0, 0.0),
    "abs": Racer("abs, $k=-1$", 0, -1.0),
    **{name: Racer(name, 1 + i, 0.0) for i, name in enumerate(SMOOTH)},
}


@dataclass(frozen=True)
class Settings:
    """Settings of ``activation-race``."""

    depth: tuple[int, ...] = (5, 20)
    """Hidden layers."""
    racer: tuple[str, ...] = tuple(RACERS)
    """Activations."""
    learning_rate: tuple[float, ...] = (0.001, 0.003, 0.01)
    """Learning rates, the same for every activation."""
    momentum: float = 0.9
    """Momentum of SGD, below 1."""
    data: str = "gm10_plus_centred"
    """Classification problem; every input is scaled to one length."""
    width: int = 32
    """Units of every hidden layer."""
    batch_size: int = 16
    """Examples per update."""
    updates: int = 600
    """Updates of every network."""
    records: int = 60
    """Points of the learning curves; divides the updates."""
    seeds: int = 8
    """Networks per setting."""
    seed: int = 0
    """Root of all random numbers."""
    dtype: str = "float32"
    """Floating-point type."""

    def __post_init__(self) -> None:
        """Refuse settings that cannot be run."""
        require_problem(self.data)
        require_values("racer", self.racer)
        for name in self.racer:
            if name not in RACERS:
                raise InputError(f"racer: no {name!r}; {nearest(name, RACERS)}")
        require_learning_rates(self.learning_rate)
        require_scale("momentum", (self.momentum,))
        if self.momentum >= 1:
            raise InputError(f"momentum: got {self.momentum}; write a number below 1")
        for axis in ("depth", "width", "batch_size", "updates", "records"):
            value = getattr(self, axis)
            require_count(axis, value if isinstance(value, tuple) else (value,))
        if self.updates % self.records:
            raise InputError(f"records: got {self.records}; write a divisor of the {self.updates} updates")


SIZES = {
    "quick": Settings(
        depth=(5,), racer=("linear", "leaky_0.3", "relu", "elu", "tanh"), learning_rate=(0.003,),
        updates=200, records=20, seeds=2,
    ),
    "standard": Settings(),
    "full": Settings(
        depth=(2, 10, 30, 100), learning_rate=(0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03), width=128,
        batch_size=64, updates=5000, records=100, seeds=20,
    ),
}  # fmt: skip


EXPERIMENT = in_folder(
    __name__,
    SIZES,
    {
        "mean_activity": Variable((), "mean activity of layer 1 before training"),
        "zero_slopes": Variable((), "share of slopes of layer 1 that are exactly 0 before training"),
        "accuracy": Variable(("update",), "training accuracy, mean over a record that ends at the update"),
        "test_accuracy": Variable((), "accuracy on examples not trained on"),
        "diverged_at": Variable((), "update at which the run left float range; 0: never"),
    },
)
