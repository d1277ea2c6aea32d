"""Components that are wrong on purpose, kernels and launchers, are each noticed beside the CPU's."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hostcuda import running
from hostcuda.launch import KernelFault

from gpuseg.backends import _kernels, get_backend
from gpuseg.backends._cuda import components
from gpuseg.backends.cpu import CpuBackend

RANDOM = np.random.default_rng(0)
IMAGES = (  # all of one type: each takes two kernels more to compile for each mutant
    RANDOM.integers(0, 2, (1, 70, 100)),
    RANDOM.integers(0, 3, (9, 21, 70)),
    np.ones((1, 130, 70), int),
    RANDOM.integers(0, 2, (5, 9, 40)) << 40,
)
EXPECTED = [CpuBackend().components(image, c) for image in IMAGES for c in (1, 2, 3)]


def noticed() -> bool:
    """Whether CUDA's answers differ from the CPU's, in either order of threads, or a launch is refused."""
    return any(_differs(reverse) for reverse in (False, True))


def _differs(reverse: bool) -> bool:
    b = get_backend("cuda")
    try:
        with running(reverse=reverse):
            made = [b.components(b.asarray(image), c) for image in IMAGES for c in (1, 2, 3)]
    except KernelFault:
        return True
    return any(
        n != count or not np.array_equal(b.to_numpy(labels), right)
        for (labels, n), (right, count) in zip(made, EXPECTED, strict=True)
    )


def test_nothing_is_noticed_where_nothing_is_wrong(host_cuda) -> None:
    assert not noticed()


KERNELS = {  # name -> what it says, what the mutant says
    "other values join": ("if (there[0] == value) {", "if (there[0] != 0) {"),
    "runs go on over other values": ("(lane == 0 || here[-1] != *here)", "(lane == 0 || here[-1] == 0)"),
    "corners count as edges": ("apart > g.connectivity ||", "apart > g.connectivity + 1 ||"),
    "edges count as corners": ("g.connectivity > apart)", "g.connectivity > apart + 1)"),
    "right corners forgotten": ("found |= 4u << 3 * row;", "found |= 0u;"),
    "left corners taken for done": ("x > 0 && !left &&", "x > 1 && !left &&"),
    "a row that is joined by its left neighbour is not": (
        "if (!left || there[-1] != value)",
        "if (!left)",
    ),
    "the greater index on top": (
        "lower = min(a, b), upper = max(a, b)",
        "lower = max(a, b), upper = min(a, b)",
    ),
    "roots as they were": ("parent[i] = root;", ""),
    "no barrier between runs and joins": (
        "        __syncthreads();\n        for_pixels(g, t, [&](int z, int y, int x, int place) {\n"
        "            if (!inside(g, z, y, x) || image",
        "        for_pixels(g, t, [&](int z, int y, int x, int place) {\n"
        "            if (!inside(g, z, y, x) || image",
    ),
    "last faces of tiles forgotten": ("y == t.y || y == t.y + g.tall() - 1", "y == t.y"),
    "first faces of tiles forgotten": ("lane == 0 || lane == LANES - 1", "lane == LANES - 1"),
    "slices below forgotten": ("|| z == t.z ||", "||"),
    "first pixel numbered 0": ("before[blockIdx.x] + 1;", "before[blockIdx.x];"),
    "numbers of each block from 1 on": ("before[blockIdx.x] + 1;", "1;"),
    "numbers of a warp once more": ("before += w < warp ? warps[w] : 0;", "before += 0;"),
    "background numbered": ("root < 0 ? 0 :", "root < 0 ? 1 :"),
    "half of a word": ("const T value = *here;", "const unsigned value = (unsigned)*here;"),
}


@pytest.mark.parametrize(("old", "new"), KERNELS.values(), ids=KERNELS.keys())
def test_a_wrong_kernel_is_noticed(host_cuda, monkeypatch, old, new) -> None:
    right = _kernels.source
    assert old in right("components"), "the mutant changes nothing"
    monkeypatch.setattr(_kernels, "source", lambda file: right(file).replace(old, new))
    assert noticed()


LAUNCHERS: dict[str, dict[str, Any]] = {
    "spans longer than the kernel's": {"SPAN": 8192},
    "kernels of another width": {"VALUES": dict.fromkeys((1, 2, 4, 8), "unsigned char")},
    "blocks of half the threads": {"THREADS": 128},
}


@pytest.mark.parametrize("changes", LAUNCHERS.values(), ids=LAUNCHERS.keys())
def test_a_wrong_launcher_is_noticed(host_cuda, monkeypatch, changes: dict[str, Any]) -> None:
    for name, value in changes.items():
        monkeypatch.setattr(components, name, value)
    assert noticed()


def _swapped(join: Callable[..., None]) -> Callable[..., None]:
    def joined(kernels: Any, image: Any, *rest: Any) -> None:
        join(kernels, image.reshape(image.shape[0], image.shape[2], image.shape[1]), *rest)

    return joined


def test_rows_taken_for_columns_are_noticed(host_cuda, monkeypatch) -> None:
    monkeypatch.setattr(components, "_join", _swapped(components._join))
    assert noticed()
