"""How a classifier may start training: drawn by an initialization scheme, or pretrained layer by layer."""

from functools import cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from signalprop.analysis import meanfield
from signalprop.bench.engine.untraced import untraced
from signalprop.bench.experiments.pretraining import PRETRAINED
from signalprop.models.activations import activation
from signalprop.models.classifier import Classifier, draw_classifier
from signalprop.models.pretraining import Pretrained, pretrain_autoencoder, pretrain_rbm, reconstruct

BEFORE = "normal_001"  # how a network is drawn that is then pretrained


class Starts(NamedTuple):
    """Networks of one seed at every start.

    Attributes:
        models: Classifiers stacked along a leading axis, in the order of the names given.
        pretrained: What pretraining left, by method, where it was asked for.
    """

    models: Classifier
    pretrained: dict[str, Pretrained]


@cache
def critical_sigma_w(phi: str) -> float:
    """The scale at which chi_1 = 1 without biases: 1 of tanh, 10.149 of the sigmoid."""
    return untraced(lambda: float(meanfield.critical_point(activation(phi), 0.0).sigma_w))


def draw_starts(
    key: jax.Array,
    names: tuple[str, ...],
    shape: tuple[int, int, int, int],
    phi: str,
    x: jax.Array,
    *,
    learning_rate: float,
    noise: float,
    num_steps: int,
    batch_size: int,
) -> Starts:
    """Draw, and where asked for pretrain, one network per name; all from the same key.

    Args:
        key: Random key.
        names: Of ``STARTS``.
        shape: Features, width, hidden layers and classes.
        phi: ``sigmoid``, ``tanh`` or ``linear``.
        x: Training inputs, without labels; their type is the networks'.
        learning_rate: Of pretraining.
        noise: Probability with which the autoencoders' inputs are masked.
        num_steps: Updates of every layer in pretraining.
        batch_size: Examples per update.
    """
    draw_key, pretrain_key = jax.random.split(key)
    features, width, depth, classes = shape
    draw = partial(draw_classifier, draw_key, features, width, depth, classes, activation(phi), dtype=x.dtype)
    models: dict[str, Classifier] = {}
    for name in (BEFORE, *names):
        if name not in PRETRAINED:
            scale = critical_sigma_w(phi) if "critical" in name else 1.0
            scheme = {"critical": "gaussian", "orthogonal_critical": "orthogonal"}.get(name, name)
            models[name] = draw(scheme=scheme, sigma_w=scale)
    start = pretrain_key, models[BEFORE], x, learning_rate, num_steps, batch_size
    pretrained = {}
    if "rbm" in names:
        pretrained["rbm"] = pretrain_rbm(*start)
    if "autoencoder" in names:
        pretrained["autoencoder"] = pretrain_autoencoder(*start, noise=noise)
    models |= {name: found.model for name, found in pretrained.items()}
    kept = (nnx.state(models[name]) for name in names)
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *kept)
    return Starts(nnx.merge(nnx.graphdef(models[BEFORE]), stacked), pretrained)


def joint_errors(found: Pretrained, x: jax.Array, num_steps: int) -> jax.Array:
    """Mean square error of reconstructing inputs from the code of the last layer, before and after training.

    All layers are trained together as one autoencoder by Adam at 0.001 on all inputs, from where greedy
    training ended: an optimum, global or local, could not be improved.

    Args:
        found: A pretrained classifier.
        x: Inputs.
        num_steps: Updates.

    Returns:
        Two errors per visible unit.
    """
    graph, *states = nnx.split(found.model, nnx.Param, ...)
    parameters, rest = states
    start, adam = (parameters, found.visible_bias), optax.adam(0.001)

    def error(trained: Any) -> jax.Array:
        return jnp.mean((reconstruct(nnx.merge(graph, trained[0], rest), trained[1], x) - x) ** 2)

    def step(state: Any, _: None) -> tuple[Any, None]:
        trained, memory = state
        updates, memory = adam.update(jax.grad(error)(trained), memory)
        return (optax.apply_updates(trained, updates), memory), None

    (end, _), _ = jax.lax.scan(step, (start, adam.init(start)), None, num_steps)
    return jnp.stack([error(start), error(end)])
