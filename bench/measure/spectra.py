"""Singular values of the input-output Jacobian at many depths, from one pass through each network.

``python -m signalprop.bench.measure.spectra [fast|exact]`` runs the workload spectra-1440 once, from process
start to result: 4 activations, 6 weight scales, 10 seeds, width 128, 6 depths up to 64.
"""

import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, PRNGKeyArray

from signalprop.analysis import products
from signalprop.bench.engine import machine
from signalprop.models.activations import chosen, derivative
from signalprop.models.initializers import Scheme
from signalprop.models.initializers import scheme as find_scheme
from signalprop.models.mlp import draw_layer

FormName = Literal["fast", "exact"]


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
    form: FormName = "fast",
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


@dataclass(frozen=True)
class Workload:
    """A grid of networks whose spectra are taken: by default spectra-1440."""

    form: FormName = "fast"
    """How the products are carried; exact in float64, fast in float32."""
    activations: tuple[str, ...] = ("tanh", "relu", "sigmoid", "gelu")
    """Activation functions, which share the draws."""
    sigma_w: tuple[float, ...] = (0.8, 1.0, 1.2, 1.4, 1.7, 2.0)
    """Weight scales, which share the draws."""
    num_seeds: int = 10
    """Networks per setting."""
    width: int = 128
    """Units of the input and of every layer."""
    depths: tuple[int, ...] = (2, 4, 8, 16, 32, 64)
    """Depths at which spectra are taken."""

    @property
    def dtype(self) -> Any:
        """Type of all arrays."""
        return jnp.float32 if self.form == "fast" else jnp.float64

    @property
    def chunk(self) -> int:
        """Seeds per call: on a CPU one, whose 24 products stay in cache; elsewhere all."""
        return 1 if jax.default_backend() == "cpu" else self.num_seeds

    @property
    def flops(self) -> float:
        """Operations in matrix multiplications and LAPACK, by the usual counts; Jacobi rotations left out."""
        multiplication, bidiagonalization, qr = 2, 8 / 3, 4 / 3 + 4 / 3
        layer = multiplication if self.form == "fast" else 2 * multiplication + qr
        spectrum = bidiagonalization if self.form == "fast" else 2 * qr
        networks = len(self.activations) * len(self.sigma_w) * self.num_seeds
        return networks * self.width**3 * (layer * max(self.depths) + spectrum * len(self.depths))

    @partial(jax.jit, static_argnums=0)
    def inputs(self) -> tuple[Array, Array, Array]:
        """Keys of the seeds in chunks, the scales, and the input, of mean square 1."""
        x_key, key = jax.random.split(jax.random.key(0))
        keys = jax.random.split(key, self.num_seeds).reshape(-1, self.chunk)
        x = jax.random.normal(x_key, (self.width,), self.dtype)
        x = x * jnp.sqrt(self.width) / jnp.linalg.norm(x)
        return keys, jnp.array(self.sigma_w, self.dtype), x

    def compile(self) -> jax.stages.Compiled:
        """The program for one chunk of seeds; all activations and scales of a seed share its draws."""
        keys, scales, x = jax.eval_shape(self.inputs)
        key = jax.eval_shape(lambda keys: keys[0], keys)

        def spectra(key: Array, index: Array, sigma_w: Array, x: Array) -> Array:
            phi = chosen(self.activations, index)
            return prefix_spectra(key, phi, "gaussian", sigma_w, 0.0, self.width, self.depths, x, self.form)

        def chunk(keys: Array, scales: Array, x: Array) -> Array:
            over_scales = jax.vmap(spectra, (None, None, 0, None))
            over_activations = jax.vmap(over_scales, (None, 0, None, None))
            over_seeds = jax.vmap(over_activations, (0, None, None, None))
            return over_seeds(keys, jnp.arange(len(self.activations)), scales, x)

        return jax.jit(chunk).lower(key, scales, x).compile()

    def run(self, program: jax.stages.Compiled) -> Array:
        """All spectra, (activation, seed, scale, depth, index); on a CPU one chunk per core at a time."""
        keys, scales, x = self.inputs()
        with ThreadPoolExecutor(os.cpu_count() if jax.default_backend() == "cpu" else 1) as pool:
            chunks = list(pool.map(lambda key: program(key, scales, x).block_until_ready(), keys))
        return jnp.concatenate(chunks).swapaxes(0, 1)


def main(form: FormName = "fast") -> None:
    """Run the workload once and say how long compilation and execution took."""
    workload = Workload(form)
    began = time.perf_counter()
    program = workload.compile()
    compiled = time.perf_counter()
    spectra = workload.run(program).block_until_ready()
    done = time.perf_counter()
    resolved = jnp.mean(~jnp.isnan(spectra))
    print(f"compile {compiled - began:.2f} s, run {done - compiled:.2f} s, resolved {resolved:.1%}")


if __name__ == "__main__":
    machine.start()
    main("exact" if sys.argv[1:] == ["exact"] else "fast")
