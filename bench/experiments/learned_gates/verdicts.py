"""Verdicts of ``learned-gates``: what training does to gradients, gates, terms and success."""

import xarray as xr

from signalprop.bench.experiments.learned_gates.measure import OFFSETS, STAGES
from signalprop.bench.measure.estimates import standard_error
from signalprop.bench.record.verdict import Standing, Verdict, observe_mean

CLEAR = 5  # standard errors beyond which a difference counts as seen
WEBERNA = "weberna.github.io (2017), 'Why LSTMs Stop Your Gradients From Vanishing'"
KEPT = "The gradient is kept where the task needs it; the mean forget gate shows this only at small biases."
JOZEFOWICZ = "Jozefowicz, Zaremba & Sutskever (2015), ICML 37"


def verdicts(result: xr.Dataset) -> list[Verdict]:
    """State what training does to gradients, gates, terms, and to the chance of success."""
    at = result.isel(cell=0).sortby("forget_bias")
    return [*_kept(at), *_opened(at), _smallest_bias(at), _carousel(at), _success(at)]


def _kept(at: xr.Dataset) -> list[Verdict]:
    """Whether the gradient is kept between the marks better than before; biases share draws and sequences."""
    rates = at["rates"].where(at["solved"] > 0)
    apart = rates.sel(part="between") - rates.sel(part="before")
    first, last = (apart.sel(stage=stage) for stage in STAGES)
    pooled = last.mean("forget_bias").dropna("seed")
    if pooled.size < 2:
        return []
    return [observe_mean(
        ["D21"], "Growth per step of the gradient back from the second mark to the first, minus that before "
        f"the first, in networks that solve the task, mean over biases: {float(first.mean()):+.3f} before "
        f"training; after it {_by_bias(last, 3)} at biases {_biases(at)}, as a mean", WEBERNA,
        pooled,
        claim=_if_above_zero(pooled, "right after repair"),
        correction=KEPT,
    )]  # fmt: skip


def _opened(at: xr.Dataset) -> list[Verdict]:
    """How much wider forget gates are open between the marks than before."""
    log_f = at["log_f"].where(at["solved"] > 0)
    between, before = log_f.where(at["offset"] > 0), log_f.where(at["offset"] < 0)
    wider = between.mean("offset") - before.mean("offset")
    first, last = (wider.sel(stage=stage) for stage in STAGES)
    low = last.isel(forget_bias=0)
    if int(low.count()) < 2:
        return []
    return [observe_mean(
        ["D21"], f"Mean log f in the {max(OFFSETS)} steps after the first mark minus that in the "
        f"{-min(OFFSETS)} before, in networks that solve the task, at biases {_biases(at)}: "
        f"{_by_bias(last, 4)} ({_by_bias(first, 4)} before training). At the first", WEBERNA,
        low,
        claim=_if_above_zero(low, "right after repair"),
        correction=KEPT,
    )]  # fmt: skip


def _smallest_bias(at: xr.Dataset) -> Verdict:
    """What training does to the gradient between the marks where the gate forgets most."""
    low = at["rates"].sel(part="between").isel(forget_bias=0)
    first, last = (low.sel(stage=stage) for stage in STAGES)
    change = last - first
    return observe_mean(
        ["D21", "D20"], "Growth per step of the gradient back from the second mark to the first at the "
        f"smallest bias, {float(low['forget_bias']):g}: {float(first.mean()):+.3f} before "
        "training; after it minus before", WEBERNA,
        change,
        claim=_if_above_zero(change, "right"),
    )  # fmt: skip


def _carousel(at: xr.Dataset) -> Verdict:
    """How much of a step of the memory is the gate's own term."""
    share = at["terms"].sel(term="carousel") / at["terms"].sel(term="sum")
    first, last = (share.sel(stage=stage).mean("forget_bias") for stage in STAGES)
    return observe_mean(
        ["D18", "D22"], "Share of diag f in |dc_t/dc_{t-1}|_F^2 after training, all biases "
        f"({float(first.mean()):.3f} before)", WEBERNA,
        last,
    )  # fmt: skip


def _success(at: xr.Dataset) -> Verdict:
    """What the first bias does to the time that learning takes."""
    half = at["curve"] < at["chance_predicted"] / 2
    learned = at["update"].isel(update=half.argmax("update")).where(half.any("update"))
    rates = ", ".join(f"{float(share):.2f}" for share in at["solved"].mean("seed"))
    later = learned.isel(forget_bias=0) - learned.isel(forget_bias=-1)
    return observe_mean(
        ["D20"], f"Share of networks that solve the task at forget biases {_biases(at)}: {rates}. Updates "
        "until the loss is half that of chance, at the first bias minus at the last", JOZEFOWICZ,
        later,
        claim=_if_above_zero(later, "right"),
    )  # fmt: skip


def _if_above_zero(values: xr.DataArray, claim: Standing) -> Standing:
    """What a clearly positive mean over networks says of the claim; nothing can be said without one."""
    return claim if float(values.mean()) > CLEAR * float(standard_error(values)) else "not checkable"


def _biases(at: xr.Dataset) -> str:
    return ", ".join(f"{float(b):g}" for b in at["forget_bias"])


def _by_bias(values: xr.DataArray, digits: int) -> str:
    """Means and standard errors, for reading."""
    pairs = zip(values.mean("seed").values, standard_error(values).values, strict=True)
    return ", ".join(f"{mean:+.{digits}f} ({error:.{digits}f})" for mean, error in pairs)
