"""Networks in seven conditions, stuck or not, and four numbers that a monitor could read from each.

All are classifiers of equal shape on one problem of two Gaussian classes, trained by heavy ball; what differs
is how they start, how long they train and whether labels are flipped. Beside them stand networks of random
activation and scale of weights, for signals that foretell how training ends.
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax.typing import DTypeLike

from signalprop.bench.training.curvature import hessian
from signalprop.bench.training.diagnostics import by_layer
from signalprop.bench.training.optimizers import optimizer
from signalprop.bench.training.trainer import log_global_norm, train
from signalprop.models.activations import chosen
from signalprop.models.classifier import Classifier, draw_classifier

PHIS = ("relu", "tanh", "sigmoid")
COPIES = 4  # of every example, so that flipped labels contradict each other
SCALES = (0.3, 6.0)  # of the weights of the networks of random scale
RATE = 0.05
FEATURES, CLASSES, DISTANCE = 8, 2, 1.5  # of a class mean from the origin, in units of the noise
DATA_KEY = 10158
NEVER = 1_000_000  # steps that are more than any run


@dataclass(frozen=True)
class Condition:
    """How a network of the collection comes about.

    Attributes:
        label: For figures.
        stuck: Whether it is one of those that do not learn although they could.
        phi: Index into ``PHIS``.
        sigma_w: Scale of the hidden weights.
        bias: Of the first layer's units.
        flips: Share of labels that are wrong.
        share: Of the steps of training that it takes.
    """

    label: str
    stuck: bool
    phi: int
    sigma_w: float
    bias: float = 0.0
    flips: float = 0.0
    share: float = 1.0


CONDITIONS = {
    "dead": Condition("dead relu layer", True, 0, 2**0.5, bias=-20.0),
    "saturated": Condition("saturated tanh", True, 1, 100.0),
    "saddle": Condition("near the saddle at 0", True, 1, 0.03),
    "vanishing": Condition("vanishing sigmoids", True, 2, 1.0),
    "solved": Condition("solved, tiny loss", False, 0, 2**0.5),
    "floor": Condition("converged, noisy labels", False, 1, 1.2, flips=0.25),
    "early": Condition("healthy, early", False, 0, 2**0.5, share=0.05),
}


def draw_problem(key: jax.Array, examples: int, dtype: DTypeLike) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Draw examples of two Gaussian classes, labels, and uniform numbers that decide which labels flip.

    Every example comes ``COPIES`` times, so that no network can fit flipped labels.
    """
    keys = jax.random.split(key, 3)
    label = jnp.arange(examples) % CLASSES
    mean = DISTANCE / FEATURES**0.5 * jax.random.rademacher(keys[0], (FEATURES,), dtype)
    x = jax.random.normal(keys[1], (examples, FEATURES), dtype) + mean * (2 * label - 1)[:, None]
    uniform = jax.random.uniform(keys[2], (COPIES * examples,), dtype)
    return jnp.tile(x, (COPIES, 1)), jnp.tile(label, COPIES), uniform


def rows(key: jax.Array, random: int, dtype: DTypeLike) -> dict[str, jax.Array]:
    """Give the numbers of all ``CONDITIONS``, then of networks of every activation and random scale."""
    fields = ("phi", "sigma_w", "bias", "flips", "share")
    fixed = {f: jnp.asarray([getattr(c, f) for c in CONDITIONS.values()], dtype) for f in fields}
    low, high = jnp.log(jnp.asarray(SCALES, dtype))
    free = {f: jnp.full(random, getattr(Condition, f, 0.0), dtype) for f in fields}
    free["phi"] = (jnp.arange(random) % len(PHIS)).astype(dtype)
    free["sigma_w"] = jnp.exp(jax.random.uniform(key, (random,), dtype, low, high))
    return {f: jnp.concatenate([fixed[f], free[f]]) for f in fields}


def loss(model: Classifier, batch: Any) -> jax.Array:
    """Mean cross-entropy of softmax in nats."""
    return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(model(batch[0]), batch[1]))


def examine(
    key: jax.Array, row: dict[str, jax.Array], *, examples: int, width: int, depth: int, steps: int,
    records: int, probe_steps: int, dtype: DTypeLike,
) -> dict[str, jax.Array]:  # fmt: skip
    """Train one network as its row says, and read the four numbers.

    Returns:
        ``loss`` and ``base`` (that of the base rate); ``log_gradient``: natural log of the norm of the whole
        gradient; ``continued`` and ``restarted``: loss after ``probe_steps`` more steps, and of a fresh relu
        network with He weights after as many; ``least`` and ``largest``: of the Hessian's eigenvalues; and by
        record, all read before its first update, ``loss_by_record``, ``first_by_last`` (log ratio of the
        first hidden kernel's gradient to the last one's), ``log_first``; ``saturated`` and ``inactive``:
        largest share of a layer.
    """
    keys = jax.random.split(key, 3)
    x, label, uniform = draw_problem(jax.random.key(DATA_KEY), examples, dtype)
    batch = x, jnp.where(uniform < row["flips"], 1 - label, label)
    phi = chosen(PHIS, row["phi"].astype(jnp.int32))
    shape = (FEATURES, width, depth, CLASSES)
    model = draw_classifier(keys[0], *shape, phi, sigma_w=row["sigma_w"], dtype=dtype)
    first = model.runs[0].layer
    first.bias[...] = first.bias[...] + row["bias"].astype(dtype)
    trained = train(
        keys[1], model, loss, lambda _: batch, _until(row["share"] * steps), steps, records, _observe
    )
    fresh = draw_classifier(keys[2], *shape, chosen(PHIS, 0), sigma_w=2**0.5, dtype=dtype)
    graph, *states = nnx.split(trained.model, nnx.Param, ...)
    parameters, rest = states

    def value(p: Any) -> jax.Array:
        return loss(nnx.merge(graph, p, rest), batch)

    slope = jax.grad(value)(parameters)
    spectrum = jnp.linalg.eigvalsh(hessian(value, parameters))
    counts = jnp.stack([jnp.mean((batch[1] == c).astype(dtype)) for c in range(CLASSES)])
    record = trained.record
    starts = jax.tree.map(lambda *pair: jnp.stack(pair), parameters, nnx.state(fresh, nnx.Param))
    phis = jnp.stack([row["phi"].astype(jnp.int32), jnp.zeros((), jnp.int32)])

    def probe(start: Any, phi: jax.Array) -> jax.Array:
        model = draw_classifier(keys[2], *shape, chosen(PHIS, phi), dtype=dtype)
        nnx.update(model, start)
        return loss(train(keys[1], model, loss, lambda _: batch, _until(NEVER), probe_steps, 1).model, batch)

    probed = jax.vmap(probe)(starts, phis)
    return {
        "loss": value(parameters),
        "base": -jnp.sum(counts * jnp.log(counts)),
        "log_gradient": log_global_norm(slope),
        "continued": probed[0],
        "restarted": probed[1],
        "least": spectrum[0],
        "largest": spectrum[-1],
        "loss_by_record": record["loss_before"],
        "first_by_last": record["log_gradient"][:, 0] - record["log_gradient"][:, depth - 1],
        "log_first": record["log_gradient"][:, 0],
        "saturated": jnp.max(record["saturated"], -1),
        "inactive": jnp.max(record["inactive"], -1),
    }


def _observe(model: Classifier, gradients: Any, updates: Any, batch: Any) -> dict[str, jax.Array]:
    """Loss and layers at the same step: the mean of the record would look ahead."""
    return {"loss_before": loss(model, batch), **by_layer(model, gradients, updates, batch)}


def _until(steps: jax.Array | int) -> optax.GradientTransformation:
    """Heavy ball that stops after some steps."""
    stop = optax.scale_by_schedule(lambda count: jnp.where(count < steps, 1.0, 0.0))
    return optax.chain(optimizer("heavy_ball", RATE), stop)
