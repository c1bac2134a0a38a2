r"""Where does floating point end a gradient that mathematics keeps?

Four formats, float16, bfloat16, float32 and float64, from one number to a deep network. Theory needs their
bits, and whether this device flushes subnormal numbers to 0, which is measured (`analysis.precision`).

* Slopes. The smallest |z| from which on `jax.grad` of an activation is exactly 0, found among all numbers of
  a format, beside half-ulp analysis of the expression that JAX differentiates to. A slope computed from the
  output, S (1 - S), ends where the output rounds to its limit; one computed from the input by underflow. The
  same for two spellings of a cross entropy.
* Steps. w - lr g == w below half a gap between numbers. Gradient descent on a quadratic of curvature h rests
  k gaps beside the minimum, k |lr h| <= 1/2, or alternates around it if lr h > 3/2, where exact arithmetic
  still converges (it diverges only above 2).
* Products. r^L ends at 0, at infinity, or at a few subnormal numbers for ever.
* Networks. The gradient of a deep network is kept in each format on its way back, beside the log domain, and
  lost after log(limit of the format) / log sqrt(chi_1) layers (arXiv 1611.01232); a plain sum of squares is
  lost at half the depth.
* Singular values. J J^T takes half of their digits; the diagonal of one QR sweep has others
  (``shortcuts.py``).

Sources: IEEE 754-2019; Goldberg (1991), What every computer scientist should know about floating-point
arithmetic.
"""

from dataclasses import dataclass

from signalprop.bench.engine.grid import require_count, require_known
from signalprop.bench.experiment import Variable, in_folder
from signalprop.bench.measure.names import VARIANTS
from signalprop.models.names import ACTIVATIONS

FEW = ("sigmoid", "tanh", "erf", "relu", "maximum", "elu", "gelu_tanh", "log_softmax_loss", "softplus_loss")


@dataclass(frozen=True)
class Settings:
    """Settings of ``precision``."""

    activation: tuple[str, ...] = (*ACTIVATIONS, *VARIANTS)
    """Functions whose slopes are followed to their end."""
    width: int = 128
    """Units of every layer of the networks."""
    depth: int = 540
    """Layers of the networks; float64 loses a vanishing gradient after about 490."""
    seeds: int = 24
    """Networks."""
    seed: int = 0
    """Root of all random numbers."""
    dtype: str = "float32"
    """Type of the signal, the weights and the log-domain gradient."""

    def __post_init__(self) -> None:
        """Refuse settings that cannot be run."""
        require_known("activation", self.activation, (*ACTIVATIONS, *VARIANTS))
        require_count("width", [self.width], 2)
        require_count("depth", [self.depth], 2)
        require_count("seeds", [self.seeds], 2)


SIZES = {
    "quick": Settings(activation=FEW, width=32, seeds=16),
    "standard": Settings(),
    "full": Settings(width=512, seeds=48),
}


EXPERIMENT = in_folder(
    __name__,
    SIZES,
    {
        "slope_edge": Variable(("format", "activation", "side"), "|z| from which on the slope is exactly 0"),
        "value_edge": Variable(("format", "activation", "side"), "|z| from which on the value is constant"),
        "number_edge": Variable(("format", "activation", "side"), "|z| from which on the slope is NaN"),
        "slope_error": Variable(("format", "z"), "relative error of the sigmoid's slope"),
        "moving_step": Variable(("format", "weight"), "smallest step that changes a weight"),
        "rest": Variable(("format", "rate"), "gaps from the minimum, negative if alternating"),
        "product_end": Variable(("format", "factor"), "factors after which a product is 0 or infinite"),
        "product_rest": Variable(("format", "factor"), "what a product is in the end"),
        "kept": Variable(("network", "format", "layer"), "log10 |delta| kept in a format", "decades"),
        "plain": Variable(("network", "format", "layer"), "log10 |delta| by a sum of squares", "decades"),
        "true": Variable(("network", "layer"), "log10 |delta| in the log domain", "decades"),
        "step": Variable(("network", "layer"), "log10 of step over weights, |lr dW| / |W|", "decades"),
    },
)
