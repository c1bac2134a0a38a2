r"""Walk through a network layer by layer, forward and back, outside the range of its dtype if need be.

`forward` and `backward` are scans that show every layer to a function of the caller's. They take a stored
``MLP`` or a ``LazyMLP``, which draws each layer where it is needed and so holds one layer at a time.

A signal is carried as a mantissa and an integer exponent of two, one per example, so that rescaling is exact:

* Gradients are linear in the cotangent and are always rescaled.
* With a homogeneous activation the forward signal is rescaled too, whatever its bias:
  :math:`\phi(2^{-e} z) = 2^{-e} \phi(z)` with :math:`2^{-e} z = W (2^{-e} y) + 2^{-e} b`.
* With any other activation the forward signal must stay in the dtype's range; ``lost_at`` is the first layer
  where it does not: a pre-activation is not finite, or all of an example's are zero or subnormal.
"""

from collections.abc import Callable, Iterator
from dataclasses import KW_ONLY, dataclass
from functools import partial
from math import log
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, ArrayLike, Float, Int, PRNGKeyArray

from signalprop.models.activations import derivative
from signalprop.models.initializers import Scheme
from signalprop.models.mlp import MLP, Layer, draw_layer, equal_runs, scan_run

NO_BIAS = -(2**20)  # exponent of an absent bias: below that of any signal


class Signal(NamedTuple):
    """Vectors ``mantissa * 2**exponent``, of any size whatever the dtype.

    Attributes:
        mantissa: One vector per example; when rescaled, its largest entry is in [1/2, 1), or 0 if all are 0.
        exponent: Power of two, one per example.
    """

    mantissa: Float[Array, "*batch units"]
    exponent: Int[Array, "*batch"]

    def log_norm(self) -> Float[Array, "*batch"]:
        """Return the natural log of the Euclidean norm; -inf of an exact zero."""
        mantissa, exponent = rescale(self)
        return jnp.log(jnp.linalg.norm(mantissa, axis=-1)) + exponent * jnp.asarray(log(2), mantissa.dtype)

    def log_mean_square(self) -> Float[Array, "*batch"]:
        """Return the natural log of the mean over units of the square: log q of a pre-activation."""
        return 2 * self.log_norm() - log(self.mantissa.shape[-1])


def rescale(signal: Signal) -> Signal:
    """Move the size of every example's vector into its exponent; exact, and zero stays zero."""
    _, exponent = jnp.frexp(jnp.max(jnp.abs(signal.mantissa), axis=-1))
    return Signal(jnp.ldexp(signal.mantissa, -exponent[..., None]), signal.exponent + exponent)


@dataclass(frozen=True)
class LazyMLP:
    """The network ``MLP(widths, phi, scheme, sigma_w, sigma_b, key=key, dtype=dtype)``, never stored.

    Build it where it is used, inside ``jit`` or ``vmap``: it holds the traced scales and key.

    Attributes:
        widths: Units of the input and of every layer, ``(N_0, ..., N_L)``.
        phi: Elementwise activation.
        scheme: How kernels are drawn.
        sigma_w: Scale of the weights, may be traced.
        sigma_b: Standard deviation of the biases, may be traced.
        key: Random key.
        dtype: Type of the parameters.
    """

    widths: tuple[int, ...]
    phi: Callable[[Array], Array]
    scheme: Scheme | str = "gaussian"
    sigma_w: Float[ArrayLike, ""] = 1.0
    sigma_b: Float[ArrayLike, ""] = 0.0
    _: KW_ONLY
    key: PRNGKeyArray
    dtype: DTypeLike = jnp.float32

    def layer(self, number: Int[ArrayLike, ""], fan_in: int, fan_out: int) -> Layer:
        """Draw a layer."""
        return draw_layer(
            self.key, number, fan_in, fan_out, self.scheme, self.sigma_w, self.sigma_b, self.dtype
        )


Network = MLP | LazyMLP
Observer = Callable[[Any, Int[Array, ""], Float[Array, "fan_in fan_out"], Signal], tuple[Any, Any]]


class Forward(NamedTuple):
    """What a forward walk returns.

    Attributes:
        y: Activities y^L.
        lost_at: First layer where the signal left the dtype's range, one per example; 0 if never.
        carry: What the observer carried.
        outs: What the observer put out, layers along the first axis: one pytree per run of equal shape.
    """

    y: Signal
    lost_at: Int[Array, "*batch"]
    carry: Any
    outs: list[Any]


class Backward(NamedTuple):
    """What a backward walk returns: dE/dx, and the observer's carry and outs as of a forward walk."""

    gradient: Signal
    carry: Any
    outs: list[Any]


class Profile(NamedTuple):
    """Size of signal and gradient in every layer.

    Attributes:
        log_q: Natural log of q^l, the mean over units of the squared pre-activations.
        log_delta: Natural log of the Euclidean norm of delta^l = dE/dz^l.
        lost_at: First layer where the signal left the dtype's range, 0 if never. If it is not 0, log_q from
            that layer on and the whole of log_delta are lost.
    """

    log_q: Float[Array, " depth *batch"]
    log_delta: Float[Array, " depth *batch"]
    lost_at: Int[Array, "*batch"]


def forward(network: Network, x: Float[Array, "*batch n_0"], observe: Observer, carry: Any) -> Forward:
    """Walk from the input to y^L.

    Args:
        network: Stored or lazy.
        x: Inputs, one example or a batch.
        observe: ``(carry, layer, kernel, z) -> (carry, out)``, called once per layer with its number from 1,
            its kernel (in, out) and its pre-activations; the slopes are ``derivative(phi, z.mantissa)``. The
            carry keeps its shape within a run of equal widths.
        carry: The observer's first carry.
    """
    homogeneous = getattr(network.phi, "homogeneous", False)
    state = Signal(x, jnp.zeros(x.shape[:-1], jnp.int32)), jnp.zeros(x.shape[:-1], jnp.int32), carry
    outs = []
    for numbers, source, find in _runs(network):

        def step(state: Any, numbered: Any, find: Callable[[Any], Layer] = find) -> tuple[Any, Any]:
            (y, lost_at, carry), (number, source) = state, numbered
            layer = find(source)
            z = _scaled_affine(layer, y) if homogeneous else Signal(layer(y.mantissa), y.exponent)
            lost_at = jnp.where((lost_at == 0) & _is_lost(z, homogeneous), number, lost_at)
            carry, out = observe(carry, number, layer.kernel[...], z)
            return (Signal(network.phi(z.mantissa), z.exponent), lost_at, carry), out

        state, out = scan_run(step, state, (numbers, source))
        outs.append(out)
    return Forward(*state, outs)


def backward(
    network: Network,
    trace: list[Signal],
    cotangent: Float[Array, "*batch n_L"],
    observe: Observer,
    carry: Any,
) -> Backward:
    """Walk from dE/dy^L back to dE/dx.

    Args:
        network: Stored or lazy; a lazy one draws its layers again.
        trace: Pre-activations, the outs of a `forward` whose observer puts out ``z``.
        cotangent: dE/dy^L.
        observe: As in `forward`, called with delta^l = dE/dz^l in place of z^l, the last layer first.
        carry: The observer's first carry.
    """
    state = Signal(cotangent, jnp.zeros(cotangent.shape[:-1], jnp.int32)), carry
    outs = []
    for (numbers, source, find), z in zip(reversed(list(_runs(network))), reversed(trace), strict=True):

        def step(state: Any, numbered: Any, find: Callable[[Any], Layer] = find) -> tuple[Any, Any]:
            (gradient, carry), (number, source, z) = state, numbered
            kernel = find(source).kernel[...]
            slope = derivative(network.phi, z.mantissa)
            delta = rescale(Signal(slope * gradient.mantissa, gradient.exponent))
            carry, out = observe(carry, number, kernel, delta)
            return (Signal(delta.mantissa @ kernel.T, delta.exponent), carry), out

        state, out = scan_run(step, state, (numbers, source, z), reverse=True)
        outs.append(out)
    return Backward(*state, outs[::-1])


def profile(
    network: Network, x: Float[Array, "*batch n_0"], cotangent: Float[Array, "*batch n_L"]
) -> Profile:
    """Measure log q^l and log |delta^l| of every layer, forward and back, at any depth.

    Args:
        network: Stored or lazy.
        x: Inputs, one example or a batch.
        cotangent: dE/dy^L of every example.
    """
    walk = forward(network, x, lambda carry, layer, kernel, z: (carry, z), None)
    back = backward(
        network, walk.outs, cotangent, lambda carry, layer, kernel, delta: (carry, delta.log_norm()), None
    )
    return Profile(join([z.log_mean_square() for z in walk.outs]), join(back.outs), walk.lost_at)


def join(outs: list[Any]) -> Any:
    """Join the outs of all runs along the layers, where their shapes agree: (L, ...)."""
    return jax.tree.map(lambda *runs: jnp.concatenate(runs), *outs)


def _runs(network: Network) -> Iterator[tuple[Array, Any, Callable[[Any], Layer]]]:
    """Layer numbers of each run, what to scan over, and how to make a layer of it."""
    for index, (numbers, fan_in, fan_out) in enumerate(equal_runs(network.widths)):
        if isinstance(network, MLP):
            yield numbers, network.runs[index], lambda layer: layer
        else:
            yield numbers, numbers, partial(network.layer, fan_in=fan_in, fan_out=fan_out)


def _scaled_affine(layer: Layer, y: Signal) -> Signal:
    """``y W + b`` at the larger of the exponents of y and b, rescaled."""
    bias = layer.bias[...]
    largest = jnp.max(jnp.abs(bias))
    bias_exponent = jnp.where(largest > 0, jnp.frexp(largest)[1], NO_BIAS)
    exponent = jnp.maximum(y.exponent, bias_exponent)
    scaled_y = jnp.ldexp(y.mantissa, (y.exponent - exponent)[..., None])
    scaled_bias = jnp.ldexp(bias, -exponent[..., None])
    return rescale(Signal(scaled_y @ layer.kernel[...] + scaled_bias, exponent))


def _is_lost(z: Signal, homogeneous: bool) -> Array:
    """Whether an example's pre-activations left the range; a rescaled zero is exact and not a loss."""
    size = jnp.max(jnp.abs(z.mantissa), axis=-1)
    smallest = 0 if homogeneous else jnp.finfo(size.dtype).smallest_normal
    return ~(jnp.isfinite(size) & (size >= smallest))
