"""How deep does Adam reach with a smaller epsilon?

Sigmoid networks at Xavier's scale, whose gradients shrink by 0.63 decades per layer. Adam divides a gradient
by its own size plus epsilon: a step is as long as the learning rate where the gradient is above epsilon, and
shrinks with it below. Measured: the first step of every layer of a deep network, for several epsilons and two
floating-point types; and the largest depth that can be trained, by bisection, for the same epsilons.

Theory: steps of full size reach log10(g / epsilon) / 0.63 layers down from the output, where g is the
gradient there; that is 1.6 layers per decade of epsilon. Information: c* = 1, and 6 xi_c is 2 layers. In
float32 the square of a gradient of 1e-19 is 0 and the gradient is not: its step is divided by epsilon alone.

Sources: Kingma & Ba (2015), arXiv:1412.6980; Schoenholz et al. (2017), arXiv:1611.01232.
"""

from dataclasses import dataclass

from signalprop.bench.engine.errors import InputError
from signalprop.bench.engine.grid import require_count, require_known, require_scale
from signalprop.bench.experiment import Variable, in_folder
from signalprop.bench.training.settings import RECORDS, require_learning_rates, require_top

FORMATS = ("float32", "float64")


@dataclass(frozen=True)
class Settings:
    """Settings of ``adam-epsilon``."""

    format: tuple[str, ...] = ("float32",)
    """Floating-point types of weights, signal, gradient and Adam's memory."""
    epsilon: tuple[float, ...] = (1e-4, 1e-8, 1e-12, 1e-30)
    """Adam's epsilons, above 0."""
    depth: int = 40
    """Hidden layers of the network whose first step is measured."""
    top: int = 3
    """Largest depth that is trained, one less than a power of two."""
    width: int = 32
    """Units of every hidden layer."""
    learning_rate: float = 0.01
    """Of Adam."""
    threshold: float = 0.5
    """Training accuracy above which a network counts as trained."""
    steps: int = 50
    """Steps of every training; ten divides them."""
    batch_size: int = 32
    """Examples per step."""
    data: str = "gm10"
    """Training examples, by their name in ``bench.training.classification``."""
    seeds: int = 2
    """Networks per setting."""
    seed: int = 0
    """Root of all random numbers."""
    dtype: str = "float64"
    """Type of what is stored."""

    def __post_init__(self) -> None:
        """Refuse settings that cannot be run."""
        require_known("format", self.format, FORMATS)
        require_scale("epsilon", self.epsilon)
        if min(self.epsilon) == 0:
            raise InputError("epsilon: got 0, which divides 0 by 0; write a small number, as 1e-30")
        require_learning_rates((self.learning_rate,))
        require_top(self.top)
        for axis in ("depth", "width", "steps", "batch_size"):
            require_count(axis, (getattr(self, axis),))
        if self.steps % RECORDS:
            raise InputError(f"steps: got {self.steps}; write a multiple of {RECORDS}")
        if not 0 < self.threshold < 1:
            raise InputError(f"threshold: got {self.threshold}; write an accuracy between 0 and 1")


SIZES = {
    "quick": Settings(),
    "standard": Settings(
        format=FORMATS, epsilon=(1e-4, 1e-6, 1e-8, 1e-10, 1e-12, 1e-14, 1e-16, 1e-30), top=7, steps=300,
        seeds=3,
    ),
    "full": Settings(
        format=FORMATS, epsilon=(1e-4, 1e-6, 1e-8, 1e-10, 1e-12, 1e-14, 1e-16, 1e-30), top=63, steps=3000,
        width=64, batch_size=64, seeds=10,
    ),
}  # fmt: skip


EXPERIMENT = in_folder(
    __name__,
    SIZES,
    {
        "log_step": Variable(
            ("layer",), "log rms of the first step over the learning rate, by kernel", "nats"
        ),
        "log_gradient": Variable(("layer",), "log rms of the first gradient, by kernel", "nats"),
        "trainable_depth": Variable((), "largest depth that reaches the threshold, by bisection", "layers"),
    },
)
