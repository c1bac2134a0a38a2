"""A prediction of theory for given parameters, as text and as JSON."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from signalprop.bench.engine.errors import InputError
from signalprop.bench.engine.grid import require_scale

if TYPE_CHECKING:  # the list of topics is read without JAX and pandas
    import pandas as pd

    from signalprop.models.activations import Activation

Number = float | int | bool | str


class Prediction(NamedTuple):
    """Numbers by name, and the columns or the rows of a table if there is one."""

    values: dict[str, Number]
    tabled: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None

    @property
    def table(self) -> "pd.DataFrame | None":
        """The table."""
        if self.tabled is None:
            return None
        import pandas as pd

        return pd.DataFrame(self.tabled)

    def as_text(self) -> str:
        """Lines of names and numbers, then the table, with ten digits."""
        width = max(map(len, self.values), default=0)
        lines = [
            f"{k:{width}}  {v:.10g}" if isinstance(v, float) else f"{k:{width}}  {v}"
            for k, v in self.values.items()
        ]
        table = self.table
        if table is not None:
            lines += [""] * bool(lines) + [table.to_string(index=False, float_format="{:.10g}".format)]
        return "\n".join(lines)

    def as_json(self, given: Mapping[str, Any]) -> str:
        """One object: parameters, numbers, the table as a list of objects; infinities and NaN as text."""
        table = self.table
        rows = {} if table is None else {"table": table.to_dict("records")}
        return json.dumps(_finite({**given, **self.values, **rows}))


def find_activation(name: str) -> "Activation":
    """The activation of an option ``--activation``.

    Raises:
        InputError: If there is none of that name.
    """
    from signalprop.models.activations import activation

    try:
        return activation(name)
    except ValueError as error:
        raise InputError(f"--activation: {str(error).removeprefix('activation ')}") from error


def require_scales(sigma_w: float, sigma_b: float = 0.0) -> None:
    """Raise InputError unless both scales are finite and not negative."""
    require_scale("--sigma-w", (sigma_w,))
    require_scale("--sigma-b", (sigma_b,))


def _finite(value: Any) -> Any:
    """The same without numbers that JSON lacks."""
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_finite(v) for v in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
