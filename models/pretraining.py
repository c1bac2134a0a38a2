"""Greedy layerwise pretraining of a classifier's hidden layers, without labels.

Layer after layer learns to explain the activities below it, which the finished layers compute from the data;
its kernel and bias then stay, and a bias of the layer below is kept for reconstructions. Two rules:
restricted Boltzmann machines by contrastive divergence (Hinton, Osindero & Teh 2006, Neural Computation
18(7)) and denoising autoencoders with tied weights (Bengio et al. 2007, NIPS 19; Vincent et al. 2008, ICML).

Units are an exponential family each: their mean at input z is the slope of its log partition function A(z).
The first layer's visible units are real numbers with Gaussian noise of variance 1, so inputs should be
standardized; those of the other layers are the hidden units below.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, PRNGKeyArray

from signalprop.models.classifier import Block, Classifier
from signalprop.models.mlp import Layer, scan_run
from signalprop.models.normalization import NORMS


@dataclass(frozen=True)
class Units:
    """A family of units: mean activity, log partition function, and a draw of their states at input z."""

    mean: Callable[[Array], Array]
    log_partition: Callable[[Array], Array]
    draw: Callable[[PRNGKeyArray, Array], Array]


def _coin(key: PRNGKeyArray, z: Array) -> Array:
    return (jax.random.uniform(key, z.shape, z.dtype) < jax.nn.sigmoid(z)).astype(z.dtype)


UNITS = {
    "linear": Units(
        lambda z: z, lambda z: z**2 / 2, lambda key, z: z + jax.random.normal(key, z.shape, z.dtype)
    ),
    "sigmoid": Units(jax.nn.sigmoid, jax.nn.softplus, _coin),  # states 0 and 1
    "tanh": Units(
        jnp.tanh, lambda z: jnp.logaddexp(z, -z), lambda key, z: 2 * _coin(key, 2 * z) - 1
    ),  # -1 and 1
}


class Tied(NamedTuple):
    """A layer whose kernel is used in both directions.

    Attributes:
        kernel: Weights, (visible, hidden).
        bias: Of the hidden units.
        visible_bias: Of the visible units.
    """

    kernel: Float[Array, "*stack visible hidden"]
    bias: Float[Array, "*stack hidden"]
    visible_bias: Float[Array, "*stack visible"]


class Pretrained(NamedTuple):
    """A classifier with pretrained hidden layers.

    Attributes:
        model: The classifier; its read-out is as it was.
        visible_bias: Biases of the layers below, for every run of the model (layers, fan-in).
        error: Mean square reconstruction error per visible unit during training, (depth, records).
    """

    model: Classifier
    visible_bias: list[Float[Array, "run fan_in"]]
    error: Float[Array, "depth records"]


Rule = Callable[[PRNGKeyArray, Tied, Array, Units], tuple[Tied, Array]]  # slope to climb, and error


def pretrain_rbm(
    key: PRNGKeyArray,
    model: Classifier,
    x: Float[ArrayLike, "examples features"],
    learning_rate: Float[ArrayLike, ""],
    num_steps: int,
    batch_size: int,
    num_records: int = 1,
) -> Pretrained:
    """Train every hidden layer as a restricted Boltzmann machine, from the input on, by CD-1.

    Args:
        key: Random key of batches and states.
        model: Drawn classifier without norms or skips; sigmoid, tanh or linear. The training starts there.
        x: Standardized inputs, in the model's dtype.
        learning_rate: Size of a step, may be traced.
        num_steps: Updates of each layer.
        batch_size: Examples per update, drawn with replacement.
        num_records: Records of the error; divides the steps.

    Raises:
        ValueError: If the activation has no stochastic units, or there are norms, skips or a remainder.
    """
    rule = partial(contrastive_divergence, above=_units(model))
    return _greedy(key, model, x, rule, learning_rate, num_steps, batch_size, num_records)


def pretrain_autoencoder(
    key: PRNGKeyArray,
    model: Classifier,
    x: Float[ArrayLike, "examples features"],
    learning_rate: Float[ArrayLike, ""],
    num_steps: int,
    batch_size: int,
    num_records: int = 1,
    *,
    noise: Float[ArrayLike, ""] = 0.25,
) -> Pretrained:
    """Train every hidden layer as a denoising autoencoder, from the input on; arguments as `pretrain_rbm`.

    Args:
        key: Random key of batches and noise.
        model: Drawn classifier without norms or skips; sigmoid, tanh or linear.
        x: Standardized inputs.
        learning_rate: Size of a step, may be traced.
        num_steps: Updates of each layer.
        batch_size: Examples per update.
        num_records: Records of the error.
        noise: Probability that a visible unit is set to 0, may be traced; 0: a plain autoencoder.

    Raises:
        ValueError: As `pretrain_rbm`.
    """
    rule = partial(denoising_descent, above=_units(model), noise=noise)
    return _greedy(key, model, x, rule, learning_rate, num_steps, batch_size, num_records)


def contrastive_divergence(
    key: PRNGKeyArray, layer: Tied, visible: Float[Array, "batch visible"], below: Units, above: Units
) -> tuple[Tied, Float[Array, ""]]:
    """One CD-1 estimate of the likelihood's slope, and the mean square reconstruction error.

    ``<v h> - <v' h'>`` with h the mean of the hidden units at the data v, v' the mean of the visible units at
    a drawn state of the hidden ones, h' the mean of the hidden units at v'. Only that state is random, as in
    the published program of Hinton & Salakhutdinov (2006, Science 313).
    """
    z = visible @ layer.kernel + layer.bias
    state = above.draw(key, z)
    again = below.mean(state @ layer.kernel.T + layer.visible_bias)
    hidden, hidden_again = above.mean(z), above.mean(again @ layer.kernel + layer.bias)
    count = len(visible)
    slope = Tied(
        (visible.T @ hidden - again.T @ hidden_again) / count,
        jnp.mean(hidden - hidden_again, 0),
        jnp.mean(visible - again, 0),
    )
    return slope, jnp.mean((visible - again) ** 2)


def denoising_loss(
    layer: Tied,
    visible: Float[Array, "batch visible"],
    corrupted: Float[Array, "batch visible"],
    below: Units,
    above: Units,
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Negative log likelihood of the visible units at the code of corrupted ones, and the mean square error.

    ``sum_i A(s_i) - v_i s_i`` with ``s = W mean(W^T v~ + b) + a``, averaged over the batch: up to a constant
    half the square error of Gaussian units, and the cross-entropy of binary ones.
    """
    s = above.mean(corrupted @ layer.kernel + layer.bias) @ layer.kernel.T + layer.visible_bias
    return jnp.mean(jnp.sum(below.log_partition(s) - visible * s, 1)), jnp.mean(
        (visible - below.mean(s)) ** 2
    )


def denoising_descent(
    key: PRNGKeyArray,
    layer: Tied,
    visible: Float[Array, "batch visible"],
    below: Units,
    above: Units,
    noise: Float[ArrayLike, ""],
) -> tuple[Tied, Float[Array, ""]]:
    """Minus the gradient of `denoising_loss` at masked visible units, and the mean square error."""
    kept = jax.random.uniform(key, visible.shape, visible.dtype) >= noise
    slope, error = jax.grad(denoising_loss, has_aux=True)(layer, visible, visible * kept, below, above)
    return jax.tree.map(jnp.negative, slope), error


def reconstruct(
    model: Classifier, visible_bias: list[Float[Array, "run fan_in"]], x: Float[Array, "batch features"]
) -> Float[Array, "batch features"]:
    """Encode inputs up to the last hidden layer and decode them with the transposed kernels, by means alone.

    Args:
        model: Classifier; its read-out is not used.
        visible_bias: As in `Pretrained`.
        x: Inputs.

    Raises:
        ValueError: As `pretrain_rbm`.
    """
    units, y = _units(model), x
    for run in model.runs:
        y, _ = scan_run(lambda y, block: (block(y), None), y, run)

    def down(y: Array, tied: tuple[Block, Array]) -> tuple[Array, Array]:
        block, bias = tied
        s = y @ block.layer.kernel[...].T + bias
        return units.mean(s), s

    s = y[None]
    for tied in list(zip(model.runs, visible_bias, strict=True))[::-1]:
        y, s = scan_run(down, y, tied, reverse=True)
    return s[0]


def _greedy(
    key: PRNGKeyArray,
    model: Classifier,
    x: Float[ArrayLike, "examples features"],
    rule: Rule,
    learning_rate: Float[ArrayLike, ""],
    num_steps: int,
    batch_size: int,
    num_records: int,
) -> Pretrained:
    """Train layer after layer, one scan over each stack of equal layers."""
    if min(num_records, num_steps) < 1 or num_steps % num_records:
        raise ValueError(
            f"num_steps is {num_steps} in {num_records} records, give a multiple of {num_records}"
        )
    units = _units(model)

    def one(y: Array, numbered: tuple[Tied, Array]) -> tuple[Array, tuple[Tied, Array]]:
        layer, number = numbered
        below = _first_or(units, number == 0)

        def step(layer: Tied, step_key: PRNGKeyArray) -> tuple[Tied, Array]:
            choose, noise = jax.random.split(step_key)
            visible = y[jax.random.randint(choose, (batch_size,), 0, len(y))]
            slope, error = rule(noise, layer, visible, below)
            return jax.tree.map(lambda w, g: (w + learning_rate * g).astype(w.dtype), layer, slope), error

        layer, error = jax.lax.scan(step, layer, jax.random.split(jax.random.fold_in(key, number), num_steps))
        return units.mean(y @ layer.kernel + layer.bias), (layer, error.reshape(num_records, -1).mean(1))

    y, done, runs, biases, errors = jnp.asarray(x), 0, [], [], []
    for run in model.runs:
        kernel, bias = run.layer.kernel[...], run.layer.bias[...]
        start = Tied(kernel, bias, jnp.zeros(kernel.shape[:2], kernel.dtype))
        y, (tied, error) = scan_run(one, y, (start, done + jnp.arange(len(bias))))
        done += len(bias)
        runs.append(
            Block(
                Layer(tied.kernel, tied.bias),
                run.phi,
                norm=run.norm,
                skip=False,
                scale=1.0,
                train_scale=False,
            )
        )
        biases.append(tied.visible_bias)
        errors.append(error)
    return Pretrained(Classifier(runs, model.readout), biases, jnp.concatenate(errors))


def _units(model: Classifier) -> Units:
    """The hidden units of a classifier that can be pretrained."""
    run = model.runs[0]
    name = str(getattr(run.phi, "name", run.phi))
    if name not in UNITS:
        raise ValueError(f"phi is {name}, give one of {', '.join(UNITS)}: others have no units to draw")
    if run.norm is not NORMS["none"] or any(block.skip for block in model.runs):
        raise ValueError(
            "model has norms or skips, give plain layers: each must be a function of those below"
        )
    return UNITS[name]


def _first_or(units: Units, first: Array) -> Units:
    """Gaussian units below the first layer, the hidden ones below the others; which one may be traced."""
    real = UNITS["linear"]
    return Units(
        lambda z: jnp.where(first, real.mean(z), units.mean(z)),
        lambda z: jnp.where(first, real.log_partition(z), units.log_partition(z)),
        lambda key, z: jnp.where(first, real.draw(key, z), units.draw(key, z)),
    )
