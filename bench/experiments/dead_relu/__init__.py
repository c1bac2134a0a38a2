r"""When do units die in training, and do they come back?

A unit is dead if its slope phi'(z) is exactly 0 on every training example. Classifiers of a few hidden layers
are trained on an uncentred, pixel-like problem and on the same one centred, by plain gradient descent and the
usual optimizers, at learning rates up to those where nothing is learned; beside relu, leaky relu, ELU and
batch norm. Every network gets the same number of learning rates, the same multiples of a largest one
(``RECTIFIERS``: found in a pilot with two seeds, save for three networks that take that of plain
descent), and the same seeds; no rate is chosen afterwards.

Measured on the whole training set, at a stride: the share of dead units of every layer; deaths and revivals
between two looks; the largest gradient of the weights of a dead unit; at the end the accuracy, or the step at
which training diverged. And before training the dead units by initial bias.

Theory: the weights of a dead unit get the gradient 0, exactly. In layer 1, whose inputs do not move, plain
gradient descent leaves it dead for ever; in the layers above other weights move its inputs, and it may come
back; momentum may carry it out of the dead zone anywhere. Leaky relu has no zero slope, batch norm at shift 0
leaves every unit active on some example. No theory gives the share of deaths by learning rate.

Sources: Karpathy, "Yes you should understand backprop" (2016); CS231n, "Commonly used activation functions":
"as much as 40% of your network can be dead if the learning rate is set too high"; Ioffe & Szegedy (2015),
arXiv:1502.03167.
"""

from dataclasses import dataclass
from typing import NamedTuple

from signalprop.bench.engine.errors import InputError
from signalprop.bench.engine.grid import require_count, require_finite, require_known
from signalprop.bench.experiment import Variable, in_folder
from signalprop.bench.training.settings import require_learning_rates, require_problem


class Rectifier(NamedTuple):
    """A network with the way it is trained.

    Attributes:
        label: For people.
        largest_rate: Largest learning rate tried, one at which hardly any of its networks learns. Found in a
            pilot with two seeds (of Adagrad and RMSProp with optax's own, whose epsilon is another), except
            for leaky relu, 8 layers and quarter width: theirs is that of SGD, not piloted. All others are
            the same multiples of it.
        optimizer: Name in ``optimizers.OPTIMIZERS``.
        activation: Name in ``activations.ACTIVATIONS``.
        norm: Name in ``normalization.NORMS``.
        depth: Hidden layers.
        narrower: What the width of the settings is divided by.
    """

    label: str
    largest_rate: float
    optimizer: str = "sgd"
    activation: str = "relu"
    norm: str = "none"
    depth: int = 3
    narrower: int = 1

    @property
    def frozen(self) -> bool:
        """Whether a dead unit of layer 1 stays as it is, exactly: relu, no norm, plain gradient descent."""
        return (self.optimizer, self.activation, self.norm) == ("sgd", "relu", "none")


RECTIFIERS = {
    "sgd": Rectifier("SGD", 4.0),
    "heavy_ball": Rectifier("SGD with momentum", 1.0, optimizer="heavy_ball"),
    "adagrad": Rectifier("Adagrad", 4.0, optimizer="adagrad"),
    "rmsprop": Rectifier("RMSProp", 0.4, optimizer="rmsprop"),
    "adam": Rectifier("Adam", 0.4, optimizer="adam"),
    "leaky_relu": Rectifier("leaky relu", 4.0, activation="leaky_relu"),
    "elu": Rectifier("ELU", 4.0, activation="elu"),
    "batch_norm": Rectifier("batch norm, relu", 32.0, norm="batch"),
    "deep": Rectifier("8 layers", 4.0, depth=8),
    "narrow": Rectifier("quarter width", 4.0, narrower=4),
}


@dataclass(frozen=True)
class Settings:
    """Settings of ``dead-relu``."""

    network: tuple[str, ...] = ("sgd", "adam")
    """Networks with their training, of ``RECTIFIERS``."""
    rate: tuple[float, ...] = (1 / 16, 1 / 4, 1 / 2, 1)
    """Learning rates, over the largest one of each network."""
    centred: tuple[int, ...] = (0, 1)
    """Whether every feature's mean is subtracted: 0 no, 1 yes."""
    bias: tuple[float, ...] = (0.0, -0.5, -1.0, -2.0, -4.0)
    """Initial biases whose dead units are counted before training; all training starts at 0."""
    data: str = "gm10_plus"
    """Problem of ``bench.training.classification``."""
    width: int = 32
    """Units of a hidden layer."""
    batch_size: int = 64
    """Examples per update."""
    success: float = 0.5
    """Share of right answers on the training set above which a network has learned."""
    updates: int = 120
    """Updates of every network."""
    records: int = 4
    """Looks at the network before the last one; divides the updates."""
    seeds: int = 3
    """Networks per setting."""
    seed: int = 0
    """Root of all random numbers."""
    dtype: str = "float32"
    """Floating-point type."""

    def __post_init__(self) -> None:
        """Refuse settings that cannot be run."""
        require_known("network", self.network, RECTIFIERS)
        require_learning_rates(self.rate, "rate")
        require_finite("bias", self.bias)
        require_problem(self.data)
        if not set(self.centred) <= {0, 1}:
            raise InputError(f"centred: got {self.centred}; write 0, 1 or both")
        if not 0 <= self.success < 1:
            raise InputError(f"success: got {self.success}; write a share from 0 to below 1")
        for axis in ("batch_size", "updates", "records", "seeds"):
            require_count(axis, (getattr(self, axis),))
        require_count("width", (self.width,), max(RECTIFIERS[name].narrower for name in self.network))
        if self.updates % self.records:
            raise InputError(f"records: got {self.records}; write a divisor of the {self.updates} updates")


SIZES = {
    "quick": Settings(),
    "standard": Settings(
        network=tuple(RECTIFIERS),
        rate=tuple(2.0**k for k in (-5, -4, -3, -2.5, -2, -1.5, -1, 0)),
        width=64,
        updates=240,
        records=6,
        seeds=8,
    ),
    "full": Settings(
        network=tuple(RECTIFIERS),
        rate=tuple(2.0 ** (k / 2) for k in range(-15, 1)),
        width=128,
        updates=3000,
        records=15,
        seeds=20,
    ),
}


EXPERIMENT = in_folder(
    __name__,
    SIZES,
    {
        "dead": Variable(("update", "layer"), "share of units never active on the training set"),
        "deaths": Variable(("layer",), "units that died between two looks"),
        "revivals": Variable(("layer",), "dead units that were active again at the next look"),
        "dead_gradient": Variable(("layer",), "largest gradient entry of a dead unit's weights and bias"),
        "accuracy": Variable((), "share of right answers on the training set"),
        "learned": Variable((), "1 if that is above the success level and the run stayed finite"),
        "diverged_at": Variable((), "update at which the run left float range; 0: never"),
        "dead_by_bias": Variable(("initial_bias", "layer"), "share of dead units before training"),
    },
)
