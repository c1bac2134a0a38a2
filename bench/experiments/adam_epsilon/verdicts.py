"""Verdicts of ``adam-epsilon``: layers per decade, what it does to training, and where float32 ends."""

import numpy as np
import xarray as xr

from signalprop.analysis.statistics import fit_line
from signalprop.bench.measure.estimates import run_settings
from signalprop.bench.record.verdict import Verdict, judge, observe

ADAM = "Kingma & Ba (2015), arXiv:1412.6980; Schoenholz et al. (2017), arXiv:1611.01232"
TOLERANCE = 0.05  # of the layers per decade
FOLLOWS = 0.5  # of the layers that steps gain, from which the trainable depth follows them
SMALLEST = 1e-16  # epsilons below which float32 cannot hold the square of such a gradient
LN10 = float(np.log(10))
HALF = float(np.log(0.5))  # log of the share of the learning rate below which a step is no longer full


def verdicts(result: xr.Dataset) -> list[Verdict]:
    """Judge the reach of full steps, and say what it does to training."""
    result = result.sortby("epsilon", ascending=False)
    return [*_slope(result), _trained(result), *_exploded(result)]


def reach(result: xr.Dataset) -> xr.DataArray:
    """Hidden layers below the read-out whose step is at least half the learning rate, interpolated.

    From the median over seeds; the depth of the network if all are.
    """
    steps = result["log_step"].median("seed")

    def one(values: np.ndarray) -> float:
        down = values[::-1]  # the read-out first
        short = np.flatnonzero(~(down >= HALF))
        if short.size == 0:
            return float(down.size - 1)
        i = int(short[0])
        if i == 0:
            return 0.0
        share = (down[i - 1] - HALF) / (down[i - 1] - down[i]) if np.isfinite(down[i]) else 0.0
        return float(i - 1 + share)

    found: xr.DataArray = xr.apply_ufunc(one, steps, input_core_dims=[["layer"]], vectorize=True)
    return found


def _slope(result: xr.Dataset) -> list[Verdict]:
    """Layers per decade of epsilon that full steps reach further."""
    result = result.sel(epsilon=result["epsilon"] >= SMALLEST)
    far, decades = reach(result), -np.log10(result["epsilon"].values)
    inside = (far > 1) & (far < result.sizes["layer"] - 1)
    lines = [
        fit_line(decades[keep], row[keep])
        for row, keep in zip(far.values, inside.values, strict=True)
        if keep.sum() > 2
    ]
    if not lines:
        return []
    predicted = 1 / float(result["decades"])
    return [judge(
        ["C15", "A16"], "Adam's first step is at least half the learning rate down to a layer that lies "
        f"deeper the smaller epsilon is; sigmoid networks, {_formats(result)}: layers per decade of epsilon, "
        "which are those per decade of gradient", ADAM,
        measured=[line.slope for line in lines], predicted=predicted,
        uncertainty=[0.0 if np.isnan(line.slope_error) else line.slope_error for line in lines],
        tolerance=TOLERANCE * predicted, tolerance_from="5 %: one layer is the grid",
        claim="right after repair",
        correction="Steps of Adam do not shrink with a vanishing gradient until it falls below epsilon.",
    )]  # fmt: skip


def _formats(result: xr.Dataset) -> str:
    return " and ".join(str(name) for name in result["format"].values)


def _trained(result: xr.Dataset) -> Verdict:
    """What full steps in more layers do to the depth that trains."""
    depth, far = result["trainable_depth"].median("seed"), reach(result).isel(format=-1).values
    ends = [depth.isel(epsilon=i).values for i in (0, -1)]
    least, most = float(depth.min()), float(depth.max())
    eps = [float(result["epsilon"][i]) for i in (0, -1)]
    steps = run_settings(result)["steps"]
    gained, further = float(np.mean(ends[1] - ends[0])), float(far[-1] - far[0])
    little = gained < FOLLOWS * further
    return observe(
        ["C15", "C6"], f"From epsilon {eps[0]:.0e} to {eps[1]:.0e} full steps reach {further:.0f} "
        f"layers further ({result['format'].values[-1]}); the depth that trains in {steps} steps "
        f"is {least:.0f} to {most:.0f} at every epsilon and type, where 6 xi_c is "
        f"{float(result['information']):.1f}; layers gained",
        ADAM,
        measured=gained, claim="wrong" if little else "right after repair",
        correction="Adam is no initialisation. It makes every layer move, but what reaches the upper layers "
        "has forgotten the input, and no step size brings that back." if little else
        "Here the depth that trains follows the reach of full steps.",
    )  # fmt: skip


def _exploded(result: xr.Dataset) -> list[Verdict]:
    """Where the second moment underflows before the gradient does."""
    if "float32" not in result["format"].values or float(result["epsilon"].min()) >= SMALLEST:
        return []
    at = result.sel(format="float32").isel(epsilon=-1)
    size = at["log_step"].where(np.isfinite(at["log_step"])).max("seed") / LN10
    if not bool((size > 1).any()):
        return []
    down = int(result.sizes["layer"] - result["layer"][np.flatnonzero(size.values > 1)[-1]])
    gradient = float(at["log_gradient"].mean("seed")[-1 - down]) / LN10
    return [observe(
        ["C6", "C15"], f"float32, epsilon {float(result['epsilon'][-1]):.0e}: from {down} layers below the "
        f"read-out on, at a typical gradient of 1e{gradient:.0f}, squares underflow where gradients do not, "
        "and the first step divides by epsilon alone; log10 of the largest rms step over the rate",
        ADAM, measured=float(size.max()), claim="right",
    )]  # fmt: skip
