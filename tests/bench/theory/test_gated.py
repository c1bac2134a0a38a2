"""Topics on gated cells: their numbers against exact ones and against the functions behind them."""

import numpy as np
import pytest

from signalprop.bench.engine.errors import InputError
from signalprop.bench.theory.gated import GatedField, Memory


def test_memory_of_constant_gates_is_that_of_their_bias():
    prediction = Memory(forget_bias=(1.0, 5.0), noise=0.0, longest=200).predict()
    table = prediction.table
    np.testing.assert_allclose(table["lifetime"], [3.718281828, 149.4131591], rtol=1e-9)
    np.testing.assert_allclose(table["e_folding"], [3.192219, 148.912599], rtol=1e-6)
    for column in ("e_folding_typical", "e_folding_of_mean", "e_folding_of_root_mean_square"):
        np.testing.assert_allclose(table[column], table["e_folding"], rtol=1e-9)
    assert prediction.values["chrono_mean_lifetime"] == 101
    assert (
        0 < prediction.values["chrono_kept_after_longest"] < prediction.values["chrono_kept_after_half"] < 1
    )


def test_noise_shortens_typical_memory_and_lengthens_that_of_the_mean_square():
    row = Memory(forget_bias=(0.0,), noise=1.0).predict().table.iloc[0]
    assert row["e_folding_typical"] < row["e_folding_of_mean"] < row["e_folding_of_root_mean_square"]


def test_the_mean_field_of_an_lstm_is_that_of_its_population_and_of_a_minimal_rnn_that_of_its_fixed_point():
    values = GatedField(sigma_w=2.0, forget_bias=2.0, units=500, steps=300).predict().values
    assert values["exponent"] == pytest.approx(-0.092, abs=5 * values["exponent_error"] + 2e-3)
    assert values["weights"] == "drawn anew at every step"
    assert {"jacobian_square", "hidden_square", "carousel_square", "candidate_square"} <= values.keys()
    minimal = GatedField(cell="minimal_rnn", forget_bias=1.0).predict().values
    assert minimal["converged"]
    assert minimal["exponent"] == pytest.approx(-0.5 / minimal["xi"])


@pytest.mark.parametrize(
    ("topic", "given", "option"),
    [
        (Memory, {"forget_bias": ()}, "--forget-bias"),
        (Memory, {"forget_bias": (float("nan"),)}, "--forget-bias"),
        (Memory, {"longest": 2}, "--longest"),
        (Memory, {"noise": -1.0}, "--noise"),
        (GatedField, {"cell": "lstn"}, "lstm"),
        (GatedField, {"sigma_w": -1.0}, "--sigma-w"),
        (GatedField, {"steps": 1}, "--steps"),
    ],
)
def test_parameters_that_mean_nothing_are_refused_by_name(topic, given, option):
    with pytest.raises(InputError, match=option):
        topic(**given).predict()
