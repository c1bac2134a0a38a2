"""The experiment learned-gates: networks that were not trained, from sweep to verdicts."""

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

from signalprop.bench import pipeline
from signalprop.bench.engine import store
from signalprop.bench.experiments import learned_gates
from signalprop.bench.experiments.learned_gates.measure import OFFSETS, PARTS, STAGES
from signalprop.bench.measure.memory import TERMS
from signalprop.bench.training.trainer import Trained

SMALL = replace(
    learned_gates.SIZES["quick"],
    forget_bias=(0.0, 3.0),
    length=8,
    units=4,
    updates=4,
    records=2,
    batch_size=4,
    seeds=3,
)


def untrained(key, model, loss, draw, optimizer, num_steps, num_records, **options):
    """In the place of training, which has tests of its own and takes long to compile."""
    return Trained(
        model, {"loss": jnp.full(num_records, 0.2, "float32")}, jnp.zeros((), int), jnp.zeros((), int)
    )


def test_untrained_networks_are_looked_at_and_judged(tmp_path, monkeypatch):
    monkeypatch.setattr("signalprop.bench.experiments.learned_gates.measure.train", untrained)
    outcome = pipeline.run(learned_gates.EXPERIMENT, SMALL, tmp_path)
    assert not outcome.disagreements
    answered = {claim for verdict in outcome.verdicts for claim in verdict.claims}
    assert answered >= {"D18", "D20", "D22"}
    for name in ("gates", "training"):
        assert (outcome.folder / f"{name}.png").stat().st_size > 10_000
    result = store.load(outcome.run).isel(cell=0)
    np.testing.assert_array_equal(result["terms"].isel(stage=0), result["terms"].isel(stage=1))
    # The bias of the gate is seen in log f, and a gate of bias 3 lets less of the gradient vanish.
    log_f = result["log_f"].isel(stage=0).mean(("seed", "offset"))
    np.testing.assert_allclose(log_f, np.log(1 / (1 + np.exp([0.0, -3.0]))), atol=0.3)
    assert np.all(result["exponent"].sel(forget_bias=3.0) > result["exponent"].sel(forget_bias=0.0))


def trained_gates(seeds=12):
    """A result of networks whose gradient is kept between the marks by biases that share their draws."""
    rng, biases = np.random.default_rng(0), [3.0, -1.0]
    shared = 0.01 * rng.normal(size=(seeds, 1))
    between = np.zeros((seeds, 2, 2, 2)) - 0.1
    between[:, :, 1, 1] = shared
    offsets = np.array(OFFSETS)
    at = ("cell", "seed", "forget_bias")
    return xr.Dataset(
        {
            "rates": ((*at, "stage", "part"), between[None]),
            "solved": (at, np.ones((1, seeds, 2))),
            "log_f": ((*at, "stage", "offset"), np.zeros((1, seeds, 2, 2, 1)) + 0.1 * (offsets > 0)),
            "terms": ((*at, "stage", "term"), np.ones((1, seeds, 2, 2, 5))),
            "curve": ((*at, "update"), np.zeros((1, seeds, 2, 3))),
            "chance_predicted": 0.2,
        },
        coords={
            "cell": ["lstm"],
            "forget_bias": biases,
            "stage": list(STAGES),
            "part": list(PARTS),
            "offset": offsets,
            "term": list(TERMS),
            "update": [1.0, 2.0, 3.0],
        },
    )


def test_biases_that_share_their_draws_count_as_one_network():
    kept, opened, *_ = learned_gates.EXPERIMENT.verdicts(trained_gates())
    rates = trained_gates()["rates"].isel(cell=0, forget_bias=0, stage=1)
    apart = rates.sel(part="between") - rates.sel(part="before")
    assert (kept.claim, opened.claim) == ("right after repair",) * 2
    assert kept.measured == pytest.approx(float(apart.mean()))
    assert kept.uncertainty == pytest.approx(float(apart.std(ddof=1)) / 12**0.5)
    assert opened.measured == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("field", "value"), [("forget_bias", ()), ("length", 3), ("records", 3), ("units", 0)]
)
def test_settings_that_cannot_be_run_are_refused_by_name(field, value):
    with pytest.raises(ValueError, match=field):
        replace(SMALL, **{field: value})
