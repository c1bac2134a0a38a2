"""The matrix product: log domain against float64, and a small run from sweep to verdicts."""

from dataclasses import replace
from functools import reduce
from itertools import accumulate

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from signalprop.bench import pipeline
from signalprop.bench.experiments import matrix_product
from signalprop.models.mlp import draw_layer

SMALL = replace(
    matrix_product.SIZES["quick"],
    width=(4,),
    sigma_w=(1.0, 1.077, 2.0),
    depth=(1, 5, 101),
    draws=25,
    seeds=8,
)
DEPTHS = (1, 5, 60)


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    """One small run."""
    return pipeline.run(matrix_product.EXPERIMENT, SMALL, tmp_path_factory.mktemp("out"))


@pytest.fixture(scope="module")
def measure():
    """The measurement of one 4 x 4 product in float64 as a function of the scale, and its unit factors."""
    key = jax.random.key(3)
    static = {"width": 4, "depth": DEPTHS, "draws": 1, "spectrum_width": 4, "dtype": "float64"}
    draw = jax.vmap(lambda k: draw_layer(jax.random.split(key, 1)[0], k, 4, 4, dtype="float64").kernel[...].T)
    factors = np.asarray(jax.jit(draw)(jnp.arange(1, DEPTHS[-1] + 1)))
    return jax.jit(
        lambda sigma_w: matrix_product.EXPERIMENT.measure(key, {"sigma_w": sigma_w}, static)
    ), factors


def columns(factors):
    """First columns of all prefixes of a product, in float64."""
    return list(accumulate(factors, lambda column, factor: factor @ column, initial=np.eye(4)[:, 0]))[1:]


def test_the_logarithm_follows_the_product_that_float64_can_still_hold(measure):
    program, factors = measure
    measured, direct = program(1.4), columns(1.4 * factors)
    for place, k in enumerate(DEPTHS):
        column = direct[k - 1]
        norm, entry = np.log10(np.linalg.norm(column)), np.log10(abs(column[0]))
        np.testing.assert_allclose(measured["decades"][0, place], norm, atol=1e-12)
        np.testing.assert_allclose(measured["entry_decades"][0, place], entry, atol=1e-11)


def test_a_column_in_float16_is_lost_where_its_entries_pass_the_largest_number(measure):
    program, factors = measure
    lost_at = program(4.0)["lost_at"][0]
    sizes = np.array([np.abs(column).max() for column in columns(4.0 * factors)])
    assert float(lost_at[0]) == pytest.approx(1 + int(np.argmax(sizes > 65504)), abs=1)
    assert np.isnan(lost_at[2]) == (sizes.max() < float(jnp.finfo("float32").max))


def test_the_exponents_are_those_of_the_stored_factors(measure):
    program, factors = measure
    logs = DEPTHS[-1] * np.asarray(program(1.4)["exponents"])
    product = reduce(lambda product, factor: factor @ product, 1.4 * factors)
    assert logs[0] == pytest.approx(np.log(np.linalg.norm(product, 2)), abs=1e-10)
    assert logs.sum() == pytest.approx(np.linalg.slogdet(1.4 * factors)[1].sum(), abs=1e-9)


def test_theory_and_measurement_agree_from_sweep_to_verdict(outcome):
    assert not outcome.disagreements, outcome.disagreements
    answered = {claim for verdict in outcome.verdicts for claim in verdict.claims}
    assert {"A20", "C1", "C4", "C5", "C7"} <= answered


def test_figures_and_table_are_written(outcome):
    for name in ("example", "critical", "exponents"):
        assert (outcome.folder / f"{name}.png").stat().st_size > 10_000
    assert "nan" not in (outcome.folder / "matrix-product.csv").read_text()


@pytest.mark.parametrize(("field", "value"), [("depth", (5, 1)), ("sigma_w", (0.0,)), ("width", ())])
def test_settings_that_cannot_be_run_are_refused_by_name(field, value):
    with pytest.raises(ValueError, match=field):
        replace(SMALL, **{field: value})
