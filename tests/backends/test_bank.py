"""The fused banks equal the formulas of THE TABLE, whatever the shape, the selection or the tiling."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from gpuseg.backends._numba import threads
from gpuseg.backends.cpu import ReferenceBackend
from gpuseg.errors import ShapeError
from gpuseg.features.filters import FILTERS, pixel_filter
from gpuseg.features.selection import SIGMAS, Scale, Selection
from gpuseg.features.stack import feature_stack, features_at, formulas, whole

REFERENCE = ReferenceBackend()
ALL = tuple(FILTERS)


def image(*shape: int, seed: int = 3) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (rng.random(shape) * 255).astype(np.float32)


def every(sigmas: tuple[float, ...], in_2d: bool | tuple[float, ...], **more) -> Selection:
    rows = {f: [s for s in sigmas if s >= FILTERS[f].smallest] for f in ALL}
    return Selection.table(rows, in_2d=in_2d, **more)


def assert_same_planes(actual: np.ndarray, expected: np.ndarray) -> None:
    """Within float32 rounding of what entered: relative to the largest value of the plane's filter input."""
    assert (actual.shape, actual.dtype) == (expected.shape, np.float32)
    for a, e in zip(actual, expected, strict=True):
        assert_allclose(a, e, rtol=2e-6, atol=2e-6 * max(255.0, float(np.abs(e).max())))


CASES = {
    "one row of blocks": ((1, 1, 40, 77), every(SIGMAS[:6], True)),
    "wider than a block": ((1, 1, 37, 530), every(SIGMAS, True)),
    "narrower than a vector": ((1, 1, 90, 7), every((0.3, 0.7, 1.0), True)),
    "smallest there is": ((1, 1, 3, 3), every((0.3,), True)),
    "three channels": ((3, 1, 40, 41), every((0.3, 1.0, 3.5), True)),
    "chosen channels": ((4, 1, 40, 41), every((1.0, 1.6), True, channels=(3, 1))),
    "slices by themselves": ((1, 5, 40, 33), every((0.7, 3.5), True)),
    "volume": ((1, 20, 19, 70), every((0.3, 0.7, 1.0, 3.5), False)),
    "volume, two channels": ((2, 9, 17, 18), every((1.0, 1.6), False)),
    "volume, short axes": ((1, 4, 3, 5), every((0.3,), False)),
    "both modes": ((1, 12, 24, 40), every((0.7, 1.6, 3.5), (1.6, 3.5))),
    "unequal pixels": ((1, 10, 40, 40), every((0.7, 1.6, 3.5), False, spacing=(4.0, 1.0, 1.0))),
    "user scales": ((1, 1, 120, 110), every((0.45, 0.9, 2.25, 17.3), True)),
    "deeper than a slab": ((1, 50, 9, 9), every((0.7, 1.6), False)),
}


@pytest.mark.parametrize(("shape", "selection"), CASES.values(), ids=CASES.keys())
def test_bank_equals_formulas(fast, shape, selection):
    pixels = image(*shape)
    jobs = selection.jobs(*shape[:2])
    expected = formulas(REFERENCE, pixels, jobs, whole(pixels))
    actual = feature_stack(fast, pixels, selection)
    assert len(actual) == selection.count(*shape[:2])
    assert_same_planes(actual, expected)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("in_2d", [True, False], ids=["2-D", "3-D"])
def test_a_filter_alone_equals_it_among_all(fast, name, in_2d):
    pixels = image(1, 1 if in_2d else 10, 30, 33)
    one = feature_stack(fast, pixels, Selection.table({name: [1.0, 1.6]}, in_2d=in_2d))
    together = every((1.0, 1.6), in_2d)
    names, wanted = together.names(*pixels.shape[:2]), FILTERS[name].title
    places = [i for i, text in enumerate(names) if text.startswith(wanted)]
    assert_array_equal(one, feature_stack(fast, pixels, together)[places])


HOSTILE = {
    "flat": np.full((1, 12, 20, 20), 1e-6, np.float32),
    "zero": np.zeros((1, 12, 20, 20), np.float32),
    "large": image(1, 12, 20, 20) * np.float32(1e6),
    "offset": image(1, 12, 20, 20) + np.float32(1e5),
    "one bright pixel": np.eye(240, dtype=np.float32).reshape(1, 12, 20, 240)[..., :20].copy(),
}


@pytest.mark.parametrize("pixels", HOSTILE.values(), ids=HOSTILE.keys())
@pytest.mark.parametrize("in_2d", [True, False], ids=["2-D", "3-D"])
def test_hostile_images_give_finite_planes_in_order(fast, pixels, in_2d):
    selection = every((0.7, 1.6), in_2d)
    stack = feature_stack(fast, pixels, selection)
    assert np.isfinite(stack).all()
    expected = formulas(REFERENCE, pixels, selection.jobs(1, 12), whole(pixels))
    for a, e in zip(stack, expected, strict=True):
        # filters of an offset keep float32 digits of the offset, and the tensor squares them
        scale = max(float(np.abs(pixels).max()), 1.0 if e.max() < 1 else float(np.abs(e).max()) ** 0.5)
        assert_allclose(a, e, rtol=1e-5, atol=1e-6 * scale * max(1.0, float(np.abs(e).max()) ** 0.5))
    for text, k in ((t, i) for i, t in enumerate(selection.names(1, 12)) if t.endswith("[0]")):
        assert (stack[k] >= stack[k + 1]).all(), text


def test_eigenvalues_of_nearly_equal_axes_keep_their_digits(fast):
    """Where the textbook arc cosine loses half of them (measured there: 4e-4 of the largest)."""
    rng = np.random.default_rng(0)
    blob = np.zeros((1, 24, 24, 24), np.float32)
    blob[0, 12, 12, 12] = 1e4
    blob += rng.random(blob.shape).astype(np.float32) * 1e-3
    selection = Selection.table({"hessian_of_gaussian_eigenvalues": [1.6, 3.5]}, in_2d=False)
    expected = formulas(REFERENCE, blob.astype(np.float32), selection.jobs(1, 24), whole(blob))
    stack = feature_stack(fast, blob, selection)
    assert_allclose(stack, expected, atol=1e-6 * float(np.abs(expected).max()))


@pytest.mark.parametrize("trials", [range(30), pytest.param(range(30, 300), marks=pytest.mark.soak)], ids=str)
def test_tiled_equals_whole_bit_for_bit(fast, trials):
    rng = np.random.default_rng(11 + trials.start)
    for trial in trials:
        deep = trial % 3 == 2
        shape = (1 + trial % 2, int(rng.integers(9, 20)) if deep else 1, *rng.integers(40, 150, 2))
        some = [f for f in ALL if rng.random() < 0.6] or ["gaussian_smoothing"]
        sigmas = [s for s in (0.7, 1.0, 1.6, 5.0) if rng.random() < 0.7 and (s < 2 or not deep)] or [1.0]
        selection = Selection.table({f: sigmas for f in some}, in_2d=not deep)
        pixels = image(*shape, seed=trial)
        expected = feature_stack(fast, pixels, selection)
        halo = selection.halo(shape[1])
        core = tuple(slice(a := int(rng.integers(0, n)), int(rng.integers(a + 1, n + 1))) for n in shape[1:])
        read = [
            slice(max(0, s.start - h), min(n, s.stop + h))
            for s, h, n in zip(core, halo, shape[1:], strict=True)
        ]
        part = np.ascontiguousarray(pixels[(slice(None), *read)])
        inside = tuple(slice(s.start - r.start, s.stop - r.start) for s, r in zip(core, read, strict=True))
        jobs = selection.jobs(*shape[:2])
        assert_array_equal(fast.bank(part, jobs, inside), expected[(slice(None), *core)], err_msg=str(trial))


def test_any_number_of_threads_gives_the_same_bits(fast, monkeypatch):
    pixels, selection = image(2, 1, 150, 90), every((0.7, 3.5), True)
    stacks = []
    for n in (1, 2, 5):
        monkeypatch.setattr(threads, "cores", lambda n=n: n)
        stacks.append(feature_stack(fast, pixels, selection))
    assert_array_equal(stacks[0], stacks[1])
    assert_array_equal(stacks[0], stacks[2])


def test_a_slice_of_a_stack_is_the_same_as_alone(fast):
    pixels, selection = image(1, 6, 40, 50), every((0.7, 3.5), True)
    stack = feature_stack(fast, pixels, selection)
    for z in range(6):
        assert_array_equal(stack[:, z], feature_stack(fast, pixels[:, z : z + 1], selection)[:, 0])


def test_rows_of_single_pixels_equal_the_stack(fast):
    pixels = image(2, 7, 150, 140)
    selection = every((0.7, 3.5), True)
    rng = np.random.default_rng(5)
    where = np.stack([rng.integers(0, n, 200) for n in pixels.shape[1:]], 1)
    stack = feature_stack(fast, pixels, selection)
    assert_array_equal(features_at(fast, pixels, selection, where), stack[(slice(None), *where.T)].T)


def test_planes_go_into_the_array_given(fast):
    pixels, selection = image(1, 1, 30, 31), every((1.0,), True)
    out = np.full((selection.count(1, 1), 1, 30, 31), np.nan, np.float32)
    assert feature_stack(fast, pixels, selection, out=out) is out
    assert_array_equal(out, feature_stack(fast, pixels, selection))


def test_other_memory_layouts_give_the_same_planes(fast):
    pixels, selection = image(1, 1, 64, 66), every((1.0, 3.5), True)
    expected = feature_stack(fast, pixels, selection)
    assert_array_equal(feature_stack(fast, np.asfortranarray(pixels), selection), expected)
    wide = np.repeat(pixels, 2, axis=3)
    assert_array_equal(feature_stack(fast, wide[..., ::2], selection), expected)


def test_a_filter_of_somebody_else_runs_by_its_formula(fast):
    @pixel_filter("Gradient squared", group="Edge")
    def gradient_squared(b, plane, sigma):
        return [b.gaussian(plane, sigma, (0, 1)) ** 2]

    try:
        selection = Selection.table({"gradient_squared": [1.0], "gaussian_smoothing": [1.0]})
        stack = feature_stack(fast, image(1, 1, 20, 20), selection)
        alone = feature_stack(fast, image(1, 1, 20, 20), Selection.table({"gaussian_smoothing": [1.0]}))
        assert_allclose(stack[0], alone[0], atol=1e-4)
        assert (stack[1] >= 0).all()
        assert stack[1].max() > 0
    finally:
        del FILTERS["gradient_squared"]


def test_scales_carry_their_own_pre_smoothing():
    assert [round(Scale(s, True).presmooth, 6) for s in (0.3, 1.0, 1.6, 10.0)] == [0.3, 1.0, 1.249, 9.949874]


@pytest.mark.parametrize("depth", [5.0, 14.0, 20.0, 1000.0])
def test_slices_far_apart_are_filtered_one_by_one(fast, depth):
    """Sigmas far below a pixel leave smoothing along z out; derivatives are differences of neighbours."""
    pixels, selection = image(1, 12, 30, 31), every((0.7, 1.0, 1.6), False, spacing=(depth, 1.0, 1.0))
    stack = feature_stack(fast, pixels, selection)
    assert_same_planes(stack, formulas(REFERENCE, pixels, selection.jobs(1, 12), whole(pixels)))
    flat = feature_stack(fast, pixels, Selection.table({"gaussian_smoothing": [1.6]}))
    deep = Selection.table({"gaussian_smoothing": [1.6]}, in_2d=False, spacing=(depth, 1.0, 1.0))
    assert_allclose(feature_stack(fast, pixels, deep), flat, atol=1e-3 if depth > 10 else 4.0)


def test_spacing_counts_in_any_unit(fast):
    pixels = image(1, 12, 30, 31)
    micrometres = every((1.0, 1.6), False, spacing=(0.5, 0.25, 0.25))
    assert_array_equal(
        feature_stack(fast, pixels, micrometres),
        feature_stack(fast, pixels, every((1.0, 1.6), False, spacing=(2.0, 1.0, 1.0))),
    )


def test_kernels_are_not_given_what_does_not_fit(fast):
    pixels, selection = image(1, 1, 30, 31), every((1.0,), True)
    count = selection.count(1, 1)
    for out in (
        np.empty((count, 1, 30, 30), np.float32),
        np.empty((count, 1, 30, 31)),
        np.empty((count, 1, 30, 62), np.float32),
    ):
        there = fast.backend.asarray(out)[..., :: 1 + (out.shape[3] == 62)]
        with pytest.raises(ShapeError, match=r"contiguous float32 array of shape \(8, 1, 30, 31\)"):
            feature_stack(fast.backend, fast.backend.asarray(pixels), selection, out=there)
    with pytest.raises(ShapeError, match="pixels 0 to 32 of an axis of 31"):
        feature_stack(fast, pixels, selection, (slice(0, 1), slice(0, 30), slice(0, 32)))
