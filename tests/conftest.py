"""One place that starts the test process: 64-bit JAX on the CPU, one BLAS thread, several virtual devices."""

import gc
import os
from importlib.metadata import version

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ["OPENBLAS_NUM_THREADS"] = "1"
os.environ.setdefault("NPROC", "12")  # jaxlib 0.10 dead-locks unless the pool exceeds the number of devices
# The tests mostly compile: without LLVM's optimisations they take two thirds of the time, and half where the
# generation of jaxlib that 3.11 gets can do without its fusion emitters; one module is quicker than parts.
os.environ.setdefault(
    "XLA_FLAGS",
    "--xla_force_host_platform_device_count=4 --xla_backend_optimization_level=0"
    " --xla_cpu_parallel_codegen_split_count=1"
    + " --xla_cpu_use_fusion_emitters=false"
    * version("jaxlib").startswith("0.10."),
)

import hypothesis
import jax

jax.config.update("jax_enable_x64", True)
gc.freeze()  # garbage collected rarely, as in the suite's own processes, saves a fifth of tracing
gc.set_threshold(100_000, 50, 100)
for name, examples in (("few", 25), ("many", 500)):
    hypothesis.settings.register_profile(name, max_examples=examples, derandomize=True, database=None)
hypothesis.settings.load_profile("few")  # `nox -s properties` asks for many
