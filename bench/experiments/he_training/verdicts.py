"""Verdicts of ``he-training``: what Xavier's start loses in deep relu networks, and what it does not."""

import numpy as np
import xarray as xr
from scipy import stats

from signalprop.analysis.statistics import share_interval
from signalprop.bench.experiments.he_training import STARTS
from signalprop.bench.measure.estimates import mean_and_error
from signalprop.bench.record.verdict import Standing, Verdict, judge, observe, sampling_factor
from signalprop.bench.training.choice import at_best_rate

HE = "He, Zhang, Ren & Sun (2015), arXiv:1502.01852"
HANIN = "Hanin & Nica (2018), arXiv:1812.05994"
HOMOGENEITY = "a relu network without biases is homogeneous"
LARGE = 0.02  # learning rates above it are large for this network: He's start fails at them
TWIN_ROUNDING = 1e-4  # nats: rounding of 30 layers, amplified by ten updates
EVEN = 0.5  # decades within which the weight gradients of all layers count as equal
BEGUN = 0.2  # training accuracy of a record, twice chance, from which on a network has begun to learn
LN10 = float(np.log(10))


def verdicts(result: xr.Dataset) -> list[Verdict]:
    """Judge the signal, its direction, the twins, and report successes by depth, start and rate."""
    result = named_starts(result)
    at, starts = best(result), set(map(str, result["start"].values))
    tries = result.sizes["learning_rate"]
    found = [_size(result), _direction(result), *_twins(result)]
    if {"xavier", "he"} <= starts:
        found += [_factor(result), *_successes(at, result["learning_rate"].values), *_speed(at)]
    if "xavier" in starts:
        found += [_ratio(at, tries), *_large_rates(result)]
    if {"xavier", "xavier_rescaled"} <= starts:
        found.append(_repair(at, tries))
    if {"xavier", "xavier_frozen"} <= starts:
        found.append(_biases(at))
    return found


def named_starts(result: xr.Dataset) -> xr.Dataset:
    """The result with starts by name, and the update by which each network has begun; NaN: never."""
    result = result.assign_coords(start=[tuple(STARTS)[int(i)] for i in result["start"].values])
    alive = (result["diverged_at"] == 0) | (result["update"] <= result["diverged_at"])
    reached = (result["accuracy"] >= BEGUN) & alive  # a record cut short by divergence does not count
    return result.assign(begun_at=result["update"].where(reached).min("update"))


def best(result: xr.Dataset) -> xr.Dataset:
    """The result at the learning rate that counts, for every depth and start.

    That is where most networks begin to learn; at equal numbers, where the median one begins first or, if it
    never does, where the median of the last loss is smallest.
    """
    count = result["begun_at"].notnull().sum("seed")
    median = result["begun_at"].fillna(np.inf).median("seed")
    loss = result["loss"].isel(update=-1, drop=True).fillna(np.inf).median("seed")
    return at_best_rate(result, count, -median, -loss.where(median == np.inf, 0.0))


def _top(result: xr.Dataset, variable: str) -> xr.DataArray:
    """A variable by layer at each network's last hidden layer, and before training, so at any one rate."""
    layers = xr.DataArray(result["depth"].values, dims="depth")
    part = result[variable].sel(layer=layers)
    part = part.where(np.isfinite(part))  # a dead layer, which the law leaves out
    return part.isel(learning_rate=0) if "learning_rate" in part.dims else part


def _size(result: xr.Dataset) -> Verdict:
    """The signal of the last layer against its exact law."""
    seeds = result.sizes["seed"]
    mean, predicted, error = xr.broadcast(
        _top(result, "log_signal").mean("seed") / LN10,
        _top(result, "log_signal_predicted") / LN10,
        _top(result, "log_signal_spread") / LN10 / np.sqrt(seeds),
    )
    return judge(
        ["B2", "B3"],
        "log10 |y^L| / |x| before training, every start and depth: the exact law of gated chi-squares, "
        "shifted by (L/2) log10 of sigma_w^2 / 2", HANIN,
        measured=mean, predicted=predicted, uncertainty=error,
        tolerance=sampling_factor(result.sizes["depth"]) * error,
        tolerance_from="as sure as five standard errors, of the law's own variance for one example; the "
        f"starts share {seeds} draws",
        claim="right after repair",
        correction="Only with weights of variance 2 / fan_in: with Xavier's the signal falls as 2^(-l/2).",
    )  # fmt: skip


def _factor(result: xr.Dataset) -> Verdict:
    """Xavier's signal against He's, draw by draw."""
    top = _top(result, "log_signal")
    loss = (top.sel(start="xavier", drop=True) - top.sel(start="he", drop=True)).transpose("depth", "seed")
    depths = result["depth"].values
    factors = ", ".join(f"{2.0 ** (-d / 2):.2g} at {d} layers" for d in depths)
    return judge(
        ["B4", "C12"],
        f"Xavier's signal over He's, the same draws: 2^(-L/2), which is {factors}; log10 of it", HOMOGENEITY,
        measured=(loss / LN10).values, predicted=-np.log10(2) * depths[:, None] / 2,
        tolerance=1e-4, tolerance_from="float32 rounding of up to 30 products", claim="wrong",
        correction="relu halves the mean square of every layer: without the factor 2 of He's variance the "
        "signal vanishes.",
    )  # fmt: skip


def _direction(result: xr.Dataset) -> Verdict:
    """What Xavier's start keeps: every direction."""
    return judge(
        ["B4"],
        "The unit vectors of the top activities, any start against He's: nothing but the size is lost. "
        "Largest distance over examples", HOMOGENEITY,
        measured=float(result["direction_gap"].max()), predicted=0.0,
        tolerance=1e-4, tolerance_from="float32 rounding of up to 30 layers",
        claim="right after repair",
        correction="A vanished relu signal is small, not destroyed: rescaling brings it back exactly.",
    )  # fmt: skip


def _twins(result: xr.Dataset) -> list[Verdict]:
    """The equivalence, at the smallest rate: larger ones amplify rounding."""
    gap = result["twin_gap"].sortby("learning_rate")
    rate = float(gap["learning_rate"][0])
    if rate > LARGE:
        return []
    learnable = gap.isel(learning_rate=gap["learning_rate"].values <= LARGE)
    return [
        judge(
            ["C13", "B4"],
            "Without biases, Xavier's network on an input 2^(L/2) times larger is He's network whose hidden "
            f"layers learn at twice the rate: losses of the first ten updates at rate {rate:g}, largest "
            f"difference (at rates up to {LARGE:g} rounding of single precision is amplified, to at most "
            f"{float(learnable.max()):.2g})", HOMOGENEITY,
            measured=float(gap.isel(learning_rate=0).max()), predicted=0.0,
            tolerance=TWIN_ROUNDING, tolerance_from="float32 rounding, amplified by ten updates",
        )
    ]  # fmt: skip


def counted(begun: xr.DataArray) -> str:
    """How many networks began to learn, in words."""
    return f"{int(begun.notnull().sum())} of {begun.size}"


def bounds(begun: xr.DataArray, tries: int) -> tuple[float, float]:
    """The 95 % interval of the share that begins at the best of so many learning rates."""
    return share_interval(int(begun.notnull().sum()), begun.size, tries)


def bounded(begun: xr.DataArray, tries: int) -> str:
    """That count with its interval."""
    low, high = bounds(begun, tries)
    return f"{counted(begun)} (95 % interval {low:.2f} to {high:.2f})"


def allowing(tries: int) -> str:
    """What the intervals allow for."""
    return "exact intervals" if tries == 1 else f"exact intervals, at once for all {tries} rates"


def _successes(at: xr.Dataset, rates: np.ndarray) -> list[Verdict]:
    """Both starts at the best of the rates tried, depth by depth."""
    found, tried = [], ", ".join(f"{rate:g}" for rate in rates)
    for depth in at["depth"].values:
        begun = at["begun_at"].sel(depth=depth)
        xavier, he = begun.sel(start="xavier"), begun.sel(start="he")
        gap = int(he.notnull().sum()) - int(xavier.notnull().sum())
        stalls = bounds(xavier, rates.size)[1] < bounds(he, rates.size)[0]
        standing: Standing = "right after repair" if gap >= 0 else "wrong"
        found.append(
            observe(
                ["B2", "B4"] if stalls else ["B2"],
                f"{depth} hidden relu layers, {int(at['update'][-1])} updates, networks that begin to learn "
                f"at the best of the learning rates {tried}, with none between: Xavier "
                f"{bounded(xavier, rates.size)}, He {bounded(he, rates.size)}, {allowing(rates.size)}; "
                "difference", HE,
                measured=float(gap), claim=standing,
                correction="relu trains this deep with He's weights; with Xavier's it stalls at these rates, "
                "within this number of updates." if stalls else "At this depth the intervals of the two "
                "shares overlap, at these rates and within this number of updates." if gap >= 0 else
                "More of Xavier's networks begin here.",
            )
        )  # fmt: skip
    return found


def _speed(at: xr.Dataset) -> list[Verdict]:
    """Paired updates until the networks begin, where Xavier's do."""
    found = []
    for depth in at["depth"].values:
        begun = at["begun_at"].sel(depth=depth)
        ratio = np.log((begun.sel(start="xavier") / begun.sel(start="he")).values)
        ratio = ratio[np.isfinite(ratio)]
        if ratio.size < 3:
            continue
        mean, error = mean_and_error(ratio)
        sure = mean > error * stats.t.isf(0.025, ratio.size - 1)
        found.append(
            observe(
                ["C13", "B2"],
                f"{depth} hidden layers, the {ratio.size} pairs of equal draws of which both begin: updates "
                f"that Xavier's start needs over He's, each at the rate chosen on these networks, geometric "
                f"mean {np.exp(mean):.3g}; natural log", HE,
                measured=mean, uncertainty=error, claim="right" if sure else "not checkable",
                correction="" if sure else "No difference beyond chance.",
            )
        )  # fmt: skip
    return found


def _ratio(at: xr.Dataset, tries: int) -> Verdict:
    """Equal weight gradients in the deepest network, and whether it trains."""
    depth = int(at["depth"].max())
    part = at.sel(depth=depth, start="xavier")
    decades = (part["log_gradient"].sel(layer=2) - part["log_gradient"].sel(layer=depth)) / LN10
    size = float(part["log_gradient"].sel(layer=depth).mean() / LN10)
    mean, error = mean_and_error(decades)
    misled = abs(mean) < EVEN and bounds(part["begun_at"], tries)[1] < 0.5
    return observe(
        ["B3", "B4"],
        f"The ratio of layers is no check of health. {depth} Xavier relu layers: |dE/dW^2| / |dE/dW^{depth}| "
        f"= {10**mean:.3g} before training, all near 10^{size:.1f}, and "
        f"{bounded(part['begun_at'], tries)} begin to learn at the best rate tried, {allowing(tries)}; log10 "
        "of the ratio", HE,
        measured=mean, uncertainty=error, claim="wrong" if misled else "not checkable",
        correction="All layers may update at the same speed, and that speed be far too small: look at the "
        "size of signal and gradient, not at the ratio of layers." if misled else
        "Here an even ratio did not come with networks that stall.",
    )  # fmt: skip


def _large_rates(result: xr.Dataset) -> list[Verdict]:
    """Xavier's deepest network at rates far above He's."""
    depth = int(result["depth"].max())
    kept = result["learning_rate"].values > LARGE
    if not kept.any():
        return []
    part = result.sel(depth=depth, start="xavier").isel(learning_rate=kept)
    rates = ", ".join(f"{rate:g}" for rate in part["learning_rate"].values)
    diverged = int((part["diverged_at"] > 0).sum())
    share = float(part["begun_at"].notnull().mean())
    return [
        observe(
            ["A16", "B4"],
            f"{depth} Xavier relu layers at learning rates too large for He's start ({rates}): "
            f"{counted(part['begun_at'])} begin to learn and {diverged} of {part['diverged_at'].size} leave "
            "float range; share that begin", HE,
            measured=share, claim="right after repair",
            correction="The step that a vanished gradient would need is too large for the read-out's bias, "
            "whose gradient has not vanished, and for the network once its signal is back." if share < 0.5
            else "A larger rate makes up for a vanished signal here.",
        )
    ]  # fmt: skip


def _repair(at: xr.Dataset, tries: int) -> Verdict:
    """Xavier's deepest network on a larger input."""
    depth = int(at["depth"].max())
    begun = at["begun_at"].sel(depth=depth)
    plain, scaled = begun.sel(start="xavier"), begun.sel(start="xavier_rescaled")
    repaired = bounds(plain, tries)[1] < bounds(scaled, tries)[0]
    return observe(
        ["B4", "C12"],
        f"{depth} Xavier relu layers, the input multiplied by 2^(L/2) = {2 ** (depth / 2):.3g}: "
        f"{bounded(scaled, tries)} begin to learn at the best rate tried, {bounded(plain, tries)} without, "
        f"{allowing(tries)}; difference of the shares", HE,
        measured=float(scaled.notnull().mean() - plain.notnull().mean()),
        claim="right after repair" if repaired else "not checkable",
        correction="What stalls is the size of the signal, and one number repairs it: Xavier's weights hold "
        "all the directions that He's do." if repaired else "The intervals of the two shares overlap.",
    )  # fmt: skip


def _biases(at: xr.Dataset) -> Verdict:
    """Freezing the biases: pairs over all depths."""
    plain, frozen = at["begun_at"].sel(start="xavier"), at["begun_at"].sel(start="xavier_frozen")
    gain, error = mean_and_error(frozen.notnull().values * 1.0 - plain.notnull().values)
    remark = "No gain beyond chance."
    if gain <= 0:
        remark = "Freezing the biases repairs nothing here."
    elif gain > 2 * error:
        remark = "Trained biases take part in the stall."
    return observe(
        ["B4"],
        f"Xavier relu networks of all depths, biases frozen at 0: {counted(frozen)} begin to learn at the "
        f"best rate tried, with trained biases {counted(plain)}; gain in the share by freezing", HE,
        measured=gain, uncertainty=error, claim="not checkable", correction=remark,
    )  # fmt: skip
