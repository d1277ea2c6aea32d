"""Standard Object Features keep their promises wherever objects lie, and however they are numbered."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from gpuseg.backends import get_backend
from gpuseg.backends._numba.principal import principal
from gpuseg.backends._numba.quantiles import quantiles
from gpuseg.backends._reference_regions import PAIRS
from gpuseg.objects import advanced, standard, weighted
from gpuseg.objects.context import Objects
from gpuseg.objects.table import OBJECT_FEATURES, SHAPE

MODULES = {m.__name__ for m in (standard, advanced, weighted)}
ROWS = {name: f for name, f in OBJECT_FEATURES.items() if f.formula.__module__ in MODULES}
SHAPES = [name for name, f in ROWS.items() if f.group == SHAPE]
TURNED = {"axes", "axis_power_sum_3", "axis_skewness"}  # by a mirror


def offered(channels: int) -> list[str]:
    kind = "M" if channels > 1 else "S"
    return [n for n, f in ROWS.items() if not f.channels or (channels and kind in f.channels)]


def objects(
    labels: np.ndarray, values: np.ndarray | None = None, count: int | None = None, **more
) -> Objects:
    b = get_backend("cpu")
    n = int(labels.max(initial=0)) if count is None else count
    return Objects(b, np.ascontiguousarray(labels, np.int32), n, values, **more)


def blobs(seed: int, *shape: int, count: int = 4) -> np.ndarray:
    """Random pixels around as many centres, which keep off the border."""
    rng = np.random.default_rng(seed)
    labels = np.zeros(shape, np.int32)
    for label in range(1, count + 1):
        size = [min(n, 7) for n in shape]
        corner = [int(rng.integers(0, n - s + 1)) for n, s in zip(shape, size, strict=True)]
        part = tuple(slice(c, c + s) for c, s in zip(corner, size, strict=True))
        labels[part][rng.random(size) < 0.6] = label
    return labels


def image(seed: int, channels: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(50, 20, (channels, *shape)).astype(np.float32)


shapes = st.sampled_from([(1, 20, 30), (9, 14, 17)])


@given(seed=st.integers(0, 999), shape=shapes, by=st.tuples(*(st.integers(0, 5000) for _ in range(3))))
def test_shape_does_not_change_where_an_object_moves(seed, shape, by):
    labels, b = blobs(seed, *shape), get_backend("cpu")
    here, there = objects(labels), objects(labels)
    wants = {w for name in SHAPES for w in ROWS[name].needs}
    sums = b.region_sums(labels, here.count, None, wants)
    z, y, x = by if shape[0] > 1 else (0, *by[1:])
    move = np.array([z, y, x])
    n, box, center, s = sums["count"], sums["box"], sums["center"], sums["scatter"].copy()
    for k, (i, j) in enumerate(PAIRS):
        s[:, k] += move[i] * center[:, j] + move[j] * center[:, i] + n * move[i] * move[j]
    there._sums = sums | {
        "box": box + move[:, None],
        "center": center + n[:, None] * move,
        "scatter": s,
    }
    for name in SHAPES:
        assert_allclose(
            ROWS[name].formula(there), ROWS[name].formula(here), rtol=1e-9, atol=1e-9, err_msg=name
        )


@given(seed=st.integers(0, 999), shape=shapes, axis=st.integers(0, 2))
def test_shape_does_not_change_in_a_mirror(seed, shape, axis):
    labels = blobs(seed, *shape)
    here, there = objects(labels), objects(np.flip(labels, axis), count=int(labels.max(initial=0)))
    for name in SHAPES:
        a, b = (ROWS[name].formula(o) for o in (here, there))
        if name in TURNED:
            a, b = np.abs(a), np.abs(b)
        assert_allclose(b, a, rtol=1e-7, atol=1e-7, err_msg=name)


@given(seed=st.integers(0, 999), channels=st.integers(0, 3))
def test_another_numbering_changes_the_order_of_rows_and_nothing_else(seed, channels):
    labels = blobs(seed, 3, 15, 20)
    values = image(seed, channels, 3, 15, 20) if channels else None
    order = np.random.default_rng(seed).permutation(4)
    renumbered = np.concatenate([[0], order + 1])[labels]
    here, there = objects(labels, values, 4), objects(renumbered, values, 4)
    for name in offered(channels):
        a, b = (ROWS[name].formula(o) for o in (here, there))
        assert_allclose(b[order], a, rtol=1e-9, atol=1e-9, err_msg=name)


@pytest.mark.parametrize("channels", [0, 1, 3])
@pytest.mark.parametrize("count", [0, 1, 2])
@pytest.mark.parametrize("shape", [(1, 8, 9), (4, 8, 9)], ids=["2D", "3D"])
def test_every_feature_has_a_row_for_each_of_few_objects(shape, count, channels):
    labels = np.zeros(shape, np.int32)
    labels[:, 1:4, 2:6] = min(count, 1)
    labels[:, 5:7, 1:8] = count
    o = objects(labels, image(0, channels, *shape) if channels else None, count)
    for name in offered(channels):
        found = ROWS[name].formula(o)
        assert len(found) == count, name
        assert found.ndim in (1, 2), name
        assert found.dtype == (np.int64 if name == "histogram" else np.float64), name
        assert np.isfinite(found).all(), name


def test_one_object_over_the_whole_image_is_the_image():
    values = image(1, 1, 5, 30, 40)
    o = objects(np.ones((5, 30, 40), np.int32), values)
    assert_array_equal(standard.count(o), [6000])
    assert_allclose(standard.mean(o), [[values.mean(dtype=np.float64)]], rtol=1e-12)
    assert_allclose(standard.variance(o), [[values.var(dtype=np.float64)]], rtol=1e-12)
    assert_allclose(standard.center(o), [[19.5, 14.5, 2]])
    assert_allclose(standard.radii(o), [np.sqrt([(n * n - 1) / 12 for n in (40, 30, 5)])])
    assert_array_equal(standard.axes(o), [np.eye(3).ravel()])
    assert_array_equal(standard.box_maximum(o), [[40, 30, 5]])


@pytest.mark.parametrize("value", [0.0, 0.1, 1e7], ids=str)
def test_skewness_and_kurtosis_of_one_value_are_nan(value):
    o = objects(blobs(0, 1, 20, 30), np.full((1, 1, 20, 30), value, np.float32))
    assert_array_equal(standard.variance(o), np.zeros((4, 1)))
    assert np.isnan(standard.skewness(o)).all()
    assert np.isnan(standard.kurtosis(o)).all()
    assert_allclose(standard.quantiles(o), np.full((4, 7), np.float32(value)), rtol=1e-12)


def test_an_id_without_pixels_has_no_mean_and_no_place():
    o = objects(np.where(blobs(3, 1, 20, 30) == 2, 0, blobs(3, 1, 20, 30)), image(0, 1, 1, 20, 30))
    assert standard.count(o)[1] == 0
    for name in ("mean", "variance", "skewness", "center", "radii", "quantiles"):
        found = ROWS[name].formula(o)
        assert np.isnan(found[1]).all(), name
        assert np.isfinite(np.delete(found, 1, 0)).all(), name


def test_lengths_are_in_the_unit_of_the_spacing_along_each_axis():
    labels = np.zeros((6, 30, 40), np.int32)
    labels[1:4, 5:20, 10:38] = 1
    o = objects(labels, spacing=(2.0, 0.5, 0.25))
    assert_allclose(standard.count(o), [3 * 15 * 28 * 0.25])
    assert_allclose(standard.box_minimum(o), [[2.5, 2.5, 2]])
    assert_allclose(standard.center(o), [[23.5 * 0.25, 12 * 0.5, 2 * 2]])
    expected = sorted(((n * n - 1) / 12) ** 0.5 * s for n, s in ((28, 0.25), (15, 0.5), (3, 2.0)))[::-1]
    assert_allclose(standard.radii(o), [expected])
    assert_allclose(
        advanced.axis_kurtosis(o), advanced.axis_kurtosis(objects(labels))[:, [1, 0, 2]], rtol=1e-9
    )


def test_a_slanted_object_is_as_long_as_its_coordinates_say():
    labels, spacing = blobs(5, 9, 14, 17, count=1), (2.0, 0.5, 0.25)
    labels[:, ::3] = 0
    o = objects(np.tril(labels), spacing=spacing)
    zyx = np.argwhere(np.tril(labels)) * spacing
    expected = np.linalg.eigvalsh(np.cov(zyx.T, bias=True))[::-1]
    assert_allclose(standard.radii(o), np.sqrt(expected)[None], rtol=1e-9)
    along = (zyx - zyx.mean(0))[:, ::-1] @ standard.axes(o).reshape(3, 3)
    assert_allclose(along.std(0), np.sqrt(expected), rtol=1e-9)
    assert_allclose(advanced.axis_power_sum_3(o), (along**3).sum(0)[None], rtol=1e-9)
    assert_allclose(advanced.axis_power_sum_4(o), (along**4).sum(0)[None], rtol=1e-9)


def polyline(histogram: np.ndarray, least: float, most: float, low: float, per: float, q: float) -> float:
    """As SPEC 5.3 describes it, point by point."""
    points, total = [(per * (least - low), 0.0)], 0.0
    for k, here in enumerate(histogram):
        if here:
            if points[-1][0] <= k:
                points.append((k, total))
            total += here
            points.append((k + 1, total))
    points[-1] = (per * (most - low), total)
    if q in (0, 1):
        return most if q else least
    pairs = pairwise(points)
    (x0, y0), (x1, y1) = next((a, b) for a, b in pairs if a[1] < q * total <= b[1])
    return low + (x0 + (q * total - y0) / (y1 - y0) * (x1 - x0)) / per


@given(seed=st.integers(0, 9999), pixels=st.integers(1, 60), step=st.sampled_from([0, 0.5, 4]))
def test_quantiles_lie_on_the_line_through_the_histogram(seed, pixels, step):
    rng = np.random.default_rng(seed)
    values = rng.uniform(0, 16, pixels)
    values = np.round(values / step) * step if step else values  # on the borders of bins
    per = 64 / 16
    histogram = np.bincount(np.minimum(values * per, 63).astype(int), minlength=64)[None]
    least, most = np.float32(values.min()), np.float32(values.max())
    found = quantiles(histogram, np.array([[least, most]]), 0.0, per, standard.QUANTILES)[0]
    expected = [polyline(histogram[0], float(least), float(most), 0.0, per, q) for q in standard.QUANTILES]
    assert_allclose(found, expected, rtol=1e-12)


@given(seed=st.integers(0, 9999), d=st.integers(1, 5), rank=st.integers(0, 5))
def test_principal_axes_are_eigenvectors_with_a_sign_of_their_own(seed, d, rank):
    rng = np.random.default_rng(seed)
    half = rng.normal(size=(7, d, min(rank, d)))
    matrices = half @ half.transpose(0, 2, 1)
    values, vectors = principal(matrices)
    scale = 1e-12 * (np.abs(matrices).max(initial=0) + 1e-300)
    assert (np.diff(values, axis=1) <= 0).all()
    assert_allclose(values, np.linalg.eigvalsh(matrices)[:, ::-1], rtol=1e-9, atol=scale)
    assert_allclose(vectors * values[:, None] @ vectors.transpose(0, 2, 1), matrices, rtol=1e-9, atol=scale)
    assert_allclose(
        vectors @ vectors.transpose(0, 2, 1), np.broadcast_to(np.eye(d), matrices.shape), atol=1e-12
    )
    largest = np.abs(vectors).argmax(1, keepdims=True)
    assert (np.take_along_axis(vectors, largest, 1) > 0).all()


def test_of_equally_large_parts_of_an_axis_the_first_is_positive():
    nearly = np.array([[[2.0, -1], [-1, 2]], [[2, -1], [-1, 2 + 1e-12]], [[2 + 1e-12, -1], [-1, 2]]])
    _, vectors = principal(nearly)
    assert_allclose(vectors, np.sqrt(0.5) * np.array([[[1, 1], [-1, 1]]] * 3))


def test_equal_eigenvalues_keep_the_order_of_the_axes():
    values, vectors = principal(np.array([np.eye(3), np.zeros((3, 3)), np.diag([1.0, 2, 1])]))
    assert_array_equal(values, [[1, 1, 1], [0, 0, 0], [2, 1, 1]])
    assert_array_equal(vectors[:2], [np.eye(3)] * 2)
    assert_array_equal(vectors[2], np.eye(3)[:, [1, 0, 2]])
