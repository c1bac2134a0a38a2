"""Gradients piece by piece, against JAX's own and beyond the range of the dtype."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from signalprop.analysis.program.blockfloat import NOTHING, BlockFloat, added, log_norm, rescaled
from signalprop.analysis.program.chunks import chunks
from signalprop.analysis.program.flat import Literal, is_float, trace
from signalprop.analysis.program.gradients import forward, gradient, prepare


def exact_gradients(f: Callable[..., Any], *arguments: Any) -> tuple[Any, list[BlockFloat | None]]:
    """Value and gradient by every leaf of the arguments."""
    program = trace(f, *arguments)
    pieces = chunks(program)
    prepare(program, pieces)
    found = forward(program, pieces, jax.tree.leaves(arguments))
    back = gradient(program, pieces, found)
    (result,) = program.outs
    value = result.value if isinstance(result, Literal) else found.values[result]
    return value, [back.cotangents.get(v) for v in program.ins]


def as_array(x: BlockFloat) -> np.ndarray:
    return np.asarray(x.mantissa, np.float64) * 2.0 ** float(x.exponent)


X, W = jax.random.normal(jax.random.key(0), (5, 4)), jax.random.normal(jax.random.key(1), (4, 4))


@jax.custom_vjp
def clipped_backward(x):
    return x


clipped_backward.defvjp(lambda x: (x, None), lambda _, g: (jnp.clip(g, -1e-3, 1e-3),))


def straight_through(factor):
    f = jax.custom_jvp(lambda x: jnp.sign(x))
    f.defjvp(lambda x, dx: (jnp.sign(x[0]), factor * dx[0]))
    return f


def nested_scans(w, x):
    def outer(h, xt):
        return lax.scan(lambda g, _: (jnp.tanh(g @ w + xt), None), h, None, length=3)[0], h.sum()

    h, sums = lax.scan(outer, x[0], x)
    return (h**2).sum() + (sums * jnp.arange(5)).sum()


PROGRAMS = {
    "a value used twice": lambda w, x: (jnp.tanh(x @ w) * (x @ w) + x).sum(),
    "an unused parameter": lambda w, x: (x**2).sum(),
    "a stopped gradient": lambda w, x: (lax.stop_gradient(x @ w) * x).sum(),
    "a sort and a gather": lambda w, x: (jnp.sort(x @ w, axis=0)[1:, jnp.array([0, 2])] ** 3).sum(),
    "branches": lambda w, x: lax.cond(
        x.sum() > 0, lambda y: (y @ w).sum(), lambda y: jnp.tanh(y @ w).sum(), x
    ),
    "a loop": lambda w, x: (lax.fori_loop(0, 4, lambda i, y: jnp.tanh(y @ w) + i, x) ** 2).sum(),
    "a running product": lambda w, x: lax.associative_scan(jnp.multiply, x @ w).sum(),
    "a linear solve": lambda w, x: (jnp.linalg.solve(w + 4 * jnp.eye(4), x.T) ** 2).sum(),
    "remat in jit": lambda w, x: jax.jit(jax.checkpoint(lambda y: jnp.sin(y @ w)))(x).sum(),
    "a rule of its own": lambda w, x: (clipped_backward(x @ w) ** 2).sum(),
    "two rules of one text": lambda w, x: (
        straight_through(2.0)(x @ w) * straight_through(3.0)(x @ w.T)
    ).sum(),
    "scans in a scan": nested_scans,
    "a scan backwards": lambda w, x: lax.scan(
        lambda h, y: (jnp.tanh(h @ w + y), h[0]), x[0], x, reverse=True
    )[1].sum(),
    "whole numbers carried": lambda w, x: lax.scan(
        lambda c, y: ((c[0] + 1, jnp.cos(c[1] @ w) * y), c[0] * y), (0, x[0]), x
    )[1].sum(),
    "one operand of a scan twice": lambda w, x: lax.scan(
        lambda h, y: (h @ w * y[0] + y[1], None), x[0], (x, x)
    )[0].sum(),
    "a printed value": lambda w, x: (jax.debug.print("{}", x[0, 0]), (x @ w).sum())[1],
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_gradients_are_those_of_jax(name: str) -> None:
    f = PROGRAMS[name]
    expected_value, expected = jax.jit(jax.value_and_grad(f, (0, 1)))(W, X)
    value, found = exact_gradients(f, W, X)
    np.testing.assert_allclose(value, expected_value, rtol=1e-12)
    for own, other in zip(found, expected, strict=True):
        array = np.zeros(other.shape) if own is None else as_array(own)
        np.testing.assert_allclose(array, other, rtol=1e-9, atol=1e-12 * float(jnp.abs(other).max()))


def sigmoid_network(depth: int, dtype: Any) -> tuple[list[Any], Any]:
    weights = jax.random.normal(jax.random.key(2), (depth, 8, 8)) / 8**0.5
    return [w.astype(dtype) for w in weights], jax.random.normal(jax.random.key(3), (3, 8)).astype(dtype)


def network_loss(weights, x):
    for w in weights:
        x = jax.nn.sigmoid(x @ w)
    return x.astype(jnp.float32).sum() if x.dtype.itemsize < 4 else x.sum()


def test_gradient_of_500_layers_is_found_where_every_dtype_gives_zero() -> None:
    weights, x = sigmoid_network(500, jnp.float32)
    _, found = exact_gradients(network_loss, weights, x)

    def log_gain(h: np.ndarray) -> float:  # the same by hand, in logs
        states, log = [], 0.0
        for w in weights:
            states.append(h := 1 / (1 + np.exp(-h @ np.asarray(w, np.float64))))
        g = np.ones_like(h)
        for w, h in zip(weights[:0:-1], states[:0:-1], strict=True):
            g = (g * h * (1 - h)) @ np.asarray(w, np.float64).T
            log += np.log(np.linalg.norm(g))
            g /= np.linalg.norm(g)
        g = g * states[0] * (1 - states[0])
        first = np.asarray(x, np.float64).T @ g
        return log + float(np.log(np.linalg.norm(first)))

    assert not np.asarray(jax.grad(network_loss)(weights, x)[0]).any()
    expected = log_gain(np.asarray(x, np.float64))
    assert expected < -700
    assert log_norm(found[0]) == pytest.approx(expected, abs=1e-3)  # 500 layers of float32


def test_gradient_of_float16_is_that_of_float64_to_the_precision_of_float16() -> None:
    half = exact_gradients(network_loss, *sigmoid_network(30, jnp.float16))[1]
    double = exact_gradients(network_loss, *sigmoid_network(30, jnp.float64))[1]
    native = jax.grad(network_loss)(*sigmoid_network(30, jnp.float16))
    assert not np.asarray(native[0]).any()
    difference = [log_norm(a) - log_norm(b) for a, b in zip(half, double, strict=True)]
    assert np.abs(difference).max() < 0.03  # 30 roundings of 2^-11, in layers that are not averages


def test_depth_adds_no_kind_of_piece() -> None:
    kinds = [len(set(chunks(trace(network_loss, *sigmoid_network(depth, jnp.float32))))) for depth in (6, 60)]
    assert kinds[0] == kinds[1] <= 4


def test_a_scan_tells_its_gradient_at_every_step() -> None:
    w = 0.02 * jax.random.normal(jax.random.key(4), (6, 6), jnp.float32)
    x = jax.random.normal(jax.random.key(5), (40, 6), jnp.float32)

    def last(w, x):
        return lax.scan(lambda h, y: (jnp.tanh(h @ w + y), None), jnp.zeros(6, x.dtype), x)[0].sum()

    program = trace(last, w, x)
    scan = next(k for k, e in enumerate(program.equations) if e.body is not None)
    body = program.equations[scan].body
    (inside,) = (e.outs[0] for e in body.equations if e.name == "add")
    pieces = chunks(program, watched={scan: (inside,)})
    found = forward(program, pieces, [w, x])
    back = gradient(program, pieces, found)
    (steps,), (seen,) = back.steps.values(), found.steps.values()

    h, states = np.zeros(6), []
    for y in np.asarray(x, np.float64):
        h = np.tanh(h @ np.asarray(w, np.float64) + y)
        states.append(h)
    g, carry, tap = np.ones(6), [], []
    for h in states[::-1]:
        inner = g * (1 - h**2)
        tap.append(np.log(np.linalg.norm(inner)))
        g = inner @ np.asarray(w, np.float64).T
        carry.append(np.log(np.linalg.norm(g)))
    np.testing.assert_allclose(steps["carry 0"], carry[::-1], atol=1e-3)
    np.testing.assert_allclose(steps[f"body {inside}"], tap[::-1], atol=1e-3)
    np.testing.assert_allclose(np.tanh(seen[inside]), states, atol=1e-5)
    assert carry[-1] < np.log(np.finfo(np.float32).tiny)


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16, jnp.float32, jnp.float64])
def test_scaling_rounds_nothing(dtype: Any) -> None:
    about = jnp.finfo(dtype)
    m = np.array([1.0, -1.5, 0.0, 1.25])
    for k in (about.minexp, -5, 0, 7, about.maxexp - 2):
        x = rescaled(jnp.asarray(m * 2.0**k, dtype), jnp.int32(0))
        np.testing.assert_array_equal(np.asarray(x.mantissa, np.float64) * 2.0 ** int(x.exponent), m * 2.0**k)
        assert 0.1 < np.linalg.norm(np.asarray(x.mantissa, np.float64)) < 4


def test_zero_has_an_exponent_below_all_and_sums_keep_the_larger() -> None:
    nothing = rescaled(jnp.zeros(3), jnp.int32(7))
    assert int(nothing.exponent) == NOTHING
    assert log_norm(nothing) == -np.inf
    small, large = BlockFloat(jnp.ones(3), jnp.int32(-5000)), BlockFloat(jnp.ones(3), jnp.int32(4000))
    assert log_norm(added(small, nothing)) == pytest.approx(0.5 * np.log(3) - 5000 * np.log(2))
    assert log_norm(added(small, large)) == pytest.approx(0.5 * np.log(3) + 4000 * np.log(2))
    assert is_float(small.mantissa)
