"""Predicted densities, edges and atoms of each network, and edges as functions of depth."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from signalprop.analysis import finitewidth, freeprob
from signalprop.bench.experiments.free_probability import Settings, isometry
from signalprop.bench.experiments.free_probability.measure import grid, networks
from signalprop.models.activations import chosen

DIMS = ("weights", "network", "depth", "index")
FINE = 2.0 ** np.arange(15)  # depths of the theory's curves


def theory(settings: Settings) -> xr.Dataset:
    """Density, atoms, edge and moments of each network at each depth, and edges as functions of depth."""
    labels = grid(settings).labels()
    names, lengths = zip(*networks(settings).values(), strict=True)
    gaussian, position, depth = np.meshgrid([1.0, 0.0], range(len(names)), settings.depth, indexing="ij")
    q, ratio = np.array(lengths)[position], isometry.critical_networks(names, lengths)[3][position]
    sigma_w = labels["sigma_w"][1][position]

    def one(case: tuple[jax.Array, ...]) -> freeprob.Density:
        family, index, sigma_w, q, depth = case
        return freeprob.spectrum(chosen(names, index), sigma_w, q, depth, family, settings.points)

    cases = tuple(jnp.asarray(axis.ravel()) for axis in (gaussian, position, sigma_w, q, depth.astype(float)))
    found = jax.jit(lambda cases: jax.lax.map(one, cases))(cases)
    place, curve = ("weights", "network", "depth"), ("weights", "network", "depth", "point")
    columns = {
        "log_x": found.log_x,
        "per_log_predicted": found.per_log,
        "above_predicted": found.above,
        "mass_predicted": found.mass,
        "converged": found.converged,
        "log_edge": found.edge.log_edge,
        "edge_scale": found.edge.scale,
        "zero_predicted": found.atoms.zero,
        "atom_share": found.atoms.share,
        "atom_log_place": found.atoms.log_place,
    }
    arrays = {k: np.reshape(v, depth.shape + np.shape(v)[1:]) for k, v in columns.items()}
    variables: dict[str, Any] = {k: (curve if v.ndim == 4 else place, v) for k, v in arrays.items()}
    variables["relative_variance_predicted"] = (place, depth * (ratio + gaussian))
    ranks = [finitewidth.relu_rank(settings.width, depth) for depth in settings.depth]
    variables["rank_predicted"] = ("depth", [rank.mean for rank in ranks])
    variables["rank_variance"] = ("depth", [rank.variance for rank in ranks])
    variables |= edge_curves(settings.activation, settings.isometric, settings.spread, FINE)
    return xr.Dataset(variables, coords={k: v for k, v in labels.items() if k in DIMS} | {"fine": FINE})


def edge_curves(
    activation: tuple[str, ...], isometric: tuple[str, ...], spread: float, depths: np.ndarray
) -> dict[str, Any]:
    """Edges, log of the largest s^2 over the mean, as variables of a data set with the dimension ``fine``.

    Args:
        activation: Activations at one length for all depths.
        isometric: Activations whose length keeps L (mu_2 / mu_1^2 - 1) at ``spread``.
        spread: That value; the limit of the edge is the variable ``smooth_limit``, of s^2.
        depths: Numbers of layers.
    """
    names, count = (*activation, *isometric), len(activation)
    q = np.array([[isometry.length(name)] * len(depths) for name in names])
    if isometric:
        q[count:] = isometry.lengths(isometric, spread, tuple(depths))

    def edge(case: tuple[jax.Array, ...]) -> jax.Array:
        family, index, q, depth = case
        phi = chosen(names, index)
        found = freeprob.edge(phi, 1.0, q, depth, family)
        relative = found.log_edge - freeprob.moments(phi, 1.0, q, depth, "orthogonal").log_mean
        return jnp.where(jnp.isfinite(q), relative, jnp.nan)

    family, index, depth = np.meshgrid([1.0, 0.0], range(len(names)), depths, indexing="ij")
    cases = tuple(jnp.asarray(v.ravel()) for v in (family, index, np.stack([q] * 2), depth))
    edges = np.asarray(jax.jit(lambda cases: jax.lax.map(edge, cases))(cases)).reshape(depth.shape)
    curves: dict[str, Any] = {
        "edge_curve": (("weights", "activation", "fine"), edges[:, :count]),
        "activation": ("activation", np.array(activation, object)),
    }
    if isometric:
        curves |= {
            "isometric_curve": (("weights", "isometric", "fine"), edges[:, count:]),
            "isometric": ("isometric", np.array(isometric, object)),
            "smooth_limit": ((), float(freeprob.universal_edge(spread, smooth=True))),
        }
    return curves
