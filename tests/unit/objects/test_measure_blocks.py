"""Measured in tiles, objects are what they are in the whole image."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from gpuseg import measure
from gpuseg.errors import DeviceMemoryError, InputError
from gpuseg.objects import measure_blocks
from gpuseg.objects.choice import declared, obstacle
from gpuseg.objects.table import INTENSITY, LOCATION, OBJECT_FEATURES, object_feature

INTEGERS = ("count", "box_minimum", "box_maximum", "histogram", "minimum", "maximum")


def scene(rng, shape):
    """Blobs of any size, some touching, with ids that are not in order; and noise."""
    smooth = ndimage.gaussian_filter(rng.normal(size=shape), 1.5)
    labels, count = ndimage.label(smooth > rng.choice([-0.05, 0.05, 0.15]))
    cut = np.indices(shape).sum(0) // 9 % 2  # most blobs are two objects that touch
    ids = rng.permutation(2 * count + 2)
    return np.where(labels > 0, ids[2 * labels - cut] + 1, 0), rng.normal(100, 20, shape).astype(np.float32)


def both(labels, raw, block, features, **how):
    how = {"features": features, "backend": "cpu", "axes": "zyx"[-labels.ndim :]} | how
    return measure(labels, raw, block=block, **how), measure(labels, raw, **how)


@settings(max_examples=200)
@given(
    seed=st.integers(0, 2**32 - 1),
    shape=st.one_of(
        st.tuples(st.integers(1, 60), st.integers(1, 60)),
        st.tuples(st.integers(2, 14), st.integers(1, 24), st.integers(1, 24)),
    ),
    block=st.tuples(st.integers(1, 40), st.integers(3, 40), st.integers(3, 40)),
)
def test_integers_are_those_of_the_whole_image(seed, shape, block):
    labels, raw = scene(np.random.default_rng(seed), shape)
    tiled, whole = both(labels, raw, block, INTEGERS)
    assert list(tiled) == list(whole)
    exact = [c for c in whole if c.startswith(("Size", "Bounding", "Histogram", "original", "Min", "Max"))]
    np.testing.assert_array_equal(tiled[exact], whole[exact])


@pytest.mark.parametrize("shape", [(70, 90), (20, 30, 40)])
@pytest.mark.parametrize("block", [16, (7, 40, 25)])
def test_every_feature_is_that_of_the_whole_image(shape, block):
    labels, raw = scene(np.random.default_rng(1), shape)
    names = [n for n, row in declared().items() if not any(obstacle(row, len(shape), 1))]
    tiled, whole = both(labels, raw, block, names, margin=(4, 3, 2))
    assert list(tiled) == list(whole)
    for name in whole:
        np.testing.assert_allclose(tiled[name], whole[name], 1e-7, 1e-6, err_msg=name)


def test_time_points_and_probabilities_are_tiled_too():
    labels, raw = scene(np.random.default_rng(2), (40, 50))
    movie, under = np.stack([labels, 0 * labels, labels]), np.stack([raw, raw, raw])
    proba = np.random.default_rng(3).random((3, 40, 50, 2)).astype(np.float32)
    tiled, whole = both(movie, under, 16, ["mean"], axes="tyx", probabilities=proba)
    assert tiled["timestep"].unique().tolist() == [0, 2]
    np.testing.assert_allclose(tiled, whole, 1e-9)


def test_an_image_without_objects_has_all_columns():
    tiled, whole = both(np.zeros((40, 50), int), np.ones((40, 50)), 16, ["all"])
    assert list(tiled) == list(whole)
    assert len(tiled) == 0


def test_each_box_is_read_once_and_no_read_is_much_larger():
    """Of the labels; objects that begin in one tile are read together."""
    labels = np.zeros((64, 64), np.int64)
    labels[2:9, 2:60] = 1  # longer than a tile: by itself
    labels[10:12, 2:4] = 5
    labels[20:25, 2:6], labels[20:25, 8:12], labels[40:50, 40:50] = 2, 3, 4
    boxes = np.array(
        [[[0, 0], s[0].indices(64)[:2], s[1].indices(64)[:2]] for s in ndimage.find_objects(labels)]
    )
    boxes[:, 1:, 1] -= 1
    groups = [g.tolist() for g in measure_blocks._groups(np.array(boxes), (1, 16, 16))]
    assert sorted(groups) == [[0], [1, 2], [3], [4]]


def test_a_local_feature_sees_neighbours_as_in_the_whole_image():
    labels, raw = scene(np.random.default_rng(4), (60, 80))

    def neighbours(o):
        grown = [np.isin(o.host_labels, 0) | (o.host_labels == i + 1) for i in range(o.count)]
        count = [ndimage.binary_dilation(o.host_labels == i + 1) & ~g for i, g in enumerate(grown)]
        return np.array([len(np.unique(o.host_labels[c])) for c in count])

    tiled, whole = both(labels, raw, 16, neighbours)
    assert whole["neighbours"].max() > 0
    np.testing.assert_array_equal(tiled["neighbours"], whole["neighbours"])


def test_a_feature_that_reads_all_pixels_is_refused_in_tiles(monkeypatch):
    labels, raw = scene(np.random.default_rng(5), (30, 40))
    declared()  # what is declared already stays so

    def everything(o):
        return o.host_raw.sum() * np.ones(o.count)

    monkeypatch.setitem(OBJECT_FEATURES, "everything", None)
    object_feature("Everything", group=INTENSITY, channels="SM")(everything)
    assert len(measure(labels, raw, features="everything", backend="cpu")) > 0
    with pytest.raises(InputError, match=r"asks for the raw of all objects at once(.|\n)*local=True"):
        measure(labels, raw, features="everything", backend="cpu", block=16)


def test_a_place_without_a_number_for_each_axis_is_refused(monkeypatch):
    labels, _ = scene(np.random.default_rng(8), (30, 40))
    declared()

    def left(o):
        return o.each(lambda mask, image: 0.0)[:, 0]

    monkeypatch.setitem(OBJECT_FEATURES, "left", None)
    object_feature("Left end", group=LOCATION, unit=1, local=True)(left)
    for block in (None, 16):
        with pytest.raises(InputError, match=r"'Left end' .* shape \(\d+,\)(.|\n)*one for each axis"):
            measure(labels, features="left", backend="cpu", block=block)


def test_what_does_not_fit_on_a_device_is_measured_in_tiles(monkeypatch, caplog):
    labels, raw = scene(np.random.default_rng(6), (30, 40))
    whole = measure(labels, raw, features="mean", backend="cpu")
    monkeypatch.setattr("gpuseg.objects.measure._whole", _too_large)
    tiled = measure(labels, raw, features="mean", backend="cpu")
    np.testing.assert_allclose(tiled, whole, 1e-12)
    assert "going on in tiles" in caplog.text


def _too_large(*given):
    raise DeviceMemoryError("1 GB are needed, 1 MB is free")


def test_an_image_larger_than_memory_is_tiled_unasked(monkeypatch):
    from gpuseg.backends.cpu import CpuBackend

    labels, raw = scene(np.random.default_rng(7), (60, 80))
    seen = []
    frame = measure_blocks.frame

    def watched(source, t, block, tick):
        seen.append(block)
        return frame(source, t, block, tick)

    monkeypatch.setattr(measure_blocks, "frame", watched)
    monkeypatch.setattr(CpuBackend, "free", lambda self: 100_000)
    monkeypatch.setattr(CpuBackend, "room", lambda self, floats: 1024)
    measure(labels, raw, features="mean", backend="cpu")
    assert seen == [(1, 32, 32)]
