"""The words of the Makefile: listed, and helpful where the machine lacks something."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


def make(*words, folder=ROOT):
    command = ["make", "--no-print-directory", "-f", str(ROOT / "Makefile"), *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def script(path, text):
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def checkout(tmp_path):
    """A folder with what `make setup` looks at, and no virtual environment."""
    for name in ("pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    return tmp_path


def test_help_lists_every_word():
    phony = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)[1].split()
    listed = re.findall(r"^  make ([\w-]+)  ", make().stdout, re.MULTILINE)
    assert listed == phony


def test_a_machine_without_python_is_told_what_to_install(checkout):
    done = make("setup", "PYTHON=", folder=checkout)
    assert done.returncode == 2
    assert "Python 3.11 to 3.14 is needed and none was found" in done.stderr


def test_an_old_python_is_named_with_its_version(checkout):
    old = script(checkout / "old", 'case "$1" in --version) echo Python 3.9.2;; *) exit 1;; esac')
    done = make("setup", f"PYTHON={old}", folder=checkout)
    assert done.returncode == 2
    assert "is Python 3.9.2, gpuseg needs Python 3.11 to 3.14" in done.stderr


def test_a_python_without_venv_is_told_the_package(checkout):
    bare = script(checkout / "bare", 'case "$2" in venv) exit 1;; esac')
    done = make("setup", f"PYTHON={bare}", folder=checkout)
    assert done.returncode == 2
    assert "apt install python3-venv" in done.stderr
    assert not (checkout / ".venv").exists()


def test_a_set_up_checkout_has_nothing_to_do(checkout):
    (checkout / ".venv").mkdir()
    (checkout / ".venv" / ".ready").touch()
    done = make("setup", folder=checkout)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Nothing to be done" in done.stdout


def test_constraints_are_exact_and_name_no_host():
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line[:1] != "#"]
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+( ; .+)?", line) for line in lines), lines
