r"""Does normalization cure exploding and vanishing gradients?

Layers phi(norm(W y)), wide and without skip connections, at initialization. Norms: none; layer norm and RMS
norm, over units; batch norm over batches of B examples. Weights are Gaussian with the same large scale in all
normalized networks; those without a norm have it too ("none, large"), or He's for relu and LeCun's otherwise
("none"). "dropout k" are the latter with weights sqrt(k) smaller, and outputs kept with probability k and
divided by it, for one input under many masks.

Measured: log |dE/dy^l|^2 over all examples, and its growth per layer towards the input, away from both ends;
the share of units in saturation; the cosine between examples at the output.

Theory (`signalprop.analysis.growth`): batch norm makes gradients explode for every nonlinearity (Yang et al.,
arXiv 1902.08129), by pi / (pi - 1) per layer for relu, whatever the weights' scale; layer norm gives
E phi'^2 / E phi^2, which is 1 for relu and small for activations with a mean, such as softplus; dropout
needs sigma_w^2 = 2k for relu (Schoenholz et al., arXiv 1611.01232).
"""

from dataclasses import dataclass

from signalprop.bench.engine.grid import require_count, require_known, require_scale
from signalprop.bench.experiment import Variable, in_folder
from signalprop.models.names import ACTIVATIONS

EACH = ("norm", "activation")


@dataclass(frozen=True)
class Settings:
    """Settings of ``normalization``."""

    activation: tuple[str, ...] = (
        "linear", "relu", "tanh", "gelu", "silu", "elu", "sigmoid", "softplus",
    )  # fmt: skip
    """Activations."""
    batch_size: tuple[int, ...] = (8, 32)
    """Examples B of batch normalization; each divides the largest, which is the number of examples."""
    keep: tuple[float, ...] = (0.8, 0.5)
    """Probabilities of dropout to keep a unit."""
    sigma_w: float = 8.0
    """Scale of the large weights."""
    width: int = 256
    """Units N."""
    depth: int = 30
    """Layers L."""
    skipped: int = 10
    """Layers at the input end that are left out of the growth per layer; 8 or more to judge batch norm."""
    seeds: int = 24
    """Independent networks."""
    seed: int = 0
    """Root of all random numbers."""
    dtype: str = "float32"
    """Type of weights, signals and gradients."""

    def __post_init__(self) -> None:
        """Refuse settings that cannot be run."""
        require_known("activation", self.activation, ACTIVATIONS)
        require_count("batch_size", self.batch_size, 4)
        require_scale("sigma_w", [self.sigma_w])
        if self.sigma_w == 0:
            raise ValueError("sigma_w: got 0; write a scale above 0")
        require_count("width", [self.width], 4)
        require_count("skipped", [self.skipped], 0)
        require_count("depth", [self.depth], self.skipped + 4)
        for size in self.batch_size:
            if max(self.batch_size) % size:
                raise ValueError(f"batch_size: got {self.batch_size}; write divisors of the largest")
        for keep in self.keep:
            if not 0 < keep <= 1:
                raise ValueError(f"keep: got {keep}; write a probability above 0")


SIZES = {
    "quick": Settings(
        activation=("linear", "relu", "tanh", "sigmoid", "softplus"),
        batch_size=(8, 16), keep=(0.8,), width=96, depth=22, seeds=12,
    ),
    "standard": Settings(),
    "full": Settings(batch_size=(8, 32, 128), width=1024, depth=50, seeds=32),
}  # fmt: skip


EXPERIMENT = in_folder(
    __name__,
    SIZES,
    {
        "log_gradient_squared": Variable((*EACH, "layer"), "log of |dE/dy^l|^2 over |dE/dy^L|^2", "nat"),
        "log_mean_square": Variable((*EACH, "layer"), "log of the mean square of y^l", "nat"),
        "saturated": Variable(
            ("norm", "activation"), "share of outputs with a slope below a tenth of the largest"
        ),
        "cosine": Variable(("norm", "activation"), "mean cosine of the outputs of two examples"),
    },
)
