"""Mean field with its 1/N terms, the walk of Gaussian weights, the floor of a signal, and memory."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from scipy.special import psi

from signalprop.analysis import fluctuations, meanfield
from signalprop.analysis.convolution import log_gain_ring
from signalprop.analysis.finitewidth import log_gain_linear
from signalprop.bench.experiments.depth_limits import Settings
from signalprop.bench.experiments.depth_limits.measure import DECADES, STARTS, grid, measure, recorded, starts


def theory(settings: Settings) -> xr.Dataset:
    """Mean field of all starts, 1/N terms of orthogonal weights, laws of Gaussian ones, and memory."""
    depth, width, places = settings.depth, settings.width, settings.places
    layers = np.array(recorded(depth))
    scales = {name: jnp.array(values) for name, values in starts(depth).items()}

    @jax.jit
    @jax.vmap
    def mean_field(sigma_w: jax.Array, sigma_b: jax.Array, q_0: jax.Array) -> Any:
        q = meanfield.length_trajectory(jnp.tanh, sigma_w, sigma_b, q_0, depth + 1)
        log_chi = jnp.log(jax.vmap(lambda q: meanfield.chi_1(jnp.tanh, q, sigma_w))(q[:-1]))
        squares = jnp.append(q_0, (q[1:] - sigma_b**2) / sigma_w**2)
        down = jnp.append(jnp.cumsum(log_chi[::-1])[::-1], 0)
        return squares, down, fluctuations.layer_moments(jnp.tanh, sigma_w, q_0, depth)

    squares, down, moments = jax.device_get(mean_field(**scales))
    gaussian = [_gaussian_walk(name, width, places, layers, depth) for name in settings.network]
    each_start, each_network = ("start", "layer"), ("network", "layer")
    columns = {
        "signal_predicted": (each_start, np.log(squares[:, layers]) / 2 * DECADES),
        "gradient_predicted": (each_start, down[:, layers] / 2 * DECADES),
        "gaussian_predicted": (each_network, [mean for mean, _ in gaussian]),
        "gaussian_spread": (each_network, [spread for _, spread in gaussian]),
        "gaussian_floor": ((), _floor(width, depth, float(scales["sigma_b"][0]))),
        "memory": (("network",), _memory(settings)),
    }
    by_start = [fluctuations.LayerMoments(*(a[i] for a in moments)) for i in range(len(STARTS))]
    independent = [1 if name == "mlp" else places for name in settings.network]
    terms = np.array([[_next_order(m, width, copies) for m in by_start] for copies in independent])
    for i, name in enumerate(("signal_shift", "gradient_shift", "gradient_indirect")):
        columns[name] = (("network", "start"), terms[..., i])
    labels = grid(settings).labels()
    return xr.Dataset(columns, coords={k: labels[k] for k in ("network", "start", "layer")})


def _next_order(moments: fluctuations.LayerMoments, width: int, copies: int) -> list[float]:
    """1/N terms after all layers, in decades: of the signal, of the gradient, and their indirect part.

    Delta-orthogonal kernels send every place through the same fully connected network. The log of a mean over
    that many independent copies lies above the mean of the logs.
    """
    found = fluctuations.fluctuations(moments, width, orthogonal=True)
    of_mean = (1 - 1 / copies) * found.log_gradient_variance[-1] / 2
    signal = 2 * (found.log_std[-1] - moments.log_std[-1])
    return [x / 2 * DECADES for x in (signal, found.log_gradient_shift[-1] + of_mean, found.indirect[-1])]


def _gaussian_walk(
    network: str, width: int, places: int, layers: np.ndarray, depth: int
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation over networks of log10 |dE/dy^l| / |dE/dy^L|.

    The slopes of tanh add to log |g|^2 between 0 per layer, while the signal is at q*, and log(1 + 2/L), when
    it is lost; half of that is taken.
    """
    above = depth - layers
    if network == "mlp":
        per_layer = log_gain_linear((width, width))
        mean, variance = above * per_layer.mean, above * per_layer.variance
    else:
        mean, variance = log_gain_ring(width, places, above)
    return (mean + above / depth) / 2 * DECADES, np.sqrt(variance) / 2 * DECADES


def _floor(width: int, depth: int, sigma_b: float) -> float:
    """Log10 of the rms at which biases hold a Gaussian network's signal; NaN where it does not get there.

    The stationary law of log q' = log(a q + sigma_b^2), log a of mean 2/L - 1/N and variance 2/N: q is N
    sigma_b^2 over a Gamma variable of shape 1 - 2 N/L (Dufresne 1990). The way down takes N log(q* / q)
    layers.
    """
    shape = 1 - 2 * width / depth
    log_q = 2 * np.log(sigma_b) + np.log(width) - psi(shape)
    arrives = shape > 0.5 and depth > 2 * width * (-np.log(depth) - log_q)
    return float(log_q / 2 * DECADES) if arrives else np.nan


def _memory(settings: Settings) -> list[float]:
    """GiB that the compiled program of one network, with all weights and starts, takes beside its inputs."""
    if not settings.memory:
        return [np.nan] * len(settings.network)
    keys, point = jax.random.key(0), {k: jnp.array(v) for k, v in starts(settings.depth).items()}
    found = []
    for _, static in grid(settings).cases():
        by_start = jax.vmap(
            lambda p, g, static=static: measure(keys, {**p, "gaussian": g}, static), (0, None)
        )
        program = jax.jit(jax.vmap(by_start, (None, 0)))
        one = jax.tree.map(lambda v: v.astype(settings.dtype), (point, jnp.arange(2)))
        analysis = program.lower(*one).compile().memory_analysis()
        found.append(np.nan if analysis is None else analysis.temp_size_in_bytes / 2**30)
    return found
