"""ilastik#2508: thresholds went wrong on maps of integers, or of floats that are no probabilities."""

import numpy as np
import pytest

import gpuseg as library
from gpuseg import api
from gpuseg.errors import InputError

HOW = {"sigma": 0, "min_size": 1, "threshold": 0.5}


def map_of(high, dtype):
    """Stands for probabilities 0, 0.2, 0.4, 0.6, 0.8, 1 from left to right."""
    return np.tile(np.linspace(0, high, 6), (8, 1)).round(6).astype(dtype)


STORED = [  # largest value, dtype, range that has to be named
    pytest.param(1, np.float32, None, id="float"),
    pytest.param(255, np.uint8, None, id="uint8"),
    pytest.param(65535, np.uint16, None, id="uint16"),
    pytest.param(100, np.uint16, (0, 100), id="percent"),
    pytest.param(255, np.float32, (0, 255), id="float to 255"),
    pytest.param(65535, np.uint32, (0, 65535), id="uint32"),
]


@pytest.mark.parametrize(("high", "dtype", "range"), STORED)
def test_a_threshold_means_the_same_in_every_type_ilastik_2508(high, dtype, range):
    found = library.segment(map_of(high, dtype), range=range, **HOW).labels
    np.testing.assert_array_equal(found, np.tile([0, 0, 0, 1, 1, 1], (8, 1)))


@pytest.mark.parametrize(("high", "dtype", "range"), STORED)
def test_so_it_does_in_files_and_in_the_shell_ilastik_2508(tmp_path, gpuseg, read, write, high, dtype, range):
    path = write(tmp_path / "map.h5", map_of(high, dtype), "yx")
    more = () if range is None else ("--range", ",".join(map(str, range)))
    command = ("segment", path, "--sigma", 0, "--min-size", 1, "-o", tmp_path / "shell.tif")
    done = gpuseg(*command, *more)
    assert done.exit_code == 0, done.output
    api.segment(path, output=f"{tmp_path}/python.tif", range=range, **HOW)
    for name in ("shell.tif", "python.tif"):
        np.testing.assert_array_equal(read(tmp_path / name), np.tile([0, 0, 0, 1, 1, 1], (8, 1)))


UNSAID = [
    pytest.param(map_of(255, np.float32), "values from 0 to 255; probabilities are 0 to 1", id="to 255"),
    pytest.param(map_of(2, np.float32) - 1, "values from -1 to 1; probabilities are 0 to 1", id="below 0"),
    pytest.param(map_of(1, np.uint32), "uint32 and nothing says which value stands for", id="uint32"),
    pytest.param(map_of(3, np.int16), "int16; probabilities are floats or unsigned", id="int16"),
]


@pytest.mark.parametrize(("proba", "message"), UNSAID)
def test_what_cannot_be_probabilities_is_refused_ilastik_2508(proba, message):
    with pytest.raises(InputError, match=message):
        library.segment(proba, **HOW)


@pytest.mark.parametrize(("proba", "message"), UNSAID)
def test_so_it_is_in_the_shell_and_nothing_is_written_ilastik_2508(tmp_path, gpuseg, write, proba, message):
    path = write(tmp_path / "map.h5", proba, "yx")
    done = gpuseg("segment", path, "-o", tmp_path / "labels.tif")
    assert (done.exit_code, (tmp_path / "labels.tif").exists()) == (3, False), done.output
    assert message in " ".join(done.stderr.split())


def test_the_range_that_a_file_names_counts_ilastik_2508(tmp_path, read, write):
    path = write(tmp_path / "map.h5", map_of(100, np.uint8), "yx", drange=(0, 100))
    api.segment(path, output=f"{tmp_path}/labels.tif", **HOW)
    np.testing.assert_array_equal(read(tmp_path / "labels.tif"), np.tile([0, 0, 0, 1, 1, 1], (8, 1)))
