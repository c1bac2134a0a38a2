"""What a benchmark file says about the machine: the accelerator and the versions, no host name."""

import os
from typing import Any

import jax

from signalprop.bench.engine import machine


def pytest_benchmark_update_machine_info(config: Any, machine_info: dict[str, Any]) -> None:
    """Describe the accelerator instead of the host."""
    machine_info.pop("node", None)
    device = jax.devices()[0]
    machine_info["accelerator"] = {
        "platform": device.platform,
        "device_kind": device.device_kind,
        "devices": jax.device_count(),
        "cores": machine.num_cores(),
        "openblas_threads": os.environ["OPENBLAS_NUM_THREADS"],
        "versions": machine.versions(),
    }
