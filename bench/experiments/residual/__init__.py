r"""Do skip connections pass the gradient without loss, and which residual networks explode?

Chains of L equal blocks at initialization, on a batch of independent inputs of mean square 1, with a random
gradient of norm 1 at the top. Weights are Gaussian; "He" has variance 2 / N, "LeCun" 1 / N.

* plain: W_2 relu(W_1 x), He and LeCun; no skip connection;
* residual: x + W_2 relu(W_1 x), He and LeCun, and the same with the branch times L^(-1/2), 1/L, 0 (ReZero,
  and SkipInit, which is the same here), and as in Fixup (W_1 times L^(-1/2), W_2 = 0);
* relu branch: x + relu(W x), He; tanh branch: x + tanh(W x), LeCun;
* pre-BN: x + W relu(BatchNorm(x)), He; post-BN: BatchNorm(x + W_2 relu(W_1 x)), He and LeCun;
* pre-LN and post-LN: x + F(LayerNorm(x)) and LayerNorm(x + F(x)), F = W_2 relu(W_1 .) with LeCun weights, a
  transformer's feed-forward block with Xavier weights; post-LN relu: LayerNorm(x + relu(W x)), He.

Measured per block: the mean square of the signal and |dE/dy|^2 over the whole batch. Theory: the identity
dE/dx_l = dE/dx_L (I + d(sum of F)/dx_l) (He et al., arXiv 1603.05027) holds for every net and decides
nothing; growth is that of mean field (Yang & Schoenholz, arXiv 1712.08969; `signalprop.analysis.growth`). It
gives the mean of squares over networks, so the mean over seeds is taken before the logarithm.
"""

from dataclasses import dataclass

from signalprop.bench.engine.grid import require_count, require_known
from signalprop.bench.experiment import Variable, in_folder

ARCHITECTURES = (
    "plain", "residual", "1/sqrt(L)", "1/L", "ReZero", "Fixup", "relu branch", "tanh branch", "pre-BN",
    "post-BN", "pre-LN", "post-LN", "post-LN relu",
)  # fmt: skip


@dataclass(frozen=True)
class Settings:
    """Settings of ``residual``."""

    architecture: tuple[str, ...] = ARCHITECTURES
    """Kinds of blocks."""
    depth: tuple[int, ...] = (16, 64, 128)
    """Numbers L of blocks."""
    width: int = 256
    """Units N."""
    batch_size: int = 32
    """Examples B, over which batch normalization takes its statistics."""
    seeds: int = 12
    """Independent networks."""
    seed: int = 0
    """Root of all random numbers."""
    dtype: str = "float32"
    """Type of weights, signals and gradients."""

    def __post_init__(self) -> None:
        """Refuse settings that cannot be run."""
        require_known("architecture", self.architecture, ARCHITECTURES)
        require_count("depth", self.depth)
        require_count("width", [self.width], 4)
        require_count("batch_size", [self.batch_size], 5)


SIZES = {
    "quick": Settings(depth=(8, 24), width=96, batch_size=24),
    "standard": Settings(),
    "full": Settings(depth=(16, 64, 256, 1024), width=512, batch_size=64, seeds=32),
}


EXPERIMENT = in_folder(
    __name__,
    SIZES,
    {
        "log_mean_square": Variable(
            ("depth", "architecture", "block"), "log of the mean square of y^l", "nat"
        ),
        "log_gradient_squared": Variable(
            ("depth", "architecture", "block"), "log of |dE/dy^l|^2 over |dE/dy^L|^2", "nat"
        ),
        "log_last_gradient_squared": Variable(
            ("depth", "architecture"),
            "log of |dE/dW_2|^2 in the last block, for a gradient of norm 1 at the output",
            "nat",
        ),
    },
)
