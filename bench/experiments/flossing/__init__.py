r"""Does pushing Lyapunov exponents to zero make a recurrent network learn?

A tanh network learns the delayed XOR. Before training, or before and again half way, gradient flossing pushes
its k leading Lyapunov exponents to zero by gradient descent on the mean of their squares (Engelken 2023,
arXiv 2312.17306). The rivals get the same budget, in training steps with each flossing step charged for what
it costs: no flossing, clipping, the critical gain of mean-field theory, and orthogonal recurrent weights. All
of them are flossed too.

Measured before and after flossing and after training: all exponents, the gradient dL/dh_{T-k} by lag, and the
singular values 1 and k of the Jacobian over as many steps; and the share of networks that solve the task.

Theory: the gradient falls by lambda_1 per step of lag, so flossed exponents mean a gradient that keeps its
size. The ratio of the singular values 1 and k over T steps grows as exp(T (lambda_1 - lambda_k)), so it stays
near 1 as well: the gradient arrives from k directions, not from one. A critical gain moves lambda_1 only;
from there flossing is slow, as the exponents of saturated units fluctuate and so do their gradients.
Success has no theory; its intervals are exact (Clopper & Pearson 1934).
"""

from dataclasses import dataclass

from signalprop.bench.engine.grid import require_count, require_known
from signalprop.bench.experiment import Variable, in_folder
from signalprop.bench.training.settings import FLOSSED, SCHEDULES, require_learning_rates


@dataclass(frozen=True)
class Settings:
    """Settings of ``flossing``."""

    delay: tuple[int, ...] = (12,)
    """Delays d of the XOR, even; sequences have 3 d steps."""
    schedule: tuple[str, ...] = ("none", "before")
    """When the network is flossed: none, before training, or during (before and half way)."""
    start: tuple[str, ...] = ("gaussian", "orthogonal")
    """How the network begins, and whether gradients are clipped."""
    width: int = 48
    """Units N of the network."""
    exponents: int = 12
    """Number k of exponents that are pushed to zero."""
    steps: int = 640
    """Budget in training steps."""
    floss_steps: int = 64
    """Flossing steps of a flossed network."""
    charge: int = 3
    """Training steps that one flossing step is charged with; a CPU takes 1.8 (d = 16) to 3.2 (d = 8)."""
    records: int = 8
    """Records of training and of flossing, a divisor of half the flossing steps; even."""
    batch_size: int = 16
    """Sequences per training step."""
    learning_rate: float = 1e-3
    """Of Adam in training."""
    floss_rate: float = 3e-3
    """Of Adam in flossing."""
    seeds: int = 8
    """Networks per setting; below 8 no verdict is judged by their scatter."""
    seed: int = 0
    """Root of all random numbers."""
    dtype: str = "float32"
    """Type of everything."""

    def __post_init__(self) -> None:
        """Refuse settings that cannot be run."""
        require_count("delay", self.delay, 2)
        require_known("schedule", self.schedule, SCHEDULES)
        require_known("start", self.start, FLOSSED)
        require_count("exponents", [self.exponents], 2)
        for axis in ("charge", "floss_steps", "batch_size"):
            require_count(axis, [getattr(self, axis)])
        for axis in ("learning_rate", "floss_rate"):
            require_learning_rates([getattr(self, axis)], axis)
        require_count("records", [self.records], 2)
        if any(delay % 2 for delay in self.delay):
            raise ValueError(f"delay: got {self.delay}; write even numbers")
        if self.exponents > self.width:
            raise ValueError(f"exponents: got {self.exponents}; write at most the width, {self.width}")
        if self.records % 2 or self.floss_steps % self.records:
            raise ValueError(
                f"records: got {self.records}; write an even divisor of the {self.floss_steps} flossing steps"
            )
        if self.steps - self.charge * self.floss_steps < self.records:
            raise ValueError(
                f"steps: got {self.steps}; flossing costs {self.charge * self.floss_steps} of them"
            )


SIZES = {
    "quick": Settings(),
    "standard": Settings(
        delay=(8, 16),
        schedule=("none", "before", "during"),
        start=("gaussian", "clipped", "critical", "orthogonal"),
        steps=1600,
        floss_steps=100,
        charge=4,
        records=10,
        seeds=12,
    ),
    "full": Settings(
        delay=(8, 16, 32, 64),
        schedule=("none", "before", "during"),
        start=("gaussian", "clipped", "critical", "orthogonal"),
        width=80,
        exponents=75,
        steps=8000,
        floss_steps=500,
        records=20,
        seeds=20,
    ),
}


EXPERIMENT = in_folder(
    __name__,
    SIZES,
    {
        "exponents": Variable(("moment", "index"), "Lyapunov exponents along one long sequence", "nats"),
        "exponent_error": Variable(("moment", "index"), "their standard errors over time", "nats"),
        "log_gradient": Variable(("moment", "lag"), "log of |dL/dh_{T-k}|", "nats"),
        "log_singular": Variable(("moment", "singular"), "log singular values 1 and k of dh_T/dh_{T-lags}"),
        "loss": Variable(("record",), "mean squared error in training"),
        "correct": Variable(("record",), "share of answers of the right sign in training"),
        "log_gradient_norm": Variable(("record",), "log of the norm of the training gradient", "nats"),
        "clip_rate": Variable(("record",), "share of training steps that were clipped"),
        "floss_loss": Variable(("record",), "mean squared exponent while flossing"),
        "test_loss": Variable((), "mean squared error on new sequences"),
        "test_correct": Variable((), "share of answers of the right sign on new sequences"),
        "solved": Variable((), "1 if the task is solved"),
        "diverged": Variable((), "1 if training diverged"),
    },
)
