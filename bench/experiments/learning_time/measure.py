"""Time one network until it has learned, and measure the spread of its singular values before."""

import jax
import jax.numpy as jnp
import optax

from signalprop.analysis import freeprob, meanfield
from signalprop.bench.engine.grid import Grid, Static
from signalprop.bench.engine.untraced import untraced
from signalprop.bench.experiments.learning_time import LENGTHS, OUTPUTS, STRIDE, Settings, linear
from signalprop.bench.training.classification import batches, cross_entropy, problem
from signalprop.bench.training.trainer import train
from signalprop.models.activations import activation
from signalprop.models.classifier import Classifier, draw_classifier

REMAINING, RIGHT = 0.001, 0.95  # of the loss, and of the examples, when learning counts as done


def grid(settings: Settings) -> Grid:
    """One compilation per network and depth; starts, rates and seeds train together."""
    constants = ("width", "steps", "data", "batch_size", "dtype")
    return Grid(
        static={"network": settings.network, "depth": settings.depth},
        traced={"orthogonal": (1.0, 0.0), "learning_rate": settings.learning_rate},
        seeds=settings.seeds,
        constants={name: getattr(settings, name) for name in constants},
        coords={"moment": linear.moments().tolist(), "mode": linear.STRENGTHS},
    )


def measure(key: jax.Array, point: dict[str, jax.Array], static: Static) -> dict[str, jax.Array]:
    """Time one network until it has learned, and measure the spread of its singular values before."""
    net_key, task_key = jax.random.split(key)
    orthogonal, rate = point["orthogonal"] > 0, point["learning_rate"]
    if static["network"] == "linear":
        return _linear(net_key, task_key, orthogonal, rate, static)
    data, dtype = problem(static["data"]), static["dtype"]
    sigma_w, sigma_b, scale, _ = critical(static["network"])
    first, second = (
        draw_classifier(
            net_key, data.features, static["width"], static["depth"], data.classes, activation("tanh"),
            scheme=scheme, sigma_w=sigma_w, sigma_b=sigma_b, dtype=dtype,
        )
        for scheme in linear.STARTS
    )  # fmt: skip
    model = jax.tree.map(lambda a, b: jnp.where(orthogonal, a, b), first, second)
    scaled = data._replace(x=(scale * data.x).astype(dtype))
    draw, records = batches(scaled, static["batch_size"], dtype), static["steps"] // STRIDE
    trained = train(task_key, model, cross_entropy, draw, optax.sgd(rate), static["steps"], records)
    right = trained.record["accuracy"] >= RIGHT
    when = jnp.where(jnp.any(right), STRIDE * (jnp.argmax(right) + 1), jnp.inf)
    x = jnp.asarray(scaled.x[0], dtype)
    unlike = jnp.full((linear.MOMENTS, len(linear.STRENGTHS)), jnp.nan, jnp.float64)
    return {"time": when.astype(dtype), "spread": spread(_jacobian(model, x)), "strength": unlike}


def _linear(
    net_key: jax.Array, task_key: jax.Array, orthogonal: jax.Array, rate: jax.Array, static: Static
) -> dict[str, jax.Array]:
    """A linear network with one kernel more than hidden layers, of which the first outputs count."""
    count, width, dtype = static["depth"] + 1, static["width"], static["dtype"]
    kernels = linear.draw_kernels(net_key, count, width, orthogonal, dtype)
    target = jnp.linalg.qr(jax.random.normal(task_key, (width, OUTPUTS), dtype))[0]
    time = linear.learning_time(kernels, target, rate, static["steps"], REMAINING)
    return {
        "time": time,
        "spread": spread(linear.product(kernels[:-1], jnp.eye(width, dtype=dtype))),
        "strength": linear.decoupled_strengths(task_key, count),
    }


def _jacobian(model: Classifier, x: jax.Array) -> jax.Array:
    """dy^L/dy^1 of the hidden layers behind the first, whose kernels are square."""
    _, y = model.activities(x[None])

    def above(y: jax.Array) -> jax.Array:
        blocks = [jax.tree.map(lambda a: a[1:], model.runs[0])] if len(model.runs) == 1 else model.runs[1:]
        for run in blocks:
            y = jax.lax.scan(lambda y, block: (block(y), None), y, run)[0]
        return y

    jacobian: jax.Array = jax.jacfwd(above)(y[0, 0])
    return jacobian


def spread(jacobian: jax.Array) -> jax.Array:
    """Variance of the squared singular values over their squared mean, by traces."""
    square = jacobian @ jacobian.T
    return square.shape[0] * jnp.sum(square**2) / jnp.trace(square) ** 2 - 1


def critical(network: str) -> tuple[float, float, float, float]:
    """Sigma_w and sigma_b of the critical point at q*, the input's scale for it, and mu_2 / mu_1^2 - 1."""
    if network == "linear":
        return 1.0, 0.0, 1.0, 0.0
    phi, q = activation("tanh"), LENGTHS[network]

    def numbers() -> tuple[float, float, float, float]:
        line = meanfield.critical_line(phi, q)
        ratio = freeprob.moments(phi, line.sigma_w, q, 1, "orthogonal").relative_variance
        scale = jnp.sqrt(q - line.sigma_b**2) / line.sigma_w
        return float(line.sigma_w), float(line.sigma_b), float(scale), float(ratio)

    return untraced(numbers)
