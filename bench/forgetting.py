"""Verdicts on what gated cells keep, of a result of ``carousel``."""

import json

import jax
import numpy as np
import xarray as xr
from flax import nnx

from signalprop.bench.rates import exp, standard_error
from signalprop.bench.verdict import Verdict, judge, observe, sampling_factor
from signalprop.models.cells import CELLS
from signalprop.models.recurrent import Gate

HOCHREITER = "Hochreiter & Schmidhuber (1997), Neural Computation 9, 1735"
WEBERNA = "weberna.github.io (2017), 'Why LSTMs Stop Your Gradients From Vanishing'"
GILBOA = "population dynamics with untied weights; Gilboa et al. (1901.08987), derived again"
EPS = float(np.finfo("float32").eps)
ROUNDING = 100 * EPS  # of relative differences of sums over all units


def exponents(result: xr.Dataset) -> xr.DataArray:
    """Growth per step of a change along every path, after the transient; -inf where it is exactly zero."""
    logs, time = result["log_norm"], result["time"].values
    first = int(np.argmin(np.abs(time - _setting(result, "transient"))))
    end = logs.isel(time=-1, drop=True)
    with np.errstate(invalid="ignore"):
        rate: xr.DataArray = (end - logs.isel(time=first, drop=True)) / (time[-1] - time[first])
    found: xr.DataArray = rate.where(end > -np.inf, end)
    return found


def verdicts(result: xr.Dataset) -> list[Verdict]:
    """Judge what the settings hold: the carousel of 1997, the four terms, biases, exponents and theory."""
    at = {name: result.sel(cell=name) for name in map(str, result["cell"].values)}
    rate = exponents(result)
    found: list[Verdict] = []
    if "lstm_1997" in at:
        found += _carousel(at["lstm_1997"])
    if "lstm" in at:
        found += [*_terms(at["lstm"]), *_biases(at["lstm"], rate.sel(cell="lstm"))]
    if "lstm_untied" in at:
        found += _untied(result, rate)
    if "minimal_rnn" in at:
        found += _minimal(at["minimal_rnn"], rate.sel(cell="minimal_rnn", path="carry"))
    return found


def _setting(result: xr.Dataset, name: str) -> int:
    return int(json.loads(result.attrs["settings"])[name])


def _allowed(values: xr.DataArray, num_checks: int = 0) -> xr.DataArray:
    """Five standard errors over networks, for as many checks as there are values."""
    checks = num_checks or values.isel(seed=0).size
    return sampling_factor(checks, values.sizes["seed"]) * standard_error(values)


def _holds(result: xr.Dataset, **place: float) -> bool:
    return all(value in result[name].values for name, value in place.items())


def _carousel(at: xr.Dataset) -> list[Verdict]:
    """The LSTM of 1997, whose forward pass does not depend on truncation or on a forget bias."""
    cell = CELLS["lstm_1997"](jax.random.key(0), 1, 1)
    gates = sum(isinstance(part, Gate) for _, part in nnx.iter_children(cell)) - 1  # one is the cell's input
    found = [
        judge(
            ["D14"], "Number of gates of the LSTM of 1997", HOCHREITER,
            measured=float(gates), predicted=2.0, tolerance=0.0, tolerance_from="a count",
            claim="right after repair",
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
    square = at["cell_square"].isel(forget_bias=0)
    free = square.sel(gain=0.0)
    found = [judge(
        ["D17"], "Mean square of the cell state of the LSTM of 1997 without recurrent weights after "
        f"t = {int(at['time'][-1])} steps: it never stops growing", "sum of uncorrelated terms i g, and the "
        "share of inputs that gates have in common",
        measured=free.isel(time=-1).mean("seed"), predicted=at["cell_square_predicted"].isel(time=-1),
        uncertainty=standard_error(free.isel(time=-1)),
        tolerance=_allowed(free.isel(time=-1), 1)
        + 2 / _setting(at, "width") * at["cell_square_predicted"].isel(time=-1),
        tolerance_from="relative terms of order 1 / inputs (2 / N) and five standard errors",
    )]  # fmt: skip
    if _holds(at, gain=1.0):
        later = square.sel(gain=1.0)
        half = later.sel(time=int(at["time"][-1]) // 2, method="nearest")
        power: xr.DataArray = xr.apply_ufunc(np.log2, later.isel(time=-1) / half)
        found.append(observe(
            ["D17"], "Power of t by which the mean square of the cell grows in the last half at gain 1: 1 "
            "for a random walk, 2 for the drift that saturated outputs cause through fixed weights",
            HOCHREITER,
            measured=float(power.mean()), uncertainty=float(standard_error(power)),
        ))  # fmt: skip
    return found


def _terms(lstm: xr.Dataset) -> list[Verdict]:
    """The four terms, one step at a time and multiplied."""
    n = _setting(lstm, "width")
    found = [
        judge(
            ["D18"], "The four terms as matrices, o_{t-1} held fixed, against differentiation of the cell: "
            "largest relative difference at any step, bias and gain", WEBERNA,
            measured=float(lstm["formula_error"].max()), predicted=0.0,
            tolerance=ROUNDING, tolerance_from="rounding of float32", claim="right after repair",
            correction="Right as matrices, diag(.) W^T diag(.), for one step with o_{t-1} held fixed; not as "
            "elementwise products, as it is printed.",
        ),
    ]  # fmt: skip
    early = lstm["discrepancy"].sel(step=[1, 2, 3, 10])
    found += [
        judge(
            ["D18"], "The product of the four-term expressions over two steps against dc_2/dc_0: relative "
            "difference", "chain rule on (c, h)",
            measured=float(early.sel(step=[1, 2]).max()), predicted=0.0,
            tolerance=ROUNDING, tolerance_from="rounding of float32",
        ),
        observe(
            ["D18"], "The same over ten steps, mean over all biases and gains above 0: the path c -> h -> o "
            "-> h is missing", "chain rule on (c, h)",
            measured=float(early.sel(step=10).where(lstm["gain"] > 0).mean()), claim="wrong",
            correction="Total derivatives need the whole carry: [I 0] J_T ... J_2 [I; diag(o_1 tanh'(c_1))].",
        ),
    ]  # fmt: skip
    return found + (_sizes(lstm, n) if _holds(lstm, gain=1.0) else [])


def _sizes(lstm: xr.Dataset, n: int) -> list[Verdict]:
    """Sizes of the terms at gain 1."""
    late = lstm[["late_terms", "late_terms_predicted", "diagonal_share"]].sel(gain=1.0)
    share = late["late_terms"].sel(term="carousel") / late["late_terms"].sel(term="sum")
    predicted = late["late_terms_predicted"]
    found = [judge(
        ["D22", "D18"], "Share of the additive path, diag f, in |dc_t/dc_{t-1}|_F^2 at gain 1, every bias",
        GILBOA,
        measured=share.mean("seed"), predicted=predicted.sel(term="carousel") / predicted.sel(term="sum"),
        uncertainty=standard_error(share), tolerance=1 / n + _allowed(share),
        tolerance_from="finite width and tied weights (1 / N) and five standard errors",
    )]  # fmt: skip
    flat = late["diagonal_share"].where(late["forget_bias"] <= 3, drop=True)
    found.append(judge(
        ["D18"], "Share of the other three terms, squared, that lies on their diagonals, which is all that "
        "an elementwise product keeps (gain 1, biases up to 3)", "independent entries of the kernels: 1 / N",
        measured=flat.mean("seed"), predicted=1 / n, uncertainty=standard_error(flat),
        tolerance=0.2 / n + _allowed(flat), tolerance_from="tied weights (a fifth) and five standard errors",
        claim="wrong", correction="The three terms are full matrices: only 1 / N of them is on the diagonal.",
    ))  # fmt: skip
    if _holds(lstm, forget_bias=1.0):
        terms = late["late_terms"].sel(forget_bias=1.0)
        extra = terms.sel(term=["forget", "input", "candidate"]).sum("term") / terms.sel(term="carousel")
        found.append(observe(
            ["D18"], "Size of the three extra terms together as a share of diag f, in Frobenius norm (gain "
            "1, bias 1)",
            WEBERNA, measured=float((extra**0.5).mean()), uncertainty=float(standard_error(extra**0.5)),
        ))  # fmt: skip
    return found


def _biases(lstm: xr.Dataset, rate: xr.DataArray) -> list[Verdict]:
    """Forget biases against memory, and the path through f alone against the whole carry."""
    found, n = [], _setting(lstm, "width")
    small = rate.sel(path="typical_unit").where((rate["gain"] <= 1), drop=True)
    found.append(judge(
        ["D20"], "Mean log f of the forget gates at gains up to 1, every bias: what a typical unit forgets "
        "per step",
        "E log sigmoid(b + noise), variance of the noise from the mean field",
        measured=small.mean("seed"), uncertainty=standard_error(small),
        predicted=lstm["keep_predicted"].sel(gain=small["gain"]).transpose(*small.mean("seed").dims),
        tolerance=0.05 / n**0.5 + _allowed(small),
        tolerance_from="spread of input weights between units, (5% / sqrt N), and five standard errors",
    ))  # fmt: skip
    if not _holds(lstm, gain=1.0):
        return found
    one, carry = rate.sel(gain=1.0), rate.sel(gain=1.0, path="carry")
    listed = ", ".join(f"{float(v):+.3f}" for v in carry.mean("seed"))
    biases = ", ".join(f"{b:g}" for b in carry["forget_bias"].values)
    gain = carry.isel(forget_bias=-1) - carry.isel(forget_bias=0)
    found.append(observe(
        ["D20"], f"Exponents of (c, h) at gain 1 and biases {biases}: {listed}. From the first to the last",
        WEBERNA,
        measured=float(gain.mean()), uncertainty=float(standard_error(gain)),
    ))  # fmt: skip
    hidden = one.sel(path="hidden")
    found.append(judge(
        ["D26"], "Exponent of the products of dh_t/dh_{t-1} at gain 1, every bias: it does not see the "
        "memory", GILBOA,
        measured=hidden.mean("seed"), predicted=lstm["hidden_predicted"].sel(gain=1.0),
        uncertainty=standard_error(hidden), tolerance=2 / n + _allowed(hidden),
        tolerance_from="finite width (2 / N) and five standard errors", claim="right after repair",
        correction="Neither the block of h nor the path through f alone has the exponent of the gradient: "
        "follow the whole carry.",
    ))  # fmt: skip
    if _holds(lstm, forget_bias=0.0):
        apart = (carry - one.sel(path="best_unit")).sel(forget_bias=0.0)
        found.append(observe(
            ["D26"], "Exponent of (c, h) minus mean log f of the best unit, at bias 0 and gain 1", WEBERNA,
            measured=float(apart.mean()), uncertainty=float(standard_error(apart)),
            claim="right after repair",
            correction="The extra terms change the exponent: the whole gradient decays more slowly than any "
            "path through f alone.",
        ))  # fmt: skip
    return found + _explosion(rate.sel(path="carry"), lstm)


def _explosion(carry: xr.DataArray, lstm: xr.Dataset) -> list[Verdict]:
    """Growth in spite of gates below 1, and both signs over short stretches."""
    strong = carry.isel(gain=-1, forget_bias=-1)
    steps = lstm["log_norm"].sel(path="carry").diff("time").where(lstm["time"] > _setting(lstm, "transient"))
    sizes = abs(carry.mean("seed")).transpose("forget_bias", "gain").values
    near = steps.stack(place=("forget_bias", "gain")).isel(place=int(np.argmin(sizes)))
    return [
        observe(
            ["D23"], f"Exponent of (c, h) at bias {float(strong['forget_bias']):g} and gain "
            f"{float(strong['gain']):g}, where every f is below 1", WEBERNA,
            measured=float(strong.mean()), uncertainty=float(standard_error(strong)),
        ),
        observe(
            ["D19"], f"Share of stretches of {int(np.diff(lstm['time'])[0])} steps along which a change "
            "grows, at the setting whose exponent is nearest to 0", WEBERNA,
            measured=float((near > 0).where(near.notnull()).mean()), claim="right after repair",
            correction="Factors of either kind occur in a plain network too. What differs is the additive "
            "path and gates that are learned.",
        ),
    ]  # fmt: skip


def _untied(result: xr.Dataset, rate: xr.DataArray) -> list[Verdict]:
    """Theory for weights drawn anew at every step, against such networks and against real ones."""
    n, untied = _setting(result, "width"), rate.sel(cell="lstm_untied", path="carry")
    untied = untied.where(untied["gain"] > 0, drop=True)
    predicted = result["exponent_predicted"].sel(cell="lstm_untied", gain=untied["gain"])
    own = result["exponent_predicted_error"].sel(gain=untied["gain"])
    found = [
        judge(
            ["D20", "D23"], "Exponents of LSTMs whose weights are drawn anew at every step, all biases and "
            "gains above 0", GILBOA,
            measured=untied.mean("seed"), predicted=predicted.transpose(*untied.mean("seed").dims),
            uncertainty=standard_error(untied), tolerance=2 / n + _allowed(untied) + 5 * own,
            tolerance_from="finite width (2 / N) and five standard errors of networks and population",
        )
    ]  # fmt: skip
    if "lstm" in result["cell"].values and _holds(result, forget_bias=2.0, gain=2.0):
        place = {"cell": "lstm", "forget_bias": 2.0, "gain": 2.0}
        tied = 2 * rate.sel({**place, "path": "carry"})
        theory = 2 * float(result["exponent_predicted"].sel(place))
        found.append(observe(
            ["D20", "D23"], "Growth of log |d(c, h)|^2 of an LSTM that keeps its weights minus that theory, "
            f"at sigma_w^2 = 4 and bias 2, where the theory says {theory:.3f}", GILBOA,
            measured=float(tied.mean()) - theory, uncertainty=float(standard_error(tied)), claim="wrong",
            correction="Theory for untied weights does not give the exponents of real LSTMs: where it is far "
            "below 0 they lie above it, where it is far above 0 below it.",
        ))  # fmt: skip
    return found


def _minimal(minimal: xr.Dataset, carry: xr.DataArray) -> list[Verdict]:
    """One gate alone, with tied weights."""
    kept = carry.where(carry["gain"] > 0, drop=True)
    predicted = minimal["exponent_predicted"].sel(gain=kept["gain"])
    factor = exp(kept)
    return [
        judge(
            ["D25"], "Factor per step by which a change decays in a minimalRNN, which has one gate, at all "
            "biases and gains above 0 (its weights are tied, the theory's are not)",
            "log(chi) / 2 of Chen, Pennington, Schoenholz (1806.05394)",
            measured=factor.mean("seed"), uncertainty=standard_error(factor),
            predicted=exp(predicted).transpose(*factor.mean("seed").dims),
            tolerance=0.03 + _allowed(factor), tolerance_from="tied weights (0.03) and five standard errors",
            claim="right after repair",
            correction="Not complex gates but an additive path with a gate near 1 keeps the gradient over "
            "time steps: one gate is enough.",
        )
    ]  # fmt: skip
