r"""When do gradients of a random recurrent network explode in time, and what does input change?

The network is a_t = g W phi(a_{t-1}) + s x_t with the same W at every step: Gaussian of variance 1/N, or
Haar orthogonal; x_t is Gaussian noise, independent at every unit and step. Gradients grow or shrink by
exp(lambda_1) per step, the largest Lyapunov exponent. Measured by QR on the tangent: lambda_1 at several
widths, gains g and input strengths s; at one width the whole spectrum, from which follow the dimension of the
attractor (Kaplan-Yorke) and its entropy bound (sum of the positive exponents). Beside them the mean square q
of the pre-activations over time, and the spectral radius of every W.

Theory:

* lambda_1 = log[g^2 E phi'(sqrt(q) z)^2] / 2 with q = g^2 E phi(sqrt(q) z)^2 + s^2: mean field, exact for
  wide networks (Sompolinsky, Crisanti & Sommers 1988; with input Molgedey, Schuchhardt & Schuster 1992; in
  discrete time Engelken, Wolf & Abbott, arXiv 2006.02427). Finite width lowers it by
  (3 mu_2 / mu_1^2 - 1) / (4N).
* Where the state dies (g < 1, s = 0) the same matrix acts at every step: lambda_1 = log(g rho(W)) at every N.
* The whole spectrum is that of a product of free matrices, D_t W, at the network's own q.
"""

from dataclasses import dataclass
from typing import Literal

from signalprop.bench.engine.grid import require_count, require_known, require_scale
from signalprop.bench.experiment import Variable, in_folder
from signalprop.models.names import ACTIVATIONS

FAMILIES: tuple[Literal["gaussian", "orthogonal"], ...] = ("gaussian", "orthogonal")


@dataclass(frozen=True)
class Settings:
    """Settings of ``edge-of-chaos-rnn``."""

    scheme: tuple[str, ...] = FAMILIES
    """Recurrent weights: gaussian or orthogonal."""
    width: tuple[int, ...] = (48,)
    """Numbers N of units."""
    gain: tuple[float, ...] = (0.5, 1.0, 1.5, 2.0, 3.0, 5.0)
    """Gains g of the recurrent weights, above 0."""
    noise: tuple[float, ...] = (0.0, 1.0)
    """Standard deviations s of the input to a unit at one step."""
    activation: str = "tanh"
    """Activation of all units."""
    settle: int = 100
    """Steps before anything is followed."""
    align: int = 30
    """Steps in which the directions turn, not counted either."""
    steps: int = 200
    """Steps over which the largest exponent is averaged."""
    spectrum_width: int = 48
    """Width at which all exponents are measured; none if it is not among the widths."""
    spectrum_steps: int = 100
    """Steps over which these are averaged."""
    seeds: int = 12
    """Networks per setting; below 8 no verdict is judged by their scatter."""
    seed: int = 0
    """Root of all random numbers."""
    dtype: str = "float32"
    """Floating point type."""

    def __post_init__(self) -> None:
        """Refuse settings that cannot be run."""
        require_known("scheme", self.scheme, FAMILIES)
        require_count("width", self.width, least=2)
        require_scale("gain", self.gain)
        require_scale("noise", self.noise)
        require_known("activation", [self.activation], ACTIVATIONS)
        require_count("steps", [self.steps, self.spectrum_steps])
        for axis in ("settle", "align", "spectrum_width"):
            require_count(axis, [getattr(self, axis)], least=0)
        if min(self.gain) == 0:
            raise ValueError("gain: got 0; write gains above 0")


SIZES = {
    "quick": Settings(),
    "standard": Settings(
        width=(64, 128, 256, 512),
        gain=(0.5, 0.8, 0.9, 1.0, 1.2, 1.5, 2.0, 3.0, 5.0, 10.0),
        noise=(0.0, 0.3, 0.5, 1.0),
        settle=200,
        align=40,
        steps=400,
        spectrum_width=128,
        spectrum_steps=200,
        seeds=16,
    ),
    "full": Settings(
        width=(64, 128, 256, 512, 1024),
        gain=(0.5, 0.8, 0.9, 1.0, 1.1, 1.2, 1.35, 1.5, 1.75, 2.0, 2.5, 3.0, 4.0, 5.0, 7.0, 10.0),
        noise=(0.0, 0.1, 0.3, 0.5, 1.0, 2.0),
        settle=1000,
        align=200,
        steps=3000,
        spectrum_width=256,
        spectrum_steps=1000,
        seeds=24,
    ),
}


EXPERIMENT = in_folder(
    __name__,
    SIZES,
    {
        "exponent": Variable(("scheme",), "largest Lyapunov exponent", "nats per step"),
        "q": Variable(("scheme",), "mean square of the pre-activations over units and time"),
        "radius": Variable(("scheme",), "spectral radius of the recurrent weights at gain 1"),
        "exponents": Variable(
            ("scheme", "index"), "Lyapunov exponents, where they are resolved", "nats per step"
        ),
    },
)
