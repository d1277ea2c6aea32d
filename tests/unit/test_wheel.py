"""The wheel is checked, not only built: it carries every part and runs from where it lies."""

import subprocess
import sys
import tarfile
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest
from hatchling.builders.sdist import SdistBuilder
from hatchling.builders.wheel import WheelBuilder

import gpuseg
from gpuseg.backends import _kernels

ROOT = Path(__file__).parents[2]
SHIPPED = {
    ".py",
    ".jinja",
    ".typed",
    ".cu",
    ".cuh",
    ".yaml",
    ".png",
    ".tif",
    ".json",
    ".md",
    ".txt",
    ".toml",
    ".npz",
}


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
    """Files that belong in a wheel: those of the package but caches and compiled code, and the kernels."""
    files = [p.relative_to(ROOT) for p in (ROOT / "gpuseg").rglob("*") if p.is_file()]
    package = {p.as_posix() for p in files if "__pycache__" not in p.parts}
    return package | {f"gpuseg/kernels/{p.name}" for p in (ROOT / "kernels").iterdir()}


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
    extras = {"cuda12", "cuda13", "rapids-cuda12", "rapids-cuda13", "parquet", "report", "anndata"}
    extras |= {"napari", "dask", "docs", "test"}
    assert extras <= set(fields.get_all("Provides-Extra"))
    assert (info / "licenses" / "LICENSE").is_file()
    assert "gpuseg = gpuseg.cli:main" in (info / "entry_points.txt").read_text()


def test_the_command_runs_from_the_wheel(unpacked):
    code = f"import sys; sys.path.insert(0, {str(unpacked)!r}); sys.argv = ['gpuseg', '--help']; "
    code += "import gpuseg.cli; print(gpuseg.__file__); gpuseg.cli.main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith(str(unpacked))
    assert "predict" in done.stdout


def test_kernels_are_found_where_the_wheel_lies(unpacked):
    code = f"import sys; sys.path.insert(0, {str(unpacked)!r}); from gpuseg.backends import _kernels; "
    code += "print(_kernels.folder()); print(sum(len(_kernels.source(f)) for f in _kernels.INSTANCES))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        str(unpacked / "gpuseg" / "kernels"),
        str(sum(len(_kernels.source(file)) for file in _kernels.INSTANCES)),
    ]


def test_the_source_archive_carries_what_tests_and_wheels_are_made_of(tmp_path):
    (built,) = SdistBuilder(str(ROOT)).build(directory=str(tmp_path))
    with tarfile.open(built) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {p.relative_to(ROOT).as_posix() for p in (ROOT / "kernels").iterdir()} <= names
    assert {"tests/hostcuda/fibers.h", "tests/hostcuda/device.h", "Makefile", "pyproject.toml"} <= names


def test_pyproject_and_package_agree_on_the_version():
    assert f'version = "{gpuseg.__version__}"' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")
