"""The committed record is whole, and the table of claims says what it answers."""

import math
from pathlib import Path

import pytest

from signalprop.bench.experiments import EXPERIMENTS
from signalprop.bench.record import verdict
from signalprop.bench.record.claims import CLAIMS

RESULTS = Path(__file__).parents[3] / "results"
PATHS = {name: RESULTS / name / "verdicts.json" for name in EXPERIMENTS}
VERDICTS = {name: verdict.read(path) if path.exists() else [] for name, path in PATHS.items()}


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_has_figures_a_table_and_verdicts(name) -> None:
    assert (RESULTS / name).is_dir(), f"signalprop run {name} --size standard, look at it, and commit it"
    files = {path.suffix for path in (RESULTS / name).iterdir()}
    assert files == {".png", ".svg", ".csv", ".json"}
    assert VERDICTS[name]


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_agreement_follows_from_the_numbers_of_the_verdict(name) -> None:
    for v in VERDICTS[name]:
        if v.agreement == "no theory":
            assert v.predicted is None
            continue
        difference = 0.0 if v.measured == v.predicted else abs(v.measured - v.predicted)
        rounding = 1e-5 * max(abs(v.measured), abs(v.predicted)) if math.isfinite(v.measured) else 0.0
        assert (difference <= v.tolerance + rounding) == (v.agreement == "agrees"), v


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.id)
def test_a_claim_names_the_experiments_whose_verdicts_answer_it(claim) -> None:
    answering = tuple(n for n in EXPERIMENTS if any(claim.id in v.claims for v in VERDICTS[n]))
    assert claim.experiments == answering


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.id)
def test_a_claim_has_a_verdict_or_a_reason_why_none_can_be_given(claim) -> None:
    assert bool(claim.experiments) != bool(claim.aside)
    statement = claim.statement.replace("|", r"\|")
    assert f"\n| {claim.id} | {statement} |" in (RESULTS / "README.md").read_text()


def test_the_table_of_claims_has_a_row_for_every_verdict() -> None:
    text = (RESULTS / "README.md").read_text()
    for name, verdicts in VERDICTS.items():
        assert f"### {name}" in text
        for v in verdicts:
            assert v.statement.replace("|", r"\|") in text
