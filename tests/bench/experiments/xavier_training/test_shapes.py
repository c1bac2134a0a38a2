"""Images of shapes: their preparation, their classes, and that a class can be told from the image."""

import jax
import numpy as np
import pytest

from signalprop.bench.experiments.xavier_training import shapes


@pytest.fixture(scope="module")
def drawn():
    """Images and labels of one key, as NumPy arrays."""
    x, label = jax.jit(lambda key: shapes.draw_shapes(key, 1800))(jax.random.key(0))
    return np.asarray(x), np.asarray(label)


def test_images_are_centred_and_of_one_length(drawn):
    x, _ = drawn
    assert x.shape == (1800, shapes.FEATURES)
    np.testing.assert_allclose(x.mean(1), 0, atol=1e-5)
    np.testing.assert_allclose((x**2).mean(1), 1, atol=1e-5)


def test_the_nine_classes_are_equally_frequent(drawn):
    count = np.bincount(drawn[1], minlength=shapes.CLASSES)
    assert count.size == 9
    assert np.abs(count - 200).max() < 5 * np.sqrt(1800 * (1 / 9) * (8 / 9))


def test_two_shapes_cover_more_than_one(drawn):
    x, label = drawn
    ground = (x == x.min(1, keepdims=True)).mean(1)  # share of pixels that no shape covers
    single = label < 3
    assert 0.4 < ground[~single].mean() < ground[single].mean() - 0.05 < 0.95


def test_ellipses_have_no_corners(drawn):
    """A single ellipse fills more of its bounding box than a single triangle."""
    x, label = drawn
    lit = (x > x.min(1, keepdims=True)).reshape(-1, shapes.SIDE, shapes.SIDE)

    def filled(image):
        rows, columns = np.flatnonzero(image.any(1)), np.flatnonzero(image.any(0))
        return image.sum() / ((np.ptp(rows) + 1) * (np.ptp(columns) + 1))

    mean = [np.mean([filled(image) for image in lit[label == kind]]) for kind in (1, 2)]
    assert mean[1] > mean[0] + 0.1
