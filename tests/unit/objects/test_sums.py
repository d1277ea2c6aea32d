"""Sums of parts of objects, put together, are the sums of whole objects."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from gpuseg.backends import get_backend
from gpuseg.backends.base import SUMS
from gpuseg.objects.sums import Part, merge, needed

B = get_backend("cpu")
RANGES = np.array([[0.0, 255.0], [20.0, 230.0]])


def cuts(rng: np.random.Generator, size: int) -> list[slice]:
    """An axis in up to four pieces."""
    at = np.unique([0, size, *rng.integers(0, size + 1, 3)])
    return [slice(int(a), int(b)) for a, b in pairwise(at)]


def parts(labels: np.ndarray, values: np.ndarray, wants: list[str], seed: int) -> list[Part]:
    """A part for each block of a random division; its objects are numbered anew, in any order."""
    rng = np.random.default_rng(seed)
    made = []
    zs, ys, xs = (cuts(rng, n) for n in labels.shape)
    for block in ((z, y, x) for z in zs for y in ys for x in xs):
        ids = rng.permutation(np.setdiff1d(np.unique(labels[block]), [0]))
        own = np.zeros(labels.max() + 1, np.int32)
        own[ids] = np.arange(1, len(ids) + 1)
        pixels = values[(slice(None), *block)]
        sums = B.region_sums(own[labels[block]], len(ids), pixels, needed(wants), RANGES)
        made.append(Part(ids, tuple(s.start for s in block), sums))
    rng.shuffle(made)
    return made


def scene(seed: int, shape: tuple[int, ...], whole_numbers: bool = False) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 7, shape).astype(np.int32)
    labels[labels == 3] = 0  # an id that nobody has
    values = rng.uniform(0, 255, (2, *shape)).astype(np.float32)
    return labels, np.floor(values / 8) if whole_numbers else values


shapes = st.tuples(st.integers(1, 6), st.integers(1, 12), st.integers(2, 15))


@given(seed=st.integers(0, 9999), shape=shapes, whole_numbers=st.booleans())
def test_parts_add_up_to_the_whole(seed, shape, whole_numbers):
    labels, values = scene(seed, shape, whole_numbers)
    if not labels.any():
        labels[0, 0, 0] = 1
    ids, found = merge(parts(labels, values, list(SUMS), seed))
    expected = B.region_sums(labels, 6, values, list(SUMS), RANGES)
    there = np.flatnonzero(expected["count"])
    assert_array_equal(ids, there + 1)
    for name, says in SUMS.items():
        e = expected[name][there]
        assert found[name].dtype == e.dtype, name
        if says.startswith("int64") or name == "extremes" or (name == "sum" and whole_numbers):
            assert_array_equal(found[name], e, err_msg=name)
        else:
            size = np.abs(e).max(initial=1e-3)
            assert_allclose(found[name], e, rtol=1e-12, atol=1e-12 * size, err_msg=name)


@pytest.mark.parametrize("name", SUMS)
def test_what_is_needed_is_enough(name):
    labels, values = scene(1, (5, 12, 15))
    ids, found = merge(parts(labels, values, [name], 1))
    e = B.region_sums(labels, 6, values, [name], RANGES)[name][ids - 1]
    assert_allclose(found[name], e, rtol=1e-12, atol=1e-12 * np.abs(e).max())


def test_an_object_of_one_value_has_no_moments_however_it_is_divided():
    labels, _ = scene(2, (5, 12, 15))
    values = np.stack([np.float32(0.1) * labels, np.full(labels.shape, 1e5 + 1 / 3)]).astype(np.float32)
    _, found = merge(parts(labels, values, ["moments", "covariance"], 2))
    assert not found["moments"].any()
    assert not found["covariance"].any()


def test_an_object_far_from_the_origin_loses_no_digits():
    labels, values = scene(3, (5, 12, 15))
    here = parts(labels, values, ["third", "fourth"], 3)
    there = [Part(p.ids, tuple(o + 200_000 for o in p.origin), p.sums) for p in here]
    a, b = merge(here)[1], merge(there)[1]
    for name in ("third", "fourth"):
        assert_allclose(b[name], a[name], rtol=1e-12, atol=1e-12 * np.abs(a[name]).max())


def test_ids_may_be_any_numbers():
    sums = B.region_sums(np.array([[[1, 2, 2]]], np.int32), 2, None, ["count"])
    ids, found = merge([Part(np.array([2**40, 7]), (0, 0, 0), sums), Part(np.array([7, 9]), (0, 0, 3), sums)])
    assert_array_equal(ids, [7, 9, 2**40])
    assert_array_equal(found["count"], [3, 2, 1])


def test_parts_without_objects_give_none():
    sums = B.region_sums(np.zeros((1, 2, 2), np.int32), 0, np.zeros((1, 1, 2, 2), np.float32), list(SUMS))
    ids, found = merge([Part(np.zeros(0, np.int64), (0, 0, 0), sums)])
    assert len(ids) == 0
    assert {name: len(rows) for name, rows in found.items()} == dict.fromkeys(SUMS, 0)
