"""A verdict: what a claim says, what theory predicts, what was measured, and whether they agree."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from signalprop.bench.measure.estimates import standard_error

if TYPE_CHECKING:  # the report reads verdicts without them
    import xarray as xr
    from numpy.typing import ArrayLike

FIVE_SIGMA = math.erfc(5 / math.sqrt(2))  # chance beyond five standard errors on either side
ZERO = 1e-6  # predictions below it are of nothing, which only an allowance can judge
FEWEST = 8  # networks: from fewer, Student's factor at five sigma is so large that no check can fail

Agreement = Literal["agrees", "disagrees", "no theory"]
Standing = Literal["right", "right after repair", "wrong", "not checkable"]


@dataclass(frozen=True)
class Verdict:
    """One judged statement.

    Attributes:
        claims: Ids in ``bench.record.claims`` that it answers.
        statement: What is judged, as a sentence.
        source: Where the claim or the formula comes from.
        predicted: Theory's number (of the worst of many checks); None where there is no theory.
        measured: The number beside it.
        uncertainty: Standard error of the measurement; 0 for a deterministic one.
        tolerance: Largest difference that counts as agreement.
        tolerance_from: Where the tolerance comes from, with the number of checks.
        agreement: Theory against measurement.
        claim: The popular statement after this measurement.
        correction: The statement as it should read; empty if it is right.
    """

    claims: tuple[str, ...]
    statement: str
    source: str
    predicted: float | None
    measured: float
    uncertainty: float
    tolerance: float | None
    tolerance_from: str
    agreement: Agreement
    claim: Standing
    correction: str = ""


@dataclass(frozen=True)
class Outcome:
    """What a run left: its store, the folder of its figures, and its verdicts."""

    run: Path
    folder: Path
    verdicts: list[Verdict]

    @property
    def disagreements(self) -> list[Verdict]:
        """Verdicts where theory and measurement differ by more than the tolerance."""
        return [v for v in self.verdicts if v.agreement == "disagrees"]


def sampling_factor(num_checks: int = 1, num_samples: int | None = None) -> float:
    """Standard errors allowed so that all of ``num_checks`` hold as surely as one five-sigma check.

    With a standard error estimated from ``num_samples`` values Student's law replaces the Gaussian.
    """
    from scipy import stats

    tail = FIVE_SIGMA / (2 * num_checks)
    return float(stats.norm.isf(tail) if num_samples is None else stats.t.isf(tail, num_samples - 1))


def surely(seeds: int) -> str:
    """What ``sampling_factor`` allows with a standard error from that many networks, in words."""
    return f"as sure as five Gaussian standard errors (Student, {seeds} seeds)"


def judge(
    claims: Sequence[str],
    statement: str,
    source: str,
    *,
    measured: ArrayLike,
    predicted: ArrayLike,
    tolerance: ArrayLike,
    tolerance_from: str,
    uncertainty: ArrayLike = 0.0,
    claim: Standing = "right",
    correction: str = "",
) -> Verdict:
    """Compare measurements with predictions; of many checks the worst is reported.

    Agreement is ``|measured - predicted| <= tolerance`` at every check, equal infinities included. A NaN on
    either side disagrees: leave out what is not defined, and say so in the statement.

    Args:
        claims: Ids that the verdict answers.
        statement: What is judged.
        source: Paper or formula.
        measured: One or many numbers.
        predicted: As many, or one for all.
        tolerance: Allowed difference, systematic and sampling part together; see ``sampling_factor``.
        tolerance_from: Its origin in words.
        uncertainty: Standard errors.
        claim: Standing of the popular statement.
        correction: How it should read.
    """
    if np.size(measured) == 0:
        raise ValueError(f"verdict {statement!r}: got no measurement to compare")
    m, p, t, u = (np.ravel(a) for a in np.broadcast_arrays(measured, predicted, tolerance, uncertainty))
    with np.errstate(invalid="ignore", divide="ignore"):
        excess = np.where(m == p, -np.inf, np.abs(m - p) - t)
        ratio = np.where(m == p, 0.0, np.abs(m - p) / t)
    worst = int(np.argmax(np.where(np.isnan(ratio), np.inf, ratio)))
    agreement: Agreement = "agrees" if bool(np.all(excess <= 0)) else "disagrees"
    checks = f"{tolerance_from}; worst of {m.size} checks" if m.size > 1 else tolerance_from
    return Verdict(
        tuple(claims), statement, source, float(p[worst]), float(m[worst]), float(u[worst]), float(t[worst]),
        checks, agreement, claim, correction,
    )  # fmt: skip


def judge_zero(
    claims: Sequence[str],
    statement: str,
    source: str,
    measured: ArrayLike,
    *,
    tolerance_from: str = "exact",
    claim: Standing = "right",
    correction: str = "",
) -> Verdict:
    """Judge that every one of these numbers is exactly 0, as the gradients of what passes none.

    Args:
        claims: Ids that the verdict answers.
        statement: What is judged.
        source: Paper or formula.
        measured: One or many numbers.
        tolerance_from: Why no difference is allowed.
        claim: Standing of the popular statement.
        correction: How it should read.
    """
    return judge(
        claims, statement, source, measured=measured, predicted=0.0, tolerance=0.0,
        tolerance_from=tolerance_from, claim=claim, correction=correction,
    )  # fmt: skip


def compare(
    claims: Sequence[str],
    statement: str,
    source: str,
    samples: xr.DataArray,
    predicted: xr.DataArray | float,
    *,
    over: str = "seed",
    slack: xr.DataArray | float = 0.0,
    tolerance_from: str = "five standard errors over networks",
    claim: Standing = "right",
    correction: str = "",
) -> list[Verdict]:
    """Compare the mean of some samples with its prediction at every place; no verdict where none is defined.

    The tolerance is ``slack`` and as many standard errors as ``sampling_factor`` allows for that many places
    and samples. A place counts if all its samples are finite and its prediction is known; how many places are
    left out although some of their networks were measured stands in the verdict.

    Args:
        claims: Ids that the verdict answers.
        statement: What is judged.
        source: Paper or formula.
        samples: One number per network along ``over``.
        predicted: What their mean should be, on the other dimensions or some of them; NaN where unknown.
        over: Dimension of the networks.
        slack: Systematic part of the tolerance.
        tolerance_from: Its origin in words.
        claim: Standing of the popular statement.
        correction: How it should read.
    """
    import xarray as xr

    whole = (abs(samples) < np.inf).all(over)
    kept, partly = samples.where(whole), ~whole & samples.notnull().any(over)
    asked, left_out = (c.values.ravel() for c in xr.broadcast(xr.DataArray(predicted), partly))
    lost, known = np.count_nonzero((left_out == 1) & ~np.isnan(asked)), kept.mean(over, skipna=False)
    if lost:
        judged = np.count_nonzero((known + predicted).notnull())
        tolerance_from += f"; {lost} of {lost + judged} places left out, where some networks give no number"
    return compare_estimates(
        claims, statement, source, known, standard_error(kept, over), predicted,
        num_samples=samples.sizes[over], slack=slack, tolerance_from=tolerance_from, claim=claim,
        correction=correction,
    )  # fmt: skip


def compare_estimates(
    claims: Sequence[str],
    statement: str,
    source: str,
    measured: xr.DataArray,
    error: xr.DataArray | float,
    predicted: xr.DataArray | float,
    *,
    num_samples: int | None = None,
    slack: xr.DataArray | float = 0.0,
    tolerance_from: str = "five standard errors over networks",
    claim: Standing = "right",
    correction: str = "",
) -> list[Verdict]:
    """Compare numbers whose errors are known, such as variances over networks, at every place.

    A place counts if its number, error and prediction are known, and if its slack is at most the largest
    prediction (where these are not 0): a wider one would agree with anything. No verdict where none counts.

    Args:
        claims: Ids that the verdict answers.
        statement: What is judged.
        source: Paper or formula.
        measured: One number per place; NaN where there is none.
        error: Its standard error, also NaN where the number should not be judged.
        predicted: What it should be; NaN where unknown.
        num_samples: Number of values that the errors were estimated from; None for exact ones.
        slack: Systematic part of the tolerance.
        tolerance_from: Its origin in words.
        claim: Standing of the popular statement.
        correction: How it should read.
    """
    import xarray as xr

    columns = xr.broadcast(*map(xr.DataArray, (measured, error, predicted, slack)))
    numbers = np.array([column.values.ravel() for column in columns])
    numbers = numbers[:, ~np.isnan(numbers).any(0)]
    if numbers.size == 0:
        return []
    effect = float(np.max(np.abs(numbers[2])))
    vague = (numbers[3] > effect) & (effect > ZERO)
    if vague.any():
        tolerance_from += f"; {vague.sum()} of {vague.size} places left out, where it would exceed the effect"
        numbers = numbers[:, ~vague]
    if numbers.size == 0:
        return []
    values, errors, expected, allowed = numbers
    return [
        judge(
            claims, statement, source, measured=values, predicted=expected, uncertainty=errors,
            tolerance=allowed + sampling_factor(values.size, num_samples) * errors,
            tolerance_from=tolerance_from, claim=claim, correction=correction,
        )
    ]  # fmt: skip


def observe(
    claims: Sequence[str],
    statement: str,
    source: str,
    *,
    measured: float,
    uncertainty: float = 0.0,
    claim: Standing = "right",
    correction: str = "",
) -> Verdict:
    """A measurement that stands alone because no theory covers it."""
    return Verdict(
        tuple(claims), statement, source, None, measured, uncertainty, None,
        "no theory covers this measurement", "no theory", claim, correction,
    )  # fmt: skip


def observe_mean(
    claims: Sequence[str],
    statement: str,
    source: str,
    samples: xr.DataArray,
    *,
    over: str = "seed",
    claim: Standing = "right",
    correction: str = "",
) -> Verdict:
    """The mean of some samples, with its standard error, that stands alone because no theory covers it.

    Args:
        claims: Ids that the verdict answers.
        statement: What is measured.
        source: Where the claim comes from, or how the number was measured.
        samples: One number per network, with ``over`` as their only dimension.
        over: Dimension of the networks.
        claim: Standing of the popular statement.
        correction: How it should read.
    """
    mean, error = float(samples.mean(over)), float(standard_error(samples, over))
    return observe(
        claims, statement, source, measured=mean, uncertainty=error, claim=claim, correction=correction
    )


def why_unjudged(result: xr.Dataset) -> str:
    """Why no verdict could be given on a result, in words.

    It counts the places of the measured array, among those that have a prediction ``..._predicted``, of which
    most could have been judged.
    """
    import xarray as xr

    found = []
    for name in sorted(str(name) for name in result.data_vars if f"{name}_predicted" in result.data_vars):
        finite = abs(result[name]) < np.inf
        whole = finite.all("seed") if "seed" in finite.dims else finite
        measured, known = xr.broadcast(whole, result[f"{name}_predicted"].notnull())
        found.append((int((measured & known).sum()), name, measured, known))
    if not found:
        return "there is no prediction to compare with"
    both, name, measured, known = max(found, key=lambda one: one[0])
    parts = {
        "gave no finite number in some network": int((~measured).sum()),
        "have no prediction": int((~known).sum()),
        "are outside the range in which theory is judged": both,
    }
    said = ", ".join(f"{count} {what}" for what, count in parts.items() if count)
    return f"of {measured.size} places of {name}, {said}"


def write(path: Path, verdicts: Sequence[Verdict]) -> None:
    """Write ``verdicts.json``; numbers keep six digits so that re-runs differ only where results do.

    What is infinite or not a number is written as a string, ``"inf"``, ``"-inf"`` or ``"nan"``: JSON has no
    other way, and many readers refuse the one that Python has.
    """
    entries = [{k: _written(v) for k, v in asdict(verdict).items()} for verdict in verdicts]
    path.write_text(json.dumps(entries, indent=1, allow_nan=False) + "\n")


def read(path: Path) -> list[Verdict]:
    """Read ``verdicts.json``."""
    return [Verdict(**v | {"claims": tuple(v["claims"])} | _numbers(v)) for v in json.loads(path.read_text())]


def _numbers(entry: dict[str, Any]) -> dict[str, float]:
    """Those numbers of a verdict that are written as strings."""
    names = ("predicted", "measured", "uncertainty", "tolerance")
    return {name: float(entry[name]) for name in names if isinstance(entry[name], str)}


def _written(value: object) -> object:
    if not isinstance(value, float):
        return value
    return float(f"{value:.6g}") if math.isfinite(value) else str(value)
