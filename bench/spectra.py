"""Singular values of the input-output Jacobian at many depths, from one pass through each network."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, PRNGKeyArray

from signalprop.analysis import products
from signalprop.models.activations import derivative
from signalprop.models.initializers import Scheme
from signalprop.models.initializers import scheme as find_scheme
from signalprop.models.mlp import draw_layer


class Form(NamedTuple):
    """How a product is carried: functions of `signalprop.analysis.products`."""

    start: Callable[..., Any]
    extend: Callable[..., Any]
    finish: Callable[[Any], Array]


def append_layer(product: products.Stratified, kernel: Array, slopes: Array) -> products.Stratified:
    """The Jacobian with one more layer ``diag(slopes) kernel^T`` in the exact form."""
    return products.append(product, kernel.T, slopes)


FORMS = {
    "fast": Form(products.start_scaled, products.prepend_scaled, products.finish_scaled),
    "exact": Form(products.start, append_layer, products.finish),
}


def prefix_spectra(
    key: PRNGKeyArray,
    phi: Callable[[Array], Array],
    scheme: Scheme | str,
    sigma_w: Float[ArrayLike, ""],
    sigma_b: Float[ArrayLike, ""],
    width: int,
    depths: tuple[int, ...],
    x: Float[Array, " width"],
    form: Literal["fast", "exact"] = "fast",
) -> Float[Array, "num_depths width"]:
    """Natural logs of the singular values of dy^l/dy^0 at each depth l, descending.

    Nothing is stored but the signal and the product so far: layers are drawn where they are used. The scale
    is applied behind each multiplication, so under ``vmap`` over scales the networks share the draws and
    multiply by the same kernel at once. The network is ``MLP((width,) * (L + 1), phi, scheme, sigma_w,
    sigma_b, key=key)`` up to rounding; its signal must stay in the range of the dtype.

    Args:
        key: The network's key.
        phi: Activation.
        scheme: Weight initialization.
        sigma_w: Scale of the weights, used by the schemes that leave it free.
        sigma_b: Standard deviation of the biases.
        width: Units of the input and of every layer.
        depths: Depths of interest, ascending.
        x: Input; its dtype is that of the computation.
        form: ``exact`` resolves every value (-inf beyond the rank that dead units leave); ``fast`` takes one
            SVD per depth and marks with NaN what it cannot resolve.
    """
    scheme = find_scheme(scheme) if isinstance(scheme, str) else scheme
    scale = jnp.asarray(sigma_w if scheme.free else 1, x.dtype)
    start, extend, finish = FORMS[form]
    unresolved = jnp.full(width, jnp.nan, x.dtype)

    def step(carry: tuple[Array, Any], number: Array) -> tuple[tuple[Array, Any], Array]:
        y, product = carry
        layer = draw_layer(key, number, width, width, scheme, 1.0, sigma_b, x.dtype)
        kernel = layer.kernel[...]
        z = scale * (y @ kernel) + layer.bias[...]
        product = extend(product, kernel, scale * derivative(phi, z))
        wanted = jnp.any(number == jnp.array(depths))
        spectrum: Array = jax.lax.cond(wanted, finish, lambda _: unresolved, product)
        return (phi(z), product), spectrum

    carry = x, start(width, x.dtype)
    _, spectra = jax.lax.scan(step, carry, jnp.arange(1, max(depths) + 1))
    return spectra[jnp.array(depths) - 1]
