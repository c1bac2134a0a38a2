"""The matrix product: log domain against float64, and a small run from sweep to verdicts."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from signalprop.analysis import products
from signalprop.bench import pipeline
from signalprop.bench.experiments import matrix_product
from signalprop.models.mlp import draw_layer

SMALL = replace(
    matrix_product.SIZES["quick"],
    width=(2, 4),
    sigma_w=(1.0, 1.077, 2.0),
    depth=(1, 5, 101),
    draws=25,
    spectrum_width=2,
    seeds=8,
)


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    """One small run."""
    return pipeline.run(matrix_product.EXPERIMENT, SMALL, tmp_path_factory.mktemp("out"))


def drawn_factors(key, width, depth):
    draw = jax.vmap(lambda k: draw_layer(key, k, width, width, dtype="float64").kernel[...].T)
    return list(jax.jit(draw)(jnp.arange(1, depth + 1)))


def test_the_logarithm_follows_the_product_that_float64_can_still_hold():
    key, sigma_w = jax.random.key(3), 1.4
    measured = jax.jit(lambda s: matrix_product.follow(key, s, 4, (1, 5, 60), "float64"))(sigma_w)
    product, direct = np.eye(4), {}
    for k, factor in enumerate(drawn_factors(key, 4, 60), start=1):
        direct[k] = product = sigma_w * np.asarray(factor) @ product
    for place, k in enumerate((1, 5, 60)):
        column = direct[k][:, 0]
        np.testing.assert_allclose(measured["decades"][place], np.log10(np.linalg.norm(column)), atol=1e-12)
        np.testing.assert_allclose(measured["entry_decades"][place], np.log10(abs(column[0])), atol=1e-11)


def test_a_column_in_float16_is_lost_where_its_entries_pass_the_largest_number():
    key = jax.random.key(0)
    measured = jax.jit(lambda s: matrix_product.follow(key, s, 4, (1, 40), "float64"))(4.0)
    column, sizes = np.eye(4)[:, 0], []
    for factor in drawn_factors(key, 4, 40):
        column = 4.0 * np.asarray(factor) @ column
        sizes.append(np.abs(column).max())
    predicted = 1 + int(np.argmax(np.array(sizes) > 65504))
    assert float(measured["lost_at"][0]) == pytest.approx(predicted, abs=1)
    assert np.isnan(measured["lost_at"][2])


def test_the_exponents_are_those_of_the_stored_factors():
    key = jax.random.key(1)
    streamed = jax.jit(lambda key: matrix_product.unit_exponents(key, 4, 30, "float64"))(key)
    stored = products.log_singular_values(jnp.stack(drawn_factors(key, 4, 30))) / 30
    np.testing.assert_allclose(streamed, stored, atol=1e-10)


def test_theory_and_measurement_agree_from_sweep_to_verdict(outcome):
    assert not outcome.disagreements, outcome.disagreements
    answered = {claim for verdict in outcome.verdicts for claim in verdict.claims}
    assert {"A20", "C4", "C5", "C7"} <= answered


def test_figures_and_table_are_written(outcome):
    for name in ("example", "critical", "exponents"):
        assert (outcome.folder / f"{name}.png").stat().st_size > 10_000
    assert "nan" not in (outcome.folder / "matrix-product.csv").read_text()


@pytest.mark.parametrize(("field", "value"), [("depth", (5, 1)), ("sigma_w", (0.0,)), ("width", ())])
def test_settings_that_cannot_be_run_are_refused_by_name(field, value):
    with pytest.raises(ValueError, match=field):
        replace(SMALL, **{field: value})
