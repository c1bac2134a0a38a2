"""This machine: how the process starts, what memory and devices it has, which versions and commit run on it.

``environment`` is the one place that says what is set before JAX is imported, which ``start`` does.
"""

import gc
import os
import re
import subprocess
from importlib.metadata import entry_points, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from signalprop.bench.engine.errors import InputError

CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "signalprop" / "programs"
WORKER_MEMORY = 2 * 2**30  # bytes of one process, generously: half of it for the libraries, half for a chunk
PACKAGES = ("signalprop", "jax", "jaxlib", "flax", "optax", "numpy", "scipy", "xarray", "zarr")
THREADS = "9"  # of XLA on a CPU, whatever its cores: how they divide a product may decide a last digit
LIGHTLY = "--xla_backend_optimization_level="  # of LLVM: at 1 a quarter less to compile, and kernels as fast


def environment(platform: str | None = None) -> dict[str, str]:
    """What a process that will use JAX has in its environment; what is set already stands.

    A CPU is one device with one BLAS thread: thread pools that do not fight are 3x to 10x faster, and the
    cores are used by as many processes. Garbage is collected rarely, which saves a fifth of tracing.

    Args:
        platform: ``cpu``, ``gpu`` or ``tpu``; None takes the best that JAX finds.
    """
    usual = {
        "OPENBLAS_NUM_THREADS": "1",
        "NPROC": THREADS,
        "JAX_ENABLE_X64": "1",
        "JAX_COMPILATION_CACHE_DIR": str(CACHE),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.2",
    }
    wanted = {name: os.environ.get(name, value) for name, value in usual.items()}
    flags = os.environ.get("XLA_FLAGS", "")
    if LIGHTLY not in flags and (platform == "cpu" or (platform is None and _cpu_alone())):
        wanted["XLA_FLAGS"] = f"{flags} {LIGHTLY}1".strip()
    if platform is not None:
        wanted["JAX_PLATFORMS"] = {"gpu": "cuda,cpu", "tpu": "tpu,cpu"}.get(platform, platform)
    return wanted


def start(platform: str | None = None) -> None:
    """Set the environment of a process that will use JAX, then import it with 64-bit types.

    Args:
        platform: As of ``environment``.

    Raises:
        InputError: If there is no such device here, or another one would be taken.
    """
    os.environ.update(environment(platform))
    import jax

    gc.freeze()
    gc.set_threshold(100_000, 50, 100)
    jax.config.update("jax_enable_x64", True)
    if "JAX_COORDINATOR_ADDRESS" in os.environ and not jax.distributed.is_initialized():
        jax.distributed.initialize()
    try:
        found = jax.devices()[0].platform
    except RuntimeError as error:
        raise InputError(f"--device: got {platform}, but JAX finds none here; write --device cpu") from error
    if platform not in (None, found):
        raise InputError(f"--device: got {platform}, but JAX finds only {found}; write --device cpu")


def num_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def usual_jobs() -> int:
    """Processes that compute at once: one per core that memory is left for, or one for accelerators."""
    return min(num_cores(), possible_jobs()) if _cpu_alone() else 1


def _cpu_alone() -> bool:
    """Whether JAX will find nothing but a CPU, told by its platforms if they are set, or by its plugins."""
    chosen = os.environ.get("JAX_PLATFORMS", "").split(",")[0]
    plugins = entry_points(group="jax_plugins") or any(find_spec(n) for n in ("jax_plugins", "libtpu"))
    return chosen == "cpu" or not (chosen or plugins)


def possible_jobs() -> int:
    """Processes for which memory is left."""
    return max(1, host_memory() // WORKER_MEMORY)


def available_memory(device: Any) -> int:
    """Bytes that a program may still take: the device's own memory, or the host's within its cgroup."""
    stats = device.memory_stats() if device.platform != "cpu" else None
    return int(stats["bytes_limit"] - stats["bytes_in_use"]) if stats else host_memory()


def total_memory(device: Any) -> int:
    """Bytes that programs may take on a device when nothing else does."""
    stats = device.memory_stats() if device.platform != "cpu" else None
    return int(stats["bytes_limit"]) if stats else os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def host_memory() -> int:
    """Bytes of this machine's memory that are still free for this process, within its cgroup."""
    meminfo = Path("/proc/meminfo")
    if not meminfo.exists():
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    free = [int(re.search(r"MemAvailable:\s+(\d+)", meminfo.read_text())[1]) * 1024]  # type: ignore[index]
    limit, used = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")
    if limit.exists() and used.exists() and limit.read_text().strip() != "max":
        free.append(int(limit.read_text()) - int(used.read_text()))
    return min(free)


def versions() -> dict[str, str]:
    """Versions of the packages that influence numbers."""
    return {name: version(name) for name in PACKAGES}


def commit() -> tuple[str, bool]:
    """Commit of the running code and whether the tree has changes; ``("unknown", False)`` if not in git.

    An installed copy below somebody else's repository is not tracked there and counts as unknown.
    """
    here = Path(__file__)

    def git(*words: str) -> str | None:
        try:
            call = subprocess.run(["git", "-C", str(here.parent), *words], capture_output=True, text=True)
        except OSError:
            return None
        return call.stdout.strip() if call.returncode == 0 else None

    if git("ls-files", "--error-unmatch", here.name) is None:
        return "unknown", False
    changes = git("status", "--porcelain", "--", ":/*.py")
    return git("rev-parse", "HEAD") or "unknown", bool(changes)
