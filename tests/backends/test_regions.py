"""Sums over regions: the compiled way, CUDA and the plain one agree; integers to the bit."""

import numpy as np
import pytest
from hostcuda import launch
from hostcuda.launch import KernelFault
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from gpuseg.backends import _kernels, get_backend
from gpuseg.backends._numba import bands
from gpuseg.backends.base import SUMS
from gpuseg.backends.cpu import CpuBackend, ReferenceBackend
from gpuseg.backends.cuda import CudaBackend
from gpuseg.errors import InputError, ShapeError

INTEGERS = {name for name, says in SUMS.items() if says.startswith("int64")} | {"extremes"}
CPU, PLAIN = CpuBackend(), ReferenceBackend()


def blocks(*shape: int, count: int, seed: int = 0) -> np.ndarray:
    """Labels in blocks of some pixels, a third of it background; every id occurs where there is room."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(1, count + 1, [-(-n // 3) for n in shape])
    coarse[rng.random(coarse.shape) < 0.3] = 0
    labels = coarse.repeat(3, 0).repeat(3, 1).repeat(3, 2)[tuple(slice(n) for n in shape)].astype(np.int32)
    labels.reshape(-1)[rng.permutation(labels.size)[: min(count, labels.size)]] = np.arange(
        1, min(count, labels.size) + 1
    )
    return labels


def pixels(*shape: int, seed: int = 1) -> np.ndarray:
    return (np.random.default_rng(seed).normal(100, 30, shape)).astype(np.float32)


def same(found: dict, expected: dict) -> None:
    """Integers equal; the rest to rounding, relative to the largest number of the kind for the object."""
    assert list(found) == list(expected)
    for name, e in expected.items():
        f = found[name]
        dtype = SUMS[name].split()[0]
        assert (f.dtype, f.shape) == (np.dtype(dtype), e.shape), name
        if name in INTEGERS:
            assert_array_equal(f, e, err_msg=name)
        else:
            scale = 1e-9 * np.abs(e).max(initial=1e-3)  # odd sums are near 0 where even ones are large
            assert_allclose(f, e, rtol=1e-9, atol=scale, err_msg=name)


CASES = {  # labels, channels
    "plane": (blocks(1, 40, 70, count=23), 1),
    "volume": (blocks(9, 20, 33, count=17), 1),
    "three channels": (blocks(4, 21, 30, count=9), 3),
    "one row": (blocks(1, 1, 64, count=5), 1),
    "one column": (blocks(1, 64, 1, count=5), 2),
    "one pixel": (np.ones((1, 1, 1), np.int32), 1),
    "one object over the whole image": (np.ones((3, 30, 50), np.int32), 1),
    "no object": (np.zeros((2, 10, 10), np.int32), 1),
    "every pixel its own object": (np.arange(1, 301, dtype=np.int32).reshape(1, 20, 15), 1),
    "ids without pixels": (np.where(blocks(1, 30, 30, count=9) == 4, 0, blocks(1, 30, 30, count=9)), 1),
}


@pytest.fixture
def bands_of_few_pixels(monkeypatch):
    monkeypatch.setattr(bands, "BAND", 200)


@pytest.mark.parametrize(("labels", "channels"), CASES.values(), ids=CASES.keys())
def test_every_sum_is_that_of_the_plain_way(fast, bands_of_few_pixels, labels, channels):
    values, count = pixels(channels, *labels.shape), int(labels.max(initial=0)) + 1
    expected = PLAIN.region_sums(labels, count, values, list(SUMS))
    same(fast.region_sums(labels, count, values, list(SUMS)), expected)


@pytest.mark.parametrize("name", SUMS)
def test_each_sum_can_be_had_alone(fast, name):
    labels, values = blocks(3, 20, 30, count=8), pixels(2, 3, 20, 30)
    same(
        fast.region_sums(labels, 8, values, [name]),
        PLAIN.region_sums(labels, 8, values, [name]),
    )


def test_sums_of_shape_need_no_image(fast):
    labels = blocks(3, 20, 30, count=8)
    wants = ("count", "box", "center", "scatter", "third", "fourth")
    same(fast.region_sums(labels, 8, None, wants), PLAIN.region_sums(labels, 8, None, wants))


@pytest.mark.parametrize("each", [False, True], ids=["of all objects", "of each object"])
def test_histograms_have_the_range_that_is_given(fast, each):
    labels, values = blocks(1, 40, 30, count=6), pixels(2, 1, 40, 30)
    ranges = np.array([[60.0, 140.0], [90.0, 90.0]])
    if each:
        ranges = ranges + np.arange(6)[:, None, None]
    found = fast.region_sums(labels, 6, values, ["histogram"], ranges=ranges)
    same(found, PLAIN.region_sums(labels, 6, values, ["histogram"], ranges=ranges))
    assert 0 < found["histogram"].sum() < 2 * (labels > 0).sum()  # values outside are not counted


def test_a_histogram_counts_the_largest_value_in_the_last_bin(fast):
    values = np.array([0.1, 0.3, 0.7, 0.7], np.float32).reshape(1, 1, 1, 4)
    found = fast.region_sums(np.ones((1, 1, 4), np.int32), 1, values, ["histogram"])["histogram"][0, 0]
    assert (found[0], found[63], found.sum()) == (1, 2, 4)


def test_an_object_of_one_value_has_no_moments_at_all(fast):
    labels = blocks(2, 40, 60, count=12)
    values = (np.float32(0.1) * labels)[None].astype(np.float32)  # 0.1 has no exact sum in float32
    found = fast.region_sums(labels, 12, values, ["moments", "covariance"])
    assert not found["moments"].any()
    assert not found["covariance"].any()


def test_an_extreme_that_occurs_often_is_where_it_comes_first(fast, bands_of_few_pixels):
    labels = np.ones((3, 20, 40), np.int32)
    values = np.full((1, 3, 20, 40), 5, np.float32)
    values[0, 1, 7, 9:12], values[0, 2, 0, 0] = 1, 1
    values[0, 0, 19, 39], values[0, 2, 0, 5] = 9, 9
    found = fast.region_sums(labels, 1, values, ["extreme_places"])["extreme_places"][0, 0]
    assert_array_equal(found, [(1, 7, 9), (0, 19, 39)])


def test_negative_zero_is_as_large_as_zero(fast):
    values = np.array([0.0, -0.0, 0.0, 1.0], np.float32).reshape(1, 1, 1, 4)
    values = np.concatenate([values, -values])
    found = fast.region_sums(np.ones((1, 1, 4), np.int32), 1, values, ["extremes", "extreme_places"])
    assert_array_equal(found["extremes"][0], [(0, 1), (-1, 0)])
    assert_array_equal(found["extreme_places"][0, :, :, 2], [(0, 3), (3, 0)])


def test_sums_over_objects_are_sums_over_the_image(fast):
    labels, values = blocks(5, 30, 40, count=50), np.floor(pixels(1, 5, 30, 40))
    found = fast.region_sums(labels, 50, values, ["count", "sum", "histogram"])
    assert found["count"].sum() == (labels > 0).sum() == found["histogram"].sum()
    assert found["sum"].sum() == values[0][labels > 0].sum(dtype=np.float64)  # whole numbers: exact


def test_ids_beyond_what_float32_can_tell_apart_are_told_apart():
    """On the CPU alone: pages of its tables take no memory before they are written to."""
    count = 2**24 + 3
    labels = np.zeros((1, 4, 8), np.int32)
    labels[0, 0, :3], labels[0, 1:3, 4], labels[0, 3] = count, count - 1, count - 2
    found = CPU.region_sums(labels, count, pixels(1, 1, 4, 8), ["count", "sum"])
    assert_array_equal(found["count"][-4:], [0, 8, 2, 3])
    assert found["count"].sum() == 13
    assert_allclose(found["sum"][-1, 0], pixels(1, 1, 4, 8)[0, 0, 0, :3].sum(dtype=float), rtol=1e-12)


@given(
    shape=st.tuples(*(st.integers(1, n) for n in (4, 12, 40))),
    count=st.integers(1, 12),
    channels=st.integers(1, 3),
    seed=st.integers(0, 99),
)
def test_any_labels_give_the_sums_of_the_plain_way(shape, count, channels, seed):
    labels, values = blocks(*shape, count=count, seed=seed), pixels(channels, *shape, seed=seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bands, "BAND", 1 + seed)
        patch.setattr(bands, "ROOM", 100 * seed)
        patch.setattr(bands, "FOLD", 2)
        found = CPU.region_sums(labels, count, values, list(SUMS))
    same(found, PLAIN.region_sums(labels, count, values, list(SUMS)))


def test_threads_change_no_bit(monkeypatch, bands_of_few_pixels):
    labels, values = blocks(8, 30, 40, count=30), pixels(2, 8, 30, 40)
    found = []
    for threads in (1, 2, 5):
        monkeypatch.setattr("gpuseg.backends._numba.threads.cores", lambda threads=threads: threads)
        found.append(CPU.region_sums(labels, 30, values, list(SUMS)))
    for name in SUMS:
        assert_array_equal(found[0][name], found[1][name], err_msg=name)
        assert_array_equal(found[0][name], found[2][name], err_msg=name)


def test_the_order_of_threads_changes_no_integer(host_cuda):
    labels, values = blocks(5, 30, 40, count=30), pixels(2, 5, 30, 40)
    expected = CPU.region_sums(labels, 30, values, list(SUMS))
    with launch.running(reverse=True):
        b = get_backend("cuda")
        same(b.region_sums(b.asarray(labels), 30, b.asarray(values), list(SUMS)), expected)


def test_labels_and_values_may_be_views(fast):
    labels, values = blocks(6, 40, 60, count=9), pixels(2, 6, 40, 60)
    part = np.s_[1:5:2, 3:30, 10:50:3]
    same(
        fast.region_sums(labels[part], 9, values[(slice(None), *part)], list(SUMS)),
        PLAIN.region_sums(labels[part], 9, values[(slice(None), *part)], list(SUMS)),
    )


WRONG = {
    "no such sum": ((np.ones((1, 2, 2), np.int32), 1, None, ["median"]), "median.*none of this name"),
    "no image": ((np.ones((1, 2, 2), np.int32), 1, None, ["count", "sum"]), "'sum'.*need an image"),
    "a plane of labels": ((np.ones((2, 2), np.int32), 1, None, ["count"]), "2-D int32.*3-D int32"),
    "labels of another type": ((np.ones((1, 2, 2), np.int64), 1, None, ["count"]), "int64.*int32"),
    "other pixels": (
        (np.ones((1, 2, 2), np.int32), 1, np.ones((1, 1, 2, 3), np.float32), ["sum"]),
        r"\(1, 2, 2\), values \(1, 1, 2, 3\)",
    ),
    "an id too large": ((np.full((1, 2, 2), 7, np.int32), 3, None, ["count"]), "label 7.*1 to 3"),
    "ranges of other channels": (
        (np.ones((1, 2, 2), np.int32), 1, np.ones((1, 1, 2, 2), np.float32), ["histogram"], np.zeros((2, 2))),
        r"\(2, 2\), \(1, 2\) or",
    ),
}


@pytest.mark.parametrize(("arguments", "message"), WRONG.values(), ids=WRONG.keys())
def test_what_does_not_fit_is_refused(fast, arguments, message):
    ranges = dict(zip(("ranges",), arguments[4:], strict=False))
    with pytest.raises((InputError, ShapeError), match=message):
        fast.region_sums(*arguments[:4], **ranges)


KERNELS = {  # what regions.cu says, what the mutant says
    "runs go on in the next row": ("i < stop && i < behind", "i < stop"),
    "the last pixels are left out": (
        "first < image.size; first += stride",
        "first + RUN < image.size; first += stride",
    ),
    "rows and slices exchanged": ("run.z = (int)(row / image.ny)", "run.z = (int)(row % image.ny)"),
    "the box one pixel too long": ("raise(w + 6, end - 1)", "raise(w + 6, end)"),
    "squares up to the end": (
        "const long long squares = ((end - 1) * end * (2 * end - 1)",
        "const long long squares = (end * (end + 1) * (2 * end + 1)",
    ),
    "extremes in the order of bits": ("bits >= 0 ? bits : bits ^ 0x7fffffff", "bits"),
    "negative zero below zero": ("__float_as_int(value + 0.f)", "__float_as_int(value)"),
    "the last of equal extremes": (
        "for (long long i = run.end - 1; i >= run.start; --i)",
        "for (long long i = run.end - 1; i >= run.end - 1; --i)",
    ),
    "the largest value has no bin": ("b < BINS - 1 ? (int)b : BINS - 1", "(int)b"),
    "bins of another object": ("(each ? run.object : 0)", "0"),
    "equal bins counted once": ("++times;", "times = 1;"),
    "cubes without their sign": ("s3 += d * d * d", "s3 += d * d * (d < 0 ? -d : d)"),
    "channels of one image": ("(values[d * size + i] - k)", "(values[c * size + i] - k)"),
    "half of the covariance": ("if (d > c) atomicAdd", "if (d < c) atomicAdd"),
    "weights counted from the run": (
        "v = values[c * size + i], x = (double)(run.x + (i - run.start))",
        "v = values[c * size + i], x = (double)(i - run.start)",
    ),
    "products in another order": ("of_z[a] * of_y[b]", "of_z[b] * of_y[a]"),
}


@pytest.mark.parametrize(("old", "new"), KERNELS.values(), ids=KERNELS.keys())
def test_a_wrong_kernel_is_noticed(host_cuda, monkeypatch, old, new):
    right = _kernels.source
    assert old in right("regions")
    monkeypatch.setattr(_kernels, "source", lambda file: right(file).replace(old, new))
    assert differs(CudaBackend())


def test_nothing_is_noticed_where_nothing_is_wrong(host_cuda):
    assert not differs(CudaBackend())


def differs(b) -> bool:
    """Whether a backend's sums of some objects are not those of the plain way."""
    labels, values = blocks(5, 11, 37, count=9), pixels(2, 5, 11, 37) - 100
    least = np.argwhere(labels == 8)[2:4]
    values[:, labels == 8] = np.abs(values[:, labels == 8]) + 1
    values[(0, *least[0])], values[(0, *least[1])] = 0.0, -0.0
    values[0, labels == 5], values[0, 3][labels[3] == 5] = 1, 2
    ranges = np.stack([np.array([[-60.0, 60.0], [-50.0, 90.0]]) + i for i in range(9)])
    ranges[6, 0] = values[0, labels == 7].min(), values[0, labels == 7].max()
    expected = PLAIN.region_sums(labels, 9, values, list(SUMS), ranges)
    try:
        same(b.region_sums(b.asarray(labels), 9, b.asarray(values), list(SUMS), ranges), expected)
    except (AssertionError, KernelFault):
        return True
    return False
