"""Which of six limits on depth binds first, and does the smallest predict what can be trained?

Named networks that differ in activation, scale, width, normalization and optimizer. Of each the largest depth
at which it can still be trained is found by bisection: 1 to 63 hidden layers, the same weights and batches
at every depth, one learning rate per network (0.02 for plain descent, unless the name says otherwise; 0.2 for
sigmoids, 0.01 for Adam; none was tuned). Before training, at a few depths, the gradient of the first kernel
and the largest eigenvalue of the loss's Hessian are measured.

Theory: six limits, each computed for the network before training, and their minimum. Information: 6 xi_c.
Gradient: 6 |xi_grad|. Width: log |g|^2 varies by 1 over networks (5 L / N = 1 for relu). Batch norm: 16
xi_BN. Floating point: steps of the first kernel round to nothing, or its gradient falls below Adam's epsilon.
Sharpness: learning rate times largest eigenvalue reaches 2. The limits are rules of thumb from their papers;
how far each is off is what is measured.

Sources: Schoenholz et al. (2017), arXiv:1611.01232; Hanin & Nica (2018), arXiv:1812.05994; Yang et al.
(2019), arXiv:1902.08129; Kingma & Ba (2015), arXiv:1412.6980; Cohen et al. (2021), arXiv:2103.00065.
"""

from dataclasses import dataclass

from signalprop.bench.engine.errors import InputError
from signalprop.bench.engine.grid import require_count, require_known
from signalprop.bench.experiment import Variable, in_folder
from signalprop.bench.experiments.depth_budget.networks import NETWORKS
from signalprop.bench.training.settings import RECORDS, require_top


@dataclass(frozen=True)
class Settings:
    """Settings of ``depth-budget``."""

    network: tuple[str, ...] = ("tanh_ordered_16",)
    """Networks of ``limits.py``."""
    top: int = 7
    """Largest depth, one less than a power of two."""
    probe: tuple[int, ...] = (2, 7)
    """Depths at which gradient and sharpness are measured before training."""
    data: str = "gm10"
    """Training examples, by their name in ``bench.training.classification``."""
    threshold: float = 0.5
    """Training accuracy above which a network counts as trained."""
    steps: int = 100
    """Steps of every training; ten divides them."""
    batch_size: int = 32
    """Examples per step."""
    seeds: int = 2
    """Networks per name."""
    seed: int = 0
    """Root of all random numbers."""
    dtype: str = "float32"
    """Floating-point type."""

    def __post_init__(self) -> None:
        """Refuse settings that cannot be run."""
        require_known("network", self.network, NETWORKS)
        require_count("probe", self.probe)
        require_top(self.top)
        if max(self.probe) > self.top or list(self.probe) != sorted(set(self.probe)):
            raise InputError(f"probe: got {self.probe}; write increasing depths up to {self.top}")
        if not 0 < self.threshold < 1:
            raise InputError(f"threshold: got {self.threshold}; write an accuracy between 0 and 1")
        for axis in ("steps", "batch_size"):
            require_count(axis, (getattr(self, axis),), 4)
        if self.steps % RECORDS:
            raise InputError(f"steps: got {self.steps}; write a multiple of {RECORDS}")


SIZES = {
    "quick": Settings(),
    "standard": Settings(
        network=tuple(NETWORKS), top=63, probe=(1, 2, 4, 8, 16, 32, 63), steps=300, seeds=3
    ),
    "full": Settings(
        network=tuple(NETWORKS), top=255, probe=(1, 2, 4, 8, 16, 32, 64, 128, 255), steps=3000,
        batch_size=64, seeds=10,
    ),
}  # fmt: skip


EXPERIMENT = in_folder(
    __name__,
    SIZES,
    {
        "trainable_depth": Variable((), "largest depth that reaches the threshold, by bisection", "layers"),
        "log_gradient": Variable(("probe",), "log rms of the first kernel's gradient, untrained", "nats"),
        "log_sharpness": Variable(("probe",), "log of the Hessian's largest eigenvalue, untrained", "nats"),
        "log_weight": Variable((), "log rms of the first kernel", "nats"),
    },
)
