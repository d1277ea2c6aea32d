"""Training with cuML on a card: the exam of every trainer, and its forest against its own answers."""

from importlib import import_module
from importlib.util import find_spec

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from gpuseg.errors import BackendUnavailableError
from gpuseg.forests import cuml_rf
from gpuseg.forests.treelite_rf import fields, from_treelite
from gpuseg.testing import ForestExam

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module", autouse=True)
def classifier():
    """cuML's class, or a skip that says what is missing."""
    if find_spec("slim_cuml"):  # a bundle of cuML's forest alone, for machines that cannot install cuML
        import_module("slim_cuml")
    try:
        return cuml_rf._classifier()
    except BackendUnavailableError as e:
        pytest.skip(str(e))


def data(count=2000, features=49, classes=3, seed=0):
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(count, features)).astype(np.float32)
    noisy = rows[:, 0] + rows[:, 1] / 2 + rng.normal(size=count) / 2
    return rows, np.digitize(noisy, np.linspace(-1, 1, classes - 1)) + 1


class TestCuml(ForestExam):
    forest = "cuml"


@pytest.mark.parametrize("classes", [2, 3])
def test_our_arrays_answer_as_cuml_does(classifier, classes):
    rows, labels = data(classes=classes)
    model = cuml_rf._fit(rows, (labels - 1).astype(np.int32), trees=30, seed=1)
    header, trees = fields(model.as_treelite())
    forest = from_treelite(header, trees, classes)

    queries = np.concatenate([rows[:500], data(500, seed=9)[0]])
    inner = [(t["split_index"][i], t["threshold"][i]) for t in trees for i in np.flatnonzero(t["cleft"] >= 0)]
    for row, (column, threshold) in zip(queries, inner, strict=False):
        row[column] = threshold
    n, k = len(queries), len(forest.roots)
    leaf = forest.descend(queries, np.repeat(np.arange(n), k), np.tile(forest.roots, n))
    ours = forest.leaves[leaf].reshape(n, k, classes).mean(axis=1)

    assert {t["threshold"].dtype for t in trees} == {np.dtype(np.float32)}
    assert_allclose(ours, model.predict_proba(queries), atol=1e-6)  # sums of 30 in another order


def test_a_seed_gives_one_forest_again_and_again(classifier):
    first, second, other = (cuml_rf.train(*data(), trees=30, seed=s) for s in (4, 4, 5))
    for name in ("feature", "threshold", "left", "roots", "leaves"):
        assert_array_equal(getattr(first.forest, name), getattr(second.forest, name))
    assert_array_equal(first.oob_proba, second.oob_proba)
    assert (
        len(first.forest.feature) != len(other.forest.feature)
        or (first.forest.threshold != other.forest.threshold).any()
    )


def test_it_learns_as_well_as_scikit_learn(classifier):
    from gpuseg.forests.sklearn_rf import train

    rows, labels = data()
    ours, theirs = cuml_rf.train(rows, labels), train(rows, labels)
    assert ours.oob_accuracy > theirs.oob_accuracy - 0.03  # 128 quantiles instead of every value
    assert set(np.argsort(ours.importances)[-2:]) == set(np.argsort(theirs.importances)[-2:]) == {0, 1}
    assert ours.importances.sum() == pytest.approx(1)
    assert ours.oob_confusion.sum() == len(labels)
