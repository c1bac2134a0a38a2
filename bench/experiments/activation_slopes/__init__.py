r"""How large is the slope of an activation, and does a gradient shrink by it in every layer?

The slopes of all activations are checked against closed forms, and the popular rule "each sigmoid multiplies
the gradient by at most 1/4" against wide, fully connected networks without biases, W_ij ~ N(0, sigma_w^2/N).

Measured: log |delta^l| of every layer, delta^l = dE/dz^l, for an input of unit mean square and a random
cotangent. The factor per layer is its slope, without some layers at either end.

Theory: |delta^l|^2 = chi_1 |delta^{l+1}|^2 with chi_1 = sigma_w^2 E phi'(sqrt(q) z)^2 at the length q of the
layer (Schoenholz et al., arXiv 1611.01232). The bound 1/4 on the slope is no bound on sqrt(chi_1), which for
the sigmoid passes 1 at sigma_w = 10.149. At width N the mean logarithm is lower by
(3 mu_2 / mu_1^2 - 1) / (4 N) per layer, mu_k = E phi'^{2k} (for relu the 5 / (4 N) of Hanin and Nica, arXiv
1812.05994).

Sources of the claims: see ``bench.record.claims``, A1 to A25.
"""

from dataclasses import dataclass

from signalprop.bench.engine.grid import require_count, require_known, require_scale
from signalprop.bench.experiment import Variable, in_folder
from signalprop.models.names import ACTIVATIONS

FOUR = ("sigmoid", "tanh", "relu", "linear")
SCALES = (0.1, 0.3, 1.0, 1.414, 2.0, 4.0, 6.0, 8.0, 10.149, 13.0, 20.0)
FIRST, LAST = 5, 3  # layers left out of the slope: transient of the length below, cotangent above


@dataclass(frozen=True)
class Settings:
    """Settings of ``activation-slopes``."""

    activation: tuple[str, ...] = ("sigmoid", "tanh", "relu")
    """Activations of the measured networks; the slopes of all known ones are always checked."""
    sigma_w: tuple[float, ...] = (0.3, 1.0, 1.414, 4.0, 8.0, 10.149, 13.0, 20.0)
    """Weight scales."""
    width: int = 128
    """Units per layer."""
    depth: int = 20
    """Layers."""
    seeds: int = 12
    """Networks per setting."""
    seed: int = 0
    """Root of all random numbers."""
    dtype: str = "float32"
    """Type of the networks."""

    def __post_init__(self) -> None:
        """Refuse settings that cannot be run."""
        require_known("activation", self.activation, ACTIVATIONS)
        require_scale("sigma_w", self.sigma_w)
        require_count("width", [self.width])
        require_count("depth", [self.depth], FIRST + LAST + 2)
        require_count("seeds", [self.seeds], 2)


SIZES = {
    "quick": Settings(),
    "standard": Settings(FOUR, SCALES, width=512, depth=30, seeds=24),
    "full": Settings(FOUR, SCALES, width=1024, depth=100, seeds=48),
}


EXPERIMENT = in_folder(
    __name__, SIZES, {"log_delta": Variable(("layer",), "log norm of dE/dz in a layer", "nats")}
)
