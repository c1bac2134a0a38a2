r"""Is it the learning rate or the depth that makes training diverge?

A tanh network of many layers learns a few examples by plain gradient descent on the square error of one-hot
targets, over a grid of weight variances and learning rates. Two boundaries cross on that map. Along one, on
which the weights alone decide, the gradient begins to grow from the last layer to the first: the edge of
chaos, chi_1 = 1. Along the other the loss blows up: it rises above its initial value within a few updates.

For a quadratic loss gradient descent diverges exactly beyond the learning rate 2 / lambda, lambda the largest
eigenvalue of the Hessian; linear regression shows it. A network's loss is no quadratic, so lambda is measured
by Lanczos' method and the blow-up found by bisection twice: for the drawn network, where the loss has a slope
and lambda changes within steps, and for the network settled by Adam near a minimum. A learning rate between
2 / lambda and 4 / lambda may throw a drawn network into a flatter region instead (Lewkowycz et al. 2020).
Runs use batches of all examples and of fewer, by which the loss on all of them is judged.

Sources: LeCun, Bottou, Orr & Mueller (1998), Efficient BackProp; Schoenholz et al. (2017), arXiv:1611.01232;
Lewkowycz et al. (2020), arXiv:2003.02218; Cohen et al. (2021), arXiv:2103.00065.
"""

from dataclasses import dataclass

import numpy as np

from signalprop.bench.engine.grid import require_count, require_known, require_scale
from signalprop.bench.experiment import Variable, in_folder
from signalprop.bench.measure.names import INPUTS
from signalprop.bench.training.settings import PROBLEMS, require_learning_rates


@dataclass(frozen=True)
class Settings:
    """Settings of ``learning-rate-or-depth``."""

    sigma_w2: tuple[float, ...] = (0.5, 1.0, 2.0)
    """Variances of the weights times the fan-in."""
    learning_rate: tuple[float, ...] = (0.001, 0.01, 0.1, 1.0)
    """Learning rates of the map."""
    batch_size: tuple[int, ...] = (64,)
    """Examples per update; as many as there are, or more: all of them."""
    data: str = "gm10"
    """Data set."""
    examples: int = 64
    """Training examples."""
    depth: int = 20
    """Hidden layers."""
    width: int = 32
    """Units of each."""
    steps: int = 60
    """Updates of the map's runs."""
    within: int = 40
    """Updates within which the loss must rise above its initial value to count as blown up."""
    settling: int = 200
    """Updates by Adam at 0.003 after which a network counts as settled."""
    seeds: int = 3
    """Networks per setting."""
    seed: int = 0
    """Root of all random numbers."""
    dtype: str = "float32"
    """Floating-point type."""

    def __post_init__(self) -> None:
        """Refuse settings that cannot be run."""
        require_scale("sigma_w2", self.sigma_w2)
        require_learning_rates(self.learning_rate)
        require_count("batch_size", self.batch_size)
        for axis in ("examples", "width", "within", "settling"):
            require_count(axis, (getattr(self, axis),))
        require_count("depth", (self.depth,), 2)
        require_count("steps", (self.steps,), 10)
        require_known("data", (self.data,), (*PROBLEMS, *INPUTS))


SIZES = {
    "quick": Settings(),
    "standard": Settings(
        sigma_w2=(0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 6.0),
        learning_rate=tuple(float(f"{rate:.3g}") for rate in np.geomspace(1e-4, 3, 14)),
        batch_size=(16, 64),
        steps=100,
        settling=300,
        seeds=8,
    ),
    "full": Settings(
        sigma_w2=tuple(float(f"{s:.3g}") for s in np.geomspace(0.25, 9, 25)),
        learning_rate=tuple(float(f"{rate:.3g}") for rate in np.geomspace(1e-5, 10, 40)),
        batch_size=(16, 64, 256),
        examples=256,
        depth=50,
        width=200,
        steps=500,
        settling=1000,
        seeds=20,
    ),
}


EXPERIMENT = in_folder(
    __name__,
    SIZES,
    {
        "decades": Variable(
            ("when",), "log10 of the gradient at the first over the last hidden layer", "decades"
        ),
        "sharpness": Variable(("when",), "largest eigenvalue of the Hessian"),
        "sharpness_error": Variable(("when",), "its error bound"),
        "edge": Variable(("when",), "learning rate from which full-batch descent blows up"),
        "log_gradient_norm": Variable((), "log of the gradient's norm before the first update", "nats"),
        "log_final": Variable((), "log of the largest of the last ten losses over the initial one", "nats"),
        "log_highest": Variable((), "log of the highest loss over the initial one", "nats"),
        "rises_at": Variable((), "updates after which the loss was first above its start; 0: never"),
        "diverged_at": Variable((), "updates after which the loss had left float range; 0: never"),
        "rate": Variable(("multiple",), "growth per update of the steepest direction's error", "nats"),
    },
)
