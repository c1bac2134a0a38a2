"""Xavier training: one small run to the end, what is measured of a layer, and saturation that we choose."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr

from signalprop.bench import pipeline
from signalprop.bench.engine import store
from signalprop.bench.engine.errors import InputError
from signalprop.bench.experiments import xavier_training
from signalprop.bench.experiments.xavier_training import NETWORKS
from signalprop.bench.experiments.xavier_training.measure import PHIS, log_delta
from signalprop.bench.experiments.xavier_training.verdicts import best, named_networks
from signalprop.bench.training.classification import cross_entropy
from signalprop.models.activations import activation
from signalprop.models.classifier import draw_classifier

SMALL = replace(
    xavier_training.SIZES["quick"], width=30, depth=3, batch_size=4, updates=4, records=2, probe=20,
    curve_size=20, test_size=30, seeds=2,
)  # fmt: skip
CHOSEN = replace(
    SMALL, data=("shapes", "digits"), network=tuple(NETWORKS), learning_rate=(0.1, 0.3), updates=400,
    records=4, depth=3, seeds=5,
)  # fmt: skip
ERRORS = {"sigmoid": 0.9, "tanh": 0.6, "softsign": 0.5}


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    """One small run of one program."""
    return pipeline.run(xavier_training.EXPERIMENT, SMALL, tmp_path_factory.mktemp("out"))


@pytest.fixture(scope="module")
def chosen():
    """A result in which sigmoids are driven to 0, tanh saturates in turn, and normalized is better."""
    grid = xavier_training.EXPERIMENT.grid(CHOSEN)
    labels = {k: v for k, v in grid.labels().items() if k in grid.dims}
    empty = xr.DataArray(np.zeros((*grid.static_shape, *grid.traced_shape)), labels, grid.dims)
    phi = xr.DataArray([n.phi for n in NETWORKS.values()], dims="network")
    error = empty + xr.DataArray([ERRORS[str(p)] for p in phi.values], dims="network")
    error = error - 0.1 * xr.DataArray(
        [n.scheme == "glorot_uniform" for n in NETWORKS.values()], dims="network"
    )
    error = error + 0.05 * (empty["learning_rate"] > 0.2) + 0.001 * empty["seed"]
    update = xr.DataArray([0, 100, 200, 300], dims="update")
    layer = xr.DataArray([1, 2, 3], dims="layer")
    theory = xavier_training.EXPERIMENT.theory(CHOSEN)
    shape = empty + 0 * update + 0 * layer
    low = xr.where((phi == "sigmoid") & (update > 100) & (layer == 3), 0.05, 0.5)
    histogram = empty + 0 * layer + xr.DataArray(np.eye(50)[40], dims="bin")
    measured = {
        "mean": shape + low, "deviation": shape + theory["deviation_predicted"], "saturated": shape,
        "high": shape + xr.where(update >= 100 * layer, 0.95, 0.5), "log_gradient": shape - 2,
        "log_delta": shape + xr.where(update > 0, -0.5, 0.5) * layer, "histogram": histogram,
        "test_error": error + 0 * update, "final_error": error, "final_loss": error, "diverged_at": empty,
        "loss": error + 0 * update,
    }  # fmt: skip
    return xr.Dataset(measured).merge(theory).assign_coords(grid.labels())


def test_a_small_run_answers_what_it_can(outcome):
    assert all(v.agreement in ("agrees", "no theory") for v in outcome.verdicts)
    assert {"A4", "A16", "C1", "C2", "C12"} <= {claim for v in outcome.verdicts for claim in v.claims}
    for name in ("error", "sigmoid", "symmetric", "histogram", "gradients"):
        assert (outcome.folder / f"{name}.png").stat().st_size > 10_000
    result = store.load(outcome.run)
    np.testing.assert_allclose(result["histogram"].sum("bin"), 1, atol=1e-6)


def test_the_back_propagated_gradient_is_that_of_the_activations_argument():
    x, label = jax.random.normal(jax.random.key(1), (4, 6), jnp.float64), jnp.array([0, 1, 2, 0])

    @jax.jit
    def both():
        model = draw_classifier(jax.random.key(0), 6, 5, 2, 3, activation("tanh"), dtype="float64")

        def loss(shifts):
            y = x
            for run, shift in zip(model.runs, shifts, strict=True):
                y = jnp.tanh(y @ run.layer.kernel[...][0] + run.layer.bias[...][0] + shift)
            return -jnp.sum(jax.nn.log_softmax(model.readout(y))[jnp.arange(4), label])

        delta = jnp.stack(jax.grad(loss)([jnp.zeros((4, 5)), jnp.zeros((4, 5))]))
        direct = jnp.log(jnp.mean(delta**2, axis=(1, 2))) / 2
        return direct, log_delta(model, (x, label)), cross_entropy(model, (x, label))[0]

    direct, found, loss = both()
    np.testing.assert_allclose(found, direct, rtol=1e-10)
    assert np.isfinite(loss)


def test_the_verdicts_follow_the_layers_and_the_errors(chosen):
    found = xavier_training.EXPERIMENT.verdicts(chosen)
    assert all(v.agreement in ("agrees", "no theory") for v in found)
    start = next(v for v in found if v.predicted is not None)
    assert start.measured == pytest.approx(start.predicted)
    driven = next(v for v in found if "share of training" in v.statement)
    assert driven.measured == 0.5
    assert "at all rates in 20 of 20" in driven.statement
    in_turn = next(v for v in found if "in turn" in v.statement)
    assert in_turn.measured == 1
    order = [v for v in found if v.statement.startswith("Final test errors")]
    assert [v.claim for v in order] == ["right"] * 4
    assert [v.measured for v in order] == pytest.approx([0.3, 0.1, 0.1, 0.1])


def test_the_training_loss_chooses_the_rate_and_the_test_error_has_no_part(chosen):
    better = chosen["final_error"].where(chosen["learning_rate"] < 0.2, 0.0)
    named = named_networks(chosen.assign(final_error=better))
    assert (best(named)["learning_rate"] == 0.1).all()


def test_a_diverged_run_is_an_error_of_1_and_never_chosen(chosen):
    lost = chosen.assign(diverged_at=chosen["diverged_at"] + 9 * (chosen["learning_rate"] < 0.2))
    named = named_networks(lost)
    assert (named["final_error"].sel(learning_rate=0.1) == 1).all()
    assert (best(named)["learning_rate"] == 0.3).all()


def test_what_was_not_run_is_not_judged(chosen):
    few = xavier_training.EXPERIMENT.verdicts(chosen.isel(network=[4]))
    assert {claim for v in few for claim in v.claims} == {"C1", "C2", "C12"}


def test_all_networks_are_drawn_and_tabulated(chosen):
    drawn = xavier_training.EXPERIMENT.figures(chosen)
    assert set(drawn) == {"error", "sigmoid", "symmetric", "histogram", "gradients"}
    for figure in drawn.values():
        plt.close(figure)
    table = xavier_training.EXPERIMENT.table(chosen)
    assert len(table) == 2 * 7 * 2
    assert table["counts"].sum() == 2 * 7


def test_activations_are_known_by_their_place():
    assert {n.phi for n in NETWORKS.values()} == set(PHIS)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("network", ("tan",), "did you mean tanh"),
        ("data", ("digit",), "did you mean digits"),
        ("learning_rate", (-1.0,), "rates above 0"),
        ("records", 3, "divisor of the 4 updates"),
        ("records", 1, "at least 2"),
        ("depth", 1, "at least 2"),
    ],
)
def test_settings_that_cannot_be_run_are_refused_in_one_line(field, value, message):
    with pytest.raises(InputError, match=message):
        replace(SMALL, **{field: value})
