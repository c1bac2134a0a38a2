"""Moments, edges, atoms and densities of squared singular values: closed forms and sampled wide networks."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import erf, ndtr
from scipy.stats import norm

from signalprop.analysis import freeprob, spectraldensity
from signalprop.analysis.randommatrix import fuss_catalan_density, fuss_catalan_edge


def hard_tanh(x):
    return jnp.clip(x, -1, 1)


hard_tanh.kinks = (-1.0, 1.0)


def relu(x):
    return jnp.maximum(x, 0)


relu.kinks = (0.0,)


def exact_gelu(x):
    return jax.nn.gelu(x, approximate=False)


NAMES = ("linear", "relu", "hard_tanh", "tanh", "erf", "gelu", "sigmoid", "step")
PHIS = (lambda x: x, relu, hard_tanh, jnp.tanh, jax.scipy.special.erf, exact_gelu, jax.nn.sigmoid, jnp.sign)
LENGTHS = (1.0, 1.0, 0.5, 0.4, 0.4, 8.0, 2500.0, 1.0)
DEPTHS = (1, 4, 64)


@jax.jit
def program(index, numbers):
    def phi(x):
        return jax.lax.switch(index, PHIS, x)

    phi.kinks = (-1.0, 0.0, 1.0)
    return freeprob.spectrum(phi, *numbers, num_points=200)


def spectrum(index, sigma_w, q, depth, gaussian):
    """The spectrum of any of the activations: all tests share one program."""
    return program(index, jnp.array([sigma_w, q, depth, gaussian], float))


@cache
def solved(name, depth, gaussian, sigma_w=1.1):
    """The spectrum of one of the activations at its length."""
    index = NAMES.index(name)
    return spectrum(index, sigma_w, LENGTHS[index], depth, gaussian)


@cache
def log_mean(name, depth):
    """Logarithm of the mean squared singular value at sigma_w = 1.1."""
    index = NAMES.index(name)
    return depth * float(log_means(index, LENGTHS[index]))


@jax.jit
def log_means(index, q):
    """For one layer."""

    def phi(x):
        return jax.lax.switch(index, PHIS, x)

    phi.kinks = (-1.0, 0.0, 1.0)
    return freeprob.moments(phi, 1.1, q, 1).log_mean


def relative_variance_of_samples(phi, sigma_w, q, depth, orthogonal, width=96, num_samples=24):
    """Relative variance of the squares, one value per product of factors with independent slopes."""

    def sample(key):
        product = jnp.eye(width)
        for layer_key in jax.random.split(key, depth):
            weight_key, z_key = jax.random.split(layer_key)
            weights = jax.random.normal(weight_key, (width, width), jnp.float64)
            weights = jnp.linalg.qr(weights)[0] if orthogonal else weights / jnp.sqrt(width)
            z = jnp.sqrt(q) * jax.random.normal(z_key, (width,), jnp.float64)
            product = jax.vmap(jax.grad(phi))(z)[:, None] * sigma_w * weights @ product
        squares = jnp.linalg.svd(product, compute_uv=False) ** 2
        return jnp.var(squares) / jnp.mean(squares) ** 2

    return np.asarray(
        jax.jit(lambda keys: jax.lax.map(sample, keys))(jax.random.split(jax.random.key(0), num_samples))
    )


def test_linear_networks_have_the_fuss_catalan_and_the_trivial_variance():
    for depth in (1, 5):
        gaussian = freeprob.moments(lambda z: z, 1.0, 1.0, depth)
        np.testing.assert_allclose(gaussian, (0, depth), atol=1e-12)
        orthogonal = freeprob.moments(lambda z: z, 1.5, 1.0, depth, "orthogonal")
        np.testing.assert_allclose(orthogonal, (2 * depth * np.log(1.5), 0), atol=1e-12)


def test_gates_of_hard_tanh_give_the_closed_form():
    q, sigma_w, depth = 0.5, 1.2, 7
    active = erf(1 / np.sqrt(2 * q))
    log_mean, variance = freeprob.moments(hard_tanh, sigma_w, q, depth, "orthogonal")
    np.testing.assert_allclose(log_mean, depth * np.log(sigma_w**2 * active), rtol=1e-10)
    np.testing.assert_allclose(variance, depth * (1 / active - 1), rtol=1e-10)


@pytest.mark.parametrize("weights", ["gaussian", "orthogonal"])
def test_variance_of_a_wide_tanh_product_is_that_of_the_theory(weights):
    depth, q = 4, 0.6
    samples = relative_variance_of_samples(jnp.tanh, 1.3, q, depth, weights == "orthogonal")
    expected = freeprob.moments(jnp.tanh, 1.3, q, depth, weights).relative_variance
    bias = expected * depth / 96
    assert abs(samples.mean() - expected) < 5 * samples.std() / np.sqrt(samples.size) + bias


def test_log_mean_of_a_deep_network_stays_finite_where_the_mean_underflows():
    log_mean, _ = freeprob.moments(jnp.tanh, jnp.float32(0.1), jnp.float32(0.1), 1000)
    assert np.isfinite(log_mean)
    assert log_mean < -1000


def test_unknown_weights_are_refused():
    with pytest.raises(ValueError, match="weights must be 'gaussian' or 'orthogonal', got 'uniform'"):
        freeprob.moments(jnp.tanh, 1.0, 1.0, 2, "uniform")


def bernoulli_edge(share, depth, gaussian):
    """Largest squared singular value over the mean, in closed form, for slopes 0 and 1."""
    p = share
    if gaussian:
        z = (-(depth - 1) + np.sqrt((depth - 1) ** 2 + 4 * depth * p)) / (2 * depth)
        return (1 + z) / z * (1 + z / p) ** depth
    if depth * (1 - p) <= 1:
        return p**-depth
    z = p / (depth * (1 - p) - 1)
    return (1 + z) / z * ((1 + z / p) / (1 + z)) ** depth


@pytest.mark.parametrize("gaussian", [True, False])
@pytest.mark.parametrize(("name", "share"), [("linear", 1.0), ("relu", 0.5), ("hard_tanh", erf(1.0))])
def test_edges_of_gated_networks_are_the_closed_forms(name, share, gaussian):
    for depth in DEPTHS:
        log_edge = solved(name, depth, gaussian).edge.log_edge
        expected = depth * np.log(1.1**2 * share) + np.log(bernoulli_edge(share, depth, gaussian))
        np.testing.assert_allclose(log_edge, expected, rtol=1e-11, atol=1e-12)


def test_edges_of_linear_and_relu_networks_have_their_well_known_values():
    for depth in (2.0, 16.0):
        linear = spectrum(0, 1.0, 1.0, depth, 1.0).edge.log_edge
        np.testing.assert_allclose(np.exp(linear), fuss_catalan_edge(depth), rtol=1e-12)
        gated = spectrum(1, np.sqrt(2), 1.0, depth, 0.0).edge.log_edge
        np.testing.assert_allclose(np.exp(gated), depth**depth / (depth - 1) ** (depth - 1), rtol=1e-12)


@pytest.mark.parametrize("gaussian", [True, False])
@pytest.mark.parametrize("name", NAMES[:6])
def test_the_mass_of_every_density_is_one_and_its_mean_that_of_the_moments(name, gaussian):
    for depth in DEPTHS:
        density = solved(name, depth, gaussian)
        assert bool(density.converged), depth
        assert abs(float(density.mass) - 1) < 0.002, depth
        if depth == 1 and not gaussian:
            continue  # spikes between the points
        relative = np.asarray(density.log_x) - log_mean(name, depth)
        mean = np.trapezoid(density.per_log * np.exp(relative), relative)
        mean += float(density.atoms.share) * np.exp(float(density.atoms.log_place) - log_mean(name, depth))
        np.testing.assert_allclose(mean, 1, atol=0.03, err_msg=str(depth))  # of the trapezoids


def test_linear_gaussian_densities_are_those_of_fuss_and_catalan():
    for depth in (1, 4, 16):
        density = solved("linear", depth, True, 1.0)
        inside = np.asarray(density.log_x) < float(density.edge.log_edge) - 1e-3
        x = np.exp(np.asarray(density.log_x))[inside]
        np.testing.assert_allclose(density.density[inside], fuss_catalan_density(x, depth), rtol=1e-7)


def test_one_gaussian_layer_is_marchenko_and_pastur_and_what_cannot_be_solved_is_nan():
    x = 4 * np.linspace(0.01, 0.999, 50)
    found = freeprob.jacobian_density(x, PHIS[0], 1.0, 1.0, 1)
    np.testing.assert_allclose(found.density, np.sqrt(x * (4 - x)) / (2 * np.pi * x), rtol=1e-6)
    expected = 2 / np.pi * (np.arccos(np.sqrt(x) / 2) - np.sqrt(x * (4 - x)) / 4)
    np.testing.assert_allclose(found.above, expected, atol=4e-5)  # of the trapezoids
    np.testing.assert_allclose(freeprob.upper_edge(PHIS[0], 1.0, 1.0, 1), 4, rtol=1e-12)
    lost = freeprob.jacobian_density(x, PHIS[0], np.nan, 1.0, 1)
    assert not bool(lost.converged)
    assert np.isnan(lost.density).all()
    assert np.isnan(lost.mass)


def test_the_share_above_does_not_depend_on_the_number_of_points():
    """Three points with 6 % below them, the same among 3000 up to beyond the edge, and a short spectrum."""

    def exact(x):
        return 2 / np.pi * (np.arccos(np.sqrt(x) / 2) - np.sqrt(x * (4 - x)) / 4)

    few, many = np.array([0.01, 1.0, 3.8]), np.geomspace(0.01, 5.0, 3000)
    three, every = (freeprob.jacobian_density(x, PHIS[0], 1.0, 1.0, 1) for x in (few, many))
    np.testing.assert_allclose(three.above, exact(few), atol=4e-5)
    np.testing.assert_allclose(np.interp(few, many, every.above), exact(few), atol=4e-5)
    np.testing.assert_allclose([three.mass, every.mass], exact(few[0]), atol=4e-5)
    assert bool(three.converged)
    assert bool(every.converged)
    chosen = freeprob.spectrum(PHIS[0], 1.0, 1.0, 1, num_points=3)
    np.testing.assert_allclose(chosen.above, exact(np.exp(chosen.log_x)), atol=4e-5)


def test_one_orthogonal_layer_has_the_law_of_its_squared_slopes():
    found = solved("tanh", 1, False)
    x = np.exp(np.asarray(found.log_x)) / 1.1**2
    expected = 1 - 2 * ndtr(-np.arccosh(np.maximum(x**-0.25, 1)) / np.sqrt(0.4))
    np.testing.assert_allclose(found.above, expected, atol=3e-3)
    np.testing.assert_allclose(found.above[x < 0.9], expected[x < 0.9], atol=5e-5)


def squared_singular_values(index, depth, gaussian, width, rng):
    """Logarithms for one product over the mean; slopes are quantiles, of which only the order is random."""
    product, slope = np.eye(width), jax.vmap(jax.grad(PHIS[index]))
    z = np.sqrt(LENGTHS[index]) * norm.ppf((np.arange(width) + 0.5) / width)
    slopes = np.asarray(slope(z))
    for _ in range(depth):
        weights = rng.normal(size=(width, width)) / np.sqrt(width)
        weights = weights if gaussian else np.linalg.qr(weights)[0] * rng.choice([-1, 1], width)
        product = rng.permutation(slopes)[:, None] * weights @ product
    s = np.linalg.svd(product, compute_uv=False)
    return 2 * np.log(s) - np.log(np.mean(s**2))


@pytest.mark.parametrize(
    ("name", "gaussian", "depth"), [("tanh", False, 4), ("erf", True, 4), ("gelu", False, 2)]
)
def test_sampled_products_have_the_density_and_their_largest_value_the_law_of_the_edge(name, gaussian, depth):
    width, num_samples, rng = 192, 6, np.random.default_rng(0)
    density = solved(name, depth, gaussian)
    end = density.edge
    index = NAMES.index(name)
    logs = [squared_singular_values(index, depth, gaussian, width, rng) for _ in range(num_samples)]
    values = np.sort(np.ravel(logs)) + log_mean(name, depth)
    share = 1 - np.interp(values, density.log_x, density.above, left=1)
    distance = np.abs(share - (np.arange(values.size) + 0.5) / values.size).max()
    assert distance < 4 / width  # eigenvalues repel: far below the 1/sqrt of independent ones
    largest = np.max(logs, axis=1) + log_mean(name, depth) - float(end.log_edge)
    scale = float(end.scale) * width ** (-2 / 3)
    assert abs(largest.mean() + 1.2065 * scale) < 5 * 1.268 * scale / np.sqrt(num_samples) + depth / width


def test_zero_is_as_frequent_as_closed_gates_at_every_depth_and_one_value_only_in_shallow_networks():
    for depth in DEPTHS:
        for gaussian in (True, False):
            np.testing.assert_allclose(solved("relu", depth, gaussian).atoms.zero, 0.5, rtol=1e-12)
            top = solved("hard_tanh", depth, gaussian).atoms
            share = max(0.0, 1 - depth * (1 - erf(1.0))) * (not gaussian)
            np.testing.assert_allclose(top.share, share, atol=1e-12)
            if share:
                np.testing.assert_allclose(top.log_place, 2 * depth * np.log(1.1), rtol=1e-12)
    assert solved("tanh", 1, False).atoms.share == 0


def test_deep_isometric_edges_approach_the_universal_limits():
    spread, depth = 2.0, 20000
    share = depth / (depth + spread)  # L (1/p - 1) = 2
    gates = bernoulli_edge(share, depth, gaussian=False)
    np.testing.assert_allclose(freeprob.universal_edge(spread, smooth=False), gates, rtol=1e-3)
    q = np.sqrt(spread / depth / 8)  # mu_2 / mu_1^2 - 1 = 8 q^2 for tanh
    relative = freeprob.moments(jnp.tanh, 1.0, q, depth, "orthogonal")
    end = spectrum(3, 1.0, q, depth, 0.0).edge.log_edge - relative.log_mean
    limit = freeprob.universal_edge(float(relative.relative_variance), smooth=True)
    np.testing.assert_allclose(np.exp(float(end)), limit, rtol=0.01)  # of order L^(-1/2)
    np.testing.assert_allclose(freeprob.universal_edge(0.5, smooth=False), np.exp(0.5), rtol=1e-12)


def test_a_nearly_isometric_spectrum_is_resolved():
    found = spectrum(3, 1.0, 1e-8, 16.0, 0.0)
    assert bool(found.converged)
    assert float(found.log_x[0]) > -1e-4


def test_a_step_function_has_no_density_and_all_its_values_at_zero():
    found = solved("step", 4, True)
    assert float(found.mass) == pytest.approx(1)
    assert np.all(found.per_log == 0)
    assert float(found.atoms.zero) == pytest.approx(1)
    assert np.isneginf(found.edge.log_edge)


def test_mass_that_the_points_miss_is_not_called_converged():
    wide = solved("sigmoid", 16, True, 100.0)
    assert not bool(wide.converged)
    assert abs(float(wide.mass) - 1) > 0.005


def test_float32_is_good_to_a_thousandth():
    one, log_x = jnp.float32(1), jnp.log(jnp.geomspace(1e-3, 12, 40))
    law = spectraldensity.layer(PHIS[0], one, one)
    per_log, solved = jax.jit(spectraldensity.density)(log_x.astype("float32"), law, jnp.float32(4), one)
    assert per_log.dtype == jnp.float32
    assert bool(solved.all())
    x = jnp.exp(log_x)
    np.testing.assert_allclose(per_log, x * fuss_catalan_density(x, 4), rtol=2e-3)


@pytest.mark.parametrize("function", [freeprob.edge, freeprob.atoms, freeprob.spectrum])
def test_unknown_weights_are_refused_everywhere(function):
    with pytest.raises(ValueError, match="weights must be 'gaussian' or 'orthogonal', got 'uniform'"):
        function(jnp.tanh, 1.0, 1.0, 2, weights="uniform")


@pytest.mark.parametrize("function", [freeprob.moments, freeprob.edge, freeprob.atoms, freeprob.upper_edge])
def test_the_family_of_the_weights_may_be_traced_and_a_wrong_one_is_refused(function):
    at = hard_tanh, 1.3, 0.1, 4
    both = jax.jit(jax.vmap(lambda weights: function(*at, weights)))(jnp.array([1.0, 0.0]))
    for place, name in enumerate(("gaussian", "orthogonal")):
        found = jax.tree.map(lambda values, place=place: values[place], both)
        np.testing.assert_allclose(found, function(*at, name), rtol=1e-12)
    for wrong in ("uniform", 0.5, None, jnp.ones(2)):
        with pytest.raises(ValueError, match="weights must be 'gaussian' or 'orthogonal', got"):
            function(*at, wrong)


def test_the_edge_can_be_differentiated():
    """Logarithm of lambda_+: 2 L log sigma_w plus what does not depend on sigma_w."""
    for weights in ("gaussian", "orthogonal"):
        slope = jax.grad(lambda s, weights=weights: freeprob.edge(jnp.tanh, s, 0.4, 4, weights).log_edge)(1.3)
        np.testing.assert_allclose(slope, 2 * 4 / 1.3, rtol=1e-9)
