"""Verdicts on what flossing does to a network: its exponents, its gradients by lag, its conditioning."""

import numpy as np
import xarray as xr

from signalprop.bench.measure.rates import standard_error
from signalprop.bench.record.verdict import FEWEST, Verdict, judge, observe, sampling_factor, surely
from signalprop.bench.training.flossing import COUNTED, LONG

ENGELKEN = "Engelken (2023), arXiv 2312.17306"
ABOUT_ONE = (
    "About 1 in one direction, as at the critical gain, keeps the size of a gradient but need not suffice to "
    "learn; about 1 in several directions, as after flossing, can, and without gates. About 0 is vanishing."
)


def verdicts(result: xr.Dataset) -> list[Verdict]:
    """Judge networks that were flossed before training, each once: delay and clipping come in later."""
    at = result.isel(delay=0)
    if {"gaussian", "clipped"} <= set(at["start"].values):
        at = at.drop_sel(start="clipped")
    judged = [*_exponents(at), *_gradients(at)] if at.sizes["seed"] >= FEWEST else []
    return [*judged, *_conditioning(at)]


def _exponents(at: xr.Dataset) -> list[Verdict]:
    """Judge the starts with lambda_1 well below 0; where it is about 0, tell what became of the others."""
    num, seeds = int(at["num"]), at.sizes["seed"]
    leading = at["exponents"].isel(index=slice(0, num))
    begin, mean = leading.sel(moment="start"), leading.sel(moment="flossed").mean("index")
    quiet = (begin.isel(index=0).mean("seed") < -0.1).values
    seen = at["exponent_error"].isel(index=slice(0, num)).sel(moment="flossed").mean()
    found = []
    if quiet.any():
        calm = mean.isel(start=quiet)
        error = standard_error(calm)
        found.append(
            judge(
                ["D12", "D6"], f"Mean of the {num} leading Lyapunov exponents after flossing, on new "
                f"sequences, from gain 1 (before: {float(begin.isel(start=quiet).mean()):.2f} nats per step)",
                ENGELKEN,
                measured=calm.mean("seed"), predicted=0.0, uncertainty=error,
                tolerance=float(seen) * (LONG / COUNTED) ** 0.5 + sampling_factor(error.size, seeds) * error,
                tolerance_from=f"standard error of an exponent along the {COUNTED} steps that flossing sees, "
                f"and {surely(seeds)}", claim="right after repair", correction=ABOUT_ONE,
            )
        )  # fmt: skip
    if not quiet.all():
        edge, first = mean.isel(start=~quiet).mean("start"), begin.isel(index=0, start=~quiet)
        found.append(
            observe(
                ["D12"], f"The same from the critical gain, where lambda_1 is {float(first.mean()):.3f} at "
                f"the start and the mean of all {num} is {float(begin.isel(start=~quiet).mean()):.2f}",
                ENGELKEN,
                measured=float(edge.mean()), uncertainty=float(standard_error(edge)),
                claim="right after repair", correction=ABOUT_ONE,
            )
        )  # fmt: skip
    return found


def _gradients(at: xr.Dataset) -> list[Verdict]:
    """Slope of the log gradient over the lags, against the leading exponents over the same steps."""
    lags = at["lag"].values
    far, near = int(lags[-1]), int(lags[-1]) // 3
    logs = at["log_gradient"]
    slope = (logs.sel(lag=far) - logs.sel(lag=near)) / (far - near)
    rate = at["exponents"].isel(index=0)
    pair = (slope - rate).sel(moment=["start", "flossed"])
    error = standard_error(pair)
    factor = sampling_factor(error.size, at.sizes["seed"])
    return [
        judge(
            ["D12"], f"Gradient by lag: slope of log |dL/dh_(T-k)| from k = {near} to {far}, less lambda_1, "
            "before and after flossing", "Lyapunov exponents",
            measured=pair.mean("seed"), predicted=0.0, uncertainty=error,
            tolerance=factor * error,
            tolerance_from=f"{surely(at.sizes['seed'])}; a sequence per seed, so that this covers few steps",
            claim="right after repair", correction=ABOUT_ONE,
        )
    ]  # fmt: skip


def _conditioning(at: xr.Dataset) -> list[Verdict]:
    num, lags = int(at["num"]), int(at["lag"][-1])
    logs = at["log_singular"] / np.log(10)
    decades = logs.isel(singular=0) - logs.isel(singular=1)
    mean = decades.mean(("seed", "start"))
    flossed = decades.sel(moment="flossed").mean("start")
    return [
        observe(
            ["D12"], f"Decades between the singular values 1 and {num} of the Jacobian over {lags} steps "
            f"after flossing, mean over starts (before: {float(mean.sel(moment='start')):.1f})", ENGELKEN,
            measured=float(flossed.mean()), uncertainty=float(standard_error(flossed)),
            claim="right after repair", correction=ABOUT_ONE,
        )
    ]  # fmt: skip
