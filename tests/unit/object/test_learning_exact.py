"""What is learned from rows and said of them, compared with what others say of the same numbers."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal
from sklearn.metrics import accuracy_score

from gpuseg.backends import get_backend
from gpuseg.errors import DeviceMemoryError
from gpuseg.object import learning
from gpuseg.object.classifier import ObjectClassifier


def one_sided() -> tuple[pd.DataFrame, np.ndarray]:
    """60 objects of one number: a third of class 1 look like class 2, none of class 2 like class 1."""
    kind = np.repeat([1, 2], 30)
    like_2 = (kind == 2) | (np.arange(60) % 3 == 0)
    return pd.DataFrame({"a": like_2 * 10.0}), kind


@pytest.mark.parametrize("forest", ["hist", "sklearn"])
def test_a_row_of_a_confusion_is_the_class_that_was_given(forest):
    table, kind = one_sided()
    how = dict(n_estimators=30, forest=forest, backend="cpu")
    matrices = [
        ObjectClassifier(**how).fit(table, kind).oob_confusion_,
        ObjectClassifier(**how).cross_validate(table, kind).confusion,
    ]
    for matrix in matrices:
        assert matrix.sum(axis=1).tolist() == [30, 30]
        assert (matrix[0, 1], matrix[1, 0]) == (10, 0)
    apart = np.where(kind == 2, 3, 1)  # the same with a class between them that nobody labelled
    wide = ObjectClassifier(classes=["a", "b", "c"], **how).fit(table, apart).oob_confusion_
    assert_array_equal(wide[::2, ::2], matrices[0])
    assert wide.sum() == 60


def test_what_is_missing_of_an_unlabelled_object_is_told_when_it_is_classified_not_before():
    table, kind = one_sided()
    table = table.assign(b=np.arange(60.0))
    table.loc[[3, 40], "b"] = np.nan, np.inf
    given = kind.copy()
    given[40] = 0
    model = ObjectClassifier(n_estimators=5, backend="cpu").fit(table, given)
    assert model.model_.provenance["training"]["ambiguous"] == ["b is nan"]
    told = model.ambiguous(table)
    assert {i: reason for i, reason in enumerate(told) if reason} == {3: "b is nan", 40: "b is inf"}


@pytest.mark.parametrize("error", [DeviceMemoryError("the device is full"), MemoryError("full")])
def test_where_a_device_is_full_the_cpu_says_the_same(monkeypatch, error):
    table, kind = one_sided()
    model = ObjectClassifier(n_estimators=20, backend="cpu").fit(table, kind)
    expected = model.predict_proba(table)
    cpu, opened = get_backend("cpu"), []

    class Full:
        def __getattr__(self, name):
            return getattr(cpu, name)

        def forest_proba(self, planes, forest):
            raise error

    def opening(name):
        opened.append(name)
        return cpu if name == "cpu" else Full()

    monkeypatch.setattr(learning, "get_backend", opening)
    rows, _ = learning.feature_rows(table, model.model_.columns)
    found = learning.probabilities(model.model_, rows, "cuda")
    assert opened == ["cuda", "cpu"]
    assert (found.dtype, found.shape) == (np.float32, (60, 2))
    assert_array_equal(found, expected)
    assert len(np.unique(found[:, 0])) == 2  # not all the same


def test_a_score_of_weighted_objects_is_that_of_the_labelled_ones_as_scikit_learn_has_it():
    table, kind = one_sided()
    model = ObjectClassifier(n_estimators=20, backend="cpu").fit(table, kind)
    table = pd.DataFrame({"a": np.r_[np.full(20, 10.5), np.full(40, 0.5)]})
    labels = np.r_[np.tile([1, 2, 0, 2], 15)]
    weight = np.random.default_rng(0).random(60)
    said, chosen = model.predict(table), labels > 0
    plain = accuracy_score(labels[chosen], said[chosen])
    weighted = accuracy_score(labels[chosen], said[chosen], sample_weight=weight[chosen])
    assert abs(plain - weighted) > 0.01  # weights change it
    assert model.score(table, labels) == pytest.approx(plain)
    assert model.score(table, labels, sample_weight=weight) == pytest.approx(weighted)
    assert model.score(table, labels, sample_weight=weight.tolist()) == pytest.approx(weighted)
    right = (said == labels) & chosen
    assert model.score(table, labels, sample_weight=right.astype(float)) == 1
