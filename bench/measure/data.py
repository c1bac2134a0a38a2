"""Inputs and labelled examples: drawn, bundled, or read from local files in their original formats.

Nothing is downloaded. Real data sets lie under one data root, the folder in the environment variable
``SIGNALPROP_DATA`` or else ``data`` in the working directory:

    mnist/          train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-... and -labels-... (or .gz)
    fashion_mnist/  the same four names
    cifar10/        data_batch_1.bin ... data_batch_5.bin, test_batch.bin (the binary version)
    <name>.npz      instead of a folder: arrays x_train, y_train, x_test, y_test

Preparation: pixels standardized one by one over the training examples (constant ones become 0), then every
example scaled to |x|^2 / N_0 = 1. A name that ends in ``_raw`` skips the first step and stays uncentred.
"""

import gzip
import math
import os
import zipfile
import zlib
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike, DTypeLike

from signalprop.bench.engine.errors import InputError
from signalprop.models.initializers import SCHEMES
from signalprop.models.lookup import named

POOL = 2000  # examples that inputs are chosen from: few enough for a constant of a compiled program
DIGITS_TRAINING = 1437  # the first four fifths of the 1,797 bundled digits
CIFAR_RECORD = 1 + 3 * 32 * 32
IDX_PREFIX = {"train": "train", "test": "t10k"}
CIFAR_FILES = {"train": [f"data_batch_{i}.bin" for i in range(1, 6)], "test": ["test_batch.bin"]}


class Examples(NamedTuple):
    """Labelled examples.

    Attributes:
        x: Inputs, (examples, features).
        label: Class of each example, (examples,).
    """

    x: np.ndarray
    label: np.ndarray


def inputs(
    name: str,
    key: jax.Array,
    batch: int,
    dim: int | None = None,
    *,
    root: Path | None = None,
    dtype: DTypeLike = jnp.float32,
) -> jax.Array:
    """Choose a batch of inputs with |x|^2 / dim = 1, by the key; works under ``jit`` and ``vmap``.

    Of real data the batch is drawn without replacement from the first 2,000 training examples, in their own
    dimension: let the network's first layer be rectangular. Where every layer must be square, give ``dim``,
    and the examples pass through a random isometry; see `project`.

    Args:
        name: ``gaussian`` (independent normal directions) or a data set: ``digits``, ``mnist``,
            ``fashion_mnist``, ``cifar10``, each also with ``_raw``.
        key: Random key.
        batch: Number of examples.
        dim: Dimension of an example; by default that of the data set. Gaussian inputs need it.
        root: Data root.
        dtype: Type of the inputs.

    Returns:
        Array (batch, dim).

    Raises:
        InputError: If the name is unknown, a file is missing or damaged, the data set has fewer examples than
            the batch, or ``dim`` is missing.
    """
    choose, turn = jax.random.split(key)
    if name == "gaussian":
        if dim is None:
            raise InputError("dim is missing: gaussian inputs have no dimension of their own, write dim=N_0")
        return unit_length(jax.random.normal(choose, (batch, dim), dtype))
    pool = examples(name, root=root).x[:POOL]
    if batch > len(pool):
        raise InputError(
            f"batch {batch} is larger than the {len(pool)} inputs of {name}: write a smaller one"
        )
    x = unit_length(jnp.asarray(pool, dtype)[jax.random.permutation(choose, len(pool))[:batch]])
    return x if dim in (None, x.shape[1]) else project(turn, x, dim)


def unit_length(x: ArrayLike) -> jax.Array:
    """Scale every example to |x|^2 / N_0 = 1; an example of zeros stays zero."""
    x = jnp.asarray(x)
    length = jnp.sqrt(jnp.mean(x**2, axis=-1, keepdims=True))
    return x / jnp.where(length > 0, length, 1)


def project(key: jax.Array, x: jax.Array, dim: int) -> jax.Array:
    """Move examples to another dimension by a random isometry, and scale them to |x|^2 / dim = 1.

    Upwards, an embedding with orthonormal columns: all angles are kept. Downwards, an orthogonal projection
    onto a random subspace: cosines change by O(1 / sqrt(dim)).

    Args:
        key: Random key; the same for all batches that are to be compared.
        x: Examples, (batch, features).
        dim: Their new dimension.
    """
    return unit_length(x @ SCHEMES["haar_orthogonal"].draw(key, x.shape[1], dim, dtype=x.dtype))


def gaussian_mixture(
    key: jax.Array,
    count: int,
    dim: int,
    *,
    classes: int = 10,
    signal: float = 0.6,
    dtype: DTypeLike = jnp.float32,
) -> tuple[np.ndarray, np.ndarray]:
    """Draw labelled examples ``x = signal mu_label + sqrt(1 - signal^2) eps`` with normal ``mu`` and ``eps``.

    Centred, of unit variance in every feature.

    Args:
        key: Random key of the class means and the examples.
        count: Number of examples.
        dim: Features.
        classes: Number of classes, equally likely.
        signal: Share of the class mean, between 0 and 1.
        dtype: Type of the examples.

    Returns:
        Examples (count, dim) and their labels (count,).
    """

    @jax.jit
    def draw(key: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        mean_key, label_key, noise_key = jax.random.split(key, 3)
        mean = jax.random.normal(mean_key, (classes, dim), dtype)
        label = jax.random.randint(label_key, (count,), 0, classes)
        return mean, label, jax.random.normal(noise_key, (count, dim), dtype)

    mean, label, noise = map(np.asarray, draw(key))
    return signal * mean[label] + math.sqrt(1 - signal**2) * noise, label


def examples(name: str, split: str = "train", *, root: Path | None = None) -> Examples:
    """Read a data set and prepare it as this file's docstring says.

    Args:
        name: ``digits``, ``mnist``, ``fashion_mnist`` or ``cifar10``, each also with ``_raw``.
        split: ``train`` or ``test``; both are standardized with the training examples' means and deviations.
        root: Data root.

    Raises:
        InputError: If the name or split is unknown, or a file is missing or damaged.
    """
    return _prepared(name, split, root or Path(os.environ.get("SIGNALPROP_DATA", "data")))


def pixels(name: str, split: str = "train", *, root: Path | None = None) -> Examples:
    """Read a data set as it is, one row of float32 pixels in [0, 1] per example.

    Args:
        name: ``digits``, ``mnist``, ``fashion_mnist`` or ``cifar10``.
        split: ``train`` or ``test``.
        root: Data root.

    Raises:
        InputError: If the name or split is unknown, or a file is missing or damaged.
    """
    read = named("data set", name, READERS)
    named("split", split, IDX_PREFIX)
    folder = (root or Path(os.environ.get("SIGNALPROP_DATA", "data"))) / name
    if folder.with_suffix(".npz").is_file():
        read = read_npz
    x, label = read(folder, split)
    if len(x) != len(label):
        raise InputError(
            f"{folder}: {len(x)} examples but {len(label)} labels: fetch the {split} files again"
        )
    return Examples(x.reshape(len(x), -1).astype(np.float32), label.astype(np.int32))


@cache
def _prepared(name: str, split: str, root: Path) -> Examples:
    base = name.removesuffix("_raw")
    x, label = pixels(base, split, root=root)
    if base == name:
        training = x if split == "train" else pixels(base, root=root).x
        varies = np.ptp(training, axis=0) > 0
        mean, deviation = training.mean(0, np.float64), training.std(0, np.float64)
        x = np.where(varies, (x - mean) / np.where(varies, deviation, 1), 0)
    length = np.sqrt(np.mean(x**2, axis=1, keepdims=True))
    x = (x / np.where(length > 0, length, 1)).astype(np.float32)
    x.setflags(write=False)
    return Examples(x, label)


def read_digits(folder: Path, split: str) -> Examples:
    """Return scikit-learn's 1,797 handwritten digits of 8 x 8 pixels; the last 360 are the test examples."""
    from sklearn.datasets import load_digits  # slow to import

    bundled = load_digits()
    part = slice(DIGITS_TRAINING) if split == "train" else slice(DIGITS_TRAINING, None)
    return Examples(bundled.data[part] / 16, bundled.target[part])


def read_mnist(folder: Path, split: str) -> Examples:
    """Read the two IDX files of MNIST or Fashion-MNIST."""
    prefix = IDX_PREFIX[split]
    images = read_idx(folder / f"{prefix}-images-idx3-ubyte", 3)
    return Examples(images / 255, read_idx(folder / f"{prefix}-labels-idx1-ubyte", 1))


def read_idx(path: Path, num_axes: int) -> np.ndarray:
    """Read an IDX file of bytes, plain or with ``.gz`` added to its name.

    Args:
        path: Without ``.gz``.
        num_axes: Axes the array must have.

    Raises:
        InputError: If the file is missing, is not IDX of bytes with so many axes, or has the wrong length.
    """
    content = _read(path)
    header = 4 + 4 * num_axes
    if content[:4] != bytes((0, 0, 8, num_axes)):
        raise InputError(
            f"{path} begins with {content[:4].hex()}, not 000008{num_axes:02x}: not an IDX file of bytes "
            f"with {num_axes} axes, fetch it again"
        )
    shape = [int.from_bytes(content[start : start + 4], "big") for start in range(4, header, 4)]
    expected = header + math.prod(shape)
    if len(content) != expected:
        raise InputError(f"{path} holds {len(content)} bytes, its header says {expected}: fetch it again")
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)


def read_cifar10(folder: Path, split: str) -> Examples:
    """Read the binary version of CIFAR-10: records of a label and 3 x 32 x 32 bytes."""
    batches = [_read_cifar_batch(folder / file) for file in CIFAR_FILES[split]]
    records = np.concatenate(batches)
    return Examples(records[:, 1:] / 255, records[:, 0])


def read_npz(folder: Path, split: str) -> Examples:
    """Read ``x_<split>`` and ``y_<split>`` from ``<folder>.npz``; integer pixels are divided by 255."""
    path = folder.with_suffix(".npz")
    try:
        with np.load(path, allow_pickle=False) as arrays:
            x, label = arrays[f"x_{split}"], arrays[f"y_{split}"]
    except KeyError as error:
        raise InputError(f"{path} lacks x_{split} or y_{split}: write both") from error
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(f"{path} cannot be read as plain arrays ({error}): write it again") from error
    return Examples(x / 255 if x.dtype.kind in "ui" else x, label.reshape(-1))


def _read_cifar_batch(path: Path) -> np.ndarray:
    pickled = path.with_suffix("")
    if not path.is_file() and pickled.is_file():
        raise InputError(
            f"{pickled} is the python version of CIFAR-10, a pickle, which can run code when read: "
            f"put the binary version's {path.name} there instead"
        )
    content = _read(path)
    if not content or len(content) % CIFAR_RECORD:
        raise InputError(
            f"{path} holds {len(content)} bytes, not a multiple of {CIFAR_RECORD}: fetch it again"
        )
    records = np.frombuffer(content, np.uint8).reshape(-1, CIFAR_RECORD)
    if records[:, 0].max() > 9:
        raise InputError(
            f"{path} has a label of {records[:, 0].max()}, above 9: not CIFAR-10, fetch it again"
        )
    return records


def _read(path: Path) -> bytes:
    """Content of a file, or of the same name with ``.gz``."""
    zipped = path.with_name(path.name + ".gz")
    if path.is_file():
        return path.read_bytes()
    if not zipped.is_file():
        raise InputError(f"{path} (or {zipped.name}) is missing: put the data set's original file there")
    try:
        return gzip.decompress(zipped.read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{zipped} is not a whole gzip file ({error}): fetch it again") from error


READERS: dict[str, Any] = {
    "digits": read_digits,
    "mnist": read_mnist,
    "fashion_mnist": read_mnist,
    "cifar10": read_cifar10,
}
