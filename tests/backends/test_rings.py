"""Sums over rings: CUDA and the compiled way of the CPU agree; pixels, extremes and histograms to the bit."""

from typing import Any

import numpy as np
import pytest
from hostcuda import launch
from hostcuda.launch import KernelFault
from numpy.testing import assert_allclose, assert_array_equal

from gpuseg.backends import _kernels, get_backend
from gpuseg.backends._cuda import rings as device_rings
from gpuseg.backends._numba import rings as host_rings
from gpuseg.backends.rings import ring_sums

Sums = dict[str, np.ndarray]
EXACT = ("count", "extremes", "histogram")


def cells(*shape: int, share: float = 0.25, side: int = 3, seed: int = 0) -> np.ndarray:
    """Objects in blocks of some pixels: touching, at the border, some in several pieces."""
    rng = np.random.default_rng(seed)
    coarse = np.zeros([-(-n // side) for n in shape], np.int32)
    here = rng.random(coarse.shape) < share
    coarse[here] = rng.integers(1, max(2, here.sum() // 2), here.sum())
    labels = coarse.repeat(side, 0).repeat(side, 1).repeat(side, 2)[tuple(slice(n) for n in shape)]
    labels[rng.random(shape) < 0.1] = 0
    _, labels = np.unique(labels, return_inverse=True)
    return labels.reshape(shape).astype(np.int32)


def pixels(channels: int, shape: tuple[int, ...], seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).gamma(2, 40, (channels, *shape)).astype(np.float32)


def boxes(labels: np.ndarray, count: int) -> np.ndarray:
    return get_backend("cpu").region_sums(labels, count, None, ["box"])["box"]


def expected(labels: np.ndarray, values: np.ndarray, margin: tuple[int, int, int], count: int) -> Sums:
    return host_rings.sums(labels, values, boxes(labels, count), margin)


def found(b: Any, labels: np.ndarray, values: np.ndarray, margin: tuple[int, int, int], count: int) -> Sums:
    return ring_sums(b, b.asarray(labels), b.asarray(values), boxes(labels, count), margin)


def same(a: Sums, e: Sums) -> None:
    """Exact kinds equal; the rest to rounding, relative to the largest number of the kind."""
    assert set(a) == set(e)
    for name in e:
        assert (a[name].dtype, a[name].shape) == (e[name].dtype, e[name].shape), name
        if name in EXACT:
            assert_array_equal(a[name], e[name], err_msg=name)
        else:
            scale = 1e-9 * np.abs(e[name]).max(initial=1e-3)
            assert_allclose(a[name], e[name], rtol=1e-9, atol=scale, err_msg=name)


CASES: dict[str, tuple[np.ndarray, int, tuple[int, int, int]]] = {  # labels, channels, margin
    "plane": (cells(1, 30, 37), 1, (0, 5, 5)),
    "plane, margin beyond the image": (cells(1, 20, 27), 1, (0, 30, 30)),
    "plane, other margins": (cells(1, 24, 31), 1, (0, 4, 11)),
    "plane, along x only": (cells(1, 14, 31), 1, (0, 0, 6)),
    "plane, margin 2": (cells(1, 20, 21), 1, (0, 1, 2)),
    "three channels": (cells(1, 22, 25), 3, (0, 5, 5)),
    "volume": (cells(9, 12, 14), 1, (3, 3, 3)),
    "volume, default margin": (cells(4, 20, 21), 1, (1, 30, 30)),
    "volume, flat margin": (cells(8, 13, 14), 1, (2, 5, 7)),
    "volume, no slices": (cells(6, 13, 14), 1, (0, 5, 5)),
    "volume, tall margin": (cells(13, 8, 9), 2, (8, 3, 0)),
    "one row": (cells(1, 1, 90), 1, (0, 5, 5)),
    "one column": (cells(1, 90, 1), 1, (0, 5, 5)),
    "scattered pixels": (cells(1, 16, 17, side=1, share=0.7) % 4, 1, (0, 3, 3)),
    "one object over the whole image": (np.ones((1, 9, 12), np.int32), 1, (0, 3, 3)),
    "one pixel": (np.ones((1, 1, 1), np.int32), 2, (0, 3, 3)),
    "no object": (np.zeros((1, 9, 12), np.int32), 1, (0, 3, 3)),
}


@pytest.mark.parametrize(("labels", "channels", "margin"), CASES.values(), ids=CASES.keys())
def test_every_sum_is_that_of_the_cpu(fast, labels, channels, margin):
    values, count = pixels(channels, labels.shape), int(labels.max())
    e = expected(labels, values, margin, count)
    same(found(fast.backend, labels, values, margin, count), e)


def test_ids_without_pixels_have_no_ring(fast):
    labels = np.where(cells(1, 20, 21) == 3, 5, 0).astype(np.int32)
    values = pixels(1, labels.shape)
    sums = found(fast.backend, labels, values, (0, 3, 3), 7)
    same(sums, expected(labels, values, (0, 3, 3), 7))
    assert (np.flatnonzero(sums["count"][1]) == 4).all()
    assert np.isnan(sums["extremes"][:, 6]).all()


def test_values_all_alike_have_no_spread(fast):
    labels = cells(1, 20, 21)
    sums = found(fast.backend, labels, np.full((2, 1, 20, 21), 0.1, np.float32), (0, 4, 4), labels.max())
    assert sums["count"].all()
    assert not sums["moments"].any()
    assert not sums["covariance"].any()


def test_labels_and_values_may_be_views(fast):
    labels, values = cells(1, 40, 42), pixels(2, (1, 40, 42))
    part = np.s_[:, 3:30:2, 5:40:3]
    few, own = labels[part], values[(slice(None), *part)]
    e = expected(few.copy(), own.copy(), (0, 4, 4), labels.max())
    b = fast.backend
    here = b.asarray(labels)[part], b.asarray(values)[(slice(None), *part)]
    same(ring_sums(b, *here, boxes(few.copy(), labels.max()), (0, 4, 4)), e)


def test_the_card_computes_them_itself(host_cuda, monkeypatch):
    monkeypatch.setattr(host_rings, "sums", None)
    labels = cells(1, 20, 21)
    sums = found(get_backend("cuda"), labels, pixels(1, labels.shape), (0, 4, 4), labels.max())
    assert sums["count"].all()


@pytest.mark.parametrize(("name", "most"), [("LARGEST", 50), ("WIDEST", 4), ("ROOM", 40)])
def test_what_is_too_large_for_a_block_is_left_to_the_cpu(host_cuda, monkeypatch, name, most):
    launched = []
    monkeypatch.setattr(_kernels.Kernels, "launch", lambda self, name, *_, **__: launched.append(name))
    monkeypatch.setattr(device_rings, name, most)
    labels, values = cells(1, 20, 21), pixels(1, (1, 20, 21))
    same(
        found(get_backend("cuda"), labels, values, (0, 4, 4), labels.max()),
        expected(labels, values, (0, 4, 4), labels.max()),
    )
    assert launched == []


def test_little_room_means_few_blocks_and_the_same_bits(host_cuda, monkeypatch):
    labels, values = cells(3, 15, 16, share=0.8), pixels(2, (3, 15, 16))
    b, count, grids = get_backend("cuda"), labels.max(), []
    right = _kernels.Kernels.launch

    def noted(self: Any, name: str, grid: Any, *given: Any, **more: Any) -> None:
        grids.append(grid[0])
        right(self, name, grid, *given, **more)

    monkeypatch.setattr(_kernels.Kernels, "launch", noted)
    first = found(b, labels, values, (2, 4, 4), count)
    monkeypatch.setattr(device_rings, "ROOM", 2**15)
    second = found(b, labels, values, (2, 4, 4), count)
    assert grids[0] == count > grids[1] > 1
    for name in first:
        assert_array_equal(first[name], second[name], err_msg=name)


def test_blocks_at_work_at_once_have_room_of_their_own(host_cuda, monkeypatch):
    """Each pixel by itself has a row of 5 distances, a crop of 5 rows of them, and 25 bytes of roles."""
    starts = []
    monkeypatch.setattr(
        _kernels.Kernels, "launch", lambda self, name, grid, block, given: starts.extend(given[12].get())
    )
    labels = np.zeros((1, 9, 30), np.int32)
    labels[0, 4, [4, 12, 20]] = 1, 2, 3
    found(get_backend("cuda"), labels, pixels(1, labels.shape), (0, 2, 2), 3)
    assert starts == [0, 37, 74]


@pytest.mark.parametrize("how", [{"reverse": True}, {"guard": "after"}, {"guard": "before"}])
def test_the_order_of_threads_changes_no_bit_and_no_index_leaves_its_array(host_cuda, how):
    labels, b = cells(4, 13, 17), get_backend("cuda")
    for channels in (1, 2):
        values = pixels(channels, labels.shape)
        e = found(b, labels, values, (2, 4, 5), labels.max())
        with launch.running(**how):
            sums = found(b, labels, values, (2, 4, 5), labels.max())
        for name in e:
            assert_array_equal(sums[name], e[name], err_msg=name)


KERNELS = {  # what rings.cu says, what the mutant says
    "the largest margin is near": ("square < c.nearer", "square <= c.nearer"),
    "one step too few": ("(most - 1) / a.pitch", "(most - 2) / a.pitch"),
    "all steps of length 1": ("margin ? most / margin : most", "1"),
    "crops as narrow as boxes": ("a.low = max(first - margin, 0)", "a.low = max(first, 0)"),
    "another object's pixels": ("x - d] == label) ||", "x - d] == label + 1) ||"),
    "ways instead of squares": ("steps * a.pitch * (steps * a.pitch)", "abs(steps * a.pitch)"),
    "rows from the first of the image": ("c.y.low + y, near", "y, near"),
    "the object in its ring": ("square == 0 ? OWN", "square == 0 ? RING"),
    "one warp of all": ("w < THREADS / LANES; ++w", "w < 1; ++w"),
    "extremes of the ring for both": ("least[1] = fminf(least[1], v)", "least[1] = fminf(least[0], v)"),
    "cubes without their sign": ("three += square * away", "three += square * (away < 0 ? -away : away)"),
    "both about the mean of the ring": ("all.add(image[i] - mean_both)", "all.add(image[i] - mean)"),
    "the largest value in a bin beyond": ("BINS - 1ll), 0ll)", "BINS - 2ll), 0ll)"),
    "bins of the ring for both": ("all(s.least[1], s.most[1])", "all(s.least[0], s.most[0])"),
    "one channel for two": ("(other[i] - mate)", "(one[i] - mean)"),
    "half of the covariance": ("= ring[b * channels + a] =", "="),
    "channels in the place of objects": ("at[0] * channels + ch, at[1]", "at[0] + ch, at[1]"),
    "no barrier before rows are read": (
        "ny, nx, near);\n        __syncthreads();",
        "ny, nx, near);",
    ),
}


@pytest.mark.parametrize(("old", "new"), KERNELS.values(), ids=KERNELS.keys())
def test_a_wrong_kernel_is_noticed(host_cuda, monkeypatch, old, new):
    right = _kernels.source
    assert old in right("rings")
    monkeypatch.setattr(_kernels, "source", lambda file: right(file).replace(old, new))
    assert differs()


def test_nothing_is_noticed_where_nothing_is_wrong(host_cuda):
    assert not differs()


def differs() -> bool:
    """Whether the sums of some objects are not those of the CPU."""
    b = get_backend("cuda")
    for channels, labels, margin in ((1, cells(1, 19, 37), (0, 4, 6)), (2, cells(5, 11, 14), (2, 4, 5))):
        values, count = pixels(channels, labels.shape), labels.max()
        values[:, labels == 2] *= 9
        values[:, labels == 3] /= -9
        try:
            same(found(b, labels, values, margin, count), expected(labels, values, margin, count))
        except (AssertionError, KernelFault):
            return True
    return False
