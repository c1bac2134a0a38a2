"""What is installed, from where, and at which versions."""

import subprocess
import sys
import tomllib
from importlib.metadata import distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
CONSTRAINTS = [Requirement(line) for line in (ROOT / "constraints.txt").read_text().splitlines()]


def test_nothing_but_signalprop_lands_in_site_packages() -> None:
    found = distributions(name="signalprop")
    record = next(text for one in found if (text := one.read_text("RECORD")))
    tops = {line.split("/")[0].split(",")[0] for line in record.splitlines()} - {"..", "__pycache__"}
    assert not {top for top in tops if not top.startswith(("signalprop", "__editable__"))}


@pytest.mark.parametrize("path", ["constraints.txt", "pyproject.toml", "setup.py", "noxfile.py", ".ci/run"])
def test_no_address_of_a_registry_is_recorded(path: str) -> None:
    text = (ROOT / path).read_text()
    assert not [mark for mark in ("://", "index-url", "find-links", "--trusted-host") if mark in text]


@pytest.mark.parametrize("requirement", PROJECT["project"]["dependencies"])
def test_constraints_pin_every_dependency_within_its_bounds(requirement: str) -> None:
    wanted = Requirement(requirement)
    pins = [pin for pin in CONSTRAINTS if pin.name == wanted.name]
    assert pins
    assert all(wanted.specifier.contains(spec.version) for pin in pins for spec in pin.specifier)


def test_importing_signalprop_loads_nothing_heavy() -> None:
    heavy = "{'jax', 'flax', 'numpy', 'matplotlib', 'xarray'} & set(sys.modules)"
    program = f"import sys, signalprop; sys.exit(str({heavy}) if {heavy} else 0)"
    subprocess.run([sys.executable, "-c", program], check=True)
