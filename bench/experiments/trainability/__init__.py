r"""How deep can a network be and still be trained?

Tanh networks of many depths and weight scales are trained by plain gradient descent, and the share of
training examples that they get right is looked at after given numbers of steps: figure 5 of Schoenholz et al.
Every network has the same learning rate and number of steps; nothing is chosen by the outcome of a network.
The trainable depth is where the accuracy falls through a threshold, interpolated between depths of the grid.

Theory: a layer multiplies the distance of two inputs, 1 - c, by about exp(-1 / xi_c), so that the network
forgets what its input was; figure 5 says that training reaches 6 xi_c. The same Jacobians multiply squared
gradients by chi_1 per layer, in either direction of differentiation. Both are measured in networks of the
largest depth before training, in float64.

The learning rate of 0.02 was picked among 0.007 to 0.2 in a pilot with one network per point, while looking
at depth / xi_c: 300 steps reach the largest depths with it; a smaller one is slower, 0.1 diverges at depth.
So the multiple is not free of choices. Two criteria were set beforehand: the median over both phases between
4.5 and 7.5, and a rank correlation with min(6 xi_c, largest depth) above 0.9. The ordered phase was judged
apart after the first was known to fail.

Sources: Schoenholz, Gilmer, Ganguli & Sohl-Dickstein (2017), arXiv:1611.01232, figures 3 to 5; Poole et al.
(2016), arXiv:1606.05340 (chaos). The paper has width 300, learning rate 0.001 and up to 14,000 steps on
MNIST; it names no threshold.
"""

from dataclasses import dataclass

import numpy as np

from signalprop.bench.engine.errors import InputError
from signalprop.bench.engine.grid import require_count, require_known, require_scale
from signalprop.bench.experiment import Variable, in_folder
from signalprop.bench.measure.names import INPUTS
from signalprop.bench.training.settings import PROBLEMS, require_learning_rates
from signalprop.models.names import ACTIVATIONS


@dataclass(frozen=True)
class Settings:
    """Settings of ``trainability``."""

    data: tuple[str, ...] = ("gm10",)
    """Training examples, by their name in ``bench.training.classification``."""
    depth: tuple[int, ...] = (10, 30)
    """Numbers of hidden layers, increasing."""
    sigma_w_squared: tuple[float, ...] = (1.0, 1.75, 2.5, 4.0)
    """Variance of the weights times fan-in."""
    sigma_b: float = 0.05**0.5
    """Standard deviation of the biases."""
    activation: str = "tanh"
    """Activation."""
    width: int = 32
    """Units of every hidden layer."""
    learning_rate: float = 0.02
    """Of plain gradient descent, for every network."""
    batch_size: int = 32
    """Examples per step."""
    steps: int = 120
    """Steps of every network."""
    snapshots: int = 2
    """Accuracy is looked at so often, at equal distances; divides the steps."""
    watched: int = 256
    """Training examples whose accuracy is looked at."""
    threshold: float = 0.5
    """Accuracy above which a network counts as trained."""
    networks: int = 12
    """Untrained networks of the largest depth whose gradient is followed, for every weight scale."""
    seeds: int = 1
    """Trained networks per setting."""
    seed: int = 0
    """Root of all random numbers."""
    dtype: str = "float32"
    """Floating-point type."""

    def __post_init__(self) -> None:
        """Refuse settings that cannot be run."""
        require_known("data", self.data, (*PROBLEMS, *INPUTS[1:]))
        require_known("activation", (self.activation,), ACTIVATIONS)
        require_count("depth", self.depth)
        if list(self.depth) != sorted(set(self.depth)):
            raise InputError(f"depth: got {' '.join(map(str, self.depth))}; write them in increasing order")
        for axis in ("width", "batch_size", "steps", "snapshots", "watched"):
            require_count(axis, (getattr(self, axis),))
        require_count("networks", (self.networks,), 2)
        require_scale("sigma_w_squared", self.sigma_w_squared)
        if min(self.sigma_w_squared) == 0:
            raise InputError("sigma_w_squared: got 0; write variances above 0")
        require_scale("sigma_b", (self.sigma_b,))
        require_learning_rates((self.learning_rate,))
        if not 0 < self.threshold < 1:
            raise InputError(f"threshold: got {self.threshold}; write an accuracy between 0 and 1")
        if self.steps % self.snapshots:
            raise InputError(f"snapshots: got {self.snapshots}; write a divisor of the {self.steps} steps")


SIZES = {
    "quick": Settings(),
    "standard": Settings(
        data=("gm10", "digits"),
        depth=(4, 8, 12, 16, 20, 24, 28, 32, 38, 44, 50, 58, 68, 80),
        sigma_w_squared=tuple(np.linspace(1, 4, 25).tolist()),
        width=64,
        steps=300,
        snapshots=3,
        watched=512,
        networks=80,
    ),
    "full": Settings(
        data=("gm10", "digits", "mnist", "cifar10"),
        depth=tuple(range(10, 301, 10)),
        sigma_w_squared=tuple(np.linspace(1, 4, 31).tolist()),
        width=300,
        learning_rate=0.001,
        batch_size=128,
        steps=14_000,
        snapshots=70,
        watched=2048,
        networks=24,
        seeds=3,
    ),
}


EXPERIMENT = in_folder(
    __name__,
    SIZES,
    {
        "accuracy": Variable(("step",), "share of watched training examples that are right after the step"),
        "loss": Variable(("step",), "mean training loss over the steps up to this one", "nats"),
        "log_moved": Variable((), "log of the first kernel's change over its size", "nats"),
        "diverged_at": Variable((), "step at which the run left float range; 0: never"),
        "log_distance": Variable(("layer",), "log of 1 - c of two inputs, untrained", "nats"),
        "log_delta": Variable(("layer",), "log of |delta^l| / |delta^L|, untrained", "nats"),
        "forward_rate": Variable(("network",), "change of log (1 - c) per layer", "nats"),
        "gradient_rate": Variable(("network",), "change of log |delta|^2 per layer down", "nats"),
        "product": Variable(("way", "network"), "v^T J u / |J u| in three ways"),
    },
)
