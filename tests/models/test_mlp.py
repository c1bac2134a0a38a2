"""The network against a plain loop over its layers in NumPy."""

import math
from itertools import pairwise
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from signalprop.models.activations import Activation, activation
from signalprop.models.mlp import MLP, Layer, draw_layer

NETS = {
    "square tanh": ((6,) * 6, "tanh", "gaussian"),
    "rectangular relu": ((5, 8, 8, 8, 3, 3), "relu", "gaussian"),
    "orthogonal gelu": ((4, 7, 7), "gelu", "orthogonal"),
}


class Found(NamedTuple):
    """What the network says of a batch of three, and its layers drawn one by one, in NumPy arrays."""

    x: np.ndarray
    cotangent: np.ndarray
    y: np.ndarray
    trace: list[np.ndarray]
    factors: list[np.ndarray]
    jacobian: np.ndarray
    gradients: list[np.ndarray]
    layers: list[tuple[np.ndarray, np.ndarray]]
    phi: Activation


@pytest.fixture(scope="module", params=NETS)
def found(request):
    widths, name, scheme = NETS[request.param]
    phi = activation(name)

    @jax.jit
    def compute(key, x, cotangent):
        recipe = {"scheme": scheme, "sigma_w": 1.3, "sigma_b": 0.4, "dtype": jnp.float64}
        network = MLP(widths, phi, **recipe, key=key)
        drawn = [draw_layer(key, n, *shape, **recipe) for n, shape in enumerate(pairwise(widths), start=1)]
        return {
            "y": network(x),
            "trace": network.trace(x),
            "factors": network.factors(x[0]),
            "jacobian": jax.jacrev(network)(x[0]),
            "gradients": network.pre_activation_gradients(x, cotangent),
            "layers": [(layer.kernel[...], layer.bias[...]) for layer in drawn],
        }

    x, cotangent = (jax.random.normal(jax.random.key(n), (3, widths[n]), jnp.float64) for n in (0, -1))
    computed = jax.tree.map(np.asarray, compute(jax.random.key(1), x, cotangent))
    flat = {
        name: [layer for run in computed.pop(name) for layer in run]
        for name in ("trace", "factors", "gradients")
    }
    return Found(x=np.asarray(x), cotangent=np.asarray(cotangent), phi=phi, **flat, **computed)


def test_scanned_network_equals_a_plain_loop_over_layers_drawn_one_by_one(found):
    y = found.x
    for z, (kernel, bias) in zip(found.trace, found.layers, strict=True):
        np.testing.assert_allclose(z, y @ kernel + bias, rtol=1e-12, atol=1e-13)
        y = np.asarray(found.phi(jnp.asarray(z)))
    np.testing.assert_allclose(found.y, y, rtol=1e-12, atol=1e-13)


def test_product_of_factors_is_the_jacobian(found):
    product = np.eye(found.x.shape[1])
    for factor in found.factors:
        product = factor @ product
    np.testing.assert_allclose(product, found.jacobian, rtol=1e-11, atol=1e-13)


def test_factors_are_the_slopes_times_the_weights(found):
    for factor, z, (kernel, _) in zip(found.factors, found.trace, found.layers, strict=True):
        slope = np.asarray(found.phi.derivative(jnp.asarray(z[0])))
        np.testing.assert_allclose(factor, np.diag(slope) @ kernel.T, rtol=1e-12, atol=1e-14)


def test_pre_activation_gradients_obey_the_recursion_of_back_propagation(found):
    above = found.cotangent
    for delta, z, (kernel, _) in reversed(list(zip(found.gradients, found.trace, found.layers, strict=True))):
        slope = np.asarray(found.phi.derivative(jnp.asarray(z)))
        np.testing.assert_allclose(delta, slope * above, rtol=1e-11, atol=1e-13)
        above = delta @ kernel.T


def test_a_square_net_has_one_run_and_its_trace_is_one_array():
    network = jax.eval_shape(lambda: MLP((6,) * 6, activation("tanh"), key=jax.random.key(0)))
    (trace,) = jax.eval_shape(lambda net: net.trace(jnp.ones((3, 6), jnp.float32)), network)
    assert trace.shape == (5, 3, 6)
    assert trace.dtype == jnp.float32


def test_a_single_example_needs_no_batch_axis():
    network = MLP((4, 3), activation("tanh"), key=jax.random.key(0))
    x = jnp.arange(8, dtype=jnp.float32).reshape(2, 4)
    np.testing.assert_allclose(network(x[1]), network(x)[1], rtol=1e-6)


def test_one_compilation_serves_every_seed_and_scale():
    compilations = 0

    @jax.jit
    @jax.vmap
    def lengths(key, sigma_w, sigma_b):
        nonlocal compilations
        compilations += 1
        network = MLP((4, 8, 8, 8), activation("tanh"), "gaussian", sigma_w, sigma_b, key=key)
        return jnp.concatenate([jnp.mean(z**2, (1, 2)) for z in network.trace(jnp.ones((2, 4)))])

    keys = jax.random.split(jax.random.key(4), 3)
    first = lengths(keys, jnp.array([1.0, 2.0, 3.0]), jnp.zeros(3))
    lengths(keys, jnp.array([0.5, 1.5, 0.1]), jnp.ones(3))
    alone = MLP((4, 8, 8, 8), activation("tanh"), "gaussian", 2.0, 0.0, key=keys[1])
    expected = jnp.concatenate([jnp.mean(z**2, (1, 2)) for z in alone.trace(jnp.ones((2, 4)))])
    assert compilations == 1
    np.testing.assert_allclose(first[1], expected, rtol=1e-5)


def test_scales_share_the_draws_of_weights_and_biases():
    one = draw_layer(jax.random.key(5), 3, 6, 4, "gaussian", 1.0, 1.0)
    two = draw_layer(jax.random.key(5), 3, 6, 4, "gaussian", 2.0, 0.5)
    np.testing.assert_array_equal(2 * one.kernel[...], two.kernel[...])
    np.testing.assert_array_equal(one.bias[...], 2 * two.bias[...])


def test_layers_and_shapes_have_draws_of_their_own():
    key = jax.random.key(6)
    kernel = draw_layer(key, 1, 4, 4).kernel[...]
    for other in (draw_layer(key, 2, 4, 4), draw_layer(key, 1, 4, 5), draw_layer(key, 1, 5, 4)):
        assert not np.isclose(kernel[0, 0] * math.sqrt(4), other.kernel[0, 0] * math.sqrt(len(other.kernel)))


def test_biases_have_the_standard_deviation_asked_for():
    bias = np.asarray(draw_layer(jax.random.key(7), 1, 1, 40_000, sigma_b=0.3).bias[...])
    assert abs(bias.mean()) < 5 * bias.std() / math.sqrt(bias.size)
    assert abs(bias.std() - 0.3) < 5 * 0.3 / math.sqrt(2 * bias.size)


def test_the_network_is_a_plain_pytree_that_grad_and_jit_take():
    network = MLP((4, 7, 7, 7), activation("tanh"), key=jax.random.key(9))
    x = jnp.ones((2, 4), jnp.float32)
    gradient = jax.jit(jax.grad(lambda net: jnp.sum(net(x) ** 2)))(network)
    stepped = jax.tree.map(lambda value, slope: value - 1e-3 * slope, network, gradient)
    assert isinstance(stepped, MLP)
    assert jnp.sum(stepped(x) ** 2) < jnp.sum(network(x) ** 2)


def test_a_depth_of_a_thousand_is_one_scan():
    def output(key):
        return MLP((8,) * 1001, activation("tanh"), key=key)(jnp.ones(8))

    assert str(jax.make_jaxpr(output)(jax.random.key(8))).count("dot_general") == 1


def test_a_layer_is_an_nnx_module_with_a_flax_kernel():
    layer = Layer(jnp.ones((3, 2)), jnp.zeros(2))
    assert isinstance(layer, nnx.Module)
    np.testing.assert_array_equal(layer(jnp.ones((5, 3))), 3 * np.ones((5, 2)))


def test_a_network_without_layers_is_refused():
    with pytest.raises(ValueError, match=r"widths must hold the input and at least one layer, got \(4,\)"):
        MLP((4,), activation("tanh"), key=jax.random.key(0))
