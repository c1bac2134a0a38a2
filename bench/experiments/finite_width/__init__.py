r"""How far does one network's gradient stray when every layer preserves its mean square?

Relu networks at He variance and linear ones at variance 1/fan_in, no bias, with the widths (n_0, ..., n_L) of
a profile: equal ones, and random ones of equal numbers of weights. u is the first unit vector of the input
and x the input of ones. Measured on many networks through all depths: log |Ju|^2 of the Jacobian J and
log |y|^2 of the forward signal; on small square networks also the traces of J J^T and of its square. The
profiles share their draws (``gains.py``).

Theory: the open gates are fair coins whatever the input, so |Ju|^2 is exactly a product over layers of
(2/n_{l-1}) chi^2 with Binomial(n_l, 1/2) degrees, and |y|^2 has the same law. So

* its mean is n_L/n_0: mean-field theory is right about the mean square, at every width;
* log |Ju|^2 is asymptotically N(-beta/2, beta) with beta = 5 sum 1/n_l, and 2 in place of 5 for linear
  networks (Hanin & Nica, arXiv 1812.05994): the typical gradient vanishes as exp(-5L/4n) while the mean
  square stands still, and the spread has no end;
* the variance of a squared derivative grows as 3 prod(1 + 5/n_l) - 1, exponentially in the sum of the
  reciprocal widths (Hanin, arXiv 1801.03744);
* a layer of n units is dead with probability 2^-n, and the whole Jacobian with it;
* weights that are not Gaussian change the law in the first layer; above it only at order 1/n^2.
"""

from dataclasses import dataclass, replace

import numpy as np

from signalprop.bench.engine.grid import require_count, require_known
from signalprop.bench.experiment import Variable, in_folder

SCHEMES = ("gaussian", "he_normal", "he_uniform")


@dataclass(frozen=True)
class Settings:
    """Settings of ``finite-width``."""

    scheme: tuple[str, ...] = ("gaussian", "he_uniform")
    """Laws of the weights: gaussian, he_normal or he_uniform, all at He variance."""
    width: tuple[int, ...] = (4, 10, 20, 50)
    """Widths of the networks whose layers, input included, are equally wide; the last is the largest."""
    depth: tuple[int, ...] = (1, 2, 5, 10, 20)
    """Numbers of layers at which networks are recorded, increasing."""
    profile_depth: tuple[int, ...] = (3, 5, 10)
    """Numbers of layers of the random profiles."""
    shapes: int = 2
    """Random profiles of each depth, beside the one with equal widths."""
    weights: int = 4000
    """Weights of each random profile, to within rounding."""
    inputs: int = 16
    """Inputs of the random profiles."""
    spectrum: tuple[int, int] = (16, 4)
    """Width and largest depth of the square networks whose whole Jacobian is formed."""
    draws: int = 40
    """Networks per seed and profile."""
    seeds: int = 16
    """Independent repetitions."""
    seed: int = 0
    """Root of all random numbers."""
    dtype: str = "float32"
    """Type in which networks are drawn and walked through."""

    def __post_init__(self) -> None:
        """Refuse settings that cannot be run."""
        require_known("scheme", self.scheme, SCHEMES)
        for axis in ("width", "depth", "profile_depth", "spectrum"):
            require_count(axis, getattr(self, axis))
        for axis in ("shapes", "weights", "inputs", "draws"):
            require_count(axis, [getattr(self, axis)])
        if list(self.depth) != sorted(set(self.depth)):
            raise ValueError(f"depth: got {self.depth}; write increasing numbers")
        width, depth = max(self.width), self.depth[-1]
        for axis, largest in (("profile_depth", depth), ("inputs", width), ("spectrum", (width, depth))):
            if np.any(np.array(getattr(self, axis)) > np.array(largest)):
                raise ValueError(f"{axis}: got {getattr(self, axis)}; write at most {largest}")


STANDARD = Settings(
    width=(4, 10, 20, 50, 100),
    depth=(1, 2, 5, 10, 25, 50),
    profile_depth=(3, 5, 10, 20, 50),
    shapes=10,
    weights=10_000,
    draws=120,
)
SIZES = {
    "quick": Settings(),
    "standard": STANDARD,
    "full": replace(
        STANDARD, scheme=SCHEMES, width=(*STANDARD.width, 200), depth=(*STANDARD.depth, 100), weights=20_000,
        draws=1000, seeds=50,
    ),
}  # fmt: skip


EXPERIMENT = in_folder(
    __name__,
    SIZES,
    {
        "log_gain": Variable(("network", "profile", "draw", "depth"), "log |Ju|^2, u a unit vector", "nats"),
        "log_forward": Variable(("profile", "draw", "depth"), "log |y|^2 / |x|^2 of relu networks", "nats"),
        "traces": Variable(("layer", "network", "trace"), "means of (tr JJ^T / n)^2 and tr (JJ^T)^2 / n"),
    },
)
