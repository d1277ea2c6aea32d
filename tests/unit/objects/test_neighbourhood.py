"""Intensities around objects equal those of one object at a time: crop, distance transform, accumulate."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import ndimage

from gpuseg.backends import get_backend
from gpuseg.backends._numba import threads
from gpuseg.errors import InputError
from gpuseg.objects.context import Objects
from gpuseg.objects.neighbourhood import REGIONS, ROWS, rings
from gpuseg.objects.table import OBJECT_FEATURES

Mask = np.ndarray
ALONE: dict[str, Callable[[Any], Any]] = {  # values (c, pixels) of one region -> the feature
    "mean": lambda v: v.mean(1),
    "variance": lambda v: v.var(1),
    "skewness": lambda v: _standard(v, 3),
    "kurtosis": lambda v: _standard(v, 4) - 3,
    "minimum": lambda v: v.min(1),
    "maximum": lambda v: v.max(1),
    "total": lambda v: v.sum(1),
    "histogram": lambda v: np.stack([np.histogram(c, 64)[0] for c in v]),
    "covariance": lambda v: np.cov(v, bias=True),
}


def _standard(v: Any, k: int) -> Any:
    away = v - v.mean(1, keepdims=True)
    return (away**k).mean(1) / (away**2).mean(1) ** (k / 2)


def alone(o: Objects, i: int) -> tuple[Mask, Mask]:
    """Ring, and object with ring, of object i + 1 by itself, as masks of the image."""
    labels, margin = o.host_labels, o.margin if o.ndim == 3 else (0, *o.margin[1:])
    most = max(margin)
    box = ndimage.find_objects(labels)[i]
    crop = tuple(slice(max(s.start - m, 0), s.stop + m) for s, m in zip(box, margin, strict=True))
    mine = labels == i + 1
    pitch = [most // m if m else 1e9 for m in margin]  # nothing leaves along an axis without margin
    both = np.zeros_like(mine)
    both[crop] = ndimage.distance_transform_edt(~mine[crop], sampling=pitch) < most
    return both & ~mine, both


def blobs(shape: tuple[int, ...], level: float, seed: int = 0) -> np.ndarray:
    """Objects of all shapes, touching and at the border: regions of equal level of a smooth random image."""
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), [1] * len(shape))
    labels, n = ndimage.label(noise > level * noise.std())
    cut = np.arange(shape[-1]) // (shape[-1] // 2)  # touching objects: each blob across the middle is two
    return np.where(labels, labels + n * cut, 0)


def objects(
    labels: np.ndarray, channels: int = 1, margin: tuple[int, ...] = (1, 5, 5), **more: Any
) -> Objects:
    ids = np.unique(labels)
    labels = np.searchsorted(ids, labels).astype(np.int32) + (0 if ids[0] == 0 else 1)
    labels = labels.reshape((1,) * (3 - labels.ndim) + labels.shape)
    rng = np.random.default_rng(7)
    raw = rng.gamma(2, 40, size=(channels, *labels.shape)).astype(np.float32)
    b = get_backend("cpu")
    return Objects(b, labels, int(labels.max()), raw, margin=margin, **more)


CASES = {
    "2D": lambda: objects(blobs((70, 81), 1.2)),
    "2D, default margin": lambda: objects(blobs((70, 81), 2.2), margin=(1, 30, 30)),
    "2D, other margins": lambda: objects(blobs((50, 61), 1.5), margin=(9, 4, 11)),
    "2D, along x only": lambda: objects(blobs((30, 41), 1.5), margin=(1, 0, 6)),
    "2D, margin 2": lambda: objects(blobs((30, 41), 1.5), margin=(1, 1, 2)),
    "three channels": lambda: objects(blobs((50, 61), 1.2), 3),
    "3D": lambda: objects(blobs((14, 25, 26), 1.6), margin=(3, 3, 3)),
    "3D, default margin": lambda: objects(blobs((9, 45, 46), 1.9), margin=(1, 30, 30)),
    "3D, flat margin": lambda: objects(blobs((12, 25, 26), 1.6), margin=(2, 5, 7)),
    "3D, no slices": lambda: objects(blobs((12, 25, 26), 1.6), margin=(0, 5, 5)),
    "3D, tall margin": lambda: objects(blobs((20, 15, 16), 1.6), 2, margin=(8, 3, 0)),
    "one row": lambda: objects(blobs((1, 300), 0.5)),
    "scattered pixels": lambda: objects(
        np.random.default_rng(3).integers(0, 9, (31, 32)) % 4, margin=(1, 3, 3)
    ),
    "far apart": lambda: objects(np.eye(40, dtype=int) * (np.arange(40) % 13 == 0), margin=(1, 4, 4)),
}


@pytest.mark.parametrize("case", CASES)
def test_all_at_once_equal_one_at_a_time(case: str) -> None:
    o = CASES[case]()
    assert o.count > 2 or case in ("scattered pixels", "far apart")
    masks = [alone(o, i) for i in range(o.count)]
    for name, _, _, channels, _ in ROWS:
        if channels == ("S" if o.channels > 1 else "M"):
            continue
        for region, where in enumerate(REGIONS):
            row = OBJECT_FEATURES[f"{name}_{where.replace(' ', '_')}"]
            values = [o.host_raw[:, m[region]].astype(np.float64) for m in masks]
            expected = np.stack([ALONE[name](v) for v in values]).reshape(o.count, -1)
            measured = row.formula(o)
            assert measured.dtype == np.float64
            if name == "histogram":  # a value on the border of two bins may be rounded into the other
                assert (measured != expected).mean() < 1e-3
                assert_array_equal(measured.sum(1), expected.sum(1))
            else:
                assert_allclose(measured, expected, rtol=1e-9, atol=1e-9, err_msg=row.title)


def test_histograms_of_whole_numbers_are_exact() -> None:
    o = objects(blobs((50, 60), 1.4))
    o.raw[...] = np.random.default_rng(0).integers(0, 65, o.raw.shape)
    found = rings(o)["histogram"]
    for i in range(o.count):
        for region, mask in enumerate(alone(o, i)):
            values = o.host_raw[0][mask].astype(int)
            if (values.min(), values.max()) == (0, 64):
                expected = np.bincount(np.minimum(values, 63), minlength=64)
                assert_array_equal(found[region, i, 0], expected)


def test_the_brightest_object_does_not_change_the_range_of_its_ring() -> None:
    o = objects(np.pad(np.ones((3, 3), int), 5))
    o.raw[...] = np.arange(o.raw.size).reshape(o.raw.shape) % 64
    o.raw[o.host_labels[None] == 1] = 1000
    ring, both = rings(o)["histogram"][:, 0, 0]
    assert both[63] == 9
    assert ring.sum() + 9 == both.sum()
    assert (ring[1:] > 0).sum() > 50
    assert (both[:63] > 0).sum() < 6


def test_values_all_alike_have_no_spread() -> None:
    o = objects(blobs((40, 41), 1.3))
    o.raw[...] = 0.1
    found = rings(o)
    assert not found["moments"].any()
    assert_array_equal(found["extremes"], np.full_like(found["extremes"], np.float32(0.1)))
    assert (rings(o)["histogram"][..., 0] == found["count"][..., None]).all()
    assert np.isnan(OBJECT_FEATURES["skewness_in_neighborhood"].formula(o)).all()


def test_an_object_that_fills_the_image_has_no_ring() -> None:
    o = objects(np.ones((9, 12), int))
    assert rings(o)["count"][:, 0].tolist() == [0, 108]
    assert OBJECT_FEATURES["total_in_neighborhood"].formula(o) == 0
    assert not OBJECT_FEATURES["histogram_in_neighborhood"].formula(o).any()
    for name in ("mean", "variance", "minimum", "maximum", "kurtosis"):
        assert np.isnan(OBJECT_FEATURES[f"{name}_in_neighborhood"].formula(o)).all()
    assert_allclose(
        OBJECT_FEATURES["mean_in_object_and_neighborhood"].formula(o),
        o.host_raw.astype(float).mean(),
        rtol=1e-12,
    )


def test_ids_without_pixels_and_no_objects_at_all_are_no_trouble() -> None:
    labels = np.zeros((1, 20, 20), np.int32)
    labels[0, 4:8, 5:9] = 3
    raw = np.random.default_rng(0).random((1, 1, 20, 20), np.float32)
    found = rings(Objects(get_backend("cpu"), labels, 3, raw, margin=(1, 3, 3)))
    assert found["count"][:, :2].sum() == 0
    assert found["count"][1, 2] == found["count"][0, 2] + 16
    none = Objects(get_backend("cpu"), np.zeros((1, 4, 4), np.int32), 0, raw[..., :4, :4], margin=(1, 3, 3))
    for name, _, _, _, _ in ROWS[:8]:
        assert OBJECT_FEATURES[f"{name}_in_neighborhood"].formula(none).shape[0] == 0


@pytest.mark.parametrize("margin", [(5, 0, 0), (5, 1, 0)])
def test_a_margin_that_leaves_nothing_is_an_error_that_says_so(margin: tuple[int, ...]) -> None:
    said = rf"margin of {max(margin[1:])} leaves.*nearer than that\n.*margin from 2 pixels"
    with pytest.raises(InputError, match=said):
        rings(objects(blobs((20, 20), 1), margin=margin))


def test_threads_change_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    o = objects(blobs((200, 210), 1.2), 2, margin=(1, 20, 20))
    first = rings(o)
    cut = objects(blobs((200, 210), 1.2), 2, margin=(1, 20, 20))
    monkeypatch.setattr(threads, "cores", lambda: 1)
    for name, values in rings(cut).items():
        assert_array_equal(values, first[name])


@pytest.mark.usefixtures("host_cuda")
def test_arrays_on_a_device_give_the_same_numbers() -> None:
    o, b = objects(blobs((40, 41), 1.2), 2), get_backend("cuda")
    there = Objects(b, b.asarray(o.labels), o.count, b.asarray(o.raw), margin=o.margin)
    for name, values in rings(there).items():
        assert_allclose(values, rings(o)[name], rtol=1e-9, atol=1e-9 * np.abs(values).max(initial=1))


def test_titles_are_those_of_ilastik() -> None:
    titles = {OBJECT_FEATURES[f"{name}_in_neighborhood"].title for name, *_ in ROWS}
    assert {"Mean Intensity in neighborhood", "Minimum intensity in neighborhood"} <= titles
    assert OBJECT_FEATURES["mean_in_neighborhood"].ilastik == "Mean in neighborhood"
    both = OBJECT_FEATURES["total_in_object_and_neighborhood"]
    assert (both.title, both.ilastik) == (
        "Total Intensity in object and neighborhood",
        "Sum in object and neighborhood",
    )
