"""``signalprop theory``: every topic prints its numbers, for people and for machines."""

import dataclasses
import json
import math

import numpy as np
import pytest
from scipy import optimize

from signalprop.bench.engine.errors import InputError
from signalprop.bench.theory.topics import TOPICS, find_options

SMALL = {
    "critical-line": {"activation": ("relu", "softplus"), "sigma_b": (0.0, 0.5)},
    "gated": {"units": 1000, "steps": 100},
}


def refuse(constant):
    raise AssertionError(f"{constant} is not JSON")


@pytest.mark.parametrize("topic", TOPICS)
def test_the_list_says_what_the_docstring_of_a_topic_says(topic):
    assert find_options(topic).__doc__.splitlines()[0] == TOPICS[topic].predicts


@pytest.mark.parametrize("topic", TOPICS)
def test_every_topic_prints_its_numbers_as_text_and_as_json(topic):
    options = find_options(topic)(**SMALL.get(topic, {}))
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
    prediction = find_options("matrix-product")(width=4, sigma_w=2.0, depth=101).predict()
    newman = [0.5579657578, 0.3648185773, 0.0579657578, -0.6351814227]
    np.testing.assert_allclose(prediction.table["exponent"], newman, atol=1e-9)
    assert prediction.values["log10_entry_mean"] == pytest.approx(23.956, abs=1e-3)


def test_the_critical_line_says_where_there_is_no_critical_point():
    table = find_options("critical-line")(**SMALL["critical-line"]).predict().table
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
        ("eigenvalues", {"width": 1}, "--width"),
        ("spectrum", {"activation": "relu", "sigma_w": 2.0}, "--q"),
        ("growth", {"batch_size": 3}, "--batch-size"),
        ("growth", {"width": 3}, "--width"),
        ("dropout", {"keep": 0.0}, "--keep"),
        ("precision", {"formats": ("flaot16",)}, "float16"),
    ],
)
def test_parameters_that_mean_nothing_are_refused_by_name(topic, given, option):
    with pytest.raises(InputError, match=option):
        find_options(topic)(**given).predict()


COUNTS = [
    (topic, field.name)
    for topic in TOPICS
    for field in dataclasses.fields(find_options(topic))
    if isinstance(field.default, int) and field.name != "seed"
]


@pytest.mark.parametrize(("topic", "name"), COUNTS)
def test_what_is_counted_is_a_whole_number(topic, name):
    for value in (10.5, math.nan, math.inf):
        with pytest.raises(
            InputError, match=f"--{name.replace('_', '-')}: got {value}; write a whole number"
        ):
            find_options(topic)(**{name: value}).predict()


def test_a_length_of_zero_means_the_limit_of_small_lengths():
    """Just below its critical scale the length of relu decays to 0, where half of its slopes are still 1."""
    values = (
        find_options("spectrum")(activation="relu", sigma_w=1.4142, weights="orthogonal", depth=4)
        .predict()
        .values
    )
    assert values["q"] == 0
    assert values["converged"]
    assert values["share_at_zero"] == pytest.approx(0.5)
    assert values["log_upper_edge"] == pytest.approx(
        8 * math.log(1.4142) - 4 * math.log(2) + math.log(4**4 / 3**3), abs=1e-6
    )


def test_slopes_of_zero_leave_only_the_atom_at_zero():
    prediction = find_options("spectrum")(activation="binary_step").predict()
    assert prediction.values["share_at_zero"] == 1
    assert prediction.table is None


def values(topic, **given):
    return find_options(topic)(**given).predict().values


@pytest.mark.parametrize(("ensemble", "at_1"), [("identity", 1.0), ("he_normal", None), ("orthogonal", 1.0)])
def test_the_gain_acts_on_every_ensemble(ensemble, at_1):
    one, other = (values("recurrent", ensemble=ensemble, gain=g)["spectral_radius"] for g in (1.0, 0.9772))
    assert at_1 is None or one == pytest.approx(at_1, rel=1e-6)
    assert other == pytest.approx(0.9772 * one, rel=1e-6)


@pytest.mark.parametrize("ensemble", ["identity", "scaled_identity"])
def test_the_mean_field_of_random_weights_is_withheld_where_units_stay_apart(ensemble):
    prediction = find_options("recurrent")(ensemble=ensemble, activation="relu", gain=0.9772).predict()
    assert "withheld" in prediction.values["mean_field_exponent"]
    assert "chi_1 > 1 explodes" not in list(prediction.table["rule"])


def test_a_gate_that_never_forgets_keeps_for_ever_and_one_that_always_does_for_an_instant():
    table = find_options("memory")(forget_bias=(1000.0, -50.0, -30.0), noise=0.0).predict().table
    for name in ("e_folding_typical", "e_folding_of_mean", "e_folding_of_root_mean_square"):
        np.testing.assert_allclose(table[name], [np.inf, 0.02, 1 / 30], rtol=1e-9)


def test_a_population_that_has_not_settled_gives_no_exponent():
    assert "write --steps 2.69e+44" in values("gated", forget_bias=100.0, steps=20)["exponent"]
    assert isinstance(values("gated", forget_bias=0.0, steps=20, units=50)["exponent"], float)


def test_what_quadrature_cannot_resolve_is_named_with_its_interval(monkeypatch, tmp_path):
    (tmp_path / "restless.py").write_text(
        "import jax.numpy as jnp\ndef phi(x):\n    return jnp.sin(3000 * x)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    lost = find_options("mean-field")(activation="restless:phi", sigma_w=100.0).predict().values
    assert not lost["converged"]
    assert lost["error"] > 1e-6
    assert " to -" in lost["unresolved"]
    with pytest.raises(InputError, match="turns too often for the spectrum"):
        find_options("spectrum")(activation="restless:phi").predict()


def test_the_spectrum_of_a_fast_sine_is_that_of_slopes_of_all_phases(monkeypatch, tmp_path):
    """Slopes squared over their mean are 2 cos^2 of any phase: E d / (u - d) = u / sqrt(u (u - 2)) - 1."""
    (tmp_path / "fast.py").write_text("import jax.numpy as jnp\ndef phi(x):\n    return jnp.sin(10 * x)\n")
    monkeypatch.syspath_prepend(tmp_path)
    depth = 3
    found = find_options("spectrum")(activation="fast:phi", depth=depth, points=5).predict().values
    assert found["converged"]
    assert found["mass"] == pytest.approx(1, abs=1e-3)
    assert found["relative_variance"] == pytest.approx(depth * 1.5, rel=1e-9)

    def log_w(log_gap):
        u = 2 + np.exp(log_gap)
        z = u / np.sqrt(u * (u - 2)) - 1
        return depth * np.log(u) + np.log((1 + z) / z) + depth * np.log(z)

    edge = optimize.minimize_scalar(log_w, bounds=(-10, 5), method="bounded").fun
    assert found["log_upper_edge"] == pytest.approx(edge + depth * np.log(50), abs=2e-5)  # of quadrature


@pytest.mark.parametrize(
    ("width", "rms", "median"), [(2, 1.33619, 0.3065), (4, 1.5915, 0.14480), (8, 1.7535, 0.07024)]
)
def test_singular_values_are_those_of_the_width(width, rms, median):
    """Sampled: 1.3353(8), 1.5910(7) and 1.7539(7); 0.3054(9), 0.1447(4) and 0.0700(3)."""
    found = values("eigenvalues", width=width, sigma_w=2.0)
    assert found["largest_singular_value_rms"] == pytest.approx(2 * rms, rel=1e-4)
    assert found["smallest_singular_value_median"] == pytest.approx(2 * median, rel=2e-4)


def test_a_batch_norm_of_few_examples_says_what_typical_networks_show():
    """Networks of 192 relu units grew by 2.79(2) per layer; the mean, 3.08, has an infinite variance."""
    small = find_options("growth")(batch_size=4, width=192).predict()
    factors = small.table.set_index("block")["factor_per_block"]
    assert factors["phi(BatchNorm(W x)), B = 4"] == pytest.approx(3.08443, rel=1e-5)
    assert factors["phi(BatchNorm(W x)), B = 4, typical at N = 192"] == pytest.approx(2.786, rel=2e-3)
    assert "infinite variance" in small.values["batch_norm"]
    assert "x^-1.5" in small.values["batch_norm"]
    large = find_options("growth")(batch_size=8, width=192).predict()
    factors = large.table.set_index("block")["factor_per_block"]
    assert factors["phi(BatchNorm(W x)), B = 8, typical at N = 192"] == pytest.approx(1.780, rel=2e-3)
    assert "batch_norm" not in large.values


def test_a_product_is_rounded_after_every_factor():
    """The numbers were counted in a separate program, by multiplying one after another."""
    given = {"formats": ("float16", "bfloat16", "float32")}
    above = [find_options("precision")(factor=f, **given).predict().table for f in (1.002, 1.01, 1.0000001)]
    assert [t["infinite_at"][i] for i, t in enumerate(above)] == [5808, 12288, 805306368]
    below = find_options("precision")(factor=0.99, formats=("bfloat16",)).predict().table.iloc[0]
    assert below["zero_at_if_flushed"] == 7182
    assert below["zero_at"] == np.inf
    assert below["ends_at"] > 0  # it sticks
    one = find_options("precision")(factor=1.001, formats=("bfloat16",)).predict().table.iloc[0]
    assert (one["factor_held"], one["zero_at"], one["infinite_at"]) == (1, np.inf, np.inf)


def test_a_product_too_long_to_follow_is_withheld():
    prediction = find_options("precision")(factor=1 + 1e-9, formats=("float32", "float64")).predict()
    assert "float64" in prediction.values["withheld"]
    assert "float32" not in prediction.values["withheld"]
    assert np.isnan(prediction.table["infinite_at"][1])
    assert "withheld" not in find_options("precision")().predict().values


def test_a_profile_takes_a_value_per_layer_and_widths():
    siren = find_options("profile")(
        activation="sin", sigma_w=(30.0, 1.0, 1.0), q_0=0.3, widths=(2, 64, 64, 1)
    )
    prediction = siren.predict()
    assert list(prediction.table["units"]) == [64, 64, 1]
    assert prediction.table["q"][0] == pytest.approx(270)
    assert prediction.table["decades_sd"][0] > prediction.table["decades_sd"][1] > 0


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"sigma_w": (1.0, 2.0), "depth": 3}, "--depth 3, --sigma-w 2"),
        ({"widths": (10, 10), "sigma_b": (0.1, 0.1)}, "--widths 1, --sigma-b 2"),
        ({"widths": (5,)}, "--widths: got 5 alone"),
        ({"mean_0": 2.0}, "--mean-0: got 2.0"),
    ],
)
def test_layers_that_do_not_agree_are_refused(given, words):
    with pytest.raises(InputError, match=words):
        find_options("profile")(**given).predict()
