"""The experiment from end to end with its cheapest cell; every verdict and figure on made-up measurements."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from signalprop.bench import pipeline
from signalprop.bench.experiments import gradient_by_lag
from signalprop.bench.experiments.gradient_by_lag import EXPERIMENT, SIZES
from signalprop.bench.experiments.gradient_by_lag.measure import SUMMED
from signalprop.bench.record import figures

SMALL = replace(SIZES["quick"], cell=("irnn",), gain=(1.0,), forget_bias=(0.0,), units=8, lags=40, seeds=3)
ALL = replace(
    SIZES["quick"],
    cell=("tanh_orthogonal", "relu", "linear", "irnn", "lstm_1997", "gru"),
    gain=(1.0, 2.0),
    forget_bias=(0.0, 1.0),
)
CLAIMS = {"D5", "D8", "D12", "D13", "D22"}


def made_up(settings):
    """A result whose gradients follow the predictions exactly, or grow at 0.1 where there are none."""
    result, labels = EXPERIMENT.theory(settings), gradient_by_lag.EXPERIMENT.grid(settings).labels()
    rate = result["rate_predicted"].fillna(0.1)
    seed = xr.DataArray(np.linspace(-1e-6, 1e-6, settings.seeds), dims="seed")
    lag = xr.DataArray(np.arange(settings.lags + 1.0), dims="lag")
    flat = (rate + 0 * seed).transpose("cell", "seed", "setting")
    values = {
        "log_norm": flat * lag + seed * (lag > 0),
        "live": result["live_predicted"] + 0 * flat,
        "heat": xr.DataArray(np.zeros(4), dims="unit")
        * xr.DataArray(labels["shown_lag"][1], dims="shown_lag")
        + flat,
        "exponent": flat,
        "log_kept": flat,
        "lost_at": (0 * flat + 300).astype(int),
        "sum_error": 0 * flat,
        "radius": np.exp(flat),
        "largest_singular": 2 * np.exp(flat),
        "largest_slope": 1 + 0 * flat,
    }
    return xr.Dataset(values).merge(result).assign_coords({k: v for k, v in labels.items() if k != "unit"})


def test_a_run_of_the_irnn_follows_the_arcsine_law_and_draws_its_figures(tmp_path):
    outcome = pipeline.run(EXPERIMENT, SMALL, tmp_path)
    assert {v.agreement for v in outcome.verdicts} == {"agrees"}
    assert {c for v in outcome.verdicts for c in v.claims} == {"D8", "D12", "D13"}
    names = {path.name for path in outcome.folder.iterdir()}
    assert names >= {f"{figure}.png" for figure in ("profiles", "rates", "units")}
    shown = pd.read_csv(outcome.folder / "gradient-by-lag.csv")
    assert shown["live"].is_monotonic_decreasing


def test_measurements_that_follow_theory_agree_in_every_verdict_and_others_do_not():
    result = made_up(ALL)
    found = EXPERIMENT.verdicts(result)
    assert {v.agreement for v in found} == {"agrees", "no theory"}
    assert {c for v in found for c in v.claims} == CLAIMS
    steeper = result.assign(log_norm=result["log_norm"] + result["lag"])
    wrong = [v for v in EXPERIMENT.verdicts(steeper) if v.agreement == "disagrees"]
    assert {c for v in wrong for c in v.claims} == CLAIMS
    with figures.style():
        assert set(EXPERIMENT.figures(result)) == {"profiles", "rates", "units"}


def test_weight_gradients_are_summed_only_where_the_claim_is_judged():
    result = made_up(replace(ALL, cell=("relu",))).assign_coords(cell=np.array(SUMMED, object))
    assert "D4" in {c for v in EXPERIMENT.verdicts(result) for c in v.claims}


def test_the_loss_of_states_is_reported_only_where_all_networks_lose_them():
    result = made_up(replace(ALL, cell=("relu",)))
    kept = result.assign(lost_at=result["lost_at"].where(result["seed"] > 0, 0))
    lost, not_lost = ({v.agreement for v in EXPERIMENT.verdicts(at)} for at in (result, kept))
    assert lost - not_lost == {"no theory"}


def test_settings_that_cannot_be_run_are_refused():
    with pytest.raises(ValueError, match=r"forget_bias: got .*; write 5 numbers, as of gain"):
        replace(SIZES["quick"], forget_bias=(0.0,))
    with pytest.raises(ValueError, match=r"gain: got 0, .*; write numbers above 0"):
        replace(SIZES["quick"], gain=(0.0,), forget_bias=(0.0,))
    with pytest.raises(ValueError, match="cell: no 'lstn'; did you mean lstm"):
        replace(SIZES["quick"], cell=("lstn",))
