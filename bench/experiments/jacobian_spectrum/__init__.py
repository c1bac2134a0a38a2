r"""Which singular values has the Jacobian of a deep network, and does orthogonality save it?

Network: fully connected, square, at initialization, with Gaussian or orthogonal weights; its Jacobian is
J = D_L W_L ... D_1 W_1, D_l = diag phi'(z^l) at one random input of mean square 1. All activations and scales
share their draws. They are the cases that theory tells apart: linear (exactly solvable), relu (gates are
independent coins: solvable too), hard_tanh (gates that a small signal never closes), tanh (smooth, critical
at q* = 0) and sigmoid (critical only at sigma_w = 10, with the bias that makes a length q* > 0 critical).

Measured: every singular value at many depths from one pass, exactly (stratified product in the log domain, so
nothing under- or overflows; quick runs use the fast form, which leaves those below 2e-16 of the largest out);
the gain log |Ju|^2 of one fixed unit vector at every layer; the rank; and where the same vector and its norm
are lost in float32. Where the signal itself leaves its dtype, all is NaN.

Theory:

* mean of s^2: the product over layers of sigma_w^2 E phi'(sqrt(q^l) z)^2; chi_1^L at a fixed point.
* variance of s^2 over its squared mean: sum over layers of mu_2 / mu_1^2 - 1 - s_1, mu_k = E phi'^(2k), s_1 =
  -1 (Gaussian) or 0 (orthogonal), for L << N: Pennington, Schoenholz & Ganguli (arXiv 1711.04735).
* any L / N: second moments and the law of log |Ju|^2 where slopes are independent of the weights, as for
  linear and relu: Hanin & Nica (arXiv 1812.05994).
* deep linear Gaussian networks: Newman (1986). Dynamical isometry: Saxe, McClelland & Ganguli (arXiv
  1312.6120), figures 6 and 7.
"""

from dataclasses import dataclass

from signalprop.bench.engine.errors import InputError
from signalprop.bench.engine.grid import require_count, require_known, require_scale
from signalprop.bench.experiment import Variable, in_folder
from signalprop.bench.measure.names import FORMS, INPUTS
from signalprop.models.names import ACTIVATIONS

WEIGHTS = ("gaussian", "orthogonal")
EACH = ("weights", "activation")
VARIABLES = {
    "log_singular_values": Variable(
        (*EACH, "depth", "index"), "log of the singular values of dy^l/dy^0; -inf beyond the rank", "nat"
    ),
    "log_mean_square": Variable((*EACH, "depth"), "log of the mean squared singular value", "nat"),
    "relative_variance": Variable((*EACH, "depth"), "variance of s^2 over its squared mean"),
    "rank": Variable((*EACH, "depth"), "singular values that are not exactly zero"),
    "log_gain": Variable((*EACH, "layer"), "log |J u|^2 of a fixed unit vector u", "nat"),
    "forward_lost_at": Variable(EACH, "layer where the signal left the dtype's range, 0 if never"),
    "norm_lost_at": Variable(EACH, "layer where sqrt(sum (J u)^2) is lost in float32, 0 if never"),
    "vector_lost_at": Variable(EACH, "layer where J u itself is lost in float32, 0 if never"),
}


@dataclass(frozen=True)
class Settings:
    """Settings of ``jacobian-spectrum``."""

    activation: tuple[str, ...] = ("linear", "relu", "hard_tanh", "tanh", "gelu", "sigmoid")
    """Activation functions."""
    weights: tuple[str, ...] = WEIGHTS
    """Weight families: gaussian, orthogonal."""
    multiple: tuple[float, ...] = (1.0,)
    """Weight scales, as multiples of the activation's critical sigma_w."""
    sigma_w: tuple[float, ...] = (0.5, 3.0)
    """Weight scales as they are."""
    width: int = 64
    """Units of the input and of every layer."""
    depth: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1000)
    """Depths at which all singular values are found, increasing."""
    seeds: int = 12
    """Networks per setting."""
    seed: int = 0
    """Root of all random numbers."""
    dtype: str = "float64"
    """Type of weights and signals; the product of Jacobians is always kept in float64."""
    input: str = "gaussian"
    """One example per network: gaussian, digits, mnist, fashion_mnist or cifar10."""
    form: str = "exact"
    """Singular values to be found: exact (all), or fast (those above 2e-16 times the largest)."""

    def __post_init__(self) -> None:
        """Refuse settings that cannot be run."""
        require_known("activation", self.activation, ACTIVATIONS)
        require_known("weights", self.weights, WEIGHTS)
        require_known("form", [self.form], FORMS)
        require_known("input", [self.input], INPUTS)
        require_scale("multiple", (*self.multiple, *self.sigma_w))
        for axis in ("multiple", "sigma_w"):
            if 0 in getattr(self, axis):
                raise InputError(f"{axis}: got 0; write scales above 0")
        require_count("width", [self.width], 2)
        require_count("depth", self.depth)
        require_count("seeds", [self.seeds])
        if list(self.depth) != sorted(set(self.depth)):
            raise InputError(f"depth: got {self.depth}; write increasing numbers")


SIZES = {
    "quick": Settings(
        ("linear", "relu", "tanh", "sigmoid"), width=32, depth=(1, 2, 4, 8, 16, 32), seeds=24, form="fast"
    ),
    "standard": Settings(),
    "full": Settings(width=128, multiple=(0.9, 1.0, 1.1), seeds=32),
}


EXPERIMENT = in_folder(__name__, SIZES, VARIABLES)
