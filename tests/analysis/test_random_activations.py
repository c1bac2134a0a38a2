"""Any elementwise function: averages over it are right to the error that they carry, or that error says no.

Twenty-five functions by default; `nox -s properties` tries five hundred.
"""

import jax.numpy as jnp
import numpy as np
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from signalprop.analysis import gaussian, meanfield, smoothness

STEPS = 1_000_000
z = (np.arange(STEPS) + 0.5) * 20 / STEPS - 10
WEIGHTS = np.exp(-(z**2) / 2) * 20 / STEPS / np.sqrt(2 * np.pi)

numbers = st.floats(-3, 3).map(lambda x: round(x, 3))
scales = st.floats(-2, 1.5).map(lambda x: round(10**x, 4))


def bent(knots, slopes):
    """Piecewise linear, through 0, with a bend at every knot."""

    def f(xp, x):
        return slopes[0] * x + sum(
            s * xp.maximum(x - k, 0.0) for k, s in zip(knots, slopes[1:], strict=False)
        )

    return f


def stepped(knots, heights):
    """Jumps at the knots, beside a slope that keeps it from being constant."""
    return lambda xp, x: (
        0.3 * x + sum(h * xp.where(x > k, 1.0, 0.0) for k, h in zip(knots, heights, strict=False))
    )


def smooth(a, b, c, d):
    return lambda xp, x: a * xp.tanh(b * x + c) + d * x


def bumped(a, b, c, d):
    return lambda xp, x: d * x + a * xp.exp(-((b * (x - c)) ** 2))


def waving(a, b, c, d):
    return lambda xp, x: a * xp.sin(5 * b * x + c) + d * x


def growing(a, b, c, d):
    return lambda xp, x: x * xp.abs(x) ** abs(d) + a * x + xp.logaddexp(b * x, c)


def bounded(a, b, c, d):
    return lambda xp, x: xp.clip(a * x + b, min(c, d) - 0.1, max(c, d)) + 0.1 * x


four = st.tuples(numbers, numbers, numbers, numbers)
knots = st.lists(numbers, min_size=1, max_size=6, unique=True)
heights = st.lists(numbers.filter(lambda x: abs(x) > 0.01), min_size=7, max_size=7)
functions = st.one_of(
    st.builds(bent, knots, heights),
    st.builds(stepped, knots, heights),
    *(four.map(lambda p, kind=kind: kind(*p)) for kind in (smooth, bumped, waving, growing, bounded)),
)


def brute_force(f, q):
    """E f^2 and E f'^2 by a million equal steps; the slope is a difference, without the steps that jump."""
    s = np.sqrt(q)
    edges = s * (np.arange(STEPS + 1) * 20 / STEPS - 10)
    values = f(np, edges)
    slopes = np.diff(values) / np.diff(edges)
    usual = np.abs(np.diff(values)) < 1e-3 * max(1.0, s) * (1 + np.abs(values[1:]))
    return WEIGHTS @ f(np, s * z) ** 2, WEIGHTS @ np.where(usual, slopes, 0) ** 2


def test_averages_over_any_function_are_right_to_their_error():
    """Brute force is itself off by one of its steps where f jumps or bends, by 2e-5 of that."""
    marked = []

    @settings(deadline=None, phases=[Phase.generate])
    @given(functions, scales)
    def check(f, scale):
        phi, q = (lambda x: f(jnp, x)), scale**2
        breaks = smoothness.breaks_of(phi)
        square, slopes = brute_force(f, q)
        error = float(meanfield.quadrature_error(phi, q))
        marked.append(not error <= meanfield.LARGEST_ERROR)
        if not marked[-1]:
            value = gaussian.expectation(lambda x: phi(x) ** 2, q, breaks)
            np.testing.assert_allclose(value, square, rtol=1e-4, atol=1e-12)
            np.testing.assert_allclose(meanfield.derivative_moment(phi, q), slopes, rtol=1e-3, atol=1e-9)

    check()
    assert np.mean(marked) < 0.05
