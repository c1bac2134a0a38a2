"""A small experiment that exercises every kind of axis."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import pandas as pd
import pytest
import xarray as xr

from signalprop.bench.engine import grid as g
from signalprop.bench.experiment import Experiment, Variable
from signalprop.bench.record import verdict


@dataclass(frozen=True)
class Toy:
    """Norm of a Gaussian matrix times a vector."""

    width: tuple[int, ...] = (4, 8)
    """Units."""
    sigma_w: tuple[float, ...] = (0.5, 1.0, 2.0)
    """Standard deviation of the weights times sqrt(width)."""
    seeds: int = 5
    """Matrices per setting."""
    seed: int = 0
    """Seed of the whole run."""
    dtype: str = "float32"
    """Floating point type."""

    def __post_init__(self) -> None:
        g.require_count("width", self.width)
        g.require_scale("sigma_w", self.sigma_w)
        g.require_count("seeds", (self.seeds,))


def toy_grid(settings: Toy) -> g.Grid:
    pairs = {"sigma_w": settings.sigma_w, "twice": [2 * s for s in settings.sigma_w]}
    return g.Grid(
        {"width": settings.width},
        {"sigma_w": pairs},
        settings.seeds,
        coords={"index": range(max(settings.width))},
    )


def measure(key: jax.Array, point: dict[str, jax.Array], static: dict[str, Any]) -> dict[str, jax.Array]:
    n = static["width"]
    w = point["sigma_w"] * jax.random.normal(key, (n, n), point["sigma_w"].dtype)
    values = jnp.linalg.svd(w, compute_uv=False)
    return {"norm": jnp.linalg.norm(w @ jnp.ones(n, w.dtype)), "values": values, "pair": point["twice"]}


def theory(settings: Toy) -> xr.Dataset:
    rms = [[n * s for s in settings.sigma_w] for n in settings.width]
    return xr.Dataset({"norm_predicted": (("width", "sigma_w"), rms)})


def judge(result: xr.Dataset) -> list[verdict.Verdict]:
    mean = result["pair"].mean("seed").sel(width=result["width"][0])
    expected = 2 * result["sigma_w"].values
    return [
        verdict.judge(
            ["C7"], "Twice is twice.", "arithmetic", measured=mean, predicted=expected,
            tolerance=1e-6, tolerance_from="float32",
        )
    ]  # fmt: skip


def draw(result: xr.Dataset) -> dict[str, Any]:
    figure, axes = plt.subplots()
    axes.plot(result["sigma_w"], result["norm_predicted"][0])
    return {"toy": figure}


def table(result: xr.Dataset) -> pd.DataFrame:
    return result["norm"].mean("seed").to_dataframe().reset_index()


@pytest.fixture
def toy() -> Experiment:
    """The small experiment."""
    sizes = {"quick": Toy(), "standard": Toy(seeds=50), "full": Toy(seeds=500)}
    variables = {
        "norm": Variable((), "Length of W 1"),
        "values": Variable(("index",), "Singular values"),
        "pair": Variable((), "Twice sigma_w"),
    }
    return Experiment("toy", "What is it?", sizes, toy_grid, measure, variables, theory, judge, draw, table)


@pytest.fixture
def toy_settings() -> Callable[..., Toy]:
    """Its settings class."""
    return Toy
