"""Figures of ``loss-landscape``: the loss along the gradient during training, and the learning curves."""

import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from signalprop.bench.landscape import NETWORKS
from signalprop.bench.record import figures as draw

TARGET = 0.5  # of the loss of the best constant answer: the training loss at which a network has learned
PANELS = {
    "loss": "training loss in nats",
    "loss_range": "range of the loss\nalong the gradient",
    "gradient_change": "change of the gradient\n/ its norm",
    "smoothness": "change of the gradient\n/ distance moved",
}


def best(result: xr.Dataset) -> xr.Dataset:
    """The result at the better learning rate of every network and scale: smaller median of the last loss."""
    last = result["loss"].isel(update=-1, drop=True).fillna(np.inf).median("seed")
    return result.isel(learning_rate=last.argmin("learning_rate"))


def updates_to_target(result: xr.Dataset) -> xr.DataArray:
    """Updates until the mean loss of a record is at half the loss of the best constant answer; inf: never."""
    stride = float(result["update"][1] - result["update"][0]) if result.sizes["update"] > 1 else 1.0
    reached = result["loss"] <= TARGET * result["loss_predicted"]
    return (result["update"] + stride).where(reached, np.inf).min("update")


def scale_name(sigma_w2: float) -> str:
    """A weight variance in words."""
    words = {2.0: "He's scale", round(1 / 3, 6): "the default scale"}
    return words.get(round(sigma_w2, 6), rf"$\sigma_w^2$ = {sigma_w2:g}")


def figures(result: xr.Dataset) -> dict[str, Figure]:
    """Loss and its variation along the gradient, one row per scale."""
    at = best(result)
    scales = at["sigma_w2"].values
    figure, axes = draw.canvas(len(scales), len(PANELS), height=2.3, sharex=True)
    looks = draw.series(list(NETWORKS))
    for row, scale in zip(axes, scales, strict=True):
        for panel, (name, label) in zip(row, PANELS.items(), strict=True):
            for network in map(str, at["network"].values):
                values = at[name].sel(sigma_w2=scale, network=network)
                middle, look = values.median("seed"), looks[network]
                low, high = (values.quantile(q, "seed") for q in (0.1, 0.9))
                panel.plot(at["update"], middle, label=NETWORKS[network], markersize=3, linewidth=1.0,
                           markevery=max(1, at.sizes["update"] // 5), **look)  # fmt: skip
                panel.fill_between(at["update"], low, high, color=look["color"], alpha=0.15, linewidth=0)
            panel.set_ylabel(label, fontsize=7.5)
            panel.set_title(scale_name(float(scale)), fontsize=8)
            if name != "loss":
                panel.set_yscale("log")
                low, high = panel.get_ylim()
                panel.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 100 * low else (1,)))
                panel.yaxis.set_major_formatter("{x:g}")
                panel.yaxis.set_minor_formatter(NullFormatter())
    for panel in axes[-1]:
        panel.set_xlabel("updates")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    figure.suptitle(f"Batch norm and the loss along the gradient: median and 10-90 % of {at.sizes['seed']} "
                    "networks", fontsize=9)  # fmt: skip
    return {"landscape": figure}
