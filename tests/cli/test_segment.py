"""`gpuseg segment`: what it prints, writes and returns."""

import numpy as np
import pytest

from gpuseg import segment
from gpuseg.io import open_image


@pytest.fixture
def maps(tmp_path, monkeypatch):
    """The current folder, with proba.npy of 30 x 40 and 2 channels: two discs, one above 0.8."""
    monkeypatch.chdir(tmp_path)
    y, x = np.mgrid[:30, :40]
    first, second = ((y - 15) ** 2 + (x - at) ** 2 <= 49 for at in (10, 28))
    proba = np.where(first, 0.9, np.where(second, 0.7, 0.1)).astype(np.float32)
    both = np.stack([1 - proba, proba], -1)
    np.save("proba.npy", both)
    return both


def read(path):
    with open_image(path) as image:
        return image.read()


def test_it_writes_labels_and_says_what_it_found(gpuseg, maps):
    done = gpuseg("segment", "proba.npy", "--channel", 1, "-o", "labels.tif", "--backend", "cpu")
    assert done.exit_code == 0, done.output
    assert [line for line in done.stdout.splitlines() if not line.startswith("compiling")] == [
        "proba.npy: 30 x 40 x 2, axes yxc (guessed from the shape)",
        "labels.tif: 2 objects of channel 1, 30 x 40 yx, uint32",
    ]
    np.testing.assert_array_equal(read("labels.tif"), segment(maps, channel=1, backend="cpu").labels)


@pytest.mark.parametrize(
    ("options", "how"),
    [
        (
            "--method hysteresis --low 0.4 --high 0.8 --sigma 0.5 --core-channel 1",
            {"method": "hysteresis", "low": 0.4, "high": 0.8, "sigma": 0.5},
        ),
        (
            "--method hysteresis --keep-apart --compat ilastik",
            {"method": "hysteresis", "keep_apart": True, "compat": "ilastik"},
        ),
        (
            "--threshold 0.6 --sigma 1,2,0 --min-size 3 --max-size 140 --connectivity 2",
            {"threshold": 0.6, "sigma": (1, 2, 0), "min_size": 3, "max_size": 140, "connectivity": 2},
        ),
        ("--split 1 --drop-border --range 0,1", {"split": 1, "drop_border": True}),
        ("--classes 0,1 --tile 1,9,9", {"classes": (0, 1)}),
    ],
)
def test_options_are_those_of_the_function(gpuseg, maps, options, how):
    if "classes" not in how:
        options, how = f"{options} --channel 1", {"channel": 1, **how}
    common = ("segment", "proba.npy", "-o", "labels.h5", "--backend", "cpu", "-q")
    done = gpuseg(*common, *options.split())
    assert (done.exit_code, done.output) == (0, "")
    expected = segment(maps, backend="cpu", **how)
    np.testing.assert_array_equal(read("labels.h5")[..., 0], expected.labels)
    assert expected.count[0] > 0


@pytest.mark.parametrize(
    "options",
    [
        "--method watershed",
        "--low 0.4",
        "--method hysteresis --low 0.8 --high 0.4",
        "--threshold 7",
        "--min-size 9 --max-size 3",
        "--sigma wide",
        "--sigma 1,1,1,1",
        "--classes a",
        "--range 1",
        "--tile 0",
        "--block 3,x",
        "--keep-apart",
        "--channel 0 --classes 0,1",
        "-o labels.docx",
        "-o {rio}.h5",
        "--format docx",
        "--dtype int7",
        "--cutout x",
        "--axis-order yz",
        "--renormalise 0",
        "--export_drange (0,255)",
        "--compat cellprofiler",
    ],
)
def test_wrong_usage_is_exit_code_2(gpuseg, maps, options):
    done = gpuseg("segment", "proba.npy", *options.split())
    assert done.exit_code == 2, done.output
    assert "Usage" in done.stderr
    assert "Traceback" not in done.output


def test_labels_are_exported_as_asked(gpuseg, maps):
    done = gpuseg(
        *("segment", "proba.npy", "--channel", 1, "-o", "o_{y_stop}", "--format", "numpy", "-q"),
        *("--cutout", "y:5:25", "--dtype", "uint8", "--axis-order", "cxy", "--backend", "cpu"),
    )
    assert (done.exit_code, done.output) == (0, "")
    expected = segment(maps, channel=1, backend="cpu").labels[5:25].T[None]
    np.testing.assert_array_equal(np.load("o_25.npy"), expected)
    assert np.load("o_25.npy").dtype == np.uint8


def test_ilastiks_words_are_understood(gpuseg, maps):
    words = [
        "--output_format=hdf5",
        "--output_internal_path=labels",
        "--cutout_subregion=[(5,0,0),(25,None,1)]",
    ]
    done = gpuseg("segment", "proba.npy", "-o", "o", "--channel", 1, *words, "--backend", "cpu", "-q")
    assert (done.exit_code, done.output) == (0, "")
    assert read("o.h5/labels").shape == (20, 40, 1)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ("--classes 0,x", "'0,x': whole numbers are needed, with commas between"),
        ("--sigma 1,a", "'1,a': numbers are needed, with commas between"),
        ("--block 1,2,3,4", "'1,2,3,4': 1 or 2 or 3 whole numbers are needed, with commas between, not 4"),
        ("--sigma 1,1,1,1", "'1,1,1,1': 1 or 2 or 3 numbers are needed, with commas between, not 4"),
    ],
)
def test_wrong_numbers_are_told_in_one_sentence(gpuseg, maps, options, told):
    done = gpuseg("segment", "proba.npy", *options.split())
    assert done.exit_code == 2
    assert told in " ".join(done.stderr.replace("│", " ").split())


def test_an_image_without_objects_is_warned_of(gpuseg, maps):
    done = gpuseg("segment", "proba.npy", "--threshold", 1, "--sigma", 0, "--backend", "cpu")
    assert done.exit_code == 0
    assert "proba.npy: no object of channel 0 was found" in done.stderr


def test_an_image_that_does_not_fit_is_exit_code_3_and_one_of_many_1(gpuseg, maps):
    np.save("flat.npy", maps[..., 1])
    done = gpuseg("segment", "flat.npy", "--channel", 1, "--backend", "cpu")
    assert (done.exit_code, "channel 1 of an image with 1 channel" in done.stderr) == (3, True)
    done = gpuseg("segment", "flat.npy", "proba.npy", "--channel", 1, "--backend", "cpu")
    assert done.exit_code == 1
    assert "1 of 2 images failed: flat.npy" in done.stderr
