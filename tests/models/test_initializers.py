"""Schemes against sampled variances, orthogonality and sharing of draws."""

from math import sqrt

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from signalprop.models.initializers import SCHEMES, Scheme, scheme

SHAPES = [(300, 300), (200, 400), (400, 200)]
RANDOM = [name for name in SCHEMES if name not in ("identity", "scaled_identity", "smart_tanh")]
# sqrt(fan_in Var W) at (200, 400) and at 300 x 300, written out from the definitions in the papers
VARIANCES = {
    "normal_001": lambda n_in, n_out: 1e-4 * n_in,
    "uniform_standard": lambda n_in, n_out: 1 / 3,
    "glorot_uniform": lambda n_in, n_out: 2 * n_in / (n_in + n_out),
    "glorot_normal": lambda n_in, n_out: 2 * n_in / (n_in + n_out),
    "he_uniform": lambda n_in, n_out: 2.0,
    "he_normal": lambda n_in, n_out: 2.0,
    "he_leaky": lambda n_in, n_out: 2 / (1 + 1e-4),
    "lecun_normal": lambda n_in, n_out: 1.0,
    "haar_orthogonal": lambda n_in, n_out: n_in / max(n_in, n_out),
    "gaussian": lambda n_in, n_out: 1.3**2,
    "orthogonal": lambda n_in, n_out: 1.3**2 * n_in / max(n_in, n_out),
}


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", RANDOM)
def test_sampled_variance_is_that_of_the_definition_and_of_effective_sigma_w(name, shape):
    kernel = np.asarray(SCHEMES[name].draw(jax.random.key(1), *shape, 1.3, jnp.float64))
    squares = shape[0] * kernel**2
    error = 5 * squares.std() / sqrt(squares.size)
    expected = VARIANCES[name](*shape)
    assert abs(squares.mean() - expected) < error
    assert SCHEMES[name].effective_sigma_w(*shape, 1.3) ** 2 == pytest.approx(expected, rel=1e-12)
    assert abs(kernel.mean()) < 5 * kernel.std() / sqrt(kernel.size)


@pytest.mark.parametrize(
    ("name", "kurtosis"), [("gaussian", 3.0), ("he_normal", 2.3655), ("he_uniform", 1.8)]
)
def test_kurtosis_tells_normal_truncated_and_uniform_apart(name, kurtosis):
    kernel = np.asarray(SCHEMES[name].draw(jax.random.key(2), 300, 300))
    fourth = (kernel / kernel.std()) ** 4
    assert abs(fourth.mean() - kurtosis) < 5 * fourth.std() / sqrt(kernel.size)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", ["haar_orthogonal", "orthogonal"])
def test_orthogonal_kernels_have_all_singular_values_equal_to_the_gain(name, shape):
    kernel = SCHEMES[name].draw(jax.random.key(3), *shape, 1.3, jnp.float64)
    gain = 1.3 if SCHEMES[name].free else 1.0
    np.testing.assert_allclose(jnp.linalg.svd(kernel, compute_uv=False), gain, rtol=1e-12)


def test_orthogonal_kernels_are_haar_so_both_signs_of_the_determinant_are_equally_likely():
    keys = jax.random.split(jax.random.key(4), 4000)
    kernels = jax.vmap(lambda key: SCHEMES["haar_orthogonal"].draw(key, 3, 3))(keys)
    signs = np.sign(jnp.linalg.det(kernels))
    trace = np.trace(kernels, axis1=1, axis2=2)
    assert abs(signs.mean()) < 5 / sqrt(len(keys))
    assert abs(trace.mean()) < 5 * trace.std() / sqrt(len(keys))
    assert abs((trace**2).mean() - 1) < 5 * (trace**2).std() / sqrt(len(keys))


def test_smart_tanh_has_15_entries_per_row_at_random_places_and_the_spectral_radius_asked_for():
    keys = jax.random.split(jax.random.key(4), 20)
    kernels = np.asarray(
        jax.vmap(lambda key: SCHEMES["smart_tanh"].draw(key, 40, 40, 0.95, jnp.float64))(keys)
    )
    assert np.all(np.sum(kernels != 0, axis=2) == 15)
    np.testing.assert_allclose(np.abs(np.linalg.eigvals(kernels)).max(axis=1), 0.95, rtol=1e-6)
    filled = np.mean(kernels != 0, axis=(0, 1))
    assert np.all(abs(filled - 15 / 40) < 5 * sqrt(15 / 40 * 25 / 40 / 800))


def test_smart_tanh_draws_single_precision_kernels_of_one_radius_and_only_square_ones():
    kernel = SCHEMES["smart_tanh"].draw(jax.random.key(4), 100, 100)
    assert np.abs(np.linalg.eigvals(kernel)).max() == pytest.approx(1, abs=1e-5)
    with pytest.raises(ValueError, match=r"scheme smart_tanh needs a square kernel, got \(6, 4\)"):
        SCHEMES["smart_tanh"].draw(jax.random.key(5), 6, 4)


@pytest.mark.parametrize("shape", [(3, 3), (2, 5), (5, 2)], ids=str)
def test_identity_is_the_rectangular_eye_with_the_orthogonal_scale(shape):
    kernel = SCHEMES["identity"].draw(jax.random.key(0), *shape)
    np.testing.assert_array_equal(kernel, np.eye(*shape))
    np.testing.assert_array_equal(SCHEMES["scaled_identity"].draw(jax.random.key(0), *shape, 3.0), 3 * kernel)
    assert SCHEMES["identity"].sigma_w(*shape) ** 2 == pytest.approx(shape[0] * np.mean(kernel**2))


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16, jnp.float32, jnp.float64])
@pytest.mark.parametrize("name", SCHEMES)
def test_kernels_come_in_the_shape_and_dtype_asked_for(name, dtype):
    shape = (6, 6) if name == "smart_tanh" else (6, 4)
    kernel = jax.eval_shape(lambda: SCHEMES[name].draw(jax.random.key(5), *shape, 1.3, dtype))
    assert (kernel.shape, kernel.dtype) == (shape, dtype)


@pytest.mark.parametrize("name", ["gaussian", "haar_orthogonal"])
def test_kernels_below_float32_are_the_float32_ones_rounded(name):
    rounded, whole = (
        SCHEMES[name].draw(jax.random.key(5), 6, 4, 1.0, t) for t in (jnp.bfloat16, jnp.float32)
    )
    np.testing.assert_array_equal(rounded, whole.astype(jnp.bfloat16))


@pytest.mark.parametrize("name", ["gaussian", "orthogonal"])
def test_scales_share_their_draws_under_vmap(name):
    draw = SCHEMES[name].draw
    one, two = jax.vmap(lambda sigma_w: draw(jax.random.key(6), 8, 5, sigma_w))(jnp.array([1.0, 2.0]))
    np.testing.assert_array_equal(2 * one, two)
    assert SCHEMES[name].sigma_w(8, 5) is None


def test_schemes_with_a_scale_of_their_own_ignore_sigma_w():
    draw = SCHEMES["he_normal"].draw
    np.testing.assert_array_equal(draw(jax.random.key(7), 8, 5, 1.0), draw(jax.random.key(7), 8, 5, 9.0))
    assert SCHEMES["he_normal"].sigma_w(8, 5) == sqrt(2)


def test_an_unknown_scheme_is_answered_with_the_nearest():
    with pytest.raises(ValueError, match=r"unknown scheme 'he_norml': did you mean 'he_normal'\?"):
        scheme("he_norml")


def test_a_users_initializer_is_imported_and_its_scale_measured(monkeypatch, tmp_path):
    (tmp_path / "their_scheme.py").write_text(
        "from jax.nn import initializers\nwide = initializers.variance_scaling(4.0, 'fan_in', 'normal')\n"
        "from signalprop.models.initializers import SCHEMES\nready = SCHEMES['he_normal']\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    wide = scheme("their_scheme:wide")
    assert wide == scheme("their_scheme:wide")
    assert abs(wide.sigma_w(200, 300) - 2) < 5 * 2 / sqrt(2 * 200 * 300)
    assert scheme("their_scheme:ready") is SCHEMES["he_normal"]
    assert isinstance(wide, Scheme)
