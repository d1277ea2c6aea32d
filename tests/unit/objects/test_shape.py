"""Outlines, diameters and Haralick's texture: closed forms, scikit-image, and what must not change them."""

from itertools import combinations, product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.spatial import ConvexHull
from skimage.feature import graycomatrix, graycoprops
from skimage.measure import euler_number, regionprops_table

from gpuseg.backends._numba.cooccurrence import LEVELS, cooccurrences
from gpuseg.backends.cpu import CpuBackend
from gpuseg.objects import shape
from gpuseg.objects.context import Objects
from gpuseg.objects.table import OBJECT_FEATURES

BLOBS = np.load(Path(__file__).parents[2] / "golden" / "skeleton_vigra.npz")["blobs_labels"].astype(np.int32)
SOLID = np.load(Path(__file__).parents[2] / "golden" / "texture_reference.npz")["solid_labels"]
ROWS = {k: r for k, r in OBJECT_FEATURES.items() if r.formula.__module__ == shape.__name__}
LIKE = {  # ours -> scikit-image's
    "perimeter": "perimeter_crofton",
    "eccentricity": "eccentricity",
    "major_axis": "axis_major_length",
    "minor_axis": "axis_minor_length",
    "extent": "extent",
    "equivalent_diameter": "equivalent_diameter_area",
}


def objects(labels, raw=None, spacing=(1.0, 1.0, 1.0)):
    labels = np.asarray(labels, np.int32)
    planes = (1,) * (3 - labels.ndim)
    raw = None if raw is None else np.asarray(raw, np.float32).reshape(1, *planes, *labels.shape)
    return Objects(
        CpuBackend(), labels.reshape(*planes, *labels.shape), int(labels.max()), raw, spacing=spacing
    )


def ball(radius, *size):
    """Pixels of `size` whose centre lies within a disc or ball around a point off the grid."""
    size = np.array(size)
    grid = np.meshgrid(*(np.arange(np.ceil(2 * radius / s) + 3) * s for s in size), indexing="ij")
    return sum((g - radius - 1.2 * s) ** 2 for g, s in zip(grid, size, strict=True)) < radius**2


@st.composite
def masks(draw):
    """A few pixels, at least one, with a rim of none."""
    height, width = draw(st.integers(1, 7)), draw(st.integers(1, 7))
    bits = draw(st.lists(st.booleans(), min_size=height * width, max_size=height * width))
    mask = np.reshape(bits, (height, width))
    mask[draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))] = True
    return np.pad(mask, 1).astype(int)


def corners(mask):
    y, x = np.nonzero(mask)
    return np.array([(a + i, b + j) for a, b in zip(y, x, strict=True) for i in (0, 1) for j in (0, 1)])


@pytest.mark.parametrize("name", LIKE)
def test_real_objects_measure_as_in_scikit_image(name):
    expected = regionprops_table(BLOBS, properties=[LIKE[name]])[LIKE[name]]
    assert_allclose(ROWS[name].formula(objects(BLOBS)), expected, rtol=1e-9)


def test_axes_of_volumes_are_those_of_scikit_image():
    names = ("axis_major_length", "axis_minor_length")
    expected, o = regionprops_table(SOLID, properties=names), objects(SOLID)
    assert_allclose(shape.major_axis(o), expected[names[0]], rtol=1e-9)
    assert_allclose(shape.minor_axis(o), expected[names[1]], rtol=1e-9)


@pytest.mark.parametrize("size", [(12, 13), (6, 7, 8)])
def test_euler_numbers_are_those_of_scikit_image(size):
    labels = (np.random.default_rng(3).random((20, *size)) < 0.6).astype(int)
    found = [shape.euler_number(objects(mask))[0] for mask in labels]
    assert found == [euler_number(mask, 1) for mask in labels]
    assert len(set(found)) > 5


def test_a_rectangle_has_its_sides():
    labels = np.zeros((20, 30), int)
    labels[4:8, 5:17] = 1
    o = objects(labels)
    assert shape.solidity(o) == shape.extent(o) == 1
    assert_allclose(shape.feret_max(o), np.hypot(4, 12))
    assert_allclose(shape.feret_min(o), 4)
    assert_allclose(shape.orientation(o), 0, atol=1e-12)
    assert_allclose(shape.orientation(objects(labels.T)), np.pi / 2)
    assert shape.euler_number(o) == [1]


@pytest.mark.parametrize("size", [(1, 1), (1, 2), (2.5, 1), (1, 1, 1), (2, 1, 1), (1, 2, 0.7)])
def test_discs_and_balls_measure_as_they_do_whatever_the_pixels(size):
    """Within 2 % in the plane, 3 % in space, with pixels up to three times as long as wide."""
    radius, plane = 25.0, len(size) == 2
    o = objects(ball(radius, *size), spacing=(1.0,) * (3 - len(size)) + size)
    border = shape.perimeter(o) if plane else shape.surface(o)
    assert_allclose(
        border, 2 * np.pi * radius if plane else 4 * np.pi * radius**2, rtol=0.02 if plane else 0.03
    )
    assert_allclose(shape.circularity(o) if plane else shape.sphericity(o), 1, atol=0.04)
    assert_allclose(shape.equivalent_diameter(o), 2 * radius, rtol=0.01)
    assert_allclose(shape.major_axis(o), 2 * radius, rtol=0.02)
    assert_allclose(shape.minor_axis(o), 2 * radius, rtol=0.02)
    if plane:
        assert_allclose(shape.feret_max(o), 2 * radius, rtol=0.05)
        assert shape.eccentricity(o) < 0.15


@given(masks(), st.sampled_from([(1.0, 1.0), (2.0, 0.5)]))
def test_hulls_are_those_of_all_corners(mask, size):
    points, o = corners(mask) * size, objects(mask, spacing=(1.0, *size))
    hull = ConvexHull(points)
    assert_allclose(shape.solidity(o), mask.sum() * np.prod(size) / hull.volume)
    assert_allclose(shape.feret_max(o), max(np.linalg.norm(a - b) for a, b in combinations(points, 2)))
    widths = [np.ptp(points @ normal) for normal in hull.equations[:, :2]]
    assert_allclose(shape.feret_min(o), min(widths))


@given(masks(), st.integers(0, 5), st.integers(0, 5), st.sampled_from([(1.0, 1.0, 1.0), (1.0, 2.0, 0.5)]))
def test_moving_and_turning_over_change_no_shape(mask, down, right, spacing):
    moved = np.pad(mask, ((down, 0), (right, 2)))
    raw = np.sin(np.arange(moved.size)).reshape(moved.shape)
    first = objects(mask, raw[down:, right : moved.shape[1] - 2], spacing)
    turned = objects(moved[:, ::-1], raw[:, ::-1], spacing)
    for name, row in ROWS.items():
        if 2 in row.ndims and name not in ("orientation", "touches_border"):
            assert_allclose(row.formula(turned), row.formula(first), atol=1e-9, err_msg=name)


def test_numbers_and_neighbours_of_an_object_do_not_matter():
    order = np.r_[0, np.random.default_rng(0).permutation(BLOBS.max()) + 1]
    raw = np.random.default_rng(1).random(BLOBS.shape)
    o, other = objects(BLOBS, raw), objects(order[BLOBS], raw)
    for name, row in ROWS.items():
        if 2 in row.ndims:
            assert_allclose(row.formula(other)[order[1:] - 1], row.formula(o), rtol=1e-9, err_msg=name)


def test_orientation_has_no_value_where_there_is_no_direction():
    labels = np.zeros((9, 9), int)
    labels[2:5, 2:5], labels[7, 7] = 1, 2
    assert np.isnan(shape.orientation(objects(labels))).all()


def test_what_touches_the_border_is_known():
    labels = np.zeros((6, 6), int)
    labels[0, 2], labels[2, 5], labels[4, 1:3] = 1, 2, 3
    assert shape.touches_border(objects(labels)).tolist() == [1, 1, 0]
    assert shape.touches_border(objects(np.stack([labels] * 3))).tolist() == [1, 1, 1]


def test_haralick_numbers_are_those_of_scikit_image():
    """A whole rectangle: scikit-image has no masks. Four directions there are one table here."""
    raw = np.random.default_rng(5).integers(0, LEVELS, (11, 14))
    raw[0, :2] = 0, LEVELS - 1
    labels = np.pad(np.ones(raw.shape, int), 2)
    found = cooccurrences(
        labels[None].astype(np.int32),
        np.pad(raw, 2, constant_values=99)[None].astype(np.float32),
        np.array([[[0, 0], [2, 12], [2, 15]]]),
        shape.steps(2),
    )[0]
    angles = [0, np.pi / 4, np.pi / 2, 3 * np.pi / 4]
    table = graycomatrix(raw.astype(np.uint8), [1], angles, LEVELS, symmetric=True).sum(3, keepdims=True)
    table = table / table.sum()
    names = ("contrast", "correlation", "ASM", "homogeneity", "entropy")
    assert_allclose(
        found,
        [graycoprops(table, name)[0, 0] * (1 / np.log(2) if name == "entropy" else 1) for name in names],
    )


@pytest.mark.parametrize("ndim", [2, 3])
def test_haralick_pairs_stay_inside_the_object(ndim):
    """The same as counted pair by pair."""
    rng = np.random.default_rng(ndim)
    labels = (rng.random((6, 7, 5)[:ndim]) < 0.7).astype(int)
    raw = np.where(labels, rng.random(labels.shape), 50)
    inside = {tuple(p): raw[tuple(p)] for p in np.argwhere(labels)}
    low, high = min(inside.values()), max(inside.values())
    level = {p: min(int((v - low) / (high - low) * LEVELS), LEVELS - 1) for p, v in inside.items()}
    pairs = []
    for p, step in product(level, product((-1, 0, 1), repeat=ndim)):
        q = tuple(np.add(p, step))
        if any(step) and q in level:
            pairs.append((level[p], level[q]))
    a, b = np.array(pairs).T
    o = objects(labels, raw)
    assert_allclose(shape.texture_contrast(o)[0], np.mean((a - b) ** 2))
    assert_allclose(shape.texture_correlation(o)[0], np.corrcoef(a, b)[0, 1])
    assert_allclose(shape.texture_homogeneity(o)[0], np.mean(1 / (1 + (a - b) ** 2)))
    part = np.unique(LEVELS * a + b, return_counts=True)[1] / len(a)
    assert_allclose(shape.texture_energy(o)[0], np.sum(part**2))
    assert_allclose(shape.texture_entropy(o)[0], -np.sum(part * np.log2(part)))


def test_one_value_and_one_pixel_have_texture_as_far_as_it_is_defined():
    labels = np.zeros((8, 8), int)
    labels[1:4, 1:4], labels[6, 6] = 1, 2
    o = objects(labels, np.full(labels.shape, 7.0))
    assert_array_equal(shape.texture_contrast(o)[:, 0], [0, np.nan])
    assert_array_equal(shape.texture_energy(o)[:, 0], [1, np.nan])
    assert_array_equal(shape.texture_entropy(o)[:, 0], [0, np.nan])
    assert np.isnan(shape.texture_correlation(o)).all()


@pytest.mark.parametrize("size", [(5, 6), (4, 5, 6)])
def test_without_objects_there_are_no_rows(size):
    o = objects(np.zeros(size), np.zeros(size))
    for name, row in ROWS.items():
        if len(size) in row.ndims:
            assert len(row.formula(o)) == 0, name


@pytest.mark.parametrize("size", [(5, 6), (4, 5, 6)])
def test_an_object_that_fills_the_image_has_all_but_its_direction(size):
    o = objects(np.ones(size), np.random.default_rng(0).random(size))
    for name, row in ROWS.items():
        if len(size) in row.ndims:
            assert np.isfinite(row.formula(o)).all(), name
