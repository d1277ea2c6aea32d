"""ilastik#3015: labels exported without a window were all zero."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from unit.ilp.conftest import write_project

from gpuseg import api

FORMATS = ("h5", "tif", "png")


@pytest.fixture
def project(tmp_path, small_image):
    """A project of `image.npy`, painted 1 in line 2 and 2 in line 4, from x 5 to 9."""
    np.save(tmp_path / "image.npy", small_image(20, 24)[..., None])
    return write_project(tmp_path / "cells.ilp")


@pytest.mark.parametrize("suffix", FORMATS)
def test_exported_labels_are_what_was_painted_ilastik_3015(project, read, suffix):
    (done,) = api.predict(
        project, project.parent / "image.npy", export=["labels"], output=f"{{dataset_dir}}/l.{suffix}"
    )
    expected = np.zeros((20, 24), np.uint8)
    expected[2, 5:10], expected[4, 5:10] = 1, 2
    np.testing.assert_array_equal(read(done.outputs[0]).squeeze(), expected)


@pytest.mark.parametrize("suffix", FORMATS)
def test_labels_have_the_same_bytes_from_python_and_shell_ilastik_3015(project, gpuseg, suffix):
    image, to = project.parent / "image.npy", "{dataset_dir}/%s_{result_type}." + suffix
    (python,) = api.predict(project, image, export=["labels"], output=to % "python")
    shell = gpuseg("predict", project, image, "-e", "labels", "-o", to % "shell")
    assert shell.exit_code == 0, shell.output
    (made,) = project.parent.glob(f"shell_*.{suffix}")
    assert made.read_bytes() == Path(python.outputs[0]).read_bytes()


def test_labels_of_a_real_project_are_not_empty_ilastik_3015(tmp_path, shared, gpuseg, read):
    for name in ("PixelClass.ilp", "Data_1channel.png"):
        shutil.copy(shared / "data/ilp/ilastik-api" / name, tmp_path)
    command = ("predict", tmp_path / "PixelClass.ilp", tmp_path / "Data_1channel.png", "-e", "labels")
    done = gpuseg(*command, "-o", f"{tmp_path}/labels.h5")
    assert done.exit_code == 0, done.output
    assert set(np.unique(read(tmp_path / "labels.h5"))) == {0, 1, 2}
