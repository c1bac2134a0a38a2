"""All that is known of a diagnosed network, to look at and to keep."""

import dataclasses
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from signalprop.analysis.diagnosis.rule import DECADE
from signalprop.bench.diagnosis.verdict import NOT_CHECKED, Diagnosis

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

SCHEMA = 1


@dataclass(frozen=True, repr=False)
class Report(Diagnosis):
    """A diagnosis with its text, table, figure and JSON."""

    @cached_property
    def table(self) -> "pd.DataFrame":
        """One row for each layer, in decades."""
        import pandas as pd

        return pd.DataFrame([_row(layer) for layer in self.measured.layers]).set_index("layer")

    def figure(self) -> "Figure":
        """Signal, gradient and likeness over depth, beside their predictions."""
        from signalprop.bench.diagnosis.figure import draw

        return draw(self)

    def to_json(self, path: str | Path) -> None:
        """Write everything, see `json`."""
        Path(path).write_text(self.json() + "\n")

    def json(self) -> str:
        """Everything as JSON, the schema's version first; NaN as null, infinities as strings."""
        content = {
            "schema": SCHEMA,
            "cause": self.cause,
            "verdict": self.verdict,
            "findings": [dataclasses.asdict(x) | {"borderline": x.borderline} for x in self.findings],
            "dtype": self.dtype,
            "notes": self.notes,
            "not_checked": NOT_CHECKED,
            **dataclasses.asdict(self.measured),
        }
        return json.dumps(_strict(content), indent=1)

    def __str__(self) -> str:
        from signalprop.bench.diagnosis.text import screen

        return screen(self)

    __repr__ = __str__


def _row(layer: Any) -> dict[str, Any]:
    """A layer as it is read: decades, and scales as initializations give them."""
    prediction, activity, weights = layer.prediction, layer.activity, layer.weights
    return {
        "layer": layer.name,
        "kind": layer.kind,
        "activation": layer.activation,
        "units": layer.units,
        "sigma_w": weights.sigma_w if weights else np.nan,
        "weight_mean": weights.mean if weights else np.nan,
        "sigma_b": layer.sigma_b,
        "bias_mean": layer.bias_mean,
        "log10_rms": layer.signal.log_rms / DECADE,
        "mean": layer.signal.mean,
        "examples_std": layer.signal.examples_std,
        "cosine": layer.signal.cosine,
        "saturated": activity.saturated if activity else np.nan,
        "silent": activity.silent if activity else np.nan,
        "silent_expected": activity.silent_expected if activity else np.nan,
        "log10_gradient": layer.log_gradient / DECADE,
        "gain": layer.gain / DECADE,
        "gain_predicted": prediction.log_gain / DECADE if prediction else np.nan,
        "gain_deviation": prediction.deviation / DECADE if prediction else np.nan,
        "source": layer.source,
    }


def _strict(value: Any) -> Any:
    """What JSON can hold."""
    if isinstance(value, dict):
        return {name: _strict(part) for name, part in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [_strict(part) for part in value]
    if isinstance(value, np.generic):
        return _strict(value.item())
    if isinstance(value, float) and not np.isfinite(value):
        return None if np.isnan(value) else str(value)
    return value
