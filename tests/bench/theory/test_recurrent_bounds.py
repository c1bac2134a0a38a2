"""``signalprop theory recurrent``: rules that disagree, and options that mean nothing."""

import numpy as np
import pytest

from signalprop.bench.engine.errors import InputError
from signalprop.bench.theory.recurrent_bounds import Recurrent


def test_rules_disagree_on_a_nilpotent_matrix():
    prediction = Recurrent(activation="relu", ensemble="nilpotent", gain=4.0, noise=1.0, width=20).predict()
    says = prediction.table.set_index("rule")["says"]
    assert says["rho(W) > 1 explodes"] == "vanishes"
    assert says["gamma s_max(W) > 1 explodes"] == "explodes"
    values = prediction.values
    assert values["spectral_radius"] < 1e-6
    assert values["largest_singular_value"] == pytest.approx(2 * values["numerical_radius"], rel=1e-9)
    assert values["henrici_departure"] > values["largest_singular_value"]
    assert values["mean_field_exponent"] == pytest.approx(np.log(4), abs=1e-9)  # sigma_w = 4 sqrt 2
    assert 0 < values["nilpotent_exponent"] < values["mean_field_exponent"]
    assert not values["must_vanish"]


@pytest.mark.parametrize(
    ("given", "option"),
    [({"gain": 0.0}, "--gain"), ({"noise": -1.0}, "--noise"), ({"width": 4}, "--width"),
     ({"ensemble": "gausian"}, "--ensemble"), ({"activation": "tahn"}, "--activation")],
)  # fmt: skip
def test_parameters_that_mean_nothing_are_refused_by_name(given, option):
    with pytest.raises(InputError, match=option):
        Recurrent(**given).predict()
