r"""Which layers go on learning when one of them passes no gradient?

A relu classifier is trained by plain gradient descent. All units of its layer k become binary steps, or are
silenced by an offset of -100; or only a share of the middle layer's units is silenced (`bench.frozen`).
Measured: the length of every layer's way, the sum of |update| over all steps, which is exactly 0 where no
step moved it, and the accuracy on test examples.

Theory is the chain rule: nothing below the replaced layer, or in it, gets any gradient; everything above
does, but for the kernel that reads a silent layer, whose input is exactly 0.

Sources: Rumelhart, Hinton & Williams (1986), Nature 323; Bengio, Leonard & Courville (2013), arXiv:1308.3432
(steps and what to do about them); Rahimi & Recht (2007), NIPS 20 (random features).
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import xarray as xr

from signalprop.bench import frozen
from signalprop.bench.drawings.frozen_layers import figures
from signalprop.bench.engine.errors import InputError
from signalprop.bench.engine.grid import Grid, Static, require_count, require_values
from signalprop.bench.experiment import Experiment, Variable
from signalprop.bench.record.verdict import Verdict, judge, observe
from signalprop.bench.training.classification import problem

REPLACED = ("step", "silent")
EXACT = "exact"
FREE = 0.02  # accuracy that counts as no loss


@dataclass(frozen=True)
class Settings:
    """Settings of ``frozen-layers``."""

    share: tuple[float, ...] = (0.0, 0.02, 0.8, 1.0)
    """Shares of silent units in the middle layer, rounded to whole units."""
    depth: int = 6
    """Hidden layers; each is replaced in turn."""
    width: int = 64
    """Units per layer."""
    steps: int = 60
    """Steps of training."""
    batch_size: int = 32
    """Examples per step."""
    data: str = "digits"
    """What is learnt."""
    seeds: int = 2
    """Networks per replaced layer."""
    seed: int = 0
    """Root of all random numbers."""
    dtype: str = "float32"
    """Floating-point type."""

    def __post_init__(self) -> None:
        """Refuse settings that cannot be run."""
        problem(self.data)
        for axis in ("width", "steps", "batch_size"):
            require_count(axis, (getattr(self, axis),))
        require_count("depth", (self.depth,), least=2)
        require_values("share", self.share)
        for share in self.share:
            if not 0 <= share <= 1:
                raise InputError(f"share: got {share}; write shares between 0 and 1")
            if 0 < share < 1 and round(share * self.width) in (0, self.width):
                least = 1 / self.width
                raise InputError(
                    f"share: got {share}, none or all of {self.width} units; write {least:g} to {1 - least:g}"
                )


SIZES = {
    "quick": Settings(),
    "standard": Settings(
        share=(0.0, 0.02, 0.2, 0.4, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 1.0), steps=300, seeds=10
    ),
    "full": Settings(share=tuple(round(0.05 * i, 2) for i in range(21)), width=128, steps=3000, seeds=50),
}


def grid(settings: Settings) -> Grid:
    """Only seeds are an axis; the replaced layer is a dimension of what is measured."""
    constants = ("share", "depth", "width", "steps", "batch_size", "data", "dtype")
    return Grid(
        static={},
        traced={},
        seeds=settings.seeds,
        constants={name: getattr(settings, name) for name in constants},
        coords={
            "replaced": REPLACED,
            "at": range(1, settings.depth + 1),
            "layer": range(1, settings.depth + 2),
            "share": settings.share,
        },
    )


def measure(key: jax.Array, point: dict[str, jax.Array], static: Static) -> dict[str, jax.Array]:
    """Train one classifier per replaced layer and way, and per silent share of the middle layer."""
    data, depth, width = problem(static["data"]), static["depth"], static["width"]
    layers, num_shares = jnp.arange(1, depth + 1), len(static["share"])
    cases = {
        "layer": jnp.concatenate([layers, layers, jnp.full(num_shares, (depth + 1) // 2)]),
        "stepped": jnp.arange(2 * depth + num_shares) < depth,
        "silent": jnp.asarray([width] * 2 * depth + [round(share * width) for share in static["share"]]),
    }
    sizes = {name: static[name] for name in ("width", "depth", "steps", "batch_size", "dtype")}
    out = jax.vmap(lambda case: frozen.learn(key, data, case, **sizes))(cases)
    whole = {k: v[: 2 * depth].reshape(2, depth, *v.shape[1:]) for k, v in out.items()}
    part = {f"share_{k}": v[2 * depth :] for k, v in out.items()}
    return {"learnt": whole.pop("accuracy"), **whole, **part}


def theory(settings: Settings) -> xr.Dataset:
    """Whether the kernel and the bias of a layer ever move, the accuracy of guessing, and whole units."""
    labels = grid(settings).labels()
    at, layer = np.arange(1, settings.depth + 1)[:, None], np.arange(1, settings.depth + 2)
    dims = ("replaced", "at", "layer")
    counts = np.bincount(problem(settings.data).label_test)
    return xr.Dataset(
        {
            "moves_predicted": (dims, np.stack([layer > at, layer > at + 1]).astype(float)),
            "bias_moves_predicted": (dims, np.stack([layer > at, layer > at]).astype(float)),
            "guessing": ((), counts.max() / counts.sum()),
            "silent_units": ("share", [round(share * settings.width) for share in settings.share]),
            "units": ((), settings.width),
        },
        coords={k: labels[k] for k in (*dims, "share")},
    )


def verdicts(result: xr.Dataset) -> list[Verdict]:
    """Judge who moves, and what is learnt."""
    found = []
    for name, what in (("way", "Kernels"), ("bias_way", "Biases")):
        predicted = result[f"{name.replace('way', 'moves')}_predicted"]
        moves, predicted = xr.broadcast((result[name] > -np.inf).astype(float), predicted)
        still = predicted == 0
        found += [
            judge(
                ["B34", "B35"], f"{what} of {int(still.sum())} layers in or below a layer of steps or "
                f"silent units{' or right above a silent one' * (name == 'way')}: number that any step moves",
                "chain rule",
                measured=float(moves.where(still).sum()), predicted=0.0, tolerance=0.0, tolerance_from=EXACT,
                claim="right after repair", correction="Learning stops in that layer and below, exactly. "
                "The kernel right above a silent layer reads only zeros and does not move either.",
            ),
            judge(
                ["B35"], f"{what} of {int((~still).sum())} other layers: number that no step "
                "moves", "chain rule",
                measured=float((1 - moves).where(~still).sum()), predicted=0.0, tolerance=0.0,
                tolerance_from=EXACT,
            ),
        ]  # fmt: skip
    step = result["way"].sel(replaced="step").where(result["layer"] <= result["at"])
    found.append(judge(
        ["B26"], f"Kernels in or below a layer of binary steps, {int(step.notnull().sum())}: number that "
        "any step of training moves", "chain rule", measured=float((step > -np.inf).sum()), predicted=0.0,
        tolerance=0.0, tolerance_from=EXACT,
    ))  # fmt: skip
    return [*found, *_learnt(result), *_shares(result)]


def _learnt(result: xr.Dataset) -> list[Verdict]:
    """What the read-out makes of frozen features, and of none."""
    step, silent = (result["learnt"].sel(replaced=kind).isel(at=-1) for kind in REPLACED)
    guess = float(result["guessing"])
    return [
        observe(
            ["B34"], "Test accuracy of a read-out that learns on the frozen random features of a "
            f"network whose last hidden layer are binary steps (guessing: {guess:.2f}; behind a silent "
            f"layer: {float(silent.mean()):.2f})", "Rahimi & Recht (2007), NIPS 20",
            measured=float(step.mean()), uncertainty=_error(step),
            claim="right after repair" if float(step.mean()) > 2 * guess else "right",
            correction="No gradient passes a step, so all below stays random; the output layer still fits "
            "random features." if float(step.mean()) > 2 * guess else "",
        )
    ]  # fmt: skip


def _shares(result: xr.Dataset) -> list[Verdict]:
    """Silent units among others."""
    some = result.sel(share=[s for s in result["share"].values if 0 < s < 1])
    if some.sizes["share"] == 0:
        return []
    units, count = int(result["units"]), some["silent_units"]
    least, most = int(count.min()), int(count.max())
    still = float((~np.isfinite(some["share_way"])).sum())
    numbers: dict[str, Any] = {"measured": still, "predicted": 0.0, "tolerance": 0.0, "tolerance_from": EXACT}
    what = f"Kernels that no step moves, where {least} to {most} of one layer's {units} units are silent"
    found = [
        judge(["B33", "B37"], what, "paths through the other units", **numbers),
        judge(
            ["A9"], what, "paths through the other units", **numbers, claim="right after repair",
            correction="One silent unit blocks nothing: what is below learns through the units that are "
            "awake. Only a layer silent as a whole blocks.",
        ),
    ]  # fmt: skip
    if 0.0 in result["share"].values:
        loss = result["share_accuracy"].sel(share=0.0, drop=True) - some["share_accuracy"]
        free = count.where(loss.mean("seed") < FREE, 0)
        lost = loss.isel(share=int(np.argmin(count.values)))
        costs = "" if lost.mean() < FREE else "It costs accuracy at this width."
        found.append(observe(
            ["B36"], f"Test accuracy lost where {least} of {units} units of one layer, {least / units:.1%}, "
            f"are silent (largest number of those measured that costs less than {FREE}: {int(free.max())})",
            "trained networks",
            measured=float(lost.mean()), uncertainty=_error(lost),
            claim="wrong" if costs else "right", correction=costs,
        ))  # fmt: skip
    return found


def _error(values: xr.DataArray) -> float:
    """Standard error over networks; NaN of a single one."""
    return (
        float(values.std("seed", ddof=1) / np.sqrt(values.sizes["seed"]))
        if values.sizes["seed"] > 1
        else np.nan
    )


def table(result: xr.Dataset) -> pd.DataFrame:
    """Mean ways and accuracies."""
    rows = []
    for kind in result["replaced"].values:
        for k in result["at"].values:
            at = result.sel(replaced=kind, at=k).mean("seed")
            case = f"layer {k}: {kind}"
            rows += [(case, str(n), "way of the kernel", float(np.exp(w)))
                     for n, w in zip(at["layer"].values, at["way"].values, strict=True)]  # fmt: skip
            rows.append((case, "", "test accuracy", float(at["learnt"])))
    learnt = result["share_accuracy"].mean("seed").values
    for count, accuracy in zip(result["silent_units"].values, learnt, strict=True):
        rows.append((f"silent units: {count}", "", "test accuracy", float(accuracy)))
    return pd.DataFrame(rows, columns=["case", "layer", "quantity", "measured"])


EXPERIMENT = Experiment(
    name="frozen-layers",
    question="Which layers go on learning when one of them passes no gradient?",
    sizes=SIZES,
    grid=grid,
    measure=measure,
    variables={
        "way": Variable(("replaced", "at", "layer"), "log of the sum of |update| of a kernel", "nats"),
        "bias_way": Variable(("replaced", "at", "layer"), "log of the sum of |update| of a bias", "nats"),
        "learnt": Variable(("replaced", "at"), "test accuracy with a layer replaced"),
        "share_way": Variable(("share", "layer"), "log of the sum of |update| of a kernel", "nats"),
        "share_bias_way": Variable(("share", "layer"), "log of the sum of |update| of a bias", "nats"),
        "share_accuracy": Variable(("share",), "test accuracy with a share of the middle layer silent"),
    },
    theory=theory,
    verdicts=verdicts,
    figures=figures,
    table=table,
    compiler_options={"xla_backend_optimization_level": 1},
)
