"""Layer profiles of signal and gradient, measured for many activations on the same weights.

`signalprop.models.stream` walks one network. Here the kernels of a whole network meet a stack of activations,
inputs and read-outs, so that a comparison draws every matrix once and compiles one program. Signals are
mantissas with exponents, as there.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from signalprop.models.activations import Activation, derivative
from signalprop.models.stream import Signal, rescale

# Edges for activities, and for gradients in units of their rms in the top layer; 0 and +-1 are inside a bin.
BINS = np.linspace(-3.05, 3.05, 62)


class Forward(NamedTuple):
    """Every layer on the way up; means over the batch, and two signals of its first example.

    Attributes:
        log_q: log of the mean squared pre-activation.
        log_std: log of the standard deviation of the activities over units.
        relative_mean: Mean activity over units / rms pre-activation.
        lost: Whether an example's signal is outside the dtype's range in this layer.
        z: Pre-activations of the first example, without their exponent.
        y: Activities of the first example.
    """

    log_q: Float[Array, "depth phi input"]
    log_std: Float[Array, "depth phi input"]
    relative_mean: Float[Array, "depth phi input"]
    lost: Bool[Array, "depth phi input"]
    z: Float[Array, "depth phi input units"]
    y: Signal


def forward(
    phis: Sequence[Activation],
    kernels: Float[Array, "depth units units"],
    x: Float[Array, "phi input batch units"],
) -> Forward:
    """Walk up. Signals of homogeneous activations are rescaled in every layer and so are never lost.

    Args:
        phis: Activations, one per entry of the first axis of ``x``.
        kernels: Square kernels (in, out).
        x: Inputs.
    """
    scaled = jnp.array([phi.homogeneous for phi in phis])[:, None, None]
    smallest = jnp.finfo(x.dtype).smallest_normal

    def layer(y: Signal, kernel: Array) -> tuple[Signal, Forward]:
        raw = Signal(y.mantissa @ kernel, y.exponent)
        unit = rescale(raw)
        mantissa = jnp.where(scaled[..., None], unit.mantissa, raw.mantissa)
        z = Signal(mantissa, jnp.where(scaled, unit.exponent, raw.exponent))
        y = Signal(_each(lambda phi, part: phi(part), phis, mantissa), z.exponent)
        size = jnp.max(jnp.abs(mantissa), -1)
        relative_mean = y.mantissa.mean(-1) / jnp.sqrt(jnp.mean(mantissa**2, -1))
        return y, Forward(
            log_q=z.log_mean_square().mean(-1),
            log_std=(jnp.log(y.mantissa.std(-1)) + z.exponent * math.log(2)).mean(-1),
            relative_mean=relative_mean.mean(-1),
            lost=~(jnp.isfinite(size) & (size >= smallest)).all(-1),
            z=mantissa[:, :, 0],
            y=jax.tree.map(lambda a: a[:, :, 0], y),
        )

    seen: Forward = jax.lax.scan(layer, Signal(x, jnp.zeros(x.shape[:-1], jnp.int32)), kernels)[1]
    return seen


def backward(
    phis: Sequence[Activation],
    kernels: Float[Array, "depth units units"],
    z: Float[Array, "depth phi input units"],
    depths: Sequence[int],
    readout: Float[Array, "readout units"],
) -> Signal:
    """Walk down from a read-out dE/dy at each of several depths.

    Returns:
        delta^l = dE/dz^l of every layer, (depth, readout, phi, input, units); 0 above its read-out.
    """

    def layer(gradient: Signal, here: tuple[Array, Array, Array]) -> tuple[Signal, Signal]:
        number, kernel, z = here
        starts = (jnp.array(depths) == number)[:, None, None, None]
        mantissa = jnp.where(starts, readout[:, None, None], gradient.mantissa)
        slope = _each(lambda phi, part: derivative(phi.function, part), phis, z)
        delta = rescale(Signal(slope * mantissa, gradient.exponent))
        return Signal(delta.mantissa @ kernel.T, delta.exponent), delta

    shape = (len(depths), *z.shape[1:])
    silent = Signal(jnp.zeros(shape, z.dtype), jnp.zeros(shape[:-1], jnp.int32))
    numbers = jnp.arange(1, len(z) + 1)
    deltas: Signal = jax.lax.scan(layer, silent, (numbers, kernels, z), reverse=True)[1]
    return deltas


def decades(
    log_norm: Float[Array, "depth readout phi input"],
    depths: Sequence[int],
    lost: Bool[Array, "depth phi input"],
) -> Float[Array, "depth readout phi input"]:
    """log10 of a norm over that in the read-out's layer; NaN above it and where the signal was lost."""
    top = jnp.stack([log_norm[depth - 1, i] for i, depth in enumerate(depths)])
    ratio = jnp.where(log_norm == -jnp.inf, -jnp.inf, (log_norm - top) / math.log(10))
    layer, depth = jnp.arange(1, len(log_norm) + 1)[:, None, None, None], jnp.array(depths)[:, None, None]
    usable = ~jnp.stack([lost[d - 1] for d in depths]) & (layer <= depth)
    return jnp.where(usable, jnp.where(layer == depth, 0, ratio), jnp.nan)


def histogram(values: Float[Array, "layer *rest units"]) -> Float[Array, "*rest layer bin"]:
    """Share of the units in each bin, layers moved next to the bins; the outer bins hold all beyond them."""
    below = jnp.mean(values[..., None] < jnp.asarray(BINS[1:-1], values.dtype), -2)
    ends = [(0, 0)] * (below.ndim - 1) + [(1, 1)]
    return jnp.moveaxis(jnp.diff(jnp.pad(below, ends, constant_values=(0, 1))), 0, -2)


def measure(
    phis: Sequence[Activation],
    kernels: Float[Array, "depth units units"],
    x: Float[Array, "input batch units"],
    readout: Float[Array, "readout units"],
    depths: Sequence[int],
    shown: Sequence[int],
) -> dict[str, Array]:
    """Everything measured on one set of weights, (phi, input, ...); layers and bins are the last axes.

    Args:
        phis: Activations.
        kernels: Square kernels (in, out).
        x: Inputs.
        readout: dE/dy of each of ``depths``.
        depths: Layers that get a read-out; norms are relative to those in that layer.
        shown: Layers whose histograms are wanted, of the network with the smallest depth.

    Returns:
        ``log_q``, ``log_std``, ``relative_mean``: see `Forward`; NaN from the layer on that lost the signal.
        ``forward_lost_at``: That layer, 0 if there is none.
        ``decades``, ``weight_decades``, ``total_decades``: see `decades`; of delta^l, of dE/dW^l, and of
        delta^1.
        ``activity_histogram``, ``gradient_histogram``, ``weight_gradient_histogram``: see `BINS`.
    """
    x = jnp.broadcast_to(x, (len(phis), *x.shape))
    up = forward(phis, kernels, x)
    delta = backward(phis, kernels, up.z, depths, readout)
    lost = jnp.cumsum(up.lost, 0) > 0
    log_delta = delta.log_norm()
    log_below = jnp.concatenate([jnp.log(jnp.linalg.norm(x[None, :, :, 0], axis=-1)), up.y.log_norm()[:-1]])
    of_delta = decades(log_delta, depths, lost)
    of_weights = decades(log_delta + log_below[:, None], depths, lost)
    sizes = {"log_q": up.log_q, "log_std": up.log_std, "relative_mean": up.relative_mean}
    return {
        **{k: jnp.moveaxis(jnp.where(lost, jnp.nan, v), 0, -1) for k, v in sizes.items()},
        "forward_lost_at": jnp.where(lost.any(0), jnp.argmax(lost, 0) + 1, 0),
        "decades": jnp.transpose(of_delta, (2, 3, 1, 0)),
        "weight_decades": jnp.transpose(of_weights, (2, 3, 1, 0)),
        "total_decades": jnp.moveaxis(of_delta[0], 0, -1),
        **_histograms(x[:, :, 0], up.y, delta, depths, shown),
    }


def _histograms(
    x: Array, y: Signal, delta: Signal, depths: Sequence[int], shown: Sequence[int]
) -> dict[str, Array]:
    """Histograms of one example in the network with the smallest depth.

    The N entries dE/dW_(i, i+1) stand for all N^2 of a weight gradient.
    """
    depth, layers = min(depths), np.array(shown)
    delta = jax.tree.map(lambda a: a[:, depths.index(depth)], delta)
    unit = jnp.exp(delta.log_norm()[depth - 1]) / math.sqrt(x.shape[-1])
    gradients = jnp.ldexp(delta.mantissa, delta.exponent[..., None])[layers - 1] / unit[..., None]
    activities = jnp.concatenate([x[None], jnp.ldexp(y.mantissa, y.exponent[..., None])])
    top = jnp.sqrt(jnp.mean(activities[depth - 1] ** 2, -1, keepdims=True))
    below = jnp.roll(activities[layers - 1], 1, -1) / top
    return {
        "activity_histogram": histogram(activities[layers]),
        "gradient_histogram": histogram(gradients),
        "weight_gradient_histogram": histogram(gradients * below),
    }


def _each(f: Callable[[Activation, Array], Array], phis: Sequence[Activation], z: Array) -> Array:
    """Apply every activation to its own slice of the first axis."""
    return jnp.stack([f(phi, part) for phi, part in zip(phis, z, strict=True)])
