"""The queue walk gives the probabilities that following every pixel down every tree gives."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from gpuseg.backends.cpu import ReferenceBackend
from gpuseg.errors import ModelMismatchError
from gpuseg.features.selection import Selection
from gpuseg.features.stack import feature_stack, probabilities
from gpuseg.forests.arrays import Forest

REFERENCE = ReferenceBackend()


def grow(rng: np.random.Generator, trees: int, depth: int, features: int, leaves: np.ndarray) -> Forest:
    """Random trees; thresholds among a few values, so that numbers equal to a threshold occur."""
    feature, threshold, left, roots = [], [], [], []

    def split(node: int, level: int) -> None:
        if level == depth or (level and rng.random() < (0.25 if depth < 15 else 0.5)):
            feature[node], left[node] = -1, int(rng.integers(len(leaves)))
            return
        feature[node], threshold[node] = int(rng.integers(features)), float(rng.integers(-3, 4)) / 4
        left[node] = len(feature)
        for _ in range(2):
            feature.append(0), threshold.append(0.0), left.append(0)
        children = left[node]
        split(children, level + 1)
        split(children + 1, level + 1)

    for _ in range(trees):
        roots.append(len(feature))
        feature.append(0), threshold.append(0.0), left.append(0)
        split(roots[-1], 0)
    return Forest(
        np.array(feature, np.int32), np.array(threshold, np.float32), np.array(left, np.int32),
        np.array(roots, np.int32), leaves.astype(np.float32), features,
    )  # fmt: skip


def planes(rng: np.random.Generator, features: int, *shape: int) -> np.ndarray:
    return (rng.integers(-8, 9, (features, *shape)) / 8).astype(np.float32)


IMPURE = np.array([[1, 0, 0], [0, 1, 0], [0.25, 0.5, 0.25], [0, 0, 1], [0.5, 0.5, 0]])
FORESTS = {
    "pure, two classes": (30, 7, np.eye(2)),
    "one tree": (1, 9, np.eye(2)),
    "leaves of several classes": (23, 6, IMPURE),
    "trees of one leaf": (12, 0, np.eye(3)),
    "nine classes": (25, 8, np.eye(9)),
    "more trees than a byte counts": (612, 3, np.eye(2)),
    "as many, of several classes": (300, 4, IMPURE),
    "deep": (11, 40, np.eye(2)),
    "a class that no leaf names": (10, 5, np.eye(4)[:2]),
}


@pytest.mark.parametrize(("trees", "depth", "leaves"), FORESTS.values(), ids=FORESTS.keys())
@pytest.mark.parametrize("shape", [(1, 33, 50), (5, 9, 17), (1, 1, 300), (1, 1, 1)], ids=str)
def test_walk_equals_reference(fast, trees, depth, leaves, shape):
    rng = np.random.default_rng(trees + depth)
    forest, stack = grow(rng, trees, depth, 5, leaves), planes(rng, 5, *shape)
    expected = REFERENCE.forest_proba(stack, forest)
    actual = fast.forest_proba(stack, forest)
    assert (actual.shape, actual.dtype) == ((*shape, leaves.shape[1]), np.float32)
    assert_allclose(actual, expected, atol=1e-6)


def test_votes_are_exact_hundredths(fast):
    rng = np.random.default_rng(1)
    proba = fast.forest_proba(planes(rng, 5, 1, 20, 20), grow(rng, 100, 6, 5, np.eye(2)))
    votes = np.rint(proba * 100).astype(np.float32)
    assert_array_equal(proba, votes / np.float32(100))
    assert_array_equal(votes.sum(-1), 100)


def test_not_a_number_goes_right(fast):
    forest = Forest(
        np.array([0, -1, -1], np.int32), np.array([0.5, 0, 0], np.float32), np.array([1, 0, 1], np.int32),
        np.array([0], np.int32), np.eye(2, dtype=np.float32), 1,
    )  # fmt: skip
    stack = np.array([0.4, 0.5, np.nan, np.inf, -np.inf], np.float32).reshape(1, 1, 1, 5)
    assert_array_equal(fast.forest_proba(stack, forest)[0, 0, :, 0], [1, 0, 0, 0, 1])


def test_fused_equals_stored_planes(fast):
    rng = np.random.default_rng(2)
    for shape, in_2d in (
        ((1, 1, 61, 210), True),
        ((2, 1, 30, 20), True),
        ((1, 20, 19, 70), False),
        ((1, 6, 40, 40), (3.5,)),
    ):
        pixels = (rng.random(shape) * 2 - 1).astype(np.float32)
        selection = Selection.table(
            {"gaussian_smoothing": [0.3, 1.0, 3.5], "structure_tensor_eigenvalues": [1.0]}, in_2d=in_2d
        )
        forest = grow(rng, 40, 8, selection.count(*shape[:2]), IMPURE)
        stored = fast.forest_proba(feature_stack(fast, pixels, selection), forest)
        assert_array_equal(probabilities(fast, pixels, selection, forest), stored)
        core = tuple(slice(n // 3, n // 3 + max(1, n // 2)) for n in shape[1:])
        assert_array_equal(probabilities(fast, pixels, selection, forest, core), stored[core])


def test_a_forest_is_packed_once(fast, monkeypatch):
    from gpuseg.backends._numba import walk

    rng = np.random.default_rng(3)
    forest, stack = grow(rng, 5, 3, 5, np.eye(2)), planes(rng, 5, 1, 4, 4)
    fast.forest_proba(stack, forest)
    monkeypatch.setattr(walk, "pack", None)
    fast.forest_proba(stack, forest)


def test_a_forest_that_asks_for_more_features_is_refused(fast):
    rng = np.random.default_rng(4)
    forest = grow(rng, 20, 6, 5, np.eye(2))
    with pytest.raises(ModelMismatchError, match="tests feature 4, there are 4"):
        fast.forest_proba(planes(rng, 4, 1, 8, 8), forest)
