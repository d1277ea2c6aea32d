"""CUDA gives the bits that the CPU gives, in whatever pieces; its kernels run on the CPU, or on a GPU."""

import dataclasses
import logging

import numpy as np
import pytest
from hostcuda import launch
from numpy.testing import assert_array_equal

from gpuseg import backends
from gpuseg.backends import get_backend, get_backends
from gpuseg.backends._cuda import bank
from gpuseg.backends._cuda import forest as packing
from gpuseg.backends.cpu import CpuBackend, ReferenceBackend
from gpuseg.backends.cuda import CudaBackend
from gpuseg.errors import (
    BackendError,
    BackendUnavailableError,
    DeviceMemoryError,
    InputError,
    KernelError,
    ModelMismatchError,
)
from gpuseg.features.filters import FILTERS
from gpuseg.features.selection import SIGMAS, Selection
from gpuseg.features.stack import feature_stack, features_at, probabilities
from gpuseg.features.tiled import TileRunner
from gpuseg.forests.arrays import Forest
from gpuseg.tiles import pieces

CPU = CpuBackend()


def picture(*shape: int, seed: int = 0) -> np.ndarray:
    return (np.random.default_rng(seed).random(shape) * 255).astype(np.float32)


def every(sigmas=SIGMAS, in_2d=True, **more) -> Selection:
    rows = {f: [s for s in sigmas if s >= row.smallest] for f, row in FILTERS.items() if row.ilastik}
    return Selection.table(rows, in_2d=in_2d, **more)


def random_forest(
    features: int, classes: int = 3, *, trees: int = 12, depth: int = 6, steps: int = 9
) -> Forest:
    """Complete trees on numbers of 0 to 255; each feature is compared with one of `steps` thresholds."""
    rng = np.random.default_rng(features + classes)
    inner, leaves = 2**depth - 1, 2**depth
    nodes = inner + leaves
    k = np.arange(inner)
    feature = np.concatenate([rng.integers(0, features, (trees, inner)), np.full((trees, leaves), -1)], 1)
    threshold = np.zeros((trees, nodes))
    threshold[:, :inner] = rng.integers(1, steps + 1, (trees, inner)) * (100 / steps)
    mixed = rng.dirichlet(np.ones(classes), 5)
    table = np.concatenate([np.eye(classes), mixed]).astype(np.float32)
    left = np.zeros((trees, nodes), np.int64)
    left[:, :inner] = 2 * k + 1 + nodes * np.arange(trees)[:, None]
    left[:, inner:] = rng.integers(0, len(table), (trees, leaves))
    return Forest(
        feature.ravel().astype(np.int32),
        threshold.ravel().astype(np.float32),
        left.ravel().astype(np.int32),
        (nodes * np.arange(trees)).astype(np.int32),
        table,
        features,
    ).validate()


def certain(forest: Forest) -> Forest:
    """The same trees, each leaf for one class: their sums are whole numbers, so no order of adding shows."""
    classes = forest.leaves.shape[1]
    left = np.where(forest.feature < 0, forest.left % classes, forest.left).astype(np.int32)
    return dataclasses.replace(forest, left=left, leaves=np.eye(classes, dtype=np.float32))


@pytest.fixture(params=["on the host", pytest.param("on a GPU", marks=pytest.mark.gpu)])
def cuda(request) -> CudaBackend:
    if request.param == "on the host":
        request.getfixturevalue("host_cuda")
    elif not _a_gpu_answers():
        pytest.skip("no GPU")
    return get_backend("cuda")


def _a_gpu_answers() -> bool:
    import os

    try:
        return bool(get_backend("cuda"))
    except BackendUnavailableError:
        if os.environ.get("GPUSEG_REQUIRE_GPU"):
            raise
        return False


def stack(b: CudaBackend, pixels: np.ndarray, selection: Selection, core=None) -> np.ndarray:
    return b.to_numpy(feature_stack(b, b.asarray(pixels, np.float32), selection, core))


def proba(b: CudaBackend, pixels: np.ndarray, selection: Selection, forest: Forest, core=None) -> np.ndarray:
    return b.to_numpy(probabilities(b, b.asarray(pixels, np.float32), selection, forest, core))


IMAGES = {
    "all scales": ((1, 1, 45, 150), every()),
    "one row of tiles": ((1, 1, 40, 77), every(SIGMAS[:6])),
    "narrow": ((1, 1, 90, 7), every((0.3, 0.7, 1.0))),
    "smallest there is": ((1, 1, 3, 3), every((0.3,))),
    "three channels": ((3, 1, 40, 41), every((0.3, 1.0, 3.5))),
    "chosen channels": ((4, 1, 33, 40), every((1.0, 1.6), channels=(3, 1))),
    "slices by themselves": ((2, 5, 20, 33), every((0.7, 1.6))),
    "volume": ((1, 15, 16, 40), every((0.3, 0.7, 1.0, 3.5), False)),
    "two channels of a volume": ((2, 9, 17, 18), every((1.0, 1.6), False)),
    "both modes": ((1, 12, 24, 30), every((0.7, 1.6), (1.6,))),
    "unequal pixels": ((1, 10, 30, 30), every((0.7, 1.6, 3.5), False, spacing=(4.0, 1.0, 1.0))),
    "wide kernels": ((1, 1, 130, 90), every((0.45, 17.3))),
}


@pytest.mark.parametrize(("shape", "selection"), IMAGES.values(), ids=IMAGES.keys())
def test_planes_and_probabilities_are_those_of_the_cpu_bit_for_bit(cuda, shape, selection):
    pixels = picture(*shape)
    expected = feature_stack(CPU, pixels, selection)
    assert_array_equal(stack(cuda, pixels, selection), expected)
    forest = certain(random_forest(len(expected)))
    assert_array_equal(proba(cuda, pixels, selection, forest), CPU.forest_proba(expected, forest))


HOSTILE = {
    "flat": np.full((1, 9, 20, 21), 1e-6, np.float32),
    "zero": np.zeros((1, 9, 20, 21), np.float32),
    "large": picture(1, 9, 20, 21) * np.float32(1e6),
    "offset": picture(1, 9, 20, 21) + np.float32(1e5),
    "one bright pixel": np.eye(189, dtype=np.float32).reshape(1, 9, 21, 189)[..., :20].copy(),
}


@pytest.mark.parametrize("pixels", HOSTILE.values(), ids=HOSTILE.keys())
@pytest.mark.parametrize("in_2d", [True, False], ids=["2-D", "3-D"])
def test_hostile_images_are_no_exception(cuda, pixels, in_2d):
    selection = every((0.7, 1.6), in_2d)
    made = stack(cuda, pixels, selection)
    assert np.isfinite(made).all()
    assert_array_equal(made, feature_stack(CPU, pixels, selection))


@pytest.mark.parametrize("kind", ["Coded", "Narrow", "Wide"])
@pytest.mark.parametrize("classes", [2, 3, 17, 40])
def test_every_packing_gives_the_same_probabilities(cuda, monkeypatch, kind, classes):
    if kind != "Coded":
        monkeypatch.setattr(packing, "_edges", lambda *_: None)
    if kind == "Wide":
        monkeypatch.setattr(packing, "NARROW_NUMBERS", 1)
    pixels, selection = picture(1, 1, 21, 70), every((0.7, 1.6))
    mixed = random_forest(selection.count(1, 1), classes)
    planes = feature_stack(CPU, pixels, selection)
    for forest, error in ((certain(mixed), 0), (mixed, 3e-7)):  # rounding of 12 sums in two orders
        expected = CPU.forest_proba(planes, forest)
        fused = proba(cuda, pixels, selection, forest)
        assert cuda._packed[forest].packing == kind
        assert np.abs(fused - expected).max() <= error
        assert_array_equal(cuda.to_numpy(cuda.forest_proba(cuda.asarray(planes), forest)), fused)


def test_codes_are_taken_where_a_byte_tells_all_thresholds_apart(cuda):
    def kind(forest: Forest) -> str:
        return cuda._pack(forest, forest.n_features).packing

    assert kind(random_forest(8, steps=255, trees=200, depth=7)) == "Coded"
    assert kind(random_forest(8, steps=257, trees=300, depth=7)) == "Narrow"
    assert kind(random_forest(256, trees=60)) == "Coded"
    assert kind(random_forest(257, trees=60)) == "Narrow"
    assert kind(random_forest(20000, trees=400)) == "Wide"


@pytest.mark.parametrize("steps", [255, 256])
def test_numbers_at_a_threshold_and_beyond_all_numbers_go_right(cuda, steps):
    forest = random_forest(2, 2, steps=steps, trees=60, depth=8)
    at = np.unique(forest.threshold)
    rows = np.concatenate([at, np.nextafter(at, np.float32(-np.inf)), [np.nan, np.inf, -np.inf]])
    planes = np.stack([rows, rows[::-1]]).astype(np.float32)[:, None, None]
    expected = ReferenceBackend().forest_proba(planes, certain(forest))
    assert_array_equal(cuda.to_numpy(cuda.forest_proba(cuda.asarray(planes), certain(forest))), expected)


@pytest.mark.parametrize("kind", ["Coded", "Narrow", "Wide"])
def test_nodes_of_trees_may_be_mingled(cuda, monkeypatch, kind):
    """All roots, then all pairs of children of the first kind, and so on."""
    if kind != "Coded":
        monkeypatch.setattr(packing, "_edges", lambda *_: None)
    if kind == "Wide":
        monkeypatch.setattr(packing, "NARROW_NUMBERS", 1)
    forest = random_forest(5, 3, trees=7, depth=5)
    places = np.arange(len(forest.feature)).reshape(7, -1)
    old = np.concatenate([places[:, 0], places[:, 1:].reshape(7, -1, 2).transpose(1, 0, 2).ravel()])
    new = np.empty(len(old), np.int32)
    new[old] = np.arange(len(old))
    left = np.where(forest.feature < 0, forest.left, new[np.where(forest.feature < 0, 0, forest.left)])
    mixed = dataclasses.replace(
        forest,
        feature=forest.feature[old],
        threshold=forest.threshold[old],
        left=left[old],
        roots=new[forest.roots],
    ).validate()
    planes = cuda.asarray(picture(5, 1, 19, 30))
    assert_array_equal(
        cuda.to_numpy(cuda.forest_proba(planes, mixed)), cuda.to_numpy(cuda.forest_proba(planes, forest))
    )
    assert cuda._packed[mixed].packing == kind


@pytest.mark.parametrize("shape", [(), (1,), (0, 3), (2, 3)])
def test_arrays_come_back_in_their_shape(cuda, shape):
    there = cuda.asarray(np.arange(np.prod(shape), dtype=np.float32).reshape(shape))
    back = cuda.to_numpy(there)
    assert back.shape == shape
    assert_array_equal(back, np.arange(np.prod(shape)).reshape(shape))


def test_answers_beyond_a_byte_are_looked_up(cuda):
    """300 leaves that hold several classes: more than the code of a leaf can name."""
    rng = np.random.default_rng(3)
    forest = random_forest(6, 3, trees=40, depth=7)
    leaf = forest.feature < 0
    left = np.where(leaf, rng.integers(0, 300, len(leaf)), forest.left).astype(np.int32)
    leaves = rng.dirichlet(np.ones(3), 300).astype(np.float32)
    forest = dataclasses.replace(forest, left=left, leaves=leaves).validate()
    packed = cuda._pack(forest, 6)
    assert packed.packing == "Coded"
    assert packed.answers.max() > packing.MORE
    planes = picture(6, 1, 23, 41)
    found = cuda.to_numpy(cuda.forest_proba(cuda.asarray(planes), forest))
    assert np.abs(found - CPU.forest_proba(planes, forest)).max() <= 3e-7


@pytest.mark.parametrize("name", ["three channels", "slices by themselves", "volume", "both modes"])
@pytest.mark.parametrize("scratch", [2**14, 2**18])
def test_little_scratch_changes_nothing(cuda, monkeypatch, name, scratch):
    shape, selection = IMAGES[name]
    pixels, forest = picture(*shape), certain(random_forest(selection.count(*shape[:2])))
    whole, expected = stack(cuda, pixels, selection), proba(cuda, pixels, selection, forest)
    monkeypatch.setattr(cuda, "_scratch", lambda: scratch)
    assert_array_equal(stack(cuda, pixels, selection), whole)
    assert_array_equal(proba(cuda, pixels, selection, forest), expected)


@pytest.mark.parametrize("most", [0, 1000, 4000, 14000])
def test_little_shared_memory_changes_nothing(cuda, monkeypatch, most):
    """Values, sums and nodes stay there as far as they fit; without any, planes are stored."""
    shape, selection = IMAGES["three channels"]
    pixels, forest = picture(*shape), certain(random_forest(selection.count(*shape[:2])))
    expected = proba(cuda, pixels, selection, forest)
    monkeypatch.setattr(cuda, "_most_shared", lambda: most)
    again = dataclasses.replace(forest)  # packed anew
    assert_array_equal(proba(cuda, pixels, selection, again), expected)
    assert cuda._packed[again].packing == ("Coded" if most > 13312 else "Narrow")


@pytest.mark.parametrize("deep", [False, True], ids=["2-D", "3-D"])
def test_a_part_with_its_halo_equals_the_whole(cuda, deep):
    rng = np.random.default_rng(5)
    selection = every((0.7, 1.6), False) if deep else every((0.7, 1.6, 5.0))
    shape = (1, 14, 40, 45) if deep else (2, 1, 90, 140)
    pixels, forest = picture(*shape), certain(random_forest(selection.count(*shape[:2])))
    whole, likely = stack(cuda, pixels, selection), proba(cuda, pixels, selection, forest)
    for _ in range(6):
        core = tuple(slice(a := int(rng.integers(0, n)), int(rng.integers(a + 1, n + 1))) for n in shape[1:])
        read = tuple(
            slice(max(0, s.start - h), min(n, s.stop + h))
            for s, h, n in zip(core, selection.halo(shape[1]), shape[1:], strict=True)
        )
        part = pixels[(slice(None), *read)]
        inside = tuple(slice(s.start - r.start, s.stop - r.start) for s, r in zip(core, read, strict=True))
        assert_array_equal(stack(cuda, part, selection, inside), whole[(slice(None), *core)])
        assert_array_equal(proba(cuda, part, selection, forest, inside), likely[core])


@pytest.mark.parametrize("settings", [{"reverse": True}, {"guard": "after"}, {"guard": "before"}], ids=str)
def test_kernels_need_no_order_and_stay_inside_their_arrays(host_cuda, settings):
    b = get_backend("cuda")
    for name in ("one row of tiles", "three channels", "both modes"):
        shape, selection = IMAGES[name]
        pixels, forest = picture(*shape), random_forest(selection.count(*shape[:2]))
        expected = stack(b, pixels, selection), proba(b, pixels, selection, forest)
        with launch.running(**settings):
            assert_array_equal(stack(b, pixels, selection), expected[0])
            assert_array_equal(proba(b, pixels, selection, forest), expected[1])
            planes = b.to_numpy(b.forest_proba(b.asarray(expected[0]), forest))
        assert_array_equal(planes, expected[1])


def test_formulas_agree_with_the_bank(cuda):
    """The primitives, which filters of other packages are composed of."""
    from gpuseg.features.stack import formulas, whole

    for shape, in_2d in (((1, 1, 30, 33), True), ((1, 9, 16, 17), False)):
        pixels, selection = picture(*shape), every((0.7, 1.6), in_2d)
        image = cuda.asarray(pixels)
        made = cuda.to_numpy(formulas(cuda, image, selection.jobs(*shape[:2]), whole(image)))
        for a, e in zip(made, stack(cuda, pixels, selection), strict=True):
            np.testing.assert_allclose(a, e, rtol=2e-6, atol=2e-6 * max(255.0, float(np.abs(e).max())))


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "float64", "bool"])
def test_pixels_go_up_as_they_are_and_become_float32_there(cuda, dtype):
    pixels = (picture(1, 1, 30, 31) / 2).astype(dtype)
    there = cuda.asarray(pixels, np.float32)
    assert there.dtype == np.float32
    assert_array_equal(cuda.to_numpy(there), pixels.astype(np.float32))


def test_rows_of_single_pixels_come_back_alone(cuda):
    pixels, selection = picture(2, 1, 70, 80), every((0.7, 3.5))
    where = np.random.default_rng(0).integers(0, (1, 70, 80), (50, 3))
    assert_array_equal(
        features_at(cuda, pixels, selection, where), features_at(CPU, pixels, selection, where)
    )


def test_pieces_cover_a_region_in_order():
    core = (slice(2, 9), slice(5, 25), slice(0, 10))
    for pixels in (1, 10, 95, 200, 450, 10**6):
        parts = list(pieces(core, pixels))
        seen = np.zeros((10, 30, 10), int)
        places = []
        for part in parts:
            seen[part] += 1
            places.append((part[0].start, part[1].start))
        assert (seen[core] == 1).all()
        assert seen.sum() == 7 * 20 * 10
        assert places == sorted(places)
        assert pixels < 10 or max(np.prod([s.stop - s.start for s in p]) for p in parts) <= pixels


# Memory


BOTH = (lambda b, proba, planes: proba, lambda b, proba, planes: planes.transpose(1, 2, 3, 0))


def test_what_does_not_fit_is_halved_and_said(host_cuda, caplog):
    b = get_backend("cuda")
    pixels, selection = picture(1, 1, 200, 220), every((0.7, 1.6))
    forest = certain(random_forest(selection.count(1, 1)))
    core = tuple(slice(0, n) for n in pixels.shape[1:])
    expected = CPU.forest_proba(feature_stack(CPU, pixels, selection), forest)
    host_cuda.limit_bytes = 150_000  # the image alone has 176,000
    work = TileRunner(b, selection, forest, BOTH, planes=True)
    made, planes = work.run(pixels, work.upload(pixels), core)
    assert_array_equal(b.to_numpy(made), expected)
    assert_array_equal(np.moveaxis(b.to_numpy(planes), -1, 0), feature_stack(CPU, pixels, selection))
    assert "going on in smaller tiles" in caplog.text
    caplog.clear()
    proba_alone = TileRunner(b, selection, forest)
    proba_alone._most = work._most
    assert proba_alone.upload(pixels) == []  # what did not fit once is not tried again
    assert_array_equal(proba_alone.run(pixels, [], core)[0], expected)


def test_what_does_not_fit_at_all_is_computed_on_the_cpu_and_said(host_cuda, caplog):
    b = get_backend("cuda")
    pixels, selection = picture(1, 1, 150, 140), every((0.7,))
    forest = certain(random_forest(selection.count(1, 1)))
    host_cuda.limit_bytes = 1000
    work = TileRunner(b, selection, forest)
    (made,) = work.run(pixels, work.upload(pixels), tuple(slice(0, n) for n in pixels.shape[1:]))
    assert_array_equal(made, CPU.forest_proba(feature_stack(CPU, pixels, selection), forest))
    assert "computing them on the CPU" in caplog.text


def test_running_out_of_memory_says_what_to_do(host_cuda):
    b = get_backend("cuda")
    host_cuda.limit_bytes = 1000
    with pytest.raises(DeviceMemoryError, match=r"memory of the GPU(.|\n)*--gpu-memory"):
        b.asarray(picture(1, 1, 50, 50))


def test_a_limit_of_memory_makes_tiles_smaller(host_cuda):
    little, much = get_backend("cuda", "200MB"), get_backend("cuda")
    assert little is not much
    assert little.room(3) < 200_000_000 // 12 < much.room(3)
    assert much.room(3) == much.room(1) == 2**26
    assert much.room(100) * 400 <= 2**31


def test_free_memory_is_what_the_device_or_the_limit_leaves(host_cuda):
    b, capped = get_backend("cuda"), get_backend("cuda", 10**9)
    assert b.free() == host_cuda.total_bytes - host_cuda.held_bytes
    assert 0 < capped.free() <= 10**9


def test_a_full_pool_gives_up_its_blocks_before_it_refuses(host_cuda, monkeypatch):
    """CuPy's raises at its limit even if blocks that nobody uses stand in the way."""
    memory = get_backend("cuda", 10**6)._memory
    state = {"blocked": True, "refused": 0}

    def malloc(size):
        if state["blocked"] or size > 10**6:
            state["refused"] += 1
            raise host_cuda.cuda.memory.OutOfMemoryError(size, 0, 10**6)
        return "memory"

    monkeypatch.setattr(memory._pool, "malloc", malloc)
    monkeypatch.setattr(memory._pool, "free_all_blocks", lambda: state.update(blocked=False))
    assert memory._allocate(1000) == "memory"
    assert state["refused"] == 1
    with pytest.raises(host_cuda.cuda.memory.OutOfMemoryError):
        memory._allocate(10**7)


def test_memory_that_is_short_for_a_moment_makes_no_smaller_tiles(host_cuda):
    b, pixels, selection = get_backend("cuda"), picture(1, 1, 60, 70), every((0.7,))
    forest = certain(random_forest(selection.count(1, 1)))
    work = TileRunner(b, selection, forest)
    uploaded = work.upload(pixels)
    refusals = iter([True])
    host_cuda.failing = lambda size: next(refusals, False)
    (made,) = work.run(pixels, uploaded, tuple(slice(0, n) for n in pixels.shape[1:]))
    assert uploaded == []
    assert work._most is None
    assert_array_equal(b.to_numpy(made), CPU.forest_proba(feature_stack(CPU, pixels, selection), forest))


def test_transposed_arrays_come_back_without_a_copy_there(host_cuda):
    b = get_backend("cuda")
    planes = b.asarray(picture(5, 2, 30, 40))
    before = host_cuda.allocations
    turned = b.to_numpy(planes.transpose(1, 2, 3, 0))
    assert host_cuda.allocations == before
    assert_array_equal(turned, np.moveaxis(b.to_numpy(planes), 0, -1))
    assert_array_equal(b.to_numpy(planes[:, :, ::2]), b.to_numpy(planes)[:, :, ::2])


def test_without_page_locked_memory_arrays_come_back_all_the_same(host_cuda, monkeypatch):
    import cupyx

    def none(*_):
        raise host_cuda.cuda.runtime.CUDARuntimeError(2)

    monkeypatch.setattr(cupyx, "empty_pinned", none)
    assert_array_equal(get_backend("cuda").to_numpy(get_backend("cuda").asarray(np.arange(5))), np.arange(5))


def test_memory_is_given_back(host_cuda, monkeypatch):
    b, freed = get_backend("cuda"), []
    monkeypatch.setattr(b._memory._pool, "free_all_blocks", lambda: freed.append(1), raising=False)
    b.release()
    assert freed == [1]


# Finding a device


def test_without_cupy_auto_takes_the_cpu_and_says_why(monkeypatch, caplog):
    import sys

    monkeypatch.setitem(sys.modules, "cupy", None)
    monkeypatch.delenv("GPUSEG_BACKEND", raising=False)
    backends._auto.cache_clear()
    backends._open.cache_clear()
    with caplog.at_level(logging.INFO, "gpuseg"):
        assert get_backend("auto").name == "cpu"
    assert "computing on the CPU: CuPy" in caplog.text
    with pytest.raises(BackendUnavailableError, match=r"CuPy.*\n.*pip install"):
        get_backend("cuda")
    backends._auto.cache_clear()


def test_cupy_without_a_gpu_is_named(host_cuda):
    host_cuda.devices = 0
    with pytest.raises(BackendUnavailableError, match="finds no usable GPU"):
        get_backend("cuda")


def test_auto_takes_a_gpu_that_answers(host_cuda, monkeypatch, caplog):
    monkeypatch.delenv("GPUSEG_BACKEND", raising=False)
    with caplog.at_level(logging.INFO, "gpuseg"):
        assert get_backend("auto").name == "cuda"
    assert "computing on the GPU" in caplog.text


def test_devices_are_chosen_by_number(host_cuda):
    host_cuda.devices = 2
    first, second = get_backends("cuda:0,1")
    assert (first._index, second._index) == (0, 1)
    assert get_backend("cuda:1") is second
    assert get_backend("cuda") is first
    with pytest.raises(BackendUnavailableError, match="no GPU 2: 2 found"):
        get_backend("cuda:2")
    for wrong in ("cuda:", "cuda:x", "cuda:0,", "cpu:1", "gpu"):
        with pytest.raises(InputError, match="unknown backend"):
            get_backend(wrong)


@pytest.mark.parametrize(
    ("text", "expected"), [("8GB", 8 * 10**9), ("500 mb", 5 * 10**8), ("2.5G", 25 * 10**8), ("1000", 1000)]
)
def test_amounts_of_memory_are_read_as_people_write_them(text, expected):
    assert backends.parse_bytes(text) == expected


@pytest.mark.parametrize("text", ["", "0", "lots", "8XB", "-1GB"])
def test_other_amounts_are_refused(text):
    with pytest.raises(InputError, match="no amount of memory"):
        backends.parse_bytes(text)


# Errors


def test_a_kernel_that_does_not_compile_is_named(host_cuda, monkeypatch):
    from gpuseg.backends import _kernels

    monkeypatch.setattr(_kernels, "source", lambda file: "this is no kernel")
    with pytest.raises(KernelError, match=r"smooth\.cu: smooth_across does not compile"):
        stack(get_backend("cuda"), picture(1, 1, 20, 20), every((1.0,)))


def test_a_failing_device_is_an_error_of_ours(host_cuda, monkeypatch):
    b = get_backend("cuda")

    def broken(*_, **__):
        raise host_cuda.cuda.runtime.CUDARuntimeError(700)

    monkeypatch.setattr(b._kernels, "launch", broken)
    with pytest.raises(BackendError, match="the GPU failed"):
        stack(b, picture(1, 1, 20, 20), every((1.0,)))


@pytest.mark.parametrize("status", [2, 700])
def test_errors_of_the_driver_are_ours_too(host_cuda, monkeypatch, status):
    b = get_backend("cuda")
    kinds = host_cuda.cuda

    def broken(*_, **__):
        raise kinds.runtime.CUDARuntimeError(2) if status == 2 else kinds.driver.CUDADriverError(status)

    monkeypatch.setattr(b._kernels, "launch", broken)
    with pytest.raises(DeviceMemoryError if status == 2 else BackendError):
        stack(b, picture(1, 1, 20, 20), every((1.0,)))


def test_kernels_are_not_given_strided_arrays(host_cuda):
    b = get_backend("cuda")
    with pytest.raises(KernelError, match="argument 0 is not contiguous"):
        b._kernels.launch("eigenvalues2", (1,), (32,), (b.asarray(picture(4, 4))[:, ::2],))


def test_a_forest_that_asks_for_more_features_is_refused(cuda):
    with pytest.raises(ModelMismatchError, match="there are 2"):
        cuda.forest_proba(cuda.asarray(picture(2, 1, 8, 8)), random_forest(9))


def test_tables_of_old_selections_are_dropped(host_cuda):
    b, pixels = get_backend("cuda"), picture(1, 1, 20, 20)
    for sigma in np.linspace(1, 3, 15):
        stack(b, pixels, Selection.table({"gaussian_smoothing": [float(sigma)]}))
    assert len(b._banks) < 12


def test_reach_is_that_of_the_widest_filter():
    assert max(f.halo(1.0) for f in FILTERS.values()) == bank.REACH


# What is made of probabilities


@pytest.mark.parametrize("classes", [1, 2, 3, 9, 255])
def test_answers_are_those_of_the_definition(fast, classes):
    rng = np.random.default_rng(classes)
    proba = (rng.integers(0, 5, (2, 33, 41, classes)) / 4).astype(np.float32)  # many equals
    meaning = ReferenceBackend()
    assert_array_equal(fast.likeliest(proba), meaning.likeliest(proba))
    assert_array_equal(fast.doubt(proba), meaning.doubt(proba))
    values = rng.random((3, 50, 47, 2)).astype(np.float32)
    values.ravel()[:256] = np.arange(256) / np.float32(255) + np.float32(0.5 / 255)
    for dtype in ("uint8", "uint16"):
        assert fast.integers(values[..., 0], dtype).dtype == dtype
        assert_array_equal(fast.integers(values, dtype), meaning.integers(values, dtype))
