"""Verdicts of ``edge-of-chaos-rnn``: exponents, their sign, dying states, the spectral radius, spectra."""

from collections.abc import Callable

import numpy as np
import xarray as xr

from signalprop.bench.experiments.edge_of_chaos_rnn import FAMILIES
from signalprop.bench.experiments.edge_of_chaos_rnn.theory import Activation, predicted
from signalprop.bench.measure.estimates import exp, outside_range, run_settings, standard_error
from signalprop.bench.measure.exponents import dimension, entropy
from signalprop.bench.record.verdict import FEWEST, Verdict, compare, compare_estimates, judge, surely
from signalprop.models.activations import activation

VARIED = 0.5  # relative variance of the squared slopes from which the mean field holds at finite width
MEAN_FIELD = "mean field (Engelken, Wolf & Abbott, arXiv 2006.02427)"
PASCANU = "Pascanu, Mikolov & Bengio (arXiv 1211.5063)"
FREE = "free probability of D W; Engelken, Wolf & Abbott (arXiv 2006.02427)"
JUDGED = (0, 0.125, 0.25, 0.5, 0.75)  # places of a spectrum


def verdicts(result: xr.Dataset) -> list[Verdict]:
    """Judge the largest exponent, its sign, the rule of the spectral radius, and the whole spectra."""
    tanh = run_settings(result)["activation"] == "tanh"
    counted = [*_sign(result, tanh), *_dying(result), *_radius(result)]
    if result.sizes["seed"] < FEWEST:
        return counted
    found = [*_largest(result, tanh), *counted]
    if tanh:
        found += [*_at_gain_3(result), *_orthogonal(result)]
    if result["exponents"].notnull().any() and result.sizes["index"] > 1:
        found += _spectra(result)
    return found


def log_radius(at: xr.Dataset) -> xr.DataArray:
    """Logarithm of g rho(W) of every network."""
    found: xr.DataArray = xr.apply_ufunc(np.log, at["gain"] * at["radius"])
    return found


def own_spectra(at: xr.Dataset, phi: Activation) -> xr.DataArray:
    """Predicted spectra at the q measured on the networks of a result, averaged over seeds."""
    q, count = at["q"].mean("seed").transpose("scheme", "gain", "noise"), at.sizes["index"]
    rows = predicted(phi, count, at["gain"].values[:, None], q.values)
    rows = np.stack([rows[FAMILIES.index(name), i] for i, name in enumerate(at["scheme"].values)])
    return xr.DataArray(rows, {**q.coords, "index": at["index"]}, (*q.dims, "index"))


def _largest(result: xr.Dataset, tanh: bool) -> list[Verdict]:
    """Judge the largest exponent at all widths, gains and inputs."""
    at_all = result["exponent_predicted"]
    wide = result["exponent_wide"].broadcast_like(at_all)
    return compare(
        ["D9", "D10"], "Wherever slopes vary, gradients of random recurrent networks grow by the mean "
        "field's exponent per step, lowered by finite width, at all widths, gains and inputs"
        + outside_range(wide.where(_moving(result)), at_all), MEAN_FIELD,
        result["exponent"], at_all.where(_moving(result)), slack=2 / result["width"],
        tolerance_from="2 / N for what correlations in time leave out, and "
        + surely(result.sizes["seed"]), claim="right after repair",
        correction="Saturation fights back: slopes fall as the gain rises, and the factor per step grows "
        "as the root of the gain." if tanh else
        "Slopes decide too: the factor per step is the gain times the root mean square of the slopes.",
    )  # fmt: skip


def _moving(at: xr.Dataset) -> xr.DataArray:
    """Where the mean field holds at finite width: slopes vary, or input drives weights without an edge."""
    moving: xr.DataArray = (at["variety"] > VARIED) | (at["scheme"] == "orthogonal") & (at["noise"] > 0)
    return moving


def _at_gain_3(result: xr.Dataset) -> list[Verdict]:
    """Judge the factor per step of a network that is chaotic by itself against that of its matrix."""
    if 3.0 not in result["gain"] or 0.0 not in result["noise"]:
        return []
    at = result.sel(gain=3.0, noise=0.0).isel(width=-1, scheme=0)
    factor, linear = exp(at["exponent"].mean("seed")), 3 * float(at["radius"].mean())
    return compare_estimates(
        ["D9"], f"At gain 3 without input the gradient of tanh grows per step by a factor, not by the "
        f"linear {linear:.2f} (N = {int(at['width'])})", MEAN_FIELD,
        factor, factor * standard_error(at["exponent"]), exp(at["exponent_predicted"]),
        num_samples=at.sizes["seed"], slack=factor * 2 / at["width"],
        tolerance_from=f"2 / N, and {surely(at.sizes['seed'])}", claim="right after repair",
        correction="It does explode, but far more slowly than powers of the matrix do.",
    )  # fmt: skip


def _sign(result: xr.Dataset, tanh: bool) -> list[Verdict]:
    """Judge which networks explode, away from the edge."""
    at = result.isel(width=-1)
    expected, measured = at["exponent_predicted"], at["exponent"].mean("seed")
    known = (abs(expected) > 0.06) & measured.notnull()
    if not known.any():
        return []
    right = ((expected > 0) == (measured > 0)).where(known)
    share = float((measured < 0).where(measured.notnull()).mean())
    edge, rule = "", "gain, input and activation decide."
    if tanh:
        edge = ", a gain that input raises (for tanh from 1 to 1.86 at s = 1),"
        rule = "with inputs of standard deviation 1 every gain up to 1.86 vanishes, and without input every "
        rule += "gain above 1 explodes."
    return [judge(
        ["D10"], f"Gradients vanish below the edge of chaos{edge} and explode above: share of settings "
        f"on the predicted side. Of those measured here {share:.0%} vanish", MEAN_FIELD,
        measured=float(right.mean()), predicted=1.0, tolerance=0.0,
        tolerance_from="all settings with a predicted exponent beyond 0.06", claim="right after repair",
        correction=f"Neither is more common as such: {rule}",
    )]  # fmt: skip


def _dying(result: xr.Dataset) -> list[Verdict]:
    """Judge networks without input whose state dies: one matrix acts for ever."""
    if 0.0 not in result["noise"]:
        return []
    at, settings = result.sel(noise=0.0), run_settings(result)
    expected = log_radius(at) - np.log(at["gain"]) + at["exponent_wide"]
    dies = (at["q_predicted"] == 0) & (at["variety"] < 1e-6) & (expected < np.log(0.95))
    return compare_estimates(
        ["D1", "D7"], "Without input and with g rho(W) < 0.95 the state dies, and every single network "
        "has the exponent log(g rho(W)) at every width (times phi'(0), if not 1)", "Gelfand's formula",
        at["exponent"], 0.0, expected.where(dies),
        slack=np.log(100) / min(settings["steps"], settings["spectrum_steps"]),
        tolerance_from="a transient growth of up to 100, spread over the steps",
    )  # fmt: skip


def _orthogonal(result: xr.Dataset) -> list[Verdict]:
    """Judge orthogonal weights, whose step derivative is about 1 at gain 1."""
    if "orthogonal" not in result["scheme"] or 1.0 not in result["gain"]:
        return []
    at = result.sel(scheme="orthogonal", gain=1.0).isel(width=-1)
    return compare(
        ["D12"], "Orthogonal weights with gain 1: the exponent is 0 without input, and with input that "
        "of the mean field, the same as for Gaussian weights", MEAN_FIELD,
        at["exponent"], at["exponent_predicted"], slack=0.005 + 2 / at["width"],
        tolerance_from="0.005 for the algebraic decay of a critical state, 2 / N, and "
        + surely(at.sizes["seed"]), claim="right after repair",
        correction="A derivative of about 1 does keep gradients, but orthogonal weights alone do not "
        "provide it: input lowers the slopes. A derivative of about 0 is vanishing itself.",
    )  # fmt: skip


def _radius(result: xr.Dataset) -> list[Verdict]:
    """Judge networks whose matrix expands while their input keeps them below the edge."""
    below = (result["exponent_predicted"] < -0.06 - 2 / result["width"]) & (result["noise"] > 0)
    radius = (result["gain"] * result["radius"]).where(below)
    known = (radius > 1.05) & result["exponent"].notnull()
    if not known.any():
        return []
    return [judge(
        ["D7"], f"Of {int(known.sum())} driven networks with g rho(W) from 1.05 to "
        f"{float(radius.where(known).max()):.2f} that lie below the edge of chaos, the share whose gradient "
        "vanishes", PASCANU,
        measured=float((result["exponent"] < 0).where(known).mean()), predicted=1.0, tolerance=0.0,
        tolerance_from="all networks with a predicted exponent below -0.06 - 2 / N", claim="wrong",
        correction="A spectral radius above 1 does not make a nonlinear network explode: every factor is "
        "D_t W, and the slopes D_t decide too. sigma_max(W) < 1 / max slope is sufficient to vanish.",
    )]  # fmt: skip


def _spectra(result: xr.Dataset) -> list[Verdict]:
    """Judge whole spectra where the mean field holds, and what follows from them."""
    at = result.sel(width=result.sizes["index"])
    law = own_spectra(at, activation(run_settings(result)["activation"])).where(_moving(at))
    count = at.sizes["index"]
    chosen = [int(count * x) for x in JUDGED]
    exponents = at["exponents"].isel(index=chosen)
    resolved = exponents.notnull().all("seed")  # others are as small as rounding makes them
    found = compare(
        ["D5"], "Most directions of a chaotic network vanish while some explode: exponents at places 0 "
        f"to 3/4 of the spectrum are those of free products at the networks' own q (N = {count})", FREE,
        exponents, law.isel(index=chosen).where(resolved), slack=10 / count,
        tolerance_from=f"10 / N for finite width, and {surely(at.sizes['seed'])}",
    )  # fmt: skip
    if found:
        found += _sums(at, law, "Kaplan-Yorke dimension", dimension, 4.0)
        found += _sums(at, law, "entropy bound", entropy, 1.0)
    return found


def _sums(
    at: xr.Dataset, law: xr.DataArray, what: str, per_unit: Callable[..., np.ndarray], slack: float
) -> list[Verdict]:
    """Judge a number that follows from the upper end of a spectrum, in chaotic networks."""
    each, expected = (
        xr.apply_ufunc(per_unit, spectrum, input_core_dims=[["index"]]) for spectrum in (at["exponents"], law)
    )
    chaotic = law.notnull().any("index") & (at["exponent_wide"] > 0.1)
    return compare(
        ["D5"], f"The {what} per unit of chaotic networks follows from that spectrum", FREE,
        each, expected.where(chaotic), slack=slack / at.sizes["index"],
        tolerance_from=f"{slack:g} / N for finite width, and {surely(at.sizes['seed'])}",
    )  # fmt: skip
