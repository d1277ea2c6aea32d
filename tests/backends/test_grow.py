"""Trees grow as scikit-learn's do, and the compiled way grows exactly those of the plain one."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.tree import DecisionTreeClassifier

from gpuseg.backends import _reference_grow, get_backend
from gpuseg.backends.base import Grown, Growth
from gpuseg.backends.cpu import CpuBackend, ReferenceBackend


def data(rows: int, features: int, classes: int, values: int = 256, alike: int = 0, seed: int = 0):
    """Codes below `values`, the class mostly that of the first feature's; `alike` others say nothing."""
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, values, (features, rows)).astype(np.uint8)
    target = (
        np.minimum(codes[0].astype(int) * classes // values, rng.integers(0, 2 * classes, rows)) % classes
    )
    codes[1 : 1 + alike] = 7
    return codes, target.astype(np.uint8)


def same(a: Grown, b: Grown) -> None:
    for name, x, y in zip(Grown._fields, a, b, strict=True):
        assert x.dtype == y.dtype, name
        assert_array_equal(x, y, err_msg=name)


CASES = {
    "two classes": ((300, 9, 2), Growth(2, 4, 3, 0)),
    "three classes": ((900, 49, 3), Growth(3, 2, 7, 1)),
    "eight classes": ((400, 20, 8), Growth(8, 2, 4, 2)),
    "forty classes": ((500, 12, 40), Growth(40, 2, 3, 3)),
    "255 classes": ((700, 6, 255), Growth(255, 2, 2, 4)),
    "few values": ((400, 20, 3, 4), Growth(3, 3, 4, 5)),
    "equal rows of several classes": ((80, 3, 2, 2), Growth(2, 5, 1, 6)),
    "most features say nothing": ((300, 40, 2, 3, 36), Growth(2, 3, 2, 7)),
    "more features drawn than are counted together": ((300, 70, 2), Growth(2, 2, 30, 8)),
    "every feature": ((200, 5, 3), Growth(3, 2, 5, 9)),
    "hundreds of features": ((60, 700, 2), Growth(2, 2, 26, 10)),
    "one feature": ((64, 1, 2), Growth(2, 3, 1, 11)),
    "one row": ((1, 2, 2), Growth(2, 2, 1, 12)),
    "two rows": ((2, 1, 2), Growth(2, 9, 1, 2**32 - 1)),
    "a class that nobody has": ((90, 4, 2), Growth(5, 2, 2, 13)),
}


@pytest.mark.parametrize(("shape", "how"), CASES.values(), ids=CASES.keys())
def test_compiled_trees_are_those_of_the_reference(shape, how) -> None:
    codes, target = data(*shape)
    same(CpuBackend().grow(codes, target, how), ReferenceBackend().grow(codes, target, how))


@pytest.mark.parametrize("threads", [1, 2, 3, 9])
def test_threads_change_nothing(threads) -> None:
    codes, target = data(500, 16, 3)
    expected = get_backend("cpu").grow(codes, target, Growth(3, 7, 4, 5))
    same(get_backend("cpu").grow(codes, target, Growth(3, 7, 4, 5, threads)), expected)


def test_trees_do_not_depend_on_how_many_there_are() -> None:
    codes, target = data(200, 9, 2)
    few, many = (ReferenceBackend().grow(codes, target, Growth(2, n, 3, 5)) for n in (2, 4))
    assert_array_equal(few.feature, many.feature[: len(few.feature)])
    assert_array_equal(few.leaf, many.leaf[:2])


def test_seeds_differ() -> None:
    codes, target = data(200, 9, 2)
    one, two = (ReferenceBackend().grow(codes, target, Growth(2, 1, 3, s)) for s in (0, 1))
    assert (one.leaf != two.leaf).any()


@pytest.fixture(scope="module")
def grown() -> tuple[np.ndarray, np.ndarray, Grown]:
    codes, target = data(400, 9, 3)
    return codes, target, ReferenceBackend().grow(codes, target, Growth(3, 1, 3, 0))


def test_bags_hold_as_many_rows_as_there_are(grown) -> None:
    _, target, tree = grown
    assert tree.counts[0].sum() == len(target)
    assert 0.3 < (tree.leaf >= 0).mean() < 0.43  # 1 / e of the rows are never drawn


def test_children_share_the_rows_of_their_parent(grown) -> None:
    tree = grown[2]
    inner = tree.feature >= 0
    assert_array_equal(tree.counts[inner], tree.counts[tree.left[inner]] + tree.counts[tree.left[inner] + 1])
    assert tree.counts.any(axis=1).all()
    assert_array_equal(tree.left[inner], 1 + 2 * np.arange(inner.sum()))  # breadth-first


def test_leaves_are_pure_where_features_can_tell(grown) -> None:
    tree = grown[2]
    assert (np.count_nonzero(tree.counts[tree.feature < 0], axis=1) == 1).all()


def test_rows_outside_the_bag_end_where_their_codes_lead(grown) -> None:
    codes, _, tree = grown
    for row in np.flatnonzero(tree.leaf[0] >= 0)[:50]:
        node = 0
        while tree.feature[node] >= 0:
            node = tree.left[node] + int(codes[tree.feature[node], row] > tree.code[node])
        assert tree.leaf[0, row] == node


def impurity(counts: np.ndarray) -> float:
    return float(counts.sum() - (counts.astype(float) ** 2).sum() / counts.sum())


@pytest.mark.parametrize("seed", range(5))
def test_splits_are_as_good_as_scikit_learns(seed) -> None:
    """Of all features, the best split of the root; and whole trees of the same size."""
    codes, target = data(300, 6, 3, seed=seed)
    tree = ReferenceBackend().grow(codes, target, Growth(3, 1, 6, seed))
    times = _reference_grow.drawn(_reference_grow.draw(_reference_grow.mix(seed), 0), 300)
    theirs = (
        DecisionTreeClassifier(random_state=0).fit(codes.T.astype(float), target, times.astype(float)).tree_
    )
    ours = impurity(tree.counts[1]) + impurity(tree.counts[2])
    left, right = theirs.children_left[0], theirs.children_right[0]
    best = sum(theirs.weighted_n_node_samples[i] * theirs.impurity[i] for i in (left, right))
    assert ours == pytest.approx(best, abs=1e-9)
    assert len(tree.feature) == pytest.approx(theirs.node_count, rel=0.1)  # ties are broken otherwise


def test_a_split_that_gains_nothing_is_taken() -> None:
    """Exclusive or, each row drawn once: either split of the root leaves the impurity as it is."""
    codes, target = np.array([[0, 0, 9, 9], [0, 9, 0, 9]], np.uint8), np.array([0, 1, 1, 0], np.uint8)
    keys = {s: _reference_grow.draw(_reference_grow.mix(s), 0) for s in range(200)}
    even = [s for s, key in keys.items() if (_reference_grow.drawn(key, 4) == 1).all()]
    assert len(even) > 10
    for seed in even:
        tree = ReferenceBackend().grow(codes, target, Growth(2, 1, 2, seed))
        root = _reference_grow.draw(keys[seed], _reference_grow.ROOT)
        assert tree.feature[0] == _reference_grow._drawn_features(root, 2, 2)[0]
        assert (np.count_nonzero(tree.counts, axis=1) == [2, 2, 2, 1, 1, 1, 1]).all()


def test_features_that_divide_are_found_among_many_that_do_not() -> None:
    codes = np.zeros((50, 40), np.uint8)
    codes[33] = np.arange(40)
    target = (np.arange(40) > 20).astype(np.uint8)
    tree = ReferenceBackend().grow(codes, target, Growth(2, 20, 7, 0))
    assert set(tree.feature) == {-1, 33}


def test_rows_that_features_cannot_tell_apart_share_a_leaf() -> None:
    tree = ReferenceBackend().grow(
        np.full((3, 8), 5, np.uint8), np.arange(8, dtype=np.uint8) % 2, Growth(2, 4, 2, 0)
    )
    assert tree.sizes.tolist() == [1] * 4
    assert (tree.feature == -1).all()


def test_thresholds_lie_halfway_between_codes_that_occur() -> None:
    codes = np.array([[10, 10, 200, 200] * 8], np.uint8)
    tree = ReferenceBackend().grow(codes, (codes[0] > 50).astype(np.uint8), Growth(2, 1, 1, 0))
    assert tree.code[0] == 105


def test_draws_are_fair() -> None:
    """Each feature is drawn as often as any other, first as well as later."""
    drawn = [_reference_grow._drawn_features(_reference_grow.draw(5, i), 10, 3) for i in range(20000)]
    for place in np.array(drawn).T:
        assert np.abs(np.bincount(place, minlength=10) / 2000 - 1).max() < 0.1
    assert all(len(set(d)) == 3 for d in drawn)
