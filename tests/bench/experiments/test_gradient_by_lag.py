"""The experiment from end to end, at a size below quick."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from signalprop.bench import pipeline
from signalprop.bench.experiments.gradient_by_lag import EXPERIMENT, SIZES, Settings

SMALL = Settings(
    cell=("tanh", "lstm_1997"), gain=(0.5, 1.0), forget_bias=(0.0, 1.0), units=8, lags=40, seeds=4
)


def test_a_small_run_judges_its_claims_and_draws_its_figures(tmp_path):
    outcome = pipeline.run(EXPERIMENT, SMALL, tmp_path)
    assert {v.agreement for v in outcome.verdicts} == {"agrees"}
    assert {c for v in outcome.verdicts for c in v.claims} == {"D4", "D5", "D8", "D12", "D22"}
    names = {path.name for path in outcome.folder.iterdir()}
    assert names >= {f"{figure}.png" for figure in ("profiles", "rates", "bounds", "units")}
    shown = pd.read_csv(outcome.folder / "gradient-by-lag.csv")
    carousel = shown.query("cell == 'lstm_1997' and lag >= 1")
    assert len(carousel) > 1
    assert np.ptp(carousel["decades"]) == 0


def test_settings_that_cannot_be_run_are_refused():
    with pytest.raises(ValueError, match=r"forget_bias: got .*; write 5 numbers, as of gain"):
        dataclasses.replace(SIZES["quick"], forget_bias=(0.0,))
    with pytest.raises(ValueError, match="cell: no 'lstn'; did you mean lstm"):
        dataclasses.replace(SIZES["quick"], cell=("lstn",))
