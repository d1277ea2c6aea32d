"""ilastik#2299: where a raw file was missing, the classifier was trained again from zeros."""

import h5py
import numpy as np
import pytest
from PIL import Image
from unit.ilp.conftest import write_project

from gpuseg import api
from gpuseg.errors import FileError
from gpuseg.ilp.read import open_project


def painted(folder):
    """Scribbles of two classes on 60 x 80 pixels."""
    labels = np.zeros((60, 80), np.uint8)
    labels[10, 5:30], labels[10, 45:70] = 1, 2
    Image.fromarray(labels).save(folder / "labels.png")
    return folder / "labels.png"


def gone(folder):
    return folder / "gone.tif"


def of_another_file(folder):
    """Pixels of a file that is not there: HDF5 itself reads zeros."""
    layout = h5py.VirtualLayout((60, 80), np.uint8)
    layout[...] = h5py.VirtualSource(str(folder / "gone.h5"), "data", (60, 80))
    with h5py.File(folder / "raw.h5", "w") as file:
        file.create_virtual_dataset("data", layout)
    return folder / "raw.h5"


def never_written(folder):
    """A dataset that was made and never filled: HDF5 itself reads zeros."""
    with h5py.File(folder / "raw.h5", "w") as file:
        file.create_dataset("data", (60, 80), np.uint8, chunks=(20, 20))
    return folder / "raw.h5"


def external(folder):
    """A dataset whose bytes are in a file that is not there."""
    with h5py.File(folder / "raw.h5", "w") as file:
        bytes_of = [(str(folder / "gone.raw"), 0, 60 * 80)]
        file.create_dataset("data", (60, 80), np.uint8, external=bytes_of)
    return folder / "raw.h5"


MISSING = [gone, of_another_file, never_written, external]


@pytest.mark.parametrize("missing", MISSING)
def test_training_without_its_image_is_refused_ilastik_2299(tmp_path, missing):
    raw = missing(tmp_path)
    with pytest.raises(FileError, match=raw.name):
        api.train(raw, painted(tmp_path), axes="yx", output=tmp_path / "m.gpuseg")
    assert not (tmp_path / "m.gpuseg").exists()


@pytest.mark.parametrize("missing", MISSING)
def test_the_command_leaves_no_model_ilastik_2299(tmp_path, gpuseg, missing):
    raw, labels = missing(tmp_path), painted(tmp_path)
    done = gpuseg("train", "-i", raw, "-l", labels, "--axes", "yx", "-o", tmp_path / "m.gpuseg")
    assert (done.exit_code, (tmp_path / "m.gpuseg").exists()) == (3, False), done.output
    assert raw.name in done.stderr


def test_one_missing_image_of_several_is_no_smaller_training_ilastik_2299(tmp_path, small_image):
    np.save(tmp_path / "here.npy", small_image(60, 80))
    labels = painted(tmp_path)
    with pytest.raises(FileError, match=r"gone\.tif"):
        api.train([tmp_path / "here.npy", gone(tmp_path)], [labels, labels])


def test_a_project_without_its_image_is_not_learned_from_ilastik_2299(tmp_path):
    project = open_project(write_project(tmp_path / "cells.ilp"))
    with pytest.raises(FileError, match=r"cells\.ilp.*image\.npy"):
        list(project.training_data())
