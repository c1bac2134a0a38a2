"""The same from Python: run, load, figures, experiments."""

import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

import signalprop
from signalprop.bench.cli import commands, door
from signalprop.bench.engine import store
from signalprop.bench.engine.errors import InputError
from signalprop.bench.experiments import EXPERIMENTS, find

SCRIPT = """
import jax.numpy as jnp, numpy as np, signalprop, acts_of_door
if __name__ == "__main__":
    result = signalprop.run(
        "phase-diagram", activation=acts_of_door.phi, sigma_w=np.array([1.0, 2.0, 4.0]), sigma_b=0.1,
        width=16, depth=11, seeds=3, jobs=1, out="out",
    )
    print(sorted(result.sizes.items()), result["unit"].item(), result["activation"].item())
    print(len(result["growth"].mean("seed").to_dataframe()))
    drawn = signalprop.figures(result, width=3.4)
    drawn["plane"].savefig("plane.pdf")
    print(*drawn)
"""


def test_a_script_runs_a_function_of_its_own_and_edits_it(tmp_path) -> None:
    acts = tmp_path / "acts_of_door.py"
    acts.write_text("import jax.numpy as jnp\ndef phi(x):\n    return jnp.tanh(x)\n")
    (tmp_path / "script.py").write_text(SCRIPT)
    environment = {**os.environ, "XLA_FLAGS": ""}

    def run() -> list[str]:
        call = [sys.executable, "script.py"]
        done = subprocess.run(call, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    said = run()
    assert "verdicts agree" in said[0]
    assert "('sigma_w', 3)" in said[1]
    assert said[1].endswith("1.0 acts_of_door:phi")
    assert said[2:] == ["3", "plane growth"]
    assert (tmp_path / "plane.pdf").exists()
    acts.write_text(acts.read_text().replace("tanh(x)", "sin(x)"))
    assert "acts_of_door.py changed since an earlier run" in run()[0]
    first, second = (signalprop.load(path) for path in sorted((tmp_path / "out" / "runs").glob("*.zarr")))
    assert not np.allclose(first["growth"], second["growth"], equal_nan=True)


def test_experiments_are_listed_with_their_questions() -> None:
    assert list(signalprop.experiments()) == list(EXPERIMENTS)
    assert all(question.endswith("?") for question in signalprop.experiments().values())


@pytest.mark.parametrize(
    ("name", "settings", "words"),
    [
        ("phase-diagramm", {}, "did you mean phase-diagram"),
        ("phase-diagram", {"sigmaw": 1}, "no setting 'sigmaw'; did you mean sigma_w"),
        ("phase-diagram", {"size": "huge"}, "size: no 'huge'"),
        ("phase-diagram", {"activation": lambda x: x}, "other processes cannot import"),
        ("phase-diagram", {"activation": "tanhh"}, "did you mean tanh"),
        ("phase-diagram", {"seeds": 0}, "seeds"),
    ],
)
def test_what_cannot_be_run_is_refused_by_name(name, settings, words, tmp_path) -> None:
    with pytest.raises(ValueError, match=words):
        signalprop.run(name, out=tmp_path, **settings)
    assert not list(tmp_path.iterdir())


def test_values_take_the_form_of_the_settings() -> None:
    assert door._like((1.0,), "x", np.array([1.0, 2.0])) == (1.0, 2.0)
    assert door._like((1,), "x", 3) == (3,)
    assert door._like(("a",), "x", "b") == ("b",)
    assert door._like(1, "x", np.int64(4)) == 4
    with pytest.raises(InputError, match="a file mine"):
        door._like(("tanh",), "activation", lambda x: x)


@pytest.mark.parametrize(
    ("name", "given", "words"),
    [
        ("phase-diagram", {"sigma_w": (1, 2), "seeds": 8.0}, ["--sigma-w", "1", "2", "--seeds", "8"]),
        ("correlation", {"maps": ((1, 0), (2, 0.5))}, ["--maps", "1", "0", "2", "0.5"]),
        ("sigmoid-saturation", {"sigma_w": (0.5, 1, 2)}, ["--sigma-w", "0.5", "1", "2"]),
    ],
)
def test_both_doors_name_the_same_run(name, given, words) -> None:
    experiment = find(name)
    python = door._settings(experiment, "quick", given)
    line = commands._settings(experiment, "quick", words)
    assert store.identity(experiment, python) == store.identity(experiment, line)


def test_a_default_that_is_written_out_is_the_same_run() -> None:
    """That of `sigmoid-saturation` has whole numbers among its scales; a command line reads floats."""
    experiment, default = find("sigmoid-saturation"), find("sigmoid-saturation").sizes["quick"]
    assert any(isinstance(scale, int) for scale in default.sigma_w)
    written = commands._settings(experiment, "quick", ["--sigma-w", *map(str, default.sigma_w)])
    assert store.identity(experiment, written) == store.identity(experiment, default)


def test_an_experiment_is_given_by_itself_if_other_processes_can_import_it() -> None:
    suite = find("residual")
    assert door._place(suite) == "residual"
    with pytest.raises(InputError, match="'mine' lies where other processes cannot import it"):
        door._place(replace(suite, name="mine"))
