"""Models of many shapes as functions of their parameters: gradients piece by piece are those of JAX."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx

from signalprop.analysis.program.chunks import chunks
from signalprop.analysis.program.flat import is_float, trace
from signalprop.analysis.program.gradients import forward, gradient
from signalprop.models.adapters import adapted

EXAMPLES, INPUTS, UNITS = 8, 12, 16
FLAT = jax.random.normal(jax.random.key(1), (EXAMPLES, INPUTS), jnp.float32)
SEQUENCE = jax.random.normal(jax.random.key(1), (EXAMPLES, 20, INPUTS), jnp.float32)
IMAGES = jax.random.normal(jax.random.key(1), (EXAMPLES, 8, 8, 3), jnp.float32)
TOKENS = jax.random.randint(jax.random.key(1), (EXAMPLES, 7), 0, 30)


def distance(model: Callable[..., Any], batch: Any) -> Any:
    return jnp.mean((model(batch) - 1.0) ** 2)


class Dense(nnx.Module):
    """One layer and an activation, the bricks of the rest."""

    def __init__(self, n_in: int, n_out: int, rngs: nnx.Rngs, phi: Any = nnx.tanh) -> None:
        self.linear, self.phi = nnx.Linear(n_in, n_out, rngs=rngs), phi

    def __call__(self, x):
        return self.phi(self.linear(x))


class Inherits(Dense):
    """A class without a call of its own."""


class List(nnx.Module):
    def __init__(self, rngs: nnx.Rngs) -> None:
        self.layers = nnx.List([Dense(INPUTS if k == 0 else UNITS, UNITS, rngs, nnx.relu) for k in range(3)])

    def __call__(self, x):
        for layer in self.layers:
            x = layer(x)
        return x


class Dictionary(nnx.Module):
    def __init__(self, rngs: nnx.Rngs) -> None:
        self.layers = nnx.Dict({"a": Dense(INPUTS, UNITS, rngs), "b": Inherits(UNITS, UNITS, rngs)})

    def __call__(self, x):
        return self.layers["b"](self.layers["a"](x))


class Shared(nnx.Module):
    def __init__(self, rngs: nnx.Rngs) -> None:
        self.first, self.shared = Dense(INPUTS, UNITS, rngs), Dense(UNITS, UNITS, rngs)
        self.again = self.shared

    def __call__(self, x):
        return self.again(self.shared(self.first(x)))


class Stacked(nnx.Module):
    def __init__(self, rngs: nnx.Rngs) -> None:
        @nnx.split_rngs(splits=5)
        @nnx.vmap(in_axes=(0,), out_axes=0)
        def make(rngs):
            return Dense(UNITS, UNITS, rngs)

        self.first, self.blocks = Dense(INPUTS, UNITS, rngs), make(rngs)

    def __call__(self, x):
        body = nnx.scan(lambda x, block: block(x), in_axes=(nnx.Carry, 0), out_axes=nnx.Carry)
        return body(self.first(x), self.blocks)


class Recurrent(nnx.Module):
    def __init__(self, rngs: nnx.Rngs) -> None:
        self.rnn, self.head = nnx.RNN(nnx.LSTMCell(INPUTS, UNITS, rngs=rngs)), nnx.Linear(UNITS, 3, rngs=rngs)

    def __call__(self, x):
        return self.head(self.rnn(x)[:, -1])


class Attention(nnx.Module):
    def __init__(self, rngs: nnx.Rngs) -> None:
        self.embedding = nnx.Embed(30, UNITS, rngs=rngs)
        self.norm = nnx.LayerNorm(UNITS, rngs=rngs)
        self.attention = nnx.MultiHeadAttention(num_heads=2, in_features=UNITS, decode=False, rngs=rngs)

    def __call__(self, tokens):
        x = self.embedding(tokens)
        return self.embedding.attend(x + self.attention(self.norm(x)))


class Convolutional(nnx.Module):
    def __init__(self, rngs: nnx.Rngs) -> None:
        self.convolution = nnx.Conv(3, UNITS, (3, 3), rngs=rngs)
        self.norm = nnx.BatchNorm(UNITS, rngs=rngs)
        self.dropout = nnx.Dropout(0.5, rngs=rngs)
        self.head = nnx.Linear(UNITS, 2, rngs=rngs)

    def __call__(self, x):
        return self.head(self.dropout(nnx.relu(self.norm(self.convolution(x))).mean((1, 2))))


class Remembering(nnx.Module):
    """Layers under remat, jit and vmap, methods that are no call, results in a tuple and a dictionary."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.inner = nnx.List([Dense(UNITS, UNITS, rngs), Dense(UNITS, UNITS, rngs)])
        self.encoder, self.decoder = Dense(INPUTS, UNITS, rngs), nnx.Linear(UNITS, INPUTS, rngs=rngs)

    def encode(self, x):
        x = nnx.vmap(lambda m, row: m.encoder(row), in_axes=(None, 0))(self, x)
        x = nnx.remat(lambda m, y: m(y))(self.inner[0], x)
        twice = nnx.jit(lambda m, y: m(y))
        return twice(self.inner[1], twice(self.inner[1], x)), {"count": 3}

    def loss(self, x):
        code, _ = self.encode(x)
        return jnp.mean((self.decoder(code) - x) ** 2), code


class LinenNetwork(linen.Module):
    @linen.compact
    def __call__(self, x):
        x = linen.Dense(UNITS)(x)
        x = x + linen.tanh(linen.BatchNorm(use_running_average=False)(x))
        x = linen.Dropout(0.5, deterministic=False)(linen.LayerNorm()(x))
        return linen.Dense(3)(x)


class LinenRecurrent(linen.Module):
    @linen.compact
    def __call__(self, x):
        return linen.Dense(3)(linen.RNN(linen.LSTMCell(UNITS))(x)[:, -1])


def linen_model(module: linen.Module, x: Any) -> Any:
    keys = {"params": jax.random.key(0), "dropout": jax.random.key(1)}
    return module, module.init(keys, x)


def plain(params, x):
    h, _ = jax.lax.scan(lambda h, w: (jnp.tanh(h @ w["w"] + w["b"]), None), x, params["layers"])
    return h @ params["head"]


PLAIN = {
    "layers": {
        "w": jax.random.normal(jax.random.key(5), (6, INPUTS, INPUTS), jnp.float32) / 4,
        "b": jnp.zeros((6, INPUTS), jnp.float32),
    },
    "head": jnp.ones((INPUTS, 2), jnp.float32),
}
MODELS: dict[str, Callable[[], tuple[Any, Any, Any]]] = {
    "layers in a list": lambda: (List(nnx.Rngs(0)), distance, FLAT),
    "layers in a dictionary": lambda: (Dictionary(nnx.Rngs(0)), distance, FLAT),
    "a sequence": lambda: (
        nnx.Sequential(Dense(INPUTS, 5, nnx.Rngs(0)), nnx.gelu, Dense(5, 2, nnx.Rngs(1))), distance, FLAT,
    ),
    "a layer used twice": lambda: (Shared(nnx.Rngs(0)), distance, FLAT),
    "a scan over layers": lambda: (Stacked(nnx.Rngs(0)), distance, FLAT),
    "a scan over time": lambda: (Recurrent(nnx.Rngs(0)), distance, SEQUENCE),
    "attention and a tied embedding": lambda: (Attention(nnx.Rngs(0)), distance, TOKENS),
    "batch norm and dropout in training": lambda: (Convolutional(nnx.Rngs(0, dropout=1)), distance, IMAGES),
    "remat, jit, vmap and methods": lambda: (Remembering(nnx.Rngs(0)), lambda m, x: m.loss(x), FLAT),
    "Linen": lambda: (linen_model(LinenNetwork(), FLAT), distance, FLAT),
    "Linen over time": lambda: (linen_model(LinenRecurrent(), SEQUENCE), distance, SEQUENCE),
    "a function": lambda: ((plain, PLAIN), distance, FLAT),
    "a function that is the loss": lambda: ((lambda p, x: jnp.mean(plain(p, x)), PLAIN), None, FLAT),
    "outputs without a loss": lambda: ((plain, PLAIN), None, (FLAT,)),
}  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
def test_gradients_are_those_of_jax(name: str) -> None:
    model, loss, batch = MODELS[name]()
    rngs = {"dropout": jax.random.key(2)}
    own = adapted(model, batch, loss, rngs)
    leaves = [list(part.values()) for part in (own.parameters, own.rest, own.batch)]
    floats = [k for k, x in enumerate(leaves[0]) if is_float(x)]

    def of_floats(some: list[Any]) -> Any:
        every = list(leaves[0])
        for k, x in zip(floats, some, strict=True):
            every[k] = x
        return own.loss(every, *leaves[1:])

    value, expected = jax.jit(jax.value_and_grad(of_floats))([leaves[0][k] for k in floats])
    program = trace(own.loss, *leaves)
    pieces = chunks(program)
    found = forward(program, pieces, jax.tree.leaves(leaves))
    back = gradient(program, pieces, found)
    np.testing.assert_allclose(found.values[program.outs[0]], value, rtol=1e-5)
    largest = max(float(jnp.abs(g).max()) for g in expected)
    for k, gradient_by_jax in zip(floats, expected, strict=True):
        scaled = back.cotangents[program.ins[k]]
        array = np.asarray(scaled.mantissa, np.float64) * 2.0 ** float(scaled.exponent)
        np.testing.assert_allclose(array, gradient_by_jax, rtol=2e-4, atol=2e-6 * largest)


def test_parameters_are_named_by_their_place() -> None:
    assert "layers/0/linear/kernel" in adapted(List(nnx.Rngs(0)), FLAT).parameters
    assert "Dense_0/kernel" in adapted(linen_model(LinenNetwork(), FLAT), FLAT).parameters
    assert set(adapted((plain, PLAIN), FLAT).parameters) == {"layers/w", "layers/b", "head"}
    held = adapted(Convolutional(nnx.Rngs(0, dropout=1)), IMAGES)
    assert "norm/mean" in held.rest
    assert not any("mean" in name for name in held.parameters)


def test_a_model_stays_as_it_was() -> None:
    model = Convolutional(nnx.Rngs(0, dropout=1))
    before = jax.tree.map(np.asarray, nnx.to_pure_dict(nnx.state(model, nnx.BatchStat)))
    own = adapted(model, IMAGES, distance)
    jax.jit(own.loss)(*[list(part.values()) for part in (own.parameters, own.rest, own.batch)])
    after = nnx.to_pure_dict(nnx.state(model, nnx.BatchStat))
    jax.tree.map(np.testing.assert_array_equal, before, after)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (lambda x: x, "without its parameters"),
        (LinenNetwork(), "without its variables"),
        (3, "got int"),
        (type("Net", (type("Module", (), {"__module__": "torch.nn"}),), {})(), "PyTorch"),
    ],
)
def test_what_is_no_model_is_refused(model: Any, words: str) -> None:
    with pytest.raises(TypeError, match=words):
        adapted(model, FLAT)
