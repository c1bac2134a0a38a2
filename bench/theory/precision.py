"""What theory predicts for number formats: the topic ``precision`` of ``signalprop theory``."""

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np

from signalprop.analysis import precision
from signalprop.bench.engine.grid import require_known, require_scale
from signalprop.bench.measure.names import FORMATS
from signalprop.bench.theory.prediction import Number, Prediction


@dataclass(frozen=True)
class Precision:
    """Depth at which a product of equal factors is lost in each number format, rounded after each factor.

    ``ends_at`` is what the product becomes with gradual underflow: 0, infinity, or a number at which it
    sticks. ``power_rounded_once`` is the depth at which the power itself is lost on this device.
    """

    factor: float = 0.25
    """The factor, such as the largest slope of a sigmoid."""
    formats: tuple[str, ...] = FORMATS
    """Number formats."""

    def predict(self) -> Prediction:
        """See `signalprop.analysis.precision`."""
        require_known("--formats", self.formats, FORMATS)
        require_scale("--factor", (self.factor,))
        rows = [self._row(name) for name in self.formats]
        values: dict[str, Number] = {"factor": self.factor}
        long = [str(row["format"]) for row in rows if any(value != value for value in row.values())]
        if long:
            why = "more than 2^30 roundings, too many to follow; power_rounded_once is near"
            values["withheld"] = f"NaN in {', '.join(long)}: {why}"
        return Prediction(values, rows)

    def _row(self, name: str) -> dict[str, Number]:
        with np.errstate(over="ignore"):
            held = float(np.asarray(self.factor, jnp.dtype(name)))
        gradual, flushed = (precision.death_depth(held, name, flush) for flush in (False, True))
        flushes = precision.measured_flush_to_zero(name)
        return {
            "format": name,
            "factor_held": held,
            "zero_at": float(gradual.depth),
            "ends_at": float(gradual.residue),
            "zero_at_if_flushed": float(flushed.depth),
            "infinite_at": float(precision.overflow_depth(held, name)),
            "power_rounded_once": float(precision.rounded_once(held, name, flushes)),
            "this_device_flushes": flushes,
        }
