"""Figures and verdicts are made once for a run and the code that draws it."""

from dataclasses import replace
from pathlib import Path

import pytest

from signalprop.bench import pipeline
from signalprop.bench.record import verdict


@pytest.fixture
def drawn(toy, tmp_path):
    """Run the toy; says how often it was drawn so far."""
    calls = []

    def figures(result):
        calls.append(result.attrs["settings_hash"])
        return toy.figures(result)

    figures.__module__ = toy.figures.__module__
    experiment = replace(toy, figures=figures)

    def run() -> tuple[int, verdict.Outcome]:
        outcome = pipeline.run(experiment, toy.sizes["quick"], tmp_path)
        assert outcome is not None
        return len(calls), outcome

    return run


def test_a_run_is_drawn_once_and_keeps_its_verdicts(drawn) -> None:
    (first, outcome), (second, again) = drawn(), drawn()
    assert (first, second) == (1, 1)
    assert again.verdicts == verdict.read(outcome.folder / "verdicts.json")
    assert again.folder == outcome.folder


@pytest.mark.parametrize("file", ["toy.png", "toy.svg", "toy.csv", "verdicts.json"])
def test_a_missing_file_is_drawn_again(drawn, file) -> None:
    _, outcome = drawn()
    (outcome.folder / file).unlink()
    assert drawn()[0] == 2
    assert (outcome.folder / file).exists()


def test_other_code_another_run_or_another_library_draws_again(drawn, monkeypatch) -> None:
    drawn()
    monkeypatch.setattr(pipeline, "drawing_hash", lambda experiment: "changed")
    assert drawn()[0] == 2
    monkeypatch.setattr(pipeline.store, "fingerprint", lambda path: "changed")
    assert drawn()[0] == 3
    monkeypatch.setattr(pipeline, "version", lambda name: "changed")
    assert drawn()[0] == 4
    assert drawn()[0] == 4


def test_a_torn_note_is_no_note(drawn) -> None:
    _, outcome = drawn()
    note = outcome.run.with_suffix(".drawn.json")
    note.write_text(note.read_text()[:20])
    assert drawn()[0] == 2


def test_asking_for_figures_draws_whatever_was_drawn_before(drawn, toy, tmp_path) -> None:
    _, outcome = drawn()
    picture = outcome.folder / "toy.png"
    picture.write_bytes(b"")
    pipeline.draw(toy, outcome.run, Path(outcome.folder))
    assert picture.stat().st_size > 0
