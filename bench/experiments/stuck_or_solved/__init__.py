r"""Is a network whose gradient is small stuck, or has it solved its task?

Networks of equal shape in seven conditions (``conditions.py``): four that are stuck, with a dead layer,
saturated, beside the saddle at 0 or with vanishing gradients; three that are not, solved, converged on
contradicting labels, or healthy and early. From each, four numbers: the norm of the gradient; the loss over
that of the base rate; the smallest eigenvalue of the Hessian; and a restart, how much better a fresh relu
network is after a few steps than this one after as many more. Which of them tells stuck from not, over all
pairs (area under the ROC curve)?

Then: do local minima matter, on XOR, where tiny nets are started again and again and every end is judged by
its Hessian (``xor.py``)? And do signals from inside the layers, early in training, foretell how it ends, for
networks of random activation and scale?

No theory gives these numbers; what is exact is that a dead layer has no gradient. Sources: Dauphin et al.
(2014), arXiv:1406.2572 (saddles rather than minima); Hamey (1998), Neural Networks 11 (XOR); Hanley & McNeil
(1982), Radiology 143 (the area under the ROC curve); Efron (1987), J. Am. Stat. Assoc. 82 (intervals).
"""

from dataclasses import dataclass

from signalprop.bench.engine.errors import InputError
from signalprop.bench.engine.grid import require_count, require_scale
from signalprop.bench.experiment import Variable, in_folder

WIDEST = 16  # hidden units of a net on XOR


@dataclass(frozen=True)
class Settings:
    """Settings of ``stuck-or-solved``."""

    examples: int = 24
    """Examples, each four times."""
    width: int = 8
    """Units per hidden layer."""
    depth: int = 5
    """Hidden layers."""
    steps: int = 160
    """Steps of training."""
    records: int = 8
    """Points at which the layers are watched; divides the steps."""
    probe_steps: int = 100
    """Steps of the fresh network, and more steps of this one."""
    random: int = 3
    """Networks of random scale per seed."""
    xor_width: tuple[int, ...] = (2, 3, 16)
    """Hidden units of the nets on XOR, up to 16."""
    penalty: tuple[float, ...] = (0.0, 0.001)
    """Coefficients of their L2 penalty."""
    restarts: int = 8
    """Restarts on XOR per seed."""
    xor_steps: int = 1500
    """Steps of each."""
    seeds: int = 3
    """Seeds; each draws every condition once."""
    seed: int = 0
    """Root of all random numbers."""
    dtype: str = "float64"
    """Floating-point type."""

    def __post_init__(self) -> None:
        """Refuse settings that cannot be run."""
        for axis in ("width", "steps", "records", "probe_steps", "random", "restarts", "xor_steps"):
            require_count(axis, (getattr(self, axis),))
        require_count("examples", (self.examples,), least=2)
        require_count("depth", (self.depth,), least=2)
        require_count("xor_width", self.xor_width)
        require_scale("penalty", self.penalty)
        if max(self.xor_width) > WIDEST:
            raise InputError(f"xor_width: got {max(self.xor_width)}; write at most {WIDEST}")
        if self.steps % self.records:
            raise InputError(f"records: got {self.records}; write a divisor of the {self.steps} steps")


SIZES = {
    "quick": Settings(),
    "standard": Settings(
        examples=32, steps=300, records=20, random=6, xor_width=(2, 3, 4, 8, 16), penalty=(0.0, 0.001, 0.01),
        restarts=10, xor_steps=3000, seeds=16,
    ),
    "full": Settings(
        examples=128, width=16, depth=6, steps=2000, records=50, random=12, xor_width=(2, 3, 4, 8, 16),
        penalty=(0.0, 0.001, 0.01), restarts=50, xor_steps=20_000, seeds=50,
    ),
}  # fmt: skip


EXPERIMENT = in_folder(
    __name__,
    SIZES,
    {
        "loss": Variable(("network",), "training loss at the end", "nats"),
        "base": Variable(("network",), "loss of the base rate", "nats"),
        "log_gradient": Variable(("network",), "log of the norm of the gradient at the end", "nats"),
        "continued": Variable(("network",), "loss after more steps", "nats"),
        "restarted": Variable(("network",), "loss of a fresh network after as many steps", "nats"),
        "least": Variable(("network",), "smallest eigenvalue of the Hessian"),
        "largest": Variable(("network",), "largest eigenvalue of the Hessian"),
        "sigma_w": Variable(("network",), "scale of the weights"),
        "loss_by_record": Variable(("network", "step"), "training loss before the step", "nats"),
        "first_by_last": Variable(
            ("network", "step"), "log gradient of the first over the last hidden kernel"
        ),
        "log_first": Variable(("network", "step"), "log gradient of the first kernel", "nats"),
        "saturated": Variable(("network", "step"), "share of saturated units in the most saturated layer"),
        "inactive": Variable(("network", "step"), "share of units of slope 0 in the most inactive layer"),
        "xor_error": Variable(("restart", "xor_width", "penalty"), "mean squared error at the end"),
        "xor_gradient": Variable(("restart", "xor_width", "penalty"), "norm of the gradient at the end"),
        "xor_least": Variable(("restart", "xor_width", "penalty"), "smallest eigenvalue of the Hessian"),
        "xor_minimum": Variable(("restart", "xor_width", "penalty"), "1 if a strict minimum is certified"),
    },
)
