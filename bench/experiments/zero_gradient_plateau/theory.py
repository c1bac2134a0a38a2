"""What theory predicts for ``zero-gradient-plateau``, on the axes of its grid."""

import numpy as np
import xarray as xr

from signalprop.analysis import plateau
from signalprop.bench.experiments.zero_gradient_plateau import Settings, saddles
from signalprop.bench.experiments.zero_gradient_plateau.escapes import SECOND
from signalprop.bench.experiments.zero_gradient_plateau.measure import grid
from signalprop.bench.experiments.zero_gradient_plateau.plateaus import MOMENTUM, POSITIVE, ROUTES


def theory(settings: Settings) -> xr.Dataset:
    """What coasting, the base rate, the saddles and the sigmoid come to."""
    count = round(POSITIVE * settings.examples)
    adam = {name: np.asarray(plateau.coasting_adam(100_000, route.count, MOMENTUM, SECOND))[-1]
            for name, route in ROUTES.items() if route.count}  # fmt: skip
    ball, nesterov = MOMENTUM / (1 - MOMENTUM), MOMENTUM**2 / (1 - MOMENTUM)
    coasting = {
        name: adam.get(name, nesterov if ROUTES[name].method == "nesterov" else ball)
        if ROUTES[name].moving
        else np.nan
        for name in settings.route
    }
    return xr.Dataset(
        {
            "coasting_predicted": ("route", list(coasting.values())),
            "base_rate_logit": ((), np.log(count / (settings.examples - count))),
            "ridge_steps_predicted": ("descent", saddles.foresee_ridge()),
            "chain_steps_predicted": (
                ("chain", "chain_start", "descent"),
                [[saddles.foresee_chain(d, w) for w in saddles.STARTS] for d in saddles.DEPTHS],
            ),
            "sigmoid_steps_predicted": (
                "sigmoid_start",
                np.asarray(plateau.sigmoid_escape_time(np.array(saddles.SIGMOID_STARTS))) / saddles.RATE,
            ),
        },
        coords={k: v for k, v in grid(settings).labels().items()
                if k in ("route", "descent", "chain", "chain_start", "sigmoid_start")},
    )  # fmt: skip
