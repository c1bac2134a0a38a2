"""Axes, chunks and their errors."""

import numpy as np
import pytest

from signalprop.bench.engine import grid as g
from signalprop.bench.engine.errors import InputError


def test_chunks_cover_every_point_exactly_once() -> None:
    shape, chunk = (5, 3, 4), (2, 3, 3)
    hits = np.zeros(shape, int)
    for block in g.blocks(shape, chunk):
        hits[g.block_slices(block, shape, chunk)] += 1
    assert (hits == 1).all()


@pytest.mark.parametrize("points", [1, 3, 7, 24, 1000])
def test_a_chunk_is_filled_from_the_last_axis_and_never_exceeds_the_points_asked(points: int) -> None:
    chunk = g.chunk_shape((6, 4), points)
    assert np.prod(chunk) <= points
    assert chunk[1] == min(4, points)


def test_axes_that_move_several_scalars_share_one_dimension() -> None:
    grid = g.Grid({"width": (4, 8)}, {"line": {"sigma_w": (1.0, 2.0), "sigma_b": (0.1, 0.2)}}, seeds=3)
    assert grid.dims == ("width", "seed", "line")
    assert grid.num_points == 12
    assert grid.labels()["sigma_b"][0] == "line"


@pytest.mark.parametrize(
    ("check", "words"),
    [
        (lambda: g.require_scale("sigma_w", (1.0, -2.0)), ["sigma_w", "-2.0", "not negative"]),
        (lambda: g.require_scale("sigma_w", (float("nan"),)), ["sigma_w", "nan", "finite"]),
        (lambda: g.require_count("depth", (0,)), ["depth", "0", "at least 1"]),
        (lambda: g.require_count("seeds", ()), ["seeds", "no values"]),
        (lambda: g.require_known("activation", ("tahn",), ("tanh", "relu")), ["tahn", "did you mean tanh?"]),
    ],
)
def test_bad_values_are_named_in_one_line(check, words) -> None:
    with pytest.raises(InputError) as error:
        check()
    assert all(word in str(error.value) for word in words)
    assert "\n" not in str(error.value)
