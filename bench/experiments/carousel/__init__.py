r"""What keeps the gradient of an LSTM: the carousel, its gates, or the paths around it?

Recurrent cells of equal width, driven by x_t ~ N(0, I) that adds noise of standard deviation 1 to every gate,
for many forget biases and gains of the recurrent weights. A small change of the state is followed along the
trajectory by several paths, in the log domain (``bench.measure.memory``):

* the LSTM of 1997 has two gates and no forget gate. With its truncated gradient dc_t/dc_{t-1} = 1 exactly;
  without truncation it is not (Hochreiter & Schmidhuber 1997, Neural Computation 9, 1735);
* the modern LSTM (Gers et al. 2000) has dc_t/dc_{t-1} = diag f_t and three more terms by way of h_{t-1}. The
  four are right for one step with o_{t-1} held fixed. Their product over steps is not dc_T/dc_1, and neither
  is the exponent of the path through f alone that of the whole carry (c, h).

Theory: gates of constant pre-activation b keep for 1 + e^b steps, random ones for -1 / E log f; exponents of
wide networks whose weights are drawn anew at every step ("untied", ``analysis.gatedfield``; Gilboa et al.
1901.08987, Chen et al. 1806.05394). Real networks keep their weights, and for the LSTM it matters.
"""

from dataclasses import dataclass

import numpy as np

from signalprop.bench.engine.grid import require_count, require_finite, require_known, require_scale
from signalprop.bench.experiment import Variable, in_folder

UNTIED = "lstm_untied"
CELLS = ("lstm", UNTIED, "lstm_1997", "lstm_1997_full", "gru", "minimal_rnn", "tanh")
SHOWN = 40  # first steps of which every term is recorded


@dataclass(frozen=True)
class Settings:
    """Settings of ``carousel``."""

    cell: tuple[str, ...] = CELLS
    """Cells; lstm_untied draws new weights at every step."""
    forget_bias: tuple[float, ...] = (-1.0, 0.0, 1.0, 2.0, 3.0, 5.0)
    """Biases of the gate that keeps the state."""
    gain: tuple[float, ...] = (0.0, 1.0, 2.0, 4.0)
    """Scales g of the recurrent weights, of variance g^2 / N."""
    input_scale: float = 1.0
    """Standard deviation that the inputs add to every pre-activation."""
    width: int = 32
    """Units N, and number of inputs."""
    steps: int = 240
    """Steps T of every trajectory."""
    transient: int = 80
    """First steps that do not count for exponents; rounded to a recorded one, two strides before the end."""
    stride: int = 20
    """Steps between two records of sizes; divides the number of steps."""
    population: int = 1000
    """Units of the population that theory follows."""
    seeds: int = 12
    """Networks per setting."""
    seed: int = 0
    """Root of all random numbers."""
    dtype: str = "float32"
    """Type of weights and states."""

    def __post_init__(self) -> None:
        """Refuse settings that cannot be run."""
        require_known("cell", self.cell, CELLS)
        require_scale("gain", self.gain)
        require_finite("forget_bias", self.forget_bias)
        require_scale("input_scale", [self.input_scale])
        require_count("width", [self.width])
        require_count("steps", [self.steps], least=SHOWN)
        require_count("stride", [self.stride])
        require_count("population", [self.population])
        if self.steps % self.stride or not 0 < self.transient <= self.steps - 2 * self.stride:
            raise ValueError(
                f"steps, stride, transient: got {self.steps}, {self.stride}, {self.transient}; write a "
                "multiple of the stride, and a transient above 0 that leaves at least two strides"
            )


SIZES = {
    "quick": Settings(cell=("lstm", UNTIED, "lstm_1997"), population=500),
    "standard": Settings(
        forget_bias=(-1.0, 0.0, 1.0, 2.0, 3.0, 4.0, 5.0),
        gain=(0.0, 0.5, 1.0, 2.0, 3.0, 4.0),
        width=96,
        steps=600,
        transient=200,
        population=4000,
        seeds=16,
    ),
    "full": Settings(
        forget_bias=tuple(np.arange(-1.0, 5.5, 0.5).tolist()),
        gain=(0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0),
        width=256,
        steps=2000,
        transient=500,
        population=20000,
        seeds=32,
    ),
}


EXPERIMENT = in_folder(
    __name__,
    SIZES,
    {
        "log_norm": Variable(("path", "time"), "log of the size of a change along each path", "nats"),
        "cell_square": Variable(("time",), "mean square of the cell state"),
        "terms": Variable(
            ("term", "step"), "|A|_F^2 / N of the terms of dc_t/dc_{t-1}, from the first step on"
        ),
        "discrepancy": Variable(("step",), "relative error of the four-term product as dc_t/dc_0"),
        "late_terms": Variable(("term",), "|A|_F^2 / N of the terms after the transient"),
        "diagonal_share": Variable(
            (), "share of the last three terms, squared, that lies on their diagonals"
        ),
        "formula_error": Variable((), "largest relative difference of the four terms and autodiff, any step"),
    },
)
