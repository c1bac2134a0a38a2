"""Linear Gaussian convolutions on a ring: exact cases, and sampled networks."""

import numpy as np
import pytest

from signalprop.analysis.convolution import log_gain_ring
from signalprop.analysis.finitewidth import log_gain_linear


def test_a_convolution_that_mixes_no_modes_starts_at_zero_and_decays_slower_than_an_mlp():
    found = log_gain_ring(32, 6, [0, 200])
    assert found.mean[0] == pytest.approx(0, abs=1e-9)
    assert found.variance[0] == pytest.approx(0, abs=1e-9)
    mlp = log_gain_linear((32,) * 201)
    assert 0.6 * mlp.mean < found.mean[1] < 0.2 * mlp.mean
    assert found.variance[1] < mlp.variance


@pytest.mark.parametrize("places", [6, 7])
def test_sampled_networks_follow_the_race_of_the_modes(places):
    channels, depth, networks = 16, 120, 100
    rng = np.random.default_rng(0)
    v = rng.standard_normal((networks, places, channels))
    start = np.log((v**2).sum((1, 2)))
    for _ in range(depth):
        kernel = rng.standard_normal((networks, 3, channels, channels)) / np.sqrt(3 * channels)
        v = sum(np.roll(v, 1 - t, 1) @ kernel[:, t] for t in range(3))
    gain = np.log((v**2).sum((1, 2))) - start
    predicted = log_gain_ring(channels, places, [depth])
    error = gain.std(ddof=1) / np.sqrt(networks)
    assert gain.mean() == pytest.approx(predicted.mean[0], abs=5 * error)
    assert gain.var(ddof=1) == pytest.approx(predicted.variance[0], rel=5 * np.sqrt(2 / networks))


def test_a_ring_of_one_place_is_refused():
    with pytest.raises(ValueError, match="channels and places must be at least 2, got 8 and 1"):
        log_gain_ring(8, 1, [5])
