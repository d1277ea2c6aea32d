"""From image files and label files to a model."""

import logging

import numpy as np
import pytest

from gpuseg import api
from gpuseg.errors import FileError, InputError, LabelError, ModelMismatchError, ShapeError
from gpuseg.features.selection import Selection
from gpuseg.model import PixelModel

FEATURES = {"gaussian_smoothing": [0.7, 1.6]}


@pytest.fixture
def write(tmp_path, small_image):
    """Writes an .npy and gives its path: an array, or a shape to fill with noise."""

    def write(name, array):
        array = small_image(array) if isinstance(array, tuple) else np.asarray(array)
        np.save(tmp_path / f"{name}.npy", array)
        return str(tmp_path / f"{name}.npy")

    return write


def strokes(shape, dtype="u1"):
    """Two strokes of two classes along the last two axes."""
    labels = np.zeros(shape, dtype)
    labels[..., 5, 3:15] = 1
    labels[..., 9, 3:15] = 1
    labels[..., 5, -15:-3] = 2
    labels[..., 9, -15:-3] = 2
    return labels


def train(image, labels, **options):
    return api.train(image, labels, **{"features": FEATURES, "trees": 5, "folds": 0} | options)


def test_a_model_is_learned_and_saved(tmp_path, write):
    model = train(
        write("a", (40, 50)),
        write("l", strokes((40, 50))),
        names=["ground", "cell"],
        output=tmp_path / "m.gpuseg",
    )
    assert [(c.value, c.name) for c in model.classes] == [(1, "ground"), (2, "cell")]
    assert (model.channels, model.ndim, model.axes) == (1, 2, "yx")
    assert PixelModel.load(tmp_path / "m.gpuseg").hash == model.hash


def test_features_may_be_all_a_selection_a_mapping_or_a_file(tmp_path, write):
    files = write("a", (40, 50)), write("l", strokes((40, 50)))
    (tmp_path / "f.toml").write_text("[features]\ngaussian_smoothing = [0.7, 1.6]\n")
    selection = Selection.table(FEATURES)
    models = [
        train(*files, features=f)
        for f in (FEATURES, selection, tmp_path / "f.toml", str(tmp_path / "f.toml"))
    ]
    assert len({m.hash for m in models}) == 1
    assert train(*files, features="all").forest.n_features == 49


def test_the_order_of_images_changes_nothing_but_the_seed_does(write):
    a, b = write("a", (40, 50)), write("b", np.arange(2000).reshape(40, 50))
    la, lb = write("la", strokes((40, 50))), write("lb", strokes((40, 50)))
    one, two, other = train([a, b], [la, lb]), train([b, a], [lb, la]), train([a, b], [la, lb], seed=1)
    assert one.hash == two.hash != other.hash


def test_strokes_kept_out_are_told(write):
    model = train(write("a", (40, 50)), write("l", strokes((40, 50))), folds=2)
    told = model.provenance["training"]
    assert told["labels"] == {"1": 24, "2": 24}
    assert told["validation"]["folds"] == 2
    assert told["validation"]["strokes"] == [2, 2]
    assert told["validation"]["accuracy"] == 1
    assert np.array(told["validation"]["confusion"]).sum() == 48


def test_a_class_of_one_stroke_is_noticed(write):
    labels = strokes((40, 50))
    labels[9] = 0
    told = train(write("a", (40, 50)), write("l", labels), folds=5).provenance["training"]["validation"]
    assert told["accuracy"] is None
    assert "single stroke" in told["notice"]


@pytest.mark.parametrize(
    ("axes", "shape", "labels"),
    [
        ("yxc", (40, 50, 3), (40, 50)),
        ("yxc", (40, 50, 3), (40, 50, 1)),
        ("cyx", (3, 40, 50), (40, 50)),
        ("tyx", (3, 40, 50), (3, 40, 50)),
        ("zyx", (12, 40, 50), (12, 40, 50)),
    ],
)
def test_labels_take_the_axes_of_their_image(write, axes, shape, labels):
    plain = strokes([n for n in labels if n > 1])
    model = train(write("a", shape), write("l", plain.reshape(labels)), axes=axes)
    assert model.axes == axes
    assert sum(model.provenance["training"]["labels"].values()) == (plain > 0).sum()


def test_label_axes_can_be_said(write):
    image = write("a", (40, 50))
    one = train(image, write("l", strokes((40, 50))))
    other = train(image, write("t", strokes((40, 50)).T), label_axes="xy")
    assert one.hash == other.hash


def test_axes_lines_are_told(write, caplog):
    with caplog.at_level(logging.INFO, "gpuseg"):
        train(write("a", (3, 40, 50)), write("l", strokes((3, 40, 50))), axes="tyx")
    assert "a.npy: 3 x 40 x 50, axes tyx (as you said)" in caplog.text
    assert "l.npy: 3 x 40 x 50, axes tyx (as its image)" in caplog.text


@pytest.mark.parametrize(
    ("labels", "error", "message"),
    [
        (np.zeros((40, 50), "u1"), LabelError, r"l\.npy: no labelled pixel: every label is 0"),
        (np.eye(40, 50, dtype="u1"), LabelError, r"l\.npy: only class 1 is labelled \(40 pixels\)"),
        (
            strokes((41, 50)),
            ShapeError,
            r"l\.npy: the label image has shape \(41, 50\), .*a\.npy has \(40, 50\)",
        ),
        (strokes((40, 50), "i2") * -1, LabelError, r"l\.npy: label -1 at"),
        (strokes((40, 50), "f4") / 2, LabelError, r"l\.npy: label 0\.5 at"),
        (strokes((40, 50)) > 0, LabelError, r"l\.npy: labels are bool"),
        (
            np.dstack([strokes((40, 50))] * 3),
            ShapeError,
            r"l\.npy: has 3 channels, an image of labels has one",
        ),
        (strokes((5, 40, 50)), ShapeError, r"l\.npy: its axes are zyx, shape \(5, 40, 50\); .*a\.npy has yx"),
    ],
    ids=["empty", "one class", "shape", "negative", "fraction", "bool", "channels", "axes"],
)
def test_labels_that_cannot_be_learned_from_are_named(write, labels, error, message):
    with pytest.raises(error, match=message):
        train(write("a", (40, 50)), write("l", labels))


def test_nan_near_the_labels_is_named(write, small_image):
    image = small_image((40, 50)).astype("f4")
    image[5, 4] = np.nan
    with pytest.raises(InputError, match=r"a\.npy: 1 of 2000 pixels are NaN"):
        train(write("a", image), write("l", strokes((40, 50))))


@pytest.mark.parametrize(
    ("shape", "axes", "message"),
    [
        ((2, 40, 50), "cyx", r"b\.npy: image has 2 channels, .*a\.npy has 1"),
        ((12, 40, 50), "zyx", r"b\.npy: image is 3D, .*a\.npy is 2D"),
    ],
)
def test_images_must_agree(write, shape, axes, message):
    small = (
        write("a", (1, 40, 50)),
        write("la", strokes((40, 50))[None] if axes == "zyx" else strokes((40, 50))),
    )
    other = write("b", shape), write("lb", strokes(shape if axes == "zyx" else (40, 50)))
    with pytest.raises(ModelMismatchError, match=message):
        train([small[0], other[0]], [small[1], other[1]], axes=axes)


def test_a_missing_image_is_refused(write, tmp_path):
    with pytest.raises(FileError, match=r"nothere\.tif"):
        train(tmp_path / "nothere.tif", write("l", strokes((40, 50))))


@pytest.mark.parametrize(("images", "labels"), [(["a", "b"], ["l"]), ([], [])])
def test_there_must_be_labels_for_each_image(images, labels):
    with pytest.raises(InputError, match=f"{len(images)} images and {len(labels)} label files"):
        api.train(images, labels)


def test_a_model_does_not_replace_an_image(tmp_path):
    with pytest.raises(InputError, match=r"cells\.tif: a model has the suffix \.gpuseg"):
        api.train("cells.tif", "labels.tif", output=tmp_path / "cells.tif")


def test_features_too_large_for_the_image_are_named(write):
    with pytest.raises(ShapeError, match=r"a\.npy: sigma 10\.0 needs 36 pixels along y, the image has 20"):
        train(write("a", (20, 50)), write("l", strokes((20, 50))), features={"gaussian_smoothing": [10.0]})


def test_a_name_of_a_class_that_nobody_painted_is_told(write, caplog):
    model = train(write("a", (40, 50)), write("l", strokes((40, 50))), names=["ground", "cell", "wall"])
    assert len(model.classes) == 2
    assert "nothing is painted of wall (3)" in caplog.text
