"""Trees of kernels/grow.cu are those of the CPU, bit for bit, in whatever order threads run."""

import numpy as np
import pytest
from hostcuda import running
from numpy.testing import assert_array_equal

from gpuseg.backends._cuda import grow
from gpuseg.backends._kernels import Kernels
from gpuseg.backends.base import Grown, Growth
from gpuseg.backends.cpu import CpuBackend


def data(rows: int, features: int, classes: int, values: int = 256, alike: int = 0):
    """Codes below `values`, the class mostly that of the first feature's; `alike` others say nothing."""
    rng = np.random.default_rng(3)
    codes = rng.integers(0, values, (features, rows)).astype(np.uint8)
    target = (
        np.minimum(codes[0].astype(int) * classes // values, rng.integers(0, 2 * classes, rows)) % classes
    )
    codes[1 : 1 + alike] = 7
    return codes, target.astype(np.uint8)


def on_device(xp, codes, target, how) -> Grown:
    return grow.grow(xp, Kernels(xp), codes, target, how)


def same(a: Grown, b: Grown) -> None:
    for name, x, y in zip(Grown._fields, a, b, strict=True):
        assert x.dtype == y.dtype, name
        assert_array_equal(x, y, err_msg=name)


CASES = {
    "two classes": ((300, 9, 2), Growth(2, 3, 3, 0)),
    "three classes, eight features at a time": ((700, 49, 3), Growth(3, 2, 12, 1)),
    "eight classes, four features at a time": ((400, 20, 8), Growth(8, 2, 6, 2)),
    "twenty classes, two features at a time": ((400, 20, 20), Growth(20, 1, 5, 2)),
    "forty classes, one feature at a time": ((500, 12, 40), Growth(40, 1, 3, 3)),
    "255 classes, counted in device memory": ((400, 6, 255), Growth(255, 2, 2, 4)),
    "few values": ((400, 20, 3, 4), Growth(3, 2, 4, 5)),
    "equal rows of several classes": ((80, 3, 2, 2), Growth(2, 3, 1, 6)),
    "many equal rows of several classes": ((300, 3, 2, 1), Growth(2, 2, 1, 6)),
    "most features say nothing": ((300, 40, 2, 3, 36), Growth(2, 3, 2, 7)),
    "more features drawn than lanes": ((200, 70, 2), Growth(2, 1, 40, 8)),
    "hundreds of features": ((60, 700, 2), Growth(2, 2, 26, 10)),
    "one feature": ((64, 1, 2), Growth(2, 2, 1, 11)),
    "rows of one warp": ((32, 4, 3), Growth(3, 4, 2, 12)),
    "one row": ((1, 2, 2), Growth(2, 2, 1, 12)),
    "two rows": ((2, 1, 2), Growth(2, 5, 1, 2**32 - 1)),
    "a class that nobody has": ((90, 4, 2), Growth(5, 2, 2, 13)),
}


@pytest.mark.parametrize(("shape", "how"), CASES.values(), ids=CASES.keys())
def test_trees_are_those_of_the_cpu(host_cuda, shape, how) -> None:
    codes, target = data(*shape)
    same(on_device(host_cuda, codes, target, how), CpuBackend().grow(codes, target, how))


@pytest.mark.parametrize("shape", [(700, 9, 3), (300, 9, 40, 5)], ids=["few classes", "many classes"])
def test_the_order_of_threads_changes_nothing(host_cuda, shape) -> None:
    codes, target = data(*shape)
    how = Growth(shape[2], 2, 3, 5)
    expected = on_device(host_cuda, codes, target, how)
    with running(reverse=True):
        same(on_device(host_cuda, codes, target, how), expected)


@pytest.mark.parametrize("guard", ["after", "before"])
def test_nothing_outside_of_the_arrays_is_touched(host_cuda, guard) -> None:
    how = Growth(3, 2, 3, 5)
    with running(guard=guard):
        tree = on_device(host_cuda, *data(300, 9, 3), how)
    same(tree, CpuBackend().grow(*data(300, 9, 3), how))


def test_trees_that_do_not_fit_together_are_grown_in_turn(host_cuda, monkeypatch) -> None:
    codes, target = data(100, 9, 3)
    monkeypatch.setattr(grow, "BATCH", 2 * 100 * 80)
    launches = []

    class Counted(Kernels):
        def launch(self, name, grid, *rest, **more):
            launches.append((name, grid))
            super().launch(name, grid, *rest, **more)

    trees = grow.grow(host_cuda, Counted(host_cuda), codes, target, Growth(3, 5, 3, 0))
    same(trees, CpuBackend().grow(codes, target, Growth(3, 5, 3, 0)))
    assert len([n for n, _ in launches if n == "grow"]) > 1


@pytest.mark.parametrize(
    ("classes", "expected"),
    [(2, (8, True)), (5, (8, True)), (6, (4, True)), (40, (1, True)), (41, (1, False)), (255, (1, False))],
)
def test_counts_stay_in_shared_memory_while_they_fit(classes, expected) -> None:
    assert grow.slots(classes) == expected
