"""Figures of ``long-lag-tasks``: successes, learning curves, gradients by lag, and what predicts success."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from signalprop.analysis.statistics import share_interval
from signalprop.bench.experiments.long_lag_tasks.verdicts import LN10, best, kept_decades, title
from signalprop.bench.record import figures as draw
from signalprop.bench.record.tables import tidy
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


def table(result: xr.Dataset) -> pd.DataFrame:
    """Successes and medians by task, method and clipping, at the better learning rate."""
    at = best(result.assign(kept=kept_decades(result)))
    solved = at["solved"].sum("seed")
    intervals = np.array([share_interval(int(k), at.sizes["seed"]) for k in solved.values.ravel()]).T
    low, high = (solved.copy(data=side.reshape(solved.shape)) for side in intervals)
    columns = {
        "solved": solved.astype(int),
        "seeds": xr.full_like(solved, at.sizes["seed"]).astype(int),
        "low": low,
        "high": high,
        "test_loss_median": at["test_loss"].median("seed"),
        "chance": at["test_loss_predicted"].broadcast_like(solved),
        "correct_median": at["correct"].median("seed"),
        "clip_rate": at["clip_rate"].mean(("seed", "update")),
        "diverged": (at["diverged_at"] > 0).sum("seed"),
        "untrained_gradient_decades": at["kept"].median("seed"),
    }
    return tidy(columns)


def _labels(result: xr.Dataset) -> list[str]:
    return [remedy(str(name)).label for name in result["network"].values]


def _panels(tasks: Sequence[str], height: float, **more: Any) -> tuple[Figure, list[Axes]]:
    """One panel per task, two in a row."""
    figure, panels = draw.panels([title(task) for task in tasks], 2, height=height, **more)
    return figure, list(panels.values())


def _success(at: xr.Dataset) -> Figure:
    """Share of the networks that solve each task, with and without clipping."""
    tasks, labels = [str(t) for t in at["task"].values], _labels(at)
    figure, panels = _panels(tasks, 0.9 + 0.22 * len(labels), sharex=True, sharey=True)
    rows, seeds = np.arange(len(labels))[::-1], at.sizes["seed"]
    norms = at["clip_norm"].values
    looks = draw.series([_clipping(norm) for norm in norms])
    shifts = np.linspace(0.17, -0.17, len(norms)) if len(norms) > 1 else [0.0]
    for axes, task in zip(panels, tasks, strict=True):
        for norm, (label, look), shift in zip(norms, looks.items(), shifts, strict=True):
            rate, error = _shares(at["solved"].sel(task=task, clip_norm=norm))
            draw.measured(axes, rate, rows + shift, None, look, xerr=error, label=label)
        axes.set(xlim=(-0.04, 1.04), ylim=(-0.6, len(labels) - 0.4))
        axes.set_yticks(rows, labels)
    for axes in panels[-2:]:
        axes.set_xlabel(f"share of {seeds} networks that solve the task")
    draw.legend(
        figure, panels[0], where="upper", ncols=2, title="points: measured; bars: exact 95 % intervals"
    )
    return figure


def _shares(solved: xr.DataArray) -> tuple[np.ndarray, np.ndarray]:
    """Shares of networks, and how far their intervals reach below and above."""
    counts, seeds = solved.sum("seed").values.astype(int), solved.sizes["seed"]
    ends = np.array([share_interval(count, seeds) for count in counts]).T
    return counts / seeds, np.abs(ends - counts / seeds)


def _clipping(norm: float) -> str:
    return "without clipping" if norm == 0 else f"gradient clipped to norm {norm:g}"


def _families(tasks: Sequence[str]) -> dict[str, list[int]]:
    """Tasks that were run at several lengths, with these."""
    names = [t.partition("-")[0] for t in tasks]
    several = [n for n in dict.fromkeys(names) if names.count(n) > 1]
    return {n: sorted(int(t.partition("-")[2]) for t in tasks if t.startswith(f"{n}-")) for n in several}


def _lengths(at: xr.Dataset, families: dict[str, list[int]]) -> Figure:
    """Success of the networks against the length of the sequences."""
    names, solved = [str(m) for m in at["network"].values], at["solved"].isel(clip_norm=-1)
    figure, panels = _panels(list(families), 2.6, sharey=True)
    for axes, (family, lengths) in zip(panels, families.items(), strict=True):
        tasks = [f"{family}-{length}" for length in lengths]
        for i, (name, look) in enumerate(draw.series(names).items()):
            rate, error = _shares(solved.sel(task=tasks, network=name))
            x = np.array(lengths) * 1.02 ** (i - len(names) / 2)
            axes.plot(x, rate, color=look["color"], linestyle=look["linestyle"])
            draw.measured(axes, x, rate, error, look, label=_labels(at)[i])
        axes.set(xscale="log", xlabel="length $T$", ylabel="share of networks that solve it")
        axes.set_xticks(lengths, [str(length) for length in lengths])
        axes.minorticks_off()
    draw.legend(figure, panels[0], ncols=4)
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
        axes.set(yscale="log", xlabel="updates", ylabel=_loss_name(task))
        lowest = np.nanmin([chance / 10, *shown.sel(task=task).values.ravel()])
        axes.set_ylim(max(lowest / 1.5, 1e-5 * chance), HUGE * chance)
    draw.legend(figure, panels[0], ncols=4)
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
        decades = chosen[f"lag_{when}"] / LN10
        decades = decades.where(np.isfinite(decades))
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
    draw.legend(figure, panels[1], where="right", title=f"{title(task)}:\nnetworks that solve it")
    return figure


def _predictor(result: xr.Dataset) -> Figure:
    """Final loss of every clipped network against what is left of its gradient at initialization."""
    tasks, names = [str(t) for t in result["task"].values], [str(m) for m in result["network"].values]
    at = best(result.assign(kept=kept_decades(result))).isel(clip_norm=-1)
    figure, panels = _panels(tasks, 2.2)
    looks = draw.series(names)
    for axes, task in zip(panels, tasks, strict=True):
        chosen = at.sel(task=task)
        for name, label in zip(names, _labels(at), strict=True):
            y = np.minimum(chosen["test_loss"].sel(network=name) / chosen["test_loss_predicted"], HUGE)
            look = {k: v for k, v in looks[name].items() if k != "linestyle"}
            axes.plot(chosen["kept"].sel(network=name), y, linestyle="none", alpha=0.8, label=label, **look)
        axes.axhline(1, color="k", linestyle="--", linewidth=1.2, label="chance")
        axes.axvline(0, color="0.6", linewidth=0.8)
        axes.set(yscale="log", xlabel="decades gained over $T$, untrained", ylabel="test loss / chance")
    draw.legend(figure, panels[0], ncols=4)
    figure.suptitle(
        f"What is left of the gradient before training, and the loss after it ({_how(result)})", fontsize=9
    )
    return figure
