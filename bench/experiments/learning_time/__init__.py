r"""Does it take longer to train a deeper network?

Deep linear networks learn a target from whitened inputs, tanh networks learn to classify. Their weights start
orthogonal or Gaussian, both at the critical scale: tanh networks at a small length q* = 1/16, where they are
nearly linear, and at q* = 1, with inputs scaled to keep that length. Learning time: steps until the loss of
the linear network is 0.1 % of that of the answer 0, or until 95 % of the examples of five batches are
classified rightly; at the learning rate with the smallest median over networks, of the same rates for every
start and depth.

Theory: from orthogonal weights the learning time of linear networks does not grow with depth, at learning
rates that fall as 1 / L (Saxe et al.). From a decoupled start each mode follows a differential equation in
one variable. The squared singular values of the Jacobian have relative variance L (mu_2 / mu_1^2 - 1 - s_1)
with s_1 = -1 for Gaussian and 0 for orthogonal weights, and learning is said to be fast where it is small
(Pennington et al.).

Sources: Saxe, McClelland & Ganguli (2013), arXiv:1312.6120, figures 4 and 6; Pennington, Schoenholz & Ganguli
(2017), arXiv:1711.04735.
"""

from dataclasses import dataclass

import numpy as np

from signalprop.bench.engine.errors import InputError
from signalprop.bench.engine.grid import require_count, require_known
from signalprop.bench.experiment import Variable, in_folder
from signalprop.bench.training.settings import require_learning_rates

LENGTHS = {"linear": 1.0, "tanh_small": 1 / 16, "tanh_large": 1.0}  # q* of every network
OUTPUTS = 8  # of the linear network
STRIDE = 5  # steps over which these examples are counted


@dataclass(frozen=True)
class Settings:
    """Settings of ``learning-time``."""

    network: tuple[str, ...] = ("linear",)
    """Networks: linear, tanh_small (q* = 1/16) and tanh_large (q* = 1)."""
    depth: tuple[int, ...] = (3, 10)
    """Numbers of hidden layers."""
    learning_rate: tuple[float, ...] = tuple(np.geomspace(0.04, 0.32, 4).tolist())
    """Rates of plain gradient descent; the best one of every network, depth and start counts."""
    width: int = 24
    """Units of every hidden layer, and of the linear networks' input."""
    steps: int = 200
    """Largest number of steps."""
    data: str = "gm10"
    """What tanh networks classify, by its name in ``bench.training.classification``."""
    batch_size: int = 32
    """Examples per step."""
    seeds: int = 2
    """Networks per setting."""
    seed: int = 0
    """Root of all random numbers."""
    dtype: str = "float32"
    """Floating-point type."""

    def __post_init__(self) -> None:
        """Refuse settings that cannot be run."""
        require_known("network", self.network, LENGTHS)
        require_count("depth", self.depth)
        require_learning_rates(self.learning_rate)
        for axis in ("width", "steps", "batch_size"):
            require_count(axis, (getattr(self, axis),), OUTPUTS)
        if self.steps % STRIDE:
            raise InputError(f"steps: got {self.steps}; write a multiple of {STRIDE}")


SIZES = {
    "quick": Settings(),
    "standard": Settings(
        network=tuple(LENGTHS),
        depth=(3, 8, 20, 50),
        learning_rate=tuple(np.geomspace(0.02, 1.28, 7).tolist()),
        width=48,
        steps=300,
        seeds=3,
    ),
    "full": Settings(
        network=tuple(LENGTHS),
        depth=(3, 8, 20, 50, 100, 200),
        learning_rate=tuple(np.geomspace(0.001, 2.048, 23).tolist()),
        width=200,
        steps=4000,
        batch_size=128,
        seeds=10,
    ),
}


EXPERIMENT = in_folder(
    __name__,
    SIZES,
    {
        "time": Variable((), "steps until the network has learned; inf: not within the steps", "steps"),
        "spread": Variable((), "relative variance of squared singular values of the Jacobian, untrained"),
        "strength": Variable(("moment", "mode"), "strength of decoupled modes"),
    },
)
