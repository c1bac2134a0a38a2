r"""How many decades does a gradient lose, for each activation and initialization?

Network: fully connected, square, without biases, at initialization. All activations and inputs travel through
the same random matrices; gradients start from a fresh random read-out at each of several depths. One example
gives the gradients, a small batch the activities. Error bars are over networks. Data pass through a random
isometry to the network's width; with Gaussian weights that is a rectangular first layer in law.

Measured: size, mean and histogram of the activities and of delta^l = dE/dz^l in every layer, and of the
weight gradient, |dE/dW^l|_F = |delta^l| |y^(l-1)| for one example.

Theory: an infinitely wide layer multiplies |delta|^2 by sigma_w^2 E phi'(sqrt(q^l) z)^2 (Schoenholz et al.,
arXiv 1611.01232). The logarithm of that factor fluctuates at width N. For Gaussian relu networks its law is
exact (Hanin & Nica, arXiv 1812.05994); `analysis.fluctuations` extends mean and variance to any activation,
and to orthogonal weights, to first order in 1/N. Where lengths are unstable, as with gelu and silu at He
weights, fluctuations grow with depth and only the wide profile is given. Identity matrices mix no units, and
smart_tanh's 15 weights per unit are too few for a sum to be Gaussian: they have no prediction. Pictures after
Glorot & Bengio (2010), figures 6 to 8, and the activation statistics of CS231n.
"""

from dataclasses import dataclass

from signalprop.bench.engine.errors import InputError
from signalprop.bench.engine.grid import require_count, require_known, require_scale
from signalprop.bench.experiment import Variable, in_folder
from signalprop.bench.measure.names import INPUTS
from signalprop.models.names import ACTIVATIONS, SCHEMES

NET = ("scheme", "activation", "input")
VARIABLES = {
    "log_q": Variable((*NET, "layer"), "log of the mean squared pre-activation", "nat"),
    "log_std": Variable((*NET, "layer"), "log of the standard deviation of activities over units", "nat"),
    "relative_mean": Variable((*NET, "layer"), "mean activity over units / rms pre-activation"),
    "forward_lost_at": Variable(NET, "first layer where the signal left the dtype's range, 0 if never"),
    "decades": Variable((*NET, "depth", "layer"), "log10 |delta^l| / |delta^L|", "decades"),
    "weight_decades": Variable((*NET, "depth", "layer"), "log10 |dE/dW^l| / |dE/dW^L|", "decades"),
    "total_decades": Variable((*NET, "depth"), "log10 |delta^1| / |delta^L|", "decades"),
    "activity_histogram": Variable((*NET, "histogram_layer", "bin"), "share of the activities"),
    "gradient_histogram": Variable((*NET, "histogram_layer", "bin"), "share of delta^l / rms delta^L"),
    "weight_gradient_histogram": Variable((*NET, "histogram_layer", "bin"), "share of dE/dW^l / rms dE/dW^L"),
}


@dataclass(frozen=True)
class Settings:
    """Settings of ``layer-profiles``."""

    activation: tuple[str, ...] = tuple(ACTIVATIONS)
    """Activation functions."""
    scheme: tuple[str, ...] = tuple(SCHEMES)
    """Weight initializations."""
    input: tuple[str, ...] = ("gaussian", "digits")
    """Inputs, moved to the network's width by a random isometry and scaled to |x|^2 = width."""
    width: int = 256
    """Units of the input and of every layer."""
    depth: tuple[int, ...] = (10, 20, 50, 100)
    """Layers that get a read-out; activities are followed to the deepest."""
    histogram_layer: tuple[int, ...] = (1, 3, 5, 8, 10)
    """Layers whose histograms are kept, of the network with the smallest depth."""
    weight_std: float = 1.0
    """Standard deviation of the weights of the schemes gaussian and orthogonal; 1 is oversized."""
    batch: int = 4
    """Examples of each input in the statistics of activities."""
    seeds: int = 24
    """Networks per scheme."""
    seed: int = 0
    """Seed of the first random key."""
    dtype: str = "float32"
    """Type of weights and signals."""

    def __post_init__(self) -> None:
        """Check the values."""
        require_known("activation", self.activation, ACTIVATIONS)
        require_known("scheme", self.scheme, SCHEMES)
        require_known("input", self.input, INPUTS)
        require_scale("weight-std", [self.weight_std])
        require_count("depth", self.depth, 2)
        require_count("histogram-layer", self.histogram_layer)
        require_count("seeds", [self.seeds], 2)
        for axis in ("width", "batch"):
            require_count(axis, [getattr(self, axis)])
        if min(self.histogram_layer) > min(self.depth):
            raise InputError(f"histogram-layer: got {self.histogram_layer}; write 1 to {min(self.depth)}")


SIZES = {
    "quick": Settings(
        activation=("linear", "sigmoid", "tanh", "relu"),
        scheme=("normal_001", "uniform_standard", "glorot_uniform", "he_normal", "gaussian"),
        input=("gaussian",),
        width=128,
        depth=(10, 30),
        seeds=16,
    ),
    "standard": Settings(),
    "full": Settings(width=1000, batch=30, seeds=100),
}


EXPERIMENT = in_folder(__name__, SIZES, VARIABLES)
