"""Forests out of ilastik's projects: what they answer, and what is refused."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

from gpuseg.errors import ModelError
from gpuseg.forests.vigra_rf import LEAF, VigraForest, from_vigra

# Below 99.5 in feature 0: label 1, else label 2.
STUMP = ([4, 2, 0, 0, 9, 7, 0, LEAF, 2, LEAF, 5], [1, 99.5, 6, 0, 1, 18, 1, 0])
# Below 50.25: label 1; below 99.5: one part in four label 2; else label 2.
TWO_LEVELS = (
    [4, 2, 0, 0, 7, 12, 0, 0, 2, 14, 16, 0, LEAF, 4, LEAF, 7, LEAF, 10],
    [1, 99.5, 1, 50.25, 6, 0, 1, 9, 1, 0, 8, 0.75, 0.25],
)


def forest(*trees: tuple[Sequence[int], Sequence[float]], labels: tuple[int, ...] = (1, 2)) -> VigraForest:
    return VigraForest(4, labels, tuple((np.int32(t), np.float64(p)) for t, p in trees))


def answers(forests: Sequence[VigraForest], values: Sequence[int], first_feature: Sequence[float]) -> Any:
    found = from_vigra(forests, values)
    rows = np.zeros((len(first_feature), 4), np.float32)
    rows[:, 0] = rows[:, 2] = first_feature
    n, trees = len(rows), len(found.roots)
    leaf = found.descend(rows, np.repeat(np.arange(n), trees), np.tile(found.roots, n))
    return found.leaves[leaf].reshape(n, trees, -1).mean(1)


def test_sub_forests_weigh_as_much_as_they_have_trees() -> None:
    stump, deep = forest(STUMP, STUMP), forest(TWO_LEVELS)
    assert_allclose(answers([stump], [1, 2], [10, 60, 120]), [[1, 0], [1, 0], [0, 1]])
    assert_allclose(answers([deep], [1, 2], [10, 60, 120]), [[1, 0], [0.75, 0.25], [0, 1]])
    mixed = answers([stump, deep], [1, 2], [10, 60, 120])
    assert_allclose(mixed, np.array([[3, 0], [2.75, 0.25], [0, 3]]) / 3, rtol=1e-6)


def test_labels_find_their_columns_and_unpainted_ones_stay_zero() -> None:
    found = answers([forest(TWO_LEVELS, labels=(2, 5))], [1, 2, 3, 4, 5], [10, 60])
    assert_allclose(found, [[0, 1, 0, 0, 0], [0, 0.75, 0, 0, 0.25]])


def test_float32_answers_the_float64_question() -> None:
    """A threshold between two float32 numbers: the lower goes left, the upper does not, as in float64."""
    threshold = 99.5 + 1e-9
    below, above = np.float32(99.5), np.nextafter(np.float32(99.5), np.float32(200))
    tree = (STUMP[0], [1, threshold, *STUMP[1][2:]])
    assert float(below) < threshold < float(above)
    assert_allclose(answers([forest(tree)], [1, 2], [below, above]), [[1, 0], [0, 1]])


def test_equal_goes_right_and_nan_too() -> None:
    assert_allclose(
        answers([forest(STUMP)], [1, 2], [99.5, np.nan, np.inf, -np.inf]), [[0, 1]] * 3 + [[1, 0]]
    )


def changed(tree: tuple[list[int], list[float]], at: int, value: int) -> tuple[list[int], list[float]]:
    topology = list(tree[0])
    topology[at] = value
    return topology, tree[1]


DAMAGED = {
    "cycle to the root": (changed(TWO_LEVELS, 9, 2), "two parents: the tree is a cycle"),
    "cycle to itself": (changed(TWO_LEVELS, 9, 7), "two parents"),
    "shared child": (changed(TWO_LEVELS, 9, 12), "two parents"),
    "child before the root": (changed(STUMP, 4, 1), "node at address 1: its entries end at 11"),
    "child behind the end": (changed(STUMP, 4, 10), "node at address 10: its entries end at 11"),
    "negative child": (changed(STUMP, 4, -9), "node at address -9"),
    "cut inner node": ((TWO_LEVELS[0][:11], TWO_LEVELS[1]), "node at address 12"),
    "inner node at the end": (changed(STUMP, 9, 0), "node at address 9: its entries end at 11"),
    "feature too large": (changed(STUMP, 6, 4), "tests feature 4 of 4"),
    "negative feature": (changed(STUMP, 6, -1), "tests feature -1 of 4"),
    "parameter too large": (changed(STUMP, 3, 7), "reads parameter 7, there are 8"),
    "leaf parameter": (changed(STUMP, 10, 6), "reads parameter 6, there are 8"),
    "negative parameter": (changed(STUMP, 10, -5), "reads parameter -5"),
    "hyperplane": (changed(STUMP, 2, 1), "node of type 1; threshold nodes are type 0"),
    "regression leaf": (changed(STUMP, 7, LEAF + 1), f"node of type {LEAF + 1}"),
    "other feature count": (
        changed(STUMP, 0, 5),
        "made for 5 features and 2 classes, the forest for 4 and 2",
    ),
    "other class count": (changed(STUMP, 1, 3), "made for 4 features and 3 classes"),
    "no nodes": (([4, 2], [1.0]), "too short to hold a node"),
    "two-dimensional": (([[4, 2, 0, 0]], [1.0]), "too short"),
    "infinite threshold": ((STUMP[0], [1, np.inf, *STUMP[1][2:]]), "threshold is inf"),
    "NaN threshold": ((STUMP[0], [1, np.nan, *STUMP[1][2:]]), "threshold is nan"),
    "probabilities of 3": ((STUMP[0], [1, 99.5, 6, 1, 1, 18, 1, 0]), "must add to 1"),
    "probability of 1e300": ((STUMP[0], [1, 99.5, 6, 1e300, 1, 18, 1, 0]), "not numbers from 0 to 1"),
    "NaN probability": ((STUMP[0], [1, 99.5, 6, np.nan, 1, 18, 1, 0]), "not numbers from 0 to 1"),
}


@pytest.mark.parametrize(("tree", "problem"), DAMAGED.values(), ids=DAMAGED.keys())
def test_damaged_trees_are_refused(tree: Any, problem: str) -> None:
    with pytest.raises(ModelError, match=problem):
        from_vigra([forest(STUMP), forest(tree)], [1, 2])


def test_the_damaged_tree_is_named() -> None:
    with pytest.raises(ModelError, match=r"^Forest0001, tree 2: a node of type 1"):
        from_vigra([forest(STUMP), forest(STUMP, STUMP, changed(STUMP, 2, 1))], [1, 2])


def test_random_topologies_end_in_an_answer_or_a_named_error() -> None:
    """5,000 trees with one to four entries changed: no crash, no hang, no forest that is not checked."""
    rng, refused = np.random.default_rng(3), 0
    for _ in range(5000):
        topology, parameters = np.int32(TWO_LEVELS[0]), np.float64(TWO_LEVELS[1])
        for _ in range(rng.integers(1, 5)):
            topology[rng.integers(len(topology))] = rng.choice(
                [0, 1, 2, 7, 12, 14, 16, 17, LEAF, -1, 2**31 - 1]
            )
        try:
            from_vigra([VigraForest(4, (1, 2), ((topology, parameters),))], [1, 2])
        except ModelError:
            refused += 1
    assert 3000 < refused < 5000


@pytest.mark.parametrize(
    ("forests", "problem"),
    [
        ([], "has no trees"),
        ([VigraForest(4, (1, 2), ())], "has no trees"),
        ([forest(STUMP), VigraForest(5, (1, 2), ())], "Forest0001 wants 5 features, Forest0000 4"),
        ([forest(STUMP, labels=(1, 3))], r"predicts the labels \[1, 3\], the project has \[1, 2\]"),
        ([forest(STUMP, labels=(1, 1))], r"predicts the labels \[1, 1\]"),
        ([forest(STUMP, labels=())], r"predicts the labels \[\]"),
    ],
)
def test_forests_that_do_not_fit_are_refused(forests: Sequence[VigraForest], problem: str) -> None:
    with pytest.raises(ModelError, match=problem):
        from_vigra(forests, [1, 2])
