"""Verdicts of ``flossing``: who learns at equal budget, and what becomes of exponents and gradients."""

import numpy as np
import xarray as xr
from scipy import stats

from signalprop.analysis.statistics import share_interval
from signalprop.bench.measure.estimates import share_and_error
from signalprop.bench.record.verdict import FEWEST, Verdict, compare, observe, observe_mean, surely
from signalprop.bench.training.flossing import COUNTED, LONG

ENGELKEN = "Engelken (2023), arXiv 2312.17306"
LN10 = float(np.log(10))
ABOUT_ONE = (
    "About 1 in one direction, as at the critical gain, keeps the size of a gradient but need not suffice to "
    "learn; about 1 in several directions, as after flossing, can, and without gates. About 0 is vanishing."
)
REMEDY = (
    "Clipping does nothing against vanishing gradients. Gates are one remedy; flossed exponents are another, "
    "for a plain tanh network."
)


def verdicts(result: xr.Dataset) -> list[Verdict]:
    """Report success, clipping and cost; judge exponents and gradients, and report conditioning."""
    found = [*_success(result), *_gain(result), *_clipping(result), _cost(result)]
    if "before" in result["schedule"].values:
        at = result.sel(schedule="before").isel(delay=0)  # delay and clipping come in after flossing
        if {"gaussian", "clipped"} <= set(at["start"].values):
            at = at.drop_sel(start="clipped")
        found += [*_exponents(at), *_gradients(at)] if at.sizes["seed"] >= FEWEST else []
        found.append(_conditioning(at))
    return found


def _success(result: xr.Dataset) -> list[Verdict]:
    """Networks that solve the task, by delay, schedule and start."""
    count, found = result.sizes["seed"], []
    total = count * result.sizes["start"]
    for delay in result["delay"].values:
        for schedule in result["schedule"].values:
            solved = result["solved"].sel(delay=delay, schedule=schedule).sum("seed")
            parts = []
            for start in result["start"].values:
                low, high = share_interval(int(solved.sel(start=start)), count)
                parts.append(f"{start} {int(solved.sel(start=start))}/{count} ({low:.2f}-{high:.2f})")
            share, error = share_and_error(int(solved.sum()), total)
            found.append(observe(
                ["D6", "D12"], f"Delayed XOR, d = {delay}, flossing: {schedule}. Share of networks that "
                f"solve it at equal budget; solved with exact 95 % intervals: {', '.join(parts)}", ENGELKEN,
                measured=share, uncertainty=error,
                claim="right after repair", correction=REMEDY,
            ))  # fmt: skip
    return found


def _gain(result: xr.Dataset) -> list[Verdict]:
    """What flossing before training adds to the share of solved, over all starts, by delay."""
    if not {"none", "before"} <= set(result["schedule"].values):
        return []
    found, solved = [], result["solved"].sel(schedule=["before", "none"])
    count = solved.sizes["seed"]
    total = count * solved.sizes["start"]
    for delay in result["delay"].values:
        with_it, without = (int(n) for n in solved.sel(delay=delay).sum(("seed", "start")))
        p = stats.fisher_exact([[with_it, total - with_it], [without, total - without]]).pvalue
        shares = np.array([with_it, without]) / total
        found.append(observe(
            ["D12"], f"Delayed XOR, d = {delay}, all starts: share solved by networks flossed before "
            f"training, {with_it}/{total}, less that of networks never flossed, {without}/{total}, at "
            f"equal budget (Fisher, as if independent, though all starts share {count} seeds: "
            f"p = {p:.1g})", ENGELKEN,
            measured=float(shares[0] - shares[1]),
            uncertainty=float(np.sqrt((shares * (1 - shares) / total).sum())),
            claim="right after repair", correction=ABOUT_ONE,
        ))  # fmt: skip
    return found


def _clipping(result: xr.Dataset) -> list[Verdict]:
    """How often clipping engages."""
    if "clipped" not in result["start"].values or "none" not in result["schedule"].values:
        return []
    rate = result["clip_rate"].sel(start="clipped", schedule="none").mean(("delay", "record"))
    return [
        observe_mean(
            ["D6"], "Share of training steps in which clipping at norm 1 engaged, without flossing",
            "measurement", rate, claim="right after repair", correction=REMEDY,
        )
    ]  # fmt: skip


def _cost(result: xr.Dataset) -> Verdict:
    return observe(
        ["D12"], "Operations of a flossing step over those of a training step, decompositions left out, "
        f"at the shortest delay; it is charged as {int(result['charge'])} training steps",
        "count of operations", measured=float(result["cost"].max()), claim="right after repair",
        correction=ABOUT_ONE,
    )  # fmt: skip


def _exponents(at: xr.Dataset) -> list[Verdict]:
    """Judge the starts with lambda_1 well below 0; where it is about 0, tell what became of the others."""
    num = int(at["num"])
    leading = at["exponents"].isel(index=slice(0, num))
    begin, mean = leading.sel(moment="start"), leading.sel(moment="flossed").mean("index")
    quiet = (begin.isel(index=0).mean("seed") < -0.1).values
    seen = at["exponent_error"].isel(index=slice(0, num)).sel(moment="flossed").mean()
    found = []
    if quiet.any():
        found += compare(
            ["D12", "D6"], f"Mean of the {num} leading Lyapunov exponents after flossing, on new "
            f"sequences, from gain 1 (before: {float(begin.isel(start=quiet).mean()):.2f} nats per step)",
            ENGELKEN, mean.isel(start=quiet), 0.0, slack=float(seen) * (LONG / COUNTED) ** 0.5,
            tolerance_from=f"standard error of an exponent along the {COUNTED} steps that flossing sees, "
            f"and {surely(at.sizes['seed'])}", claim="right after repair", correction=ABOUT_ONE,
        )  # fmt: skip
    if not quiet.all():
        first = begin.isel(index=0, start=~quiet)
        found.append(observe_mean(
            ["D12"], f"The same from the critical gain, where lambda_1 is {float(first.mean()):.3f} at "
            f"the start and the mean of all {num} is {float(begin.isel(start=~quiet).mean()):.2f}",
            ENGELKEN, mean.isel(start=~quiet).mean("start"), claim="right after repair",
            correction=ABOUT_ONE,
        ))  # fmt: skip
    return found


def _gradients(at: xr.Dataset) -> list[Verdict]:
    """Slope of the log gradient over the lags, against the leading exponents over the same steps."""
    far, logs = int(at["lag"][-1]), at["log_gradient"]
    near = far // 3
    slope = (logs.sel(lag=far) - logs.sel(lag=near)) / (far - near)
    return compare(
        ["D12"], f"Gradient by lag: slope of log |dL/dh_(T-k)| from k = {near} to {far}, less lambda_1, "
        "before and after flossing", "Lyapunov exponents",
        (slope - at["exponents"].isel(index=0)).sel(moment=["start", "flossed"]), 0.0,
        tolerance_from=f"{surely(at.sizes['seed'])}; a sequence per seed, so that this covers few steps",
        claim="right after repair", correction=ABOUT_ONE,
    )  # fmt: skip


def _conditioning(at: xr.Dataset) -> Verdict:
    """Singular values of the Jacobian over many steps: one direction, or several."""
    decades = condition_decades(at).mean("start")
    before = float(decades.sel(moment="start").mean())
    return observe_mean(
        ["D12"], f"Decades between the singular values 1 and {int(at['num'])} of the Jacobian over "
        f"{int(at['lag'][-1])} steps after flossing, mean over starts (before: {before:.1f})", ENGELKEN,
        decades.sel(moment="flossed"), claim="right after repair", correction=ABOUT_ONE,
    )  # fmt: skip


def condition_decades(result: xr.Dataset) -> xr.DataArray:
    """Decades between the singular values 1 and k of the Jacobian over many steps."""
    first, last = (result["log_singular"].isel(singular=i, drop=True) for i in (0, 1))
    return (first - last) / LN10
