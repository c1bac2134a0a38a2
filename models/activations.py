"""Activation functions: one table of fifteen, and any callable of the user's own."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import erf, exp, log, nan, pi, sqrt

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Int

from signalprop.models.lookup import Unusable, imported, named

SELU_LEFT_SLOPE = 1.0507009873554805 * 1.6732632423543772  # Klambauer et al. (2017), arXiv 1706.02515
GELU_MAX_SLOPE = (1 + erf(1)) / 2 + exp(-1) / sqrt(pi)  # at x = sqrt(2)
SILU_MAX_SLOPE = 1.0998393201288669  # at x = 2.3994, where x tanh(x / 2) = 2


@dataclass(frozen=True)
class Activation:
    """An elementwise function with what theory needs to know about it.

    Frozen and hashable, so that it can be a static argument of ``jax.jit``.

    Attributes:
        name: Key in ``ACTIVATIONS``, or ``module:name``.
        function: The elementwise function.
        kinks: Points where the function or one of its first two derivatives jumps; quadrature splits there.
            None if nobody said: the theory then looks for them.
        max_slope: Supremum of ``abs(phi'(x))`` over the real line; NaN if unknown.
        homogeneous: Whether ``phi(a x) = a phi(x)`` for every ``a > 0``.
        parts: Functions to look at for kinks in place of this one, where that depends on a traced value.
        log_slope: Logarithm of ``abs(phi'(x))`` where rounding loses the slope itself, as ``1 - tanh(x)^2``
            beyond 19 in float64; None where it does not, or nobody said.
    """

    name: str
    function: Callable[[Array], Array]
    kinks: tuple[float, ...] | None
    max_slope: float
    homogeneous: bool = False
    parts: tuple[Callable[[Array], Array], ...] = ()
    log_slope: Callable[[Array], Array] | None = None

    def __call__(self, x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """Apply the function elementwise."""
        return self.function(x)

    def derivative(self, x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """Differentiate elementwise; see `derivative` for the values at kinks."""
        return derivative(self.function, x)

    def times(self, factor: Float[ArrayLike, ""]) -> "Activation":
        """Multiply by a factor above 0, which may be traced; kinks and homogeneity stay.

        With unit weights, activation ``sigma_w phi`` and input ``sigma_w x``, a network has the signals z of
        the one with weights of scale sigma_w, and dE/dz up to one factor sigma_w from the output. All scales
        then share one matrix product.
        """
        scaled = lambda x: jnp.multiply(factor, self.function(x))  # noqa: E731
        return replace(self, function=scaled, max_slope=nan, parts=self.parts or (self,), log_slope=None)


def derivative(phi: Callable[[Array], Array], x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Differentiate an elementwise function at every element, by forward-mode autodiff.

    At a kink this is the one-sided value that autodiff gives: 0 for relu at 0, 1 for leaky_relu at 0 and
    hard_tanh at -1 and 1, the left slope 1.7581 for selu at 0. The derivative of binary_step is 0 everywhere.

    Args:
        phi: Elementwise function.
        x: Where to differentiate.
    """
    slope: Array = jax.jvp(phi, (x,), (jnp.ones_like(x),))[1]
    return slope


def _linear(x: Array) -> Array:
    return x


def _gelu(x: Array) -> Array:
    return jax.nn.gelu(x, approximate=False)


def _binary_step(x: Array) -> Array:
    return jnp.where(x >= 0, 1, 0).astype(x.dtype)


def _log_slope_of_tanh(x: Array) -> Array:
    size = jnp.abs(x)
    return 2 * (log(2) - size - jnp.log1p(jnp.exp(-2 * size)))


def _log_slope_of_sigmoid(x: Array) -> Array:
    return jax.nn.log_sigmoid(x) + jax.nn.log_sigmoid(-x)


def _log_slope_of_erf(x: Array) -> Array:
    return log(2 / sqrt(pi)) - x**2


ACTIVATIONS = {
    "linear": Activation("linear", _linear, (), 1.0, homogeneous=True),
    "sigmoid": Activation("sigmoid", jax.nn.sigmoid, (), 0.25, log_slope=_log_slope_of_sigmoid),
    "tanh": Activation("tanh", jnp.tanh, (), 1.0, log_slope=_log_slope_of_tanh),
    "hard_tanh": Activation("hard_tanh", jax.nn.hard_tanh, (-1.0, 1.0), 1.0),
    "softsign": Activation("softsign", jax.nn.soft_sign, (0.0,), 1.0),
    "relu": Activation("relu", jax.nn.relu, (0.0,), 1.0, homogeneous=True),
    "leaky_relu": Activation("leaky_relu", jax.nn.leaky_relu, (0.0,), 1.0, homogeneous=True),
    "elu": Activation("elu", jax.nn.elu, (0.0,), 1.0),
    "selu": Activation("selu", jax.nn.selu, (0.0,), SELU_LEFT_SLOPE),
    "gelu": Activation("gelu", _gelu, (), GELU_MAX_SLOPE),
    "silu": Activation("silu", jax.nn.silu, (), SILU_MAX_SLOPE),
    "softplus": Activation("softplus", jax.nn.softplus, (), 1.0),
    "erf": Activation("erf", jax.scipy.special.erf, (), 2 / sqrt(pi), log_slope=_log_slope_of_erf),
    "sin": Activation("sin", jnp.sin, (), 1.0),
    "binary_step": Activation("binary_step", _binary_step, (0.0,), 0.0),
}


def activation(name: str) -> Activation:
    """Find an activation by its name, or import a user's own.

    Args:
        name: A key of ``ACTIVATIONS``, or ``module:name`` of an elementwise callable. A plain callable is
            wrapped; its attributes ``kinks``, ``max_slope``, ``homogeneous``, ``log_slope`` are kept where it
            has them.

    Returns:
        The activation; of an imported one without attributes, kinks None, slope NaN and not homogeneous.

    Raises:
        Unusable: If the name is unknown (the message gives the nearest one) or cannot be imported, or if the
            callable is not elementwise or not written for JAX.

    Example:
        >>> activation("tanh").max_slope
        1.0
    """
    if ":" not in name:
        return named("activation", name, ACTIVATIONS)
    function = imported("activation", name)
    if isinstance(function, Activation):
        return function
    require_elementwise(name, function)
    kinks = getattr(function, "kinks", None)
    return Activation(
        name,
        function,
        None if kinks is None else tuple(kinks),
        getattr(function, "max_slope", nan),
        getattr(function, "homogeneous", False),
        log_slope=getattr(function, "log_slope", None),
    )


def require_elementwise(name: str, function: Callable[[Array], Array]) -> None:
    """Raise Unusable unless a callable acts on every element alone, in JAX, and keeps shape and float type.

    Args:
        name: Of the callable, for the message.
        function: Tried on six numbers, together and one by one.
    """
    if why := _why_unusable(function):
        raise Unusable(f"activation {name!r}: {why}")


def _why_unusable(function: Callable[[Array], Array]) -> str:
    """What is wrong with a callable as an activation; empty if nothing is."""
    at = jax.ShapeDtypeStruct((6,), jnp.result_type(float))
    try:
        together = jax.eval_shape(lambda x: function(x), at)  # jit of a NumPy ufunc itself may crash
    except Exception as error:  # whatever a user's code raises
        return f"JAX cannot trace it; write it with jax.numpy ({str(error).splitlines()[0]})"
    if not hasattr(together, "shape"):
        return f"returns {type(together).__name__}; write a function that returns one array"
    if together.shape != at.shape:
        return f"makes the shape {together.shape} of {at.shape}; write an elementwise function"
    if not jnp.issubdtype(together.dtype, jnp.floating):
        real = (
            "a real function"
            if jnp.issubdtype(together.dtype, jnp.complexfloating)
            else ".astype(x.dtype) at its end"
        )
        return f"returns {together.dtype}; write {real}"
    if not _acts_alone(function):
        return "its value depends on the other units; write a function of one number"
    return ""


def _acts_alone(function: Callable[[Array], Array]) -> bool:
    """Whether six numbers have the same values together as one by one."""
    with jax.ensure_compile_time_eval():
        x = jnp.linspace(-1.7, 1.3, 6)
        together, alone = function(x), jax.vmap(lambda x: function(x[None])[0])(x)
        return bool(jnp.allclose(together, alone, rtol=1e-4, atol=1e-6, equal_nan=True))


def chosen(names: tuple[str, ...], index: Int[ArrayLike, ""]) -> Activation:
    """The activation whose place in ``names`` is traced, so that all of them share one program and its draws.

    Under ``vmap`` over the index all of them are evaluated for each, in a ``lax.map`` only the chosen one.

    Args:
        names: As for `activation`.
        index: Place in ``names``; one that is out of range means the nearest end.
    """
    phis = tuple(activation(name) for name in names)
    declared = [phi.kinks for phi in phis]
    kinks = None if None in declared else tuple(sorted({k for kinks in declared if kinks for k in kinks}))
    return Activation("chosen", lambda x: jax.lax.switch(index, phis, x), kinks, nan, parts=phis)
