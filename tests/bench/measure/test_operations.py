"""Operations that are known."""

import jax
import jax.numpy as jnp

from signalprop.bench.measure.operations import operations

SQUARE = jax.ShapeDtypeStruct((8, 8), jnp.float32)


def test_a_matrix_product_takes_two_operations_per_term() -> None:
    assert operations(jnp.matmul, SQUARE, SQUARE) == (2 * 8**3, 0.0)


def test_only_smooth_functions_need_transcendental_operations() -> None:
    assert operations(lambda x: jnp.maximum(x, 0), SQUARE) == (8**2, 0.0)
    assert operations(jnp.tanh, SQUARE)[1] == 8**2
