r"""Where floating point ends: products that vanish, slopes that round to 0, steps that change nothing.

A format of p significant bits rounds to nearest, ties to even. It has normal numbers from 2^n to about 2^t
and, with gradual underflow, multiples of the smallest subnormal 2^(n - p + 1) below. Many devices flush those
to 0; which ones do is measured (`measured_flush_to_zero`), everything else follows from the format:

* a result is 0 from 2^(n - p) down with gradual underflow, below 2^n with flushing (`log2_zero_edge`);
* a product of many factors, rounded after each, ends far from where its power does (`death_depth`,
  `overflow_depth`): it is followed in integers, over runs of equal steps at once;
* 1 + d rounds to 1 for d <= 2^-p, 1 - d for d <= 2^-(p + 1), which ends every slope that is computed from a
  saturated output (`zero_gradient_edges`);
* a step smaller than half the gap between neighbours changes nothing (`largest_idle_step`);
* rounding a contraction r k to the nearest integer leaves fixed points k (1 - r) <= 1/2 in place
  (`sticking_multiple`): with gradual underflow a product of factors above 1/2 never reaches 0, and gradient
  descent stops beside the minimum, or alternates around it.

Sources: IEEE 754-2019; D. Goldberg (1991), What every computer scientist should know about floating-point
arithmetic; for networks chi_1 of arXiv 1611.01232.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import ArrayLike, Float, Real

LN2 = float(np.log(2))
MOST_RUNS = 2**16  # of equal steps through which a product is followed in integers; beyond it, one by one
MOST_FACTORS = 2**30  # that are followed one by one, in four seconds
BLOCK = 2**16  # of them at once


class Format(NamedTuple):
    """Limits of a binary format, as powers of two.

    Attributes:
        precision: Significant bits p, the hidden one included.
        log2_smallest_normal: Exponent n of the smallest normal number.
        log2_smallest_subnormal: Exponent n - p + 1 of the smallest number above 0.
        log2_overflow: Exponent t of the first power of two that is too large.
    """

    precision: int
    log2_smallest_normal: int
    log2_smallest_subnormal: int
    log2_overflow: int


class Death(NamedTuple):
    """How a product of equal factors vanishes; see `death_depth`.

    Attributes:
        depth: Factors after which the product, rounded after each, is exactly 0; inf if it never is.
        residue: What the product ends at: 0, or the subnormal number at which it sticks.
    """

    depth: Float[np.ndarray, "..."]
    residue: Float[np.ndarray, "..."]


def number_format(dtype: DTypeLike) -> Format:
    """Limits of float16, bfloat16, float32, float64 or any other binary type that `jax.numpy.finfo` knows.

    Example:
        >>> number_format("float16")
        Format(precision=11, log2_smallest_normal=-14, log2_smallest_subnormal=-24, log2_overflow=16)
    """
    info = jnp.finfo(dtype)
    smallest = int(np.frexp(float(info.smallest_normal))[1]) - 1
    return Format(info.nmant + 1, smallest, smallest - info.nmant, int(info.maxexp))


def measured_flush_to_zero(dtype: DTypeLike) -> bool:
    """Whether JAX's default device flushes subnormal results of this type to 0.

    Half the smallest normal number is computed by a compiled program from its arguments, so that no compiler
    folds it, and its bits are read on the host.

    Raises:
        ValueError: For float64 without 64-bit mode.
    """
    if jnp.dtype(dtype).itemsize > jnp.zeros(()).dtype.itemsize:
        raise ValueError(f"dtype: got {jnp.dtype(dtype)} without 64-bit mode; write float32 or enable x64")
    smallest, half = jnp.asarray(jnp.finfo(dtype).smallest_normal, dtype), jnp.asarray(0.5, dtype)
    return not any(np.asarray(jax.jit(jnp.multiply)(smallest, half)).tobytes())


def measured_expm1_slope_from_output() -> bool:
    """Whether JAX differentiates expm1 to 1 + expm1(z), as version 0.10 does, or to e^z, as 0.12 does."""
    return float(jax.grad(jnp.expm1)(jnp.asarray(-30.0, jnp.float32))) == 0


def log2_zero_edge(dtype: DTypeLike, flush_to_zero: bool) -> float:
    """Log2 of the size at which results become exactly 0.

    With gradual underflow it is that of half the smallest subnormal, which is itself 0 (ties to even); with
    flushing that of the smallest normal number, which is not.
    """
    limits = number_format(dtype)
    return float(limits.log2_smallest_normal if flush_to_zero else limits.log2_smallest_subnormal - 1)


def log2_overflow_edge(dtype: DTypeLike) -> float:
    """Log2 of the smallest size that rounds to infinity, 2^t (1 - 2^-(p + 1))."""
    limits = number_format(dtype)
    return limits.log2_overflow + float(np.log2(1 - 2.0 ** -(limits.precision + 1)))


def sticking_multiple(contraction: Real[ArrayLike, "..."]) -> Float[np.ndarray, "..."]:
    r"""Where the map k -> round(r k) on the integers, ties to even, comes to rest from above.

    .. math:: k = \lfloor 1 / (2 (1 - r)) \rfloor

    less 1 if that is a tie and odd; 0 for r <= 1/2.

    Args:
        contraction: The factor r, in [0, 1).

    Returns:
        The largest fixed point; NaN for a factor outside [0, 1).
    """
    r = np.asarray(contraction, float)
    inside = (r >= 0) & (r < 1)
    rest = 1 - np.where(inside, r, 0.0)
    k = np.floor(0.5 / rest)
    k = k - ((k * rest == 0.5) & (k % 2 == 1))
    return np.where(inside, k, np.nan)


def death_depth(factor: Real[ArrayLike, "..."], dtype: DTypeLike, flush_to_zero: bool) -> Death:
    r"""Number of equal factors after which their product, rounded after each, is exactly 0.

    Exact: the product is followed in integers, m -> round(m r) with ties to even. Within a binade the step is
    the same for long runs of m, over which the count jumps. Roundings move it from `rounded_once` by `drift`
    at most. With gradual underflow the product of factors above 1/2 never is 0: it sticks at
    `sticking_multiple` smallest subnormal numbers.

    Args:
        factor: The factor r as the format holds it; its sign does not matter.
        dtype: The format.
        flush_to_zero: Whether results that are subnormal once rounded become 0, as x86 does it
            (`measured_flush_to_zero` tells); where they do before they are rounded, up to one factor less.

    Returns:
        Depth and residue. A factor of size 1 or more never vanishes: depth inf, residue 1 or inf. The depth
        is NaN where over 2^30 factors would have to be followed one by one: in float64 for 1 - r between
        1.4e-14 and 6.6e-7; there `rounded_once` is right to `drift`.
    """
    r = np.abs(np.asarray(factor, float))
    shrinks = r < 1
    sticks = (r > 0.5) & shrinks & (not flush_to_zero)
    end = np.vectorize(lambda r: _end(r, dtype, flush_to_zero), otypes=[float])
    depth = np.where(shrinks & ~sticks, end(np.where(shrinks & ~sticks, r, 0.0)), np.inf)
    grain = 2.0 ** number_format(dtype).log2_smallest_subnormal
    stuck = sticking_multiple(np.where(sticks, r, 0.0)) * grain
    return Death(depth, np.where(shrinks, stuck, np.where(r > 1, np.inf, 1.0)))


def overflow_depth(factor: Real[ArrayLike, "..."], dtype: DTypeLike) -> Float[np.ndarray, "..."]:
    """Number of equal factors after which their product, rounded after each, is infinite.

    Exact, as `death_depth`. A product that grows never sticks.

    Args:
        factor: The factor as the format holds it; its sign does not matter.
        dtype: The format.

    Returns:
        The number; inf for factors of size up to 1, and NaN in float64 for r - 1 between 1.4e-14 and
        6.6e-7, as in `death_depth`.
    """
    r = np.abs(np.asarray(factor, float))
    end = np.vectorize(lambda r: _end(r, dtype, flush_to_zero=False), otypes=[float])
    return np.where(r > 1, end(np.where(r > 1, r, np.inf)), np.inf)


def rounded_once(
    factor: Real[ArrayLike, "..."], dtype: DTypeLike, flush_to_zero: bool
) -> Float[np.ndarray, "..."]:
    r"""Number of equal factors after which their power, computed exactly and rounded once, is 0 or infinite.

    With e of `log2_zero_edge`, :math:`|r|^L` is 0 from :math:`L = e / \log_2 |r|` on, with flushing just
    after; with that of `log2_overflow_edge` it is infinite from there on.

    Args:
        factor: The factor r as the format holds it; its sign does not matter.
        dtype: The format.
        flush_to_zero: Whether subnormal results become 0.

    Returns:
        The number, at least 1; inf for factors of size 1.
    """
    r = np.abs(np.asarray(factor, float))
    with np.errstate(divide="ignore"):
        rate = np.log2(np.where(r == 1, 2.0, r))
    down = log2_zero_edge(dtype, flush_to_zero) / np.where(r < 1, rate, -1.0)
    zero = np.floor(down) + 1 if flush_to_zero else np.ceil(down)
    infinite = np.ceil(log2_overflow_edge(dtype) / np.where(r > 1, rate, 1.0))
    return np.where(r == 1, np.inf, np.maximum(np.where(r < 1, zero, infinite), 1.0))


def drift(
    factor: Real[ArrayLike, "..."], dtype: DTypeLike, depth: Real[ArrayLike, "..."]
) -> Float[np.ndarray, "..."]:
    """Factors by which roundings may move the end of a product: at most 2^-p of it, relative, in each.

    Args:
        factor: The factor.
        dtype: The format.
        depth: Number of factors.
    """
    per_factor = np.log1p(2.0 ** -number_format(dtype).precision) / LN2
    rate = np.abs(np.log2(np.abs(np.asarray(factor, float))))
    return np.asarray(np.asarray(depth, float) * per_factor / rate)


def network_death_depth(
    chi_1: Real[ArrayLike, "..."],
    dtype: DTypeLike,
    flush_to_zero: bool,
    size: Real[ArrayLike, "..."] = 1.0,
    power: int = 1,
) -> Float[np.ndarray, "..."]:
    r"""Layers after which a gradient entry of a random network is 0.

    :math:`\log(2^e / s) / \log \sqrt{\chi_1}` with the exponent e of `log2_zero_edge`.

    Args:
        chi_1: Factor of the squared gradient per layer (arXiv 1611.01232).
        dtype: The format.
        flush_to_zero: Whether subnormal results become 0.
        size: The entry s to begin with; that of the largest entry for the death of all.
        power: 2 if it is the entry's square that vanishes, as in a sum of squares: half the depth.

    Returns:
        Layers, not rounded; inf for chi_1 >= 1.
    """
    edge = log2_zero_edge(dtype, flush_to_zero) / power
    return _layers(chi_1, edge, size, np.asarray(chi_1, float) < 1)


def network_overflow_depth(
    chi_1: Real[ArrayLike, "..."], dtype: DTypeLike, size: Real[ArrayLike, "..."] = 1.0, power: int = 1
) -> Float[np.ndarray, "..."]:
    """Layers after which a gradient entry of a random network is infinite.

    Args:
        chi_1: Factor of the squared gradient per layer.
        dtype: The format.
        size: The entry to begin with.
        power: 2 if it is the square that overflows.

    Returns:
        Layers, not rounded; inf for chi_1 <= 1.
    """
    return _layers(chi_1, log2_overflow_edge(dtype) / power, size, np.asarray(chi_1, float) > 1)


def _layers(chi_1: ArrayLike, edge: float, size: ArrayLike, moves: np.ndarray) -> np.ndarray:
    """Layers from a size to 2^edge at sqrt(chi_1) each; inf where it does not move there."""
    rate = np.log2(np.where(moves, np.asarray(chi_1, float), 2.0)) / 2
    return np.where(moves, (edge - np.log2(np.asarray(size, float))) / rate, np.inf)


def largest_idle_step(
    w: Real[ArrayLike, "..."], dtype: DTypeLike, toward_zero: bool = True
) -> Float[np.ndarray, "..."]:
    """Size of the largest step that leaves a weight unchanged: half the gap to the neighbour it goes to.

    The gap is ulp(w) = 2^(e - p + 1) for 2^e <= |w| < 2^(e + 1), and half of that below a power of two. After
    a step of exactly this size the even one of both neighbours is taken. Relative to the weight it lies
    between 2^-(p + 1) and 2^-p: bfloat16, of p = 8 bits, sees no step below |w| / 512.

    Args:
        w: Normal numbers of the format, not 0.
        dtype: The format.
        toward_zero: Whether the step shrinks the weight.
    """
    mantissa, exponent = np.frexp(np.abs(np.asarray(w, float)))
    below_power = toward_zero & (mantissa == 0.5)
    return np.asarray(np.ldexp(0.5, exponent - number_format(dtype).precision - below_power))


def zero_gradient_edges(
    dtype: DTypeLike, flush_to_zero: bool, expm1_slope_from_output: bool
) -> dict[str, tuple[float, float]]:
    r"""Inputs from which the slope of an activation is exactly 0, on the right and (as -z) on the left.

    Half-ulp analysis of the expressions that JAX differentiates to, with correctly rounded functions:

    * from the output: S (1 - S) ends where 1 + e^-z rounds to 1, z = p log 2, on the left where e^z
      underflows or e^-z overflows; 1 - tanh^2 where 1 - 2 e^-2z does, (p + 2) log(2) / 2; 1 + expm1(z) of elu
      and selu, in versions of JAX that compute it so, at -(p + 1) log 2; a two-class cross entropy by
      log-softmax, in the lead of the true logit, like the sigmoid (without prediction in the 16-bit types, as
      its sum may be kept in float32);
    * from the input: e^(-z^2) of erf, e^(-z^2/2) of gelu, e^z of softplus and S(z) S(-z) only by underflow.

    softsign's 1/(1 + |z|) - |z|/(1 + |z|)^2 loses all digits from 2^p on; it ends for good where 1/|z| does.
    The derivative 3 z^2 inside gelu by tanh overflows at 2^(t/2) / sqrt(3), which times 0 is not a number.

    Args:
        dtype: The format.
        flush_to_zero: Whether subnormal numbers count as 0.
        expm1_slope_from_output: Whether the slope of expm1 is 1 + expm1(z), else e^z.

    Returns:
        For each name the first numbers with slope 0 or NaN, before rounding up to the format; inf where there
        are none, NaN where nothing is predicted.
    """
    limits = number_format(dtype)
    p, under = limits.precision, -log2_zero_edge(dtype, flush_to_zero) * LN2
    sigmoid_left = min(under, log2_overflow_edge(dtype) * LN2)
    tanh = (p + 2) / 2 * LN2
    elu = (p + 1) * LN2 if expm1_slope_from_output else under
    first = 2.0 ** (limits.log2_smallest_normal if flush_to_zero else limits.log2_smallest_subnormal)
    above_one = 1 + 2.0 ** (1 - p)
    # 1/|z| leaves the normal numbers before |z| leaves the format
    softsign = 2.0**-limits.log2_smallest_normal * above_one if flush_to_zero else np.inf
    never = (np.inf, np.inf)
    return {
        "linear": never,
        "leaky_relu": never,
        "sin": never,
        "sigmoid": (p * LN2, sigmoid_left),
        "sigmoid_symmetric": (sigmoid_left, sigmoid_left),
        "tanh": (tanh, tanh),
        "hard_tanh": (above_one, above_one),
        "softsign": (softsign, softsign),
        "relu": (np.inf, 0.0),
        "maximum": (np.inf, first),
        "elu": (np.inf, elu),
        "selu": (np.inf, elu),
        "gelu": (np.inf, float(np.sqrt(2 * under))),
        "gelu_tanh": (2.0 ** (limits.log2_overflow / 2) / np.sqrt(3), gelu_argument(tanh)),
        "silu": (np.inf, sigmoid_left),
        "softplus": (np.inf, under),
        "erf": (float(np.sqrt(under)), float(np.sqrt(under))),
        "binary_step": (0.0, 0.0),
        "log_softmax_loss": (p * LN2 if p > 16 else np.nan, np.inf),
        "softplus_loss": (under, np.inf),
    }


def gelu_argument(u: float) -> float:
    """The z with sqrt(2 / pi) (z + 0.044715 z^3) = u, the argument of tanh in the approximate gelu."""
    roots = np.roots([0.044715, 0.0, 1.0, -u / np.sqrt(2 / np.pi)])
    return float(roots[np.argmin(np.abs(roots.imag))].real)


def _end(r: float, dtype: DTypeLike, flush_to_zero: bool) -> float:
    """Factors after which a product that does not stick is 0 or infinite; NaN if they are too many."""
    if r == 0 or np.isinf(r):
        return 1.0
    count, x = 0, 1.0
    limits, factors = number_format(dtype), float(rounded_once(r, dtype, flush_to_zero))
    binades = limits.log2_overflow if r > 1 else -limits.log2_smallest_normal
    if min(factors, binades * abs(r - 1) * 2.0 ** (limits.precision - 1)) > MOST_RUNS:
        if factors > MOST_FACTORS:
            return float("nan")
        count, x = _nearly(r, dtype)
    return float(count + _remaining(x, r, limits, flush_to_zero))


def _nearly(r: float, dtype: DTypeLike) -> tuple[int, float]:
    """A product three factors before it leaves the normal numbers, and its number of factors."""
    info, count, x = jnp.finfo(dtype), 0, 1.0
    while True:
        block = np.full(BLOCK, r, jnp.dtype(dtype))
        block[0] = x
        with np.errstate(over="ignore", under="ignore"):
            sizes = np.multiply.accumulate(block).astype(float)
        inside = int(np.sum((sizes >= float(info.smallest_normal)) & (sizes < np.inf)))
        if inside < BLOCK:
            return count + max(inside - 3, 0), float(sizes[max(inside - 3, 0)])
        count, x = count + BLOCK - 1, float(sizes[-1])


def _remaining(x: float, r: float, limits: Format, flush_to_zero: bool) -> int:
    """Factors r from the normal number x to 0 or infinity, in integers: m 2^e, m of p bits or subnormal."""
    p, lowest = limits.precision, limits.log2_smallest_subnormal
    (m, e), (factor, g) = _integers(x, p), _integers(r, p)
    count = 0
    while True:
        run, step = _run(m, factor, g, p)
        if run:
            count, m = count + run, m + run * step
            continue
        count, (m, e) = count + 1, _rounded(m * factor, e + g, p, -(2**20) if flush_to_zero else lowest)
        if m == 0 or e + p > limits.log2_overflow or (flush_to_zero and e < lowest):
            return count


def _run(m: int, factor: int, g: int, p: int) -> tuple[int, int]:
    """How many factors 2^g factor change m by one and the same step, within a binade, and that step."""
    delta = factor - (1 << -g) if -g in (p - 1, p) else 0  # for factors in [1/2, 2)
    if m < 1 << (p - 1) or delta == 0:
        return 0, 0
    half = 1 << (-g - 1)
    step = (m * abs(delta) + half) >> -g
    if delta > 0:
        if m * delta == (2 * step - 1) * half:  # a tie
            return 0, 0
        last = min(((2 * step + 1) * half - 1) // delta, (1 << p) - 1 - step)
        return max((last - m) // step + 1, 0), step
    last = max((2 * step - 1) * half // -delta + 1, (1 << (p - 1)) + 1 + step)
    return max((m - last) // step + 1, 0), -step


def _rounded(m: int, e: int, p: int, lowest: int) -> tuple[int, int]:
    """Round m 2^e to p bits, and to a multiple of 2^lowest, ties to even."""
    shift = max(m.bit_length() - p, lowest - e)
    kept, rest, half = m >> shift, m & ((1 << shift) - 1), 1 << (shift - 1)
    kept += rest > half or (rest == half and kept % 2 == 1)
    return (kept, e + shift) if kept.bit_length() <= p else (kept >> 1, e + shift + 1)


def _integers(x: float, p: int) -> tuple[int, int]:
    """A number of at most p bits as an integer of p bits and an exponent."""
    mantissa, exponent = np.frexp(x)
    return int(np.ldexp(mantissa, p)), int(exponent) - p
