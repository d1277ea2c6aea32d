"""Flat forests: their layout, their thresholds, and what is refused before anything walks them."""

from dataclasses import replace
from time import perf_counter

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from gpuseg.errors import ModelError
from gpuseg.forests import arrays
from gpuseg.forests.arrays import Forest, Tree, float32_threshold

INF = np.float32(np.inf)
TINY = np.float32(1e-45)  # the smallest positive float32
MOST = np.finfo(np.float32).max


def tree() -> Tree:
    """Feature 0 below 1: A for sure; else feature 1 below 2: half and half, else B. Right child first."""
    feature = np.array([0, 1, -2, -2, -2])
    left, right = np.array([2, 4, -1, -1, -1]), np.array([1, 3, -1, -1, -1])
    proba = np.array([[9, 9], [9, 9], [1, 0], [0, 1], [0.5, 0.5]])
    return Tree(feature, np.float32([1, 2, -2, -2, -2]), left, right, proba)


def answers(forest: Forest, rows: list[list[float]]) -> np.ndarray:
    n, trees = len(rows), len(forest.roots)
    node = np.tile(forest.roots, n)
    leaf = forest.descend(np.float32(rows), np.repeat(np.arange(n), trees), node)
    return forest.leaves[leaf].reshape(n, trees, -1).mean(axis=1)


ROWS = [[0, 0], [1, 0], [1, 2], [0.999, 9], [np.nan, np.nan]]
EXPECTED = [[1, 0], [0.5, 0.5], [0, 1], [1, 0], [0, 1]]


def test_a_tree_answers_as_it_was_given() -> None:
    assert_array_equal(answers(Forest.from_trees([tree()], 2), ROWS), EXPECTED)


def test_siblings_stand_side_by_side_after_their_parents() -> None:
    forest = Forest.from_trees([tree(), tree()], 2)
    assert forest.roots.tolist() == [0, 5]
    assert forest.feature.tolist() == [0, -1, 1, -1, -1] * 2
    assert forest.left.tolist() == [1, 0, 3, 2, 1, 6, 0, 8, 2, 1]
    assert forest.depth == 2


def test_equal_leaves_are_stored_once() -> None:
    forest = Forest.from_trees([tree()] * 7, 2)
    assert_array_equal(forest.leaves, [[1, 0], [0, 1], [0.5, 0.5]])


def test_a_single_leaf_is_a_tree() -> None:
    leaf = Tree(np.array([-1]), np.float32([0]), np.array([-1]), np.array([-1]), np.array([[0.25, 0.75]]))
    forest = Forest.from_trees([leaf], 1)
    assert_array_equal(answers(forest, [[3], [-3]]), [[0.25, 0.75]] * 2)
    assert forest.depth == 0


def test_joined_forests_have_all_trees() -> None:
    one = Forest.from_trees([tree()], 2)
    leaf = Tree(np.array([-1]), np.float32([0]), np.array([-1]), np.array([-1]), np.array([[0.0, 1.0]]))
    joined = Forest.join([one, Forest.from_trees([leaf], 2), one])
    assert len(joined.roots) == 3
    assert_allclose(answers(joined, ROWS), (2 * np.array(EXPECTED) + [0, 1]) / 3)
    assert len(joined.leaves) == 3


def test_forests_that_differ_are_not_joined() -> None:
    with pytest.raises(ModelError, match="different"):
        Forest.join([Forest.from_trees([tree()], 2), Forest.from_trees([tree()], 3)])
    with pytest.raises(ModelError, match="at least one tree"):
        Forest.from_trees([], 3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"right": np.array([0, 3, -1, -1, -1])}, "before its parent"),  # a cycle to the root
        ({"right": np.array([7, 3, -1, -1, -1])}, "outside the 5 nodes"),
        ({"right": np.array([2, 3, -1, -1, -1])}, "reached in"),  # both sides the same leaf
        ({"threshold": np.float32([np.nan, 2, 0, 0, 0])}, "threshold is nan"),
        ({"threshold": np.float32([np.inf, 2, 0, 0, 0])}, "threshold is inf"),
        ({"proba": np.array([[9, 9], [9, 9], [1, 1], [0, 1], [0.5, 0.5]])}, "must add to 1"),
        ({"feature": np.array([0, 2, -2, -2, -2])}, "column 2, there are 2"),
    ],
)
def test_broken_trees_are_refused(change: dict[str, np.ndarray], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        Forest.from_trees([tree()._replace(**change)], 2)


def test_a_child_in_another_tree_is_refused() -> None:
    second = tree()._replace(left=np.array([-3, 4, -1, -1, -1]))
    with pytest.raises(ModelError, match="another tree"):
        Forest.from_trees([tree(), second], 2)


def damage(name: str, index: int, value: float) -> Forest:
    forest = Forest.from_trees([tree(), tree()], 2)
    array = getattr(forest, name).copy()
    array[index] = value
    return replace(forest, **{name: array})


@pytest.mark.parametrize(
    ("name", "index", "value", "message"),
    [
        ("feature", 0, 2, "column 2, there are 2"),
        ("feature", 0, -2, "column -2"),
        ("feature", 0, -1, "reached in 0 ways"),
        ("threshold", 2, np.nan, "threshold is nan"),
        ("threshold", 1, -np.inf, "threshold is -inf"),
        ("left", 0, 0, "before its parent"),
        ("left", 2, 9, "beyond the last of 10 nodes"),
        ("left", 2, -7, "before its parent"),
        ("left", 0, 3, "reached in"),
        ("left", 1, 3, "outside the table of 3 rows"),
        ("left", 1, -1, "outside the table"),
        ("roots", 0, 10, "outside the 10 nodes"),
        ("roots", 0, -1, "outside the 10 nodes"),
        ("roots", 0, 5, "reached in"),
        ("leaves", 2, 0.75, "must add to 1"),
        ("leaves", 2, np.nan, "must add to 1"),
    ],
)
def test_damaged_arrays_are_refused(name: str, index: int, value: float, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        damage(name, index, value).validate()


def test_leaves_outside_0_to_1_are_refused_though_they_add_to_1() -> None:
    forest = Forest.from_trees([tree()], 2)
    with pytest.raises(ModelError, match="must add to 1"):
        replace(forest, leaves=np.float32([[1, 0], [0, 1], [1.5, -0.5]])).validate()


def test_a_leaf_may_have_no_answer() -> None:
    forest = Forest.from_trees([tree()], 2)
    replace(forest, leaves=np.float32([[1, 0], [0, 1], [0, 0]])).validate()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"feature": np.zeros(5, np.int64)}, "feature is int64"),
        ({"threshold": np.zeros(4, np.float32)}, r"threshold is float32 \(4,\), it must be float32 \(5,\)"),
        ({"roots": np.zeros((1, 1), np.int32)}, "roots is int32"),
        ({"roots": np.zeros(0, np.int32)}, "roots is empty"),
        ({"leaves": np.zeros(3, np.float32)}, "leaves is float32"),
        ({"leaves": np.zeros((3, 0), np.float32)}, "leaves is empty"),
    ],
)
def test_arrays_of_another_form_are_refused(change: dict[str, np.ndarray], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        replace(Forest.from_trees([tree()], 2), **change).validate()


def chain(levels: int) -> Tree:
    """A tree that goes right at every level."""
    n = 2 * levels + 1
    inner = np.arange(n) % 2 == 0
    inner[-1] = False
    left, right = np.where(inner, np.arange(n) + 1, -1), np.where(inner, np.arange(n) + 2, -1)
    return Tree(np.where(inner, 0, -1), np.zeros(n, np.float32), left, right, np.tile([1.0, 0.0], (n, 1)))


def test_trees_that_are_too_deep_are_refused() -> None:
    assert Forest.from_trees([chain(arrays.MAX_DEPTH)], 1).depth == arrays.MAX_DEPTH
    with pytest.raises(ModelError, match="levels deep"):
        Forest.from_trees([chain(arrays.MAX_DEPTH + 1)], 1)


def test_a_million_nodes_are_checked_in_a_moment() -> None:
    forest = Forest.join([Forest.from_trees([chain(500)] * 10, 1)] * 100)
    assert len(forest.feature) == 1_001_000
    times = []
    for _ in range(5):
        start = perf_counter()
        forest.validate()
        times.append(perf_counter() - start)
    assert min(times) < 0.25  # 0.03 s alone on one core; machines that test are busy


@pytest.mark.parametrize(
    ("threshold", "inclusive", "expected"),
    [
        (1.0, True, np.nextafter(np.float32(1), INF)),  # exactly a float32
        (1.0, False, np.float32(1)),
        (0.1, True, np.float32(0.1)),  # float32(0.1) is above 0.1
        (0.1, False, np.float32(0.1)),
        (-0.1, True, np.nextafter(np.float32(-0.1), INF)),  # float32(-0.1) is below -0.1
        (-0.1, False, np.nextafter(np.float32(-0.1), INF)),
        (0.0, True, TINY),
        (0.0, False, np.float32(0)),
        (-0.0, True, TINY),
        (1e-60, True, TINY),  # vanishes in float32
        (1e-60, False, TINY),
        (-1e-60, True, np.float32(0)),
        (-1e-60, False, np.float32(0)),
        (float(TINY), False, TINY),
        (float(MOST), True, INF),
        (float(MOST), False, MOST),
        (1e300, True, INF),
        (1e300, False, INF),
        (-1e300, True, -MOST),
        (-1e300, False, -MOST),
    ],
)
def test_thresholds_are_rounded_to_give_the_same_answers(
    threshold: float, inclusive: bool, expected: np.float32
) -> None:
    assert float32_threshold(np.array([threshold]), inclusive=inclusive)[0] == expected


@pytest.mark.parametrize("inclusive", [True, False])
def test_rounded_thresholds_agree_with_float64_on_every_neighbour(inclusive: bool) -> None:
    rng = np.random.default_rng(0)
    values = (rng.normal(size=4000) * 10.0 ** rng.integers(-44, 38, 4000)).astype(np.float32)
    ends = np.stack([values, np.nextafter(values, INF)])
    exact = np.concatenate([ends.mean(axis=0, dtype=np.float64), *ends.astype(np.float64)])
    rounded = float32_threshold(exact, inclusive=inclusive)
    for x in (*np.tile(ends, 3), *np.tile(-ends, 3)):
        truth = x.astype(np.float64) <= exact if inclusive else x.astype(np.float64) < exact
        assert_array_equal(x < rounded, truth)


def test_thresholds_that_are_no_number_stay_so() -> None:
    assert np.isnan(float32_threshold(np.array([np.nan]), inclusive=True)[0])
