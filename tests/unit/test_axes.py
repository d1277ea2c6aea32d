"""Axis letters: guessed from shapes, checked, and brought into another order."""

import numpy as np
import pytest

from gpuseg import axes
from gpuseg.errors import ShapeError


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((5, 7), "yx"),
        ((1, 1), "yx"),
        ((5, 7, 1), "yxc"),
        ((5, 7, 4), "yxc"),
        ((5, 7, 5), "zyx"),
        ((3, 512, 512), "zyx"),
        ((2, 5, 7, 3), "zyxc"),
        ((2, 5, 7, 300), "zyxc"),
        ((2, 3, 5, 7, 1), "tzyxc"),
    ],
)
def test_axes_are_guessed_as_ilastik_does(shape, expected):
    assert axes.guess(shape) == expected


@pytest.mark.parametrize("shape", [(), (5,), (1, 1, 1, 1, 1, 1)])
def test_a_shape_without_a_rule_is_refused(shape):
    with pytest.raises(ShapeError, match=rf"an array of {len(shape)} axes.*images have 2 to 5"):
        axes.guess(shape)


@pytest.mark.parametrize(("names", "ndim"), [("yx", 2), ("xy", 2), ("cyx", 3), ("txyzc", 5)])
def test_possible_axes_are_returned(names, ndim):
    assert axes.check(names, (4,) * ndim) == names


@pytest.mark.parametrize(
    ("names", "shape", "message"),
    [
        ("yq", (4, 4), "unknown letter 'q'"),
        ("YX", (4, 4), "unknown letter 'Y'"),
        ("yxx", (4, 4, 4), "a letter twice"),
        ("yx", (4, 4, 3), r"name 2 axes, the array has 3, shape \(4, 4, 3\)\n  hint: .*--axes yxc"),
        ("yx", (4,) * 6, r"name 2 axes, the array has 6"),
        ("zyxc", (4,), r"name 4 axes, the array has 1"),
        ("", (), "lack y"),
        ("zx", (4, 4), "lack y"),
        ("yc", (4, 4), "lack x"),
    ],
)
def test_impossible_axes_are_refused_with_the_reason(names, shape, message):
    with pytest.raises(ShapeError, match=message):
        axes.check(names, shape)


def test_sizes_has_every_letter():
    assert axes.sizes("xyc", (7, 5, 3)) == {"t": 1, "z": 1, "y": 5, "x": 7, "c": 3}


def test_reorder_moves_inserts_and_drops():
    image = np.arange(2 * 3 * 4).reshape(2, 3, 4)
    assert np.array_equal(axes.reorder(image, "xyc", "cyx"), image.transpose(2, 1, 0))
    assert axes.reorder(image, "cyx", axes.COMPUTE).shape == (1, 2, 1, 3, 4)
    assert axes.reorder(image[:1], "zyx", "yx").shape == (3, 4)
    assert axes.reorder(image, "yxc", "tzyxc").shape == (1, 1, 2, 3, 4)


def test_reorder_there_and_back_is_the_identity():
    image = np.arange(2 * 3 * 4 * 5 * 6).reshape(2, 3, 4, 5, 6)
    there = axes.reorder(image, "xczty", axes.COMPUTE)
    assert there.shape == (5, 3, 4, 6, 2)
    assert np.array_equal(axes.reorder(there, axes.COMPUTE, "xczty"), image)


def test_reorder_is_a_view():
    image = np.zeros((3, 4, 2))
    axes.reorder(image, "yxc", axes.COMPUTE)[...] = 1
    assert image.all()


@pytest.mark.parametrize(("size", "names"), [(3, "cyx"), (0, "tyx")])
def test_reorder_refuses_to_drop_an_axis_that_holds_pixels(size, names):
    with pytest.raises(ShapeError, match=rf"axis '{names[0]}' has size {size} and is not in 'yx'"):
        axes.reorder(np.zeros((size, 4, 5)), names, "yx")


def test_a_voxel_without_sizes_is_empty():
    assert axes.Voxel() == axes.Voxel({}, {})
    assert axes.Voxel({"x": 0.5}).size["x"] == 0.5
