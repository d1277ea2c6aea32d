"""Tile by tile = in one piece: the same labels, numbers and classes, on every backend."""

from threading import Event

import numpy as np
import pytest
from scipy import ndimage

from gpuseg.backends import get_backend
from gpuseg.errors import Cancelled, GpusegError, ResourceError
from gpuseg.objects import whole
from gpuseg.objects.blocks import Tiled, segment_tiles
from gpuseg.objects.settings import Settings
from gpuseg.objects.thresholds import objects, see
from gpuseg.run.steps import Steps

MODES = (
    "simple",
    "hysteresis",
    "apart",
    "shell",
    "split",
    "hysteresis and split",
    "classes",
    "split classes",
)


def random_case(seed):
    """Probabilities (c, z, y, x), settings that fit them and find several objects, and the size of tiles."""
    r = np.random.default_rng(seed)
    mode = MODES[seed % len(MODES)]
    shape = (1, *r.integers(4, 60, 2)) if r.random() < 0.5 else tuple(r.integers(3, 22, 3))
    channels = int(r.integers(2 if "classes" in mode else 1, 4))
    proba = ndimage.gaussian_filter(r.random((channels, *shape)), (0, *[r.choice([0.4, 0.7, 1.5])] * 3))
    proba = (proba - proba.min()) / np.ptp(proba)
    if r.random() < 0.5:  # many pixels of the same value: the order of growth matters
        proba = np.round(proba * 20) / 20
    smooth = np.minimum(np.array(shape[::-1]) / 3.1, r.uniform(0.3, 1, 3))
    how = {
        "min_size": int(r.integers(0, 4)),
        "max_size": int(r.choice([60, 10**6, 10**6])),
        "connectivity": int(r.integers(1, 4)),
        "drop_border": bool(r.random() < 0.2),
        "sigma": 0 if r.random() < 0.5 else tuple(smooth),
    }
    if mode.startswith("hysteresis") or mode in ("apart", "shell"):
        core, both = int(r.integers(0, channels)), bool(r.random() < 0.5)
        final = proba[0] + proba[core] if both and core else proba[0]
        high = np.quantile(proba[core], r.uniform(0.7, 0.85))
        low = min(high, np.quantile(final, r.uniform(0.5, 0.8)))
        how |= {"method": "hysteresis", "low": low, "high": high, "core_channel": core}
        how |= {"final_input": "sum" if both else "channel", "keep_apart": mode in ("apart", "shell")}
    elif "classes" in mode:
        how |= {"classes": r.permutation(channels)[: r.integers(1, channels + 1)].tolist()}
    else:
        how |= {"threshold": np.quantile(proba[0], r.uniform(0.5, 0.85))}
    if mode == "shell":
        how |= {"grow_limit": "shell"}
    if "split" in mode:
        how |= {"split": float(r.uniform(0.3, 2))}
    size = r.integers(1, 5, 3) if r.random() < 0.3 else r.integers(2, 14, 3)
    return proba.astype(np.float32), Settings.of(**how), tuple(int(n) for n in size)


def in_tiles(b, proba, s, size, steps=None):
    """Labels made tile by tile, -1 where none were written, and what was found."""
    labels = np.full(proba.shape[1:], -1, np.int32)
    proba = proba[s.channels(len(proba))]

    def read(region):
        return b.asarray(np.ascontiguousarray(proba[(slice(None), *region)]))

    def write(region, values):
        assert (labels[region] == -1).all(), "written twice"
        labels[region] = values

    found = segment_tiles(Tiled(b, read, labels.shape, size, s), write, steps or Steps("proba"))
    return labels, found


def check(b, seed):
    proba, s, size = random_case(seed)
    sigma = s.smoothing(proba.shape[1:])
    expected = objects(b, see(b, b.asarray(proba[s.channels(len(proba))]), s, sigma), s)
    labels, found = in_tiles(b, proba, s, size)
    np.testing.assert_array_equal(labels, b.to_numpy(expected.labels), err_msg=f"case {seed}: {s}")
    assert found.count == expected.count == labels.max(initial=0)
    if s.classes:
        np.testing.assert_array_equal(found.classes, expected.classes)
    return found.count


@pytest.mark.parametrize("first", range(8), ids=MODES)
def test_tile_by_tile_is_as_in_one_piece(first):
    counts = [check(get_backend("cpu"), seed) for seed in range(first, first + 40, 8)]
    assert sum(counts) > 15


@pytest.mark.soak
@pytest.mark.parametrize("first", range(200, 400, 20))
def test_tile_by_tile_is_as_in_one_piece_in_many_cases(first):
    for seed in range(first, first + 20):
        check(get_backend("cpu"), seed)


def check_kernels(seed):
    """Labels of CUDA kernels, in one piece and in tiles, are those of the CPU."""
    b, cpu = get_backend("cuda"), get_backend("cpu")
    proba, s, size = random_case(seed)
    sigma = s.smoothing(proba.shape[1:])
    channels = s.channels(len(proba))
    expected = objects(cpu, see(cpu, proba[channels], s, sigma), s)
    made = objects(b, see(b, b.asarray(proba[channels]), s, sigma), s)
    np.testing.assert_array_equal(b.to_numpy(made.labels), expected.labels, err_msg=f"{seed}: {s}")
    labels, found = in_tiles(b, proba, s, size)
    np.testing.assert_array_equal(labels, expected.labels, err_msg=f"{seed}: {s}")
    assert made.count == found.count == expected.count
    if s.classes:
        np.testing.assert_array_equal(made.classes, expected.classes)
        np.testing.assert_array_equal(found.classes, expected.classes)


@pytest.mark.parametrize("first", range(8), ids=MODES)
def test_kernels_label_as_the_cpu_does_also_in_tiles(host_cuda, first):
    for seed in (first, first + 8):
        check_kernels(seed)


@pytest.mark.soak
@pytest.mark.parametrize("first", range(200, 400, 20))
def test_kernels_label_as_the_cpu_does_in_many_cases(host_cuda, first):
    for seed in range(first, first + 20):
        check_kernels(seed)


def test_more_classes_than_a_byte_holds_are_told_apart_by_kernels_and_in_tiles(host_cuda):
    proba = np.zeros((300, 1, 8, 9), np.float32)
    proba[0] = 0.5
    proba[299, :, 1:4, 1:4] = proba[255, :, 5:7, 2:8] = 0.9
    s = Settings.of(classes=(255, 299), sigma=0, min_size=2)
    for b in (get_backend("cuda"), get_backend("cpu")):
        labels, found = in_tiles(b, proba, s, (1, 5, 5))
        assert found.classes.tolist() == [299, 255]
        np.testing.assert_array_equal(labels, (proba[299] > 0) + 2 * (proba[255] > 0))
        whole = objects(b, see(b, b.asarray(proba), s, {}), s)
        np.testing.assert_array_equal(b.to_numpy(whole.labels), labels)
        assert whole.classes.tolist() == [299, 255]


def snake(shape=(1, 24, 30)):
    """One object that winds through every tile, and a speck."""
    proba = np.zeros(shape, np.float32)
    for y in range(1, shape[1] - 4, 4):
        proba[:, y, 1:-1] = 1
        proba[:, y : y + 4, 1 if y // 4 % 2 else -2] = 1
    proba[:, -1, 0] = 1
    return proba[None]


@pytest.mark.parametrize("keep_apart", [False, True])
def test_the_size_of_an_object_is_that_in_the_whole_image(keep_apart):
    how = {"method": "hysteresis", "low": 0.5, "high": 0.5, "sigma": 0, "keep_apart": keep_apart}
    size = int(snake().sum()) - 1
    for least, count in ((size, 1), (size + 1, 0)):
        labels, found = in_tiles(get_backend("cpu"), snake(), Settings.of(min_size=least, **how), (1, 5, 7))
        assert found.count == count
        assert (labels == 1).sum() == count * size


def test_a_core_counts_wherever_in_the_object_it_is():
    proba = snake() * np.float32(0.6)
    proba[0, 0, 1, 3:6] = 0.9
    s = Settings.of(method="hysteresis", low=0.5, high=0.8, sigma=0, min_size=3)
    labels, found = in_tiles(get_backend("cpu"), proba, s, (1, 4, 4))
    assert found.count == 1
    np.testing.assert_array_equal(labels > 0, (proba[0] >= 0.5) & (labels > 0))
    assert (labels > 0).sum() == (proba[0] >= 0.5).sum() - 1


def test_costs_are_measured_from_the_largest_value_of_the_whole_image():
    """From 1, two cores of nearly the same value cost the same; from their own they would not."""
    proba = np.zeros((1, 1, 1, 20), np.float32)
    proba[0, 0, 0, 2:5] = [0.03, 0.02, np.nextafter(np.float32(0.03), np.float32(1))]
    proba[0, 0, 0, 17:] = 1
    s = Settings.of(
        method="hysteresis", low=0.01, high=0.03, sigma=0, min_size=0, keep_apart=True, grow_limit="strict"
    )
    labels, found = in_tiles(get_backend("cpu"), proba, s, (1, 1, 10))
    assert found.count == 3
    assert labels[0, 0, 2:5].tolist() == [1, 1, 2]


def test_an_object_too_large_to_be_grown_in_one_piece_is_refused(monkeypatch):
    monkeypatch.setattr(whole, "BYTES", get_backend("cpu").free() / 500)
    s = Settings.of(method="hysteresis", low=0.5, high=0.5, sigma=0, keep_apart=True)
    with pytest.raises(ResourceError, match=r"touching objects fill a box of [0-9]{3} pixels, .* for [45]"):
        in_tiles(get_backend("cpu"), snake(), s, (1, 5, 7))


def test_a_full_disk_is_told_before_work_is_lost(monkeypatch):
    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", full)
    s = Settings.of(split=1, sigma=0)
    with pytest.raises(ResourceError, match=r"2,880 bytes for provisional labels: No space left.*\n.*TMPDIR"):
        in_tiles(get_backend("cpu"), snake(), s, (1, 5, 7))


def test_it_stops_within_a_tile_when_told_to():
    stop, seen = Event(), []

    def progress(done, total):
        seen.append(done)
        if len(seen) == 4:
            stop.set()

    steps = Steps("proba", progress, stop)
    steps.stage(20)
    with pytest.raises(Cancelled, match="proba: stopped after 20 % of"):
        in_tiles(get_backend("cpu"), snake(), Settings.of(), (1, 5, 7), steps)
    assert seen == [0, 5, 10, 15]
    assert issubclass(Cancelled, GpusegError)
