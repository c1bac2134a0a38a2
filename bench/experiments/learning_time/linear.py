r"""Gradient descent in deep linear networks, on the loss of whitened inputs: only kernels, no data.

With n kernels and P = W_n ... W_1 the loss is |P - T|^2 / 2 for a target T. From a decoupled start, where all
kernels are aligned with each other and with the singular vectors of T, the strength u of a mode of strength s
follows :math:`\tau \dot u = n u^{2 - 2/n} (s - u)` (Saxe, McClelland & Ganguli 2013, arXiv:1312.6120, eq. 15
with n = N_l - 1).
"""

import jax
import jax.numpy as jnp
import numpy as np

from signalprop.models.initializers import SCHEMES

STRENGTHS = (2.0, 1.5, 1.0)  # modes of the target whose strength is followed
START = 0.1  # strength of every mode in the beginning
STEP = 0.01  # learning rate times n: small enough for the differential equation
END = 30.0  # n times the time followed
MOMENTS = 31
STARTS = ("orthogonal", "gaussian")


def draw_kernels(key: jax.Array, count: int, width: int, orthogonal: jax.Array, dtype: str) -> jax.Array:
    """Square kernels at the critical scale, orthogonal or Gaussian by a traced truth value: (count, N, N)."""

    def one(key: jax.Array) -> jax.Array:
        turned, random = (SCHEMES[name].draw(key, width, width, 1.0, dtype) for name in STARTS)
        return jnp.where(orthogonal, turned, random)

    return jax.vmap(one)(jax.random.split(key, count))


def product(kernels: jax.Array, start: jax.Array) -> jax.Array:
    """``start W_1 ... W_n``, the rows of start being inputs."""
    return jax.lax.scan(lambda y, kernel: (y @ kernel, None), start, kernels)[0]


def learning_time(
    kernels: jax.Array, target: jax.Array, learning_rate: jax.Array, steps: int, remaining: float
) -> jax.Array:
    """Steps of gradient descent until the loss is a share of |T|^2 / 2; inf if it is not within ``steps``.

    Args:
        kernels: (n, N, N).
        target: T in the order of rows as inputs, (N, outputs): the product's first columns are compared.
        learning_rate: Step size.
        steps: Largest number of steps.
        remaining: Share of |T|^2 / 2 that counts as learned.
    """
    outputs, eye = target.shape[1], jnp.eye(kernels.shape[-1], dtype=kernels.dtype)

    def loss(kernels: jax.Array) -> jax.Array:
        return jnp.sum((product(kernels, eye)[:, :outputs] - target) ** 2) / 2

    goal = remaining * jnp.sum(target**2) / 2

    def step(
        carry: tuple[jax.Array, jax.Array], number: jax.Array
    ) -> tuple[tuple[jax.Array, jax.Array], None]:
        kernels, reached = carry
        value, slope = jax.value_and_grad(loss)(kernels)
        reached = jnp.where((value <= goal) & jnp.isinf(reached), number, reached)
        return (kernels - learning_rate * slope, reached), None

    never = jnp.full((), jnp.inf, kernels.dtype)
    (_, reached), _ = jax.lax.scan(step, (kernels, never), jnp.arange(steps, dtype=kernels.dtype))
    return reached


def decoupled_strengths(key: jax.Array, count: int) -> jax.Array:
    """Strengths of the modes at ``MOMENTS`` equal times from a decoupled start, (moments, modes), float64.

    Full matrices in random bases: kernel i maps basis i to basis i + 1, as in the paper's section 1.
    """
    modes = len(STRENGTHS)
    bases = jax.vmap(lambda k: SCHEMES["haar_orthogonal"].draw(k, modes, modes, dtype=jnp.float64))(
        jax.random.split(key, count + 1)
    )
    kernels = START ** (1 / count) * jnp.einsum("lij,lkj->lik", bases[:-1], bases[1:])
    target = bases[0] @ jnp.diag(jnp.asarray(STRENGTHS)) @ bases[-1].T
    stride = round(END / STEP / (MOMENTS - 1))

    def loss(kernels: jax.Array) -> jax.Array:
        return jnp.sum((product(kernels, jnp.eye(modes)) - target) ** 2) / 2

    def descend(kernels: jax.Array, _: None) -> tuple[jax.Array, jax.Array]:
        seen = jnp.diagonal(bases[0].T @ product(kernels, jnp.eye(modes)) @ bases[-1])
        after = jax.lax.fori_loop(0, stride, lambda _, w: w - STEP / count * jax.grad(loss)(w), kernels)
        return after, seen

    return jax.lax.scan(descend, kernels, length=MOMENTS)[1]


def moments() -> np.ndarray:
    """Times, multiplied by n."""
    return np.linspace(0, END, MOMENTS)
