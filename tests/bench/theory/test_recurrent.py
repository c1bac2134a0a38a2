"""``signalprop theory lyapunov``: the numbers of the table, and options that mean nothing."""

import dataclasses
import json

import numpy as np
import pytest

from signalprop.bench.engine.errors import InputError
from signalprop.bench.theory.recurrent import Lyapunov


def test_a_chaotic_network_has_its_exponents_dimension_and_entropy():
    options = Lyapunov(gain=2.0, exponents=4)
    prediction = options.predict()
    values = prediction.values
    assert values["q"] == pytest.approx(2.1214735682, rel=1e-9)
    assert values["largest_exponent"] == pytest.approx(0.1547242298, abs=1e-9)
    assert values["dimension_per_unit"] == pytest.approx(0.25748, abs=2e-4)
    assert values["entropy_per_unit"] == pytest.approx(0.01067, abs=2e-5)
    assert values["gain_at_edge_of_chaos"] == pytest.approx(1, abs=1e-12)
    assert list(prediction.table["x"]) == [0.125, 0.375, 0.625, 0.875]
    assert np.all(np.diff(prediction.table["exponent"]) < 0)
    read = json.loads(prediction.as_json(dataclasses.asdict(options)))
    assert len(read["table"]) == 4


def test_a_correction_that_is_not_small_is_withheld_with_the_width_that_would_do():
    why = Lyapunov(gain=1e6, exponents=1).predict().values["finite_width_correction"]
    least = int(why.partition("--width ")[2].split()[0])
    assert why.startswith("withheld")
    inside = Lyapunov(gain=1e6, exponents=1, width=least).predict().values["finite_width_correction"]
    assert inside == pytest.approx(-0.2, rel=1e-6)
    slopeless = Lyapunov(activation="binary_step", exponents=1).predict().values
    assert slopeless["finite_width_correction"] == "withheld: every slope is 0"


def test_minus_infinity_is_printed_with_its_place_and_only_where_no_slope_is_left():
    tanh = Lyapunov(gain=30.0, exponents=3).predict()
    assert np.isfinite(tanh.table["exponent"]).all()
    assert "minus_infinity" not in tanh.values
    relu = Lyapunov(activation="relu", gain=1.0, noise=1.0, exponents=4).predict()
    assert list(np.isneginf(relu.table["exponent"])) == [False, False, True, True]
    assert relu.values["minus_infinity"].startswith("from x = 0.5 on")


@pytest.mark.parametrize(
    ("given", "option"),
    [({"gain": 0.0}, "--gain"), ({"noise": -1.0}, "--noise"), ({"exponents": 0}, "--exponents"),
     ({"activation": "tahn"}, "--activation")],
)  # fmt: skip
def test_parameters_that_mean_nothing_are_refused_by_name(given, option):
    with pytest.raises(InputError, match=option):
        Lyapunov(**given).predict()
