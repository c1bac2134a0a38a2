"""The QR iteration against LAPACK, and on every platform."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export
from scipy.optimize import linear_sum_assignment

from signalprop.analysis.eigenvalues import eigenvalues, qr_eigenvalues, routine


def distance(found, expected):
    """Largest distance between two unordered sets of complex numbers, paired as closely as possible."""
    apart = np.abs(np.asarray(found)[:, None] - np.asarray(expected))
    return apart[linear_sum_assignment(apart)].max()


def matrices():
    """Six matrices of one size: random, orthogonal, identity, nilpotent, singular, a cycle."""
    rng = np.random.default_rng(0)
    gaussian = rng.standard_normal((8, 8))
    orthogonal = np.linalg.qr(gaussian)[0]
    singular = gaussian @ np.diag([1, 1, 1, 0, 0, 0, 1, 1])
    cycle = np.roll(np.eye(8), 1, axis=0)
    return np.stack([gaussian, orthogonal, np.eye(8), np.triu(gaussian, 1), singular, cycle])


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-12), ("float32", 3e-5)])
def test_the_qr_iteration_finds_the_eigenvalues_of_lapack(dtype, tolerance):
    batch = jnp.asarray(matrices(), dtype)
    found = jax.jit(jax.vmap(qr_eigenvalues))(batch)
    for one, expected in zip(found, np.linalg.eigvals(matrices()), strict=True):
        assert distance(one, expected) < tolerance


@pytest.mark.parametrize(("platform", "calls_lapack"), [("cpu", True), ("cuda", False), ("tpu", False)])
def test_lapack_is_called_on_a_cpu_only(platform, calls_lapack):
    program = export.export(jax.jit(jax.vmap(eigenvalues)), platforms=[platform])
    exported = program(jax.ShapeDtypeStruct((3, 8, 8), jnp.float32))
    assert ("geev" in exported.mlir_module()) == calls_lapack
    assert ("LAPACK" in routine(platform)) == calls_lapack


def test_a_batch_on_this_platform_has_the_eigenvalues_of_numpy():
    found = jax.jit(jax.vmap(eigenvalues))(jnp.asarray(matrices()))
    for one, expected in zip(found, np.linalg.eigvals(matrices()), strict=True):
        assert distance(one, expected) < 1e-12


def test_the_eigenvalues_of_a_matrix_that_is_not_finite_are_not_numbers():
    for found in (eigenvalues, qr_eigenvalues):
        assert np.isnan(jax.jit(found)(jnp.full((3, 3), jnp.nan))).all()
