"""Every sweep program lowers for every platform, without having one."""

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
        for platform, exported in zip(PLATFORMS, programs.export(static, chunk, PLATFORMS), strict=True):
            assert exported.platforms == (platform,)
