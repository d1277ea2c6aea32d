"""Launch every kernel on odd little inputs: what compute-sanitizer watches. A script, not a test.

    compute-sanitizer --tool memcheck python3 tests/gpu/every_kernel.py

Each array gets an allocation of its own, so that an index past its end leaves the allocation too.
"""

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from gpuseg.backends import get_backend
from gpuseg.backends._kernels import FILES, Kernels
from gpuseg.backends.base import SUMS, Backend, Growth
from gpuseg.backends.rings import ring_sums
from gpuseg.features.selection import Selection
from gpuseg.features.stack import feature_stack, probabilities
from gpuseg.forests.arrays import Forest, Tree

DEPTHS = {"Coded": (5, 5), "Narrow": (9, 3), "Wide": (18, 2)}  # of trees that need this packing
SHAPES = ((1, 1, 41, 70), (2, 1, 37, 33), (1, 9, 21, 35), (1, 1, 3, 3))  # c, z, y, x


def launch_all(b: Backend) -> set[str]:
    """The kernels that were launched."""
    launched: set[str] = set()
    launch = Kernels.launch

    def noted(self: Kernels, name: str, *arguments: Any, **more: Any) -> None:
        launched.add(name)
        launch(self, name, *arguments, **more)

    Kernels.launch = noted
    try:
        _launch(b)
    finally:
        Kernels.launch = launch
    return launched


def forest(features: int, depths: Sequence[int], classes: int = 3) -> Forest:
    """Complete trees of random tests; half of their leaves name a class, the others share it."""
    rng = np.random.default_rng(5)
    trees = []
    for depth in depths:
        inner, nodes = 2**depth - 1, 2 ** (depth + 1) - 1
        feature = rng.integers(0, features if depth < 9 else 1, nodes)
        feature[inner:] = -1
        left = 2 * np.arange(nodes) + 1
        pure = np.eye(classes)[rng.integers(0, classes, nodes)]
        proba = np.where(rng.random((nodes, 1)) < 0.5, pure, 1 / classes)
        threshold = (rng.random(nodes) * 255).astype(np.float32)
        trees.append(Tree(feature, threshold, left, left + 1, proba))
    return Forest.from_trees(trees, features)


def _launch(b: Backend) -> None:
    rng = np.random.default_rng(3)
    for shape in SHAPES:
        pixels = (rng.random(shape) * 255).astype(np.float32)
        selection = Selection.all(dict(zip("czyx", shape, strict=True)))
        image, features = b.asarray(pixels), selection.count(*shape[:2])
        planes = feature_stack(b, image, selection)
        for depths in DEPTHS.values():
            trees = forest(features, depths)
            proba = b.forest_proba(planes, trees)
            b.to_numpy(b.likeliest(proba))
            b.to_numpy(b.doubt(proba))
            for dtype in ("uint8", "uint16"):
                b.to_numpy(b.integers(proba, dtype))
            b.to_numpy(probabilities(b, image, selection, trees))
        core = tuple(slice(n // 3, n // 3 + max(1, n // 2)) for n in shape[1:])
        b.to_numpy(feature_stack(b, image, selection, core))
        b.rows(planes, np.argwhere(pixels[0] > 250))
        ids = rng.integers(0, 6, shape[1:]).astype(np.int32)
        boxes = b.region_sums(b.asarray(ids), 5, image, list(SUMS))["box"]
        ring_sums(b, b.asarray(ids), image, boxes, (1, 3, 2))
    for n in (2, 3):
        plane = b.asarray((rng.random((7,) * n) * 255).astype(np.float32))
        b.eigvals_sym([plane] * (n * (n + 1) // 2))
        b.gaussian(plane, (1.3,) * n, (1,) + (0,) * (n - 1))
    for shape in ((1, 41, 70), (9, 21, 35), (1, 1, 3)):
        for dtype in ("bool", "uint16", "int32", "int64"):
            image = b.asarray(rng.integers(0, 2, shape).astype(dtype))
            b.to_numpy(b.components(image, 1 + (shape[0] > 1))[0])
        cost, seeds = rng.integers(0, 4, shape).astype(np.float32), rng.integers(0, 30, shape) == 7
        b.to_numpy(b.flood(b.asarray(cost), b.asarray(seeds.astype(np.int32)), 1.0))
    for rows in (60, 3000):  # small nodes alone, and large ones too
        codes = rng.integers(0, 256, (49, rows)).astype(np.uint8)
        b.grow(codes, rng.integers(0, 3, rows).astype(np.uint8), Growth(3, trees=4, tried=7, seed=1))


def _apart(cupy: Any) -> None:
    """Replace CuPy's pools, which cut arrays from large pieces."""

    class Plain:
        def malloc(self, size: int) -> Any:
            return cupy.cuda.MemoryPointer(cupy.cuda.Memory(size), 0)

        def set_limit(self, size: int | None = None, fraction: float | None = None) -> None: ...

        def free_all_blocks(self, stream: Any = None) -> None: ...

        def free_bytes(self) -> int:
            return 0

        used_bytes = total_bytes = free_bytes

    cupy.cuda.set_allocator(None)
    cupy.cuda.MemoryPool = Plain


def main() -> int:
    """1 and their names if kernels were not launched."""
    import cupy

    _apart(cupy)
    missed = sorted(set(FILES) - launch_all(get_backend("cuda")))
    sys.stdout.write(f"not launched: {', '.join(missed)}\n" if missed else "every kernel was launched\n")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
