"""Mean field of attention: exact cases, Monte Carlo over scores, and wide random attention."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from signalprop.analysis.attention import (
    Tokens,
    attention,
    feed_forward,
    join,
    softmax_overlaps,
    token_profile,
)


@pytest.mark.parametrize(("variance", "correlation"), [(1.0, 0.0), (0.5, 0.6), (2.0, 0.3)])
def test_overlaps_are_those_of_sampled_softmax_rows(variance, correlation):
    rng, n, samples = np.random.default_rng(0), 8, 40_000
    first, second = rng.standard_normal((2, samples, n))
    rows = np.stack([first, correlation * first + np.sqrt(1 - correlation**2) * second])
    a, b = np.asarray(jax.nn.softmax(np.sqrt(variance) * rows, axis=-1))
    found = softmax_overlaps(variance, correlation, n)
    for value, sample in zip(found, ((a * a).sum(-1), ((a - b) ** 2).sum(-1) / 2), strict=True):
        assert float(value) == pytest.approx(sample.mean(), abs=5 * sample.std() / samples**0.5 + 1e-6)


def test_scores_without_spread_attend_to_all_tokens_alike():
    same, difference = softmax_overlaps(0.0, 0.0, 8)
    assert float(same) == pytest.approx(1 / 8, rel=1e-6)
    assert float(difference) == 0


def test_the_first_order_of_the_difference_meets_the_integral():
    below, above = (float(softmax_overlaps(v, 0.5, 8).difference) / v for v in (1.9e-5, 2.1e-5))
    assert below == pytest.approx(above, rel=2e-3)


def test_the_relu_network_maps_cosines_as_sampled_pairs_do():
    rng, samples = np.random.default_rng(2), 400_000
    first, second = rng.standard_normal((2, samples))
    for c in (-0.5, 0.0, 0.9):
        pair = np.maximum([first, c * first + np.sqrt(1 - c * c) * second], 0)
        state = feed_forward(Tokens(jnp.asarray(3.0), jnp.asarray(1 - c)))
        product = 2 * pair[0] * pair[1]
        assert float(state.q) == pytest.approx(1.5)
        assert 1 - float(state.gap) == pytest.approx(product.mean(), abs=5 * product.std() / samples**0.5)
    assert float(feed_forward(Tokens(1.0, 1.0)).gap) == pytest.approx(1 - 1 / np.pi, rel=1e-12)
    assert float(feed_forward(Tokens(1.0, 1e-14)).gap) == pytest.approx(1e-14, rel=1e-6)


def test_wide_random_attention_has_these_lengths_and_cosines():
    width, n, networks, gap = 256, 8, 24, 0.7
    rng, measured = np.random.default_rng(1), []
    for _ in range(networks):
        common, own = rng.standard_normal((1, width)), rng.standard_normal((n, width))
        x = np.linalg.qr(np.vstack([common, own]).T)[0].T * np.sqrt(width)
        x = np.sqrt(1 - gap) * x[:1] + np.sqrt(gap) * x[1:]
        query, key, value = rng.standard_normal((3, width, width)) / np.sqrt(width)
        weights = np.asarray(jax.nn.softmax((x @ query) @ (x @ key).T / np.sqrt(width), axis=-1))
        y = weights @ x @ value
        gram = y @ y.T / width
        off = (gram.sum() - np.trace(gram)) / (n * (n - 1))
        measured.append([np.trace(gram) / n, np.trace(gram) / n - off])
    mean, error = np.mean(measured, 0), np.std(measured, 0, ddof=1) / np.sqrt(networks)
    state = attention(Tokens(jnp.asarray(1.0), jnp.asarray(gap)), n)
    np.testing.assert_array_less(abs(mean - [state.q, state.q * state.gap]), 5 * error + 4 / width)


def test_norms_and_skips_add_lengths():
    state, branch = Tokens(jnp.asarray(2.0), jnp.asarray(0.5)), lambda seen: Tokens(seen.q / 2, seen.gap / 5)
    pre, post, none = (join(branch, state, norm) for norm in ("pre", "post", "none"))
    assert [float(s.q) for s in (pre, post, none)] == [2.5, 1, 3]
    np.testing.assert_allclose(post.gap, none.gap)
    np.testing.assert_allclose(none.gap, (2 * 0.5 + 1 * 0.1) / 3)
    np.testing.assert_allclose(pre.gap, (2 * 0.5 + 0.5 * 0.1) / 2.5)
    np.testing.assert_allclose(join(branch, state, "none", skip=0.0), branch(state))


def test_gaps_fall_cubically_without_skips_and_by_half_in_post_ln():
    pure = token_profile(["attention"], "none", 16, 4, skip=0.0)
    exponent = np.diff(np.log(pure.gap[2:]))
    assert exponent[1] / exponent[0] == pytest.approx(3, abs=0.2)
    post = token_profile(["attention", "feed_forward"], "post", 16, 16)
    assert float(post.gap[-1] / post.gap[-2]) == pytest.approx(0.5, abs=1e-2)
    pre = token_profile(["feed_forward"], "pre", 16, 6)
    np.testing.assert_allclose(pre.q, 1 + np.arange(7) / 2)
