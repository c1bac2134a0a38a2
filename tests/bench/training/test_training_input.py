"""Training experiments at the command line: bad input in one line, and runs that are cut off."""

import gzip
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pandas as pd
import pytest
import xarray as xr

from signalprop.bench.cli.main import main
from signalprop.bench.engine import store, sweep
from signalprop.bench.engine.grid import Grid
from signalprop.bench.experiment import Experiment, Variable
from signalprop.bench.training.trainer import train
from signalprop.models.mlp import Layer

NAMES = ("pretraining", "learning-rate-or-depth")


@pytest.fixture
def said(capsys):
    """Exit code and standard error of a command."""

    def call(*args):
        with pytest.raises(SystemExit) as stop:
            main(list(args))
        return int(stop.value.code or 0), capsys.readouterr().err

    return call


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--learning-rate", "0"], ["--learning-rate", "0.0", "rates above 0"]),
        (["--learning-rate", "0.1", "-1"], ["--learning-rate", "-1.0", "rates above 0"]),
        (["--learning-rate", "nan"], ["--learning-rate", "nan", "rates above 0"]),
        (["--batch-size", "0"], ["--batch-size", "0", "at least 1"]),
        (["--data", "diggits"], ["--data", "diggits", "did you mean digits?"]),
    ],
)
def test_a_rate_batch_or_data_set_that_cannot_be_is_one_line_and_exit_code_2(said, name, args, words):
    code, error = said("run", name, *args)
    assert (code, error.count("\n")) == (2, 1), error
    assert all(word in error for word in words), error


def write_npz(folder):
    """A data set with a label of 12."""
    x, label = np.zeros((4, 6), np.uint8), np.array([0, 1, 12, 3])
    np.savez(folder / "fashion_mnist.npz", x_train=x, y_train=label, x_test=x, y_test=label)
    return "fashion_mnist", ["label 12", "write labels 0 to 9"]


def write_truncated(folder):
    """The original file, gzipped, cut in the middle."""
    images = bytes((0, 0, 8, 3, 0, 0, 0, 9, 0, 0, 0, 4, 0, 0, 0, 4)) + bytes(range(144))
    (folder / "mnist").mkdir()
    whole = gzip.compress(images)
    (folder / "mnist" / "train-images-idx3-ubyte.gz").write_bytes(whole[: len(whole) // 2])
    return "mnist", ["train-images-idx3-ubyte.gz", "not a whole gzip file"]


def write_other_format(folder):
    """A picture in place of the original file."""
    (folder / "mnist").mkdir()
    (folder / "mnist" / "train-images-idx3-ubyte").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(20))
    return "mnist", ["begins with 89504e47", "not an IDX file"]


@pytest.mark.parametrize("write", [write_npz, write_truncated, write_other_format])
def test_a_damaged_data_file_or_label_is_one_line_and_exit_code_2(said, tmp_path, monkeypatch, write):
    monkeypatch.setenv("SIGNALPROP_DATA", str(tmp_path))
    name, words = write(tmp_path)
    code, error = said("run", "pretraining", "--data", name, "--out", str(tmp_path / "out"))
    assert (code, error.count("\n")) == (2, 1), error
    assert all(word in error for word in words), error


def measure(key, point, static):
    """Train a linear layer."""

    def draw(key):
        x = jax.random.normal(key, (4, 3), jnp.float32)
        return x, x.sum(1, keepdims=True)

    def loss(model, batch):
        return jnp.mean((model(batch[0]) - batch[1]) ** 2)

    model = Layer(jax.random.normal(key, (3, 1), jnp.float32), jnp.zeros(1, jnp.float32))
    return {"loss": train(key, model, loss, draw, optax.sgd(point["learning_rate"]), 6, 3).record["loss"]}


@dataclass(frozen=True)
class Settings:
    """Settings of the toy."""

    seeds: int = 4
    seed: int = 0
    dtype: str = "float32"


TOY = Experiment(
    name="toy-training",
    question="Does a run that is cut off go on to the same numbers?",
    sizes={"quick": Settings()},
    grid=lambda s: Grid(
        {"batch": (4,)}, {"learning_rate": (0.01, 0.1, 1e9)}, s.seeds, coords={"update": (1, 3, 5)}
    ),
    measure=measure,
    variables={"loss": Variable(("update",), "loss")},
    theory=lambda settings: xr.Dataset(),
    verdicts=lambda result: [],
    figures=lambda result: {},
    table=lambda result: pd.DataFrame(),
)


def test_training_that_is_cut_off_goes_on_to_the_same_bits_diverged_runs_included(tmp_path):
    """Cut off as by a kill: nothing is tidied up after the first chunks. A real one is in ``test_cli``."""
    whole = store.load(sweep.run(TOY, Settings(), tmp_path / "whole.zarr", chunk=(1, 3)))
    assert not np.isfinite(whole["loss"].sel(learning_rate=1e9)).all()

    def cut(case, done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sweep.run(TOY, Settings(), tmp_path / "cut.zarr", chunk=(1, 3), report=cut)
    again = store.load(sweep.run(TOY, Settings(), tmp_path / "cut.zarr"))
    np.testing.assert_array_equal(again["loss"], whole["loss"])
