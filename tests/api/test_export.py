"""Names, axes, types and sizes of what is written."""

from collections import namedtuple

import numpy as np
import pytest

from gpuseg import export
from gpuseg.backends import get_backend
from gpuseg.errors import InputError, ResourceError
from gpuseg.export import RESULTS

CPU = get_backend("cpu")
VALUES = np.array([1, 3, 7], np.uint8)


def test_results_have_the_names_ilastik_gives_them():
    assert [r.title for r in RESULTS.values()] == [
        "Probabilities",
        "Simple Segmentation",
        "Uncertainty",
        "Features",
        "Labels",
        "Object Predictions",
        "Object Probabilities",
        "Object Uncertainty",
        "Object Identities",
        "Blockwise Object Predictions",
        "Blockwise Object Probabilities",
    ]


@pytest.mark.parametrize(
    ("word", "key"),
    [
        ("segmentation", "segmentation"),
        ("Simple Segmentation", "segmentation"),
        ("simple_segmentation", "segmentation"),
        ("SIMPLE-SEGMENTATION", "segmentation"),
        ("Pixel Probabilities", "probabilities"),
        ("object-predictions", "object predictions"),
        ("Blockwise_Object Probabilities", "blockwise object probabilities"),
    ],
)
def test_a_result_is_found_by_our_word_and_by_ilastiks(word, key):
    assert export.find(word) == key


def test_predict_refuses_results_of_objects_and_says_which_verb_makes_them():
    with pytest.raises(InputError, match=r"'object identities' is a result of objects.*\n.*gpuseg classify"):
        export.find_pixel_result("Object Identities")
    assert export.find_pixel_result("Pixel Probabilities") == "probabilities"


def test_an_unknown_result_is_refused_with_the_known_ones():
    with pytest.raises(InputError, match=r"unknown export 'seg'\n.*probabilities, segmentation") as caught:
        export.find("seg")
    assert "labels" in caught.value.hint


def test_segmentation_holds_label_values_and_the_first_of_equals():
    proba = np.array([[[[0.2, 0.4, 0.4], [0.5, 0.3, 0.2], [0, 0, 0]]]], np.float32)
    made = RESULTS["segmentation"].make(CPU, proba)
    assert made.dtype == np.uint8
    assert VALUES[made[..., 0]].tolist() == [[[3, 1, 1]]]


def test_uncertainty_is_one_less_the_lead():
    proba = np.array([[[[0.25, 0.75, 0], [0, 0, 0], [0, 1, 0]]]], np.float32)
    assert RESULTS["uncertainty"].make(CPU, proba)[..., 0].tolist() == [[[0.5, 1, 0]]]


@pytest.mark.parametrize(
    ("values", "dtype"), [([1, 255], "uint8"), ([1, 256], "uint16"), ([70000], "uint32")]
)
def test_labels_take_the_least_type_that_holds_them(values, dtype):
    assert export.label_dtype(values) == dtype


def test_scaling_to_integers_rounds_half_to_even_and_fills_the_range():
    values = np.array([0, 0.5 / 255, 1.5 / 255, 0.5, 1], np.float32)
    assert CPU.integers(values, "uint8").tolist() == [0, 0, 2, 128, 255]
    assert CPU.integers(np.ones(1, np.float32), "uint16").tolist() == [65535]


def test_a_type_that_images_cannot_have_is_refused_with_those_they_can():
    with pytest.raises(InputError, match=r"unknown type 'float16'\n.*uint8, uint16.*float64"):
        export.check_dtype("float16")
    assert len(export.DTYPES) == 10
    assert [export.check_dtype(d) for d in export.DTYPES] == [np.dtype(d).name for d in export.DTYPES]


@pytest.mark.parametrize(
    ("axes", "sizes", "kind", "expected"),
    [
        ("yx", {"y": 5, "x": 6, "c": 2}, "HDF5", "yxc"),
        ("yx", {"y": 5, "x": 6, "c": 1}, "HDF5", "yxc"),
        ("cyx", {"y": 5, "x": 6, "c": 1}, "HDF5", "cyx"),
        ("tzyxc", {"t": 1, "z": 1, "y": 5, "x": 6, "c": 1}, "HDF5", "tzyxc"),
        ("tzyxc", {"t": 1, "z": 1, "y": 5, "x": 6, "c": 1}, "NPY", "tzyx"),
        ("tzyxc", {"t": 1, "z": 1, "y": 1, "x": 6, "c": 1}, "PNG", "yx"),
        ("tzyxc", {"t": 4, "z": 1, "y": 5, "x": 1, "c": 3}, "TIFF", "tyxc"),
        ("xyc", {"y": 5, "x": 6, "c": 3}, "TIFF", "xyc"),
    ],
)
def test_an_output_has_the_axes_of_its_input(axes, sizes, kind, expected):
    assert export.output_axes(axes, sizes, kind) == expected


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        ("a/cells.tif", "cells"),
        ("5t2d1c.h5/data", "5t2d1c-data"),
        ("a b.h5/x/y", "a b-x-y"),
        ("c.ome.tif", "c.ome"),
    ],
)
def test_nicknames_are_ilastiks(image, expected):
    assert export.nickname(image) == expected


def test_placeholders_are_filled_in():
    name = export.output_path(export.DEFAULT_NAME, "in/cells.h5/raw", "segmentation")
    assert name == "in/cells-raw_Simple Segmentation.h5"


@pytest.mark.parametrize("name", ["out/{nick}.h5", "{", "{w_start}_{nickname}.h5"])
def test_an_unknown_placeholder_is_refused(name):
    with pytest.raises(InputError, match=r"unknown placeholder \{"):
        export.check_template(name)
    export.check_template(export.DEFAULT_NAME)


def test_two_results_in_one_file_are_refused():
    targets = [("a.tif", "probabilities", "x.h5"), ("b.tif", "probabilities", "./y/../x.h5")]
    with pytest.raises(
        InputError, match=r"the probabilities of b.tif would overwrite the probabilities of a.tif"
    ):
        export.check_collisions(targets, [])


def test_two_results_in_one_file_are_refused_wherever_they_go_in_it():
    targets = [("a.tif", "probabilities", "x.h5/p"), ("a.tif", "segmentation", "x.h5/s")]
    with pytest.raises(InputError, match=r"cannot go into the file of the probabilities .* being written"):
        export.check_collisions(targets, [])


def test_a_result_in_place_of_an_input_is_refused(tmp_path):
    (tmp_path / "link.h5").symlink_to(tmp_path / "a.h5")
    for inside in ("", "/raw"):
        target = ("a", "labels", f"{tmp_path}/link.h5{inside}")
        with pytest.raises(InputError, match=r"would overwrite the input .*a\.h5"):
            export.check_collisions([target], [f"{tmp_path}/a.h5{inside}"])


def test_a_result_beside_an_input_in_its_file_is_refused():
    with pytest.raises(InputError, match=r"into the file of the input two.h5/proba, which is being read\n"):
        export.check_collisions([("two.h5/proba", "labels", "two.h5/labels")], ["two.h5/proba"])


def test_the_same_image_twice_is_refused():
    targets = [("a.tif", "labels", "a.h5"), ("a.tif", "labels", "a.h5")]
    with pytest.raises(InputError, match="would overwrite"):
        export.check_collisions(targets, ["a.tif", "a.tif"])


Disk = namedtuple("Disk", "free")


def test_a_disk_that_is_too_small_is_named_with_both_numbers(tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda folder: Disk(1000))
    with pytest.raises(ResourceError, match=r"the results need 2\.0 kB, the disk has 1\.0 kB free"):
        export.check_space([(f"{tmp_path}/new/folder/a.h5", 1200), (f"{tmp_path}/b.h5", 800)])
    export.check_space([(f"{tmp_path}/a.h5", 1050)])


def test_the_axes_line_says_who_said_so():
    assert export.axes_text("yx", (512, 256), "shape") == "512 x 256, axes yx (guessed from the shape)"
