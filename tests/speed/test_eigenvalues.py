"""Speed of the eigenvalues of 1,000 matrices of width 128, beside a NumPy loop with all its threads.

Timed: the steady state from matrices on the device to eigenvalues on the device, one compiled program; on a
CPU one thread per core runs one part at a time. The answer is checked first. NumPy runs in a process of its
own, as its number of threads is set at the start: with all of them, then with one.
"""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from signalprop.analysis.eigenvalues import eigenvalues, routine
from signalprop.bench.engine.machine import num_cores

COUNT, WIDTH, PARTS = 1000, 128, 20
SAMPLE = 250  # matrices that the NumPy loop is timed on; its time is proportional to their number
LOOP = f"""
import time, numpy
drawn = numpy.random.default_rng(0).standard_normal(({SAMPLE}, {WIDTH}, {WIDTH})) / {WIDTH}**0.5
numpy.linalg.eigvals(drawn[0])
began = time.perf_counter()
for matrix in drawn:
    numpy.linalg.eigvals(matrix)
print((time.perf_counter() - began) * {COUNT / SAMPLE})
"""


def numpy_seconds(threads):
    """Seconds of a NumPy loop over all matrices with this many BLAS threads; None: as many as it takes."""
    env = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    if threads is not None:
        env["OPENBLAS_NUM_THREADS"] = str(threads)
    call = subprocess.run([sys.executable, "-c", LOOP], env=env, capture_output=True, text=True, check=True)
    return float(call.stdout)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_eigenvalues_of_a_thousand_matrices(benchmark, dtype):
    """Time them all; the NumPy loops' times and the routine are in extra_info."""
    drawn = np.random.default_rng(0).standard_normal((COUNT, WIDTH, WIDTH)) / WIDTH**0.5
    parts = jnp.asarray(drawn, dtype).reshape(PARTS, -1, WIDTH, WIDTH)
    program = jax.jit(jax.vmap(eigenvalues)).lower(parts[0]).compile()
    threads = num_cores() if jax.default_backend() == "cpu" else 1

    def run():
        with ThreadPoolExecutor(threads) as pool:
            return list(pool.map(lambda part: program(part).block_until_ready(), parts))

    expected = np.linalg.eigvals(drawn[0])
    apart = np.abs(np.asarray(run()[0][0])[:, None] - expected)
    assert apart[linear_sum_assignment(apart)].max() < (1e-3 if dtype == "float32" else 1e-11)
    with_all, with_one = numpy_seconds(None), numpy_seconds(1)
    benchmark.extra_info |= {
        "workload": f"eigenvalues of {COUNT} matrices of width {WIDTH}",
        "routine": routine(jax.default_backend()),
        "numpy_loop_all_threads_seconds": with_all,
        "numpy_loop_one_thread_seconds": with_one,
        "device": jax.devices()[0].device_kind,
    }
    benchmark.pedantic(run, rounds=3)
    assert benchmark.stats.stats.min < with_all
