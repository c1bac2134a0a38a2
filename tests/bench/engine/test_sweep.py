"""The sweep gives the same numbers whatever happens to it."""

import os
import signal
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

from signalprop.bench.engine import machine, plan, programs, store, sweep
from signalprop.bench.engine.errors import InputError, Interrupted, StoreError

CHUNK = (2, 2)


@pytest.fixture
def whole(toy, tmp_path) -> xr.Dataset:
    """The uninterrupted result."""
    return store.load(sweep.run(toy, toy.sizes["quick"], tmp_path / "whole.zarr", chunk=CHUNK))


def chunk_files(path: Path, variable: str) -> list[Path]:
    return sorted(p for p in (path / variable / "c").rglob("*") if p.is_file())


def assert_identical(a: xr.Dataset, b: xr.Dataset) -> None:
    for name in a.data_vars:
        np.testing.assert_array_equal(a[name], b[name], err_msg=str(name))


def test_points_equal_a_plain_loop(toy, whole) -> None:
    settings = toy.sizes["quick"]
    for width in settings.width:
        for seed in range(settings.seeds):
            key = jax.random.fold_in(jax.random.key(settings.seed), np.uint32(seed))
            for sigma_w in settings.sigma_w:
                point = {"sigma_w": np.float32(sigma_w), "twice": np.float32(2 * sigma_w)}
                alone = toy.measure(key, point, {"width": width})
                stored = whole.sel(width=width, seed=seed, sigma_w=sigma_w)
                np.testing.assert_allclose(stored["norm"], alone["norm"], rtol=1e-5)
                np.testing.assert_allclose(stored["values"][:width], alone["values"], rtol=1e-4)
                assert np.isnan(stored["values"][width:]).all()


def test_scales_share_their_draws(whole) -> None:
    np.testing.assert_array_equal(whole["norm"].sel(sigma_w=2.0), 4 * whole["norm"].sel(sigma_w=0.5))


def test_ctrl_c_stops_after_a_stored_chunk_and_resuming_gives_the_same_bits(toy, tmp_path, whole) -> None:
    path = tmp_path / "cut.zarr"
    seen = []

    def press(case: str, done: int, total: int) -> None:
        seen.append(done)
        if len(seen) == 2:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Interrupted):
        sweep.run(toy, toy.sizes["quick"], path, chunk=CHUNK, report=press)
    with pytest.raises(StoreError, match="unfinished"):
        store.load(path)
    counts = []
    sweep.run(toy, toy.sizes["quick"], path, report=lambda case, done, total: counts.append(total))
    assert counts[0] < 12, "finished chunks were computed again"
    assert_identical(whole, store.load(path))


def test_shards_in_any_order_give_the_same_bits(toy, tmp_path, whole) -> None:
    path = tmp_path / "shards.zarr"
    for i in (2, 0, 1):
        assert not path.exists() or not store.is_finished(path)
        sweep.run(toy, toy.sizes["quick"], path, chunk=CHUNK, shard=(i, 3))
    assert_identical(whole, store.load(path))


def test_one_device_gives_the_bits_of_many(toy, tmp_path, whole, monkeypatch) -> None:
    assert len(jax.local_devices()) > 1
    monkeypatch.setattr(jax, "local_devices", lambda: jax.devices()[:1])
    alone = store.load(sweep.run(toy, toy.sizes["quick"], tmp_path / "one.zarr", chunk=CHUNK))
    assert_identical(whole, alone)


@pytest.mark.parametrize("chunk", [(1, 1), (5, 3)])
def test_other_chunk_shapes_agree_to_a_few_ulp(toy, tmp_path, whole, chunk) -> None:
    other = store.load(sweep.run(toy, toy.sizes["quick"], tmp_path / "other.zarr", chunk=chunk))
    for name in ("norm", "values", "pair"):
        np.testing.assert_allclose(other[name], whole[name], rtol=20 * np.finfo(np.float32).eps, atol=1e-6)


@pytest.mark.parametrize("harm", ["garbage", "truncated", "removed"])
def test_a_damaged_chunk_is_refused_and_then_recomputed(toy, tmp_path, whole, harm, capsys) -> None:
    path = tmp_path / "whole.zarr"
    victim = chunk_files(path, "norm")[3]
    if harm == "garbage":
        victim.write_bytes(b"\x00garbage" * 4)
    elif harm == "truncated":
        victim.write_bytes(victim.read_bytes()[:-3])
    else:
        victim.unlink()
    with pytest.raises(StoreError, match="damaged"):
        store.load(path)
    sweep.run(toy, toy.sizes["quick"], path)
    assert "damaged and will be recomputed" in capsys.readouterr().out
    assert_identical(whole, store.load(path))


def test_measurements_that_are_all_lost_are_stored_and_not_damaged(toy, tmp_path) -> None:
    def lose(key, point, static):
        measured = toy.measure(key, point, static)
        return measured | {"norm": -jnp.abs(measured["norm"] * jnp.nan)}  # as 0/0 on x86

    path = sweep.run(replace(toy, measure=lose), toy.sizes["quick"], tmp_path / "lost.zarr", chunk=CHUNK)
    assert np.isnan(store.load(path)["norm"]).all()


def test_a_full_disk_keeps_what_is_finished(toy, tmp_path, whole, monkeypatch) -> None:
    path = tmp_path / "full.zarr"
    real, left = store.Run.write, iter(range(3))

    def write(self, case, block, arrays, *, split=False) -> None:
        if next(left, None) is None:
            monkeypatch.setattr(type(self.group[store.MARKER]), "__setitem__", no_space)
        real(self, case, block, arrays, split=split)

    def no_space(self, *args) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store.Run, "write", write)
    with pytest.raises(StoreError, match="No space left"):
        sweep.run(toy, toy.sizes["quick"], path, chunk=CHUNK)
    monkeypatch.undo()
    sweep.run(toy, toy.sizes["quick"], path)
    assert_identical(whole, store.load(path))


def test_stores_of_another_schema_or_other_settings_are_left_alone(
    toy, toy_settings, tmp_path, whole
) -> None:
    path = tmp_path / "whole.zarr"
    with pytest.raises(StoreError, match="other settings"):
        sweep.run(toy, toy_settings(seeds=7), path)
    meta = path / "zarr.json"
    meta.write_text(meta.read_text().replace('"schema": 1', '"schema": 99'))
    for use in (lambda: store.load(path), lambda: sweep.run(toy, toy.sizes["quick"], path)):
        with pytest.raises(StoreError, match="schema 99"):
            use()


def test_a_store_whose_variables_had_other_names_is_refused_with_them(toy, tmp_path, whole) -> None:
    renamed = replace(toy, variables={"size": toy.variables["norm"], **toy.variables})
    with pytest.raises(StoreError, match="stored by other code, without size; --fresh computes it again"):
        sweep.run(renamed, toy.sizes["quick"], tmp_path / "whole.zarr")


def test_an_out_folder_that_cannot_be_written_is_one_line(toy, tmp_path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot write"):
        sweep.run(toy, toy.sizes["quick"], tmp_path / "file" / "x.zarr", chunk=CHUNK)


def test_an_accelerator_out_of_memory_runs_each_chunk_as_two_halves(
    toy, tmp_path, whole, monkeypatch
) -> None:
    def refuse(self, *args) -> None:
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: out of memory")

    monkeypatch.setattr(programs.Programs, "compute", refuse)
    path = sweep.run(toy, toy.sizes["quick"], tmp_path / "halves.zarr", chunk=CHUNK)
    assert xr.open_zarr(path, consolidated=False, chunks=None)["split"].values.all()
    for name in ("norm", "values"):
        np.testing.assert_allclose(store.load(path)[name], whole[name], rtol=1e-5, atol=1e-6)


def test_a_network_larger_than_memory_is_refused_with_a_width_that_fits(toy, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(machine, "available_memory", lambda device: 100)
    with pytest.raises(InputError, match=r"--width: got 8.*write at most about \d+"):
        sweep.run(toy, toy.sizes["quick"], tmp_path / "x.zarr")


def test_the_plan_counts_points_programs_and_chunks(toy) -> None:
    cost = plan.plan(programs.Programs(toy, toy.sizes["quick"]))
    assert (cost.points, cost.programs) == (30, 2)
    assert cost.chunks == 2 * int(np.prod(np.ceil(np.array([5, 3]) / cost.chunk)))
    assert cost.memory > 0
    assert cost.disk == 30 * 4 * (1 + 1 + 8)


def test_the_chunk_follows_from_device_and_settings_and_not_from_what_else_runs(
    toy, tmp_path, monkeypatch
) -> None:
    chosen = []
    for number, free in enumerate((2**31, 2**40)):
        monkeypatch.setattr(machine, "available_memory", lambda device, free=free: free)
        path = sweep.run(toy, toy.sizes["quick"], tmp_path / f"{number}.zarr")
        chosen.append(store.load(path).attrs["chunk"])
    assert chosen[0] == chosen[1] == [2, 3]  # at most 8 points of 5 seeds with 3 scales, as even as can be


def test_many_small_networks_share_a_chunk_and_large_ones_have_one_each(
    toy, toy_settings, monkeypatch
) -> None:
    small = programs.Programs(toy, toy_settings(seeds=4000))
    chunk = plan.choose_chunk(small)
    assert chunk == (62, 3)  # 12,000 points in about 64 chunks
    assert plan._memory(small, chunk) <= plan.SMALL_BYTES
    monkeypatch.setattr(plan, "_memory", lambda programs, chunk: 2**29 * int(np.prod(chunk)))
    monkeypatch.setattr(machine, "available_memory", lambda device: 2**32)
    assert plan.choose_chunk(small) == (1, 2)
    monkeypatch.setattr(plan, "_memory", lambda programs, chunk: 2**31 * int(np.prod(chunk)))
    assert plan.choose_chunk(small) == (1, 1)


@pytest.mark.parametrize("seconds", [0.0, 20.0])
def test_shares_cover_what_is_missing_once_and_are_worth_while(
    toy, tmp_path, whole, monkeypatch, seconds
) -> None:
    path, cases = tmp_path / "shared.zarr", programs.Programs(toy, toy.sizes["quick"])
    record = sweep.open_store(cases, path, CHUNK)
    everything = sweep.positions(record)
    assert len(everything) == 12
    sweep.measure(cases, record, range(3, 5))
    monkeypatch.setattr(sweep, "SHARE_SECONDS", seconds + 1e-9)
    record = sweep.open_store(cases, path)
    shares = sweep.divide(cases, record, everything, 3)
    assert len(shares) == (3 if seconds == 0 else 1)
    covered = [position for share in shares for position in share]
    assert len(covered) == len(set(covered))
    assert set(covered) >= set(everything) - {0, 3, 4}  # the first is stored already
    for share in reversed(shares):
        sweep.measure(cases, sweep.open_store(cases, path), share)
    assert_identical(whole, store.load(path))
    assert sweep.divide(cases, sweep.open_store(cases, path), everything, 3) == []


def test_a_chunk_that_another_process_stored_meanwhile_is_not_computed(toy, tmp_path, monkeypatch) -> None:
    cases, path = programs.Programs(toy, toy.sizes["quick"]), tmp_path / "two.zarr"
    ours, theirs = (sweep.open_store(cases, path, CHUNK) for _ in range(2))
    sweep.measure(cases, theirs, range(12))
    monkeypatch.setattr(programs.Programs, "compute", None)
    sweep.measure(cases, ours, range(12))


def test_even_chunks_need_no_more_chunks_and_waste_less() -> None:
    for n in range(1, 40):
        for c in range(1, n + 1):
            (size,) = plan.even((n,), (c,))
            assert -(-n // size) == -(-n // c)
            assert size <= c
            assert size * -(-n // size) - n < -(-n // size), "a smaller chunk would have done"
