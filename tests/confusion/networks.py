"""Networks as the documentation of Flax shows them, each healthy and broken on purpose.

A case is a maker of (model, batch, loss) for a width and a seed, with the cause that was made.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array

Made = tuple[Any, Any, Any]


class Case(NamedTuple):
    """One network.

    Attributes:
        name: What it is and what was done to it.
        causes: What diagnosis should say; several where two words are right.
        make: Of a width factor and a seed.
    """

    name: str
    causes: tuple[str, ...]
    make: Callable[[int, int], Made]


def cross_entropy(model: Any, batch: Any) -> Array:
    logits = model(batch[0]).astype(jnp.float32)
    return -jnp.take_along_axis(nnx.log_softmax(logits), batch[1][..., None], -1).mean()


class MLP(nnx.Module):
    """Layers of one width; ``between`` acts behind every activation."""

    def __init__(
        self,
        depth: int,
        width: int,
        phi: Any,
        init: Any,
        seed: int,
        bias: float = 0.0,
        between: Any = lambda k, x: x,
        dtype: Any = jnp.float32,
    ) -> None:
        rngs, constant = nnx.Rngs(seed), nnx.initializers.constant(bias)
        self.layers = nnx.List(
            [
                nnx.Linear(
                    width,
                    width,
                    kernel_init=init,
                    bias_init=constant,
                    dtype=dtype,
                    param_dtype=dtype,
                    rngs=rngs,
                )
                for _ in range(depth)
            ]
        )
        self.head = nnx.Linear(width, 10, dtype=dtype, param_dtype=dtype, rngs=rngs)
        self.phi, self.between = phi, between

    def __call__(self, x: Array) -> Array:
        for k, layer in enumerate(self.layers):
            x = self.between(k, self.phi(layer(x)))
        return self.head(x)


class CNN(nnx.Module):
    """Convolutions, mean pooling, a dense head; optionally batch norm, skips, dropout."""

    def __init__(
        self,
        depth: int,
        channels: int,
        phi: Any,
        init: Any,
        seed: int,
        norm: bool = False,
        skip: bool = False,
        dropout: float = 0.0,
        scale: float = 1.0,
    ) -> None:
        rngs = nnx.Rngs(seed, dropout=seed + 1)
        self.stem = nnx.Conv(3, channels, (3, 3), kernel_init=init, rngs=rngs)
        self.convs = nnx.List(
            [nnx.Conv(channels, channels, (3, 3), kernel_init=init, rngs=rngs) for _ in range(depth)]
        )
        gain = nnx.initializers.constant(scale)
        norms = [nnx.BatchNorm(channels, scale_init=gain, rngs=rngs) for _ in range(depth)]
        self.norms = nnx.List(norms) if norm else None
        self.dropout = nnx.Dropout(dropout, rngs=rngs)
        self.head = nnx.Linear(channels, 10, rngs=rngs)
        self.phi, self.skip = phi, skip

    def __call__(self, x: Array) -> Array:
        x = self.phi(self.stem(x))
        for k, conv in enumerate(self.convs):
            y = conv(self.phi(x) if self.skip else x)
            y = y if self.norms is None else self.norms[k](y)
            x = x + y if self.skip else self.phi(y)
        return self.head(self.dropout(x.mean((1, 2))))


class Block(nnx.Module):
    """A block of a transformer."""

    def __init__(self, width: int, norm: str, init: Any, skip: bool, logits: float, rngs: nnx.Rngs) -> None:
        self.norms = nnx.List([nnx.LayerNorm(width, rngs=rngs) for _ in range(2)])
        self.attention = nnx.MultiHeadAttention(
            num_heads=4, in_features=width, kernel_init=init, decode=False, rngs=rngs
        )
        self.up = nnx.Linear(width, 4 * width, kernel_init=init, rngs=rngs)
        self.down = nnx.Linear(4 * width, width, kernel_init=init, rngs=rngs)
        self.norm, self.skip, self.logits = norm, skip, logits

    def __call__(self, x: Array) -> Array:
        branches = (
            lambda y: self.attention(self.logits * y, y, y),
            lambda y: self.down(nnx.gelu(self.up(y))),
        )
        for branch, norm in zip(branches if self.skip else branches[:1], self.norms, strict=False):
            y = branch(norm(x) if self.norm == "pre" else x)
            y = x + y if self.skip else y
            x = norm(y) if self.norm == "post" else y
        return x


class Language(nnx.Module):
    """A small language model."""

    def __init__(
        self,
        depth: int,
        width: int,
        seed: int,
        norm: str = "pre",
        init: Any = None,
        skip: bool = True,
        logits: float = 1.0,
    ) -> None:
        rngs, init = nnx.Rngs(seed), init or nnx.initializers.xavier_uniform()
        self.tokens = nnx.Embed(50, width, rngs=rngs)
        self.places = nnx.Embed(16, width, rngs=rngs)
        self.blocks = nnx.List([Block(width, norm, init, skip, logits, rngs) for _ in range(depth)])
        self.last = nnx.LayerNorm(width, rngs=rngs) if norm == "pre" else None
        self.head = nnx.Linear(width, 50, rngs=rngs)

    def __call__(self, tokens: Array) -> Array:
        x = self.tokens(tokens) + self.places(jnp.arange(tokens.shape[1]))
        for block in self.blocks:
            x = block(x)
        return self.head(x if self.last is None else self.last(x))


class Sequence(nnx.Module):
    """A recurrent classifier."""

    def __init__(self, cell: Any, seed: int) -> None:
        self.rnn = nnx.RNN(cell)
        self.head = nnx.Linear(cell.hidden_features, 10, rngs=nnx.Rngs(seed + 7))

    def __call__(self, x: Array) -> Array:
        return self.head(self.rnn(x)[:, -1])


def flat(width: int, seed: int, scale: float = 1.0, dtype: Any = jnp.float32) -> Any:
    """A batch for a plain network."""
    a, b = jax.random.split(jax.random.key(seed + 100))
    x = scale * jax.random.normal(a, (64, width), jnp.float32)
    return x.astype(dtype), jax.random.randint(b, (64,), 0, 10)


def images(seed: int) -> Any:
    a, b = jax.random.split(jax.random.key(seed + 200))
    return jax.random.normal(a, (8, 12, 12, 3), jnp.float32), jax.random.randint(b, (8,), 0, 10)


def tokens(seed: int) -> Any:
    x = jax.random.randint(jax.random.key(seed + 300), (4, 17), 0, 50)
    return x[:, :-1], x[:, 1:]


def series(length: int, seed: int) -> Any:
    a, b = jax.random.split(jax.random.key(seed + 400))
    return jax.random.normal(a, (8, length, 8), jnp.float32), jax.random.randint(b, (8,), 0, 10)


I = nnx.initializers  # noqa: E741
RELU, TANH, SIGMOID, GELU = nnx.relu, nnx.tanh, nnx.sigmoid, nnx.gelu


def gaussian(sigma_w: float) -> Any:
    return I.variance_scaling(sigma_w**2, "fan_in", "normal")


def plain(depth: int, phi: Any, init: Any, scale: float = 1.0, factor: float = 1.0, **more: Any) -> Any:
    """A plain network with its batch and loss."""

    def make(width: int, seed: int) -> Made:
        dtype = more.get("dtype", jnp.float32)
        loss = cross_entropy if factor == 1 else (lambda m, b: factor * cross_entropy(m, b))
        return MLP(depth, 64 * width, phi, init, seed, **more), flat(64 * width, seed, scale, dtype), loss

    return make


def changed(make: Any, change: Callable[[Any], None]) -> Any:
    def other(width: int, seed: int) -> Made:
        model, batch, loss = make(width, seed)
        change(model)
        return model, batch, loss

    return other


def bias_of(layers: Any, value: float) -> Callable[[Any], None]:
    def change(model: MLP) -> None:
        for k in layers:
            model.layers[k].bias[...] = jnp.full_like(model.layers[k].bias[...], value)

    return change


def times(layer: int, factor: float) -> Callable[[Any], None]:
    def change(model: Any) -> None:
        kernel = (model.layers if isinstance(model, MLP) else model.convs)[layer].kernel
        kernel[...] = kernel[...] * factor

    return change


def cnn(depth: int, phi: Any, init: Any, **more: Any) -> Any:
    return lambda width, seed: (CNN(depth, 16 * width, phi, init, seed, **more), images(seed), cross_entropy)


def language(depth: int, **more: Any) -> Any:
    return lambda width, seed: (Language(depth, 32 * width, seed, **more), tokens(seed), cross_entropy)


def lstm(length: int, forget: float | None = None, scale: float = 1.0, orthogonal: bool = False) -> Any:
    def make(width: int, seed: int) -> Made:
        units = 24 * width
        init = I.orthogonal() if orthogonal else I.lecun_normal()
        cell = nnx.LSTMCell(8, units, recurrent_kernel_init=init, rngs=nnx.Rngs(seed))
        if forget is not None:
            cell.hf.bias[...] = jnp.full((units,), forget, jnp.float32)
        for part in (cell.hi, cell.hf, cell.hg, cell.ho):
            part.kernel[...] = part.kernel[...] * scale
        return Sequence(cell, seed), series(length, seed), cross_entropy

    return make


def gru(length: int, update: float) -> Any:
    def make(width: int, seed: int) -> Made:
        units = 24 * width
        cell = nnx.GRUCell(8, units, rngs=nnx.Rngs(seed))
        bias = np.zeros(3 * units, np.float32)
        bias[units : 2 * units] = update
        cell.dense_i.bias[...] = jnp.asarray(bias)
        return Sequence(cell, seed), series(length, seed), cross_entropy

    return make


def simple(length: int, scale: float = 1.0, phi: Any = TANH, init: Any = None) -> Any:
    def make(width: int, seed: int) -> Made:
        units = 32 * width
        cell = nnx.SimpleCell(
            8, units, activation_fn=phi, recurrent_kernel_init=init or I.orthogonal(), rngs=nnx.Rngs(seed)
        )
        cell.dense_h.kernel[...] = cell.dense_h.kernel[...] * scale
        return Sequence(cell, seed), series(length, seed), cross_entropy

    return make


def identity(key: Any, shape: Any, dtype: Any = jnp.float32) -> Array:
    return jnp.eye(*shape, dtype=dtype)


def stop(at: int) -> Any:
    return lambda k, x: jax.lax.stop_gradient(x) if k == at else x


HE, LECUN, GLOROT = I.he_normal(), I.lecun_normal(), I.glorot_normal()
FINE = ("fine",)
BROKEN_AND_HEALTHY: list[tuple[Case, Case]] = [
    (
        Case("MLP 30 sigmoid, Glorot", ("activation",), plain(30, SIGMOID, GLOROT)),
        Case("MLP 30 relu, He", FINE, plain(30, RELU, HE)),
    ),
    (
        Case("MLP 30 tanh, sigma_w 0.5", ("weights too small",), plain(30, TANH, gaussian(0.5))),
        Case("MLP 30 tanh, sigma_w 1", FINE, plain(30, TANH, gaussian(1))),
    ),
    (
        Case("MLP 30 tanh, sigma_w 3", ("weights too large",), plain(30, TANH, gaussian(3))),
        Case("MLP 30 tanh, orthogonal", FINE, plain(30, TANH, I.orthogonal())),
    ),
    (
        Case("MLP 20 relu, LeCun", ("weights too small",), plain(20, RELU, LECUN)),
        Case("MLP 20 relu, He", FINE, plain(20, RELU, HE)),
    ),
    (
        Case("MLP 20 relu, normal(0.5)", ("weights too large",), plain(20, RELU, I.normal(0.5))),
        Case("MLP 20 gelu, sigma_w 1.43", FINE, plain(20, GELU, gaussian(1.43))),
    ),
    (
        Case("MLP 8 relu, bias -6 in one layer", ("dead",), changed(plain(8, RELU, HE), bias_of([4], -6))),
        Case("MLP 8 relu, bias 0", FINE, plain(8, RELU, HE)),
    ),
    (
        Case("MLP 8 relu, bias -6 everywhere", ("dead",), changed(plain(8, RELU, HE), bias_of(range(8), -6))),
        Case("MLP 8 relu, bias 0.01", FINE, changed(plain(8, RELU, HE), bias_of(range(8), 0.01))),
    ),
    (
        Case("MLP 8 tanh, inputs times 100", ("input",), plain(8, TANH, gaussian(1), scale=100)),
        Case("MLP 8 tanh, LeCun", FINE, plain(8, TANH, LECUN)),
    ),
    (
        Case("MLP 8 tanh, zeros", ("symmetric",), plain(8, TANH, I.zeros_init())),
        Case("MLP 8 selu, LeCun", FINE, plain(8, nnx.selu, LECUN)),
    ),
    (
        Case("MLP 8 relu, constant 0.01", ("symmetric",), plain(8, RELU, I.constant(0.01))),
        Case("MLP 8 silu, He", FINE, plain(8, nnx.silu, HE)),
    ),
    (
        Case("MLP 8 relu, a kernel times 1e-4", ("one layer",), changed(plain(8, RELU, HE), times(5, 1e-4))),
        Case("MLP 12 relu, He", FINE, plain(12, RELU, HE)),
    ),
    (
        Case("MLP 8 gelu, a stopped gradient", ("disconnected",), plain(8, GELU, HE, between=stop(3))),
        Case("MLP 8 gelu, He", FINE, plain(8, GELU, HE)),
    ),
    (
        Case(
            "MLP 6 relu float16, loss times 1e-6", ("underflow",),
            plain(6, RELU, HE, factor=1e-6, dtype=jnp.float16),
        ),
        Case("MLP 6 relu bfloat16", FINE, plain(6, RELU, HE, factor=1e-6, dtype=jnp.bfloat16)),
    ),
    (
        Case(
            "MLP 12 relu float16, inputs times 3e3", ("overflow", "input"),
            plain(12, RELU, gaussian(2), scale=3e3, dtype=jnp.float16),
        ),
        Case("MLP 12 relu float16", FINE, plain(12, RELU, HE, dtype=jnp.float16)),
    ),
    (
        Case("CNN with a NaN", ("not finite",), changed(cnn(4, RELU, HE), times(2, np.nan))),
        Case("CNN 4 relu, He", FINE, cnn(4, RELU, HE)),
    ),
    (
        Case("CNN 8 sigmoid", ("activation",), cnn(8, SIGMOID, LECUN)),
        Case("CNN 8 relu, He", FINE, cnn(8, RELU, HE)),
    ),
    (
        Case("CNN with dropout 0.99", ("dead",), cnn(4, RELU, HE, dropout=0.99)),
        Case("CNN with dropout 0.1", FINE, cnn(4, RELU, HE, dropout=0.1)),
    ),
    (
        Case("CNN 20 relu, Glorot at stride 1", ("weights too small",), cnn(20, RELU, LECUN)),
        Case("CNN 20 relu, He", FINE, cnn(20, RELU, HE)),
    ),
    (
        Case("residual CNN 50 without norms", ("branches",), cnn(50, RELU, HE, skip=True)),
        Case("residual CNN 12 with batch norm", FINE, cnn(12, RELU, HE, norm=True, skip=True)),
    ),
    (
        Case("CNN 80 with batch norm, no skips", ("norm",), cnn(80, RELU, HE, norm=True)),
        Case("residual CNN 40 with batch norm", FINE, cnn(40, RELU, HE, norm=True, skip=True)),
    ),
    (
        Case("CNN, batch norms of scale 0", ("disconnected",), cnn(6, RELU, HE, norm=True, scale=0)),
        Case("residual CNN, batch norms of scale 0", FINE, cnn(6, RELU, HE, norm=True, skip=True, scale=0)),
    ),
    (
        Case("transformer 24 without norms", ("branches",), language(24, norm="", init=gaussian(1.5))),
        Case("transformer 6, pre-LN", FINE, language(6)),
    ),
    (
        Case(
            "transformer 12, post-LN, weights times 3", ("weights too large", "collapsed"),
            language(12, norm="post", init=gaussian(3)),
        ),
        Case("transformer 6, post-LN", FINE, language(6, norm="post")),
    ),
    (
        Case("transformer 6, logits times 100", ("saturated",), language(6, logits=100)),
        Case("transformer 12, pre-LN", FINE, language(12)),
    ),
    (
        Case("attention alone, 12 blocks", ("collapsed",), language(12, norm="", skip=False)),
        Case("transformer 2, pre-LN", FINE, language(2)),
    ),
    (
        Case("LSTM, forget bias -2, 200 steps", ("gates",), lstm(200, -2)),
        Case("LSTM, forget bias 3, 200 steps", FINE, lstm(200, 3)),
    ),
    (
        Case("LSTM, recurrent kernels times 4", ("recurrent too large",), lstm(200, 1, 4)),
        Case("LSTM, orthogonal, forget bias 4", FINE, lstm(200, 4, orthogonal=True)),
    ),
    (
        Case("GRU, update bias -3, 200 steps", ("gates",), gru(200, -3)),
        Case("GRU, update bias 1, 10 steps", FINE, gru(10, 1)),
    ),
    (
        Case("tanh cell, kernel times 0.3", ("recurrent too small",), simple(100, 0.3)),
        Case("tanh cell, orthogonal, 10 steps", FINE, simple(10)),
    ),
    (
        Case("relu cell, N(0, 4/N)", ("recurrent too large",), simple(100, 1, RELU, gaussian(2))),
        Case("relu cell, identity", FINE, simple(100, 1, RELU, identity)),
    ),
]  # fmt: skip


class Frozen(nnx.Variable):
    """A weight that is not trained."""


class Rezero(nnx.Module):
    """Residual branches behind factors of 0."""

    def __init__(self, depth: int, width: int, seed: int) -> None:
        rngs = nnx.Rngs(seed)
        self.branches = nnx.List([nnx.Linear(width, width, kernel_init=HE, rngs=rngs) for _ in range(depth)])
        self.factors = nnx.List([nnx.Param(jnp.zeros((), jnp.float32)) for _ in range(depth)])
        self.head = nnx.Linear(width, 10, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        for branch, factor in zip(self.branches, self.factors, strict=True):
            x = x + factor[...] * nnx.relu(branch(x))
        return self.head(x)


class Residual(nnx.Module):
    """Residual blocks of a plain network, with branches as they are."""

    def __init__(self, depth: int, width: int, sigma_w: float, seed: int) -> None:
        rngs = nnx.Rngs(seed)
        self.branches = nnx.List(
            [nnx.Linear(width, width, kernel_init=gaussian(sigma_w), rngs=rngs) for _ in range(depth)]
        )
        self.head = nnx.Linear(width, 10, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        for branch in self.branches:
            x = x + nnx.relu(branch(x))
        return self.head(x)


class Chosen(nnx.Module):
    """An encoder whose result is rounded to the nearest of some codes."""

    def __init__(self, width: int, seed: int, straight: bool) -> None:
        rngs = nnx.Rngs(seed)
        self.encoder = nnx.Linear(width, width, kernel_init=HE, rngs=rngs)
        self.codes = Frozen(jax.random.normal(rngs.params(), (32, width), jnp.float32))
        self.decoder = nnx.Linear(width, 10, rngs=rngs)
        self.straight = straight

    def __call__(self, x: Array) -> Array:
        z = nnx.tanh(self.encoder(x))
        codes = self.codes[...]
        nearest = codes[jnp.argmin(((z[:, None] - codes) ** 2).sum(-1), -1)]
        return self.decoder(z + jax.lax.stop_gradient(nearest - z) if self.straight else nearest)


def own(make: Callable[[int, int], Any]) -> Any:
    """A model of its own with the batch of a plain network."""
    return lambda width, seed: (make(64 * width, seed), flat(64 * width, seed), cross_entropy)


def constant_input(width: int, seed: int) -> Made:
    model, (x, labels), loss = plain(8, RELU, HE)(width, seed)
    return model, (jnp.broadcast_to(x[:1], x.shape), labels), loss


def solved(width: int, seed: int) -> Made:
    """A network whose loss is nearly 0: its gradient is small because nothing is left to learn."""
    model, (x, _), _ = plain(8, RELU, HE)(width, seed)
    targets = model(x) + 1e-5 * jax.random.normal(jax.random.key(seed), (64, 10), jnp.float32)
    return model, (x, targets), lambda m, b: jnp.mean((m(b[0]) - b[1]) ** 2)


def frozen(width: int, seed: int) -> Made:
    model, batch, loss = plain(8, RELU, HE)(width, seed)
    for layer in model.layers[:4]:
        layer.kernel, layer.bias = Frozen(layer.kernel[...]), Frozen(layer.bias[...])
    return model, batch, loss


def few_tokens(width: int, seed: int) -> Made:
    model, (x, y), loss = language(4)(width, seed)
    return model, (x % 5, y % 5), loss


MORE_BROKEN = [  # chosen after the rule was fixed
    Case("MLP 30 linear, sigma_w 0.5", ("weights too small",), plain(30, lambda x: x, gaussian(0.5))),
    Case("MLP 30 selu, sigma_w 2", ("weights too large",), plain(30, nnx.selu, gaussian(2))),
    Case("MLP 12 tanh, bias 5", ("saturated",), plain(12, TANH, LECUN, bias=5.0)),
    Case("MLP 8 relu, one example again and again", ("input",), constant_input),
    Case("MLP 12 relu, U(0, 1)", ("weights too large",), plain(12, RELU, I.uniform(1.0))),
    Case("MLP 8 relu, a kernel times 1e4", ("one layer",), changed(plain(8, RELU, HE), times(5, 1e4))),
    Case(
        "codes by argmin, nothing straight through", ("disconnected",),
        own(lambda width, seed: Chosen(width, seed, False)),
    ),
    Case("relu cell, orthogonal times 1.7", ("recurrent too large",), simple(100, 1.7, RELU)),
    Case("LSTM, forget bias -5, 20 steps", ("gates",), lstm(20, -5)),
    Case("residual MLP 60, branches as they are", ("branches",), own(lambda w, s: Residual(60, w, 2.0, s))),
]  # fmt: skip
MORE_HEALTHY = [  # which thresholds of taste would condemn
    Case("ReZero, 30 branches", FINE, own(lambda width, seed: Rezero(30, width, seed))),
    Case("a solved problem", FINE, solved),
    Case("four layers frozen on purpose", FINE, frozen),
    Case("MLP 100 tanh, orthogonal", FINE, plain(100, TANH, I.orthogonal())),
    Case("tokens that never come", FINE, few_tokens),
    Case("codes, straight through", FINE, own(lambda width, seed: Chosen(width, seed, True))),
]
