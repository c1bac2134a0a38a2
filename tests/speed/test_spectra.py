"""Speed of spectra-1440: 240 networks of width 128, their Jacobians' singular values at 6 depths up to 64.

Timed: the steady state of all 1440 spectra, from keys on the device to logarithms on the device. Compilation
of the program and the first call are in extra_info. The answer is checked first.
On a CPU one thread per core runs one chunk at a time (NPROC must exceed the number of cores).
"""

import time

import jax
import numpy as np
import pytest

from signalprop.bench.measure.spectra import Workload
from signalprop.models.activations import activation
from signalprop.models.mlp import MLP

ATOL = {"fast": 1e-2, "exact": 1e-9}


@pytest.fixture(scope="module", params=["fast", "exact"])
def compiled(request):
    """A workload, its program, and the seconds that their compilation and first call took."""
    workload = Workload(request.param)
    began = time.perf_counter()
    program = workload.compile()
    compile_seconds = time.perf_counter() - began
    began = time.perf_counter()
    spectra = workload.run(program).block_until_ready()
    return workload, program, spectra, compile_seconds, time.perf_counter() - began


def test_spectra_1440_steady_state(benchmark, compiled):
    """Time all 1440 spectra; compilation and first call are in extra_info."""
    workload, program, spectra, compile_seconds, first_call_seconds = compiled
    check(workload, np.asarray(spectra))
    benchmark.extra_info |= {
        "workload": "spectra-1440",
        "form": workload.form,
        "spectra": spectra.size // workload.width,
        "flops": workload.flops,
        "compile_seconds": compile_seconds,
        "first_call_seconds": first_call_seconds,
        "device": jax.devices()[0].device_kind,
    }
    rounds = 5 if workload.form == "fast" else 1
    benchmark.pedantic(lambda: workload.run(program).block_until_ready(), rounds=rounds)


def check(workload, spectra):
    """Spectra of relu shift with the scale by depth log sigma_w; one network is found by NumPy."""
    depths, scales = np.array(workload.depths), np.log(workload.sigma_w)
    unit = spectra[workload.activations.index("relu")] - scales[:, None, None] * depths[:, None]
    np.testing.assert_allclose(unit[:, 1:, :, 0], unit[:, :-1, :, 0], atol=ATOL[workload.form])
    resolved = np.where(np.isnan(spectra), -np.inf, spectra)
    assert np.all(resolved[..., :-1] >= resolved[..., 1:])
    assert np.isnan(spectra).any() == (workload.form == "fast")

    keys, scales, x = workload.inputs()
    widths = (workload.width,) * (workload.depths[0] + 1)
    for i, name in enumerate(workload.activations):
        network = MLP(widths, activation(name), sigma_w=scales[2], key=keys.ravel()[3], dtype=x.dtype)
        values = np.linalg.svd(jax.jacfwd(network)(x), compute_uv=False)
        found = spectra[i, 3, 2, 0]
        np.testing.assert_allclose(np.exp(found[:16]), values[:16], rtol=ATOL[workload.form])
