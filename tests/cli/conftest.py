"""A folder with an image, its scribbles and a model, and a way to call the command line."""

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from gpuseg import backends
from gpuseg.cli import app

FEATURES = "[features]\ngaussian_smoothing = [0.7, 1.6]\nhessian_of_gaussian_eigenvalues = [1.0]\n"


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """A folder that tests copy from: cells.png, scribbles.png, few.toml, cells.gpuseg."""
    folder = tmp_path_factory.mktemp("trained")
    pixels = np.random.default_rng(0).integers(0, 120, (60, 80))
    pixels[:, 40:] += 100
    labels = np.zeros((60, 80), np.uint8)
    labels[10, 5:30] = labels[40, 5:30] = 1
    labels[10, 45:70] = labels[40, 45:70] = 2
    Image.fromarray(pixels.astype(np.uint8)).save(folder / "cells.png")
    Image.fromarray(labels).save(folder / "scribbles.png")
    (folder / "few.toml").write_text(FEATURES)
    files = [
        "--image",
        folder / "cells.png",
        "--labels",
        folder / "scribbles.png",
        "--features",
        folder / "few.toml",
    ]
    done = CliRunner().invoke(
        app, ["train", *map(str, files), "--trees", "5", "-o", str(folder / "cells.gpuseg")]
    )
    assert done.exit_code == 0, done.output
    return folder


@pytest.fixture
def enter(tmp_path, monkeypatch):
    """`enter(folder)`: a copy of its files becomes the current folder, which is returned."""

    def copied(folder):
        for file in folder.iterdir():
            (tmp_path / file.name).write_bytes(file.read_bytes())
        monkeypatch.chdir(tmp_path)
        return tmp_path

    return copied


@pytest.fixture
def here(trained, enter):
    """The current folder, with copies of what `trained` holds."""
    return enter(trained)


@pytest.fixture
def gpuseg():
    """Calls a command: `gpuseg("info", "a.png")` gives exit_code, stdout, stderr, output."""

    def call(*arguments):
        backends._auto.cache_clear()  # a process of its own, which says what it computes on
        return CliRunner().invoke(app, [str(a) for a in arguments])

    return call
