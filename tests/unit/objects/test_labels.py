"""Objects of label images: connected parts of equal value, or the ids that are there."""

import numpy as np
import pytest

from gpuseg.errors import InputError, LabelError, ShapeError
from gpuseg.objects.labels import relabel

IMAGE = np.array([[7, 7, 0, 3], [0, 3, 3, 0], [7, 0, 0, 9]])


def test_components_of_equal_value_are_numbered_in_scan_order():
    found = relabel(IMAGE)
    assert found.labels.tolist() == [[1, 1, 0, 2], [0, 3, 3, 0], [4, 0, 0, 5]]
    assert found.labels.dtype == np.int32
    assert found.original[0].tolist() == [7, 3, 3, 7, 9]
    assert found.count.tolist() == [5]


def test_components_may_hang_together_by_corners():
    assert relabel(IMAGE, connectivity=2).labels.tolist() == [[1, 1, 0, 2], [0, 2, 2, 0], [3, 0, 0, 4]]


def test_ids_keep_scattered_parts_together_in_ascending_order():
    found = relabel(IMAGE, kind="ids")
    assert found.labels.tolist() == [[2, 2, 0, 1], [0, 1, 1, 0], [2, 0, 0, 3]]
    assert found.original[0].tolist() == [3, 7, 9]


@pytest.mark.parametrize("kind", ["components", "ids"])
def test_ids_may_exceed_32_bits(kind):
    found = relabel(IMAGE.astype(np.uint64) << np.uint64(40), kind=kind)
    np.testing.assert_array_equal(found.labels, relabel(IMAGE, kind=kind).labels)
    assert found.original[0].max() == 9 << 40


def test_time_points_are_numbered_each_by_itself():
    found = relabel(np.stack([IMAGE, 0 * IMAGE, IMAGE + 1]), axes="tyx", kind="ids")
    assert found.count.tolist() == [3, 0, 4]
    assert [o.tolist() for o in found.original] == [[3, 7, 9], [], [1, 4, 8, 10]]
    assert found.labels.shape == (3, 3, 4)


def test_a_mask_has_components():
    assert relabel(IMAGE > 0).labels.tolist() == [[1, 1, 0, 2], [0, 1, 1, 0], [3, 0, 0, 4]]


def test_axes_stay_as_they_are():
    found = relabel(IMAGE[..., None], axes="xyc")
    assert (found.labels.shape, found.axes) == ((3, 4, 1), "xyc")
    assert found.labels[..., 0].T.tolist() == relabel(IMAGE.T).labels.tolist()


def test_kernels_find_the_same_components(host_cuda):
    image = np.random.default_rng(0).integers(0, 4, (3, 20, 30)) * 5
    for kind in ("components", "ids"):
        ours, theirs = (relabel(image, kind=kind, backend=b) for b in ("cpu", "cuda"))
        np.testing.assert_array_equal(ours.labels, theirs.labels)
        np.testing.assert_array_equal(ours.original[0], theirs.original[0])


@pytest.mark.parametrize(
    ("image", "how", "error", "told"),
    [
        (IMAGE / 2, {}, LabelError, "labels: pixels are float64, an image of objects has integers"),
        (IMAGE - 4, {}, LabelError, "label -4 at y 0, x 2"),
        (IMAGE, {"kind": "parts"}, InputError, "kind 'parts'\n  hint: one of 'components', 'ids'"),
        (IMAGE, {"connectivity": 8}, InputError, "connectivity 8\n  hint: one of 1, 2, 3"),
        (IMAGE[:0], {}, ShapeError, "axis y has size 0"),
        (np.zeros((4, 5, 3), int), {"axes": "yxc"}, ShapeError, "has 3 channels"),
    ],
)
def test_what_has_no_objects_is_refused_with_a_reason(image, how, error, told):
    with pytest.raises(error, match=told):
        relabel(image, **how)
