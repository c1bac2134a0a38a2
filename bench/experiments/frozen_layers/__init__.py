r"""Which layers go on learning when one of them passes no gradient?

A relu classifier is trained by plain gradient descent. All units of its layer k become binary steps, or are
silenced by an offset of -100; or only a share of the middle layer's units is silenced.
Measured: the length of every layer's way, the sum of |update| over all steps, which is exactly 0 where no
step moved it, and the accuracy on test examples.

Theory is the chain rule: nothing below the replaced layer, or in it, gets any gradient; everything above
does, but for the kernel that reads a silent layer, whose input is exactly 0.

Sources: Rumelhart, Hinton & Williams (1986), Nature 323; Bengio, Leonard & Courville (2013), arXiv:1308.3432
(steps and what to do about them); Rahimi & Recht (2007), NIPS 20 (random features).
"""

from dataclasses import dataclass

from signalprop.bench.engine.errors import InputError
from signalprop.bench.engine.grid import require_count, require_values
from signalprop.bench.experiment import Variable, in_folder
from signalprop.bench.training.settings import require_problem


@dataclass(frozen=True)
class Settings:
    """Settings of ``frozen-layers``."""

    share: tuple[float, ...] = (0.0, 0.02, 0.8, 1.0)
    """Shares of silent units in the middle layer, rounded to whole units."""
    depth: int = 6
    """Hidden layers; each is replaced in turn."""
    width: int = 64
    """Units per layer."""
    steps: int = 60
    """Steps of training."""
    batch_size: int = 32
    """Examples per step."""
    data: str = "digits"
    """What is learnt."""
    seeds: int = 2
    """Networks per replaced layer."""
    seed: int = 0
    """Root of all random numbers."""
    dtype: str = "float32"
    """Floating-point type."""

    def __post_init__(self) -> None:
        """Refuse settings that cannot be run."""
        require_problem(self.data)
        for axis in ("width", "steps", "batch_size"):
            require_count(axis, (getattr(self, axis),))
        require_count("depth", (self.depth,), least=2)
        require_values("share", self.share)
        for share in self.share:
            if not 0 <= share <= 1:
                raise InputError(f"share: got {share}; write shares between 0 and 1")
            if 0 < share < 1 and round(share * self.width) in (0, self.width):
                least = 1 / self.width
                raise InputError(
                    f"share: got {share}, none or all of {self.width} units; write {least:g} to {1 - least:g}"
                )


SIZES = {
    "quick": Settings(),
    "standard": Settings(
        share=(0.0, 0.02, 0.2, 0.4, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 1.0), steps=300, seeds=10
    ),
    "full": Settings(share=tuple(round(0.05 * i, 2) for i in range(21)), width=128, steps=3000, seeds=50),
}


EXPERIMENT = in_folder(
    __name__,
    SIZES,
    {
        "way": Variable(("replaced", "at", "layer"), "log of the sum of |update| of a kernel", "nats"),
        "bias_way": Variable(("replaced", "at", "layer"), "log of the sum of |update| of a bias", "nats"),
        "learnt": Variable(("replaced", "at"), "test accuracy with a layer replaced"),
        "share_way": Variable(("share", "layer"), "log of the sum of |update| of a kernel", "nats"),
        "share_bias_way": Variable(("share", "layer"), "log of the sum of |update| of a bias", "nats"),
        "share_accuracy": Variable(("share",), "test accuracy with a share of the middle layer silent"),
    },
)
