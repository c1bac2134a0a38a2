"""Weight initialization schemes: how a kernel is drawn, and which sigma_w that amounts to."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import sqrt

import jax
import jax.numpy as jnp
from jax.nn import initializers
from jax.typing import DTypeLike
from jaxtyping import Array, ArrayLike, Float, PRNGKeyArray

from signalprop.models.lookup import imported, named

LEAKY_SLOPE = 0.01
NONZEROS = 15  # per row of a sparse recurrent kernel, Martens (2010)
SQUARINGS = 24  # Gelfand's formula at the power 2^24


@dataclass(frozen=True)
class Scheme:
    """A distribution of kernels, with the ``sigma_w`` it amounts to.

    Frozen and hashable, so that it can be a static argument of ``jax.jit``.

    Attributes:
        name: Key in ``SCHEMES``, or ``module:name``.
        initializer: ``(key, shape, dtype) -> kernel`` of shape (in, out), as in ``jax.nn.initializers``.
        unit_sigma_w: ``(fan_in, fan_out) -> sqrt(fan_in Var W_ij)`` of what the initializer draws;
            None if unknown, then it is measured on one draw.
        free: Whether the kernel is multiplied by the ``sigma_w`` asked for.
    """

    name: str
    initializer: Callable[..., Array]
    unit_sigma_w: Callable[[int, int], float] | None = None
    free: bool = False

    def draw(
        self,
        key: PRNGKeyArray,
        fan_in: int,
        fan_out: int,
        sigma_w: Float[ArrayLike, ""] = 1.0,
        dtype: DTypeLike = jnp.float32,
    ) -> Float[Array, "fan_in fan_out"]:
        """Draw one kernel.

        The draw itself depends on the key and the shape only, so that kernels of two scales are multiples of
        each other. Types below float32 are drawn in float32 and rounded.

        Args:
            key: Random key.
            fan_in: Units below.
            fan_out: Units above.
            sigma_w: Scale, may be traced; ignored unless the scheme is free.
            dtype: Type of the kernel.
        """
        drawn = self.initializer(key, (fan_in, fan_out), jnp.promote_types(dtype, jnp.float32)).astype(dtype)
        return drawn * jnp.asarray(sigma_w, dtype) if self.free else drawn

    def sigma_w(self, fan_in: int, fan_out: int) -> float | None:
        """Return the scheme's own effective ``sigma_w``, or None where the user chooses it."""
        return None if self.free else self.effective_sigma_w(fan_in, fan_out)

    def effective_sigma_w(self, fan_in: int, fan_out: int, sigma_w: float = 1.0) -> float:
        r"""Return :math:`\sqrt{n_{in} \, \mathbb{E} W_{ij}^2}` of the kernels that ``draw`` returns.

        Exact for the schemes of this file. Of a user's initializer it is measured on one draw with a fixed
        key: relative standard error about ``1 / sqrt(2 fan_in fan_out)``.

        Args:
            fan_in: Units below.
            fan_out: Units above.
            sigma_w: The scale given to ``draw``; ignored unless the scheme is free.
        """
        if self.unit_sigma_w is not None:
            unit = self.unit_sigma_w(fan_in, fan_out)
        else:
            unit = float(_measured_sigma_w(jax.random.key(0), self.initializer, fan_in, fan_out))
        return unit * sigma_w if self.free else unit


@partial(jax.jit, static_argnums=(1, 2, 3))
def _measured_sigma_w(
    key: PRNGKeyArray, initializer: Callable[..., Array], fan_in: int, fan_out: int
) -> Float[Array, ""]:
    """``sqrt(fan_in E W_ij^2)`` of one draw."""
    kernel = initializer(key, (fan_in, fan_out), jnp.float32)
    return jnp.sqrt(fan_in * jnp.mean(kernel**2))


def _constant(value: float) -> Callable[[int, int], float]:
    return lambda fan_in, fan_out: value


def _glorot(fan_in: int, fan_out: int) -> float:
    return sqrt(2 * fan_in / (fan_in + fan_out))


def _isometry(fan_in: int, fan_out: int) -> float:
    """min(in, out) unit singular values: 1 when square or narrowing, below 1 when widening."""
    return sqrt(fan_in / max(fan_in, fan_out))


def _normal_001(fan_in: int, fan_out: int) -> float:
    return 0.01 * sqrt(fan_in)


def _eye(key: PRNGKeyArray, shape: tuple[int, int], dtype: DTypeLike) -> Array:
    return jnp.eye(*shape, dtype=dtype)


def _sparse_unit_radius(key: PRNGKeyArray, shape: tuple[int, int], dtype: DTypeLike) -> Array:
    """15 normal entries per row at random places, rescaled to spectral radius 1."""
    if shape[0] != shape[1]:
        raise ValueError(
            f"scheme smart_tanh needs a square kernel, got {shape}; write orthogonal or gaussian"
        )
    place_key, value_key = jax.random.split(key)
    order = jnp.argsort(jax.random.uniform(place_key, shape), axis=1)
    kernel = jnp.where(order < NONZEROS, jax.random.normal(value_key, shape, dtype), 0)
    return kernel / _spectral_radius(kernel)


def _spectral_radius(kernel: Array) -> Array:
    """Gelfand's ``rho = lim |A^m|^(1/m)`` by repeated squaring, which compiles for every accelerator."""

    def square(power: Array, halvings: Array) -> tuple[Array, Array]:
        largest = jnp.max(jnp.abs(power))
        power = power / largest
        return jnp.matmul(power, power, precision="highest"), jnp.log(largest) * 0.5**halvings

    _, logs = jax.lax.scan(square, kernel, jnp.arange(SQUARINGS, dtype=kernel.dtype))
    return jnp.exp(jnp.sum(logs))


# The normal draws of he, lecun and glorot are cut at two standard deviations and rescaled to the exact
# variance, as everywhere in jax.nn.initializers; `gaussian` and `normal_001` are not cut.
_he_leaky = initializers.variance_scaling(2 / (1 + LEAKY_SLOPE**2), "fan_in", "truncated_normal")
_uniform_standard = initializers.variance_scaling(1 / 3, "fan_in", "uniform")
_gaussian = initializers.variance_scaling(1.0, "fan_in", "normal")

SCHEMES = {
    "normal_001": Scheme("normal_001", initializers.normal(0.01), _normal_001),
    "uniform_standard": Scheme("uniform_standard", _uniform_standard, _constant(sqrt(1 / 3))),
    "glorot_uniform": Scheme("glorot_uniform", initializers.glorot_uniform(), _glorot),
    "glorot_normal": Scheme("glorot_normal", initializers.glorot_normal(), _glorot),
    "he_uniform": Scheme("he_uniform", initializers.he_uniform(), _constant(sqrt(2))),
    "he_normal": Scheme("he_normal", initializers.he_normal(), _constant(sqrt(2))),
    "he_leaky": Scheme("he_leaky", _he_leaky, _constant(sqrt(2 / (1 + LEAKY_SLOPE**2)))),
    "lecun_normal": Scheme("lecun_normal", initializers.lecun_normal(), _constant(1.0)),
    "haar_orthogonal": Scheme("haar_orthogonal", initializers.orthogonal(), _isometry),
    "identity": Scheme("identity", _eye, _isometry),
    "gaussian": Scheme("gaussian", _gaussian, _constant(1.0), free=True),
    "orthogonal": Scheme("orthogonal", initializers.orthogonal(), _isometry, free=True),
    "scaled_identity": Scheme("scaled_identity", _eye, _isometry, free=True),
    # Pascanu et al. (2013), arXiv 1211.5063; sigma_w is the spectral radius, 0.95 in their experiments
    "smart_tanh": Scheme("smart_tanh", _sparse_unit_radius, free=True),
}


def scheme(name: str) -> Scheme:
    """Find a scheme by its name, or import a user's own.

    Args:
        name: A key of ``SCHEMES``, or ``module:name`` of a ``Scheme`` or of an initializer
            ``(key, shape, dtype) -> kernel``.

    Raises:
        ValueError: If the name is unknown (the message gives the nearest one) or cannot be imported.

    Example:
        >>> scheme("he_normal").sigma_w(300, 100)
        1.4142135623730951
    """
    if ":" not in name:
        return named("scheme", name, SCHEMES)
    found = imported("scheme", name, Scheme)
    return found if isinstance(found, Scheme) else Scheme(name, found)
