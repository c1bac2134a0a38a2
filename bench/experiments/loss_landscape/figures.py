"""Figures of ``loss-landscape``: the loss along the gradient during training, and the learning curves."""

import pandas as pd
import xarray as xr
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from signalprop.bench.experiments.loss_landscape import NETWORKS
from signalprop.bench.experiments.loss_landscape.verdicts import best, scale_name, updates_to_target
from signalprop.bench.record import figures as draw
from signalprop.bench.record.tables import tidy

PANELS = {
    "loss": "training loss in nats",
    "loss_range": "range of the loss\nalong the gradient",
    "gradient_change": "change of the gradient\n/ its norm",
    "smoothness": "change of the gradient\n/ distance moved",
}


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
    draw.legend(figure, axes[0, 0], ncols=3)
    figure.suptitle(f"Batch norm and the loss along the gradient: median and 10-90 % of {at.sizes['seed']} "
                    "networks", fontsize=9)  # fmt: skip
    return {"landscape": figure}


def table(result: xr.Dataset) -> pd.DataFrame:
    """One row per network, scale and step, at the better learning rate; medians over seeds."""
    at = best(result)
    columns = {name: at[name].median("seed") for name in PANELS}
    columns["updates_to_target"] = updates_to_target(at).median("seed").broadcast_like(columns["loss"])
    return tidy(columns)
