r"""Does free probability foretell the whole Jacobian spectrum, and can depth leave it alone?

Network: fully connected, square, at initialization, with Gaussian or orthogonal weights; its Jacobian is
J = D_L W_L ... D_1 W_1, D_l = diag phi'(z^l). Scales are critical, sigma_w^2 E phi'(sqrt(q) z)^2 = 1, with
the bias and the input's length that keep every layer at the same q. Besides networks of one q for all depths
there are isometric ones: for each depth L, q gives sigma_0^2 = L (mu_2 / mu_1^2 - 1), mu_k = E phi'^(2k), the
same value.

Measured: the singular values at several depths from one pass; those below 1e-13 of the largest are counted
but not resolved. Each spectrum is divided by its own mean square, whose log wanders by O(sqrt(L/N)).

Theory (N to infinity), nothing fitted:

* density of s^2, its upper edge and its atoms from free products of the layers: Pennington, Schoenholz &
  Ganguli (arXiv 1711.04735). Linear Gaussian networks: Fuss-Catalan, edge (L+1)^(L+1) / L^L.
* the edge grows like L for all Gaussian networks, and for relu under both initializations. With orthogonal
  weights and fixed sigma_0^2 it tends to a limit, as L^(-1/2) for smooth activations (arXiv 1802.09979).
* the largest value at width N: edge, less 1.2065 scales N^(-2/3), by the law of Tracy and Widom.
* half of a relu network's singular values are 0 at every depth; at width N, the largest of L binomials.
"""

from dataclasses import dataclass

from signalprop.bench.engine.errors import InputError
from signalprop.bench.engine.grid import require_count, require_known, require_scale
from signalprop.bench.experiment import Variable, in_folder
from signalprop.models.names import ACTIVATIONS


@dataclass(frozen=True)
class Settings:
    """Settings of ``free-probability``."""

    activation: tuple[str, ...] = ("linear", "relu", "hard_tanh", "tanh", "erf", "gelu")
    """Activation functions, each at one length q for all depths."""
    isometric: tuple[str, ...] = ("tanh", "erf")
    """Activation functions whose q shrinks with depth so that sigma_0^2 stays."""
    spread: float = 0.25
    """sigma_0^2 = L (mu_2 / mu_1^2 - 1) of the isometric networks."""
    width: int = 512
    """Units of the input and of every layer."""
    depth: tuple[int, ...] = (1, 4, 16, 64)
    """Depths at which all singular values are found, increasing."""
    points: int = 300
    """Points of a predicted density."""
    seeds: int = 4
    """Networks per setting."""
    seed: int = 0
    """Root of all random numbers."""
    dtype: str = "float64"
    """Type of weights, signals and products."""

    def __post_init__(self) -> None:
        """Refuse settings that cannot be run."""
        require_known("activation", self.activation, ACTIVATIONS)
        if self.isometric:
            require_known("isometric", self.isometric, ACTIVATIONS)
        require_scale("spread", [self.spread])
        require_count("width", [self.width], 2)
        require_count("depth", self.depth)
        require_count("points", [self.points], 20)
        if list(self.depth) != sorted(set(self.depth)):
            raise InputError(f"depth: got {self.depth}; write increasing numbers")
        if self.spread == 0:
            raise InputError("spread: got 0; write a number above 0")


SIZES = {
    "quick": Settings(
        ("linear", "relu", "hard_tanh", "tanh"), ("tanh",), width=128, depth=(1, 4, 16), points=150, seeds=8
    ),
    "standard": Settings(),
    "full": Settings(width=1024, depth=(1, 4, 16, 64, 128), seeds=12),
}


EXPERIMENT = in_folder(
    __name__,
    SIZES,
    {
        "log_singular_values": Variable(
            ("depth", "index"),
            "log of the singular values of dy^L/dy^0; NaN below 2e-16 of the largest",
            "nat",
        )
    },
)
