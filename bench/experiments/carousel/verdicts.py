"""Verdicts of ``carousel``: the carousel of 1997, the four terms, biases, exponents and theory."""

import jax
import numpy as np
import xarray as xr
from flax import nnx

from signalprop.bench.experiments.carousel.theory import held_deviation
from signalprop.bench.measure.estimates import exp, run_settings, standard_error
from signalprop.bench.record.verdict import (
    Standing,
    Verdict,
    compare,
    judge,
    observe,
    observe_mean,
    surely,
)
from signalprop.models.cells import CELLS
from signalprop.models.recurrent import Gate

HOCHREITER = "Hochreiter & Schmidhuber (1997), Neural Computation 9, 1735"
WEBERNA = "weberna.github.io (2017), 'Why LSTMs Stop Your Gradients From Vanishing'"
CHEN = "log(chi) / 2 of Chen, Pennington, Schoenholz (1806.05394)"
GILBOA = "population dynamics with untied weights; Gilboa et al. (1901.08987), derived again"
EPS = float(np.finfo("float32").eps)
ROUNDING = 100 * EPS  # of relative differences of sums over all units
CLEAR = 5  # standard errors beyond which a difference counts as seen


def verdicts(result: xr.Dataset) -> list[Verdict]:
    """Judge what the settings hold: the carousel of 1997, the four terms, biases, exponents and theory."""
    result = result.sortby(["forget_bias", "gain"])
    at = {name: result.sel(cell=name) for name in map(str, result["cell"].values)}
    rate = exponents(result)
    found: list[Verdict] = []
    if "lstm_1997" in at:
        found += _carousel(at["lstm_1997"])
    if "lstm" in at:
        lstm = at["lstm"], rate.sel(cell="lstm")
        found += [*_terms(at["lstm"]), *_gates(*lstm), *_biases(*lstm), _explosion(lstm[1]), _signs(result)]
    if "lstm_untied" in at:
        found += _untied(result, rate)
    if "minimal_rnn" in at:
        found += _minimal(at["minimal_rnn"], rate.sel(cell="minimal_rnn", path="carry"))
    return found


def exponents(result: xr.Dataset) -> xr.DataArray:
    """Growth per step of a change along every path, after the transient; -inf where it is exactly zero."""
    logs, time = result["log_norm"], result["time"].values
    first = int(np.argmin(np.abs(time - run_settings(result)["transient"])))
    end = logs.isel(time=-1, drop=True)
    with np.errstate(invalid="ignore"):
        rate: xr.DataArray = (end - logs.isel(time=first, drop=True)) / (time[-1] - time[first])
    found: xr.DataArray = rate.where(end > -np.inf, end)
    return found


def _if_above_zero(values: xr.DataArray, claim: Standing) -> Standing:
    """What a clearly positive mean over networks says of the claim; nothing can be said without one."""
    return claim if float(values.mean()) > CLEAR * float(standard_error(values)) else "not checkable"


def _holds(result: xr.Dataset, **place: float) -> bool:
    return all(value in result[name].values for name, value in place.items())


def _carousel(at: xr.Dataset) -> list[Verdict]:
    """The LSTM of 1997, whose forward pass does not depend on truncation or on a forget bias."""
    cell = CELLS["lstm_1997"](jax.random.key(0), 1, 1)
    gates = sum(isinstance(part, Gate) for _, part in nnx.iter_children(cell)) - 1  # one is the cell's input
    found = [
        observe(
            ["D14"], "Number of gates of our LSTM of 1997, two by construction as in the paper: a check "
            "of the code", HOCHREITER, measured=float(gates), claim="right after repair",
            correction="The conflicts of input and output weights are met by two gates. The forget gate came "
            "in 2000, against the growth of the cell state.",
        ),
        judge(
            ["D15", "D16", "D25"], "log |dc_t/dc_0 u| of the LSTM of 1997 with its truncated gradient, all "
            f"gains and steps up to {int(at['time'][-1])}", HOCHREITER,
            measured=at["log_norm"].sel(path="four_terms"), predicted=0.0,
            tolerance=EPS * int(at["time"][-1]), tolerance_from="rounding of float32 at every step",
            claim="right after repair",
            correction="A carousel without a forget gate keeps the gradient exactly, given that errors are "
            "cut off where they leave a cell by its gates. No complex gate is needed for that.",
        ),
    ]  # fmt: skip
    return found + (_growth(at) if _holds(at, gain=0.0) else [])


def _growth(at: xr.Dataset) -> list[Verdict]:
    """How a cell that forgets nothing grows."""
    square, predicted = at["cell_square"].isel(forget_bias=0), at["cell_square_predicted"].isel(time=-1)
    found = compare(
        ["D17"], "Mean square of the cell state of the LSTM of 1997 without recurrent weights after "
        f"t = {int(at['time'][-1])} steps: it never stops growing", "sum of uncorrelated terms i g, and the "
        "share of inputs that gates have in common",
        square.sel(gain=0.0).isel(time=-1), predicted, slack=2 / run_settings(at)["width"] * predicted,
        tolerance_from=f"relative terms of order 1 / inputs (2 / N), {surely(at.sizes['seed'])}",
    )  # fmt: skip
    if _holds(at, gain=1.0):
        later = square.sel(gain=1.0)
        half = later.sel(time=int(at["time"][-1]) // 2, method="nearest")
        found.append(observe_mean(
            ["D17"], "Power of t by which the mean square of the cell grows in the last half at gain 1: 1 "
            "for a random walk, 2 for the drift that saturated outputs cause through fixed weights",
            HOCHREITER, xr.apply_ufunc(np.log2, later.isel(time=-1) / half),
        ))  # fmt: skip
    return found


def _terms(lstm: xr.Dataset) -> list[Verdict]:
    """The four terms, one step at a time and multiplied."""
    early = lstm["discrepancy"].sel(step=[1, 2, 3, 10])
    found = [
        judge(
            ["D18"], "The four terms as matrices, o_{t-1} held fixed, against differentiation of the cell: "
            "largest relative difference at any step, bias and gain", WEBERNA,
            measured=float(lstm["formula_error"].max()), predicted=0.0, tolerance=ROUNDING,
            tolerance_from="rounding of float32", claim="right after repair",
            correction="Right as matrices, diag(.) W^T diag(.), for one step with o_{t-1} held fixed; not as "
            "elementwise products, as it is printed.",
        ),
        judge(
            ["D18"], "The product of the four-term expressions over two steps against dc_2/dc_0: relative "
            "difference", "chain rule on (c, h)", measured=float(early.sel(step=[1, 2]).max()),
            predicted=0.0, tolerance=ROUNDING, tolerance_from="rounding of float32",
        ),
    ]  # fmt: skip
    later = early.sel(step=10).where(lstm["gain"] > 0, drop=True)
    if later.size:
        found.append(observe(
            ["D18"], "The same over ten steps, mean over all biases and gains above 0: the path c -> h -> o "
            "-> h is missing", "chain rule on (c, h)", measured=float(later.mean()), claim="wrong",
            correction="Total derivatives need the whole carry: [I 0] J_T ... J_2 [I; diag(o_1 tanh'(c_1))].",
        ))  # fmt: skip
    return found + (_sizes(lstm) if _holds(lstm, gain=1.0) else [])


def _sizes(lstm: xr.Dataset) -> list[Verdict]:
    """Sizes of the terms at gain 1."""
    n, allowed = run_settings(lstm)["width"], surely(lstm.sizes["seed"])
    late = lstm[["late_terms", "late_terms_predicted", "diagonal_share"]].sel(gain=1.0)
    predicted = late["late_terms_predicted"]
    flat = late["diagonal_share"].where(late["forget_bias"] <= 3, drop=True)
    found = [
        *compare(
            ["D22", "D18"], "Share of the additive path, diag f, in |dc_t/dc_{t-1}|_F^2 at gain 1, every "
            "bias", GILBOA,
            late["late_terms"].sel(term="carousel") / late["late_terms"].sel(term="sum"),
            predicted.sel(term="carousel") / predicted.sel(term="sum"), slack=1 / n,
            tolerance_from=f"finite width and tied weights (1 / N), {allowed}",
        ),
        *compare(
            ["D18"], "Share of the other three terms, squared, that lies on their diagonals, which is all "
            "that an elementwise product keeps (gain 1, biases up to 3)",
            "independent entries of the kernels: 1 / N", flat, 1 / n, slack=0.2 / n,
            tolerance_from=f"tied weights (a fifth), {allowed}", claim="wrong",
            correction="The three terms are full matrices: only 1 / N of them is on the diagonal.",
        ),
    ]  # fmt: skip
    if _holds(lstm, forget_bias=1.0):
        terms = late["late_terms"].sel(forget_bias=1.0)
        extra = terms.sel(term=["forget", "input", "candidate"]).sum("term") / terms.sel(term="carousel")
        found.append(observe_mean(
            ["D18"], "Size of the three extra terms together as a share of diag f, in Frobenius norm (gain "
            "1, bias 1)", WEBERNA, extra**0.5,
        ))  # fmt: skip
    return found


def _gates(lstm: xr.Dataset, rate: xr.DataArray) -> list[Verdict]:
    """What the forget gates alone keep."""
    small = rate.sel(path="typical_unit").where(rate["gain"] <= 1, drop=True)
    return compare(
        ["D20"], "Mean log f of the forget gates at gains up to 1, every bias: what a typical unit forgets "
        "per step", "E log sigmoid(b + noise), variance of the noise from the mean field",
        small, lstm["keep_predicted"].sel(gain=small["gain"]),
        slack=0.05 / run_settings(lstm)["width"] ** 0.5,
        tolerance_from=f"spread of input weights between units (5% / sqrt N), {surely(small.sizes['seed'])}",
    )  # fmt: skip


def _biases(lstm: xr.Dataset, rate: xr.DataArray) -> list[Verdict]:
    """Forget biases against memory, and the path through f alone against the whole carry, at gain 1."""
    found: list[Verdict] = []
    if not _holds(lstm, gain=1.0):
        return found
    one, carry = rate.sel(gain=1.0), rate.sel(gain=1.0, path="carry")
    listed = ", ".join(f"{float(v):+.3f}" for v in carry.mean("seed"))
    biases = ", ".join(f"{b:g}" for b in carry["forget_bias"].values)
    gain = carry.isel(forget_bias=-1) - carry.isel(forget_bias=0)
    if carry.sizes["forget_bias"] > 1:
        found.append(observe_mean(
            ["D20"], f"Exponents of (c, h) at gain 1 and biases {biases}: {listed}. The last minus the first",
            WEBERNA, gain, claim=_if_above_zero(gain, "right"),
        ))  # fmt: skip
    found += compare(
        ["D26"], "Exponent of the products of dh_t/dh_{t-1} at gain 1, every bias: it does not see the "
        "memory", GILBOA, one.sel(path="hidden"), lstm["hidden_predicted"].sel(gain=1.0),
        slack=2 / run_settings(lstm)["width"],
        tolerance_from=f"finite width (2 / N), {surely(one.sizes['seed'])}", claim="right after repair",
        correction="Neither the block of h nor the path through f alone has the exponent of the gradient: "
        "follow the whole carry.",
    )  # fmt: skip
    if _holds(lstm, forget_bias=0.0):
        apart = (carry - one.sel(path="best_unit")).sel(forget_bias=0.0)
        found.append(observe_mean(
            ["D26"], "Exponent of (c, h) minus mean log f of the best unit, at bias 0 and gain 1", WEBERNA,
            apart, claim=_if_above_zero(apart, "right after repair"),
            correction="The extra terms change the exponent: the whole gradient decays more slowly than any "
            "path through f alone.",
        ))  # fmt: skip
    return found


def _explosion(rate: xr.DataArray) -> Verdict:
    """Growth in spite of gates below 1."""
    strong = rate.sel(path="carry").isel(gain=-1, forget_bias=-1)
    return observe_mean(
        ["D23"], f"Exponent of (c, h) at bias {float(strong['forget_bias']):g} and gain "
        f"{float(strong['gain']):g}, where every f is below 1", WEBERNA, strong,
        claim=_if_above_zero(strong, "right"),
    )  # fmt: skip


def _signs(result: xr.Dataset) -> Verdict:
    """Stretches along which a change grows, in LSTMs and in plain networks."""
    settings, steps = run_settings(result), result["log_norm"].sel(path="carry").diff("time")
    steps = steps.isel(time=steps["time"].values > settings["transient"])
    grows = (steps.sel(forget_bias=1.0, method="nearest") > 0).mean("time")
    gains = ", ".join(f"{g:g}" for g in grows["gain"].values)
    shares = {name: grows.sel(cell=name) for name in ("lstm", "tanh") if name in grows["cell"].values}
    listed = {k: ", ".join(f"{float(v):.2f}" for v in share.mean("seed")) for k, share in shares.items()}
    plain = f"; of tanh cells {listed['tanh']}" if "tanh" in listed else ""
    one = shares["lstm"].sel(gain=1.0, method="nearest")
    return observe_mean(
        ["D19"], f"Share of stretches of {settings['stride']:g} steps along which a change grows, at "
        f"gains {gains}: of LSTMs with bias {float(grows['forget_bias']):g} {listed['lstm']}{plain}. That of "
        f"LSTMs at gain {float(one['gain']):g}", WEBERNA, one, claim="right after repair",
        correction="Growing and decaying stretches alternate in either kind of network near exponent 0, and "
        "in neither far from it. What differs is the additive path and gates that are learned.",
    )  # fmt: skip


def _untied(result: xr.Dataset, rate: xr.DataArray) -> list[Verdict]:
    """Theory for weights drawn anew at every step, against such networks and against real ones."""
    untied, predicted = rate.sel(cell="lstm_untied", path="carry"), result["exponent_predicted"]
    untied = untied.where(untied["gain"] > 0, drop=True)
    found = compare(
        ["D20", "D23"], "Exponents of LSTMs whose weights are drawn anew at every step, all biases and "
        "gains above 0", GILBOA, untied, predicted.sel(cell="lstm_untied", gain=untied["gain"]),
        slack=2 / run_settings(result)["width"]
        + 5 * result["exponent_predicted_error"].sel(gain=untied["gain"]),
        tolerance_from="finite width (2 / N), five standard errors of the population, "
        + surely(untied.sizes["seed"]),
    )  # fmt: skip
    if untied.size and "lstm" in result["cell"].values and _holds(result, forget_bias=2.0, gain=2.0):
        place = {"cell": "lstm", "forget_bias": 2.0, "gain": 2.0}
        theory = 2 * float(predicted.sel(place))
        found.append(observe_mean(
            ["D20", "D23"], "Growth of log |d(c, h)|^2 of an LSTM that keeps its weights minus that theory, "
            f"at sigma_w^2 = 4 and bias 2, where the theory says {theory:.3f}", GILBOA,
            2 * rate.sel({**place, "path": "carry"}) - theory, claim="not checkable",
            correction="Theory for untied weights does not give the exponents of real LSTMs: where it is far "
            "below 0 they lie above it, where it is far above 0 below it.",
        ))  # fmt: skip
    return found


def _minimal(minimal: xr.Dataset, carry: xr.DataArray) -> list[Verdict]:
    """One gate alone, with tied weights.

    Without recurrent weights units are on their own: the largest exponent is that of the unit that keeps
    most, and theory's average over units, log E f^2 / 2, is not an exponent of any network. Tied weights
    hold W h, of standard deviation g sqrt(Q), for as long as the memory lasts, where theory draws it anew:
    the gates that keep most then set the exponent. A shift d of z changes log f by (1 - f) d.
    """
    kept = carry.where(carry["gain"] > 0, drop=True)
    if not kept.size:
        return []
    mean = kept.mean("seed")
    predicted = minimal["exponent_predicted"].sel(gain=mean["gain"]).transpose(*mean.dims)
    apart = ((mean - predicted) / abs(predicted)).stack(place=mean.dims)
    worst = apart.isel(place=int(np.argmax(abs(apart.values))))
    place = {name: float(worst[name]) for name in mean.dims}
    found = [observe(
        ["D25"], "Largest relative difference of the exponents of minimalRNNs from theory for untied "
        "weights, all biases and gains above 0: (measured - theory) / |theory| at bias "
        f"{place['forget_bias']:g} and gain {place['gain']:g}, where theory says "
        f"{float(predicted.sel(place)):.4f}",
        CHEN, measured=float(worst), claim="not checkable",
        uncertainty=float(standard_error(kept.sel(place)) / abs(predicted.sel(place))),
    )]  # fmt: skip
    small = kept.where(kept["gain"] <= 1, drop=True)
    predicted, scale = predicted.sel(gain=small["gain"]), run_settings(minimal)["input_scale"]
    found += compare(
        ["D25"], "Exponents of minimalRNNs, which have one gate, at all biases and gains above 0 and up "
        "to 1 (their weights are tied, the theory's are not; without recurrent weights units are on "
        "their own)", CHEN,
        small, predicted,
        slack=(1 - exp(predicted)) * held_deviation(scale, small["forget_bias"], small["gain"]),
        tolerance_from="tied weights, (1 - f) times the standard deviation of W h, "
        + surely(small.sizes["seed"]), claim="right after repair",
        correction="Not complex gates but an additive path with a gate near 1 keeps the gradient over "
        "time steps: one gate is enough.",
    )  # fmt: skip
    return found
