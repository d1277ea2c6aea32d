"""Training: ilastik's settings, the same model in any order, and what cannot be learned from."""

import sys
from types import ModuleType

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.tree import DecisionTreeClassifier

from gpuseg.errors import InputError, LabelError
from gpuseg.forests import TRAINERS, get_trainer, sklearn_rf
from gpuseg.forests.sklearn_rf import train
from gpuseg.forests.training import Trained, canonical_order, check_labels, check_rows, confusion_matrix
from gpuseg.forests.validation import Validation, cross_validate, strokes

FIELDS = ("feature", "threshold", "left", "roots", "leaves")


def data(count: int = 400, features: int = 9, classes: int = 3, seed: int = 0):
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(count, features)).astype(np.float32)
    return rows, np.digitize(rows[:, 0] + 0.5 * rng.normal(size=count), np.linspace(-1, 1, classes - 1)) + 1


def test_forest_answers_as_scikit_learn_does(monkeypatch: pytest.MonkeyPatch) -> None:
    grown: list[DecisionTreeClassifier] = []

    class Kept(DecisionTreeClassifier):
        def fit(self, *args, **kwargs):
            grown.append(self)
            return super().fit(*args, **kwargs)

    monkeypatch.setattr(sklearn_rf, "DecisionTreeClassifier", Kept)
    rows, labels = data()
    forest = train(rows, labels, trees=30, threads=1).forest
    queries = np.concatenate([rows, data(seed=1)[0]])

    n, trees = len(queries), len(forest.roots)
    leaf = forest.descend(queries, np.repeat(np.arange(n), trees), np.tile(forest.roots, n))
    ours = forest.leaves[leaf].reshape(n, trees, -1).mean(axis=1)
    theirs = np.mean([tree.predict_proba(queries) for tree in grown], axis=0)

    assert_allclose(ours, theirs, atol=1e-6)
    assert {tree.max_features for tree in grown} == {3}
    assert all(tree.tree_.impurity[tree.tree_.children_left < 0].max() == 0 for tree in grown)


def test_order_and_threads_change_nothing() -> None:
    rows, labels = data()
    rows = rows.round(1)  # equal values and equal rows
    rows[100:150] = rows[:50]
    first = train(rows, labels, trees=20, threads=1)
    for seed in range(5):
        order = np.random.default_rng(seed).permutation(len(rows))
        again = train(rows[order], labels[order].astype(np.uint8), trees=20, threads=1 + seed % 2)
        for name in FIELDS:
            assert_array_equal(getattr(first.forest, name), getattr(again.forest, name))
        assert_array_equal(first.oob_confusion, again.oob_confusion)


def test_the_seed_changes_the_forest() -> None:
    one, two = (train(*data(), trees=5, seed=s).forest for s in (0, 1))
    assert len(one.feature) != len(two.feature) or (one.threshold != two.threshold).any()


def test_out_of_bag_is_told_for_rows_as_given() -> None:
    rows, labels = data(300)
    trained = train(rows, labels, trees=50)
    assert_allclose(trained.oob_proba.sum(axis=1), 1, atol=1e-6)
    right = trained.classes[trained.oob_proba.argmax(axis=1)] == labels
    assert trained.oob_accuracy == pytest.approx(right.mean())
    assert 0.6 < trained.oob_accuracy < 0.95  # noise keeps it from 1: trees that saw a row do not answer
    assert trained.oob_confusion.sum(axis=1).tolist() == np.bincount(labels)[1:].tolist()


def test_rows_that_every_tree_learned_from_are_not_counted() -> None:
    trained = train(np.float32([[0], [1], [2], [3]]), np.array([1, 1, 2, 2]), trees=1)
    answered = trained.oob_proba.any(axis=1)
    assert trained.oob_confusion.sum() == answered.sum() < 4
    nothing = Trained(trained.forest, trained.classes, trained.oob_proba, np.zeros((2, 2), int), np.ones(1))
    assert np.isnan(nothing.oob_accuracy)


def test_importances_find_the_feature_that_matters() -> None:
    trained = train(*data(classes=2), trees=30)
    assert trained.importances.argmax() == 0
    assert trained.importances.sum() == pytest.approx(1)


def test_identical_rows_of_two_classes_give_a_mixed_leaf() -> None:
    trained = train(np.ones((10, 4), np.float32), np.array([1] * 5 + [2] * 5), trees=10)
    assert len(trained.forest.feature) == 10
    assert 0.3 < trained.forest.leaves[trained.forest.left].mean(axis=0)[0] < 0.7
    assert trained.importances.sum() == 0


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([], "no labelled pixel"),
        ([3, 3, 3], r"only class 3 is labelled \(3 pixels\)"),
        ([0, 1, 2], "label 0: class labels are 1 to 4294967295"),
        ([1, 2**32], "label 4294967296"),
        (range(1, 257), "256 different values, at most 255"),
    ],
)
def test_labels_that_teach_nothing_are_refused(labels: list[int], message: str) -> None:
    with pytest.raises(LabelError, match=message):
        check_labels(np.array(labels, np.int64))


def test_features_that_are_not_finite_are_refused() -> None:
    rows, labels = data(20)
    rows[4, 2] = np.inf
    with pytest.raises(LabelError, match="feature 2 of labelled pixel 4 is inf"):
        train(rows, labels)


def test_large_features_are_not_taken_for_infinite() -> None:
    rows = np.full((4, 3), np.finfo(np.float32).max)
    assert check_rows(rows, np.zeros(4)) is rows


def test_rows_that_do_not_fit_the_labels_are_refused() -> None:
    with pytest.raises(LabelError, match=r"\(3, 2\) do not fit 2 labels"):
        train(np.zeros((3, 2), np.float32), np.array([1, 2]))
    with pytest.raises(InputError, match="0 trees"):
        train(*data(20), trees=0)


def test_canonical_order_depends_on_content_alone() -> None:
    rows, labels = data(50)
    order = canonical_order(rows, labels)
    assert (np.diff(labels[order]) >= 0).all()
    back = np.random.default_rng(0).permutation(50)
    assert_array_equal(rows[back][canonical_order(rows[back], labels[back])], rows[order])


@pytest.mark.parametrize("digits", [6, 1, 0])
def test_canonical_order_is_that_of_bytes_whatever_is_alike(digits: int) -> None:
    rows, labels = data(300, 3)
    rows = rows.round(digits)
    texts = [int(k).to_bytes(4, "big") + row.tobytes() for k, row in zip(labels, rows, strict=True)]
    assert canonical_order(rows, labels).tolist() == sorted(range(300), key=texts.__getitem__)


def test_confusion_counts_labels_by_rows() -> None:
    proba = np.float32([[0.9, 0.1], [0.2, 0.8], [0.4, 0.6], [0, 0]])
    found = confusion_matrix(np.array([7, 7, 9, 9]), proba, np.array([7, 9]))
    assert found.tolist() == [[1, 1], [0, 1]]


def test_trainers_are_found_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    other = ModuleType("other_forest")
    other.train = train
    monkeypatch.setitem(sys.modules, "other_forest", other)
    monkeypatch.setitem(TRAINERS, "other", "other_forest:train")
    assert get_trainer("other") is train
    with pytest.raises(InputError, match="unknown forest 'oak'"):
        get_trainer("oak")


def test_strokes_are_touching_pixels_of_one_label() -> None:
    image = np.zeros((1, 6, 8), int)
    image[0, 0, :3] = 1
    image[0, 1, 3] = 1  # touches by a corner
    image[0, 2, 3] = 2  # touches, but another label
    image[0, 5, 7] = 1
    where = np.argwhere(image)
    found = strokes(where, image[tuple(where.T)])
    names = {tuple(p): g for p, g in zip(where.tolist(), found.tolist(), strict=True)}
    assert names[0, 0, 0] == names[0, 0, 2] == names[0, 1, 3]
    assert len(set(found.tolist())) == 3


def test_strokes_equal_connected_components() -> None:
    ndimage = pytest.importorskip("scipy.ndimage")
    volume = (np.random.default_rng(0).random((7, 9, 11)) < 0.08).astype(int)
    where = np.argwhere(volume)
    expected = ndimage.label(volume, np.ones((3, 3, 3)))[0][tuple(where.T)]
    found = strokes(where, np.ones(len(where), int))
    pairs = set(zip(expected.tolist(), found.tolist(), strict=True))
    assert len(pairs) == expected.max() == found.max() + 1


def test_strokes_end_at_image_edges_and_time_points() -> None:
    where = np.array([[0, 0, 0, 4], [0, 0, 1, 0], [1, 0, 0, 4], [0, 1, 3, 4]])  # (t, z, y, x)
    assert len(set(strokes(where, np.ones(4, int)).tolist())) == 4
    assert strokes(np.zeros((0, 3)), np.zeros(0)).tolist() == []


def painted(per_class: list[int], pixels: int = 20):
    """Rows of so many strokes per class; pixels of a stroke are near copies."""
    rng = np.random.default_rng(0)
    rows, labels, groups = [], [], []
    for value, count in enumerate(per_class, 1):
        for _ in range(count):
            centre = rng.normal((2.0 * value, 0, 0, 0))
            rows.append(centre + 0.01 * rng.normal(size=(pixels, 4)))
            labels += [value] * pixels
            groups += [len(rows)] * pixels
    return np.float32(np.concatenate(rows)), np.array(labels), np.array(groups)


def test_cross_validation_is_stricter_than_out_of_bag() -> None:
    rows, labels, groups = painted([8, 8])
    found = cross_validate(rows, labels, groups, train, trees=20)
    assert found.confusion.sum() == len(rows)
    assert found.folds == 5
    assert found.accuracy < train(rows, labels, trees=20).oob_accuracy == 1
    assert found.notice == ""


def test_cross_validation_does_not_depend_on_the_order_of_strokes() -> None:
    rows, labels, groups = painted([7, 9, 6])
    expected = cross_validate(rows, labels, groups, train, folds=3, trees=10)
    for seed in range(4):
        shuffle = np.random.default_rng(seed).permutation(len(rows))
        renamed = np.random.default_rng(seed).permutation(100)[groups]
        found = cross_validate(rows[shuffle], labels[shuffle], renamed[shuffle], train, folds=3, trees=10)
        assert found.confusion.tolist() == expected.confusion.tolist()


def test_a_class_with_one_stroke_is_named_not_failed() -> None:
    found = cross_validate(*painted([3, 1]), train, trees=5)
    assert found.confusion.sum(axis=1).tolist() == [60, 0]
    assert found.strokes.tolist() == [3, 1]
    assert found.folds == 3
    assert found.notice.startswith("class 2 has a single stroke")


def test_no_class_to_score_is_named_not_failed() -> None:
    found = cross_validate(*painted([1, 1]), train, trees=5)
    assert np.isnan(found.accuracy)
    assert found.folds == 0
    assert "classes 1, 2 have a single stroke" in found.notice


def test_one_fold_is_refused() -> None:
    with pytest.raises(InputError, match="1 folds: at least 2"):
        cross_validate(*painted([2, 2]), train, folds=1)


def test_validation_reads_as_numbers() -> None:
    found = Validation(np.array([[3, 1], [0, 4]]), np.array([1, 2]), np.array([2, 2]), 2)
    assert found.accuracy == 7 / 8
