"""Lengths and gaps of tokens, gradients of blocks without attention, and that of the last matrix."""

import numpy as np
import xarray as xr

from signalprop.analysis import attention as mean_field
from signalprop.analysis.growth import pre_layer_norm
from signalprop.bench.experiments.attention import Settings
from signalprop.bench.experiments.attention.measure import DECADES, NETWORKS, NORMS, Parts, grid, networks

WIDEST = 2.0  # variance of the scores up to which their softmax is predicted


def theory(settings: Settings) -> xr.Dataset:
    """Residuals of all networks, gradients of those without attention, and of the last matrix of all."""
    chosen, blocks = networks(settings), np.arange(settings.depth[-1] + 1)
    shape = (len(NORMS), len(chosen))
    residuals, gradients = (np.full((*shape, blocks.size), np.nan) for _ in range(2))
    last = np.full(shape, np.nan)
    for i, norm in enumerate(NORMS):
        profiles = {name: states(settings, norm, parts) for name, parts in NETWORKS.items()}
        for j, (name, parts, depth) in enumerate(chosen):
            q, gap = profiles[name]
            inside = blocks <= depth
            with np.errstate(divide="ignore"):
                residuals[i, j] = np.where(inside, np.log10((1 - 1 / settings.tokens) * gap) / 2, np.nan)
            if norm != "none" and not parts.attention:
                gradients[i, j] = np.where(inside, _without_attention(norm, depth, blocks), np.nan)
            if norm != "none" and parts.skip and parts.feed_forward:
                above = q[depth] if norm == "pre" else 1.5
                last[i, j] = np.log10(settings.tokens * settings.width**2 / 2 / above) / 2
    dims = ("norm", "network")
    labels = grid(settings).labels()
    return xr.Dataset(
        {
            "residual_predicted": ((*dims, "block"), residuals),
            "gradient_predicted": ((*dims, "block"), gradients),
            "last_predicted": (dims, last),
        },
        coords={k: labels[k] for k in (*dims, "block")},
    )


def states(settings: Settings, norm: str, parts: Parts) -> tuple[np.ndarray, np.ndarray]:
    """Predicted lengths and gaps after every block; NaN from where scores are too wide for the theory."""
    present = [name for name in ("attention", "feed_forward") if getattr(parts, name)]
    found = mean_field.token_profile(present, norm, settings.tokens, settings.depth[-1], parts.skip)
    q, gap = map(np.asarray, found)
    wide = np.cumsum(q**2 * gap > WIDEST) > 0
    unknown = np.append(False, wide[:-1]) & (norm == "none") & bool(parts.attention)
    return np.where(unknown, np.nan, q), np.where(unknown, np.nan, gap)


def _without_attention(norm: str, depth: int, blocks: np.ndarray) -> np.ndarray:
    """Log10 |g_l| of blocks without attention, with the last layer norm of pre-LN; 0 in post-LN."""
    if norm == "post":
        return np.zeros(blocks.size)
    log_mean_square, log_gradient = map(np.asarray, pre_layer_norm(depth))
    squares = log_gradient - log_mean_square[-1]
    return np.append(squares / 2 * DECADES, np.full(blocks.size - depth - 1, np.nan))
