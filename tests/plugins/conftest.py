"""Packages installed for a test, as pip installs them, in a folder of their own."""

import importlib
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mmdiff.config import plugins

BUILD = """
import os, sys
from setuptools import build_meta
for package in sys.argv[2:]:
    if os.fork() == 0:
        os.chdir(package)
        os._exit(not build_meta.build_wheel(sys.argv[1]))
    assert os.wait()[1] == 0, package
"""
"""What pip asks of setuptools for each package in three processes, here of all in one that has imported it."""


def install(site: Path, *packages: Path) -> None:
    """``pip install`` into ``site``, from wheels of copies, so that nothing is built in the sources."""
    copies = [shutil.copytree(package, site.parent / f"copy-of-{package.name}") for package in packages]
    wheels = site.parent / "wheels"
    wheels.mkdir(exist_ok=True)
    subprocess.run([sys.executable, "-c", BUILD, wheels, *copies], check=True, capture_output=True)
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index", "--disable-pip-version-check",
         "--target", site, *wheels.glob("*.whl")],
        check=True, capture_output=True,
    )


@pytest.fixture(scope="module")
def with_plugins():
    """A function that makes the packages of a folder plug-ins of this process, until the module's tests end."""
    patch = pytest.MonkeyPatch()
    before = set(sys.modules)

    def use(*sites: Path) -> None:
        for site in sites:
            patch.syspath_prepend(str(site))
        plugins.installed.cache_clear()
        importlib.invalidate_caches()

    yield use
    patch.undo()
    for name in set(sys.modules) - before:
        if name.startswith("mmdiff_"):
            del sys.modules[name]
    plugins.installed.cache_clear()
