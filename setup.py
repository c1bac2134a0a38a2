"""The folders of the root are subpackages of signalprop, so that no `models` lands in site-packages."""

from setuptools import find_packages, setup

roots = ("analysis", "models", "bench")
found = find_packages(include=[pattern for root in roots for pattern in (root, f"{root}.*")])
folders = {"signalprop": "src/signalprop"} | {f"signalprop.{root}": root for root in roots}
setup(packages=["signalprop", *(f"signalprop.{package}" for package in found)], package_dir=folders)
