"""What `gpuseg.segment` makes of probabilities, against the steps done one by one, and by hand."""

import logging

import numpy as np
import pytest
from scipy import ndimage

from gpuseg.errors import InputError, ShapeError
from gpuseg.objects.segment import segment
from gpuseg.objects.settings import Settings


def blobs(shape, seed=0, width=2.0):
    """Smooth noise, stretched over 0..1."""
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).random(shape), width)
    return ((noise - noise.min()) / np.ptp(noise)).astype(np.float32)


def run(proba, **settings):
    return segment(proba, backend="cpu", **{"sigma": 0, **settings})


def connected(mask, connectivity=1):
    return ndimage.label(mask, ndimage.generate_binary_structure(mask.ndim, connectivity))


def by_size(labels, count, least, most):
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    keep = (sizes >= least) & (sizes <= most)
    keep[0] = False
    return (np.cumsum(keep) * keep)[labels], int(keep.sum())


@pytest.mark.parametrize("connectivity", [1, 2, 3])
@pytest.mark.parametrize("shape", [(50, 70), (12, 30, 25)], ids=["2d", "3d"])
def test_simple_is_threshold_components_and_size_filter(shape, connectivity):
    proba = blobs(shape)
    found = run(proba, threshold=0.55, min_size=12, max_size=400, connectivity=connectivity)
    labels = connected(proba >= np.float32(0.55), min(connectivity, proba.ndim))
    expected, count = by_size(*labels, 12, 400)
    assert 1 < count < labels[1]
    np.testing.assert_array_equal(found.labels, expected)
    assert found.labels.dtype == np.int32
    assert found.count.tolist() == [count]


@pytest.mark.parametrize("shape", [(60, 70), (12, 30, 25)], ids=["2d", "3d"])
def test_hysteresis_keeps_what_contains_a_core_of_the_right_size(shape):
    proba = blobs(shape)
    found = run(proba, method="hysteresis", low=0.5, high=0.6, min_size=6, max_size=600)
    cores, _ = by_size(*connected(proba >= np.float32(0.6)), 6, 600)
    labels, n = connected(proba >= np.float32(0.5))
    kept = np.zeros(n + 1, bool)
    kept[labels[cores > 0]] = True
    expected, count = by_size(labels * kept[labels], n, 6, 600)
    assert 0 < count < n
    np.testing.assert_array_equal(found.labels, expected)


def test_the_size_filter_includes_both_bounds():
    proba = np.zeros((9, 30), np.float32)
    for i, n in enumerate((2, 3, 4, 5, 6)):
        proba[2 * i, :n] = 1
    found = run(proba, min_size=3, max_size=5)
    assert np.bincount(found.labels.ravel())[1:].tolist() == [3, 4, 5]


def test_a_pixel_at_the_threshold_belongs_to_the_object():
    proba = np.full((4, 4), 0.3, np.float32)
    assert run(proba, threshold=0.3, min_size=1).count.tolist() == [1]
    assert run(proba, threshold=0.3001, min_size=1).count.tolist() == [0]


@pytest.mark.parametrize("core_channel", [0, 1])
def test_with_two_channels_the_low_threshold_is_applied_to_their_sum(core_channel):
    proba = np.stack([blobs((50, 60), 1), blobs((50, 60), 2)], -1)
    how = {"method": "hysteresis", "low": 0.9, "high": 0.95, "min_size": 0}
    found = run(proba, axes="yxc", channel=0, core_channel=core_channel, steps=["final", "cores"], **how)
    final = proba.sum(-1) if core_channel else proba[..., 0]
    np.testing.assert_array_equal(found.steps["final"] > 0, final >= np.float32(0.9))
    np.testing.assert_array_equal(found.steps["cores"] > 0, proba[..., core_channel] >= np.float32(0.95))
    alone = run(proba, axes="yxc", core_channel=core_channel, final_input="channel", steps=["final"], **how)
    np.testing.assert_array_equal(alone.steps["final"] > 0, proba[..., 0] >= np.float32(0.9))


def bridge():
    """Two cores on a bridge of 0.6, a gap below it, and nothing around."""
    proba = np.zeros((7, 13), np.float32)
    proba[2:5, 1:12] = 0.6
    proba[2:5, 1:4] = proba[2:5, 9:12] = 0.9
    return proba


def test_cores_merge_unless_they_are_kept_apart():
    how = {"method": "hysteresis", "low": 0.5, "high": 0.8, "min_size": 2}
    assert run(bridge(), **how).count.tolist() == [1]
    apart = run(bridge(), keep_apart=True, **how)
    assert apart.count.tolist() == [2]
    np.testing.assert_array_equal(apart.labels > 0, bridge() >= 0.5)
    assert apart.labels[3, 2] == 1
    assert apart.labels[3, 10] == 2


def test_in_ilastik_objects_kept_apart_have_a_shell_below_the_threshold():
    how = {"method": "hysteresis", "low": 0.5, "high": 0.8, "min_size": 2, "keep_apart": True}
    for shell in ({"grow_limit": "shell"}, {"compat": "ilastik"}):
        found = run(bridge(), **how, **shell)
        cross = ndimage.generate_binary_structure(2, 1)
        np.testing.assert_array_equal(found.labels > 0, ndimage.binary_dilation(bridge() >= 0.5, cross))


def test_without_cores_nothing_is_kept():
    how = {"method": "hysteresis", "low": 0.5, "high": 0.95, "min_size": 2}
    assert run(bridge(), **how).count.tolist() == [0]
    for more in ({}, {"compat": "ilastik"}):
        found = run(bridge(), keep_apart=True, **how, **more)
        assert not found.labels.any()
    as_high = run(bridge(), keep_apart=True, method="hysteresis", low=0.9, high=0.9, min_size=2)
    np.testing.assert_array_equal(as_high.labels > 0, bridge() >= np.float32(0.9))


def test_a_core_where_the_final_channel_is_low_becomes_no_object():
    proba = np.stack([np.zeros_like(bridge()), bridge()], -1)
    proba[:, :6, 0] = 0.7
    how = {"method": "hysteresis", "low": 0.5, "high": 0.8, "min_size": 0, "core_channel": 1}
    found = run(proba, axes="yxc", keep_apart=True, final_input="channel", **how)
    assert found.count.tolist() == [1]
    np.testing.assert_array_equal(found.labels > 0, proba[..., 0] > 0)


def test_growth_does_not_pass_a_pixel_that_only_rounding_brings_to_the_threshold():
    low = np.float32(0.1)
    proba = np.full((1, 9), 0.2, np.float32)
    proba[0, :3] = 1
    proba[0, 5] = np.nextafter(low, np.float32(0))
    assert np.float32(1) - proba[0, 5] == np.float32(1) - low
    found = run(proba, method="hysteresis", low=0.1, high=0.8, min_size=1, keep_apart=True)
    assert found.labels.tolist() == [[1] * 5 + [0] * 4]


def dumbbell():
    """Two discs joined by a neck."""
    y, x = np.mgrid[:30, :60]
    discs = ((y - 15) ** 2 + (x - 15) ** 2 <= 100) | ((y - 15) ** 2 + (x - 42) ** 2 <= 100)
    return (discs | ((abs(y - 15) <= 2) & (abs(x - 30) < 20))).astype(np.float32)


def test_split_parts_an_object_at_its_neck():
    assert run(dumbbell()).count.tolist() == [1]
    found = run(dumbbell(), split=2)
    assert found.count.tolist() == [2]
    np.testing.assert_array_equal(found.labels > 0, dumbbell() > 0)
    assert set(found.labels[15, :20][dumbbell()[15, :20] > 0]) == {1}
    assert set(found.labels[15, 38:][dumbbell()[15, 38:] > 0]) == {2}


def test_split_leaves_an_object_whose_neck_is_hardly_narrower():
    assert run(dumbbell(), split=9).count.tolist() == [1]
    assert run(np.ones((20, 20), np.float32), split=1).count.tolist() == [1]


def test_the_size_filter_comes_after_splitting():
    whole = int(dumbbell().sum())
    assert run(dumbbell(), max_size=whole - 1).count.tolist() == [0]
    assert run(dumbbell(), max_size=whole - 1, split=2).count.tolist() == [2]


def test_each_pixel_goes_to_its_likeliest_class():
    proba = np.stack([blobs((50, 60), seed) for seed in range(3)])
    found = run(proba, axes="cyx", classes=(1, 2), min_size=5)
    winner = proba.argmax(0)
    assert not found.labels[winner == 0].any()
    (classes,) = found.classes
    assert len(classes) == found.count[0]
    there = found.labels > 0
    np.testing.assert_array_equal(classes[found.labels[there] - 1], winner[there])
    alone = [by_size(*connected(winner == k), 5, 10**6)[1] for k in (1, 2)]
    assert [int((classes == k).sum()) for k in (1, 2)] == alone
    sure = run(proba, axes="cyx", classes=(1, 2), min_size=5, threshold=0.6)
    assert (proba.max(0)[sure.labels > 0] >= np.float32(0.6)).all()


def test_a_class_may_be_any_of_300_channels():
    proba = np.zeros((300, 8, 9), np.float32)
    proba[0] = 0.5
    proba[299, 1:4, 1:4] = proba[255, 5:7, 2:8] = 0.9
    found = run(proba, axes="cyx", classes=(255, 299), min_size=2)
    assert found.count.tolist() == [2]
    assert found.classes[0].tolist() == [299, 255]
    np.testing.assert_array_equal(found.labels == 1, proba[299] > 0)


def test_of_equally_likely_classes_the_first_wins():
    proba = np.full((3, 4, 5), 0.4, np.float32)
    proba[0] = 0.2
    assert run(proba, axes="cyx", classes=(1, 2), min_size=1).classes[0].tolist() == [1]


def test_classes_that_touch_are_split_each_by_itself():
    proba = np.stack([1 - dumbbell(), dumbbell() * (np.arange(60) < 30), dumbbell() * (np.arange(60) >= 30)])
    found = run(proba, axes="cyx", classes=(1, 2), split=2)
    assert found.count.tolist() == [2]
    assert found.classes[0].tolist() == [1, 2]
    np.testing.assert_array_equal(found.labels == 1, (dumbbell() > 0) & (np.arange(60) < 30))


def test_objects_at_the_border_can_be_dropped():
    proba = np.zeros((3, 9, 9), np.float32)
    proba[:, 3:6, 3:6] = proba[:, 0:2, 0:2] = 1
    assert run(proba, axes="tyx", min_size=2, drop_border=True).labels[:, 0, 0].tolist() == [0, 0, 0]
    assert run(proba, axes="tyx", min_size=2, drop_border=True).count.tolist() == [1, 1, 1]
    assert run(proba, axes="zyx", min_size=2, drop_border=True).count.tolist() == [0]


def test_time_points_are_independent_and_axes_stay_in_order():
    proba = np.stack([blobs((40, 50), seed) for seed in range(3)], -1)[:, None]
    found = run(proba, axes="yzxt", threshold=0.55)
    assert found.axes == "yzxt"
    assert found.labels.shape == proba.shape
    for t in range(3):
        alone = run(proba[:, 0, :, t], axes="yx", threshold=0.55)
        np.testing.assert_array_equal(found.labels[:, 0, :, t], alone.labels)
        assert found.count[t] == alone.count[0]


def test_the_smoothing_is_a_gaussian_cut_at_two_sigma_and_mirrored():
    proba = blobs((20, 30, 40), 3, 0.5)
    sigma = {"x": 1.0, "y": 2.0, "z": 0.7}
    expected = proba.astype(np.float64)
    for axis, name in enumerate("zyx"):
        r = int(2 * sigma[name] + 0.5)
        kernel = np.exp(-(np.arange(-r, r + 1) ** 2) / (2 * sigma[name] ** 2))
        expected = ndimage.correlate1d(expected, kernel / kernel.sum(), axis, mode="mirror")
    found = run(proba, sigma=tuple(sigma.values()), steps=["smoothed"]).steps["smoothed"]
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_axes_of_size_1_are_not_smoothed():
    proba = blobs((30, 40))
    flat = run(proba, sigma=(1, 2, 0), threshold=0.5)
    np.testing.assert_array_equal(flat.labels, run(proba[None], axes="zyx", sigma=(1, 2, 3)).labels[0])


def test_the_steps_asked_for_are_returned_as_they_were():
    proba = blobs((60, 70))
    how = {"method": "hysteresis", "low": 0.5, "high": 0.6, "min_size": 8}
    steps = ["smoothed", "final", "cores", "cores_after_size_filter", "before_size_filter"]
    found = run(proba, steps=steps, **how)
    assert list(found.steps) == steps
    np.testing.assert_array_equal(found.steps["smoothed"], proba)
    np.testing.assert_array_equal(found.steps["final"], connected(proba >= np.float32(0.5))[0])
    np.testing.assert_array_equal(found.steps["cores"], connected(proba >= np.float32(0.6))[0])
    kept = by_size(*connected(proba >= np.float32(0.6)), 8, 10**6)[0]
    np.testing.assert_array_equal(found.steps["cores_after_size_filter"] > 0, kept > 0)
    before = run(proba, **how | {"min_size": 0})
    assert (found.steps["before_size_filter"] > 0).sum() <= (before.labels > 0).sum()
    np.testing.assert_array_equal(run(proba, **how).labels, found.labels)
    apart = run(proba, steps=steps, keep_apart=True, **how)
    np.testing.assert_array_equal(apart.steps["final"], found.steps["final"])


@pytest.mark.parametrize(("dtype", "most"), [("uint8", 255), ("uint16", 65535)])
def test_integers_stand_for_fractions_of_their_largest_value(dtype, most, caplog):
    stored = np.round(blobs((40, 50)) * most).astype(dtype)
    with caplog.at_level(logging.INFO, "gpuseg"):
        found = run(stored, threshold=0.5)
    assert f"{dtype} is taken for probabilities 0 to 1 stored as 0 to {most}" in caplog.text
    np.testing.assert_array_equal(found.labels, run((stored / most).astype(np.float32)).labels)


def test_a_range_says_what_stands_for_0_and_1():
    proba = blobs((40, 50))
    expected = run(proba, threshold=0.5).labels
    np.testing.assert_array_equal(run(proba * 50 + 100, range=(100, 150)).labels, expected)
    counts = np.round(proba * 100).astype(np.uint32)
    np.testing.assert_array_equal(run(counts, range=(0, 100), min_size=0).labels > 0, counts >= 50)


CHANNELS_LAST = np.random.default_rng(5).dirichlet(np.ones(5), (20, 30)).astype(np.float32)


@pytest.mark.parametrize(
    ("proba", "guess", "axes"),
    [
        (CHANNELS_LAST, "zyx", "yxc"),
        (np.round(CHANNELS_LAST * 255).astype(np.uint8), "zyx", "yxc"),
        (np.moveaxis(CHANNELS_LAST, -1, 0), "zyx", "cyx"),
        (np.moveaxis(CHANNELS_LAST, -1, 0)[:, None].repeat(3, 1), "zyxc", "czyx"),
    ],
    ids=["last", "uint8", "first", "volume"],
)
def test_channels_that_a_guess_takes_for_space_are_refused(proba, guess, axes):
    with pytest.raises(InputError, match=rf"axes {guess} were guessed .* sum to 1 .*\n.*axes='{axes}'"):
        run(proba)
    assert run(proba, axes=axes, min_size=1).labels.ndim == proba.ndim - 1
    assert run(proba, axes=guess, min_size=1).count.shape == (1,)


@pytest.mark.parametrize("nothing", [np.zeros((6, 7, 5)), np.full((6, 7, 5), 0.4)], ids=["0", "2"])
def test_a_thin_volume_that_sums_to_anything_else_stays_one(nothing):
    assert run(nothing).axes == "zyx"


def test_guessed_axes_are_logged_and_named_where_a_channel_is_missing(caplog):
    proba = blobs((6, 20, 30))
    with caplog.at_level(logging.INFO, "gpuseg"):
        run(proba)
        run(proba, axes="tyx")
    assert caplog.messages == ["proba: axes zyx, guessed from the shape (6, 20, 30)"]
    for how in ({"channel": 1}, {"classes": (0,)}):
        with pytest.raises(InputError, match=r"hint: axes zyx were guessed; .* axes='yxc'"):
            run(proba, **how)
        with pytest.raises(InputError, match="hint: take channel 0"):
            run(proba, axes="zyx", **how)


def test_a_mask_is_a_probability_of_0_or_1():
    mask = blobs((40, 50)) > 0.5
    np.testing.assert_array_equal(run(mask).labels, run(mask.astype(np.float32)).labels)


PROBA = np.full((12, 15), 0.4, np.float32)
WRONG = [
    ({"proba": np.full((12, 15), np.nan)}, "proba, channel 0: has NaN; probabilities are 0 to 1"),
    ({"proba": PROBA * 4}, "proba, channel 0: has values from 1.6 to 1.6; probabilities are 0 to 1"),
    ({"proba": PROBA - 1}, "values from -0.6 to -0.6"),
    ({"proba": np.full((9, 9), 300, np.uint16), "range": (0, 255)}, "from 300 to 300; .* are 0 to 255"),
    ({"proba": np.zeros((9, 9), np.int32)}, "pixels are int32; probabilities are floats or unsigned"),
    ({"proba": np.zeros((9, 9), np.uint32)}, "nothing says which value stands for probability 1"),
    ({"proba": np.zeros((0, 9))}, "proba: axis y has size 0, shape .0, 9.: an empty image"),
    ({"proba": np.zeros(9)}, "proba: an array of 1 axes"),
    ({"axes": "xyz"}, "axes 'xyz' name 3 axes, the array has 2"),
    ({"range": (1, 0)}, "range 1 to 0; the second must be above"),
    ({"channel": 1}, "channel 1 of an image with 1 channel\n"),
    ({"proba": np.zeros((9, 9, 2)), "channel": 2}, "channel 2 of an image with 2 channels\n.*0 to 1"),
    ({"method": "hysteresis", "core_channel": 3}, "channel 3 of an image with 1 channel"),
    ({"channel": -1}, "channel -1: a whole number from 0 is needed"),
    ({"method": "watershed"}, "method 'watershed'\n  hint: one of simple, hysteresis$"),
    ({"method": "hysteresis", "low": 0.8, "high": 0.5}, "the low threshold 0.8 is above the high one, 0.5"),
    ({"threshold": 120}, "threshold 120 is outside of 0 to 1"),
    ({"threshold": float("nan")}, "threshold nan is outside"),
    ({"method": "hysteresis", "threshold": 0.5}, "threshold 0.5 changes nothing with method 'hysteresis'"),
    ({"high": 0.5}, "high 0.5 changes nothing with method 'simple'"),
    ({"min_size": 20, "max_size": 10}, "max_size 10 is below min_size 20"),
    ({"min_size": 1.5}, "min_size 1.5: a whole number"),
    ({"sigma": 4.5}, "sigma 4.5 along y is above a third of the image's 12 pixels there\n.*at most 4"),
    ({"sigma": (1, 0)}, "sigma 0 along y and 1 along x: all axes are smoothed or none"),
    ({"sigma": (1, 2, 3, 4)}, "sigma .*: one number from 0 is needed, or one each along x, y and z"),
    ({"sigma": -1}, "sigma -1: one number from 0"),
    ({"keep_apart": True}, "keep_apart needs cores to grow from, method 'simple' has none"),
    ({"method": "hysteresis", "keep_apart": True, "split": 1}, "keep_apart and split both part"),
    ({"split": 0}, "split 0: a number of pixels above 0"),
    ({"classes": (0,)}, "classes of an image with 1 channel"),
    ({"classes": (0, 1), "method": "hysteresis"}, "classes go by the winner of each pixel"),
    ({"connectivity": 4}, "connectivity 4\n  hint: one of 1, 2, 3"),
    ({"compat": "ilastik", "connectivity": 2}, "connectivity 2 with compat ilastik"),
    ({"compat": "ilastik", "drop_border": True}, "drop_border with compat ilastik"),
    ({"compat": "cellprofiler"}, "compat 'cellprofiler'\n  hint: only ilastik$"),
    ({"classes": 1}, "classes 1: several numbers are needed"),
    ({"classes": "ab"}, "classes 'ab': several numbers are needed"),
    ({"classes": ["a"]}, "classes 'a': a whole number"),
    ({"classes": (0, 1), "channel": 1}, "channel 1 changes nothing beside classes 0, 1"),
    ({"threshold": "0.5"}, "threshold '0.5': a number is needed"),
    ({"method": "hysteresis", "low": "a"}, "low 'a': a number"),
    ({"method": "hysteresis", "high": [0.5]}, "high .0.5.: a number"),
    ({"method": "hysteresis", "threshold": "a"}, "threshold a changes nothing"),
    ({"split": "a"}, "split 'a': a number"),
    ({"split": True}, "split True: a number"),
    ({"sigma": "1"}, "sigma '1': several numbers"),
    ({"sigma": None}, "sigma None: a number"),
    ({"sigma": ("1", 2)}, "sigma '1': a number"),
    ({"range": 255}, "range 255: several numbers"),
    ({"range": (0, 1, 2)}, "range .0, 1, 2.: two numbers are needed, what stands for 0 and for 1"),
    ({"range": ("0", "1")}, "range '0': a number"),
    ({"connectivity": True}, "connectivity True: a whole number"),
    ({"steps": ["edges"]}, "unknown step 'edges'"),
    ({"steps": ["cores"]}, "step 'cores': method 'simple' has no cores"),
]


@pytest.mark.parametrize(("given", "told"), WRONG, ids=[w[1][:40] for w in WRONG])
def test_what_cannot_be_segmented_is_refused_with_a_reason(given, told):
    with pytest.raises(InputError, match=f"(?s){told}"):
        run(**{"proba": PROBA} | given)


@pytest.mark.parametrize(
    "given",
    [{"keep_apart": True}, {"low": 0.5}, {"method": "hysteresis", "threshold": 0.5}, {"range": (0, 0.1)}],
    ids=str,
)
def test_a_hint_reads_on_the_command_line_too(given):
    with pytest.raises(InputError, match=r"hint: .*\(--(method|range) "):
        run(**{"proba": PROBA} | given)


def test_numbers_of_numpy_are_numbers():
    half = np.float32(0.5)
    how = {"threshold": half, "sigma": np.array([1, 2]), "range": np.array([0, 1])}
    found = run(blobs((20, 30)), connectivity=np.int64(2), channel=np.uint8(0), min_size=np.int16(3), **how)
    same = run(blobs((20, 30)), connectivity=2, min_size=3, threshold=0.5, sigma=(1, 2))
    np.testing.assert_array_equal(found.labels, same.labels)


def test_a_sigma_too_large_is_a_matter_of_shape():
    with pytest.raises(ShapeError):
        run(PROBA, sigma=5)


def test_votes_that_miss_1_by_rounding_are_taken():
    assert run(np.full((9, 9), 1 + 2e-7, np.float32)).count.tolist() == [1]


def test_settings_follow_ilastik_where_it_has_them():
    s = Settings.of()
    assert (s.channel, s.core_channel, s.sigma, s.low, s.high) == (0, 0, (1, 1, 1), 0.5, 0.8)
    assert (s.min_size, s.max_size, s.grow_limit) == (10, 1_000_000, "strict")
    assert Settings.of(compat="ilastik").grow_limit == "shell"
    assert Settings.of(sigma=(1, 2, 3)).sigma == (3, 2, 1)
