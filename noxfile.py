"""Sessions of the project: `nox` runs the tests, `nox -l` lists the rest."""

import os
import re
import shutil
import sys
import tempfile
import zipfile
from pathlib import Path

import nox

nox.needs_version = ">=2025.10.14"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.sessions = ["tests"]
nox.options.download_python = "never"
nox.options.error_on_missing_interpreters = False

PROJECT = nox.project.load_toml("pyproject.toml")
SUPPORTED = {"3.11", "3.12"}  # two generations of JAX, see constraints.txt
RUNNING = f"{sys.version_info.major}.{sys.version_info.minor}"
PYTHONS = sorted(SUPPORTED | {RUNNING}, key=lambda version: int(version.split(".")[1]))
ONE_BLAS_THREAD = {"OPENBLAS_NUM_THREADS": "1", "NPROC": os.environ.get("NPROC", "16")}
ON_CPU = ONE_BLAS_THREAD | {"JAX_PLATFORMS": "cpu"}

SAME_FOR_ALL = (  # processes, files and words, which no generation of JAX changes
    "tests/bench/cli", "tests/bench/test_pool.py", "tests/bench/test_cluster.py", "tests/bench/record",
    "tests/test_layers.py", "tests/test_documents.py", "tests/bench/test_settings.py",
    "tests/bench/experiments",  # tests/bench/engine lowers their programs, the rest tests their parts
)  # fmt: skip


def group(name: str) -> tuple[str, ...]:
    """Requirements of one dependency group of pyproject.toml."""
    return nox.project.dependency_groups(PROJECT, name)


def pinned(session: nox.Session, *requirements: str) -> None:
    """Install requirements at the versions that constraints.txt records."""
    session.install("-c", "constraints.txt", *requirements)


def rebuilt(session: nox.Session, *requirements: str) -> None:
    """Install a wheel of the working tree, without files left from older builds, and what it is used with."""
    shutil.rmtree("build/lib", ignore_errors=True)
    pinned(session, ".", *requirements)


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """Run the test suite on the CPU, against the built wheel; on other Pythons what their JAX may change."""
    rebuilt(session, "--no-compile", *group("test"))  # Python compiles the few modules that are imported
    left_out = [f"--ignore={path}" for path in SAME_FOR_ALL if session.python != RUNNING]
    arguments = ("-n", "auto", "--dist", "loadfile", "--benchmark-disable", *left_out, *session.posargs)
    session.run("pytest", *arguments, env=ON_CPU | {"PYTHONDONTWRITEBYTECODE": ""})


@nox.session
def lint(session: nox.Session) -> None:
    """Check style and formatting."""
    pinned(session, *group("lint"))
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")


@nox.session
def typecheck(session: nox.Session) -> None:
    """Check types against the built wheel: checkers cannot see editable finders."""
    rebuilt(session, *group("typecheck"))
    session.run("mypy")


@nox.session
def reproduce(session: nox.Session) -> None:
    """Run every experiment and write figures, verdicts and the report; resumes (`-- --size standard`)."""
    pinned(session, "-e", ".")  # editable, so that results record the commit they come from
    session.run("signalprop", "reproduce", *session.posargs)


@nox.session
def figures(session: nox.Session) -> None:
    """Redraw the figures from stored results; nothing is recomputed."""
    rebuilt(session)
    session.run("signalprop", "figures", *session.posargs)


@nox.session
def report(session: nox.Session) -> None:
    """Write the self-contained page from stored results."""
    rebuilt(session)
    session.run("signalprop", "report", *session.posargs)


@nox.session
def throughput(session: nox.Session) -> None:
    """Time the suite on this accelerator; the JSON file is named after it."""
    rebuilt(session, *group("test"))
    env = ONE_BLAS_THREAD | {name: os.environ.get(name, "") for name in ("JAX_PLATFORMS", "XLA_FLAGS")}
    device_kind = "import jax; print(jax.devices()[0].device_kind)"
    answer = session.run("python", "-c", device_kind, env=env, silent=True)
    accelerator = re.sub(r"[^a-z0-9]+", "-", str(answer).splitlines()[-1].lower()).strip("-")
    record = Path("results/throughput") / f"{accelerator}.json"
    record.parent.mkdir(parents=True, exist_ok=True)
    arguments = ("tests/speed", "--timeout=1800", f"--benchmark-json={record}", *session.posargs)
    session.run("pytest", *arguments, env=env)


@nox.session(python="3.11", default=False)
def lowest(session: nox.Session) -> None:
    """Run the tests on the oldest versions that pyproject.toml allows."""
    oldest = [requirement.replace(">=", "==") for requirement in PROJECT["project"]["dependencies"]]
    shutil.rmtree("build/lib", ignore_errors=True)
    session.install(".", *oldest, *group("test"))
    session.run("pytest", *session.posargs, env=ON_CPU)


@nox.session(default=False)
def confusion(session: nox.Session) -> None:
    """Diagnose networks broken on purpose and their healthy twins; write the table of causes said."""
    rebuilt(session, *group("test"))
    session.run("python", "tests/confusion/table.py", *session.posargs, env=ON_CPU)


@nox.session(default=False)
def properties(session: nox.Session) -> None:
    """Try five hundred random activations where the tests try twenty-five."""
    rebuilt(session, *group("test"))
    arguments = ("tests/analysis/test_random_activations.py", "--hypothesis-profile=many", "--timeout=1800")
    session.run("pytest", *arguments, *session.posargs, env=ON_CPU)


@nox.session(default=False)
def editable(session: nox.Session) -> None:
    """Run the tests, the docstring examples and `python -m signalprop` on an editable install."""
    pinned(session, "-e", ".", *group("test"))
    session.run("pytest", *session.posargs, env=ON_CPU)
    session.run(
        "pytest", "--doctest-modules", "models", "analysis", "bench", env=ON_CPU, success_codes=[0, 5]
    )
    session.run("python", "-m", "signalprop", "--help", env=ON_CPU)


BUILD = """
import sys, zipfile
from pathlib import Path
from packaging.metadata import Metadata
from setuptools import build_meta

folder = sys.argv[1]
wheel = zipfile.ZipFile(Path(folder, build_meta.build_wheel(folder)))
(metadata,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
Metadata.from_email(wheel.read(metadata), validate=True)
build_meta.build_sdist(folder)
"""


@nox.session(default=False)
def wheel(session: nox.Session) -> None:
    """Build wheel and source distribution, check both, and run the wheel in an environment elsewhere."""
    session.install(*PROJECT["build-system"]["requires"], "packaging")
    shutil.rmtree("build/lib", ignore_errors=True)
    constraints = str(Path("constraints.txt").resolve())
    with tempfile.TemporaryDirectory() as name, session.chdir("."):
        place = Path(name)
        session.run("python", "-c", BUILD, name, silent=True)
        (built,), (source,) = place.glob("*.whl"), place.glob("*.tar.gz")
        shutil.unpack_archive(source, place, filter="data")
        (place / "again").mkdir()
        session.chdir(place / source.name.removesuffix(".tar.gz"))
        session.run("python", "-c", BUILD, str(place / "again"), silent=True)
        if zipfile.ZipFile(built).namelist() != zipfile.ZipFile(place / "again" / built.name).namelist():
            session.error("the source distribution lacks files: its wheel is another one")
        session.chdir(place)
        session.run("python", "-m", "venv", "empty")
        python = str(place / "empty" / "bin" / "python")
        session.run(python, "-m", "pip", "install", "-c", constraints, str(built), external=True)
        env = ON_CPU | {"PYTHONPATH": ""}
        for words in (
            ["list"],
            ["theory", "mean-field", "--activation", "tanh", "--sigma-w", "1.5"],
            ["run", "sigmoid-saturation", "--width", "2", "4", "--seeds", "3", "--out", "out"],
        ):
            session.run(str(place / "empty" / "bin" / "signalprop"), *words, external=True, env=env)
