r"""How often is a relu network dead before training, and is it still dead after it?

A relu network is born dead if at every input some layer has no active unit: it is constant, and no gradient
gets below that layer. Networks of equal layers start in four ways: He's normal weights without biases, the
same at Xavier's scale, He's with biases of the weights' variance, and randomized asymmetric. Many are only
drawn and tested on points of the cube [-sqrt 3, sqrt 3]^d, at all depths in one pass; some, of one depth, are
then trained to fit |x| and tested again.

Theory: a layer of N units is off at a given input with probability 2^-N, so a network of L hidden layers is
dead there with probability 1 - (1 - 2^-N)^L, exactly, whatever the scale and with or without biases. To be
dead everywhere is rarer: at most 1 - (1 - 2^-N)^(L-1) without biases, and for one input feature at least
1 - (1 - 4^-N)^(L-1). And a unit of layer 1 is off on n examples of mean m and deviation s with probability
E Phi(-t m/s)^n, t = sqrt(d) times a coordinate on the sphere; at m = 0 that is 2^-n.

Sources: Lu, Shin, Su & Karniadakis (2019), arXiv:1903.06733 (born dead networks, asymmetric initialization).
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

from signalprop.bench.engine.grid import require_count, require_known, require_scale
from signalprop.bench.experiment import Variable, in_folder
from signalprop.bench.training.settings import require_learning_rates

SPREAD = 0.6007  # of the normal entries of an asymmetric start, times 1 / sqrt(fan_in)


class Start(NamedTuple):
    """How a layer is drawn, in numbers that may be traced, so that all starts share a program and its draws.

    Attributes:
        sigma_w: Scale of the weights.
        bias: Standard deviation of the biases over that of the weights.
        asymmetric: 1 if one entry of every unit is made positive, else 0.
    """

    sigma_w: Any
    bias: Any
    asymmetric: Any


STARTS = {
    "he": Start(2**0.5, 0.0, 0.0),
    "xavier": Start(1.0, 0.0, 0.0),
    "he_with_biases": Start(2**0.5, 1.0, 0.0),
    "asymmetric": Start(SPREAD, 1.0, 1.0),
}
FEWEST_POINTS = 32  # so many are on one side of a plane through 0 with probability 2^-31: bounds need both


@dataclass(frozen=True)
class Settings:
    """Settings of ``born-dead``."""

    width: tuple[int, ...] = (3,)
    """Units N of a hidden layer."""
    start: tuple[str, ...] = tuple(STARTS)
    """How weights and biases are drawn."""
    depth: int = 50
    """Largest number of hidden layers of the networks that are only drawn."""
    networks: int = 25
    """Networks drawn beside every trained one."""
    points: int = 64
    """Inputs on which a network is tested."""
    ratio: tuple[float, ...] = (0.0, 0.5, 1.0, 2.0, 4.0)
    """Mean over standard deviation of the examples on which units of layer 1 are tested."""
    examples: tuple[int, ...] = (1, 2, 4, 8, 16, 64, 256, 1024)
    """Numbers n of those examples."""
    fit_depth: int = 9
    """Hidden layers of the trained networks; ten layers with the read-out."""
    learning_rate: float = 0.001
    """Learning rate of Adam."""
    batch_size: int = 64
    """Inputs per update."""
    updates: int = 100
    """Updates of the trained networks."""
    seeds: int = 24
    """Trained networks per setting."""
    seed: int = 0
    """Root of all random numbers."""
    dtype: str = "float32"
    """Floating-point type."""

    def __post_init__(self) -> None:
        """Refuse settings that cannot be run."""
        require_count("width", self.width, 2)
        require_known("start", self.start, STARTS)
        require_scale("ratio", self.ratio)
        require_count("examples", self.examples)
        require_learning_rates((self.learning_rate,))
        for axis in ("depth", "fit_depth"):
            require_count(axis, (getattr(self, axis),), 2)
        for axis in ("networks", "batch_size", "updates", "seeds"):
            require_count(axis, (getattr(self, axis),))
        require_count("points", (self.points,), FEWEST_POINTS)


SIZES = {
    "quick": Settings(),
    "standard": Settings(width=(2, 3, 5, 10, 20), depth=100, networks=10, updates=500, seeds=200),
    "full": Settings(
        width=(2, 3, 5, 10, 20), depth=100, networks=20, updates=10_000, batch_size=128, seeds=1000
    ),
}


EXPERIMENT = in_folder(
    __name__,
    SIZES,
    {
        "dead_at_input": Variable(("network", "features"), "first layer that is off at one input; 0: none"),
        "dead_at_all": Variable(("network", "features"), "depth at which every input is dead; 0: none"),
        "unit_dead": Variable(("ratio", "examples"), "share of units of layer 1 off on all examples"),
        "collapsed_before": Variable((), "1 if the network to be trained is constant"),
        "collapsed": Variable((), "1 if it is constant after training"),
        "loss": Variable((), "mean square error after training"),
    },
)
