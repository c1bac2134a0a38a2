"""Exact laws of gains, fourth moments, deaths and traces at finite width."""

from functools import partial
from typing import Any

import numpy as np
import xarray as xr

from signalprop.analysis import finitewidth
from signalprop.analysis.dying import dead_input
from signalprop.bench.experiments.finite_width import Settings
from signalprop.bench.experiments.finite_width.gains import padded
from signalprop.bench.experiments.finite_width.measure import grid, profiles
from signalprop.bench.measure.kernels import KURTOSIS


def theory(settings: Settings) -> xr.Dataset:
    """Exact moments of log |Ju|^2, fourth moments, deaths and traces, and the sum of reciprocal widths."""
    shown = [[w[: depth + 1] for depth in settings.depth] for w in profiles(settings).values()]

    def over(law: Any) -> np.ndarray:
        return np.array([[law(w) for w in row] for row in shown])

    logs = [over(law) for law in (finitewidth.log_gain, finitewidth.log_gain_linear)]
    fourths = (finitewidth.fourth_moment, finitewidth.linear_fourth_moment)
    fourth = [[over(partial(law, kurtosis=KURTOSIS[s])) for law in fourths] for s in settings.scheme]
    width, depth = settings.spectrum
    spectra = [finitewidth.spectral_moments(np.full(depth, slope), width) for slope in (2.0, 1.0)]
    squares = [np.exp([s.log_square, s.log_square + np.log(s.kurtosis)]).T for s in spectra]
    by_network, by_profile = ("network", "profile", "depth"), ("profile", "depth")
    return xr.Dataset(
        {
            "log_gain_predicted": (by_network, [law[..., 0] for law in logs]),
            "log_gain_variance_predicted": (by_network, [law[..., 1] for law in logs]),
            "fourth_predicted": (("scheme", *by_network), fourth),
            "fourth_spread": (by_profile, over(_fourth_spread)),
            "dead_predicted": (by_profile, over(lambda w: float(dead_input(w[1:])[-1]))),
            "traces_predicted": (("layer", "network", "trace"), np.stack(squares, 1)),
            "widths": (("profile", "place"), np.array(padded(list(profiles(settings).values())))),
            "layers": (by_profile, over(lambda w: len(w) - 1)),
            "widening": (by_profile, over(lambda w: w[-1] / w[0])),
            "inverse_widths": (by_profile, over(lambda w: finitewidth.log_gain_asymptotic(w).variance / 5)),
        },
        coords={k: v for k, v in grid(settings).labels().items() if k not in ("seed", "draw")},
    )


def _fourth_spread(widths: tuple[int, ...]) -> float:
    """Standard deviation of |Ju|^4 over its mean, of one Gaussian relu network."""
    return float(np.sqrt(finitewidth.gain_moment(widths, 4) / finitewidth.fourth_moment(widths) ** 2 - 1))
