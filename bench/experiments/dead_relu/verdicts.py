"""Verdicts of ``dead-relu``: what is exact about dead units, when they die, and what prevents it."""

import numpy as np
import xarray as xr

from signalprop.bench.experiments.dead_relu import RECTIFIERS
from signalprop.bench.measure.estimates import mean_and_error
from signalprop.bench.record.verdict import Standing, Verdict, judge_zero, observe

KARPATHY = "Karpathy, 'Yes you should understand backprop' (2016)"
CS231N = "CS231n, 'Commonly used activation functions'"
REMEDIES = "a widely copied list of remedies"
SAMUELSON = "Ioffe & Szegedy (2015), arXiv:1502.03167: a normalized unit has batch mean 0"
EXACT = "exact: no rounding is involved"
OPTIMIZERS = ("sgd", "heavy_ball", "adagrad", "rmsprop", "adam")
RAW, CENTRED = 0, 1
LARGE = 0.4  # share of dead units that CS231n's notes name


def verdicts(result: xr.Dataset) -> list[Verdict]:
    """Judge the exact statements, then say what was seen."""
    result = result.sortby("rate")
    found = [*_gradient(result), *_plain_descent(result), *_momentum(result), *_no_zero_slope(result)]
    found += _normalized(result)
    names = [name for name in OPTIMIZERS if name in result["network"].values]
    if names and RAW in result["centred"].values:
        trained = result.sel(network=names)
        found += [*_large_part(trained), _start(trained), *_cures(trained)]
        if bool(np.isfinite(window(trained)[0].sel(centred=RAW)).any()):
            found.append(_window(trained))
            found += [_centring(trained)] if CENTRED in result["centred"].values else []
    return found


def _those(result: xr.Dataset, **wanted: object) -> xr.Dataset | None:
    """The result of the networks whose entries in the table are these; None if there are none."""
    names = [str(name) for name in result["network"].values]
    names = [n for n in names if all(getattr(RECTIFIERS[n], k) == v for k, v in wanted.items())]
    return result.sel(network=names) if names else None


def _label(name: object) -> str:
    return RECTIFIERS[str(name)].label


def _labels(part: xr.Dataset) -> str:
    return ", ".join(_label(name) for name in part["network"].values)


def _turnover(part: xr.Dataset) -> tuple[float, float]:
    """Deaths and revivals, summed over everything."""
    return float(part["deaths"].sum()), float(part["revivals"].sum())


def _gradient(result: xr.Dataset) -> list[Verdict]:
    """The gradient of a dead unit's weights, in all networks without norm."""
    part = _those(result, norm="none")
    if part is None:
        return []
    return [
        judge_zero(
            ["B5"], "Largest gradient entry of the weights and bias of any unit that is inactive on the "
            f"whole training set, over {int((part['dead'] > 0).sum())} looks at a layer with such units",
            KARPATHY, float(part["dead_gradient"].max()), tolerance_from=EXACT, claim="right after repair",
            correction="A unit that is 0 on one example gets no gradient from that example; only a unit that "
            "is 0 on all of them gets none at all.",
        )
    ]  # fmt: skip


def _plain_descent(result: xr.Dataset) -> list[Verdict]:
    """Relu units under plain descent: layer 1, and the layers above."""
    part = _those(result, frozen=True)
    if part is None:
        return []
    deaths, revivals = _turnover(part.sel(layer=1))
    died, back = _turnover(part.sel(layer=part["layer"] > 1))
    share = f"{back / died:.0%} of {died:.0f} deaths" if died else "no deaths"
    found = [
        judge_zero(
            ["B7"], f"Layer 1, plain gradient descent: {int(deaths)} relu units die in training; revivals "
            f"({_labels(part)})", KARPATHY, revivals, tolerance_from=EXACT, claim="right after repair",
            correction="For ever holds in layer 1, whose inputs do not move, under plain gradient descent. "
            f"In the layers above {share} were undone within the run, because other weights moved the "
            "inputs.",
        )
    ]  # fmt: skip
    if died:
        found.append(observe(
            ["B7"], f"Layers 2 and above, plain gradient descent: of {died:.0f} deaths of relu units "
            f"{back:.0f} are undone; share", KARPATHY, measured=back / died,
            claim="right after repair" if back else "right",
            correction="Above layer 1 dead units come back; within the run "
            f"{'most of them do not' if 2 * back < died else 'half of them or more'}." if back else "",
        ))  # fmt: skip
    return found


def _momentum(result: xr.Dataset) -> list[Verdict]:
    """Layer 1 under optimizers with momentum."""
    parts = [_those(result, activation="relu", norm="none", optimizer=o) for o in ("heavy_ball", "adam")]
    run = [part.sel(layer=1) for part in parts if part is not None]
    died, back = np.sum([_turnover(part) for part in run], axis=0) if run else (0, 0)
    if not died:
        return []
    return [
        observe(
            ["B19"], f"Layer 1, optimizers with momentum ({', '.join(map(_labels, run))}): of {died:.0f} "
            f"deaths {back:.0f} are undone; share", KARPATHY, measured=float(back / died),
            claim="right" if back else "not checkable",
        )
    ]  # fmt: skip


def _no_zero_slope(result: xr.Dataset) -> list[Verdict]:
    """Leaky relu and ELU."""
    found = []
    leaky = _those(result, activation="leaky_relu", norm="none")
    if leaky is not None:
        found.append(judge_zero(
            ["B13"], "Leaky relu: dead units at any look, learning rate and input", REMEDIES,
            float(leaky["dead"].max()), tolerance_from=EXACT,
        ))  # fmt: skip
    elu = _those(result, activation="elu", norm="none")
    if elu is not None:
        dead, good = elu["dead"].max(("update", "layer")) > 0, elu["learned"] > 0
        k, n = int((dead & ~good).sum()), int((~good).sum())
        found.append(observe(
            ["B14"], f"ELU: of {int(good.sum())} networks that learn, {int((dead & good).sum())} ever have a "
            f"dead unit; of {n} that fail, {k}. Largest share of a layer", REMEDIES,
            measured=float(elu["dead"].max()), claim="right after repair" if k else "right",
            correction="In real arithmetic the slope e^z is never 0. In float32 it is exactly 0 below about "
            "-17, and a step that is too large puts units there." if k else "",
        ))  # fmt: skip
    return found


def _normalized(result: xr.Dataset) -> list[Verdict]:
    """Batch norm, before training and after."""
    part = _those(result, activation="relu", norm="batch")
    if part is None:
        return []
    end = float(at_end(part).max())
    return [
        judge_zero(
            ["B21"], "Batch norm before relu, shift 0: dead units of untrained networks", SAMUELSON,
            float(part["dead"].isel(update=0).max()), tolerance_from=EXACT,
            claim="right after repair" if end else "right",
            correction="At shift 0 some example is active. Training moves the shift, and at too large a rate "
            f"up to {end:.0%} of a network's units die." if end else "",
        )
    ]  # fmt: skip


def _working(part: xr.Dataset) -> xr.DataArray:
    """Where all seeds learn, the mean share of dead units; NaN elsewhere: (network, centred, rate)."""
    return at_end(part).mean("seed").where(part["learned"].min("seed") > 0)


def _large_part(part: xr.Dataset) -> list[Verdict]:
    """Largest share of dead units in networks that learn, and the usual one where all of them do."""
    if not bool((part["learned"].sel(centred=RAW) > 0).any()):
        return []
    single = at_end(part).where(part["learned"] > 0).sel(centred=RAW)
    largest = single.max("seed").stack(at=("network", "rate"))
    name, rate = largest["at"].values[int(largest.argmax("at"))]
    best, rate = float(largest.max()), RECTIFIERS[name].largest_rate * rate
    found = [observe(
        ["B8"], f"Uncentred input: {int((single >= LARGE).sum())} of {int(single.notnull().sum())} networks "
        f"that learn have {LARGE:.0%} or more of their units dead on the whole training set; largest share "
        f"({_label(name)}, learning rate {rate:.2g})", CS231N,
        measured=best, claim="right" if best >= LARGE else "not checkable",
    )]  # fmt: skip
    return found + ([_ordinary(part)] if bool(np.isfinite(_working(part).sel(centred=RAW)).any()) else [])


def _ordinary(part: xr.Dataset) -> Verdict:
    """Dead units at the rates where every seed learns."""
    shares = _working(part)
    each = ", ".join(
        f"{_label(n)} {float(s.min()):.1%} to {float(s.max()):.1%}"
        for n, s in zip(part["network"].values, shares.sel(centred=RAW), strict=True)
        if np.isfinite(s).any()
    )
    return observe(
        ["B22"], f"Uncentred input, learning rates at which all {part.sizes['seed']} networks learn; share "
        f"of dead units: {each}. Median over rates and optimizers", KARPATHY,
        measured=float(shares.sel(centred=RAW).median()),
    )  # fmt: skip


def _window(part: xr.Dataset) -> Verdict:
    """Distance from 40 % dead to failure, by optimizer, on uncentred input."""
    large, fails = (edge.sel(centred=RAW) for edge in window(part))
    ratio = (fails / large).values
    each = "; ".join(
        f"{_label(n)} {a:.2g} and {b:.2g}"
        for n, a, b in zip(part["network"].values, large.values, fails.values, strict=True)
    )
    known = np.isfinite(ratio)
    early = ", ".join(_label(n) for n in part["network"].values[known & (ratio > 1)])
    standing: Standing = "not checkable" if not known.any() else "right after repair" if early else "right"
    return observe(
        ["B9"], f"Uncentred input, {part.sizes['seed']} seeds, {part.sizes['rate']} rates each: learning "
        f"rates from which 40 % of the units are dead on average, and from which half of the networks fail: "
        f"{each}. Largest ratio of the two", CS231N,
        measured=float(ratio[known].max()) if known.any() else float("nan"), claim=standing,
        correction=f"They need no rate that is too high to learn: with {early} 40 % are dead at rates at "
        "which most networks still do." if early else "",
    )  # fmt: skip


def _centring(part: xr.Dataset) -> Verdict:
    """Dead units of centred input in the window of the uncentred one."""
    large, fails = (edge.sel(centred=RAW) for edge in window(part))
    rate = rates(part)
    inside = (rate >= large) & (rate <= np.maximum(fails, large))
    both = at_end(part).mean("seed").where(inside).mean("rate")
    each = "; ".join(
        f"{_label(n)} {float(both.sel(network=n, centred=RAW)):.0%} becomes "
        f"{float(both.sel(network=n, centred=CENTRED)):.0%}"
        for n in part["network"].values
        if np.isfinite(large.sel(network=n))
    )
    after = both.sel(centred=CENTRED)
    helps = bool((after < both.sel(centred=RAW)).where(np.isfinite(large), True).all())
    return observe(
        ["B9"], f"Centring the inputs, at the learning rates between 40 % dead and failure: {each}. "
        "Largest share left", CS231N,
        measured=float(after.max()), claim="right after repair",
        correction=("Centring lowers the share for every optimizer" if helps else
                    "Centring does not lower the share for every optimizer")
        + f"; it is below 5 % for {int((after < 0.05).sum())} of {int(np.isfinite(after).sum())}.",
    )  # fmt: skip


def _start(part: xr.Dataset) -> Verdict:
    """Dead units before training and those that training kills."""
    start = part["dead"].isel(update=0).mean("layer").isel(network=0, rate=0)
    end = at_end(part).mean(("network", "rate"))
    words = "; ".join(
        f"{'centred' if kind else 'uncentred'} input: {float(start.sel(centred=kind).mean()):.1%} dead "
        f"before training, {float(end.sel(centred=kind).mean()):.0%} after it, over all rates and optimizers"
        for kind in part["centred"].values
    )
    if -1.0 in part["initial_bias"].values:
        shares = part["dead_by_bias"].isel(network=0, rate=0).sel(centred=RAW, initial_bias=-1.0).mean("seed")
        words += (
            f"; if all biases began at -1, {float(shares.sel(layer=1)):.0%} of layer 1 and "
            f"{float(shares.isel(layer=slice(1, None)).mean()):.0%} of the layers above would be"
        )
    raw, error = mean_and_error(start.sel(centred=RAW))
    return observe(
        ["B6"], f"Two ways to die. {words}. Share dead before training, uncentred", KARPATHY,
        measured=raw, uncertainty=error,
    )  # fmt: skip


def _cures(part: xr.Dataset) -> list[Verdict]:
    """Small rates, and optimizers that scale the gradient, as cures."""
    names = [n for n in ("adagrad", "rmsprop", "adam") if n in part["network"].values]
    if "sgd" not in part["network"].values or not names:
        return []
    raw = at_end(part).sel(centred=RAW).mean("seed").sel(network=["sgd", *names])
    worst, small = raw.max("rate"), raw.isel(rate=0)
    each = "; ".join(
        f"{_label(n)} {float(small.sel(network=n)):.0%} to {float(worst.sel(network=n)):.0%}"
        for n in ("sgd", *names)
    )
    scaled = float(worst.sel(network=names).max())
    most = str(small["network"].values[int(small.values.argmax())])
    fewer = "fewer deaths" if bool((worst > small).all()) else "not always fewer deaths"
    return [
        observe(
            ["B11"], f"Uncentred input; share of dead units from the smallest learning rate to the worst: "
            f"{each}. Worst share among the optimizers that scale the gradient", REMEDIES, measured=scaled,
            claim="right after repair",
            correction=f"A smaller learning rate means {fewer}; at the smallest tried up to "
            f"{float(small.max()):.0%} of the units ({_label(most)}) are dead. Optimizers that scale the "
            f"gradient prevent none by themselves: at their worst rates up to {scaled:.0%} die, "
            f"{float(worst.sel(network='sgd')):.0%} of plain descent. Nor do Xavier's weights: without "
            "biases a relu's sign does not depend on the scale.",
        )
    ]  # fmt: skip


def rates(result: xr.Dataset) -> xr.DataArray:
    """Learning rates, (network, rate)."""
    names = [str(name) for name in result["network"].values]
    largest = xr.DataArray([RECTIFIERS[n].largest_rate for n in names], {"network": names}, "network")
    return largest * result["rate"]


def at_end(result: xr.Dataset) -> xr.DataArray:
    """Share of dead units of each network after training, mean over its layers."""
    return result["dead"].isel(update=-1, drop=True).mean("layer")


def window(part: xr.Dataset) -> tuple[xr.DataArray, xr.DataArray]:
    """Smallest rates at which 40 % of the units are dead, and at which half of the networks fail, or NaN."""
    rate = rates(part)
    large = rate.where(at_end(part).mean("seed") >= LARGE).min("rate")
    return large, rate.where(part["learned"].mean("seed") <= 0.5).min("rate")
