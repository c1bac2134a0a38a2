"""Verdicts of ``recurrent-eigenvalues``: what eigenvalues of recurrent weights say, and what they do not."""

from typing import Any

import numpy as np
import xarray as xr

from signalprop.bench.experiments.recurrent_eigenvalues.audit import (
    accuracy,
    confusion,
    logarithm,
    outcome,
    rank_correlation,
    rules,
    shares_by_seed,
    trained_radius,
)
from signalprop.bench.measure.ensembles import RULES
from signalprop.bench.measure.estimates import outside_range, standard_error
from signalprop.bench.measure.names import NILPOTENT
from signalprop.bench.record.verdict import Verdict, compare, judge, observe, observe_mean, surely
from signalprop.models.activations import activation

PASCANU = "Pascanu, Mikolov & Bengio (arXiv 1211.5063)"
ONE_SIDED = (
    "With gamma the largest slope, s_max(W) < 1/gamma is sufficient for vanishing, s_max(W) > 1/gamma only "
    "necessary for exploding: the largest singular value, not the largest eigenvalue. The spectral radius "
    "decides for a linear network; for others the Lyapunov exponent does."
)
MASKS = (
    "The masks of relu change the matrix: the exponent is that of the product of D_t W, log(g / sqrt 2) for "
    "wide Gaussian and orthogonal weights of gain g, log g for the identity."
)
RATES = "At finite lag a linear gradient follows rho(W) up to log kappa(V) over the number of steps."


def verdicts(result: xr.Dataset) -> list[Verdict]:
    """Judge counterexamples, bounds, every rule, relu, saturation, how common vanishing is, and isometry."""
    at = result.isel(width=0)
    found = [_explodes_at_radius_0(), _dies_at_radius_3(), *_bounds(at), *_audit(at)]
    has = {str(name) for axis in ("activation", "ensemble") for name in at[axis].values}
    if "linear" in has:
        found += _linear(at.sel(activation="linear"))
    if "relu" in has and 0 in at["input_std"]:
        found += _relu(at.sel(activation="relu", input_std=0.0))
    return [*found, *_mean_field(at), *_nilpotent(at), *_common(at), *_isometry(at), *_trained(at)]


def _explodes_at_radius_0() -> Verdict:
    """A tanh network of two units whose inputs hold one of them at 0 and saturate the other."""
    weights, z = np.array([[3.0, -3.0], [3.0, -3.0]]), np.array([0.0, 6.0])
    logs, product, h = [0.0], np.eye(2), np.zeros(2)
    for _ in range(40):
        chosen_input = z - weights @ h
        h = np.tanh(weights @ h + chosen_input)
        product = (1 - h**2)[:, None] * (weights @ product)
        logs.append(float(np.log(np.linalg.norm(product, 2))))
    return judge(
        ["D7"], "W = [[3, -3], [3, -3]] is nilpotent: rho(W) = 0. A tanh network with inputs that keep its "
        "first unit at 0 and its second saturated: growth of |dh_T/dh_{T-k}| per step",
        "derived here: 3 (1 - sech(6)^2), the eigenvalue of D W",
        measured=(logs[40] - logs[20]) / 20, predicted=np.log(3 * (1 - 1 / np.cosh(6) ** 2)), tolerance=1e-9,
        tolerance_from="rounding", claim="wrong", correction=ONE_SIDED,
    )  # fmt: skip


def _dies_at_radius_3() -> Verdict:
    """What is positive becomes negative, and relu makes it 0."""
    h = np.array([0.5, 2.0, 0.1])
    z = -3 * h
    jacobian = np.diag((z > 0) * 1.0) @ (-3 * np.eye(3))
    with np.errstate(divide="ignore"):
        measured = np.log(np.linalg.norm(jacobian, 2))
    return judge(
        ["D3"], "W = -3 I has spectral radius 3. A relu network without input, from a positive state: log of "
        "|dh_1/dh_0|", "exact: no unit is active", measured=float(measured), predicted=-np.inf, tolerance=0.0,
        tolerance_from="exact", claim="wrong", correction=MASKS,
    )  # fmt: skip


def _bounds(at: xr.Dataset) -> list[Verdict]:
    """Pascanu's bound holds in every network; its converse does not."""
    log_bound, kind, slope = rules(at)["largest"], outcome(at), at["slope"]
    excess = np.max((slope - log_bound).values, where=np.isfinite(slope.values), initial=0.0)
    below = kind.where(log_bound < 0)
    above = kind.where(log_bound > 0)
    found = [judge(
        ["D7"], f"Of {int(below.notnull().sum())} networks with s_max(W) < 1/gamma, those whose gradient "
        "grows, and the largest excess of its growth per step over log(gamma s_max) in any network",
        f"{PASCANU}: |prod D_t W| <= (gamma s_max)^k",
        measured=[float((below == 2).sum()), excess], predicted=0.0, tolerance=1e-9,
        tolerance_from="rounding", claim="wrong", correction=ONE_SIDED,
    )]  # fmt: skip
    if above.notnull().any():
        found.append(observe(
            ["D7"], f"Of {int(above.notnull().sum())} networks with s_max(W) > 1/gamma, the share whose "
            "gradient vanishes: the condition is necessary for exploding, not sufficient", PASCANU,
            measured=float((above == 0).sum() / above.notnull().sum()), claim="wrong", correction=ONE_SIDED,
        ))  # fmt: skip
    return found


def _audit(at: xr.Dataset) -> list[Verdict]:
    """Accuracy of every rule, and of mean field where it is meant to hold."""
    clear, wide = outcome(at).isin([0, 2]), _wide(at)
    found = [_rule(at, name, "random networks") for name in RULES if clear.any()]
    if clear.sel(ensemble=wide).any():
        found.append(_rule(at.sel(ensemble=wide), "chi_1", "networks with Gaussian or orthogonal W"))
    return found


def _rule(at: xr.Dataset, name: str, what: str) -> Verdict:
    """Accuracy of one rule; the networks of a seed share their draws, so the error is over seeds."""
    kind, log_rule = outcome(at), rules(at)[name]
    counts = confusion(kind, log_rule)
    share, low, high = accuracy(counts)
    clear, vanished = int(counts[[0, 2]].sum()), int(counts[0].sum())
    rank = rank_correlation(log_rule, at["slope"])
    return observe(
        ["D7"], f"Rule '{RULES[name]}, else vanishes' on {what}: share right of the {clear} that clearly "
        f"vanish or explode, {int(counts[1].sum())} others stay (exact 95 % interval: {low:.3f} to "
        f"{high:.3f}; error over seeds; rank correlation with the growth {rank:.3f}). Always saying "
        f"'vanishes' would be right for {vanished / clear:.3f}", "measured", measured=share,
        uncertainty=float(standard_error(shares_by_seed(at, name))), claim="wrong", correction=ONE_SIDED,
    )  # fmt: skip


def _linear(at: xr.Dataset) -> list[Verdict]:
    """For a linear network the spectral radius is the criterion."""
    log_rho = logarithm(at["gain"] * at["radius"]).broadcast_like(at["slope"])
    clear = np.abs(log_rho) > 0.05
    if not clear.any():
        return []
    right = ((at["slope"] > 0) == (log_rho > 0)).where(clear)
    return [judge(
        ["D7"], f"Linear networks, {int(clear.sum())} with |log rho(W)| > 0.05: share whose gradient grows "
        "where rho > 1 and shrinks where rho < 1", "|W^k|^(1/k) tends to rho(W)",
        measured=float(right.mean()), predicted=1.0, tolerance=0.0, tolerance_from="exact", claim="wrong",
        correction=f"{ONE_SIDED} {RATES}",
    )]  # fmt: skip


def _relu(at: xr.Dataset) -> list[Verdict]:
    """Exponents of relu networks without input, which do not depend on the gain beyond log g."""
    excess, found, n = at["slope"] - np.log(at["gain"]), [], at.sizes["seed"]
    if "scaled_identity" in at["ensemble"]:
        found.append(judge(
            ["D3"], "relu without input, W = g I (IRNN): growth per step less log g, all gains",
            "exact on active units (Le et al., arXiv 1504.00941)",
            measured=excess.sel(ensemble="scaled_identity").mean("seed"), predicted=0.0, tolerance=1e-9,
            tolerance_from="rounding", claim="wrong", correction=MASKS,
        ))  # fmt: skip
    frozen = float(np.log(at["half_radius"]))
    for name in _wide(at):
        x = excess.sel(ensemble=name).mean("gain")
        radius = float(np.log(at["radius"].sel(ensemble=name)).mean())
        found += compare(
            ["D3"], f"relu without input, {name} W: growth per step less log g (networks scatter by "
            f"{float(x.std('seed', ddof=1)):.3f}; log rho(W) - log g is {radius:.3f})",
            "log(1 / sqrt 2): half of the units are active", x, -np.log(2) / 2, slack=frozen,
            tolerance_from="finite width: a frozen mask leaves a matrix of N/2 units, whose log radius is "
            f"above its limit by {frozen:.3f}; {surely(n)}", claim="wrong", correction=MASKS,
        )  # fmt: skip
    return found


def _mean_field(at: xr.Dataset) -> list[Verdict]:
    """Saturation fights back: driven networks follow the mean field of their activation."""
    wide, found = at.sel(ensemble=_wide(at)), []
    for name in at["activation"].values:
        here = wide.sel(activation=name)
        found += compare(
            ["D9"], f"{name} with input, Gaussian and orthogonal W of every gain: growth per step"
            + outside_range(here["mean_field"].where(here["input_std"] > 0), here["slope_predicted"]),
            "mean field, less (3r - 1)/(4N) or 3(r - 1)/(4N), r = E phi'^4 / (E phi'^2)^2",
            here["slope"], here["slope_predicted"], slack=here["finite_width"],
            tolerance_from=f"size of the 1/N term; {surely(at.sizes['seed'])}",
            claim="right after repair", correction="A large W explodes less than its powers: saturation "
            "fights back. A tanh network of gain 3.2 with unit input grows by 1.3 per step, linear by 3.2.",
        )  # fmt: skip
    return found


def _wide(at: xr.Dataset) -> list[str]:
    """Ensembles to which mean field applies."""
    return [name for name in ("gaussian", "orthogonal") if name in at["ensemble"]]


def _nilpotent(at: xr.Dataset) -> list[Verdict]:
    """Whole ensembles of spectral radius 0 explode."""
    if NILPOTENT not in at["ensemble"]:
        return []
    smooth = [str(a) for a in at["activation"].values if not activation(str(a)).homogeneous]
    here, least = at.sel(ensemble=NILPOTENT, activation=smooth), 8 / at.sizes["index"]
    p, slope = here["slope_predicted"].where(here["input_std"] > 0), here["slope"]
    clear = (np.abs(p) > least) & np.isfinite(p) & np.isfinite(slope)
    if not clear.any():
        return []
    right = ((slope > 0) == (p > 0)).where(clear)
    gap = ((slope - p) * at.sizes["index"]).where(np.isfinite(p) & np.isfinite(slope))
    theory = "(1/2) log[g^2 E (phi'(z) - phi'(z'))^2], derived here"
    found = [judge(
        ["D7"], f"{slope.size} networks of {' and '.join(smooth)}, nilpotent W = [[A, -A], [A, -A]], "
        f"rho(W) = 0, of which {int((slope > 0).sum())} explode: share that grow or shrink as predicted, "
        f"where the rate exceeds 8/N = {least:.2f}",
        theory, measured=float(right.mean()), predicted=1.0, tolerance=0.0,
        tolerance_from=f"all of them; 8/N: chosen to cover the gap seen at N = {at.sizes['index']}; the 1/N "
        "term is not derived", claim="wrong", correction=ONE_SIDED,
    )]  # fmt: skip
    by_setting = gap.mean("seed")
    found.append(observe_mean(
        ["D7"], f"The same networks, with input: N times the growth per step less that of infinite N, mean "
        f"over settings, of which the means run from {float(by_setting.min()):.1f} to "
        f"{float(by_setting.max()):.1f}", theory, gap.mean([d for d in gap.dims if d != "seed"]),
        claim="wrong", correction=ONE_SIDED,
    ))  # fmt: skip
    return found


def _common(at: xr.Dataset) -> list[Verdict]:
    """How many networks vanish, stay and explode."""
    names, found = at["activation"].values, []
    for what, chosen in (("all nonlinear networks", names != "linear"), ("tanh networks", names == "tanh")):
        kind = outcome(at.isel(activation=chosen))
        if not kind.notnull().any():
            continue
        shares = [float((kind == i).sum() / kind.notnull().sum()) for i in range(3)]
        per_seed = (kind == 0).mean([d for d in kind.dims if d != "seed"])
        found.append(observe(
            ["D10"], f"Share of {what} whose gradient vanishes; {shares[1]:.3f} stay within a factor e, "
            f"{shares[2]:.3f} explode (gains {at['gain'].min().item()} to {at['gain'].max().item()})",
            "measured over gains, inputs and ensembles", measured=shares[0],
            uncertainty=float(standard_error(per_seed)), claim="right after repair",
            correction="Which of the two is more common depends on gain and input: with inputs of standard "
            "deviation 1 a Gaussian tanh network vanishes up to a gain of about 1.9.",
        ))  # fmt: skip
    return found


def _isometry(at: xr.Dataset) -> list[Verdict]:
    """A step derivative of about 1, where there is one, and what the activation makes of it."""
    if 1.0 not in at["gain"]:
        return []
    quiet = [("linear", "orthogonal"), ("linear", "scaled_identity"), ("relu", "scaled_identity")]
    slopes = [
        at["slope"].sel(activation=a, ensemble=e, gain=1.0).sel(input_std=0.0).values
        for a, e in quiet
        if a in at["activation"] and e in at["ensemble"] and 0 in at["input_std"]
    ]
    more: dict[str, Any] = {
        "claim": "right after repair",
        "correction": "A step derivative of about 1 keeps gradients: exactly so for orthogonal weights in a "
        "linear network and for the identity with relu. Slopes below 1 undo it, and about 0 is vanishing.",
    }
    found = []
    if slopes:
        found.append(judge(
            ["D12"], "Growth per step at gain 1, no input: linear networks with orthogonal weights or the "
            "identity, relu with the identity", "exact: all step Jacobians are isometries",
            measured=np.abs(slopes).max(), predicted=0.0, tolerance=1e-9, tolerance_from="rounding", **more,
        ))  # fmt: skip
    if "tanh" in at["activation"] and "orthogonal" in at["ensemble"]:
        loudest = float(at["input_std"].max())
        found.append(observe_mean(
            ["D12"], f"tanh with orthogonal weights at gain 1 and input of standard deviation {loudest:g}: "
            "growth per step", "measured",
            at["slope"].sel(activation="tanh", ensemble="orthogonal", gain=1.0, input_std=loudest), **more,
        ))  # fmt: skip
    return found


def _trained(at: xr.Dataset) -> list[Verdict]:
    """After training too, a radius above 1 does not mean growth."""
    radius = trained_radius(at)
    after = radius.sel(stage="after")
    moved = float((after - radius.sel(stage="before")).mean())
    if not (after > 1).any():
        return []
    shrinking = (at["trained_slope"].sel(stage="after") < 0).where(after > 1)
    return [observe(
        ["D7"], f"Of {int((after > 1).sum())} networks trained on the adding problem with rho(W) > 1 after, "
        f"the share whose gradient shrinks with the lag (training changed rho by {moved:+.3f} on average)",
        "measured", measured=float(shrinking.mean()), claim="wrong", correction=ONE_SIDED,
    )]  # fmt: skip
