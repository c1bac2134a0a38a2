"""Layers, activations and bottlenecks as they are read off programs."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from signalprop.analysis.program.flat import Program, trace
from signalprop.analysis.program.reading import (
    Flow,
    as_function,
    bottlenecks,
    flow,
    layers,
    region,
    same_function,
)
from signalprop.models.activations import ACTIVATIONS


def read(f: Any, parameters: dict[str, Any], x: Any) -> tuple[Program, Flow]:
    program = trace(f, parameters, x)
    names = [frozenset([name]) for name in sorted(parameters)]
    return program, flow(program, [*names, frozenset()], [False] * len(names) + [True], program.outs)


W, B, X = jnp.ones((6, 6)) / 6, jnp.zeros(6), jnp.linspace(-1, 1, 24).reshape(4, 6)


@pytest.mark.parametrize("name", [n for n in ACTIVATIONS if n not in {"linear", "binary_step"}])
def test_every_activation_is_taken_from_the_program(name: str) -> None:
    phi = ACTIVATIONS[name]
    program, of = read(lambda p, x: phi(x @ p["w"] + p["b"]).sum(), {"w": W, "b": B}, X)
    (layer,) = layers(program, of)
    assert layer.parameters == ("w",)
    found = region(program, of, layer.output)
    x = np.linspace(-3, 3, 50)
    function = as_function(program, of, found, dict(program.constants))
    np.testing.assert_allclose(function(jnp.asarray(x)), phi(jnp.asarray(x)), rtol=1e-6, atol=1e-7)
    assert same_function(function, ACTIVATIONS) == name


def test_scalars_belong_to_the_function_and_vectors_do_not() -> None:
    program, of = read(
        lambda p, x: (2 * jnp.tanh(p["a"] * (x @ p["w"])) * p["b"]).sum(), {"a": 3.0, "b": B + 2, "w": W}, X
    )
    (layer,) = layers(program, of)
    values = dict(program.constants) | dict(zip(program.ins, [3.0, B + 2, W, X], strict=True))
    function = as_function(program, of, region(program, of, layer.output), values)
    np.testing.assert_allclose(function(jnp.array([0.2])), [2 * np.tanh(0.6)], rtol=1e-6)


def test_a_straight_line_is_no_activation() -> None:
    program, of = read(lambda p, x: (3 * (x @ p["w"]) + 1).sum(), {"w": W}, X)
    assert region(program, of, layers(program, of)[0].output) is None


def test_what_is_multiplied_is_the_weight() -> None:
    def masked(p, x):
        return jnp.tanh(jax.lax.conv_general_dilated(x, p["w"] * p["m"], (1, 1), "SAME")).sum()

    program, of = read(
        masked, {"m": jnp.ones((5, 3, 3, 3)), "w": jnp.ones((5, 3, 3, 3))}, jnp.ones((2, 3, 8, 8))
    )
    (layer,) = layers(program, of)
    assert (layer.kind, layer.parameters, layer.contracted) == ("convolution", ("m", "w"), (1, 2, 3))


def test_the_bottlenecks_of_a_residual_network_are_behind_its_blocks() -> None:
    def residual(p, x):
        for _ in range(3):
            x = x + jnp.tanh(x @ p["w"]) @ p["v"]
        return (x**2).sum()

    program, of = read(residual, {"v": W, "w": W}, X)
    joins = [e.outs[0] for e in program.equations if e.name in {"add", "add_any"}]
    found = bottlenecks(program, of)
    assert set(joins) <= set(found)
    behind_first = layers(program, of)[2:]  # beside the first branch goes the batch alone
    assert not set(found) & {layer.output for layer in behind_first}
    assert len(layers(program, of)) == 6


def test_gradients_pass_neither_a_stop_nor_whole_numbers() -> None:
    program, of = read(
        lambda p, x: (jax.lax.stop_gradient(x @ p["v"]) + (x @ p["w"])).sum(), {"v": W, "w": W}, X
    )
    assert [layer.parameters for layer in layers(program, of)] == [("w",)]
    assert program.ins[0] not in of.reached
    assert program.ins[1] in of.reached


def test_a_step_cuts_the_gradient() -> None:
    program, of = read(lambda p, x: ACTIVATIONS["binary_step"](x @ p["w"]).sum(), {"w": W}, X)
    assert program.ins[0] not in of.reached


def test_a_look_up_is_a_layer() -> None:
    program, of = read(lambda p, t: jnp.tanh(p["e"][t]).sum(), {"e": W}, jnp.array([1, 2]))
    (layer,) = layers(program, of)
    assert (layer.kind, layer.parameters) == ("embedding", ("e",))
