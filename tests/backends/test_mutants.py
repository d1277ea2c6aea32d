"""The comparison with the CPU can fail: kernels and launchers that are wrong on purpose are each noticed."""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
from hostcuda import launch
from hostcuda.launch import KernelFault
from numpy.testing import assert_array_equal

from gpuseg.backends import _kernels, get_backend
from gpuseg.backends._cuda import bank, deep, flat, forest
from gpuseg.backends.cpu import CpuBackend
from gpuseg.backends.cuda import CudaBackend
from gpuseg.features.filters import FILTERS
from gpuseg.features.selection import Selection
from gpuseg.forests.arrays import Forest

CPU = CpuBackend()
ALL = tuple(FILTERS)


def _image(*shape: int) -> np.ndarray:
    pixels = (np.random.default_rng(1).random(shape) * 255).astype(np.float32)
    pixels[..., :9, :9] = 7  # flat
    return pixels


def _selection(in_2d: bool) -> Selection:
    return Selection.table({f: [0.7, 1.6] for f in ALL}, in_2d=in_2d)


CASES = (  # image, selection, core
    (_image(2, 1, 40, 90), _selection(True), (slice(0, 1), slice(0, 40), slice(0, 90))),
    (_image(1, 1, 50, 90), _selection(True), (slice(0, 1), slice(15, 31), slice(20, 84))),
    (_image(1, 12, 20, 30), _selection(False), (slice(0, 12), slice(0, 20), slice(0, 30))),
    (_image(1, 19, 30, 50), _selection(False), (slice(8, 11), slice(9, 20), slice(10, 36))),
)


def tree(planes: np.ndarray) -> Forest:
    """Leaves that say different things; thresholds are numbers that occur: equality counts.

    The second tree sorts pixels by one feature, into 32 leaves.
    """
    flat_planes = planes.reshape(len(planes), -1)
    at = [flat_planes[f, flat_planes.shape[1] // 2 + 3] for f in (0, 3, 9)]
    depth = [int(np.log2(k + 1)) for k in range(31)]
    share = [(2 * (k + 1 - 2**d) + 1) / 2 ** (d + 1) for k, d in enumerate(depth)]
    sorted_by = np.quantile(flat_planes[1], share, method="lower")
    return Forest(
        np.array([0, 3, 9, *[-1] * 4, *[1] * 31, *[-1] * 32], np.int32),
        np.array([*at, *[0] * 4, *sorted_by, *[0] * 32], np.float32),
        np.array([1, 3, 5, *range(4), *range(8, 70, 2), *[0, 1, 2, 1] * 8], np.int32),
        np.array([0, 7], np.int32),
        np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [0.5, 0.25, 0.25]], np.float32),
        10,
    ).validate()


@cache
def trees() -> tuple[Forest, ...]:
    """One for each case."""
    return tuple(
        tree(CPU.bank(pixels, selection.jobs(*pixels.shape[:2]), core)) for pixels, selection, core in CASES
    )


def answers(b: Any) -> list[np.ndarray]:
    """What a backend makes of all cases: planes, probabilities of the fused path, and of stored planes."""
    found = []
    for (pixels, selection, core), forest_here in zip(CASES, trees(), strict=True):
        image, jobs = b.asarray(pixels, np.float32), selection.jobs(*pixels.shape[:2])
        planes = b.bank(image, jobs, core)
        found += [planes, b.forest_proba(planes, forest_here), b.image_proba(image, jobs, core, forest_here)]
    return [b.to_numpy(f) for f in found]


@pytest.fixture(scope="module")
def expected() -> list[np.ndarray]:
    return answers(CPU)


def noticed(expected: list[np.ndarray]) -> bool:
    """Whether CUDA's answers differ from the CPU's, in either order of threads, or a launch is refused."""
    return any(_differs(expected, reverse) for reverse in (False, True))


def _differs(expected: list[np.ndarray], reverse: bool) -> bool:
    try:
        with launch.running(reverse=reverse):
            made = answers(get_backend("cuda"))
    except KernelFault:
        return True
    return any(not np.array_equal(a, e) for a, e in zip(made, expected, strict=True))


def test_nothing_is_noticed_where_nothing_is_wrong(host_cuda, expected):
    assert not noticed(expected)


KERNELS = {  # name -> file, what it says, what the mutant says
    "edge pixel repeated at the border": (
        "common.cuh",
        "return i < n ? i : period - i;",
        "return i < n ? i : period - i - 1;",
    ),
    "border wrapped around": ("common.cuh", "return i < n ? i : period - i;", "return i % n;"),
    "smoothing one pixel to the left": (
        "smooth.cu",
        "fold(first + start + i - radius, size)]",
        "fold(first + start + i - radius - 1, size)]",
    ),
    "no barrier after loading": (
        "smooth.cu",
        "    __syncthreads();\n    if (column >= inner",
        "    if (column >= inner",
    ),
    "no barrier between passes": (
        "tile2d.cuh",
        "    products(s, ty, tx, f, y, x);\n    __syncthreads();",
        "    products(s, ty, tx, f, y, x);",
    ),
    "eigenvalues swapped": (
        "eigen.cuh",
        "make_float2(mean + root, mean - root)",
        "make_float2(mean - root, mean + root)",
    ),
    "eigenvalues swapped in 3D": (
        "eigen.cuh",
        "value[0] = middle + (acute ? twice : far);",
        "value[0] = middle - (acute ? far : twice);",
    ),
    "not a number on flat ground": (
        "eigen.cuh",
        "root = sqrtf(fmaf(gap, gap, xy * xy))",
        "square = fmaf(gap, gap, xy * xy), root = square / sqrtf(square)",
    ),
    "gradient keeps its sign across the border": ("tile2d.cuh", "? -ty[12] : ty[12]", "? ty[12] : ty[12]"),
    "gradient keeps its sign across the border in 3D": (
        "filters3d.cu",
        "outside(middle, height) ? -ty[12]",
        "outside(middle, height) ? ty[12]",
    ),
    "channels from the wrong place": (
        "smooth.cu",
        "in + which[step] * stride + (long long)o",
        "in + step * stride + (long long)o",
    ),
    "32-bit places": (
        "smooth.cu",
        "const int* __restrict__ which, long long stride",
        "const int* __restrict__ which, int stride",
    ),
    "columns of another step's taps": ("filters2d.cu", "taps + step * 3 * TAPS", "taps"),
    "a value at the threshold goes left": (
        "walk.cuh",
        "if (!(v < edges[at + half - 1]))",
        "if (v > edges[at + half - 1])",
    ),
    "the last edge looked up before it is known which": (
        "walk.cuh",
        "if (!(v < edges[at + half - 1])) at += half;",
        "if (!(v < edges[(half == 1 ? at & ~3u : at) + half - 1])) at += half;",
    ),
    "children swapped": (
        "walk.cuh",
        "? p.y : p.x; }\n    static __device__ __forceinline__ Pair both",
        "? p.x : p.y; }\n    static __device__ __forceinline__ Pair both",
    ),
    "leaves one further": (
        "walk.cuh",
        "sums[answer * apart] += 1.f",
        "sums[(answer + 1) % trees.classes * apart] += 1.f",
    ),
    "a tree of four forgotten": (
        "walk.cuh",
        "for (int j = 0; j < SOME; ++j) {\n        const int answer",
        "for (int j = 1; j < SOME; ++j) {\n        const int answer",
    ),
    "edges of another plane": ("classify2d.cu", "near + k * EDGES", "near + (k ^ 1) * EDGES"),
    "codes of another feature": ("walk.cu", "<< 8 * k;", "<< 8 * (k ^ 1);"),
    "mean over one tree too many": ("walk.cuh", "/ (float)trees.count", "/ (float)(trees.count + 1)"),
    "slice neighbours off by one": (
        "filters3d.cu",
        "fold(z + i - REACH, depth)",
        "fold(z + i - REACH + 1, depth)",
    ),
    "no barrier between slices": (
        "filters3d.cu",
        "        __syncthreads();\n        if (!inner) continue;",
        "        if (!inner) continue;",
    ),
}


@pytest.mark.parametrize(("file", "old", "new"), KERNELS.values(), ids=KERNELS.keys())
def test_a_wrong_kernel_is_noticed(host_cuda, monkeypatch, expected, file, old, new):
    right, found = _kernels.source, []

    def wrong(name: str) -> str:
        text = right(name)
        if f'#line 1 "{file}"' not in text:
            return text
        start = text.index(f'#line 1 "{file}"')
        found.append(old in text[start:])
        return text[:start] + text[start:].replace(old, new)

    monkeypatch.setattr(_kernels, "source", wrong)
    if new.endswith("int stride"):
        assert far_apart_steps_differ()
    else:
        assert noticed(expected)
    assert any(found), "the mutant changed nothing"


def far_apart_steps_differ() -> bool:
    """Whether a step that starts beyond 2**32 numbers is read from elsewhere."""
    b = get_backend("cuda")
    xp = b._xp
    row, far = np.arange(64, dtype=np.float32), 2**31
    host = np.zeros(2 * far + 64, np.float32)  # 17 GB that take no memory until they are written
    host[2 * far :] = row
    source = xp.ndarray._of(host)
    out, taps = xp.empty((1, 1, 64), np.float32), xp.asarray(np.array([1, 0], np.float32))
    numbers = (np.float32(1), np.int32(1), np.int32(64), np.int32(0), np.int32(64), np.int32(273))
    given = (source, xp.asarray(np.array([2], np.int32)), np.int64(far), out, taps)
    begin = xp.asarray(np.array([0, 2], np.int32))
    try:
        b._kernels.launch("smooth_along", (1, 1, 1), (32, 8), (*given, begin, *numbers), 4 * 8 * 273)
    except (KernelFault, TypeError):
        return True
    return not np.array_equal(b.to_numpy(out)[0, 0], row)


def test_steps_far_apart_are_read_where_they_are(host_cuda):
    assert not far_apart_steps_differ()


def _wrong_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bank, "REACH", 2)


def _wrong_channels(monkeypatch: pytest.MonkeyPatch) -> None:
    right = bank.Steps.of

    def of(xp: Any, steps: Any) -> Any:
        return right(xp, [s if s.flat is False else _reversed(s) for s in steps])

    monkeypatch.setattr(bank.Steps, "of", of)


def _reversed(step: Any) -> Any:
    from dataclasses import replace

    return replace(step, channel=1 - step.channel)


def _wrong_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    right = forest._answers

    def answers(*given: Any) -> Any:
        says, mixed = right(*given)
        return says[::-1], mixed

    monkeypatch.setattr(forest, "_answers", answers)


def _wrong_place(monkeypatch: pytest.MonkeyPatch) -> None:
    right = flat._place
    monkeypatch.setattr(flat, "_place", lambda s, core: right(s, (core[0], core[2], core[1])))


def _wrong_box(monkeypatch: pytest.MonkeyPatch) -> None:
    right = deep.filters

    def filters(kernels: Any, smooth: Any, tables: Any, box: Any, *rest: Any) -> None:
        right(kernels, smooth, tables, [max(0, b - 1) for b in box], *rest)

    monkeypatch.setattr(deep, "filters", filters)


def _too_few_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flat, "TILE", (24, 64))


LAUNCHERS = {
    "halo off by one": _wrong_reach,
    "wrong channel order": _wrong_channels,
    "wrong leaf order": _wrong_answers,
    "rows and columns exchanged": _wrong_place,
    "box of a volume off by one": _wrong_box,
    "tiles larger than those of the kernel": _too_few_blocks,
}


@pytest.mark.parametrize("mutate", LAUNCHERS.values(), ids=LAUNCHERS.keys())
def test_a_wrong_launcher_is_noticed(
    host_cuda, monkeypatch, expected, mutate: Callable[[pytest.MonkeyPatch], None]
):
    mutate(monkeypatch)
    assert noticed(expected)


def test_the_backend_under_test_is_cudas(host_cuda):
    assert isinstance(get_backend("cuda"), CudaBackend)
    assert_array_equal(get_backend("cuda").to_numpy(np.arange(3)), np.arange(3))
