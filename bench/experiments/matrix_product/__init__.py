r"""Does a long product of random matrices explode, vanish, or both at once?

The network is linear and has no biases, so its Jacobian is the product M_K = W_K ... W_1 of its weight
matrices. Their entries are N(0, sigma^2) with sigma_w^2 = N sigma^2. The slope of the activation is always 1:
whatever happens to M_K is the work of the matrices. The textbook example ("Dive into Deep Learning", 5.4)
multiplies 100 new 4 x 4 matrices with sigma = 1 (sigma_w = 2) onto a first one: 101 factors.

Measured in the log domain, on many products per seed: the norm of the first column M_K e_1, its first entry,
the depth at which the same column is lost when it is kept in a number format, and of one product per seed all
singular values.

Theory: |M_K e_1|^2 is sigma^{2K} times a product of K independent chi^2_N variables, exactly. So

* its logarithm grows by Newman's exponent lambda_1 = log sigma + (log 2 + psi(N/2)) / 2 per factor, with
  variance psi'(N/2) / 4; the i-th singular value by lambda_i (C. Newman 1986, Comm. Math. Phys. 103, 121);
* typical products are critical at lambda_1 = 0 (quenched), mean squares at sigma_w = 1 (annealed). In between
  E |M_K e_1|^2 = sigma_w^{2K} explodes while almost every product vanishes.
"""

from dataclasses import dataclass, replace

from signalprop.bench.engine.grid import require_count, require_scale
from signalprop.bench.experiment import Variable, in_folder


@dataclass(frozen=True)
class Settings:
    """Settings of ``matrix-product``."""

    width: tuple[int, ...] = (2, 4, 16)
    """Sizes N of the square factors."""
    sigma_w: tuple[float, ...] = (0.5, 0.8, 1.0, 1.077, 1.15, 1.3, 1.5, 2.0)
    """Scales of the factors: entries have variance sigma_w^2 / N."""
    depth: tuple[int, ...] = (1, 2, 5, 10, 20, 50, 101, 200)
    """Numbers of factors at which the product is recorded, increasing."""
    draws: int = 50
    """Products per seed at widths up to 4; fewer above, as the factors hold more numbers."""
    spectrum_width: int = 4
    """Largest width of which all singular values are computed."""
    seeds: int = 12
    """Independent repetitions."""
    seed: int = 0
    """Root of all random numbers."""
    dtype: str = "float32"
    """Type in which the factors are drawn and the logarithms are kept."""

    def __post_init__(self) -> None:
        """Refuse settings that cannot be run."""
        require_count("width", self.width)
        require_scale("sigma_w", self.sigma_w)
        require_count("depth", self.depth)
        require_count("draws", [self.draws])
        require_count("spectrum_width", [self.spectrum_width], 0)
        if list(self.depth) != sorted(set(self.depth)):
            raise ValueError(f"depth: got {self.depth}; write increasing numbers")
        if min(self.sigma_w) == 0:
            raise ValueError("sigma_w: got 0; write scales above 0")


STANDARD = Settings(
    width=(2, 4, 8, 16, 32, 64, 128, 256),
    depth=(1, 2, 5, 10, 20, 50, 101, 200, 500, 1000),
    draws=250,
    spectrum_width=64,
    seeds=24,
)
SIZES = {
    "quick": Settings(),
    "standard": STANDARD,
    "full": replace(STANDARD, draws=2000, spectrum_width=256, seeds=100),
}


EXPERIMENT = in_folder(
    __name__,
    SIZES,
    {
        "decades": Variable(("draw", "depth"), "log10 of the norm of the product's first column", "decades"),
        "entry_decades": Variable(("draw", "depth"), "log10 of the size of its first entry", "decades"),
        "lost_at": Variable(("draw", "format"), "factors at which the column, kept in a format, is lost"),
        "exponents": Variable(("index",), "log singular value per factor at the largest depth", "nats"),
    },
)
