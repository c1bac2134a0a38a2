r"""How deep can a plain network be before its signal or its gradient is lost?

Networks without skip connections or normalization, up to 10,000 layers: fully connected, and convolutional on
a ring of places. Weights are Haar orthogonal (delta-orthogonal kernels) or Gaussian of the same variance, and
are drawn inside the scan, forward and again on the way back: one layer is held at a time.

Measured: the rms of the signal y^l and the norm of the gradient dE/dy^l, seen from the output, in decades.

Theory. tanh is critical, chi_1 = 1, on a line of points (sigma_w, sigma_b). On it, at the fixed point q*,
infinitely wide layers keep |dE/dy|. A network of L layers takes q* = 1/L, as Xiao et al. (arXiv 1806.05393)
did for 10,000 convolutional layers: then the 1/N terms of orthogonal weights, about q*^2 / N per layer in
variance and q* / N in mean, add up to O(1/N) over all layers. Gaussian weights lose 1/N nats of log |g|^2 in
every layer and spread by sqrt(2 l / N) (chi-squared law of deep linear networks), so depth is limited to a
few times N whatever the scales. Their signal falls until the biases hold it, where it solves Kesten's
recursion q' = a q + sigma_b^2: N sigma_b^2 over a Gamma variable (Dufresne 1990). On a ring each Fourier mode
has a matrix product of its own (`analysis.convolution`), and the luckiest wins. An input of unit size, or
sigma_w = 1 without biases, makes q^l fall as 1 / 2l, and |g|^2 by a factor of order L although chi_1 tends to
1.
"""

from dataclasses import dataclass

from signalprop.bench.engine.grid import require_count, require_known
from signalprop.bench.experiment import Variable, in_folder

NETWORKS = {"mlp": ("orthogonal", "gaussian"), "conv": ("delta_orthogonal", "gaussian")}
"""The networks, and the schemes that their layers are drawn by."""


@dataclass(frozen=True)
class Settings:
    """Settings of ``depth-limits``."""

    network: tuple[str, ...] = tuple(NETWORKS)
    """Fully connected (mlp), convolutional on a ring (conv)."""
    width: int = 24
    """Units, or channels, of every layer."""
    places: int = 6
    """Places on the ring of the convolutional networks; kernels cover 3."""
    depth: int = 600
    """Layers L; the critical point is that of q* = 1/L."""
    seeds: int = 12
    """Networks."""
    seed: int = 0
    """Root of all random numbers."""
    memory: bool = False
    """Whether to ask the compiler for the memory of a network, which compiles each program once more."""
    dtype: str = "float32"
    """Type of weights and signals."""

    def __post_init__(self) -> None:
        """Refuse settings that cannot be run."""
        require_known("network", self.network, NETWORKS)
        require_count("width", [self.width], 2)
        require_count("places", [self.places], 3)
        require_count("depth", [self.depth], 10)


SIZES = {
    "quick": Settings(),
    "standard": Settings(width=64, depth=10_000, seeds=12, memory=True),
    "full": Settings(width=256, depth=10_000, places=12, seeds=48, memory=True),
}


EXPERIMENT = in_folder(
    __name__,
    SIZES,
    {
        "signal": Variable(("layer",), "log10 of the rms of y^l", "decades"),
        "gradient": Variable(("layer",), "log10 of |dE/dy^l| / |dE/dy^L|", "decades"),
        "lost_at": Variable((), "first layer whose output left the dtype's range, 0 if none"),
    },
)
