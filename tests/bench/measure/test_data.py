"""Readers against files written here in the original formats, and the preparation of inputs."""

import gzip
import struct
from math import sqrt

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from signalprop.bench.measure import data

RANDOM = np.random.default_rng(0)
IMAGES = {
    "train": RANDOM.integers(0, 256, (12, 4, 5), np.uint8),
    "t10k": RANDOM.integers(0, 256, (7, 4, 5), np.uint8),
}
LABELS = {name: RANDOM.integers(0, 10, len(images)).astype(np.uint8) for name, images in IMAGES.items()}


def idx(array):
    """Bytes of an array in the IDX format."""
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


@pytest.fixture(params=["plain", "gz"])
def mnist(request, tmp_path):
    folder = tmp_path / "mnist"
    folder.mkdir()
    for prefix in IMAGES:
        for kind, array in (("images-idx3-ubyte", IMAGES[prefix]), ("labels-idx1-ubyte", LABELS[prefix])):
            if request.param == "gz":
                (folder / f"{prefix}-{kind}.gz").write_bytes(gzip.compress(idx(array)))
            else:
                (folder / f"{prefix}-{kind}").write_bytes(idx(array))
    return tmp_path


@pytest.fixture
def cifar(tmp_path):
    folder = tmp_path / "cifar10"
    folder.mkdir()
    files = [f"data_batch_{i}.bin" for i in range(1, 6)] + ["test_batch.bin"]
    records = {file: RANDOM.integers(0, 10, (4, data.CIFAR_RECORD), np.uint8) for file in files}
    for file, record in records.items():
        (folder / file).write_bytes(record.tobytes())
    return tmp_path, records


@pytest.mark.parametrize(("split", "prefix"), [("train", "train"), ("test", "t10k")])
def test_idx_files_come_back_as_written(mnist, split, prefix):
    found = data.pixels("mnist", split, root=mnist)
    np.testing.assert_allclose(found.x, IMAGES[prefix].reshape(-1, 20) / 255, rtol=1e-6)
    np.testing.assert_array_equal(found.label, LABELS[prefix])
    assert found.x.dtype == np.float32


def test_cifar_files_come_back_as_written(cifar):
    root, records = cifar
    written = np.concatenate([records[f"data_batch_{i}.bin"] for i in range(1, 6)])
    found = data.pixels("cifar10", root=root)
    np.testing.assert_allclose(found.x, written[:, 1:] / 255, rtol=1e-6)
    np.testing.assert_array_equal(found.label, written[:, 0])
    assert data.pixels("cifar10", "test", root=root).x.shape == (4, 3072)


def test_npz_arrays_stand_in_for_a_folder(tmp_path):
    images, labels = IMAGES["train"], LABELS["train"]
    np.savez(tmp_path / "fashion_mnist.npz", x_train=images, y_train=labels[:, None])
    found = data.pixels("fashion_mnist", root=tmp_path)
    np.testing.assert_allclose(found.x, images.reshape(12, 20) / 255, rtol=1e-6)
    np.testing.assert_array_equal(found.label, labels)
    with pytest.raises(ValueError, match=r"lacks x_test or y_test"):
        data.pixels("fashion_mnist", "test", root=tmp_path)


def test_npz_with_pickled_objects_is_refused(tmp_path):
    objects = np.array([{}, {}], dtype=object)
    np.savez(tmp_path / "mnist.npz", x_train=objects, y_train=objects)
    with pytest.raises(ValueError, match=r"cannot be read as plain arrays"):
        data.pixels("mnist", root=tmp_path)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("train-images-idx3-ubyte", idx(IMAGES["train"])[:-3], r"holds 253 bytes, its header says 256"),
        ("train-images-idx3-ubyte", idx(IMAGES["train"])[:9], r"holds 9 bytes"),
        ("train-images-idx3-ubyte", b"", r"begins with , not 00000803"),
        ("train-images-idx3-ubyte", idx(IMAGES["train"]) + b"x", r"holds 257 bytes, its header says 256"),
        ("train-images-idx3-ubyte", idx(LABELS["train"]), r"begins with 00000801, not 00000803"),
        ("train-labels-idx1-ubyte", b"<html>", r"begins with 3c68746d, not 00000801"),
        ("train-labels-idx1-ubyte", idx(LABELS["t10k"]), r"12 examples but 7 labels"),
    ],
)
@pytest.mark.parametrize("mnist", ["plain"], indirect=True)
def test_a_damaged_idx_file_is_refused_in_one_line(mnist, file, content, message):
    (mnist / "mnist" / file).write_bytes(content)
    with pytest.raises(ValueError, match=message) as error:
        data.pixels("mnist", root=mnist)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("mnist", ["gz"], indirect=True)
def test_a_truncated_gzip_file_is_refused(mnist):
    path = mnist / "mnist" / "train-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ValueError, match=r"train-images-idx3-ubyte.gz is not a whole gzip file"):
        data.pixels("mnist", root=mnist)


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist", "cifar10"])
def test_a_missing_file_is_named_with_what_to_put_there(tmp_path, name):
    with pytest.raises(
        ValueError, match=rf"{name}.*\(or .*\.gz\) is missing: put the data set's original file there"
    ):
        data.examples(name, root=tmp_path)


def test_damaged_and_pickled_cifar_files_are_refused(cifar):
    root, records = cifar
    path = root / "cifar10" / "data_batch_3.bin"
    path.write_bytes(records["data_batch_3.bin"].tobytes()[:-1])
    with pytest.raises(ValueError, match=r"data_batch_3.bin holds 12291 bytes, not a multiple of 3073"):
        data.pixels("cifar10", root=root)
    path.write_bytes(bytes([10]) * data.CIFAR_RECORD)
    with pytest.raises(ValueError, match="has a label of 10, above 9"):
        data.pixels("cifar10", root=root)
    path.rename(path.with_suffix(""))
    with pytest.raises(ValueError, match=r"is the python version of CIFAR-10, a pickle.*data_batch_3\.bin"):
        data.pixels("cifar10", root=root)


def test_the_data_root_comes_from_the_environment(mnist, monkeypatch):
    monkeypatch.setenv("SIGNALPROP_DATA", str(mnist))
    assert data.pixels("mnist").x.shape == (12, 20)


def test_examples_are_standardized_by_the_training_pixels_then_scaled_to_unit_length(mnist):
    training = IMAGES["train"].reshape(12, 20) / 255
    test = IMAGES["t10k"].reshape(7, 20) / 255
    standard = (test - training.mean(0)) / training.std(0)
    found = data.examples("mnist", "test", root=mnist)
    np.testing.assert_allclose(
        found.x, standard / np.sqrt((standard**2).mean(1, keepdims=True)), rtol=1e-5, atol=1e-6
    )


def test_digits_are_prepared_with_constant_pixels_at_zero_and_a_raw_version_kept():
    raw, prepared = data.pixels("digits"), data.examples("digits")
    constant = np.ptp(raw.x, axis=0) == 0
    assert constant.any()
    assert len(raw.x) + len(data.pixels("digits", "test").x) == 1797
    np.testing.assert_array_equal(prepared.x[:, constant], 0)
    np.testing.assert_allclose(np.mean(prepared.x**2, axis=1), 1, rtol=1e-5)
    uncentred = data.examples("digits_raw").x
    np.testing.assert_allclose(uncentred, raw.x / np.sqrt((raw.x**2).mean(1, keepdims=True)), rtol=1e-5)
    assert uncentred.mean() > 0.4
    standard = (raw.x - raw.x.mean(0, float)) / np.where(constant, 1, raw.x.std(0, float))
    np.testing.assert_allclose(
        prepared.x, standard / np.sqrt((standard**2).mean(1, keepdims=True)), atol=1e-5
    )


@pytest.mark.parametrize(
    ("name", "dim", "shape"),
    [
        ("gaussian", 30, (9, 30)),
        ("digits", None, (9, 64)),
        ("digits_raw", 100, (9, 100)),
        ("digits", 20, (9, 20)),
    ],
)
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_inputs_have_unit_length_per_unit_under_jit_and_vmap(name, dim, shape, dtype):
    keys = jax.random.split(jax.random.key(1), 2)
    x = jax.jit(jax.vmap(lambda key: data.inputs(name, key, 9, dim, dtype=dtype)))(keys)
    assert x.shape == (2, *shape)
    assert x.dtype == dtype
    np.testing.assert_allclose(jnp.mean(x**2, axis=-1), 1, rtol=20 * float(jnp.finfo(dtype).eps))
    assert not np.array_equal(x[0], x[1])


def test_a_batch_of_real_inputs_has_no_example_twice():
    x = np.asarray(data.inputs("digits", jax.random.key(2), 1437))
    assert len(np.unique(x, axis=0)) == len(np.unique(data.examples("digits").x, axis=0))


def test_an_embedding_keeps_all_angles_and_a_projection_nearly():
    x = data.inputs("digits", jax.random.key(3), 40)
    up, down = (data.project(jax.random.key(4), x, dim) for dim in (200, 32))
    cosines = x @ x.T / 64
    np.testing.assert_allclose(up @ up.T / 200, cosines, atol=1e-5)
    change = np.asarray(down @ down.T / 32 - cosines)
    assert np.sqrt(np.mean(change**2)) < 2 / sqrt(32)


def test_bad_requests_are_answered_in_one_line():
    key = jax.random.key(0)
    with pytest.raises(ValueError, match="dim is missing"):
        data.inputs("gaussian", key, 3)
    with pytest.raises(ValueError, match=r"unknown data set 'dgits': did you mean 'digits'\?"):
        data.inputs("dgits", key, 3)
    with pytest.raises(ValueError, match="batch 5000 is larger than the 1437 inputs of digits"):
        data.inputs("digits", key, 5000)
    with pytest.raises(ValueError, match=r"unknown split 'tset': did you mean 'test'\?"):
        data.examples("digits", "tset")


def test_the_mixture_has_unit_variance_and_the_share_of_the_class_mean_asked_for():
    x, label = data.gaussian_mixture(jax.random.key(5), 4000, 64, dtype=jnp.float64)
    x, label = np.asarray(x), np.asarray(label)
    within = np.concatenate([x[label == k] - x[label == k].mean(0) for k in range(10)])
    freedom = within.size - 10 * 64
    assert set(label) == set(range(10))
    assert abs((within**2).sum() / freedom - 0.64) < 5 * 0.64 * sqrt(2 / freedom)
    assert abs((x**2).mean() - 1) < 5 * 0.36 * sqrt(2 / (10 * 64)) + 5 * 0.64 * sqrt(2 / x.size)
