"""Small pictures of large planes: how they are read, shown and drawn on."""

import numpy as np
import pytest

from gpuseg.report.planes import (
    centred,
    displayed,
    enlarged,
    enlarged_labels,
    painted,
    reduction,
    thinned,
    thinned_labels,
)

RED = (255, 0, 0)


def whole(shape):
    return tuple(slice(0, n) for n in shape)


def test_a_large_plane_is_read_in_parts():
    asked = []

    def read(region):
        asked.append([s.stop - s.start for s in region])
        return np.broadcast_to(np.uint16(7), (1, *asked[-1]))

    plane = thinned(read, whole((1, 9000, 5000)), 640)
    assert (plane.shape, plane.dtype, set(plane.ravel())) == ((1, 563, 313), np.uint16, {7})
    assert max(np.prod(a) for a in asked) <= 2**22
    assert sum(np.prod(a) for a in asked) == 9000 * 5000


@pytest.mark.parametrize("shape", [(1, 10, 7), (1, 33, 1), (1, 1, 1), (1, 1, 50)])
@pytest.mark.parametrize("longest", [1, 3, 10, 64])
def test_no_side_is_longer_than_asked_for(shape, longest):
    values = np.random.default_rng(0).normal(size=(2, *shape)).astype(np.float32)
    plane = thinned(lambda region: values[:, *region], whole(shape), longest)
    assert max(plane.shape[1:]) <= longest
    assert values.min() <= plane.min() <= plane.max() <= values.max()


def test_a_pixel_is_the_mean_of_its_block_wherever_the_area_begins():
    values = np.arange(64.0).reshape(1, 1, 8, 8)
    area = (slice(0, 1), slice(2, 6), slice(4, 8))
    plane = thinned(lambda region: values[:, *region], area, 2)
    np.testing.assert_array_equal(plane[0], [[24.5, 26.5], [40.5, 42.5]])


def test_no_small_object_is_lost():
    labels = np.zeros((1, 3000, 3000), np.uint32)
    labels[0, 1501:1509, 2001:2009] = 5
    plane = thinned_labels(lambda region: labels[region], whole(labels.shape), 640)
    factor, _ = reduction((3000, 3000), 640)
    assert plane.max() == 5
    assert abs(np.argwhere(plane == 5).mean(0) - np.array([1504.5, 2004.5]) / factor).max() < 1


@pytest.mark.parametrize(
    "values",
    [
        np.linspace(-1e30, 1e30, 100).reshape(1, 10, 10),
        np.arange(40000, 40100, dtype=np.uint16).reshape(1, 10, 10),
        np.linspace(0, 1e-9, 100, dtype=np.float32).reshape(1, 10, 10),
    ],
    ids=["huge", "uint16", "tiny"],
)
def test_any_range_is_stretched_from_dark_to_bright(values):
    shown = displayed(values)
    assert (shown.dtype, shown.shape, shown.min(), shown.max()) == (np.uint8, (10, 10, 3), 0, 255)
    assert (np.diff(shown[..., 0].ravel().astype(int)) >= 0).all()


def test_a_few_hot_pixels_leave_the_rest_visible():
    values = np.linspace(0, 100, 10000).reshape(1, 100, 100)
    values[0, 0, :5] = 1e6
    assert 100 < displayed(values)[50, 50, 0] < 155


def test_spots_on_an_even_background_are_seen():
    values = np.zeros((1, 100, 100))
    values[0, 50, 50] = 3
    assert displayed(values)[50, 50].tolist() == [255] * 3


@pytest.mark.parametrize("value", [0, 7, np.nan, np.inf])
def test_an_image_of_one_value_is_dark(value):
    assert not displayed(np.full((1, 4, 4), value)).any()


def test_what_is_not_finite_is_dark_and_the_rest_as_it_was():
    values = np.linspace(1, 2, 100).reshape(1, 10, 10)
    values[0, 5, :3] = np.nan, np.inf, -np.inf
    shown = displayed(values)[..., 0]
    assert not shown[5, :3].any()
    assert shown[9, 9] == 255


def test_a_photo_keeps_its_hues():
    photo = np.full((3, 8, 8), 20, np.uint8)
    photo[0], photo[:, 0] = 60, 85
    assert displayed(photo)[4, 4].tolist() == [180, 60, 60]


@pytest.mark.parametrize(("channels", "seen"), [(1, "rgb"), (2, "rb"), (3, "r"), (5, "r")])
def test_channels_are_red_green_and_blue(channels, seen):
    values = np.zeros((channels, 10, 10), np.uint16)
    values[1 if channels == 2 else 0, :5] = 900
    assert displayed(values)[0, 0].tolist() == [255 if c in seen else 0 for c in "rgb"]


def test_enlarging_keeps_pixels_where_they_are():
    picture = np.zeros((3, 5, 3), np.uint8)
    picture[1, 3] = 240
    large = enlarged(picture, 30, 50)
    assert large.shape == (30, 50, 3)
    centre = np.argwhere(large[..., 0] > 120).mean(0)
    np.testing.assert_allclose(centre, [14.5, 34.5])
    np.testing.assert_array_equal(enlarged(picture, 3, 5), picture)
    np.testing.assert_array_equal(enlarged_labels(picture[..., 0], 30, 50)[::10, ::10], picture[..., 0])


def test_borders_are_opaque_inside_is_not_and_outside_is_untouched():
    labels = np.zeros((20, 20), int)
    labels[5:15, 5:15] = 1
    colors = np.broadcast_to(np.array(RED, np.uint8), (20, 20, 3))
    drawn = painted(np.full((20, 20, 3), 100, np.uint8), labels, colors, 0.5, 2)
    assert drawn[4, 4].tolist() == [100, 100, 100]
    assert drawn[5, 5].tolist() == drawn[6, 10].tolist() == list(RED)
    assert drawn[10, 10].tolist() == [178, 50, 50]


def test_touching_objects_are_told_apart_and_the_subject_is_strongest():
    labels = np.ones((10, 20), int)
    labels[:, 10:] = 2
    colors = np.broadcast_to(np.array(RED, np.uint8), (10, 20, 3))
    drawn = painted(np.zeros((10, 20, 3), np.uint8), labels, colors, 0.0, 1, subject=2)[5, :, 0]
    assert drawn[10] == 255
    assert 0 < drawn[9] < 255
    assert not drawn[[8, 11]].any()


def test_what_is_no_square_is_put_into_one():
    square = centred(np.zeros((2, 6, 3), np.uint8), 6)
    assert square.shape == (6, 6, 3)
    assert (square[[0, 1, 4, 5]] > 200).all()
    assert not square[2:4].any()
