"""Two runs of one experiment side by side: settings, verdicts, and every number in standard errors."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from signalprop.bench.measure.estimates import run_settings, standard_error
from signalprop.bench.record.verdict import Verdict

if TYPE_CHECKING:
    import xarray as xr


class Judged(NamedTuple):
    """One statement with the verdict of either run; None where only the other one judges it."""

    statement: str
    a: Verdict | None
    b: Verdict | None


class Distance(NamedTuple):
    """How far one array differs between two runs.

    Attributes:
        variable: Its name.
        standard_errors: Largest ``|mean a - mean b| / sqrt(error a^2 + error b^2)`` over the places that both
            runs have, means and standard errors being over the seeds; inf where numbers without spread
            differ, NaN if no place has both.
        difference: ``|mean a - mean b|`` there; of an array without seeds its largest difference.
        places: Places that count; of them the largest of so many independent Gaussians is expected anyway.
        left_out: Common places at which a run has no number, or too few networks for a standard error.
        where: Coordinates of the largest.
    """

    variable: str
    standard_errors: float
    difference: float
    places: int
    left_out: int
    where: dict[str, Any]


class Comparison(NamedTuple):
    """Two runs of one experiment.

    Attributes:
        settings: Those that differ, with both values.
        software: Code, versions and device that differ, with both values.
        identical: Whether every array is the same to the last bit.
        verdicts: Statement by statement.
        distances: Variable by variable.
    """

    settings: dict[str, tuple[Any, Any]]
    software: dict[str, tuple[Any, Any]]
    identical: bool
    verdicts: list[Judged]
    distances: list[Distance]

    def as_text(self) -> str:
        """What differs, the verdicts, then the largest difference of every variable."""
        if self.identical and not (self.settings or self.software):
            lines = ["same settings and code: the same to the last bit"]
        else:
            numbers = "the same to the last bit" if self.identical else "differ"
            parts = {"settings": _listed(self.settings), "code": _listed(self.software), "numbers": numbers}
            lines = [f"{name}: {text}" for name, text in parts.items()]
        for statement, *sides in self.verdicts:
            lines += [statement, *(f"  {n}: {_said(v)}" for n, v in zip("AB", sides, strict=True))]
        common = [one for one in self.distances if one.places + one.left_out]
        apart = [one.variable for one in self.distances if one not in common]
        if common and not self.identical:
            lines.append("largest difference between means over the seeds, in combined standard errors")
            lines += [_located(distance) for distance in common]
        if apart and not self.identical:
            lines.append(f"no number in common, so not compared: {', '.join(apart)}")
        return "\n".join(lines)

    def as_json(self) -> str:
        """One object; infinities and NaN as text."""
        verdicts = [judged._asdict() for judged in self.verdicts]
        distances = [distance._asdict() for distance in self.distances]
        return json.dumps(_finite({**self._asdict(), "verdicts": verdicts, "distances": distances}))


def comparison(
    a: xr.Dataset, b: xr.Dataset, verdicts_a: Sequence[Verdict], verdicts_b: Sequence[Verdict]
) -> Comparison:
    """Compare two results of one experiment at the places that both have.

    Runs of the same ``seed`` share draws where their settings do: their differences are then smaller than the
    combined standard error, which is that of independent networks, suggests.

    Args:
        a: The first result, as a store loads it.
        b: The second.
        verdicts_a: Verdicts of the first.
        verdicts_b: Verdicts of the second.
    """
    software = [{**json.loads(r.attrs["versions"]), **_code(r.attrs)} for r in (a, b)]
    names = sorted(str(name) for name in a.data_vars if name in b.data_vars)
    return Comparison(
        _different(run_settings(a), run_settings(b)),
        _different(*software),
        _identical(a, b),
        _paired(verdicts_a, verdicts_b),
        [_distance(name, _labelled(a[name]), _labelled(b[name])) for name in names],
    )


def _code(attrs: dict[str, Any]) -> dict[str, Any]:
    """What decides numbers beside settings and versions."""
    own = json.loads(attrs.get("sources", "{}"))
    return {
        "code": attrs["code_hash"],
        "device": attrs["device_kind"],
        "xla_flags": attrs["xla_flags"],
        **own,
    }


def _different(a: dict[str, Any], b: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    return {k: (a.get(k), b.get(k)) for k in {**a, **b} if a.get(k) != b.get(k)}


def _identical(a: xr.Dataset, b: xr.Dataset) -> bool:
    """Whether both have the same arrays of the same bytes; coordinates may be text."""

    def bits(array: Any) -> Any:
        values = array.values
        content = values.tolist() if values.dtype == object else values.tobytes()
        return array.dims, values.dtype.str, values.shape, content

    one, other = ({str(k): bits(v) for k, v in result.variables.items()} for result in (a, b))
    return one == other


def _paired(a: Sequence[Verdict], b: Sequence[Verdict]) -> list[Judged]:
    """Verdicts by statement; of one that is judged several times the first with the first, and so on."""
    sides: dict[tuple[str, int], list[Verdict | None]] = {}
    for side, verdicts in enumerate((a, b)):
        count: dict[str, int] = defaultdict(int)
        for verdict in verdicts:
            sides.setdefault((verdict.statement, count[verdict.statement]), [None, None])[side] = verdict
            count[verdict.statement] += 1
    return [Judged(statement, *both) for (statement, _), both in sides.items()]


def _labelled(values: xr.DataArray) -> xr.DataArray:
    """With one label per point of every axis but the seeds, also of an axis of several scalars."""
    for dim in values.dims:
        names = [str(k) for k, c in values.coords.items() if c.dims == (dim,)]
        if dim not in values.coords and names:
            rows = zip(*(values[k].values.tolist() for k in names), strict=True)
            text = [" ".join(f"{k}={v:g}" for k, v in zip(names, row, strict=True)) for row in rows]
            values = values.assign_coords({dim: np.array(text, object)})
    return values.drop_duplicates([dim for dim in values.dims if dim != "seed"])


def _distance(name: str, a: xr.DataArray, b: xr.DataArray) -> Distance:
    import xarray as xr

    if set(a.dims) != set(b.dims):  # over different axes
        return Distance(name, math.nan, math.nan, 0, 0, {})
    a, b = xr.align(a.astype(float), b.astype(float), join="inner", exclude=["seed"])
    with np.errstate(invalid="ignore", divide="ignore"):
        error = 0.0 * abs(a)
        if "seed" in a.dims:
            error = (standard_error(a) ** 2 + standard_error(b) ** 2) ** 0.5
            a, b = (values.mean("seed", skipna=False) for values in (a, b))
        apart = abs(a - b).where(a != b, 0.0)
        ratio = (apart / error).where(a != b, 0.0)
    places, left_out = int(ratio.count()), int((ratio.isnull() & (a.notnull() | b.notnull())).sum())
    if places == 0:
        return Distance(name, math.nan, math.nan, 0, left_out, {})
    size = (ratio if np.isfinite(ratio).any() else apart).fillna(-1.0).values
    at = dict(zip(ratio.dims, np.unravel_index(int(np.argmax(size)), size.shape), strict=True))
    where = {str(dim): ratio[dim].values[[i]].tolist()[0] for dim, i in at.items() if dim in ratio.coords}
    return Distance(name, float(ratio[at]), float(apart[at]), places, left_out, where)


def _listed(pairs: dict[str, tuple[Any, Any]]) -> str:
    return "; ".join(f"{name} {a} and {b}" for name, (a, b) in pairs.items()) or "the same"


def _said(verdict: Verdict | None) -> str:
    if verdict is None:
        return "not judged"
    predicted = "" if verdict.predicted is None else f", predicted {verdict.predicted:.4g}"
    return f"measured {verdict.measured:.4g}{predicted}, {verdict.agreement}"


def _located(distance: Distance) -> str:
    """A line about one variable."""
    name, ratio, difference, places, left_out, where = distance
    at = f" at {', '.join(f'{k} {v}' for k, v in where.items())}" if where else ""
    errors = f"{ratio:.3g} ({difference:.3g})" if ratio < math.inf else f"without errors, {difference:.3g}"
    found = "not compared" if places == 0 else "the same" if ratio == 0 else errors + at
    return f"  {name}: {found}; {places} places" + f", {left_out} left out" * bool(left_out)


def _finite(value: Any) -> Any:
    """The same without numbers that JSON lacks."""
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(v) for v in value]
    if isinstance(value, Verdict):
        return _finite(asdict(value))
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
