"""Skeletons: vigra's numbers, closed forms, and what must not change them."""

from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import ndimage

from gpuseg.backends._numba.skeleton import skeletons
from gpuseg.backends.cpu import CpuBackend
from gpuseg.objects import skeleton
from gpuseg.objects.context import Objects

GOLDEN = np.load(Path(__file__).parents[2] / "golden" / "skeleton_vigra.npz")
IMAGES = sorted(name.removesuffix("_labels") for name in GOLDEN.files if name.endswith("_labels"))


def numbers(labels, pixel=(1.0, 1.0)):
    boxes = [[[s.start, s.stop - 1] for s in box] for box in ndimage.find_objects(labels)]
    return skeletons(np.asarray(labels, np.int32), np.array(boxes), pixel)


def objects(labels, spacing=(1.0, 1.0, 1.0)):
    labels = np.asarray(labels, np.int32)[None]
    return Objects(CpuBackend(), labels, int(labels.max()), spacing=spacing)


def blob(seed):
    """A piece of smoothed noise with branches and holes: bool (60, 70), nothing at the edge."""
    noise = np.pad(np.random.default_rng(seed).normal(size=(50, 60)), 5)
    smooth = ndimage.gaussian_filter(noise, 2.5)
    parts, _ = ndimage.label(smooth > np.quantile(smooth, 0.45))
    parts[:3], parts[-3:], parts[:, :3], parts[:, -3:] = 0, 0, 0, 0
    return parts == np.bincount(parts[parts > 0]).argmax()


@pytest.mark.parametrize("image", IMAGES)
def test_every_number_of_every_object_is_vigras(image):
    """All 495 objects agree; vigra has 0 for the places of those that have no skeleton."""
    found = numbers(GOLDEN[f"{image}_labels"].astype(np.int32))
    assert_allclose(np.nan_to_num(found), GOLDEN[f"{image}_numbers"], rtol=1e-4, atol=1e-9)


def test_a_line_is_its_own_skeleton():
    labels = np.zeros((9, 30), int)
    labels[4, 5:25] = 1
    o = objects(labels)
    assert skeleton.branch_count(o) == [2]
    assert skeleton.hole_count(o) == [0]
    assert skeleton.skeleton_diameter(o) == skeleton.skeleton_euclidean_diameter(o) == [19]
    assert skeleton.skeleton_length(o) == [19]
    ends = [skeleton.skeleton_terminal_1(o)[0].tolist(), skeleton.skeleton_terminal_2(o)[0].tolist()]
    assert sorted(ends) == [[5, 4], [24, 4]]
    assert skeleton.skeleton_center(o)[0, 1] == 4
    assert 14 <= skeleton.skeleton_center(o)[0, 0] <= 15


def test_holes_are_counted_and_a_notch_is_none():
    labels = np.zeros((40, 120), int)
    labels[5:35, 5:45], labels[12:28, 15:35] = 1, 0
    labels[5:35, 50:110], labels[12:28, 60:75], labels[12:28, 85:100] = 2, 0, 0
    labels[5:12, 20:25] = 0
    assert numbers(labels)[:, 1].tolist() == [0, 2]


def test_a_hole_of_another_object_counts_too():
    labels = np.zeros((40, 50), int)
    labels[5:35, 5:45], labels[12:28, 15:35] = 1, 2
    assert numbers(labels)[:, 1].tolist() == [1, 0]


@pytest.mark.parametrize("seed", range(6))
def test_moving_an_object_moves_its_places_alone(seed):
    mask = blob(seed)
    image = np.zeros((100, 120), int)
    image[17 : 17 + 60, 31 : 31 + 70] = mask
    here, there = numbers(mask.astype(int))[0], numbers(image)[0]
    assert_array_equal(there[:6], here[:6])
    assert_array_equal(there[6:] - here[6:], [31, 17] * 3)


def test_numbers_and_neighbours_of_an_object_do_not_matter():
    alone = blob(1)
    labels = np.where(alone, 3, np.where(ndimage.binary_dilation(alone, iterations=2), 1, 2))
    assert_array_equal(numbers(labels)[2], numbers(alone.astype(int))[0])


def test_lengths_have_the_unit_of_pixels_and_counts_do_not():
    mask = blob(2).astype(int)
    one, three = objects(mask), objects(mask, (1.0, 3.0, 3.0))
    for row in (skeleton.branch_count, skeleton.hole_count):
        assert_array_equal(row(one), row(three))
    for row in (skeleton.skeleton_diameter, skeleton.skeleton_length, skeleton.branch_length):
        assert_allclose(row(three), 3 * row(one), rtol=1e-12)
    assert_allclose(skeleton.skeleton_center(three), 3 * skeleton.skeleton_center(one))


def test_oblong_pixels_are_measured_along_each_axis():
    labels = np.zeros((20, 30), int)
    labels[9, 5:25] = 1
    assert_array_equal(numbers(labels, (7.0, 0.5))[0, 2:5], [9.5, 9.5, 9.5])
    assert_array_equal(numbers(labels.T, (7.0, 0.5))[0, 2:5], [133, 133, 133])


def test_what_has_no_skeleton_is_said():
    labels = np.zeros((9, 9), int)
    labels[0, 0] = 1
    assert_array_equal(numbers(labels)[0], [0] * 6 + [np.nan] * 6)
    assert np.isnan(numbers(np.ones((9, 9), int))).all()
    assert skeleton.skeleton_center(objects(np.zeros((5, 5)))).shape == (0, 2)


def test_a_window_around_an_object_is_enough():
    labels = GOLDEN["blobs_labels"].astype(np.int32)
    box = ndimage.find_objects(labels)
    whole = numbers(labels)
    for i in np.flatnonzero([b[0].start > 3 and b[1].start > 3 for b in box])[:8]:
        part = labels[box[i][0].start - 1 : box[i][0].stop + 1, box[i][1].start - 1 : box[i][1].stop + 1]
        assert_array_equal(numbers((part == i + 1).astype(int))[0, :6], whole[i, :6])
