"""Finding an experiment: what is said of one that is not there, or not whole."""

import pytest

from signalprop.bench import experiments
from signalprop.bench.engine.errors import InputError
from signalprop.bench.experiments import QUESTIONS, find


@pytest.mark.parametrize(
    ("name", "words"),
    [("phase-diagrm", "did you mean phase-diagram?"), ("", "choose from"), ("__init__", "choose from")],
)
def test_a_misspelt_name_gets_the_nearest_one(name, words) -> None:
    with pytest.raises(InputError, match="no experiment") as error:
        find(name)
    assert words in str(error.value)


def test_a_folder_outside_the_list_is_to_be_added_to_it(monkeypatch) -> None:
    others = {name: question for name, question in QUESTIONS.items() if name != "residual"}
    monkeypatch.setattr(experiments, "QUESTIONS", others)
    with pytest.raises(InputError, match=r"'residual'; its folder is there: add it to CHAPTERS"):
        find("residual")


def test_a_name_in_the_list_without_its_files_says_which_to_write(monkeypatch) -> None:
    monkeypatch.setattr(experiments, "QUESTIONS", QUESTIONS | {"phase-digram": "Where?"})
    with pytest.raises(InputError, match=r"write __init__\.py, measure\.py.* in .*phase_digram"):
        find("phase-digram")
