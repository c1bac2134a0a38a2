"""Ends of formats against products, sums and functions computed one operation at a time on the host."""

from fractions import Fraction

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from signalprop.analysis import precision

HOST = {
    "float16": np.float16,
    "bfloat16": ml_dtypes.bfloat16,
    "float32": np.float32,
    "float64": np.float64,
}  # NumPy on the host has gradual underflow
DTYPES = list(HOST)


def product(factor, dtype, stop):
    """Multiply by a factor, rounding after each, until `stop`; the number of factors and the product."""
    number, x, factor = 0, HOST[dtype](1), HOST[dtype](factor)
    with np.errstate(all="ignore"):
        while not stop(float(x)) and number < 9000:
            x, number = HOST[dtype](x * factor), number + 1
    return number, float(x)


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_limits_are_those_of_the_type(dtype):
    limits, info = precision.number_format(dtype), ml_dtypes.finfo(dtype)
    assert 2.0**limits.log2_smallest_normal == float(info.smallest_normal)
    assert 2.0**limits.log2_smallest_subnormal == float(info.smallest_subnormal)
    assert 2.0 ** (1 - limits.precision) == float(info.eps)
    assert Fraction(2) ** limits.log2_overflow * (1 - Fraction(1, 2**limits.precision)) == Fraction(
        float(info.max)
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("factor", [0.25, 0.5, -0.5, 0.125])
def test_a_product_of_powers_of_two_dies_at_the_predicted_factor(dtype, factor):
    number, last = product(factor, dtype, lambda x: x == 0)
    death = precision.death_depth(factor, dtype, flush_to_zero=False)
    assert (number, last) == (death.depth, death.residue)
    limits = precision.number_format(dtype)
    flushed, _ = product(factor, dtype, lambda x: abs(x) < 2.0**limits.log2_smallest_normal)
    assert flushed == precision.death_depth(factor, dtype, flush_to_zero=True).depth


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("factor", [0.1, 0.3, 0.47])
def test_any_other_product_dies_where_the_same_multiplications_do(dtype, factor):
    number, _ = product(factor, dtype, lambda x: x == 0)
    kept = float(HOST[dtype](factor))
    assert number == precision.death_depth(kept, dtype, flush_to_zero=False).depth
    once = precision.rounded_once(kept, dtype, flush_to_zero=False)
    assert number == pytest.approx(float(once), abs=1 + float(precision.drift(kept, dtype, once)))


def flushed(factor, dtype):
    """Factors until a product of 16-bit numbers, rounded as if exponents had no end, is below the normal."""
    kind, number, x = HOST[dtype], 0, 1.0
    smallest, up = float(ml_dtypes.finfo(kind).smallest_normal), 2.0**20
    while x >= smallest:
        x = x * factor  # exact in float64
        x = float(kind(x * up)) / up if x < 2 * smallest else float(kind(x))
        number += 1
    return number


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_products_of_a_thousand_factors_end_where_the_same_multiplications_do(dtype):
    """The 300 numbers on both sides of 1, each of which gives up to 12,288 roundings."""
    kind = HOST[dtype]
    around = np.arange(-300, 300) + int(kind(1).view(np.uint16))
    small = [float(x) for x in around.astype(np.uint16).view(kind) if x < 1]
    large = [float(x) for x in around.astype(np.uint16).view(kind) if x > 1]
    ends = precision.death_depth(small, dtype, flush_to_zero=True).depth
    np.testing.assert_array_equal(ends, [flushed(x, dtype) for x in small])
    infinite = np.vectorize(lambda x: int(np.argmax(np.isinf(powers(x, kind, 13000)))))
    np.testing.assert_array_equal(precision.overflow_depth(large, dtype), infinite(large))


def powers(factor, kind, count):
    """1, f, f^2, ... rounded after every factor, one multiplication of NumPy after another."""
    factors = np.full(count + 1, factor, kind)
    factors[0] = 1
    with np.errstate(over="ignore", under="ignore"):
        return np.multiply.accumulate(factors).astype(float)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("factor", [0.9997, 0.99, 0.7, 1.0003, 1.01, 1.1, 1.5])
def test_products_in_longer_formats_end_where_numpys_do(dtype, factor):
    kept = float(HOST[dtype](factor))
    sizes = powers(kept, HOST[dtype], int(1.1 * precision.rounded_once(kept, dtype, True)))
    if factor < 1:
        number = np.argmax(sizes < float(np.finfo(dtype).smallest_normal))
        assert precision.death_depth(kept, dtype, flush_to_zero=True).depth == number
    else:
        assert precision.overflow_depth(kept, dtype) == np.argmax(np.isinf(sizes))


def test_a_billion_roundings_are_counted_at_once():
    """1 + 2^-23 leaves every binade of float32 in 3/4 of 2^23 factors: half by one ulp each, half by two."""
    assert precision.overflow_depth(1 + 2.0**-23, "float32") == 128 * 3 * 2**21
    assert precision.overflow_depth(1 + 2.0**-52, "float64") == 1024 * 3 * 2**50
    assert precision.death_depth(1 - 2.0**-24, "float32", flush_to_zero=True).depth == 126 * 2**23 + 1
    assert np.isnan(precision.overflow_depth(1 + 2.0**-40, "float64"))  # too many steps of too many sizes


@pytest.mark.parametrize(
    ("factor", "dtype", "number"),
    [(1.01, "bfloat16", 12288), (1.002, "float16", 5808), (1.0000001, "float32", 805306368),
     (0.99, "bfloat16", 7182)],
)  # fmt: skip
def test_products_of_factors_near_one_end_far_from_their_power(factor, dtype, number):
    """Numbers found by multiplying one after another, in a separate program."""
    kept = float(HOST[dtype](factor))
    found = precision.overflow_depth(kept, dtype)
    assert (found if factor > 1 else precision.death_depth(kept, dtype, True).depth) == number
    assert abs(precision.rounded_once(kept, dtype, True) - number) > 100


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("factor", [0.6, 0.75, 0.9])
def test_factors_above_one_half_stick_where_predicted(dtype, factor):
    kept = float(HOST[dtype](factor))
    death = precision.death_depth(kept, dtype, flush_to_zero=False)
    assert np.isinf(death.depth)
    assert product(factor, dtype, lambda x: False)[1] == death.residue > 0
    assert precision.death_depth(kept, dtype, flush_to_zero=True).residue == 0


def test_a_power_rounded_once_is_zero_from_the_exact_depth_on():
    for factor in (0.3, 0.5, 0.7, 0.9):
        depth = int(precision.rounded_once(factor, "float16", flush_to_zero=False))
        assert np.float16(factor**depth) == 0 != np.float16(factor ** (depth - 1))


def test_factors_of_one_and_more_never_vanish():
    death = precision.death_depth(np.array([1.0, 1.5, 0.0]), "float32", flush_to_zero=True)
    np.testing.assert_array_equal(death.depth, [np.inf, np.inf, 1])
    np.testing.assert_array_equal(death.residue, [1, np.inf, 0])
    np.testing.assert_array_equal(
        precision.overflow_depth([1.0, np.inf, 0.0], "float16"), [np.inf, 1, np.inf]
    )
    np.testing.assert_array_equal(
        precision.rounded_once([1.0, np.inf, 0.0], "float16", False), [np.inf, 1, 1]
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("factor", [1.5, 2.0, -3.0])
def test_a_growing_product_overflows_at_the_predicted_factor(dtype, factor):
    number, _ = product(factor, dtype, lambda x: np.isinf(x))
    assert number == precision.overflow_depth(factor, dtype)
    once = precision.rounded_once(factor, dtype, flush_to_zero=False)
    assert number == pytest.approx(float(once), abs=1 + float(precision.drift(factor, dtype, once)))
    assert np.isinf(precision.overflow_depth(0.5, dtype))


def test_the_smallest_overflow_is_the_first_size_that_rounds_to_infinity():
    assert 2.0 ** precision.log2_overflow_edge("float16") == pytest.approx(65520, rel=1e-14)
    with np.errstate(over="ignore"):
        assert np.isinf(np.float16(65520.0))
        assert np.isfinite(np.float16(np.nextafter(65520.0, 0)))


@pytest.mark.parametrize("r", [0.0, 0.3, 0.5, 0.6, 0.75, 0.875, 0.9, 0.96875, 0.99])
def test_rounding_a_contraction_comes_to_rest_from_above(r):
    k = 1000
    while round(Fraction(r) * k) != k:  # exact, ties to even
        k = round(Fraction(r) * k)
    assert precision.sticking_multiple(r) == k


def test_no_contraction_has_no_rest():
    assert np.isnan(precision.sticking_multiple([1.0, 1.1, -0.5])).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_largest_idle_step_changes_nothing_and_the_next_number_does(dtype):
    for w in np.array([1, 1.25, 1.5, 1.75, 2, 3, 0.375], HOST[dtype]):
        for toward_zero, sign in ((True, -1), (False, 1)):
            step = HOST[dtype](precision.largest_idle_step(float(w), dtype, toward_zero))
            assert w + HOST[dtype](sign) * step == w
            more = HOST[dtype](float(step) * (1 + float(ml_dtypes.finfo(dtype).eps)))
            assert w + HOST[dtype](sign) * more != w


def test_bfloat16_never_sees_a_step_below_one_part_in_512():
    w = np.linspace(1, 4, 301)
    share = precision.largest_idle_step(w, "bfloat16") / w
    assert share.min() >= 2**-9
    assert share.max() < 2**-8


def test_the_measured_flush_is_what_a_compiled_product_does():
    for dtype in DTYPES:
        x, number = jnp.ones((), dtype), 0
        while x != 0:
            x, number = x * jnp.asarray(0.25, dtype), number + 1
        flushes = precision.measured_flush_to_zero(dtype)
        assert number == precision.death_depth(0.25, dtype, flushes).depth


def test_float64_without_64_bit_mode_is_refused():
    with jax.enable_x64(False), pytest.raises(ValueError, match="float64 without 64-bit mode"):
        precision.measured_flush_to_zero("float64")


def test_a_network_dies_as_a_product_of_its_mean_factor():
    layers = precision.network_death_depth(1 / 16, "float32", flush_to_zero=True)
    assert layers + 1 == precision.death_depth(0.25, "float32", flush_to_zero=True).depth
    assert precision.network_death_depth(1 / 16, "float32", True, power=2) == layers / 2
    assert precision.network_death_depth(1 / 16, "float32", True, size=4.0) == layers + 1
    assert np.isinf(precision.network_death_depth(1.0, "float32", flush_to_zero=True))
    assert precision.network_overflow_depth(4.0, "float32") == pytest.approx(128, abs=1e-6)
    assert np.isinf(precision.network_overflow_depth(0.9, "float32"))


@pytest.mark.parametrize("from_output", [False, True])
@pytest.mark.parametrize("flush_to_zero", [False, True])
def test_slopes_end_where_rounded_outputs_reach_the_limit_or_inputs_underflow(flush_to_zero, from_output):
    """Correctly rounded float16 functions of all numbers, from float64."""
    z = np.arange(1, 0x7C00, dtype=np.uint16).view(np.float16).astype(float)
    edges = precision.zero_gradient_edges("float16", flush_to_zero, from_output)
    exp = np.exp(-z).astype(np.float16)
    lost = 2.0**-14 if flush_to_zero else 2.0**-24
    ends = {
        ("sigmoid", 0): (np.float16(1) + exp) == 1,
        ("tanh", 0): np.tanh(z).astype(np.float16) == 1,
        ("elu", 1): np.expm1(-z).astype(np.float16) == -1 if from_output else exp < lost,
        ("log_softmax_loss", 0): (np.float16(1) + exp) == 1,
        ("softplus", 1): exp < lost,
        ("erf", 0): np.exp(-(z**2)).astype(np.float16) < lost,
    }
    for (name, side), zero in ends.items():
        edge = edges[name][side]
        if np.isfinite(edge):
            first = z[np.argmax(zero)]
            assert abs(first - edge) <= 2 * np.spacing(np.float16(edge)), name


def test_the_gelu_argument_inverts_the_polynomial_inside_tanh():
    for u in (0.5, 4.5, 20.0):
        z = precision.gelu_argument(u)
        assert np.sqrt(2 / np.pi) * (z + 0.044715 * z**3) == pytest.approx(u, rel=1e-12)
