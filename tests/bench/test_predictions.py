"""``signalprop theory``: every topic prints its numbers, for people and for machines."""

import dataclasses
import json
import math

import numpy as np
import pytest

from signalprop.bench.errors import InputError
from signalprop.bench.predictions import TOPICS

SMALL = {"critical-line": {"activation": ("relu", "softplus"), "sigma_b": (0.0, 0.5)}}


def refuse(constant):
    raise AssertionError(f"{constant} is not JSON")


@pytest.mark.parametrize("topic", TOPICS)
def test_every_topic_prints_its_numbers_as_text_and_as_json(topic):
    options = TOPICS[topic](**SMALL.get(topic, {}))
    prediction = options.predict()
    text = prediction.as_text()
    read = json.loads(prediction.as_json(dataclasses.asdict(options)), parse_constant=refuse)
    for name, value in prediction.values.items():
        assert name in text
        if isinstance(value, float) and math.isfinite(value):
            assert read[name] == value
    if prediction.table is not None:
        assert len(read["table"]) == len(prediction.table) > 0
        assert set(read["table"][0]) == set(prediction.table)


def test_a_product_of_textbook_matrices_has_the_exponents_that_newman_found():
    prediction = TOPICS["matrix-product"](width=4, sigma_w=2.0, depth=101).predict()
    newman = [0.5579657578, 0.3648185773, 0.0579657578, -0.6351814227]
    np.testing.assert_allclose(prediction.table["exponent"], newman, atol=1e-9)
    assert prediction.values["log10_entry_mean"] == pytest.approx(23.956, abs=1e-3)


def test_the_critical_line_says_where_there_is_no_critical_point():
    table = TOPICS["critical-line"](**SMALL["critical-line"]).predict().table
    assert list(table["exists"]) == [True, False, False, False]
    assert table["sigma_w"][0] == pytest.approx(math.sqrt(2), rel=1e-12)


@pytest.mark.parametrize(
    ("topic", "given", "option"),
    [
        ("profile", {"depth": 0}, "--depth"),
        ("profile", {"activation": "tahn"}, "--activation"),
        ("critical-line", {"activation": ("tahn",)}, "--activation"),
        ("matrix-product", {"width": 0}, "--width"),
        ("finite-width", {"depth": 0}, "--depth"),
    ],
)
def test_parameters_that_mean_nothing_are_refused_by_name(topic, given, option):
    with pytest.raises(InputError, match=option):
        TOPICS[topic](**given).predict()
