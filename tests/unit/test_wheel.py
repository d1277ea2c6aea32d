"""The wheel is checked, not only built: it carries every part and runs from where it lies."""

import subprocess
import sys
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest
from hatchling.builders.wheel import WheelBuilder

import gpuseg

ROOT = Path(__file__).parents[2]
SHIPPED = {".py", ".typed", ".cu", ".cuh", ".yaml", ".png", ".tif", ".json", ".md", ".txt", ".toml", ".npz"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built as an installer would, without a network."""
    (built,) = WheelBuilder(str(ROOT)).build(directory=str(tmp_path_factory.mktemp("wheel")))
    return Path(built)


@pytest.fixture(scope="module")
def unpacked(wheel, tmp_path_factory):
    folder = tmp_path_factory.mktemp("unpacked")
    zipfile.ZipFile(wheel).extractall(folder)
    return folder


def versioned():
    """Files of the package that belong in a wheel: all but caches and compiled code."""
    files = [p.relative_to(ROOT) for p in (ROOT / "gpuseg").rglob("*") if p.is_file()]
    return {p.as_posix() for p in files if "__pycache__" not in p.parts}


def test_the_wheel_is_for_any_platform(wheel):
    assert wheel.name == f"gpuseg-{gpuseg.__version__}-py3-none-any.whl"


def test_the_wheel_carries_every_file_of_the_package_and_nothing_else(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    code = {n for n in names if not n.startswith(f"gpuseg-{gpuseg.__version__}.dist-info/")}
    assert code == versioned()
    assert "gpuseg/py.typed" in code
    assert {Path(n).suffix for n in code} <= SHIPPED


def test_the_metadata_says_what_it_is(unpacked):
    info = next(unpacked.glob("*.dist-info"))
    fields = Parser().parsestr((info / "METADATA").read_text(encoding="utf-8"))
    assert fields["Name"] == "gpuseg"
    assert fields["Version"] == gpuseg.__version__
    assert fields["License-Expression"] == "BSD-3-Clause"
    assert fields["Requires-Python"] == ">=3.11"
    extras = {"cuda12", "cuda13", "rapids-cuda12", "rapids-cuda13", "napari", "dask", "docs", "test"}
    assert extras <= set(fields.get_all("Provides-Extra"))
    assert (info / "licenses" / "LICENSE").is_file()
    assert "gpuseg = gpuseg.cli:main" in (info / "entry_points.txt").read_text()


def test_the_command_runs_from_the_wheel(unpacked):
    code = f"import sys; sys.path.insert(0, {str(unpacked)!r}); sys.argv = ['gpuseg', '--help']; "
    code += "import gpuseg.cli; print(gpuseg.__file__); gpuseg.cli.main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith(str(unpacked))
    assert "predict" in done.stdout


def test_pyproject_and_package_agree_on_the_version():
    assert f'version = "{gpuseg.__version__}"' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")
