"""Figures of ``long-lag-tasks``: successes, learning curves, gradients by lag, and what predicts success."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from signalprop.bench.experiments.long_lag_tasks.verdicts import LN10, best, kept_decades, title, wilson
from signalprop.bench.record import figures as draw
from signalprop.bench.training.remedies import remedy
from signalprop.bench.training.tasks import find_task

HUGE = 10.0  # times chance: largest loss that a learning curve shows


def figures(result: xr.Dataset) -> dict[str, Figure]:
    """Successes, also by length if there are several, learning curves, gradients by lag, and predictors."""
    result = result.sortby("clip_norm")  # 0, without clipping, comes first
    at = best(result)
    found = {
        "success": _success(at),
        "curves": _curves(at),
        "lags": _lags(at),
        "predictor": _predictor(result),
    }
    if families := _families([str(t) for t in result["task"].values]):
        found["lengths"] = _lengths(at, families)
    return found


def _labels(result: xr.Dataset) -> list[str]:
    return [remedy(str(name)).label for name in result["network"].values]


def _panels(tasks: Sequence[str], height: float, **subplots: bool) -> tuple[Figure, list[Axes]]:
    """One panel per task, two in a row."""
    rows = -(-len(tasks) // 2)
    figure, axes = draw.canvas(rows, min(2, len(tasks)), height=height, **subplots)
    for spare in axes.ravel()[len(tasks) :]:
        spare.remove()
    return figure, list(axes.ravel()[: len(tasks)])


def _success(at: xr.Dataset) -> Figure:
    tasks, labels = [str(t) for t in at["task"].values], _labels(at)
    figure, panels = _panels(tasks, 0.9 + 0.22 * len(labels), sharex=True, sharey=True)
    rows, seeds = np.arange(len(labels))[::-1], at.sizes["seed"]
    norms = at["clip_norm"].values
    looks, shifts = draw.series([_clipping(norm) for norm in norms]), np.linspace(0.17, -0.17, len(norms))
    for axes, task in zip(panels, tasks, strict=True):
        for norm, shift in zip(norms, shifts if len(norms) > 1 else [0.0], strict=True):
            count = at["solved"].sel(task=task, clip_norm=norm).sum("seed").values.astype(int)
            interval = np.array([wilson(k, seeds) for k in count]).T
            rate = count / seeds
            draw.measured(
                axes, rate, rows + shift, None, looks[_clipping(norm)],
                xerr=np.abs(interval - rate), label=_clipping(norm),
            )  # fmt: skip
        axes.set(title=title(task), xlim=(-0.04, 1.04), ylim=(-0.6, len(labels) - 0.4))
        axes.set_yticks(rows, labels)
    for axes in panels[-2:]:
        axes.set_xlabel(f"share of {seeds} networks that solve the task")
    figure.legend(
        *panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=2,
        title="points: measured; bars: Wilson's 95 % intervals",
    )  # fmt: skip
    return figure


def _clipping(norm: float) -> str:
    return "without clipping" if norm == 0 else f"gradient clipped to norm {norm:g}"


def _families(tasks: Sequence[str]) -> dict[str, list[int]]:
    """Tasks that were run at several lengths, with these."""
    names = [t.partition("-")[0] for t in tasks]
    several = [n for n in dict.fromkeys(names) if names.count(n) > 1]
    return {n: sorted(int(t.partition("-")[2]) for t in tasks if t.startswith(f"{n}-")) for n in several}


def _lengths(at: xr.Dataset, families: dict[str, list[int]]) -> Figure:
    """Success of the networks against the length of the sequences."""
    names, seeds = [str(m) for m in at["network"].values], at.sizes["seed"]
    figure, panels = _panels(list(families), 2.6, sharey=True)
    looks = draw.series(names)
    for axes, (family, lengths) in zip(panels, families.items(), strict=True):
        tasks = [f"{family}-{length}" for length in lengths]
        for i, (name, label) in enumerate(zip(names, _labels(at), strict=True)):
            count = at["solved"].isel(clip_norm=-1).sel(task=tasks, network=name).sum("seed").values
            interval = np.array([wilson(int(k), seeds) for k in count]).T
            x = np.array(lengths) * 1.02 ** (i - len(names) / 2)
            error = np.abs(interval - count / seeds)
            axes.plot(x, count / seeds, color=looks[name]["color"], linestyle=looks[name]["linestyle"])
            draw.measured(axes, x, count / seeds, error, looks[name], label=label)
        axes.set(
            title=title(family), xscale="log", xlabel="length $T$", ylabel="share of networks that solve it"
        )
        axes.set_xticks(lengths, [str(length) for length in lengths])
        axes.minorticks_off()
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    figure.suptitle(f"Success by length ({_how(at)})", fontsize=9)
    return figure


def _how(at: xr.Dataset) -> str:
    """Clipping of the networks of most figures: at the largest norm, if they are clipped at all."""
    return _clipping(float(at["clip_norm"][-1]))


def _curves(at: xr.Dataset) -> Figure:
    """Loss of the networks by update, median over seeds."""
    tasks, names = [str(t) for t in at["task"].values], [str(m) for m in at["network"].values]
    figure, panels = _panels(tasks, 2.4)
    shown, looks = at["curve"].isel(clip_norm=-1).median("seed", skipna=False), draw.series(names)
    for axes, task in zip(panels, tasks, strict=True):
        for name, label in zip(names, _labels(at), strict=True):
            y = shown.sel(task=task, network=name)
            axes.plot(
                at["update"], y, label=label, markevery=max(1, y.size // 6), markersize=3, linewidth=1.0,
                **looks[name],
            )  # fmt: skip
        chance = float(at["test_loss_predicted"].sel(task=task))
        axes.axhline(chance, color="k", linestyle="--", linewidth=1.2, label="chance: no memory")
        axes.set(title=title(task), yscale="log", xlabel="updates", ylabel=_loss_name(task))
        lowest = np.nanmin([chance / 10, *shown.sel(task=task).values.ravel()])
        axes.set_ylim(max(lowest / 1.5, 1e-5 * chance), HUGE * chance)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4)
    figure.suptitle(f"Learning curves ({_how(at)}): median of {at.sizes['seed']} networks", fontsize=9)
    return figure


def _loss_name(task: str) -> str:
    return "mean square error" if task.startswith("adding") else "cross-entropy in nats"


def _lags(at: xr.Dataset) -> Figure:
    """Gradient of the last answer by lag, before and after training, of the first task."""
    task, names = str(at["task"].values[0]), [str(m) for m in at["network"].values]
    steps = find_task(task)[0].num_steps(find_task(task)[1])
    figure, (panels,) = draw.canvas(1, 2, height=3.1, sharey=True)
    chosen = at.sel(task=task).isel(clip_norm=-1, lag=slice(steps + 1))
    looks = draw.series(names)
    for axes, when in zip(panels, ("before", "after"), strict=True):
        decades = _finite(chosen[f"lag_{when}"] / LN10)
        for name, label in zip(names, _labels(at), strict=True):
            y = decades.sel(network=name).median("seed")
            count = int(chosen["solved"].sel(network=name).sum())
            shown = label if when == "before" else f"{label}: {count} of {at.sizes['seed']}"
            axes.plot(at["lag"][: steps + 1], y, label=shown, markevery=max(1, steps // 5), markersize=3.5,
                      linewidth=1.0, **looks[name])  # fmt: skip
        axes.set(xlabel="lag $k$ in steps", title=f"{when} training")
    panels[0].set_ylabel(r"$\log_{10} (|dL/dh_{T-k}| \, / \, |dL/dh_T|)$")
    panels[0].set_ylim(bottom=max(-14, panels[0].get_ylim()[0]), top=min(4, panels[0].get_ylim()[1]))
    figure.suptitle(
        f"Gradient of the last answer by lag: median of {at.sizes['seed']} networks ({_how(at)})", fontsize=9
    )
    figure.legend(
        *panels[1].get_legend_handles_labels(), loc="outside right center",
        title=f"{title(task)}:\nnetworks that solve it",
    )  # fmt: skip
    return figure


def _finite(values: xr.DataArray) -> xr.DataArray:
    return values.where(np.isfinite(values))


def _predictor(result: xr.Dataset) -> Figure:
    """Final loss of every clipped network against what is left of its gradient at initialization."""
    tasks, names = [str(t) for t in result["task"].values], [str(m) for m in result["network"].values]
    at = best(result.assign(kept=kept_decades(result))).isel(clip_norm=-1)
    figure, panels = _panels(tasks, 2.2)
    looks = draw.series(names)
    for axes, task in zip(panels, tasks, strict=True):
        chosen = at.sel(task=task)
        for name in names:
            y = np.minimum(chosen["test_loss"].sel(network=name) / chosen["test_loss_predicted"], HUGE)
            look = {k: v for k, v in looks[name].items() if k != "linestyle"}
            axes.plot(chosen["kept"].sel(network=name), y, linestyle="none", alpha=0.8, **look)
        axes.axhline(1, color="k", linestyle="--", linewidth=1.2)
        axes.axvline(0, color="0.6", linewidth=0.8)
        axes.set(yscale="log", title=title(task), xlabel="decades gained over $T$, untrained")
        axes.set_ylabel("test loss / chance")
    handles = [
        Line2D([], [], linestyle="none", color=looks[n]["color"], marker=looks[n]["marker"], label=label)
        for n, label in zip(names, _labels(at), strict=True)
    ]
    handles.append(Line2D([], [], color="k", linestyle="--", label="chance"))
    figure.legend(handles=handles, loc="outside lower center", ncols=4)
    figure.suptitle(
        f"What is left of the gradient before training, and the loss after it ({_how(result)})", fontsize=9
    )
    return figure


def table(result: xr.Dataset) -> pd.DataFrame:
    """Successes and medians by task, method and clipping, at the better learning rate."""
    at = best(result.assign(kept=kept_decades(result)))
    solved = at["solved"].sum("seed")
    intervals = np.array([wilson(int(k), at.sizes["seed"]) for k in solved.values.ravel()]).T
    low, high = (solved.copy(data=side.reshape(solved.shape)) for side in intervals)
    columns = {
        "solved": solved.astype(int),
        "seeds": xr.full_like(solved, at.sizes["seed"]).astype(int),
        "wilson_low": low,
        "wilson_high": high,
        "test_loss_median": at["test_loss"].median("seed"),
        "chance": at["test_loss_predicted"].broadcast_like(solved),
        "correct_median": at["correct"].median("seed"),
        "clip_rate": at["clip_rate"].mean(("seed", "update")),
        "diverged": (at["diverged_at"] > 0).sum("seed"),
        "untrained_gradient_decades": at["kept"].median("seed"),
    }
    return xr.Dataset(columns).to_dataframe().reset_index()
