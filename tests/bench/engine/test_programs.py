"""Every sweep program lowers for every platform, without having one."""

from dataclasses import replace

import jax.numpy as jnp
import pytest

from signalprop.bench.engine.programs import Programs
from signalprop.bench.experiments import EXPERIMENTS, find

PLATFORMS = ("cpu", "cuda", "tpu")


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_programs_lower_for_cpu_cuda_and_tpu(name) -> None:
    experiment = find(name)
    programs = Programs(experiment, experiment.sizes["quick"])
    chunk = (1,) * len(programs.grid.traced_shape)
    for _, static in programs.grid.cases():
        traced = programs.trace(static, chunk)
        try:  # in one go, which visits the rules of all three
            traced.lower(lowering_platforms=PLATFORMS)
        except NotImplementedError:  # eigenvalues have a rule of their own where a platform lacks one
            for platform in PLATFORMS:
                traced.lower(lowering_platforms=(platform,))


def test_a_measurement_of_another_shape_or_name_than_declared_is_named(toy) -> None:
    settings = toy.sizes["quick"]
    flat = replace(toy, measure=lambda *point: toy.measure(*point) | {"values": jnp.zeros(())})
    with pytest.raises(
        ValueError, match=r"toy: values has shape \(\), declared \('index',\) of lengths \(8,\)"
    ):
        Programs(flat, settings).shapes()
    more = replace(toy, measure=lambda *point: toy.measure(*point) | {"more": jnp.zeros(())})
    with pytest.raises(ValueError, match=r"toy: measured \['more', .*declared"):
        Programs(more, settings).shapes()


def test_shapes_are_the_same_before_and_after_compiling(toy) -> None:
    programs = Programs(toy, toy.sizes["quick"])
    before = programs.shapes()
    index, static = next(programs.grid.cases())
    programs.compile(index, static, (2, 3))
    assert programs.shapes() == before == Programs(toy, toy.sizes["quick"]).shapes()
