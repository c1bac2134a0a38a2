"""Activations against finite differences, dense grids and their own claims."""

from math import isnan

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from signalprop.models.activations import ACTIVATIONS, Activation, activation
from signalprop.models.lookup import Unusable

EVERY = pytest.mark.parametrize("phi", ACTIVATIONS.values(), ids=ACTIVATIONS)
GRID = np.linspace(-8.0, 8.0, 4001)  # holds 0, -1 and 1


def test_the_table_is_keyed_by_name_and_holds_fifteen():
    assert len(ACTIVATIONS) == 15
    assert all(name == phi.name for name, phi in ACTIVATIONS.items())


@EVERY
def test_derivative_equals_central_difference_away_from_kinks(phi):
    step = 1e-5
    x = np.array([point for point in GRID if all(abs(point - kink) > 2 * step for kink in phi.kinks)])
    difference = (phi(jnp.asarray(x + step)) - phi(jnp.asarray(x - step))) / (2 * step)
    np.testing.assert_allclose(phi.derivative(jnp.asarray(x)), difference, atol=1e-9)


@EVERY
def test_max_slope_is_the_supremum_over_a_dense_grid(phi):
    slope = jnp.abs(phi.derivative(jnp.linspace(-40.0, 40.0, 2_000_002)))
    assert jnp.max(slope) <= phi.max_slope * (1 + 1e-14)
    assert jnp.max(slope) >= phi.max_slope * (1 - 5e-5)


@EVERY
def test_function_and_two_derivatives_are_continuous_except_at_the_kinks(phi):
    def second(x):
        return jax.jvp(phi.derivative, (x,), (jnp.ones_like(x),))[1]

    gap = 1e-7
    kinks = jnp.linspace(-3.0, 3.0, 25)  # holds -1, 0 and 1
    jumps = sum(jnp.abs(f(kinks + gap) - f(kinks - gap)) for f in (phi, phi.derivative, second))
    jumps_at = {float(kink) for kink, jump in zip(kinks, jumps, strict=True) if jump > 1e-5}
    assert jumps_at == set(phi.kinks)


@pytest.mark.parametrize("name", ["tanh", "sigmoid", "erf"])
def test_the_log_of_the_slope_goes_on_where_rounding_loses_the_slope(name):
    phi = ACTIVATIONS[name]
    x = np.linspace(-5.0, 5.0, 101)
    np.testing.assert_allclose(phi.log_slope(x), np.log(phi.derivative(x)), atol=1e-9)  # 1 - tanh(5)^2: 2e-4
    ends = {"tanh": np.log(4) - 600, "sigmoid": -300, "erf": np.log(2 / np.sqrt(np.pi)) - 300**2}
    np.testing.assert_allclose(phi.log_slope(np.array([-300.0, 300.0])), ends[name], rtol=1e-15)
    assert phi.derivative(jnp.asarray(300.0)) == 0
    assert phi.times(2.0).log_slope is None


@EVERY
def test_homogeneous_flag_tells_whether_scaling_passes_through(phi):
    x = jnp.asarray([-3.0, -0.2, 0.0, 0.7, 5.0])
    passes = bool(jnp.allclose(phi(7 * x), 7 * phi(x), rtol=1e-14)) and bool(jnp.any(phi(x) != 0))
    assert phi.homogeneous == passes


@EVERY
@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16, jnp.float32, jnp.float64])
def test_dtype_and_shape_are_kept(phi, dtype):
    x = jax.ShapeDtypeStruct((2, 3), dtype)
    for function in (phi, phi.derivative):
        out = jax.eval_shape(function, x)
        assert (out.shape, out.dtype) == ((2, 3), dtype)


def test_derivatives_at_kinks_are_as_documented():
    zero, one = jnp.zeros(()), jnp.ones(())
    assert ACTIVATIONS["relu"].derivative(zero) == 0
    assert ACTIVATIONS["leaky_relu"].derivative(zero) == 1
    assert ACTIVATIONS["hard_tanh"].derivative(one) == ACTIVATIONS["hard_tanh"].derivative(-one) == 1
    assert ACTIVATIONS["selu"].derivative(zero) == pytest.approx(1.7580993, abs=1e-7)
    assert ACTIVATIONS["binary_step"](zero) == 1


def test_gelu_is_the_exact_one():
    x = jnp.asarray(2.0)
    assert ACTIVATIONS["gelu"](x) == pytest.approx(float(x * jax.scipy.stats.norm.cdf(x)), rel=1e-15)


def test_an_activation_is_a_static_argument():
    apply = jax.jit(lambda phi, x: phi(x), static_argnums=0)
    assert apply(activation("tanh"), 1.0) == jnp.tanh(1.0)


def test_a_multiple_moves_the_scale_of_the_weights_into_the_activation():
    relu, x = ACTIVATIONS["relu"], jnp.array([-1.0, 2.0])
    doubled = relu.times(2.0)
    assert doubled(x).tolist() == [0, 4]
    assert doubled.derivative(x).tolist() == [0, 2]
    assert (doubled.kinks, doubled.homogeneous) == ((0.0,), True)


def test_an_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(ValueError, match=r"^unknown activation 'tahn': did you mean 'tanh'\?"):
        activation("tahn")
    with pytest.raises(ValueError, match="write one of linear, sigmoid"):
        activation("xyzzy")


def test_a_users_callable_is_imported_with_its_attributes(monkeypatch, tmp_path):
    (tmp_path / "their_module.py").write_text(
        "def shifted(x):\n    return abs(x - 1)\nshifted.kinks = (1.0,)\nshifted.max_slope = 1.0\n"
        "def plain(x):\n    return 2 * x\n"
        "from signalprop.models.activations import ACTIVATIONS\nready = ACTIVATIONS['sin']\nnumber = 3\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    shifted = activation("their_module:shifted")
    assert (shifted.kinks, shifted.max_slope, shifted.homogeneous) == ((1.0,), 1.0, False)
    assert shifted(jnp.asarray(-2.0)) == 3
    assert isnan(activation("their_module:plain").max_slope)
    assert activation("their_module:ready") is ACTIVATIONS["sin"]
    with pytest.raises(ValueError, match="has no 'shited'; did you mean 'shifted'"):
        activation("their_module:shited")
    with pytest.raises(ValueError, match="is not callable"):
        activation("their_module:number")
    with pytest.raises(ValueError, match="cannot import 'no_such_module'"):
        activation("no_such_module:f")


@pytest.mark.parametrize(
    ("function", "words"),
    [
        ("jax.nn.softmax", "its value depends on the other units; write a function of one number"),
        ("lambda x: x - x.mean()", "its value depends on the other units"),
        ("numpy.tanh", "JAX cannot trace it; write it with jax.numpy"),
        ("math.tanh", "JAX cannot trace it; write it with jax.numpy"),
        ("lambda x: x if x > 0 else 0 * x", "JAX cannot trace it; write it with jax.numpy"),
        ("lambda x: x.sum()", r"makes the shape \(\) of \(6,\); write an elementwise function"),
        ("lambda x: None", "returns NoneType; write a function that returns one array"),
        ("lambda x: jax.numpy.sqrt(x + 0j)", "returns complex.*; write a real function"),
        ("lambda x: (x > 0).astype(int)", r"returns int\d+; write .astype\(x.dtype\) at its end"),
    ],
)
def test_what_is_no_activation_is_refused_in_a_line(function, words, monkeypatch, tmp_path):
    module = f"refused_{abs(hash(function))}"
    (tmp_path / f"{module}.py").write_text(f"import math\nimport jax\nimport numpy\nphi = {function}\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(Unusable, match=f"^activation '{module}:phi': {words}") as refused:
        activation(f"{module}:phi")
    assert "\n" not in str(refused.value)
    with pytest.raises(Unusable):  # also while JAX traces
        jax.jit(lambda x: activation(f"{module}:phi")(x))(1.0)


def test_a_callable_is_tried_while_jax_traces_too():
    assert jax.jit(lambda x: activation("jax.numpy:cos")(x))(0.0) == 1


def test_equal_imports_are_equal_so_that_nothing_is_compiled_twice():
    assert activation("jax.numpy:cos") == activation("jax.numpy:cos")
    assert isinstance(activation("jax.numpy:cos"), Activation)
