r"""Does a trained LSTM keep its gradient where the task needs it, by its gates?

LSTMs are trained on the adding problem: two of T numbers are marked, one in each half, and the answer is
their sum. The first marked number has to be kept and nothing before it, so a network that "learns to decide
when to let the gradient vanish, and when to preserve it" (weberna.github.io, 2017) should keep the gradient
from the second mark back to the first, and may lose it before. All biases of the forget gate are trained
together, from the same draws.

Measured on test sequences before and after training: the gradient |dL/d(c_t, h_t)|, forget and input gates by
time from the first mark, the four terms of dc_t/dc_{t-1} (``analysis.gated``), the decay of a change of c_0
along the whole carry, and whether the task is solved. No theory covers what training does; theory says what
the bias alone gives: 1 + e^b steps.

Sources: Hochreiter & Schmidhuber (1997), Neural Computation 9, 1735; Gers, Schmidhuber & Cummins (2000),
Neural Computation 12, 2451; Jozefowicz, Zaremba & Sutskever (2015), ICML 37, on the forget bias.
"""

from dataclasses import dataclass

from signalprop.bench.engine.grid import require_count, require_finite
from signalprop.bench.experiment import Variable, in_folder
from signalprop.bench.training.settings import require_learning_rates


@dataclass(frozen=True)
class Settings:
    """Settings of ``learned-gates``."""

    forget_bias: tuple[float, ...] = (0.0, 3.0)
    """Biases of the forget gate at the start."""
    length: int = 20
    """Steps T of a sequence."""
    units: int = 12
    """Units of the LSTM."""
    updates: int = 200
    """Updates by Adam."""
    records: int = 20
    """Points of the learning curves; divides the updates."""
    batch_size: int = 16
    """Sequences per update."""
    learning_rate: float = 0.01
    """Learning rate."""
    seeds: int = 12
    """Networks per bias."""
    seed: int = 0
    """Root of all random numbers."""
    dtype: str = "float32"
    """Type of weights and states."""

    def __post_init__(self) -> None:
        """Refuse settings that cannot be run."""
        require_finite("forget_bias", self.forget_bias)
        for name in ("units", "updates", "records", "batch_size"):
            require_count(name, [getattr(self, name)])
        require_count("length", [self.length], least=4)
        require_learning_rates([self.learning_rate])
        if self.updates % self.records:
            raise ValueError(f"records: got {self.records}; write a divisor of the {self.updates} updates")


SIZES = {
    "quick": Settings(),
    "standard": Settings(
        forget_bias=(-1.0, 0.0, 1.0, 3.0, 5.0),
        length=40,
        units=24,
        updates=800,
        records=40,
        batch_size=20,
        learning_rate=0.005,
    ),
    "full": Settings(
        forget_bias=(-1.0, 0.0, 1.0, 2.0, 3.0, 5.0),
        length=150,
        units=64,
        updates=10_000,
        records=100,
        batch_size=32,
        learning_rate=0.003,
        seeds=20,
    ),
}


EXPERIMENT = in_folder(
    __name__,
    SIZES,
    {
        "curve": Variable(("update",), "mean square error in training"),
        "solved": Variable((), "1 if the task is solved"),
        "log_f": Variable(
            ("stage", "offset"), "mean log of the forget gates by time from the first mark", "nats"
        ),
        "input_gate": Variable(("stage", "offset"), "mean input gate by time from the first mark"),
        "gradient": Variable(("stage", "offset"), "log |dL/d(c_t, h_t)| by time from the first mark", "nats"),
        "rates": Variable(("stage", "part"), "growth of the gradient per step, back in time", "nats"),
        "exponent": Variable(("stage",), "growth per step of a change of c_0, along (c, h)", "nats"),
        "terms": Variable(("stage", "term"), "|A|_F^2 / N of the terms of dc_t/dc_{t-1}"),
    },
)
