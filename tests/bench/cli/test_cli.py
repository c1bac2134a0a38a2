"""What a user types, and what a user reads after a mistake."""

import json
from dataclasses import replace

import pytest

from signalprop.bench import pipeline
from signalprop.bench.cli import commands
from signalprop.bench.cli.arguments import Reproduce, parse
from signalprop.bench.cli.main import main
from signalprop.bench.engine.errors import InputError
from signalprop.bench.experiments import find

SMALL = ["--width", "2", "4", "--sigma-w", "0.9", "2", "--depth", "10", "--draws", "5", "--seeds", "3"]


def said(capsys, *args: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stop:
        main(list(args))
    out = capsys.readouterr()
    return int(stop.value.code or 0), out.out, out.err


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["rnu"], ["no command 'rnu'", "did you mean run?"]),
        (["run"], ["got no experiment"]),
        (["run", "matrix-prodct"], ["no experiment 'matrix-prodct'", "matrix-product"]),
        (["run", "matrix-product", "--sigmaw", "1"], ["no option --sigmaw", "--sigma-w"]),
        (["figures", "--size", "standard"], ["no option --size; choose from --out"]),
        (
            ["run", "phase-diagram", "--activation", "./mine.py:f"],
            ["is a file: write mine:f, in the folder of"],
        ),
        (["run", "matrix-product", "--sigma-w", "abc"], ["--sigma-w: got 'abc'; write --sigma-w [FLOAT"]),
        (["run", "matrix-product", "--sigma-w", "1/0"], ["--sigma-w: got '1/0'; write --sigma-w"]),
        (["run", "matrix-product", "--draws", "2.5"], ["--draws: got '2.5'; write --draws INT"]),
        (["run", "layer-profiles", "--activation", "mine"], ["no 'mine';", "(one of your own: module:name)"]),
        (["run", "mine"], ["no experiment 'mine'", "(one of your own: module:name)"]),
        (["info", "--size", "quick"], ["info: no option --size; it has none"]),
        (["info", "quick"], ["info: got 'quick'; it takes none"]),
        (["list", "quick"], ["list: got 'quick'; write options: --out"]),
        (["clean", "--what", "runs"], ["no option --what; write its values right after the command"]),
        (["figures", "--width", "100", "--dpi", "2000"], ["200000 pixels; write at most 16384"]),
        (["run", "matrix-product", "--sigma-w", "-1"], ["--sigma-w", "-1.0", "not negative"]),
        (["run", "matrix-product", "--sigma-w", "nan"], ["--sigma-w", "nan", "finite"]),
        (["run", "matrix-product", "--depth", "0"], ["--depth", "0", "at least 1"]),
        (["run", "matrix-product", "--width"], ["--width", "no values"]),
        (["run", "matrix-product", "--seeds", "0"], ["--seeds", "0", "at least 1"]),
        (["run", "matrix-product", "--dtype", "float31"], ["--dtype", "float31", "float64"]),
        (["run", "layer-profiles", "--activation", "tahn"], ["tahn", "tanh"]),
        (["run", "layer-profiles", "--scheme", "he_nromal"], ["he_nromal", "he_normal"]),
        (["run", "layer-profiles", "--scheme", "no_where:f"], ["--scheme: 'no_where:f': cannot import"]),
        (["run", "phase-diagram", "--width", "0"], ["--width: got 0; write a whole number of at least 1"]),
        (["run", "flossing", "--learning-rate", "-1"], ["--learning-rate: got -1.0; write finite"]),
        (["run", "matrix-product", "--size", "huge"], ["--size", "huge"]),
        (["run", "matrix-product", "--device", "gpu"], ["--device", "gpu", "cpu"]),
        (["run", "matrix-product", "--shard", "3/2"], ["--shard", "3/2"]),
        (["theory", "mean-field", "--activation", "tahn"], ["--activation", "tahn", "tanh"]),
        (["theory", "mean-field", "--sigma-w", "-1"], ["--sigma-w", "-1"]),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(capsys, args, words) -> None:
    code, _, err = said(capsys, *args)
    assert code == 2
    assert err.count("\n") == 1, err
    assert all(word in err for word in words), err


def test_help_and_version_need_no_experiment(capsys) -> None:
    assert "reproduce" in said(capsys, "--help")[1]
    assert "--dry-run" in said(capsys, "run", "--help")[1]
    assert said(capsys, "--version")[1].strip()


def test_the_list_says_how_an_experiment_of_ones_own_is_run(capsys) -> None:
    assert "signalprop run mymodule:EXPERIMENT" in said(capsys, "list")[1]


def test_info_says_which_routine_finds_eigenvalues_here(capsys, monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path))
    code, out, _ = said(capsys, "info")
    assert code == 0
    assert "eigenvalues    LAPACK" in out


def test_theory_prints_the_fixed_point_for_machines(capsys) -> None:
    code, out, _ = said(capsys, "theory", "mean-field", "--activation", "erf", "--sigma-w", "2", "--json")
    assert code == 0
    values = json.loads(out)
    assert values["chi_1"] == pytest.approx(4 * (4 / 3.141592653589793) / (1 + 4 * values["q_star"]) ** 0.5)


def test_a_run_of_own_axes_leaves_figures_verdicts_and_a_table(capsys, tmp_path) -> None:
    code, out, err = said(capsys, "run", "matrix-product", *SMALL, "--out", str(tmp_path))
    assert code == 0, err
    assert "verdicts agree" in out
    (folder,) = (tmp_path / "custom").iterdir()
    assert {p.suffix for p in folder.iterdir()} == {".png", ".svg", ".csv", ".json"}
    code, out, err = said(capsys, "figures", "--out", str(tmp_path), "--format", "pdf", "--width", "3.4")
    assert code == 0, err
    assert "2 files in" in out
    assert "not all fit in this width" in out  # a plane with a bar beside another panel
    printed = [*(folder / "print").iterdir()]
    assert {p.suffix for p in printed} == {".pdf"}
    assert not [p for p in printed if b"/Type3" in p.read_bytes()], "fonts that publishers refuse"
    (run,) = (tmp_path / "runs").glob("*.zarr")
    code, out, err = said(capsys, "figures", str(run))
    assert code == 0, err
    assert "verdicts agree" in out
    code, _, err = said(capsys, "compare", str(run), str(tmp_path / "b.zarr"))
    assert (code, f"{tmp_path / 'b.zarr'} does not exist" in err) == (1, True)
    code, out, err = said(capsys, "compare", str(run), str(run), "--json")
    assert (code, json.loads(out)["identical"]) == (0, True), err


def test_the_settings_of_an_experiment_are_the_help_of_its_run(capsys) -> None:
    code, out, _ = said(capsys, "run", "phase-diagram", "--help")
    assert code == 0
    assert "Which initializations make gradients vanish" in out
    assert "--sigma-w" in out
    assert "Networks per setting. (default: 16)" in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--width", "-1"], "--width: got -1.0; write a number above 0"),
        (["--format", "jpg"], "--format"),
        (["phase-diagramm"], "did you mean phase-diagram?"),
        (["nowhere/x-1.zarr"], "nowhere/x-1.zarr does not exist"),
        (["nowhere/x-1"], "nowhere/x-1 does not exist"),
    ],
)
def test_figures_that_cannot_be_drawn_say_why(capsys, words, message) -> None:
    code, _, err = said(capsys, "figures", *words)
    assert code in (1, 2)
    assert message in err


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["a.zarr"], 2, "got a.zarr; write two stores or experiments"),
        (["phase-diagram", "phase-diagramm"], 2, "did you mean phase-diagram?"),
        (["phase-diagram", "residual", "--out", "nowhere"], 1, "does not exist; run the experiment first"),
    ],
)
def test_runs_that_cannot_be_compared_are_refused_in_one_line(capsys, words, code, message) -> None:
    found, _, err = said(capsys, "compare", *words)
    assert (found, err.count("\n")) == (code, 1)
    assert message in err


@pytest.mark.parametrize("name", ["Direct", "Sub"])
def test_a_cell_class_of_flax_is_refused_with_what_to_write(capsys, tmp_path, monkeypatch, name) -> None:
    (tmp_path / "mycells.py").write_text(
        "from flax import nnx\nDirect = nnx.LSTMCell\nclass Sub(nnx.LSTMCell): pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    words = ["run", "gradient-by-lag", "--cell", f"mycells:{name}", "--out", str(tmp_path), "--jobs", "1"]
    for more in ([], ["--dry-run"]):
        code, _, err = said(capsys, *words, *more)
        assert (code, err.count("\n")) == (2, 1)
        assert f"cell 'mycells:{name}': is a class" in err
        assert "(inputs, units, rngs=nnx.Rngs(key))" in err


def test_a_dry_run_writes_nothing(capsys, tmp_path) -> None:
    code, out, _ = said(capsys, "run", "matrix-product", *SMALL, "--dry-run", "--out", str(tmp_path / "x"))
    assert code == 0
    assert "12 points, 2 programs" in out
    assert "to measure one after the other (theory and figures come on top)" in out
    assert not (tmp_path / "x").exists()


def test_an_out_that_is_a_file_is_one_line_and_exit_code_1(capsys, tmp_path) -> None:
    (tmp_path / "file").write_text("")
    code, _, err = said(capsys, "run", "matrix-product", *SMALL, "--out", str(tmp_path / "file"))
    assert (code, err.count("\n")) == (1, 1)
    assert "cannot write" in err


def test_a_report_of_nothing_says_how_to_start(capsys, tmp_path) -> None:
    code, _, err = said(capsys, "report", "--folder", str(tmp_path))
    assert code == 1
    assert "signalprop reproduce" in err


def test_a_message_of_the_parser_becomes_one_line() -> None:
    with pytest.raises(InputError, match=r"huge.*--size"):
        parse(Reproduce, ["--size", "huge"], prog="signalprop reproduce")


def test_numbers_of_settings_may_be_fractions() -> None:
    experiment = find("matrix-product")
    chosen = commands._settings(experiment, "quick", ["--sigma-w", "1/3", "2", "--width=3"])
    assert chosen == replace(experiment.sizes["quick"], sigma_w=(1 / 3, 2.0), width=(3,))


def test_a_result_without_verdicts_says_why(toy, tmp_path, capsys) -> None:
    silent = replace(toy, verdicts=lambda result: [])
    commands._say_outcome("toy", pipeline.run(silent, toy.sizes["quick"], tmp_path))
    assert "no verdict: of 6 places of norm, 6 are outside the range in which" in capsys.readouterr().out
