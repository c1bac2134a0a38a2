r"""When does a layer of sigmoids saturate, and do its gradients become zero?

A layer z = S(h), h = W x with an input of unit mean square and W_ij ~ N(0, sigma_w^2/n), n inputs: h has the
standard deviation s = sigma_w. A weight has the standard deviation sigma_w / sqrt(n), so at unit weights
s = sqrt(n): width saturates a layer only where the scale of the weights does not go down with it.

Measured: the fraction of saturated units (|h| > 5), the means of the slope S' = z (1 - z) and of its square,
the share of slopes that are exactly 0 in each number format, and the size of both local gradients,
|dE/dW|_F / (|g| |x|) and |dE/dx| / |g| (as mean squares) for a random gradient g of the outputs.

Theory: h is Gaussian. P(|h| > a) = erfc(a / (s sqrt 2)); for large s E S' -> 1 / (s sqrt(2 pi)) and
E S'^2 -> 1 / (6 s sqrt(2 pi)), algebraic in s, never 0. The gradient of W goes with sqrt(E S'^2), that of x
with sqrt(s^2 E S'^2) = sqrt(chi_1), which grows. In a format of p bits S'(h) is exactly 0 above h = p log 2,
where 1 + e^-h rounds to 1, and below -log of the largest number, where e^-h overflows.

Sources: Karpathy, "Yes you should understand backprop" (2016); chi_1 of arXiv 1611.01232.
"""

from dataclasses import dataclass

from signalprop.bench.engine.grid import require_count, require_scale
from signalprop.bench.experiment import Variable, in_folder


@dataclass(frozen=True)
class Settings:
    """Settings of ``sigmoid-saturation``."""

    width: tuple[int, ...] = (64, 1024, 4096)
    """Inputs n of the layer."""
    sigma_w: tuple[float, ...] = (0.125, 0.25, 0.5, 1, 2, 4, 8, 16, 32, 64, 128, 256, 400)
    """Standard deviations s of h."""
    units: int = 256
    """Units m of the layer."""
    seeds: int = 24
    """Layers per setting."""
    seed: int = 0
    """Root of all random numbers."""
    dtype: str = "float32"
    """Type of weights and pre-activations."""

    def __post_init__(self) -> None:
        """Refuse settings that cannot be run."""
        require_count("width", self.width)
        require_scale("sigma_w", self.sigma_w)
        require_count("units", [self.units])
        require_count("seeds", [self.seeds], 2)
        if min(self.sigma_w) == 0:
            raise ValueError("sigma_w: got 0; write scales above 0")


SIZES = {
    "quick": Settings(),
    "standard": Settings(width=(64, 256, 1024, 4096, 16384, 65536), units=512),
    "full": Settings(width=(64, 256, 1024, 4096, 16384, 65536), units=4096, seeds=48),
}


EXPERIMENT = in_folder(
    __name__,
    SIZES,
    {
        "std": Variable((), "root mean square of h"),
        "saturated": Variable((), "fraction of units with |h| > 5"),
        "slope": Variable((), "mean slope"),
        "squared_slope": Variable((), "mean squared slope"),
        "largest_slope": Variable((), "largest slope"),
        "weight_gradient_squared": Variable((), "|dE/dW|^2 / (|g| |x|)^2"),
        "input_gradient_squared": Variable((), "|dE/dx|^2 / |g|^2"),
        "exact_zero": Variable(("format",), "share of slopes that are exactly 0"),
    },
)
