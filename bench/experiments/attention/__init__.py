r"""Where do gradients of a transformer vanish: at pre-LN or post-LN, and when tokens collapse?

Blocks of self-attention and a relu network of two layers, at initialization (Xavier matrices, no biases),
with layer norm before each part, after it, or nowhere, with and without skip connections, attention and relu
network. Gradients start from Gaussian noise on the output, a different one for each token.

Measured after every block: the norm of the gradient, and how different tokens still are, the residual |x -
mean over tokens| / |x|; for every block the gradients of its query, value and last relu matrices.

Theory. Blocks without attention (Xiong et al., arXiv 2002.04745): pre-LN has |x_l|^2 = 1 + l/2 per unit, so
that with the last layer norm |g_l|^2 = 2 / (l + 2) and the gradient of the last matrix falls as 1/sqrt(L);
post-LN keeps |g|^2, as the branch adds what the layer norm takes, against the (2/3)^(L - l) often quoted.
With attention, `analysis.attention` gives lengths and cosines of tokens in wide blocks, derived for this
suite: without skips the residual of a block goes as the cube of the one before (Dong et al., arXiv
2103.03404; the constant is that of many heads), post-LN halves its square per block, pre-LN takes a power of
depth (Noci et al., arXiv 2206.03126). The last matrix follows from them. No theory is given for gradients
through attention: these measurements stand alone.
"""

from dataclasses import dataclass

from signalprop.bench.engine.grid import require_count
from signalprop.bench.experiment import Variable, in_folder


@dataclass(frozen=True)
class Settings:
    """Settings of ``attention``."""

    width: int = 32
    """Units d of a token and of the relu layer."""
    heads: tuple[int, ...] = (2,)
    """Heads of the attention."""
    tokens: int = 8
    """Tokens n of the input."""
    depth: tuple[int, ...] = (2, 4, 8, 16)
    """Numbers L of blocks, increasing."""
    seeds: int = 16
    """Networks, each with an input of its own."""
    seed: int = 0
    """Root of all random numbers."""
    dtype: str = "float64"
    """Type of weights and signals; float32 loses a collapsing residual two blocks earlier."""

    def __post_init__(self) -> None:
        """Refuse settings that cannot be run."""
        require_count("width", [self.width], 2)
        require_count("heads", self.heads)
        require_count("tokens", [self.tokens], 2)
        require_count("depth", self.depth)
        if list(self.depth) != sorted(set(self.depth)):
            raise ValueError(f"depth: got {self.depth}; write increasing numbers")
        if any(self.width % heads for heads in self.heads):
            raise ValueError(f"heads: got {self.heads}; write divisors of the width {self.width}")


SIZES = {
    "quick": Settings(),
    "standard": Settings(width=64, heads=(4,), tokens=16, depth=(2, 4, 8, 16, 24), seeds=24),
    "full": Settings(width=512, heads=(8,), tokens=64, depth=(2, 4, 8, 16, 24, 48, 64), seeds=48),
}


EXPERIMENT = in_folder(
    __name__,
    SIZES,
    {
        "residual": Variable(("block",), "log10 of |x - mean over tokens| / |x|", "decades"),
        "gradient": Variable(("block",), "log10 of |dE/dx^l| per unit, relative to the output's", "decades"),
        "query": Variable(("block",), "log10 of the norm of the query matrix' gradient", "decades"),
        "value": Variable(("block",), "log10 of the norm of the value matrix' gradient", "decades"),
        "relu": Variable(("block",), "log10 of the norm of the last relu matrix' gradient", "decades"),
    },
)
