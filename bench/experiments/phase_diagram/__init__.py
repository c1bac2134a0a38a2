r"""Which initializations make gradients vanish, and which make them explode?

Square networks over the plane of sigma_w (weights of variance sigma_w^2 / N) and sigma_b (standard deviation
of the biases), with Gaussian and with real input. Measured in layers behind the transient and before the end:

* growth: the logarithm of |delta^l|^2 / |delta^{l+1}|^2, the back-propagated gradient of a pre-activation;
* separation: the logarithm of the same factor for q (1 - c), half the mean squared difference of the
  pre-activations of two nearly equal inputs on their way forward, while 1 - c stays within [1e-11, 1e-4].

Theory says that both are log chi_1, chi_1 = sigma_w^2 E phi'(z)^2: vanishing gradients in the ordered phase,
chi_1 < 1, exploding ones in the chaotic phase, chi_1 > 1 (Poole et al., arXiv 1606.05340; Schoenholz et al.,
arXiv 1611.01232). The mean of a logarithm lies below the logarithm of the mean: at width N by
(3 mu_2 / mu_1^2 - 1) / 2N per layer, mu_k = E phi'^{2k}; for relu 5 / 2N, as in arXiv 1801.03744. chi_1 is
taken at the length that theory gives each layer of the window, so that slow transients, relu without a fixed
point (sigma_b > 0), and gelu, which on part of its critical line is unstable in length, are predicted too.

The expansion in 1/N says nothing where its first term is large: such settings are measured and not judged.

The plane is drawn over sigma_w on a logarithmic axis, on which Schoenholz's sigma_w^2 gives the same picture.
Each activation has its own range: sigma_w is set as a multiple of the critical one at sigma_b = 0, or as it
is, for all of them.
"""

from dataclasses import dataclass

from signalprop.bench.engine.grid import require_count, require_known, require_scale
from signalprop.bench.experiment import Variable, in_folder
from signalprop.models.names import ACTIVATIONS

WIDE = ("tanh", "erf", "relu", "gelu", "sigmoid", "selu")
FINE = (0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 1.0, 1.1, 1.25, 1.5, 1.8, 2.2, 3.0)
BOTH = ("gaussian", "digits")


@dataclass(frozen=True)
class Settings:
    """Settings of ``phase-diagram``."""

    activation: tuple[str, ...] = ("tanh", "sigmoid")
    """Activations, one compilation each."""
    ratio: tuple[float, ...] = (0.1, 0.4, 0.7, 0.9, 1.1, 1.4, 2.0, 3.0)
    """Weight scales, as multiples of the activation's critical sigma_w at sigma_b = 0 (of 1 without one)."""
    sigma_w: tuple[float, ...] = ()
    """Weight scales as they are; if given, they stand in place of the ratios."""
    sigma_b: tuple[float, ...] = (0.0, 0.2236, 0.5, 1.0)
    """Standard deviations of the biases."""
    data: tuple[str, ...] = ("gaussian",)
    """Inputs: gaussian or the name of a data set."""
    width: int = 192
    """Units N of every layer."""
    depth: int = 16
    """Layers L; theory for infinite width holds up to about N / 16."""
    skip: tuple[int, int] = (5, 3)
    """Layers left out of the window at the input and at the output."""
    seeds: int = 16
    """Networks per setting."""
    seed: int = 0
    """Root of all random numbers."""
    dtype: str = "float32"
    """Type of weights and signals."""

    def __post_init__(self) -> None:
        """Refuse settings that cannot be run."""
        require_known("activation", self.activation, ACTIVATIONS)
        if self.ratio or not self.sigma_w:
            require_scale("ratio", self.ratio)
        if self.sigma_w:
            require_scale("sigma_w", self.sigma_w)
        require_scale("sigma_b", self.sigma_b)
        require_count("width", [self.width])
        require_count("skip", self.skip, 0)
        require_count("seeds", [self.seeds], 2)
        scales = self.sigma_w or self.ratio
        if 0 in scales or list(scales) != sorted(set(scales)):
            name = "sigma_w" if self.sigma_w else "ratio"
            raise ValueError(f"{name}: got {scales}; write increasing scales above 0")
        if self.depth < sum(self.skip) + 3:
            raise ValueError(f"depth: got {self.depth}; write at least {sum(self.skip) + 3}")


SIZES = {
    "quick": Settings(),
    "standard": Settings(activation=WIDE, ratio=FINE, data=BOTH, width=512, depth=32, seeds=20),
    "full": Settings(
        activation=WIDE, ratio=FINE, sigma_b=(0.0, 0.1, 0.2236, 0.5, 1.0), data=BOTH, width=1000, depth=36,
        seeds=100,
    ),
}  # fmt: skip


EXPERIMENT = in_folder(
    __name__,
    SIZES,
    {
        "growth": Variable(("input",), "mean growth of log |delta|^2 per layer towards the input", "nats"),
        "separation": Variable(
            ("input",), "mean growth of log q (1 - c) per layer of two close inputs", "nats"
        ),
        "log_q": Variable(("input",), "log of the mean squared pre-activation behind the window", "nats"),
    },
)
