"""Named axes of a sweep: which ones compile, which ones are vmapped, and how they are cut into chunks.

A static axis (activation, width, scheme) costs one compilation per value. The seed and the traced
axes (sigma_w, sigma_b, gain, ...) are vmapped. A chunk is a block of the seed and the traced axes.
"""

import itertools
import math
from collections.abc import Collection, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from signalprop.bench.engine.errors import InputError, nearest
from signalprop.models.lookup import imported, own_form

Static = dict[str, Any]
Block = tuple[int, ...]


@dataclass(frozen=True)
class Grid:
    """The labelled points of one sweep.

    Attributes:
        static: Values of each axis that costs one compilation per value.
        traced: Values of each vmapped axis; an axis whose points move several scalars together is a
            mapping from those names to equally many values.
        seeds: Number of networks per setting; the outermost vmapped axis.
        constants: Static settings that are the same for every point.
        coords: Coordinates of the dimensions of the measured arrays.
    """

    static: Mapping[str, Sequence[Hashable]]
    traced: Mapping[str, Sequence[float] | Mapping[str, Sequence[float]]]
    seeds: int
    constants: Mapping[str, Any] = field(default_factory=dict)
    coords: Mapping[str, Sequence[Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse a grid without points."""
        require_count("--seeds", (self.seeds,))
        for axis, values in {**self.static, **self.traced}.items():
            require_values(f"--{axis.replace('_', '-')}", values)

    @property
    def axes(self) -> dict[str, dict[str, np.ndarray]]:
        """Every traced axis as a mapping from the scalars it sets to their values."""
        as_mapping = {k: v if isinstance(v, Mapping) else {k: v} for k, v in self.traced.items()}
        return {k: {name: np.asarray(values) for name, values in v.items()} for k, v in as_mapping.items()}

    @property
    def dims(self) -> tuple[str, ...]:
        """Names of all axes: static, seed, traced."""
        return (*self.static, "seed", *self.traced)

    @property
    def traced_shape(self) -> Block:
        """Lengths of the seed axis and the traced axes."""
        return (self.seeds, *(len(next(iter(v.values()))) for v in self.axes.values()))

    @property
    def static_shape(self) -> Block:
        """Lengths of the static axes."""
        return tuple(len(v) for v in self.static.values())

    @property
    def num_points(self) -> int:
        """Networks in the whole grid."""
        return math.prod(self.static_shape) * math.prod(self.traced_shape)

    def cases(self) -> Iterator[tuple[Block, Static]]:
        """Yield the index and the settings of each static case: one compilation each."""
        for index in itertools.product(*(range(n) for n in self.static_shape)):
            chosen = {k: v[i] for (k, v), i in zip(self.static.items(), index, strict=True)}
            yield index, {**self.constants, **chosen}

    def labels(self) -> dict[str, tuple[str, np.ndarray]]:
        """Coordinates of every axis and of the measured dimensions, as xarray takes them."""
        labels = {k: (k, label_array(v)) for k, v in {**self.static, **self.coords}.items()}
        for axis, scalars in self.axes.items():
            labels |= {name: (axis, values) for name, values in scalars.items()}
        return labels | {"seed": ("seed", np.arange(self.seeds))}


def label_array(values: Sequence[Any]) -> np.ndarray:
    """Coordinate array of axis values; text as object, which Zarr stores with variable length."""
    return np.array([str(v) for v in values], object) if isinstance(values[0], str) else np.asarray(values)


def chunk_shape(shape: Block, num_points: int) -> Block:
    """Shape of a chunk with about ``num_points`` points, filled from the last axis.

    Filling the scale axes first keeps as many points as possible on one shared random draw.

    Example:
        >>> chunk_shape((10, 6), 12)
        (2, 6)
        >>> chunk_shape((10, 6), 4)
        (1, 4)
    """
    chunk: list[int] = []
    for size in reversed(shape):
        chunk.append(max(1, min(size, num_points)))
        num_points //= chunk[-1]
    return tuple(reversed(chunk))


def blocks(shape: Block, chunk: Block) -> list[Block]:
    """Block indices of all chunks of an array, in storage order."""
    return list(itertools.product(*(range(math.ceil(n / c)) for n, c in zip(shape, chunk, strict=True))))


def block_slices(block: Block, shape: Block, chunk: Block) -> tuple[slice, ...]:
    """The part of each axis that a block covers; the last block of an axis may be shorter."""
    return tuple(slice(i * c, min((i + 1) * c, n)) for i, n, c in zip(block, shape, chunk, strict=True))


def require_known(axis: str, values: Collection[str], known: Collection[str]) -> None:
    """Raise InputError for the first value that is neither known nor an importable ``module:name``."""
    require_values(axis, values)
    for value in values:
        if ":" in value:
            try:
                imported(axis, value, object)
            except ValueError as error:
                raise InputError(f"{axis}: {str(error).removeprefix(f'{axis} ')}") from error
        elif value not in known:
            raise InputError(f"{axis}: no {value!r}; {nearest(value, known)}{own_form(axis)}")


def require_scale(axis: str, values: Collection[float]) -> None:
    """Raise InputError unless all values are finite and not negative."""
    require_values(axis, values)
    for value in values:
        if not (math.isfinite(value) and value >= 0):
            raise InputError(f"{axis}: got {value}; write a finite number that is not negative")


def require_finite(axis: str, values: Collection[float]) -> None:
    """Raise InputError unless all values are finite."""
    require_values(axis, values)
    for value in values:
        if not math.isfinite(value):
            raise InputError(f"{axis}: got {value}; write a finite number")


def require_count(axis: str, values: Collection[int], least: int = 1) -> None:
    """Raise InputError unless all values are whole numbers of at least ``least``."""
    require_values(axis, values)
    for value in values:
        if value < least or value % 1 != 0:  # NaN and inf leave NaN
            raise InputError(f"{axis}: got {value}; write a whole number of at least {least}")


def require_values(axis: str, values: Collection[Any]) -> None:
    """Raise InputError for an axis without values."""
    if len(values) == 0:
        raise InputError(f"{axis}: got no values; write at least one")
