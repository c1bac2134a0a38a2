"""Lyapunov exponents of many networks at once: predictions, what follows from spectra, and verdicts."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from signalprop.analysis import chaos, lyapunov
from signalprop.analysis.meanfield import chi_1, critical_line
from signalprop.bench.measure.rates import standard_error
from signalprop.bench.record.verdict import Verdict, judge, sampling_factor, surely

FAMILIES: tuple[chaos.Weights, ...] = ("gaussian", "orthogonal")
BATCH = 16  # points of one program
JUDGED = (0, 0.125, 0.25, 0.5, 0.75)  # places of a spectrum
FREE = "free probability of D W; Engelken, Wolf & Abbott (arXiv 2006.02427)"

Activation = Callable[[jax.Array], jax.Array]


class MeanField(NamedTuple):
    """Mean square q, largest exponent, and the relative variance of the squared slopes."""

    q: np.ndarray
    exponent: np.ndarray
    variety: np.ndarray


def mean_field(phi: Activation, gain: ArrayLike, noise: ArrayLike) -> MeanField:
    """Predictions for wide networks at every pair of gains and inputs, in that order of axes."""
    g, s = np.meshgrid(np.asarray(gain, float), np.asarray(noise, float), indexing="ij")
    found = in_batches(lambda *pairs: _mean_field(phi, *pairs), g.ravel(), s.ravel())
    return MeanField(*(column.reshape(g.shape) for column in found.T))


@partial(jax.jit, static_argnums=0)
def _mean_field(phi: Activation, gain: jax.Array, noise: jax.Array) -> jax.Array:
    def at(point: tuple[jax.Array, jax.Array]) -> jax.Array:
        g, s = point
        q = chaos.mean_field_q(phi, g, s)
        return jnp.stack([q, jnp.log(chi_1(phi, q, g)) / 2, chaos.slope_variety(phi, q)])

    found: jax.Array = jax.lax.map(at, (gain, noise))
    return found


def edge_line(phi: Activation) -> tuple[np.ndarray, np.ndarray]:
    """Gains and inputs at which the largest exponent of a wide network is 0: sigma_w and sigma_b of depth."""
    found = jax.jit(jax.vmap(partial(critical_line, phi)))(jnp.geomspace(1e-6, 1e2, 100))
    return np.asarray(found.sigma_w), np.asarray(found.sigma_b)


def places(count: int) -> np.ndarray:
    """Places x = (i - 1/2) / N of the exponents of N units."""
    return (np.arange(count) + 0.5) / count


def predicted(phi: Activation, count: int, gain: ArrayLike, q: ArrayLike) -> np.ndarray:
    """Exponents of both families at the places of ``count`` units: (family, *shape of gain and q, place)."""
    g, length = np.broadcast_arrays(gain, q)
    x = places(count)
    found = in_batches(lambda *pairs: _predicted(phi, jnp.asarray(x), *pairs), g.ravel(), length.ravel())
    gaussian = found.reshape(*g.shape, count)
    return np.stack([gaussian, gaussian - np.log1p(-x) / 2])


@partial(jax.jit, static_argnums=0)
def _predicted(phi: Activation, x: jax.Array, gain: jax.Array, q: jax.Array) -> jax.Array:
    def at(point: tuple[jax.Array, jax.Array]) -> jax.Array:
        return jax.vmap(lambda x: chaos.mean_field_spectrum(phi, x, *point))(x)

    found: jax.Array = jax.lax.map(at, (gain, q))
    return found


def in_batches(program: Callable[..., jax.Array], *arrays: np.ndarray) -> np.ndarray:
    """Results of a program for one fixed number of points, so that it is compiled once for any number."""
    size, found = len(arrays[0]), []
    for i in range(0, size, BATCH):
        chosen = np.minimum(np.arange(i, i + BATCH), size - 1)
        found.append(np.asarray(program(*(jnp.asarray(values[chosen]) for values in arrays))))
    return np.concatenate(found)[:size]


def own_spectra(at: xr.Dataset, phi: Activation) -> xr.DataArray:
    """Predicted spectra at the q measured on the networks of a result, averaged over seeds."""
    q, count = at["q"].mean("seed").transpose("scheme", "gain", "noise"), at.sizes["index"]
    rows = predicted(phi, count, at["gain"].values[:, None], q.values)
    rows = np.stack([rows[FAMILIES.index(name), i] for i, name in enumerate(at["scheme"].values)])
    return xr.DataArray(rows, {**q.coords, "index": at["index"]}, (*q.dims, "index"))


def log_radius(at: xr.Dataset) -> xr.DataArray:
    """Logarithm of g rho(W) of every network."""
    found: xr.DataArray = xr.apply_ufunc(np.log, at["gain"] * at["radius"])
    return found


def dimension(exponents: ArrayLike) -> np.ndarray:
    """Kaplan-Yorke dimension per unit of every row; exponents that are NaN count as the smallest."""
    rows = np.nan_to_num(np.asarray(exponents, np.float64), nan=-np.inf, neginf=-np.inf)
    count = rows.shape[-1]
    found = in_batches(_dimension, rows.reshape(-1, count)).reshape(rows.shape[:-1])
    return np.asarray(found / count)


_dimension = jax.jit(jax.vmap(lyapunov.kaplan_yorke))


def entropy(exponents: ArrayLike) -> np.ndarray:
    """Sum of the positive exponents of every row, per unit: the bound of the entropy rate, in nats."""
    return np.asarray(np.mean(np.fmax(np.asarray(exponents), 0), -1))


def points(columns: dict[str, xr.DataArray], *dims: str) -> xr.Dataset:
    """All places where every column has a number, along the dimension x."""
    return xr.Dataset(columns).stack(x=dims).dropna("x")


def spectrum_verdicts(at: xr.Dataset, law: xr.DataArray) -> list[Verdict]:
    """Judge whole spectra against ``law``, NaN where it does not hold, and what follows from them."""
    count, seeds = at.sizes["index"], at.sizes["seed"]
    chosen = [int(count * x) for x in JUDGED]
    resolved = at["exponents"].isel(index=chosen)
    columns = {
        "mean": resolved.mean("seed", skipna=False),
        "error": standard_error(resolved),
        "predicted": law.isel(index=chosen),
    }
    flat = points(columns, "scheme", "gain", "noise", "index")
    if flat.sizes["x"] == 0:
        return []
    return [
        judge(
            ["D5"], "Most directions of a chaotic network vanish while some explode: exponents at places 0 "
            f"to 3/4 of the spectrum are those of free products at the networks' own q (N = {count})", FREE,
            measured=flat["mean"], predicted=flat["predicted"], uncertainty=flat["error"],
            tolerance=10 / count + sampling_factor(flat.sizes["x"], seeds) * flat["error"],
            tolerance_from=f"10 / N for finite width, and {surely(seeds)}",
        ),
        *_sums(at, law, "Kaplan-Yorke dimension", dimension, 4.0),
        *_sums(at, law, "entropy bound", entropy, 1.0),
    ]  # fmt: skip


def _sums(
    at: xr.Dataset, law: xr.DataArray, what: str, per_unit: Callable[..., np.ndarray], slack: float
) -> list[Verdict]:
    """Judge a number that follows from the upper end of a spectrum, in chaotic networks."""
    count, seeds = at.sizes["index"], at.sizes["seed"]
    each = xr.apply_ufunc(per_unit, at["exponents"], input_core_dims=[["index"]])
    wanted = xr.apply_ufunc(per_unit, law, input_core_dims=[["index"]])
    columns = {
        "mean": each.mean("seed"),
        "error": standard_error(each),
        "predicted": wanted.where(law.notnull().any("index") & (at["exponent_wide"] > 0.1)),
    }
    flat = points(columns, "scheme", "gain", "noise")
    if flat.sizes["x"] == 0:
        return []
    return [
        judge(
            ["D5"], f"The {what} per unit of chaotic networks follows from that spectrum", FREE,
            measured=flat["mean"], predicted=flat["predicted"], uncertainty=flat["error"],
            tolerance=slack / count + sampling_factor(flat.sizes["x"], seeds) * flat["error"],
            tolerance_from=f"{slack:g} / N for finite width, and {surely(seeds)}",
        )
    ]  # fmt: skip
