"""Floods on the device are the CPU's in any order of threads; wrong kernels are noticed."""

import logging
from typing import Any

import numpy as np
import pytest
from hostcuda import running
from hostcuda.launch import KernelFault
from numpy.testing import assert_array_equal

from gpuseg.backends import _kernels, get_backend
from gpuseg.backends._cuda import flood
from gpuseg.backends.cpu import CpuBackend

CPU = CpuBackend()
Case = tuple[np.ndarray, np.ndarray, float]


def _case(shape: tuple[int, ...], values: int, limit: float, share: float = 0.05, seed: int = 0) -> Case:
    """Costs of -1 to 1 of so many values, some infinite, some not a number; seeds anywhere."""
    rng = np.random.default_rng(seed)
    cost = (rng.integers(0, values, shape) / (values - 1) * 2 - 1).astype(np.float32)
    cost[rng.random(shape) < 0.03] = np.nan
    cost[rng.random(shape) < 0.03] = np.inf
    cost[rng.random(shape) < 0.03] = -np.inf
    seeds = rng.integers(1, 2**31 - 1, shape) * (rng.random(shape) < share)
    return cost, seeds.astype(np.int32), limit


HALF = _case((1, 30, 40), 5, np.inf)
CASES: dict[str, Case] = {
    "many basins": _case((1, 60, 90), 2**20, -0.1),
    "many basins in a volume": _case((9, 17, 30), 2**20, -0.4),
    "few levels": _case((1, 50, 70), 4, 0.0),
    "few levels in a volume": _case((8, 14, 25), 4, -0.2),
    "one basin": _case((1, 40, 70), 2**20, np.inf, 0.01),
    "one basin of one level": (*_case((6, 20, 21), 2, np.inf, 0.01)[:2], np.nan),
    "all one level": (np.zeros((1, 45, 60), np.float32), _case((1, 45, 60), 2, 0, 0.004)[1], 0.0),
    "two levels, wide shores": _case((1, 50, 50), 2, 0.0, 0.3),
    "half of it no number": (np.where(np.arange(40) < 20, np.nan, HALF[0]), *HALF[1:]),
    "all seeds": _case((1, 20, 30), 9, 0.0, 1.0),
    "all beyond the limit": _case((1, 20, 30), 9, -2.0, 0.2),
    "a row": _case((1, 1, 300), 5, 0.6),
    "along z": _case((200, 1, 1), 5, 0.6),
}
EXPECTED = {name: CPU.flood(*case) for name, case in CASES.items()}


def flooded(name: str) -> np.ndarray:
    b, (cost, seeds, limit) = get_backend("cuda"), CASES[name]
    return b.to_numpy(b.flood(b.asarray(cost), b.asarray(seeds), limit))


def noticed() -> bool:
    """Whether CUDA's answers differ from the CPU's, in either order of threads, or a launch is refused."""
    return any(_differs(reverse) for reverse in (False, True))


def _differs(reverse: bool) -> bool:
    try:
        with running(reverse=reverse):
            return any(not np.array_equal(flooded(name), EXPECTED[name]) for name in CASES)
    except KernelFault:
        return True


@pytest.mark.parametrize("setting", ["as it comes", "reverse", "after", "before", "threads"])
def test_floods_are_the_cpus_in_any_order_of_threads(host_cuda, setting) -> None:
    """Nor are pixels outside of arrays read."""
    given: dict[str, dict[str, Any]] = {
        "as it comes": {},
        "reverse": {"reverse": True},
        "threads": {"threads": 4},
    }
    with running(**given.get(setting, {"guard": setting})):
        for name in CASES:
            assert_array_equal(flooded(name), EXPECTED[name], err_msg=name)


def test_cases_grow_meet_and_end_at_shores() -> None:
    """Else the tests above would ask for little."""
    grown = [(EXPECTED[name] != seeds).mean() for name, (_, seeds, _) in CASES.items()]
    assert np.count_nonzero(np.array(grown) > 0.2) >= 8
    cost, _, limit = CASES["two levels, wide shores"]
    assert (EXPECTED["two levels, wide shores"][cost > limit] > 0).mean() > 0.5


def test_threads_of_one_warp_flood_basins_of_their_own(host_cuda, monkeypatch) -> None:
    monkeypatch.setattr(flood, "ALONE", 1)
    assert not noticed()


def test_a_basin_too_large_for_a_thread_is_flooded_on_the_host(host_cuda, monkeypatch, caplog) -> None:
    monkeypatch.setattr(flood, "LARGEST", 1000)
    caplog.set_level(logging.DEBUG, "gpuseg")
    assert_array_equal(flooded("many basins"), EXPECTED["many basins"])
    assert not [r for r in caplog.records if "on the host" in r.message]
    assert_array_equal(flooded("one basin"), EXPECTED["one basin"])
    assert "flooding on the host: a basin of 2800 pixels, a thread takes 1000" in caplog.text


def test_without_memory_for_it_an_image_is_flooded_on_the_host(host_cuda, monkeypatch, caplog) -> None:
    monkeypatch.setattr(flood, "BYTES", 2**60)
    caplog.set_level(logging.DEBUG, "gpuseg")
    assert_array_equal(flooded("a row"), EXPECTED["a row"])
    assert f"flooding on the host: 300 pixels of {2**60} bytes" in caplog.text


def test_a_large_basin_without_seeds_is_no_reason_for_the_host(host_cuda, monkeypatch, caplog) -> None:
    monkeypatch.setattr(flood, "LARGEST", 1000)
    caplog.set_level(logging.DEBUG, "gpuseg")
    cost, seeds = np.zeros((1, 50, 60), np.float32), np.zeros((1, 50, 60), np.int32)
    cost[:, :, 5], seeds[:, 3, 2] = 1, 9
    b = get_backend("cuda")
    grown = b.to_numpy(b.flood(b.asarray(cost), b.asarray(seeds), 0.5))
    assert_array_equal(grown[0], np.broadcast_to(9 * (np.arange(60) <= 5), (50, 60)))
    assert "on the host" not in caplog.text


def test_larger_images_have_larger_basins_on_the_device(host_cuda, monkeypatch, caplog) -> None:
    monkeypatch.setattr(flood, "LARGEST", 10)
    monkeypatch.setattr(flood, "SLOWER", 1)
    caplog.set_level(logging.DEBUG, "gpuseg")
    assert_array_equal(flooded("one basin"), EXPECTED["one basin"])
    assert "on the host" not in caplog.text


KERNELS = {  # name -> what it says, what the mutant says; none writes outside of its own room
    "the younger first, or any": ("if (entry < lowest) break;", "if (entry >> 32 <= lowest >> 32) break;"),
    "any child goes up": ("if (other < lowest) least", "if (other > lowest) least"),
    "no order in the heap of seeds": ("int i = size / CHILDREN; i >= 0", "int i = size / CHILDREN; i > size"),
    "pixels stay where they are put": ("entry < heap[above = (i - 1) / CHILDREN]", "false"),
    "priorities sink": ("k = max(keys[side], own)", "k = keys[side]"),
    "shores by cost alone": ("while (p != q && key[p] == key[q])", "while (false)"),
    "seeds pushed last": ("return by_p == SEED && (", "return by_q == SEED && ("),
    "later seeds first": ("by_q != SEED || p < q", "by_q != SEED || p > q"),
    "shores flow on": ("key[q] > limit || label[q] == 0", "label[q] == 0"),
    "growth beyond the limit": ("within[i] = k <= limit", "within[i] = 1"),
    "a number beyond all": ("size > INFINITE ? INFINITE :", "size > BEYOND ? INFINITE :"),
    "costs below 0 turned around": ("bits < 0 ? -size : size", "size"),
    "the last basin left out": ("b <= basins", "b < basins"),
    "nothing grows into the last column": ("x + 1 < v.width", "x + 2 < v.width"),
}


@pytest.mark.parametrize(("old", "new"), KERNELS.values(), ids=KERNELS.keys())
def test_a_wrong_kernel_is_noticed(host_cuda, monkeypatch, old, new) -> None:
    right = _kernels.source
    assert old in right("flood"), "the mutant changes nothing"
    monkeypatch.setattr(_kernels, "source", lambda file: right(file).replace(old, new))
    assert noticed()


def test_a_limit_one_step_lower_is_noticed(host_cuda, monkeypatch) -> None:
    right = flood._key
    monkeypatch.setattr(flood, "_key", lambda limit: right(limit) - 1)
    assert noticed()
