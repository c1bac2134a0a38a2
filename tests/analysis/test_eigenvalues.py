"""The QR iteration against LAPACK, and on every platform."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export
from scipy.optimize import linear_sum_assignment

from signalprop.analysis.eigenvalues import eigenvalues


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
    found = jax.jit(jax.vmap(eigenvalues))(batch)
    for one, expected in zip(found, np.linalg.eigvals(matrices()), strict=True):
        assert distance(one, expected) < tolerance


def test_the_program_lowers_for_every_platform():
    exported = export.export(jax.jit(jax.vmap(eigenvalues)), platforms=["cpu", "cuda", "tpu"])(
        jax.ShapeDtypeStruct((3, 8, 8), jnp.float32)
    )
    assert set(exported.platforms) == {"cpu", "cuda", "tpu"}


def test_the_eigenvalues_of_a_matrix_that_is_not_finite_are_not_numbers():
    assert np.isnan(jax.jit(eigenvalues)(jnp.full((3, 3), jnp.nan))).all()
