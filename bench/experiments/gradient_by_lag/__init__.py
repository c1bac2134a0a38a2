r"""How much of a gradient is left k steps before the loss, in every kind of recurrent cell?

Each network sees white noise for ``lags`` steps, from a carry of zero, through as many inputs as units, so
that every pre-activation has independent noise of standard deviation ``input_scale``. The loss reads the
carry h_T (for an LSTM c and h) in a random direction. Measured, in the log domain: |dL/dh_{T-k}| of the whole
carry at every lag k, the gradient of each unit, and the leading Lyapunov exponent of the same run. Cells
without gates are measured at several gains of W, gated ones at several biases of the gate that keeps.

Theory, with J_t = D_t W:

* The rate is the leading Lyapunov exponent. For wide networks it is (1/2) log(g^2 E phi'^2) (mean field),
  with relu log(g / sqrt 2). A linear network has log rho(W) at any width.
* |dL/dh_{T-k}| <= (gamma s_max(W))^k |dL/dh_T|, gamma the largest slope. So s_max < 1/gamma is sufficient for
  vanishing and s_max > 1/gamma necessary for exploding (Pascanu, Mikolov, Bengio, arXiv 1211.5063).
* A unit of the IRNN (relu, W = 1, no bias; Q. Le, N. Jaitly, G. Hinton, arXiv 1504.00941) is a random walk
  reflected at 0: its gradient is kept until the walk has touched 0, and then is exactly 0. The last visit to
  0 follows the discrete arcsine law, whatever the strength of the noise.
* In the LSTM of 1997 with its truncated gradient dc_t/dc_{t-1} is exactly 1 (S. Hochreiter, J. Schmidhuber).
"""

from dataclasses import dataclass, replace

from signalprop.bench.engine.grid import require_count, require_finite, require_known, require_scale
from signalprop.bench.experiment import Variable, in_folder
from signalprop.models.names import CELLS

SHORT = 20  # steps of the sequence whose weight gradient is summed lag by lag


@dataclass(frozen=True)
class Settings:
    """Settings of ``gradient-by-lag``."""

    cell: tuple[str, ...] = ("tanh", "relu", "irnn", "lstm_1997")
    """Recurrent cells."""
    gain: tuple[float, ...] = (0.5, 1.0, 1.4142, 2.0, 12.0)
    """Gains g of W in cells without gates."""
    forget_bias: tuple[float, ...] = (-1.0, 0.0, 1.0, 3.0, 5.0)
    """Biases of the keeping gate in gated cells, as many as gains: the two share an axis."""
    gated_gain: float = 1.0
    """Gain of the recurrent weights of gated cells."""
    input_scale: float = 0.3
    """Standard deviation of the noise that the inputs add to every pre-activation."""
    units: int = 32
    """Units, and inputs."""
    lags: int = 200
    """Steps of the sequence, and largest lag."""
    seeds: int = 12
    """Networks per setting."""
    seed: int = 0
    """Root of all random numbers."""
    dtype: str = "float32"
    """Type of weights, states and gradients."""

    def __post_init__(self) -> None:
        """Refuse settings that cannot be run."""
        require_known("cell", self.cell, CELLS)
        require_scale("gain", self.gain)
        require_scale("gated_gain", [self.gated_gain])
        require_scale("input_scale", [self.input_scale])
        require_finite("forget_bias", self.forget_bias)
        require_count("units", [self.units], 2)
        require_count("lags", [self.lags], 2 * SHORT)
        require_count("seeds", [self.seeds], 2)
        if self.input_scale == 0:
            raise ValueError("input_scale: got 0, at which every state stays 0; write a number above 0")
        if 0 in self.gain:
            raise ValueError("gain: got 0, at which no gradient is left; write numbers above 0")
        if len(self.gain) != len(self.forget_bias):
            raise ValueError(
                f"forget_bias: got {self.forget_bias}; write {len(self.gain)} numbers, as of gain"
            )


STANDARD = Settings(
    cell=(
        "tanh", "sigmoid", "relu", "linear", "tanh_orthogonal", "relu_orthogonal", "smart_tanh", "irnn",
        "lstm_1997", "lstm_1997_full", "lstm", "gru",
    ),
    gain=(0.5, 1.0, 1.2, 1.4142, 2.0, 12.0),
    forget_bias=(-1.0, 0.0, 1.0, 2.0, 3.0, 5.0),
    units=128, lags=1000, seeds=20,
)  # fmt: skip
SIZES = {
    "quick": Settings(),
    "standard": STANDARD,
    "full": replace(STANDARD, cell=tuple(CELLS), units=512, seeds=100),
}


EXPERIMENT = in_folder(
    __name__,
    SIZES,
    {
        "log_norm": Variable(("lag",), "log of |dL/dh_{T-k}|, whole carry", "nats"),
        "live": Variable(("lag",), "share of the units (c of an LSTM) whose gradient is not exactly 0"),
        "heat": Variable(("shown_lag", "unit"), "log10 of a unit's gradient (c of an LSTM)", "decades"),
        "lost_at": Variable((), "step at which the state leaves float range, 0 if it does not", "steps"),
        "exponent": Variable(
            (), "leading Lyapunov exponent of the same run; not of relu and linear", "nats per step"
        ),
        "log_kept": Variable((), "mean log of what a memory keeps per step", "nats per step"),
        "sum_error": Variable((), "relative error of the weight gradient summed lag by lag"),
        "radius": Variable((), "spectral radius of W"),
        "largest_singular": Variable((), "largest singular value of W"),
        "largest_slope": Variable((), "largest slope of the activation met"),
    },
)
