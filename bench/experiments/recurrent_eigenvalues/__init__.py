r"""Do the eigenvalues of recurrent weights tell whether gradients vanish or explode?

Random networks h_t = phi(g W h_{t-1} + s x_t), x_t ~ N(0, I), of every activation, ensemble of W, gain g and
input s; W is Gaussian, orthogonal, the identity, Pascanu's sparse matrices of given spectral radius ("smart
tanh") or nilpotent, [[A, -A], [A, -A]], whose eigenvalues are all 0. Measured: the growth per step of a
gradient dL/dh_{T-k} with the lag k, in the log domain, beside spectral radius, largest singular value,
numerical radius, and the growth of a change over 100 steps of other inputs (a Lyapunov exponent). Each rule
"above 1 it explodes, below 1 it vanishes" is counted against the measured sign. Networks of five usual
initializations are trained on the adding problem, with the eigenvalues of W before and after.

Theory:

* The Jacobian of k steps is a product of D_t W. With slopes of at most gamma it is at most
  (gamma s_max(W))^k: s_max < 1/gamma is sufficient for vanishing, s_max > 1/gamma necessary for exploding
  (Pascanu et al., arXiv 1211.5063). The spectral radius decides for a linear network only.
* Wide networks of independent entries grow by sqrt(chi_1), chi_1 = g^2 E phi'^2 (mean field with input as
  bias). relu without input: g / sqrt 2 for Gaussian and orthogonal W, g for the identity.
* The nilpotent ensemble: (1/2) log[g^2 E (phi'(z) - phi'(z'))^2], derived in `analysis.recurrent`.
"""

import math
from dataclasses import dataclass

from signalprop.bench.engine.grid import require_count, require_known, require_scale
from signalprop.bench.experiment import Variable, in_folder
from signalprop.bench.measure.names import NILPOTENT
from signalprop.bench.training.settings import require_learning_rates
from signalprop.models.names import ACTIVATIONS, SCHEMES

TRANSIENT = 50  # steps before anything is counted
TRAINED = {
    "Gaussian": ("gaussian", 1.0, "tanh"),
    "orthogonal": ("orthogonal", 1.0, "tanh"),
    "smart tanh": ("smart_tanh", 0.95, "tanh"),
    "half identity": ("scaled_identity", 0.5, "tanh"),
    "IRNN": ("scaled_identity", 1.0, "relu"),
}
"""Scheme, gain and activation of the networks that are trained."""
RECORDS = 10  # parts of the training
RANGE = 700.0  # nats from 1 to the ends of float64
_NETWORK = ("ensemble", "activation", "gain", "input_std")


def trained_cells(ensembles: tuple[str, ...]) -> tuple[str, ...]:
    """The networks that are trained: those whose matrices are drawn."""
    return tuple(name for name, (scheme, _, _) in TRAINED.items() if scheme in ensembles)


@dataclass(frozen=True)
class Settings:
    """Settings of ``recurrent-eigenvalues``."""

    ensemble: tuple[str, ...] = ("gaussian", "orthogonal", "scaled_identity", "smart_tanh", NILPOTENT)
    """Ensembles of W: schemes of the suite, and nilpotent."""
    activation: tuple[str, ...] = ("linear", "tanh", "relu", "sigmoid")
    """Activations."""
    gain: tuple[float, ...] = (0.5, 0.8, 1.0, 1.6, 3.2)
    """Factors g of W."""
    input_std: tuple[float, ...] = (0.0, 1.0)
    """Standard deviations s of the input to each unit."""
    width: int = 32
    """Units N of the networks of the audit."""
    steps: int = 150
    """Largest lag; the growth is taken from a fifth of it on."""
    length: int = 12
    """Steps of the adding problem."""
    updates: int = 60
    """Adam steps on fresh batches."""
    batch_size: int = 20
    """Sequences per batch."""
    learning_rate: float = 3e-3
    """Of Adam, with gradients clipped to norm 1."""
    seeds: int = 16
    """Independent repetitions; the networks of one share their draws."""
    seed: int = 0
    """Root of all random numbers."""
    dtype: str = "float64"
    """Type of weights and states; float32 loses linear networks that grow."""

    def __post_init__(self) -> None:
        """Refuse settings that cannot be run."""
        require_known("ensemble", self.ensemble, (*SCHEMES, NILPOTENT))
        require_known("activation", self.activation, ACTIVATIONS)
        require_scale("gain", self.gain)
        require_scale("input-std", self.input_std)
        require_count("width", [self.width], 16)
        require_count("steps", [self.steps], 20)
        require_count("length", [self.length], 4)
        if self.updates < RECORDS or self.updates % RECORDS:
            raise ValueError(f"updates: got {self.updates}; write a multiple of {RECORDS}")
        require_count("batch-size", [self.batch_size])
        require_learning_rates([self.learning_rate])
        require_count("seeds", [self.seeds], 2)
        for gain in self.gain:
            if gain == 0 or max(math.log(gain) + 0.15, 0.5 - math.log(gain)) > RANGE / (
                self.steps + TRANSIENT
            ):
                raise ValueError(
                    f"gain: got {gain}; a linear or relu state leaves float64, write one nearer 1"
                )
        if not trained_cells(self.ensemble):
            raise ValueError(f"ensemble: got {', '.join(self.ensemble)}; write gaussian or another to train")


SIZES = {
    "quick": Settings(),
    "standard": Settings(
        gain=(0.3, 0.5, 0.8, 1.0, 1.2, 1.3, 1.6, 2.2, 3.2, 4.5),
        input_std=(0.0, 0.3, 1.0),
        width=64,
        steps=300,
        length=20,
        updates=400,
    ),
    "full": Settings(
        gain=(0.4, 0.5, 0.65, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3, 1.6, 1.9, 2.2, 2.7, 3.2, 4.0),
        input_std=(0.0, 0.1, 0.3, 1.0, 2.0),
        width=256,
        steps=400,
        length=50,
        updates=5000,
        batch_size=64,
        seeds=32,
    ),
}


EXPERIMENT = in_folder(
    __name__,
    SIZES,
    {
        "slope": Variable(_NETWORK, "growth of the gradient per step of lag", "nats"),
        "lyapunov": Variable(_NETWORK, "exponent over 100 steps of other inputs", "nats per step"),
        "real": Variable(("ensemble", "index"), "real parts of the eigenvalues at gain 1"),
        "imaginary": Variable(("ensemble", "index"), "imaginary parts of the eigenvalues at gain 1"),
        "radius": Variable(("ensemble",), "spectral radius at gain 1"),
        "largest": Variable(("ensemble",), "largest singular value at gain 1"),
        "numerical": Variable(("ensemble",), "numerical radius at gain 1"),
        "trained_real": Variable(("cell", "stage", "index"), "real parts of the eigenvalues"),
        "trained_imaginary": Variable(("cell", "stage", "index"), "imaginary parts of the eigenvalues"),
        "trained_largest": Variable(("cell", "stage"), "largest singular value"),
        "trained_loss": Variable(("cell", "stage"), "mean square error, first and last tenth of the updates"),
        "trained_slope": Variable(("cell", "stage"), "growth of the gradient per step of lag", "nats"),
    },
)
