r"""Where do the eigenvalues and singular values of a freshly initialized layer lie?

Square kernels of every initialization scheme, and the popular wrong recipe for orthogonal ones: Q of a QR
factorization as the library returns it (``qr_unsigned``). Measured: all eigenvalues and singular values, the
largest of both for the product of several independent kernels, and spectral radius and number of real
eigenvalues of Gaussian matrices by size.

Theory: of a scheme with independent entries only sigma_w^2 = N Var W counts when N is large.

* Eigenvalues fill the disc of radius sigma_w evenly (circular law, Girko 1985, Tao & Vu arXiv 0807.4898),
  singular values the interval from 0 to 2 sigma_w (quarter circle, Marchenko & Pastur 1967); the largest is
  below it by N^(-2/3), the smallest of order 1/N (Edelman 1988).
* At finite N the law of the spectral radius of Gaussian matrices is exact (ratio of determinants), its radius
  above sigma_w; so is the mean number of real eigenvalues, about sqrt(2N/pi) (Edelman, Kostlan & Shub 1994).
* Haar orthogonal matrices have all eigenvalues on the unit circle, trace 0 on average, and determinants of
  both signs. Without the sign fix the determinant is always (-1)^(N-1) (Mezzadri, math-ph/0609050).
* Eigenvalues of factors do not multiply: the largest singular value of L Gaussian factors grows as sqrt(e L)
  (Fuss-Catalan), whatever their spectral radii.
"""

from dataclasses import dataclass

from signalprop.bench.engine.grid import require_count, require_known
from signalprop.bench.experiment import Variable, in_folder
from signalprop.bench.measure.names import UNSIGNED
from signalprop.models.names import SCHEMES


@dataclass(frozen=True)
class Settings:
    """Settings of ``initialization-eigenvalues``."""

    scheme: tuple[str, ...] = (
        "normal_001", "uniform_standard", "glorot_uniform", "he_normal", "gaussian", "haar_orthogonal",
        UNSIGNED, "identity",
    )  # fmt: skip
    """Schemes of the suite, and qr_unsigned: QR without the sign fix."""
    width: int = 32
    """Size N of the square kernels."""
    size: tuple[int, ...] = (4, 8, 16, 32)
    """Sizes of the Gaussian matrices whose spectral radius and real eigenvalues are followed; at most N."""
    draws: int = 2
    """Kernels per seed and scheme; their product is measured too."""
    size_draws: int = 4
    """Gaussian matrices per seed and size."""
    seeds: int = 16
    """Independent repetitions."""
    seed: int = 0
    """Root of all random numbers."""
    dtype: str = "float32"
    """Type of kernels and eigenvalues."""

    def __post_init__(self) -> None:
        """Refuse settings that cannot be run."""
        require_known("scheme", self.scheme, (*SCHEMES, UNSIGNED))
        require_count("width", [self.width], 3)
        require_count("size", self.size, 2)
        require_count("draws", [self.draws, self.size_draws])
        if max(self.size) > self.width:
            raise ValueError(f"size: got {self.size}; write at most the width, {self.width}")


SIZES = {
    "quick": Settings(),
    "standard": Settings((*SCHEMES, UNSIGNED), 256, (4, 8, 16, 32, 64, 128, 256), 3, 8),
    "full": Settings((*SCHEMES, UNSIGNED), 512, (4, 8, 16, 32, 64, 128, 256, 512), 4, 8, 32),
}


EXPERIMENT = in_folder(
    __name__,
    SIZES,
    {
        "real": Variable(("scheme", "draw", "index"), "real parts of the eigenvalues"),
        "imaginary": Variable(("scheme", "draw", "index"), "imaginary parts of the eigenvalues"),
        "singular": Variable(("scheme", "draw", "index"), "singular values"),
        "num_real": Variable(("scheme", "draw"), "number of real eigenvalues"),
        "product_radius": Variable(("scheme",), "spectral radius of the product of the draws"),
        "product_largest": Variable(("scheme",), "largest singular value of the product of the draws"),
        "size_radius": Variable(
            ("size", "size_draw"), "spectral radius of Gaussian matrices of variance 1/size"
        ),
        "size_real": Variable(("size", "size_draw"), "number of real eigenvalues of Gaussian matrices"),
    },
)
