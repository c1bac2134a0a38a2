"""Gradients of deep networks kept in number formats on their way back: measured and predicted.

Two networks share their random draws: sigmoids that make the gradient vanish, sqrt(chi_1) = 0.236, and sines
that make it explode, sqrt(chi_1) = 5.66. The signal keeps one dtype and never leaves its range, so that it is
the format of the gradient alone that is tested; beside it the gradient is followed in the log domain.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jax import Array
from scipy import stats

from signalprop.analysis import precision
from signalprop.analysis.fluctuations import fluctuations, layer_moments
from signalprop.analysis.statistics import log_norm
from signalprop.bench.measure.rounding import FORMATS
from signalprop.models.activations import activation, derivative
from signalprop.models.stream import LazyMLP, backward, forward

NETWORKS = {"sigmoid": 1.0, "sin": 8.0}  # activation and sigma_w
STEP = 0.01  # learning rate of the update that is compared with the weights
TRANSIENT, SETTLED = 40, 20  # layers until lengths and corrections have settled, and to average over
LN10 = float(np.log(10))


def gradients(key: Array, width: int, depth: int, dtype: str) -> dict[str, Array]:
    """Back-propagate through one network of each kind, from a random cotangent.

    Args:
        key: The network's key.
        width: Units of every layer.
        depth: Number of layers.
        dtype: Type of signal, weights and log-domain gradient.

    Returns:
        log10 of a norm by network and layer, from the last layer down: ``kept``, |delta| as a format keeps
        its entries; ``plain``, the same by a sum of squares in that format; ``true``, |delta| in the log
        domain; ``step``, lr |dE/dW| over |W|. -inf where all is 0, inf or NaN where it overflowed.
    """
    input_key, cotangent_key, key = jax.random.split(key, 3)
    x, cotangent = (jax.random.normal(k, (width,), dtype) for k in (input_key, cotangent_key))

    def walk(sigma_w: Array, is_first: Array) -> tuple[Array, ...]:
        phi = _phi(is_first)
        network = LazyMLP((width,) * (depth + 1), phi, sigma_w=sigma_w, key=key, dtype=dtype)
        signal = forward(network, x, lambda carry, number, kernel, z: (carry, z), None).outs

        def observe(kept: list[Array], number: Array, kernel: Array, delta: Any) -> tuple[Any, Any]:
            z = signal[0].mantissa[number - 1]
            deltas = [derivative(phi, z.astype(g.dtype)) * g for g in kept]
            below = [d @ kernel.astype(d.dtype).T for d in deltas]
            plain = [jnp.log(jnp.linalg.norm(d).astype(float)) for d in deltas]
            scaled = [log_norm(d.astype(float)) for d in deltas]
            return below, (jnp.stack(scaled), jnp.stack(plain), delta.log_norm())

        kept = [cotangent.astype(f) for f in FORMATS]
        scaled, plain, true = backward(network, signal, cotangent, observe, kept).outs[0]
        # |dE/dW| = |delta| |y| with |y| = |z| / sigma_w from below, |W| = sigma_w sqrt(N)
        step = jnp.log(STEP) + true + signal[0].log_mean_square() / 2 - 2 * jnp.log(sigma_w)
        return tuple(jnp.moveaxis(a[::-1], 0, -1) / LN10 for a in (scaled, plain, true, step))

    walks = jax.vmap(walk)(*_both(dtype))
    return dict(zip(("kept", "plain", "true", "step"), walks, strict=True))


def predictions(width: int, depth: int, flushes: dict[str, bool]) -> xr.Dataset:
    """Mean log gradient by layer, and the layers at which its entries and its plain norm are lost.

    A gradient changes by sqrt(chi_1) per layer (arXiv 1611.01232), corrected to first order in 1/N. All
    entries are lost with the largest of N Gaussian ones; whole layers come half a layer later on average.

    Args:
        width: Units of every layer.
        depth: Number of layers.
        flushes: Whether the device flushes subnormal numbers, by format.

    Returns:
        ``true_predicted`` (network, layer) in decades, ``kept_lost_predicted`` and ``plain_lost_predicted``
        (network, format), and ``oversized_predicted`` (network): where a step outgrows the weights, NaN if
        never.
    """
    largest = float(stats.norm.isf((1 - 0.5 ** (1 / width)) / 2))  # median of the largest of N
    moments = jax.jit(jax.vmap(lambda s, first: layer_moments(_phi(first), s, 1.0, TRANSIENT + SETTLED)))
    of_both = moments(*_both(float))
    true, kept, plain, oversized = [], [], [], []
    for row, sigma_w in enumerate(NETWORKS.values()):
        layers = jax.tree.map(lambda a, row=row: np.asarray(a[row]), of_both)
        shift = fluctuations(layers, width).shift
        log_chi = layers.log_chi[-1] + (shift[-1] - shift[-1 - SETTLED]) / SETTLED
        entry = np.exp(layers.log_chi[-1] / 2) / sigma_w  # root mean square of phi'(z) times a unit Gaussian
        norm, peak = entry * np.sqrt(width), entry * largest
        true.append((np.log(norm) + np.arange(depth) * log_chi / 2) / LN10)
        kept.append([_lost(log_chi, f, flush, peak) for f, flush in flushes.items()])
        squares = peak if log_chi < 0 else norm
        plain.append([_lost(log_chi, f, flush, squares, 2) for f, flush in flushes.items()])
        step = STEP * norm * np.exp(layers.log_q[-1] / 2) / sigma_w**2
        oversized.append(0.5 - 2 * np.log(step) / log_chi if log_chi > 0 else np.nan)
    return xr.Dataset(
        {
            "true_predicted": (("network", "layer"), true),
            "kept_lost_predicted": (("network", "format"), kept),
            "plain_lost_predicted": (("network", "format"), plain),
            "oversized_predicted": ("network", oversized),
        }
    )


def _both(dtype: Any) -> tuple[Array, Array]:
    """The scales of both networks, and which of them is the first."""
    return jnp.asarray(list(NETWORKS.values()), dtype), jnp.arange(len(NETWORKS)) == 0


def _phi(is_first: Array) -> Callable[[Array], Array]:
    """The activation of the first network or of the second, in one program."""
    first, second = (activation(name).function for name in NETWORKS)
    return lambda z: jnp.where(is_first, first(z), second(z))


def _lost(log_chi: float, dtype: str, flush: bool, size: float, power: int = 1) -> float:
    chi = np.exp(log_chi)
    if log_chi < 0:
        return float(precision.network_death_depth(chi, dtype, flush, size, power)) + 0.5
    return float(precision.network_overflow_depth(chi, dtype, size, power)) + 0.5
