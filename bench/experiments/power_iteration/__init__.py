r"""Does the largest eigenvalue decide how a recurrent signal grows?

Three recurrences, all in the log domain, up to k steps:

* A^k and A^k x for seven kinds of matrices with one spectral radius rho < 1 (one of them nilpotent, rho = 0);
* products of Gaussian matrices of variance 1/N: one matrix again and again (tied), or a new one per step;
* h_t = relu(W h_{t-1}) at the He variance 2/N, tied and untied, with its Jacobian-vector product.

Theory:

* |A^k|^(1/k) -> rho, from above (Gelfand). Before that a non-normal A may grow by any factor: powers of a
  Jordan block are binomials times rho^(k-j), and K <= sup_k |A^k| <= e n K with the Kreiss constant K of A
  (Kreiss 1962; Spijker 1991). |A^k| <= 2 w^k with the numerical radius w (Berger).
* A normal A without the leading eigenvector in x grows like the second eigenvalue, until rounding, eps per
  step, has put the leading one back after about log(1/eps) / log(rho / rho_2) steps.
* Gaussian, N to infinity at fixed k: |W^k| and |W_k ... W_1| -> sqrt((k+1)^(k+1) / k^k). For k far above N
  the tied product grows by log rho(W), whose law is exact (`analysis.ginibre`); the untied one by Newman's
  lambda_1 < 0.
* relu: masks change the matrix in every step. log |h| and log |J u| grow by log(sigma_w^2 / 2) / 2 for
  N to infinity, tied or not; the exact law of the untied one is known at every N. Successive directions have
  the cosine 1 / pi untied; tied it follows the arc-cosine map to 1 (Cho & Saul 2009), where the mask is
  constant and one masked matrix D W decides.
"""

from dataclasses import dataclass

from signalprop.bench.engine.grid import require_count, require_known, require_scale
from signalprop.bench.experiment import Variable, in_folder

MATRICES = ("rotation", "normal", "gaussian", "triangular", "jordan_pair", "jordan_block", "nilpotent")
LONG = (1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 25, 32, 40, 50, 64, 80, 100, 120, 140, 160, 180, 200)


@dataclass(frozen=True)
class Settings:
    """Settings of ``power-iteration``."""

    matrix: tuple[str, ...] = MATRICES
    """Kinds of matrices whose powers are followed."""
    size: int = 8
    """Their size, even."""
    radius: float = 0.9
    """Their spectral radius, between 0 and 1."""
    width: tuple[int, ...] = (8, 64)
    """Sizes N of the Gaussian matrices and units of the relu network."""
    steps: tuple[int, ...] = (1, 2, 3, 4, 6, 8, 12, 16, 25, 50, 75, 100)
    """Numbers of steps at which Gaussian products and relu networks are recorded, increasing."""
    seeds: int = 16
    """Independent draws of every matrix."""
    seed: int = 0
    """Root of all random numbers."""
    dtype: str = "float64"
    """Type of the matrices; float32 cannot resolve the Kreiss constant of a large Jordan block."""

    def __post_init__(self) -> None:
        """Refuse settings that cannot be run."""
        require_known("matrix", self.matrix, MATRICES)
        require_count("size", [self.size], 4)
        require_scale("radius", [self.radius])
        require_count("width", self.width, 2)
        require_count("steps", self.steps)
        if self.size % 2:
            raise ValueError(f"size: got {self.size}; write an even number")
        if not 0 < self.radius < 1:
            raise ValueError(f"radius: got {self.radius}; write a number between 0 and 1")
        if list(self.steps) != sorted(set(self.steps)):
            raise ValueError(f"steps: got {self.steps}; write increasing numbers")
        if len(self.steps) < 2 or self.steps[-1] < 20:
            raise ValueError(f"steps: got {self.steps}; write two numbers or more, the last at least 20")
        require_count("seeds", [self.seeds], 2)


SIZES = {
    "quick": Settings(),
    "standard": Settings(width=(8, 32, 128, 256), steps=LONG, seeds=48),
    "full": Settings(width=(8, 32, 128, 512, 1024), steps=(*LONG, 400, 800), seeds=100),
}


EXPERIMENT = in_folder(
    __name__,
    SIZES,
    {
        "log_norm": Variable(("matrix", "k"), "log of the norm of A^k", "nats"),
        "log_vector": Variable(("matrix", "k"), "log of |A^k x| / |x|", "nats"),
        "log_blind": Variable(("format", "k"), "the same without the leading eigenvector, normal A", "nats"),
        "numerical_radius": Variable(("matrix",), "numerical radius of A"),
        "kreiss": Variable(("matrix",), "Kreiss constant of A"),
        "henrici": Variable(("matrix",), "Henrici's departure of A from normality"),
        "log_power": Variable(
            ("weights", "step"), "log of the norm of a product of Gaussian matrices", "nats"
        ),
        "log_power_vector": Variable(("weights", "step"), "log of its product with a unit vector", "nats"),
        "log_h": Variable(("weights", "step"), "log of |h_t| / |h_0| of the relu network", "nats"),
        "log_norm_gain": Variable(("weights", "step"), "log of |J u| of the relu network", "nats"),
        "cosine": Variable(("weights", "step"), "cosine of h_t and h_{t-1}"),
        "log_radius": Variable((), "log of the spectral radius of W at variance 1/N", "nats"),
        "log_masked_radius": Variable((), "log of the spectral radius of the last D W, tied relu", "nats"),
        "frozen_at": Variable((), "last step in which the mask of the tied relu network changed"),
    },
)
