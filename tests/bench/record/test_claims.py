"""The table of popular claims is complete and points to experiments that exist."""

import pytest

from signalprop.bench.experiments import EXPERIMENTS
from signalprop.bench.record.claims import CLAIMS, Claim, claim

GROUPS = {"A": 25, "B": 42, "C": 32, "D": 26}


def test_every_id_occurs_once_and_in_order() -> None:
    expected = [f"{letter}{number}" for letter, size in GROUPS.items() for number in range(1, size + 1)]
    assert [entry.id for entry in CLAIMS] == expected


@pytest.mark.parametrize("entry", CLAIMS, ids=lambda entry: entry.id)
def test_a_claim_is_one_sentence_with_a_source_and_known_experiments(entry: Claim) -> None:
    assert entry.statement.endswith(".")
    assert entry.source
    assert set(entry.experiments) <= set(EXPERIMENTS)
    assert len(set(entry.experiments)) == len(entry.experiments)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_answers_some_claim(name: str) -> None:
    assert any(name in entry.experiments for entry in CLAIMS)


def test_a_claim_is_found_by_its_id() -> None:
    assert claim("C7") in CLAIMS
    assert claim("C7").id == "C7"


def test_an_unknown_id_is_refused_with_the_range() -> None:
    with pytest.raises(ValueError, match="'E1' is unknown; write one of A1 to A25"):
        claim("E1")
