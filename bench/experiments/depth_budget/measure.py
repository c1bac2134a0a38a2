"""Find the largest depth that can be trained, by bisection; before, the gradient and the sharpness."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from signalprop.analysis.sharpness import curvature
from signalprop.analysis.statistics import log_norm
from signalprop.bench.engine.grid import Grid, Static
from signalprop.bench.experiments.depth_budget import Settings
from signalprop.bench.experiments.depth_budget.networks import NETWORKS
from signalprop.bench.training import bisection
from signalprop.bench.training.classification import Problem, problem
from signalprop.models.activations import activation
from signalprop.models.classifier import Classifier, draw_classifier

PRODUCTS = 8  # Hessian products for the largest eigenvalue
EXAMPLES = 64  # in the batch that gradient and Hessian are taken on


def grid(settings: Settings) -> Grid:
    """One compilation per network."""
    constants = ("top", "probe", "data", "threshold", "steps", "batch_size", "dtype")
    return Grid(
        static={"network": settings.network},
        traced={},
        seeds=settings.seeds,
        constants={name: getattr(settings, name) for name in constants},
        coords={"probe": settings.probe},
    )


def measure(key: jax.Array, point: dict[str, jax.Array], static: Static) -> dict[str, jax.Array]:
    """Find the largest depth that can be trained; measure gradient and sharpness before."""
    network, data, dtype = NETWORKS[static["network"]], problem(static["data"]), static["dtype"]
    net_key, train_key, probe_key = jax.random.split(key, 3)
    model = draw_classifier(
        net_key, data.features, network.width, static["top"], data.classes, activation(network.activation),
        sigma_w=network.sigma_w, sigma_b=network.sigma_b, norm=network.norm, dtype=dtype,
    )  # fmt: skip

    def works(depth: jax.Array) -> jax.Array:
        found = bisection.final_accuracy(
            train_key, model, depth, data, network.method(),
            batch_size=static["batch_size"], steps=static["steps"],
        )  # fmt: skip
        return jnp.greater(found, static["threshold"])

    probes = jnp.asarray(static["probe"])
    log_gradient, log_sharpness = jax.lax.map(lambda depth: probe(probe_key, model, data, depth), probes)
    return {
        "trainable_depth": bisection.largest(works, static["top"]).astype(dtype),
        "log_gradient": log_gradient,
        "log_sharpness": log_sharpness,
        "log_weight": _log_rms(model.runs[0].layer.kernel[...][0]),
    }


def probe(key: jax.Array, model: Classifier, data: Problem, depth: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Log rms gradient of the first kernel, and log of the Hessian's largest eigenvalue, at one depth."""
    dtype = model.readout.bias[...].dtype
    batch = jnp.asarray(data.x[:EXAMPLES], dtype), jnp.asarray(data.label[:EXAMPLES])
    graph, *states = nnx.split(model, nnx.Param, ...)
    parameters, rest = states

    def loss(parameters: Any) -> jax.Array:
        return bisection.loss_at(depth)(nnx.merge(graph, parameters, rest), batch)[0]

    gradient = jax.grad(loss)(parameters)
    largest = curvature(key, loss, parameters, PRODUCTS).largest
    return _log_rms(gradient.runs[0].layer.kernel[...][0]), jnp.log(jnp.maximum(largest, 0))


def _log_rms(matrix: jax.Array) -> jax.Array:
    """Log of the root mean square of the entries."""
    return log_norm(matrix) - jnp.log(jnp.asarray(float(matrix.size), matrix.dtype)) / 2
