"""A user's network: the cause that was made is the cause that is named, and its twin is left in peace."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import pytest
from flax import nnx

import signalprop
from signalprop.analysis.diagnosis.rule import CAUSES, THRESHOLDS
from signalprop.bench.cli.main import main
from signalprop.bench.diagnosis.diagnose import DiagnoseError, diagnose
from signalprop.bench.diagnosis.report import Report

EXAMPLES, WIDTH = 32, 48
X = jax.random.normal(jax.random.key(1), (EXAMPLES, WIDTH), jnp.float32)
LABELS = jax.random.randint(jax.random.key(2), (EXAMPLES,), 0, 10)
SEQUENCES = jax.random.normal(jax.random.key(3), (8, 60, 6), jnp.float32)


def cross_entropy(model: Callable[..., Any], batch: Any) -> Any:
    logits = model(batch[0]).astype(jnp.float32)
    return -jnp.take_along_axis(nnx.log_softmax(logits), batch[1][:, None], 1).mean()


class Plain(nnx.Module):
    """A plain network; ``between`` acts on the signal behind each activation."""

    def __init__(
        self, depth: int, phi: Any, sigma_w: float, between: Any = lambda k, x: x, dtype: Any = jnp.float32
    ) -> None:
        rngs, init = nnx.Rngs(0), nnx.initializers.normal(sigma_w / WIDTH**0.5)
        self.layers = nnx.List(
            [
                nnx.Linear(WIDTH, WIDTH, kernel_init=init, param_dtype=dtype, dtype=dtype, rngs=rngs)
                for _ in range(depth)
            ]
        )
        self.head = nnx.Linear(WIDTH, 10, param_dtype=dtype, dtype=dtype, rngs=rngs)
        self.phi, self.between = phi, between

    def __call__(self, x):
        for k, layer in enumerate(self.layers):
            x = self.between(k, self.phi(layer(x)))
        return self.head(x)


def times(model: Plain, layer: int, factor: float) -> Plain:
    model.layers[layer].kernel[...] *= factor
    return model


def with_bias(model: Plain, layers: range, bias: float) -> Plain:
    for k in layers:
        model.layers[k].bias[...] = jnp.full((WIDTH,), bias, jnp.float32)
    return model


class Recurrent(nnx.Module):
    def __init__(self, cell: Any) -> None:
        self.rnn, self.head = nnx.RNN(cell), nnx.Linear(24, 10, rngs=nnx.Rngs(1))

    def __call__(self, x):
        return self.head(self.rnn(x)[:, -1])


def lstm(forget: float) -> Recurrent:
    cell = nnx.LSTMCell(6, 24, rngs=nnx.Rngs(0))
    cell.hf.bias[...] = jnp.full((24,), forget, jnp.float32)
    return Recurrent(cell)


def simple(scale: float, phi: Any = nnx.tanh) -> Recurrent:
    cell = nnx.SimpleCell(6, 24, activation_fn=phi, rngs=nnx.Rngs(0))
    cell.dense_h.kernel[...] *= scale
    return Recurrent(cell)


def stopped(k: int, x: Any) -> Any:
    return jax.lax.stop_gradient(x) if k == 3 else x


RELU = 2**0.5
IN_TIME = SEQUENCES, LABELS[:8]
CASES: dict[str, tuple[str, Callable[[], Any], Any]] = {
    "sigmoid at 1": ("activation", lambda: Plain(20, nnx.sigmoid, 1.0), (X, LABELS)),
    "tanh at 0.5": ("weights too small", lambda: Plain(20, nnx.tanh, 0.5), (X, LABELS)),
    "tanh at 3": ("weights too large", lambda: Plain(20, nnx.tanh, 3.0), (X, LABELS)),
    "tanh at 1": ("fine", lambda: Plain(20, nnx.tanh, 1.0), (X, LABELS)),
    "relu at 1": ("weights too small", lambda: Plain(20, nnx.relu, 1.0), (X, LABELS)),
    "relu at sqrt 2": ("fine", lambda: Plain(20, nnx.relu, RELU), (X, LABELS)),
    "a weak layer": ("one layer", lambda: times(Plain(20, nnx.relu, RELU), 5, 1e-4), (X, LABELS)),
    "silent units": ("dead", lambda: with_bias(Plain(20, nnx.relu, RELU), range(4, 5), -6.0), (X, LABELS)),
    "zeros": ("symmetric", lambda: Plain(20, nnx.tanh, 0.0), (X, LABELS)),
    "a stopped gradient": ("disconnected", lambda: Plain(20, nnx.relu, RELU, stopped), (X, LABELS)),
    "raw inputs": ("input", lambda: Plain(20, nnx.tanh, 1.0), (100 * X, LABELS)),
    "a NaN": ("not finite", lambda: times(Plain(20, nnx.relu, RELU), 3, np.nan), (X, LABELS)),
    "a shut forget gate": ("gates", lambda: lstm(-2.0), IN_TIME),
    "an open forget gate": ("fine", lambda: lstm(3.0), IN_TIME),
    "weak recurrence": ("recurrent too small", lambda: simple(0.3), IN_TIME),
    "strong recurrence": ("recurrent too large", lambda: simple(2.0, nnx.relu), IN_TIME),
}


def loss_of(batch: Any) -> Any:
    return cross_entropy


@pytest.mark.parametrize("name", CASES)
def test_the_cause_that_was_made_is_named(name: str) -> None:
    cause, make, batch = CASES[name]
    report = diagnose(make(), batch, cross_entropy)
    assert report.cause == cause, report
    assert report.cause in CAUSES
    assert report.verdict.endswith(".")
    assert report.verdict in str(report)


@pytest.mark.parametrize(("sigma_w", "cause"), [(0.5, "weights too small"), (1.0, "fine")])
def test_layers_in_a_scan_are_layers(sigma_w: float, cause: str) -> None:
    weights = jax.random.normal(jax.random.key(4), (30, WIDTH, WIDTH), jnp.float32) * sigma_w / WIDTH**0.5

    def network(params: Any, x: Any) -> Any:
        return jax.lax.scan(lambda h, w: (jnp.tanh(h @ w), None), x, params["w"])[0]

    report = diagnose((network, {"w": weights}), X, lambda m, b: jnp.mean(m(b) ** 2))
    assert report.cause == cause, report
    assert list(report.table.index[[0, -1]]) == ["w[0]", "w[29]"]
    gap = (report.table["gain"] - report.table["gain_predicted"]) / report.table["gain_deviation"]
    assert gap.abs()[:-1].max() < 4


def test_the_square_of_a_loss_is_no_activation() -> None:
    report = diagnose(Plain(3, nnx.relu, RELU), X, lambda m, b: jnp.mean(m(b) ** 2))
    assert list(report.table["activation"]) == ["relu", "relu", "relu", ""]


def test_a_mask_of_dropout_belongs_to_no_activation() -> None:
    layers = nnx.Linear(WIDTH, 32, rngs=nnx.Rngs(0)), nnx.Linear(32, 10, rngs=nnx.Rngs(1))
    model = nnx.Sequential(layers[0], nnx.Dropout(0.1, rngs=nnx.Rngs(2)), nnx.relu, layers[1])
    assert diagnose(model, (X, LABELS), cross_entropy).cause == "fine"


def test_targets_of_a_loss_hide_nothing() -> None:
    model = Plain(20, nnx.tanh, 0.5)
    target = jax.random.normal(jax.random.key(5), (EXAMPLES, 10), jnp.float32)
    report = diagnose(model, (X, target), lambda m, b: jnp.mean((m(b[0]) - b[1]) ** 2))
    assert report.cause == "weights too small", report


def test_half_precision_is_told_from_a_weak_gradient() -> None:
    def faint(model: Any, batch: Any) -> Any:
        return 1e-6 * cross_entropy(model, batch)

    half = diagnose(Plain(6, nnx.relu, RELU, dtype=jnp.float16), (X.astype(jnp.float16), LABELS), faint)
    assert (half.cause, half.dtype) == ("underflow", "float16")
    assert half.finding.number > THRESHOLDS["lost entries"].value
    assert diagnose(Plain(6, nnx.relu, RELU), (X, LABELS), faint).cause == "fine"


@pytest.fixture(scope="module")
def sigmoid() -> Report:
    """Twenty layers of sigmoid that lose their gradient."""
    return diagnose(Plain(20, nnx.sigmoid, 1.0), (X, LABELS), cross_entropy)


def test_every_layer_is_within_four_deviations_of_mean_field(sigmoid: Report) -> None:
    gap = (sigmoid.table["gain"] - sigmoid.table["gain_predicted"]) / sigmoid.table["gain_deviation"]
    assert np.isfinite(gap).sum() == 20  # all but the head
    assert gap.abs().max() < 4


def test_the_exact_gradient_is_that_of_float64(sigmoid: Report) -> None:
    model = Plain(20, nnx.sigmoid, 1.0)
    parts = nnx.split(model, nnx.Param, ...)
    wide = jax.tree.map(lambda x: x.astype(jnp.float64), parts[1])
    batch = X.astype(jnp.float64), LABELS
    grads = jax.jit(jax.grad(lambda p: cross_entropy(nnx.merge(parts[0], p, *parts[2:]), batch)))(wide)
    by_name = {p.name: p.log_gradient for p in sigmoid.measured.parameters}
    for k in (0, 10, 19):
        exact = np.log(np.linalg.norm(np.asarray(grads["layers"][k]["kernel"][...])))
        assert by_name[f"layers/{k}/kernel"] == pytest.approx(exact, abs=1e-3)


def test_json_holds_what_the_report_does(sigmoid: Report, tmp_path: Path) -> None:
    sigmoid.to_json(tmp_path / "report.json")
    text = (tmp_path / "report.json").read_text()
    content = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert next(iter(content)) == "schema"
    assert content["cause"] == "activation"
    assert len(content["layers"]) == len(sigmoid.table) == 21


def test_the_figure_names_what_it_shows(sigmoid: Report) -> None:
    figure = sigmoid.figure()
    words = {text.get_text() for axes in figure.axes for text in axes.get_legend().get_texts()}
    assert {"gradient by the layer, measured", "mean field and two deviations"} <= words
    plt.close(figure)


@pytest.mark.parametrize(
    ("model", "batch", "loss", "said"),
    [
        (lambda x: x, X, None, "without its parameters"),
        (Plain(2, nnx.relu, 1.0), X[:, :7], None, "cannot be called with the batch"),
        (Plain(2, nnx.relu, 1.0), X, lambda m, b: m(b), r"returned float32\[32,10\]; return one number"),
        ((lambda p, x: x, {}), X, None, "no floating-point parameters"),
    ],
)
def test_what_cannot_be_diagnosed_is_one_line(model: Any, batch: Any, loss: Any, said: str) -> None:
    with pytest.raises(DiagnoseError, match=said) as error:
        diagnose(model, batch, loss)
    assert "\n" not in str(error.value)


NETWORK = """
import jax, jax.numpy as jnp

def make(phi=jnp.tanh):
    key = jax.random.key(0)
    params = list(jax.random.normal(key, (12, 16, 16), jnp.float32) / 8)
    def network(params, x):
        for w in params:
            x = phi(x @ w)
        return x
    return (network, params), jax.random.normal(key, (8, 16), jnp.float32)

def broken():
    return 1 / 0
"""


def test_the_command_line_says_the_cause_and_exits_by_it(tmp_path, monkeypatch, capsys) -> None:
    (tmp_path / "mynet.py").write_text(NETWORK)
    command = [sys.executable, "-m", "signalprop", "diagnose", "mynet:make", "--figure", "out.png"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    assert done.stdout.startswith("BROKEN (weights too small): the gradient loses")
    assert (tmp_path / "out.png").stat().st_size > 10_000
    monkeypatch.chdir(tmp_path)
    for words, said in {
        ("mynet",): "write package.module:factory",
        ("mynet:broken",): "mynet:broken fails: ZeroDivisionError",
        ("mynet:mak",): "did you mean 'make'?",
        ("mynet:make", "--data", "none.npz"): "cannot read none.npz",
    }.items():
        with pytest.raises(SystemExit) as error:
            main(["diagnose", *words])
        assert error.value.code == 2
        err = capsys.readouterr().err
        assert said in err
        assert err.count("\n") == 1


def test_the_door_is_where_it_is_looked_for() -> None:
    assert signalprop.diagnose is diagnose
    assert signalprop.DiagnoseError is DiagnoseError
    with pytest.raises(AttributeError, match="nothing"):
        signalprop.nothing  # noqa: B018
