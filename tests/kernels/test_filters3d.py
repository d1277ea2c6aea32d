"""The 3D filters on the device give the bits of the Numba bank, whatever the core and the selection."""

import numpy as np
import pytest
from hostcuda import running
from numpy.testing import assert_allclose, assert_array_equal

from gpuseg.backends._cuda import deep
from gpuseg.backends._kernels import Kernels
from gpuseg.backends._numba.pipeline import store_planes
from gpuseg.backends.base import Job
from gpuseg.backends.plan import FILTERS, VECTORS, Step, plan, plane_count

ASIS = (np.array([1, 0], np.float32),) * 3  # pre-smoothing that changes nothing: volumes are what filters see
SIGMAS = {"one": (1.0, 1.0, 1.0), "thick slices": (0.4, 1.0, 1.0), "all differ": (0.9, 0.5, 0.3)}


def volumes(*shape: int, seed: int = 5) -> np.ndarray:
    return (np.random.default_rng(seed).random(shape) * 255).astype(np.float32)


def steps(*rows: tuple[tuple[float, ...], tuple[str, ...]]) -> list[Step]:
    """One step a row of sigmas and filters, each on a channel of its own."""
    jobs, first = [], 0
    for channel, (sigma, names) in enumerate(rows):
        planes = []
        for name in names:
            planes.append((name, first))
            first += 3 if name in VECTORS else 1
        jobs.append(Job(channel, False, sigma, sigma, tuple(planes)))
    made = plan(jobs)
    return [Step(s.channel, s.flat, ASIS, s.taps, s.planes) for s in made]


def around(core: tuple[slice, ...], shape: tuple[int, ...]) -> tuple[slice, ...]:
    """What a backend smooths for a core: 3 voxels more on each side, within the image."""
    return tuple(slice(max(0, s.start - 3), min(n, s.stop + 3)) for s, n in zip(core, shape, strict=True))


def on_device(xp, image: np.ndarray, todo: list[Step], core: tuple[slice, ...]) -> np.ndarray:
    box = around(core, image.shape[1:])
    smooth = xp.asarray(np.ascontiguousarray(image[(slice(None), *box)]))
    out = xp.asarray(filled(todo, core))
    tables, origin = deep.Tables.of(xp, todo), [s.start for s in box]
    deep.filters(Kernels(xp), smooth, tables, origin, image.shape[1:], core, out)
    return xp.asnumpy(out)


def on_host(image: np.ndarray, todo: list[Step], core: tuple[slice, ...]) -> np.ndarray:
    out = filled(todo, core)
    store_planes(image, todo, core, out)
    return out


def filled(todo: list[Step], core: tuple[slice, ...]) -> np.ndarray:
    return np.full((plane_count(todo), *(s.stop - s.start for s in core)), np.nan, np.float32)


def whole(image: np.ndarray) -> tuple[slice, ...]:
    return tuple(slice(0, n) for n in image.shape[1:])


SHAPES = {
    "odd": (11, 13, 31),
    "more than a block": (17, 9, 59),
    "several marches": (3, 70, 20),
    "one voxel": (1, 1, 1),
    "two": (2, 2, 2),
    "a line along z": (12, 1, 1),
    "a line along x": (1, 1, 60),
    "one slice": (1, 9, 12),
    "two slices": (2, 8, 30),
    "three slices": (3, 5, 7),
    "two columns": (9, 9, 2),
    "three rows": (9, 3, 29),
}


@pytest.mark.parametrize("sigma", SIGMAS.values(), ids=SIGMAS.keys())
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
def test_planes_of_a_whole_volume_have_the_bits_of_the_cpu(host_cuda, shape, sigma):
    image, todo = volumes(1, *shape), steps((sigma, FILTERS))
    assert_array_equal(on_device(host_cuda, image, todo, whole(image)), on_host(image, todo, whole(image)))


CONTENTS = {
    "flat": np.full((1, 9, 9, 30), 3.7, np.float32),
    "zero": np.zeros((1, 9, 9, 30), np.float32),
    "one bright voxel": np.float32(1e4) * (np.arange(2430) == 1300).reshape(1, 9, 9, 30).astype(np.float32),
    "an offset": volumes(1, 9, 9, 30) + np.float32(1e5),
    "signs": volumes(1, 9, 9, 30) - np.float32(127.5),
    "a ramp along x": np.tile(np.arange(30, dtype=np.float32), (1, 9, 9, 1)),
}


@pytest.mark.parametrize("image", CONTENTS.values(), ids=CONTENTS.keys())
def test_hostile_volumes_have_the_bits_of_the_cpu(host_cuda, image):
    todo = steps((SIGMAS["one"], FILTERS))
    planes = on_device(host_cuda, image, todo, whole(image))
    assert np.isfinite(planes).all()
    assert_array_equal(planes, on_host(image, todo, whole(image)))


@pytest.mark.parametrize("name", FILTERS)
def test_a_filter_alone_has_the_bits_of_the_cpu(host_cuda, name):
    image, todo = volumes(1, 9, 10, 33), steps((SIGMAS["all differ"], (name,)))
    assert_array_equal(on_device(host_cuda, image, todo, whole(image)), on_host(image, todo, whole(image)))


def test_steps_that_want_different_filters_share_launches(host_cuda):
    todo = steps(
        (SIGMAS["one"], FILTERS[3:]),
        (SIGMAS["thick slices"], ("structure_tensor_eigenvalues",)),
        (SIGMAS["all differ"], FILTERS[1:3]),
        (SIGMAS["one"], FILTERS[::-1]),
    )
    image = volumes(4, 10, 9, 30)
    assert_array_equal(on_device(host_cuda, image, todo, whole(image)), on_host(image, todo, whole(image)))


SHAPE = (20, 21, 64)
CORES = {
    "first corner": (slice(0, 5), slice(0, 6), slice(0, 30)),
    "last corner": (slice(13, 20), slice(14, 21), slice(30, 64)),
    "inside": (slice(6, 12), slice(5, 14), slice(7, 40)),
    "one voxel of the corner": (slice(0, 1), slice(20, 21), slice(63, 64)),
    "one voxel inside": (slice(7, 8), slice(9, 10), slice(30, 31)),
    "two from borders": (slice(2, 18), slice(2, 19), slice(2, 62)),
    "one from borders": (slice(1, 19), slice(1, 20), slice(1, 63)),
}


@pytest.mark.parametrize("core", CORES.values(), ids=CORES.keys())
def test_a_core_has_the_bits_of_the_cpu(host_cuda, core):
    image, todo = volumes(2, *SHAPE), steps((SIGMAS["one"], FILTERS), (SIGMAS["thick slices"], FILTERS))
    assert_array_equal(on_device(host_cuda, image, todo, core), on_host(image, todo, core))


@pytest.mark.parametrize("core", CORES.values(), ids=CORES.keys())
def test_nothing_outside_of_the_box_is_read(host_cuda, core):
    """Every voxel that a core needs lies within 3 of it: the rest may be anything, or no memory at all."""
    image, todo = volumes(1, *SHAPE), steps((SIGMAS["one"], FILTERS))
    hidden, box = np.full_like(image, np.nan), (slice(None), *around(core, SHAPE))
    hidden[box] = image[box]
    for guard in ("before", "after"):
        with running(guard=guard):
            assert_array_equal(on_device(host_cuda, hidden, todo, core), on_host(image, todo, core))


def test_the_order_of_threads_does_not_show(host_cuda):
    image, todo = volumes(2, 20, 40, 70), steps((SIGMAS["one"], FILTERS), (SIGMAS["all differ"], FILTERS))
    forwards = on_device(host_cuda, image, todo, whole(image))
    with running(reverse=True):
        assert_array_equal(on_device(host_cuda, image, todo, whole(image)), forwards)


def test_numbers_that_the_device_flushes_stay_finite(host_cuda):
    """CuPy compiles with -ftz=true: what is subnormal counts as 0, and nothing may become NaN of that."""
    image, todo = volumes(1, 9, 9, 30) * np.float32(1e-39), steps((SIGMAS["one"], FILTERS))
    with running(flush=True):
        planes = on_device(host_cuda, image, todo, whole(image))
    assert_allclose(planes, on_host(image, todo, whole(image)), atol=1e-37)


def test_kernels_that_no_step_needs_are_not_launched(host_cuda, monkeypatch):
    image, launched = volumes(1, 4, 5, 6), []
    launch = Kernels.launch
    monkeypatch.setattr(
        Kernels, "launch", lambda self, name, *rest: launched.append(name) or launch(self, name, *rest)
    )
    for names in (("structure_tensor_eigenvalues",), FILTERS[:2]):
        on_device(host_cuda, image, steps((SIGMAS["one"], names)), whole(image))
    assert launched == ["tensor3d", "filters3d"]
