"""Images of one or two simple shapes, drawn afresh for every batch: an online task in nine classes.

In the manner of Shapeset-3x2 of Glorot & Bengio (2010), AISTATS 9: parallelograms, triangles and ellipses
with random place, size, angle, proportions and grey level on a dark ground. A class says which shapes are
there, three single ones and six pairs. Unlike theirs the second shape may hide any part of the first, and
images have 16 x 16 pixels instead of 32 x 32.
"""

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

SIDE = 16
FEATURES = SIDE * SIDE
KINDS = ("parallelogram", "triangle", "ellipse")
CONTENTS = ((0, -1), (1, -1), (2, -1), (0, 1), (0, 2), (1, 2), (0, 0), (1, 1), (2, 2))  # -1: no second shape
CLASSES = len(CONTENTS)


def draw_shapes(
    key: jax.Array, batch_size: int, dtype: DTypeLike = jnp.float32
) -> tuple[jax.Array, jax.Array]:
    """Draw images, every one with its mean subtracted and scaled to |x|^2 / 256 = 1, and their classes.

    Args:
        key: Random key.
        batch_size: Number of images.
        dtype: Type of the images.

    Returns:
        Images (batch, 256), row by row, and labels (batch,), all nine equally likely.
    """
    label_key, *shape_keys = jax.random.split(key, 3)
    label = jax.random.randint(label_key, (batch_size,), 0, CLASSES, jnp.int32)
    contents = jnp.array(CONTENTS)[label]
    image = jnp.zeros((batch_size, SIDE, SIDE), jnp.float32)
    for kinds, shape_key in zip(contents.T, shape_keys, strict=True):
        cover, grey = jax.vmap(_shape)(jax.random.split(shape_key, batch_size), kinds)
        image = image * (1 - cover) + grey[:, None, None] * cover
    x = image.reshape(batch_size, FEATURES)
    x = x - x.mean(-1, keepdims=True)
    return (x / jnp.sqrt(jnp.mean(x**2, -1, keepdims=True))).astype(dtype), label


def _shape(key: jax.Array, kind: jax.Array) -> tuple[jax.Array, jax.Array]:
    """How much of every pixel a random shape of that kind covers, and its grey level; -1: nothing."""
    place, size, angle, slant, grey = jax.random.split(key, 5)
    centre = jax.random.uniform(place, (2,), minval=-0.45, maxval=0.45)
    half = jax.random.uniform(size, (2,), minval=0.3, maxval=0.55)
    turn = jax.random.uniform(angle, maxval=2 * jnp.pi)
    shear = jax.random.uniform(slant, minval=-0.4, maxval=0.4)
    axis = (jnp.arange(SIDE) + 0.5) * 2 / SIDE - 1
    x, y = jnp.meshgrid(axis - centre[0], axis - centre[1])
    u = (jnp.cos(turn) * x + jnp.sin(turn) * y) / half[0]
    v = (jnp.cos(turn) * y - jnp.sin(turn) * x) / half[1]
    inside = jnp.stack([  # above 0 inside, of slope about 1 across the edge
        0.8 - jnp.maximum(jnp.abs(u - shear * v), jnp.abs(v)),
        jnp.minimum(v + 0.7, (1 - v - 1.7 * jnp.abs(u + shear * v)) / 2),
        1 - jnp.sqrt(u**2 + v**2),
    ])  # fmt: skip
    edge = inside[jnp.maximum(kind, 0)] * jnp.min(half) * SIDE / 2  # in pixels
    cover = jnp.where(kind < 0, 0, jnp.clip(edge + 0.5, 0, 1))
    return cover, jax.random.uniform(grey, minval=0.5, maxval=1.0)
