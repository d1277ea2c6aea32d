"""Convex hulls: golden values, agreement with linear programming, and what no hull may change."""

from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy import ndimage
from scipy.optimize import linprog

from gpuseg.backends import get_backend
from gpuseg.backends._numba import threads
from gpuseg.objects import hull
from gpuseg.objects.context import Objects
from gpuseg.objects.table import LOCATION, OBJECT_FEATURES

ROWS = {name: row for name, row in OBJECT_FEATURES.items() if row.formula.__module__ == hull.__name__}
SHAPE = [name for name, row in ROWS.items() if row.group != LOCATION]


def objects(labels: Any, **more: Any) -> Objects:
    labels = np.asarray(labels, np.int32)
    labels = np.ascontiguousarray(labels.reshape((1,) * (3 - labels.ndim) + labels.shape))
    return Objects(get_backend("cpu"), labels, int(labels.max()), **more)


def measured(labels: Any, **more: Any) -> dict[str, Any]:
    o = objects(labels, **more)
    return {name: row.formula(o) for name, row in ROWS.items()}


def painted(shape: tuple[int, ...], pixels: list[tuple[int, ...]]) -> np.ndarray:
    """Pixels in the order x, y(, z) as object 1."""
    labels = np.zeros(shape, np.int32)
    labels[tuple(np.array(pixels).T[::-1])] = 1
    return labels


HOURGLASS = painted((5, 6), [(1, 1), (2, 1), (3, 1), (4, 1), (2, 2), (1, 3), (2, 3), (3, 3), (4, 3)])
CUBE = painted(
    (5, 5, 5), [*product((1, 2, 3), (1, 2, 3), (1, 3)), (3, 1, 2), (3, 2, 2), (1, 3, 2), (2, 3, 2)]
)
GOLDEN: dict[str, tuple[Any, Any]] = {  # of vigra's own test: 2D, 3D
    "input_volume": (9, 22),
    "hull_volume": (12, 27),
    "convexity": (0.75, 22 / 27),
    "defect_count": (2, 2),
    "defect_volume_mean": (1.5, 2.5),
    "defect_volume_variance": (0.5, 4.5),
    "defect_volume_skewness": (0, 0),
    "defect_volume_kurtosis": (0, 0),
    "defect_displacement_mean": (
        (1.5 - 1 / 18 + 2 * (1 + 1 / 18)) / 3,
        np.sqrt(2) / 5 * (90 / 11 - 3 - 45 / 22),
    ),
    "input_center": ((2.5 - 1 / 18, 2), (45 / 22, 45 / 22, 2)),
    "hull_center": ((2.5, 2), (2, 2, 2)),
    "defect_center": ((8 / 3, 2), (1.8, 1.8, 2)),
}


@pytest.mark.parametrize("name", GOLDEN)
def test_golden_values(name: str) -> None:
    assert GOLDEN.keys() == ROWS.keys()
    for labels, expected in zip((HOURGLASS, CUBE), GOLDEN[name], strict=True):
        assert_allclose(measured(labels)[name][0], expected, rtol=1e-12)


def within(mask: np.ndarray) -> np.ndarray:
    """Pixels that are a mean of object pixels with weights, found one by one by linear programming."""
    points = np.argwhere(mask)
    rows = np.vstack([points.T, np.ones(len(points))])
    inside = mask.copy()
    for p in np.argwhere(~mask):
        answer = linprog(np.zeros(len(points)), A_eq=rows, b_eq=[*p, 1])
        inside[tuple(p)] = answer.status == 0
    return inside


def random_masks() -> dict[str, np.ndarray]:
    """Sets of pixels in 2D and 3D, of any rank: scattered, in a plane, on a line, a single one."""
    rng, made = np.random.default_rng(1), {}
    for k in range(100):
        shape = tuple(rng.integers(1, (6, 6, 6) if k % 3 else (2, 8, 8)).tolist())
        mask = rng.random(shape) < rng.choice([0.1, 0.2, 0.5])
        if k % 4 == 1:
            mask &= np.tensordot(rng.integers(-2, 3, 3), np.indices(shape), 1) == rng.integers(0, 4)
        if k % 4 == 2:
            mask &= np.add.outer(np.arange(shape[0]), np.arange(shape[1]))[..., None] == np.arange(shape[2])
        if mask.any():
            made[f"{k}: {int(mask.sum())} of {shape}"] = mask
    return made


MASKS = random_masks()


@pytest.mark.parametrize("case", MASKS)
def test_hulls_and_defects_are_those_of_linear_programming(case: str) -> None:
    mask = MASKS[case]
    inside, o = within(mask), objects(np.pad(mask, ((0, 0), (1, 2), (3, 0))))
    places = np.argwhere(inside) + np.array([0, 1, 3])
    assert_array_equal(hull.hulls(o)["hull"][0], [len(places), *places.sum(0)])
    parts, count = ndimage.label(inside & ~mask)
    sizes = np.bincount(parts.ravel())[1:]
    assert hull.hulls(o)["defects"][0] == count
    assert_allclose(ROWS["defect_volume_mean"].formula(o)[0], sizes.mean() if count else 0)
    center = np.argwhere(mask).mean(0)
    away = [np.linalg.norm(np.argwhere(parts == k + 1).mean(0) - center) for k in range(count)]
    expected = np.average(away, weights=sizes) if count else 0
    assert_allclose(ROWS["defect_displacement_mean"].formula(o)[0], expected, rtol=1e-12)


def test_larger_objects_agree_with_qhull() -> None:
    from scipy.spatial import ConvexHull

    noise = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=(40, 50, 60)), 3)
    labels, _ = ndimage.label(noise > 1.5 * noise.std())
    volumes, compared = hull.hulls(objects(labels))["hull"][:, 0], 0
    for i, box in enumerate(ndimage.find_objects(labels)):
        mask = labels[box] == i + 1
        if min(mask.shape) > 3:
            planes = ConvexHull(np.argwhere(mask)).equations
            heights = np.argwhere(np.ones_like(mask)) @ planes[:, :3].T + planes[:, 3]
            assert volumes[i] == (heights < 1e-9).all(1).sum()
            compared += 1
    assert compared > 8


@pytest.mark.parametrize(
    "mask",
    [
        np.ones((1, 1)),
        np.ones((1, 7)),
        np.eye(5),
        np.ones((4, 6)),
        np.hypot(*np.indices((21, 21)) - 10.0) <= 9.3,
        np.ones((1, 1, 9)),
        np.eye(5)[:, None],
        np.ones((3, 1, 4)),
        np.ones((3, 4, 5)),
        np.stack([np.eye(5)] * 4),
        np.linalg.norm(np.indices((13, 13, 13)) - 6.0, axis=0) <= 5.5,
    ],
    ids=[
        "pixel",
        "row",
        "diagonal",
        "rectangle",
        "disc",
        "line",
        "diagonal in 3D",
        "slab",
        "box",
        "wall",
        "ball",
    ],
)
def test_convex_shapes_are_convex(mask: np.ndarray) -> None:
    found = measured(np.pad(mask, 2).astype(int))
    assert found["convexity"] == 1
    for name in ROWS:
        if name.startswith("defect") and name != "defect_center":
            assert found[name] == 0, name
    assert_array_equal(found["defect_center"], found["input_center"])
    assert_array_equal(found["hull_center"], found["input_center"])


def defects_of(sizes: list[int]) -> np.ndarray:
    """A comb whose gaps are as long as asked for."""
    labels = np.ones((2 * len(sizes) + 1, max(sizes) + 2), np.int32)
    for i, size in enumerate(sizes):
        labels[2 * i + 1, 1 : size + 1] = 0
    return labels


@pytest.mark.parametrize(
    "sizes", [[3], [3, 5], [1, 2, 6], [1, 2, 6, 9], [4, 4, 4, 4], [1, 1, 2, 3, 5, 8, 13]]
)
def test_spread_of_defects_is_unbiased(sizes: list[int]) -> None:
    found, m = measured(defects_of(sizes)), len(sizes)
    away = np.array(sizes) - np.mean(sizes)
    s2, s3, s4 = (float((away**k).sum()) for k in (2, 3, 4))
    assert found["defect_count"] == m
    assert_allclose(found["defect_volume_variance"], s2 / (m - 1) if m > 1 else 0)
    skewness = np.sqrt(m * (m - 1)) / (m - 2) * np.sqrt(m) * s3 / s2**1.5 if m > 2 and s2 else 0
    assert_allclose(found["defect_volume_skewness"], skewness)
    excess = m * s4 / s2**2 - 3 if s2 else 0
    kurtosis = (m - 1) / ((m - 2) * (m - 3)) * ((m + 1) * excess + 6) if m > 3 and s2 else 0
    assert_allclose(found["defect_volume_kurtosis"], kurtosis)


def test_what_lies_in_a_dent_is_a_defect_whoever_owns_it() -> None:
    labels = defects_of([3, 5])
    labels[1, 1:4] = 2
    alone, found = measured(defects_of([3, 5])), measured(labels)
    for name in ROWS:
        assert_array_equal(found[name][0], alone[name][0], err_msg=name)


def test_defects_touch_through_faces_only() -> None:
    labels = np.ones((5, 6), np.int32)
    labels[1, 1:3] = labels[2, 3:5] = 0
    assert measured(labels)["defect_count"] == 2
    labels[2, 2] = 0
    assert measured(labels)["defect_count"] == 1
    deep = np.stack([np.ones((5, 6), np.int32), labels, labels, np.ones((5, 6), np.int32)])
    assert measured(deep)["defect_count"] == 1


def blobs(seed: int, ndim: int) -> np.ndarray:
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(24, 20, 22)[:ndim]), 1.2)
    return ndimage.label(noise > 0.8 * noise.std())[0]


@settings(max_examples=15)
@given(seed=st.integers(0, 2**32 - 1), ndim=st.sampled_from([2, 3]), data=st.data())
def test_shape_survives_moving_mirroring_and_renaming(seed: int, ndim: int, data: st.DataObject) -> None:
    labels = blobs(seed, ndim)
    n = int(labels.max())
    order = np.random.default_rng(seed).permutation(n) + 1
    moved = np.pad(np.concatenate([[0], order])[labels], [(1 + 2 * i, 3 - i) for i in range(ndim)])
    for axis in data.draw(st.sets(st.integers(0, ndim - 1))):
        moved = np.flip(moved, axis)
    before, after = measured(labels), measured(moved)
    for name in SHAPE:
        assert_allclose(after[name][order - 1], before[name], rtol=1e-12, err_msg=name)


@settings(max_examples=15)
@given(seed=st.integers(0, 2**32 - 1), ndim=st.sampled_from([2, 3]))
def test_a_hull_holds_its_object_and_the_hull_of_a_hull_is_itself(seed: int, ndim: int) -> None:
    labels = blobs(seed, ndim)
    found = measured(labels)
    assert (found["hull_volume"] >= found["input_volume"]).all()
    assert_array_equal(found["input_volume"], np.bincount(labels.ravel())[1:])
    missing = found["hull_volume"] - found["input_volume"]
    assert_allclose(found["defect_volume_mean"] * found["defect_count"], missing)
    weighted = (
        found["input_center"] * found["input_volume"][:, None] + found["defect_center"] * missing[:, None]
    )
    assert_allclose(found["hull_center"] * found["hull_volume"][:, None], weighted)


def test_lengths_are_in_units_of_the_spacing() -> None:
    plain, scaled = measured(CUBE), measured(CUBE, spacing=(3.0, 2.0, 0.5))
    assert_allclose(scaled["hull_volume"], plain["hull_volume"] * 3)
    assert_allclose(scaled["defect_volume_mean"], plain["defect_volume_mean"] * 3)
    assert_array_equal(scaled["convexity"], plain["convexity"])
    assert_allclose(scaled["hull_center"], plain["hull_center"] * (0.5, 2, 3))
    assert_allclose(
        measured(HOURGLASS, spacing=(9, 2, 2))["defect_displacement_mean"][0],
        2 * GOLDEN["defect_displacement_mean"][0],
    )
    assert_allclose(measured(HOURGLASS, spacing=(9, 2, 2))["hull_volume"], 48)


def test_ids_without_pixels_no_objects_and_one_that_fills_the_image() -> None:
    gap = painted((4, 5), [(1, 1)]) * 3
    found = measured(gap)
    assert found["hull_volume"].tolist() == [0, 0, 1]
    assert found["convexity"].tolist() == [0, 0, 1]
    assert all(len(values) == 0 for values in measured(np.zeros((4, 5))).values())
    assert measured(np.ones((6, 7)))["hull_volume"] == 42


def test_coordinates_of_a_large_image_do_not_overflow() -> None:
    labels = np.zeros((2, 2, 30_000), np.int32)
    labels[0, 0, 0] = labels[1, 1, -1] = labels[0, 1, 15_000] = 1
    found = measured(labels)
    assert found["hull_volume"] == 3
    assert found["input_center"][0, 0] == 44_999 / 3


@pytest.mark.usefixtures("host_cuda")
def test_arrays_on_a_device_give_the_same_numbers() -> None:
    o, b = objects(blobs(3, 3)), get_backend("cuda")
    there = Objects(b, b.asarray(o.labels), o.count)
    for name, row in ROWS.items():
        assert_array_equal(row.formula(there), row.formula(o), err_msg=name)


def test_threads_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    noise = ndimage.gaussian_filter(np.random.default_rng(5).normal(size=(600, 610)), 1.5)
    labels = ndimage.label(noise > 0.5 * noise.std())[0]
    many = measured(labels)
    monkeypatch.setattr(threads, "cores", lambda: 1)
    one = measured(labels)
    for name in ROWS:
        assert_array_equal(one[name], many[name], err_msg=name)
