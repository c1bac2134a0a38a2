"""What finite width does to linear convolutions on a ring: a race of independent matrix products."""

from typing import NamedTuple

import numpy as np
from jaxtyping import ArrayLike, Float
from scipy.special import logsumexp, polygamma, psi


class LogRingGain(NamedTuple):
    """Mean and variance of log |Ju|^2 over networks, at every depth asked for."""

    mean: Float[np.ndarray, " depth"]
    variance: Float[np.ndarray, " depth"]


def log_gain_ring(
    channels: int, places: int, depth: Float[ArrayLike, " depth"], samples: int = 20_000
) -> LogRingGain:
    r"""Law of log |Ju|^2 for linear Gaussian convolutions on a ring, for a random direction u.

    Convolutions commute with shifts, so every Fourier mode of the ring passes through a product of its own
    random matrices :math:`\hat W(k) = \sum_t W_t e^{ikt}`. Entries have variance 1 / (window channels). At
    k = 0 and k = pi they are real. Elsewhere the vector of a mode is complex, and to leading order in
    1/channels each layer sees it as a circular one, independent of the other modes:

    .. math:: |v^l|^2 / |v^{l-1}|^2 \sim \chi^2_{C} / C \; \text{(real modes)}, \quad
        \chi^2_{2C} / 2C \; \text{(else)}

    A complex mode loses 1/(2C) per layer, half of what a real one or a fully connected network of the same
    width loses, and |Ju|^2 is the sum of all of them: the luckiest mode wins. The walks are taken as
    Gaussian, the sum by Monte Carlo with a fixed seed.

    Args:
        channels: Channels C of the input and of every layer, at least 2.
        places: Places on the ring, at least 2; the window has at least 2 places.
        depth: Numbers of layers.
        samples: Monte Carlo samples; the error of the mean is its deviation over the root of this.

    Raises:
        ValueError: If there are fewer than 2 channels or places.
    """
    if min(channels, places) < 2:
        raise ValueError(f"channels and places must be at least 2, got {channels} and {places}")
    real = 2 - places % 2
    mode_dimensions = np.array([1] * real + [2] * ((places - real) // 2))
    half = mode_dimensions * channels / 2
    draws = np.random.default_rng(0).standard_normal((samples, mode_dimensions.size))
    log_share = np.log(mode_dimensions / places)
    found = []
    for layers in np.ravel(np.asarray(depth, float)):
        walks = layers * (psi(half) - np.log(half)) + np.sqrt(layers * polygamma(1, half)) * draws
        total = logsumexp(walks + log_share, axis=1)
        found.append((total.mean(), total.var()))
    return LogRingGain(*np.array(found).T)
