"""What the commands print, write and return."""

import json

import numpy as np
import pytest

from gpuseg import __version__
from gpuseg.io import open_image

RANGES = ["--pipeline_result_drange=(0,1)", "--export_drange=(0,255)"]
COMMANDS = ["train", "predict", "info", "segment", "measure", "doctor", "demo"]


def read(path):
    with open_image(path) as image:
        return image.read()


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("option", ["-h", "--help"])
def test_every_command_explains_itself_with_an_example(gpuseg, command, option):
    done = gpuseg(command, option)
    assert done.exit_code == 0
    assert f"gpuseg {command}" in done.output.partition("Example:")[2]


def test_the_version_is_told(gpuseg):
    done = gpuseg("--version")
    assert (done.exit_code, done.output) == (0, f"gpuseg {__version__}\n")


@pytest.mark.parametrize("command", ["", *COMMANDS[:5]])
def test_without_arguments_help_is_shown(gpuseg, command):
    assert "Usage: gpuseg" in gpuseg(*command.split()).output.replace("Usage: root", "Usage: gpuseg")


@pytest.mark.parametrize(
    "arguments",
    [
        ["predict", "m.gpuseg", "a.png", "--exprt", "labels"],
        ["predict", "m.gpuseg"],
        ["predict", "m.gpuseg", "a.png", "-e", "everything"],
        ["predict", "m.gpuseg", "a.png", "-e", "object predictions"],
        ["predict", "m.gpuseg", "a.png", "-o", "{rio}.h5"],
        ["predict", "m.gpuseg", "a.png", "-o", "{slice_index}.h5"],
        ["predict", "m.gpuseg", "a.png", "-o", "x.docx"],
        ["predict", "m.gpuseg", "a.png", "--axes", "yxy"],
        ["predict", "m.gpuseg", "a.png", "--dtype", "int7"],
        ["predict", "m.gpuseg", "a.png", "--format", "docx"],
        ["predict", "m.gpuseg", "a.png", "--cutout", "x:3"],
        ["predict", "m.gpuseg", "a.png", "--cutout", "x:5:3"],
        ["predict", "m.gpuseg", "a.png", "--cutout_subregion", "[(0,0),(1)]"],
        ["predict", "m.gpuseg", "a.png", "--renormalise", "0,1"],
        ["predict", "m.gpuseg", "a.png", "--renormalise", "1,0,0,255"],
        ["predict", "m.gpuseg", "a.png", "--axis-order", "yxy"],
        ["predict", "m.gpuseg", "a.png", "--export_drange", "(0,255)"],
        ["predict", "m.gpuseg", "a.png", "--pipeline_result_drange", "(0,1)"],
        ["predict", "m.gpuseg", "a.png", RANGES[0], "--export_drange=(0,b)"],
        ["predict", "m.gpuseg", "a.png", "--renormalise=0,1,0,9", *RANGES],
        ["predict", "m.gpuseg", "a.png", "--backend", "cuda:x"],
        ["predict", "m.gpuseg", "a.png", "--gpu-memory", "lots"],
        ["train", "--image", "a.png"],
        ["train", "--image", "a.png", "--labels", "b.png", "-o", "m.gpuseg", "--trees", "0"],
        ["segmnt", "a.png"],
        ["info", "a.png", "b.png"],
    ],
    ids=lambda a: " ".join(a[-2:]),
)
def test_wrong_usage_is_exit_code_2(gpuseg, arguments):
    done = gpuseg(*arguments)
    assert done.exit_code == 2, done.output
    assert "Usage" in done.stderr
    assert "Traceback" not in done.output


def test_training_tells_what_was_learned(gpuseg, here):
    files = ["-i", "cells.png", "-l", "scribbles.png", "--features", "few.toml"]
    done = gpuseg("train", *files, "--names", "ground, cell", "--trees", 5, "-o", "new.gpuseg")
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert lines[:2] == [
        "cells.png: 60 x 80, axes yx (from the file)",
        "scribbles.png: 60 x 80, axes yx (from the file)",
    ]
    assert lines[2].startswith("computing on the ")
    assert lines[3:4] == [
        "new.gpuseg: model of 2 classes, 4 features",
    ]
    assert "painted pixels: ground 50, cell 50" in lines
    assert any(line.startswith("right on pixels kept out (out of bag): ") for line in lines)
    assert any(line.startswith("right on whole strokes kept out, in 2 parts: ") for line in lines)
    assert next(line.split() for line in lines if line.startswith("  ground"))[:2] == ["ground", "50"]
    assert any("Gaussian Smoothing (σ=1.6) in 2D" in line for line in lines)
    assert (here / "new.gpuseg").read_bytes()


def test_training_may_be_quiet(gpuseg, here):
    done = gpuseg(
        "train",
        "-q",
        "-i",
        "cells.png",
        "-l",
        "scribbles.png",
        "--trees",
        2,
        "--folds",
        0,
        "-o",
        "new.gpuseg",
    )
    assert (done.exit_code, done.output) == (0, "")


def test_a_single_stroke_is_noted(gpuseg, here):
    from PIL import Image

    labels = read("scribbles.png").copy()
    labels[40] = 0
    Image.fromarray(labels).save("one.png")
    done = gpuseg("train", "-i", "cells.png", "-l", "one.png", "--features", "few.toml", "-o", "new.gpuseg")
    assert "note: " in done.stdout
    assert "single stroke" in done.stdout


def test_the_seed_decides_the_model(gpuseg, here):
    def train(name, seed):
        files = ["-i", "cells.png", "-l", "scribbles.png", "--features", "few.toml", "--trees", 5]
        assert gpuseg("train", *files, "--seed", seed, "-o", name).exit_code == 0
        return json.loads(gpuseg("info", "--json", name).stdout)["hash"]

    assert train("a.gpuseg", 0) == train("b.gpuseg", 0) != train("c.gpuseg", 1)


def test_predicting_prints_a_line_for_each_output(gpuseg, here):
    done = gpuseg("predict", "cells.gpuseg", "cells.png", "-e", "probabilities", "-e", "segmentation")
    assert done.exit_code == 0, done.output
    first, *lines = done.stdout.splitlines()
    assert first.startswith("computing on the ")
    assert lines == [
        "cells.png: 60 x 80, axes yx (from the file)",
        "cells_Probabilities.h5: probabilities, 60 x 80 x 2 yxc, float32",
        "cells_Simple Segmentation.h5: simple segmentation, 60 x 80 x 1 yxc, uint8",
    ]
    proba, segmentation = read("cells_Probabilities.h5"), read("cells_Simple Segmentation.h5")
    np.testing.assert_array_equal(segmentation[..., 0], proba.argmax(-1) + 1)


def test_ilastiks_spelling_is_understood(gpuseg, here):
    words = ["--export_source", "Simple Segmentation", "--output_filename_format", "{nickname}_seg.tif"]
    done = gpuseg("predict", "cells.gpuseg", "cells.png", *words, "--input_axes", "yx")
    assert done.exit_code == 0, done.output
    assert read("cells_seg.tif").shape == (60, 80)


def test_every_export_option_of_ilastik_is_understood(gpuseg, here):
    done = gpuseg(
        *("predict", "cells.gpuseg", "cells.png", "--export_source=Pixel Probabilities"),
        "--output_format=hdf5",
        "--output_filename_format={dataset_dir}/{nickname}_x{x_start}",
        "--output_internal_path=volume/data",
        "--output_axis_order=cyx",
        "--export_dtype=uint16",
        "--pipeline_result_drange=(0.0,1.0)",
        "--export_drange=(0, 1000)",
        "--cutout_subregion=[(10, 5), (None, 25)]",
        "--input_axes=yx",
    )
    assert done.exit_code == 0, done.output
    assert "cells_x5.h5/volume/data: probabilities, 2 x 50 x 20 cyx, uint16" in done.stdout
    assert gpuseg("predict", "-q", "cells.gpuseg", "cells.png", "-o", "plain.npy").exit_code == 0
    part = np.load("plain.npy")[10:, 5:25].transpose(2, 0, 1)
    with open_image("cells_x5.h5/volume/data") as image:
        assert image.axes == "cyx"
        np.testing.assert_array_equal(image.read(), np.rint(part * np.float32(1000)).astype("u2"))


def test_the_command_writes_the_bytes_that_python_writes(gpuseg, here):
    from gpuseg import api

    done = gpuseg(
        *("predict", "cells.gpuseg", "cells.png", "-o", "cli.h5", "--cutout", "y:10:,x:5:25,c:1:2"),
        *("--renormalise", "0,1,-100,100", "--dtype", "int8", "--axis-order", "zyx", "--format", "hdf5"),
    )
    assert done.exit_code == 0, done.output
    api.predict(
        *("cells.gpuseg", "cells.png"),
        output="python.h5",
        format="hdf5",
        cutout={"y": (10, None), "x": (5, 25), "c": (1, 2)},
        renormalise=(0, 1, -100, 100),
        dtype="int8",
        axis_order="zyx",
    )
    assert (here / "cli.h5").read_bytes() == (here / "python.h5").read_bytes()
    assert read("cli.h5").shape == (1, 50, 20)


def test_what_was_clipped_or_lost_is_told_as_a_warning(gpuseg, here):
    words = ["-e", "features", "-o", "{nickname}.npy", "--dtype", "int8", "--cutout", "x:70:90"]
    done = gpuseg("predict", "cells.gpuseg", "cells.png", *words)
    assert done.exit_code == 0
    warned = [line for line in done.stderr.splitlines() if line.startswith("Warning: cells.npy: ")]
    assert len(warned) == 3
    assert "x:70:90 is x:70:80 here" in warned[0]
    assert gpuseg("predict", "-q", "cells.gpuseg", "cells.png", *words).output == ""


def test_a_sequence_is_a_file_for_each_slice(gpuseg, here):
    done = gpuseg(
        *("predict", "cells.gpuseg", "cells.png", "--format", "png sequence", "--dtype", "uint8"),
        *("-o", "out_{slice_index}.png", "--axis-order", "cyx"),
    )
    assert done.exit_code == 0, done.output
    assert sorted(p.name for p in here.glob("out_*")) == ["out_0000.png", "out_0001.png"]
    assert "out_{slice_index}.png: probabilities, 2 x 60 x 80 cyx, uint8" in done.stdout


def test_quiet_prints_errors_only(gpuseg, here):
    assert gpuseg("predict", "-q", "cells.gpuseg", "cells.png").output == ""
    assert "nothere.png" in gpuseg("predict", "-q", "cells.gpuseg", "nothere.png").stderr


def test_some_failed_images_are_exit_code_1_and_listed(gpuseg, here):
    (here / "bad.png").write_bytes(b"no image")
    (here / "copy.png").write_bytes((here / "cells.png").read_bytes())
    done = gpuseg("predict", "cells.gpuseg", "cells.png", "bad.png", "nothere.tif", "copy.png")
    assert done.exit_code == 1
    assert "Error: bad.png: is not a PNG file" in done.stderr
    assert "Error: nothere.tif: " in done.stderr
    assert done.stderr.splitlines()[-1] == "2 of 4 images failed: bad.png, nothere.tif"
    assert (here / "cells_Probabilities.h5").exists()
    assert (here / "copy_Probabilities.h5").exists()


def test_no_good_image_is_exit_code_3(gpuseg, here):
    assert gpuseg("predict", "cells.gpuseg", "a.tif", "b.tif").exit_code == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["predict", "nothere.gpuseg", "cells.png"], "nothere.gpuseg: no such file"),
        (["predict", "few.toml", "cells.png"], "few.toml: is no gpuseg model"),
        (["predict", "cells.gpuseg", "cells.png", "-e", "labels"], "labels cannot be exported"),
        (["predict", "cells.gpuseg", "cells.png", "cells.png"], "would overwrite"),
        (["info", "nothere.png"], "nothere.png"),
        (
            ["train", "-i", "cells.png", "-l", "cells.png", "-o", "m.tif"],
            "m.tif: a model has the suffix .gpuseg",
        ),
        (["train", "-i", "cells.png", "-l", "a.png", "-o", "m.gpuseg"], "a.png: No such file"),
    ],
    ids=lambda a: " ".join(a) if isinstance(a, list) else "",
)
def test_invalid_input_is_exit_code_3_and_one_message(gpuseg, here, arguments, message):
    done = gpuseg(*arguments)
    assert done.exit_code == 3, done.output
    assert message in done.stderr
    assert done.stderr.startswith("Error: ")
    assert "Traceback" not in done.output
    assert not list(here.glob("*.partial*"))


def test_a_full_disk_is_exit_code_4(gpuseg, here, monkeypatch):
    from collections import namedtuple

    monkeypatch.setattr("shutil.disk_usage", lambda folder: namedtuple("Disk", "free")(1000))
    done = gpuseg("predict", "cells.gpuseg", "cells.png")
    assert done.exit_code == 4
    assert "the disk has 1.0 kB free" in done.stderr


def test_a_folder_that_cannot_be_written_is_exit_code_4(gpuseg, here):
    (here / "file").write_text("")
    assert gpuseg("demo", "-o", "file/demo").exit_code == 4


def test_info_describes_an_image(gpuseg, here):
    lines = gpuseg("info", "cells.png").stdout.splitlines()
    assert lines[3].split() == ["shape", "60", "x", "80"]
    assert json.loads(gpuseg("info", "--json", "cells.png").stdout)["shape"] == [60, 80]


def test_info_describes_a_model(gpuseg, here):
    text = gpuseg("info", "cells.gpuseg").stdout
    assert "Label 1" in text
    assert "gaussian_smoothing" in text


def test_the_doctor_prints_facts(gpuseg):
    assert "processors" in gpuseg("doctor").stdout
    assert json.loads(gpuseg("doctor", "--json").stdout)["gpuseg"] == __version__
