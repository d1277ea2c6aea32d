"""Training with cuML and reading what it trained, on machines that have neither cuML nor a GPU.

golden/treelite_forests.json holds fields of real treelite models and treelite's own answers.
"""

import json
import subprocess
import sys
import warnings
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.ensemble import RandomForestClassifier

from gpuseg.errors import BackendUnavailableError, InputError, LabelError, ModelError, ResourceError
from gpuseg.forests import cuml_rf, get_trainer
from gpuseg.forests.arrays import Forest, Tree, float32_threshold
from gpuseg.forests.cuml_rf import train
from gpuseg.forests.treelite_rf import fields, from_treelite

ARRAYS = ("feature", "threshold", "left", "roots", "leaves")
STORED = json.loads((Path(__file__).parents[1] / "golden" / "treelite_forests.json").read_text())


def arrays(stored):
    """Fields as they were before they were JSON."""
    return {k: v if isinstance(v, str) else np.array(v[1], v[0]) for k, v in stored.items()}


def stored(name):
    """(header, trees, classes), writable, of a stored model."""
    case = STORED[name]
    return arrays(case["header"]), [arrays(tree) for tree in case["trees"]], case["classes"]


def answers(forest, rows):
    """(rows, trees, classes): what each tree says."""
    n, trees = len(rows), len(forest.roots)
    leaf = forest.descend(rows, np.repeat(np.arange(n), trees), np.tile(forest.roots, n))
    return forest.leaves[leaf].reshape(n, trees, -1)


class FieldsOf:
    """A treelite.Model of a scikit-learn forest, as far as it is read."""

    def __init__(self, forest, dtype=np.float64):
        k = forest.n_classes_
        self.header = {
            "num_feature": np.array([forest.n_features_in_]),
            "num_target": np.array([1]),
            "num_class": np.array([k]),
            "leaf_vector_shape": np.array([1, k]),
            "average_tree_output": np.array([1]),
            "base_scores": np.zeros(k),
            "postprocessor": "identity_multiclass",
        }
        self.trees = [self.tree(e.tree_, k, dtype) for e in forest.estimators_]
        self.num_tree = len(self.trees)

    @staticmethod
    def tree(tree, k, dtype):
        leaf = tree.children_left < 0
        end = k * np.cumsum(leaf).astype(np.uint64)
        return {
            "cleft": tree.children_left,
            "cright": tree.children_right,
            "split_index": np.where(leaf, -1, tree.feature),
            "threshold": np.where(leaf, 0, tree.threshold).astype(dtype),
            "cmp": np.where(leaf, 0, 3).astype(np.int8),
            "leaf_value": np.zeros(len(leaf), dtype),
            "leaf_vector": tree.value[leaf, 0].ravel().astype(dtype),
            "leaf_vector_begin": end - k * leaf.astype(np.uint64),
            "leaf_vector_end": end,
            "has_categorical_split": np.array([0], np.uint8),
        }

    def get_header_accessor(self):
        return SimpleNamespace(get_field=self.header.__getitem__)

    def get_tree_accessor(self, i):
        return SimpleNamespace(get_field=self.trees[i].__getitem__)


def data(count=300, features=9, classes=3, seed=0):
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(count, features)).astype(np.float32)
    noisy = rows[:, 0] + 0.5 * rng.normal(size=count)
    return rows, np.digitize(noisy, np.linspace(-1, 1, classes - 1)) * 3 + 2  # labels 2, 5, 8


@pytest.fixture
def cuml(monkeypatch):
    """cuML and a device, as far as training meets them; what the classifier was made with is kept in it."""

    class Classifier:
        made: ClassVar[dict] = {}

        def __init__(self, *, output_type, n_bins, split_criterion, **settings):
            Classifier.made = {"n_bins": n_bins, "criterion": split_criterion, **settings}
            self.forest = RandomForestClassifier(
                settings["n_estimators"], random_state=settings["random_state"], oob_score=True
            )

        def fit(self, rows, target):
            assert (rows.dtype, target.dtype, rows.flags.c_contiguous) == (np.float32, np.int32, True)
            warnings.warn("Some inputs do not have OOB scores.", UserWarning, stacklevel=1)
            self.forest.fit(rows, target)
            self.oob_decision_function_ = self.forest.oob_decision_function_
            self.feature_importances_ = 7 * self.forest.feature_importances_.astype(np.float32)
            return self

        def as_treelite(self):
            return FieldsOf(self.forest)

    module = ModuleType("cuml.ensemble")
    module.RandomForestClassifier = Classifier
    monkeypatch.setitem(sys.modules, "cuml", ModuleType("cuml"))
    monkeypatch.setitem(sys.modules, "cuml.ensemble", module)
    monkeypatch.setattr(cuml_rf, "get_backend", lambda name: SimpleNamespace(name=name))
    return Classifier


@pytest.mark.parametrize("name", STORED)
def test_every_tree_answers_as_treelite_does(name) -> None:
    case = arrays({k: STORED[name][k] for k in ("rows", "answers")})
    expected = case["answers"]
    if expected.shape[-1] == 1:  # treelite gives the probability of the second class only
        expected = np.concatenate([1 - expected, expected], axis=-1)
    assert_array_equal(answers(from_treelite(*stored(name)), case["rows"]), expected.astype(np.float32))


@pytest.mark.parametrize("name", STORED)
def test_stored_rows_stand_on_thresholds(name) -> None:
    """Else the test above could not tell `<` from `<=`."""
    _, trees, _ = stored(name)
    rows = arrays({"rows": STORED[name]["rows"]})["rows"]
    inner = [(t["split_index"][i], t["threshold"][i]) for t in trees for i in np.flatnonzero(t["cleft"] >= 0)]
    assert sum(row[column] == threshold for row in rows for column, threshold in inner) > 20


@pytest.mark.parametrize("classes", [2, 3])
def test_a_forest_of_scikit_learn_becomes_the_arrays_it_becomes_directly(classes) -> None:
    rows, labels = data(classes=classes)
    forest = RandomForestClassifier(12, random_state=1).fit(rows, labels)
    trees = [e.tree_ for e in forest.estimators_]
    direct = Forest.from_trees(
        [
            Tree(
                t.feature,
                float32_threshold(t.threshold, inclusive=True),
                t.children_left,
                t.children_right,
                t.value[:, 0],
            )
            for t in trees
        ],
        9,
    )
    converted = from_treelite(*fields(FieldsOf(forest)), classes)
    for name in ARRAYS:
        assert_array_equal(getattr(converted, name), getattr(direct, name))


def test_counts_in_leaves_become_shares() -> None:
    header, trees, k = stored("scikit-learn, 3 classes")
    expected = from_treelite(header, trees, k).leaves
    for tree in trees:
        tree["leaf_vector"] = tree["leaf_vector"] * 840
    assert_allclose(from_treelite(header, trees, k).leaves, expected, atol=1e-7)


def test_fields_are_copies() -> None:
    """Arrays that treelite gives are views of a model that may be gone before they are read."""
    model = FieldsOf(RandomForestClassifier(1, random_state=0).fit(*data()))
    header, (tree,) = fields(model)
    model.header["num_class"][:] = model.trees[0]["threshold"][:] = 99
    assert header["num_class"] == [3]
    assert (tree["threshold"] != 99).all()


@pytest.mark.parametrize(
    ("field", "value", "complaint"),
    [
        ("num_target", [2], "has 2 targets"),
        ("num_class", [4], r"has \[4\] classes in leaves of \[1, 3\], 3 were expected"),
        ("leaf_vector_shape", [1, 1], r"has \[3\] classes in leaves of \[1, 1\], 3 were expected"),
        ("average_tree_output", [0], "adds up its trees or applies 'identity_multiclass'"),
        ("postprocessor", "softmax", "applies 'softmax', a random forest takes the mean"),
        ("base_scores", [0.5, 0, 0], r"adds \[0.5, 0.0, 0.0\] to the mean"),
    ],
)
def test_a_model_that_is_no_random_forest_is_refused(field, value, complaint) -> None:
    header, trees, k = stored("as cuML writes")
    header[field] = value if isinstance(value, str) else np.array(value)
    with pytest.raises(ModelError, match=complaint):
        from_treelite(header, trees, k)


@pytest.mark.parametrize(
    ("field", "change", "complaint"),
    [
        ("has_categorical_split", lambda a: a + 1, "tree 1: a node's test is not"),
        ("cmp", lambda a: np.where(a == 3, 4, a), "tree 1: a node's test is not"),
        ("threshold", lambda a: a[:-1], r"tree 1: threshold has shape \(14,\), cleft has 15 nodes"),
        ("leaf_vector", lambda a: a[:-1], "tree 1: a leaf does not hold 3 numbers of the 23 stored"),
        ("leaf_vector_end", lambda a: a - 1, "tree 1: a leaf does not hold 3 numbers"),
        ("leaf_vector", lambda a: -a, "a leaf's probabilities"),
        ("threshold", lambda a: a * np.nan, "a node's threshold is nan"),
        ("split_index", lambda a: a + 5, "a node tests column 7, there are 5 features"),
        ("cleft", lambda a: np.where(a > 0, 0, a), "a child stands before its parent"),
        ("cright", lambda a: a + 99, "a child stands outside"),
    ],
)
def test_a_tree_that_cannot_be_walked_is_refused(field, change, complaint) -> None:
    header, trees, k = stored("as cuML writes")
    trees[1][field] = change(trees[1][field])
    with pytest.raises(ModelError, match=complaint):
        from_treelite(header, trees, k)


def test_a_tree_without_nodes_is_refused() -> None:
    header, trees, k = stored("as cuML writes")
    trees[1] = {name: values[:0] for name, values in trees[1].items()}
    with pytest.raises(ModelError, match="tree 1: has no nodes"):
        from_treelite(header, trees, k)


def test_what_cuml_learned_is_told_for_rows_as_given(cuml) -> None:
    rows, labels = data()
    trained = train(rows, labels, trees=40, seed=5)
    model = RandomForestClassifier(40, random_state=5, oob_score=True)
    order = cuml_rf.canonical_order(rows, labels)
    model.fit(rows[order], labels[order])

    assert trained.classes.tolist() == [2, 5, 8]
    assert_allclose(trained.oob_proba[order], model.oob_decision_function_, atol=1e-6)
    assert trained.oob_accuracy == pytest.approx(model.oob_score_)
    assert_allclose(trained.importances, model.feature_importances_, atol=1e-6)
    assert_allclose(answers(trained.forest, rows).mean(axis=1), model.predict_proba(rows), atol=1e-6)


def test_the_order_of_rows_changes_nothing(cuml) -> None:
    rows, labels = data()
    order = np.random.default_rng(1).permutation(len(rows))
    first, second = train(rows, labels, trees=9), train(rows[order], labels[order], trees=9, threads=1)
    for name in ARRAYS:
        assert_array_equal(getattr(first.forest, name), getattr(second.forest, name))
    assert_array_equal(first.oob_proba[order], second.oob_proba)


def test_settings_are_those_of_ilastik(cuml) -> None:
    get_trainer("cuml")(*data(features=49), trees=7, seed=2**32 - 1, backend="cuda")
    share = cuml.made.pop("max_features")
    assert int(np.float32(share) * np.float32(49)) == 7  # as cuML cuts it
    assert cuml.made == {
        "n_estimators": 7,
        "criterion": "gini",
        "bootstrap": True,
        "max_depth": None,
        "n_bins": 128,
        "min_samples_split": 2,
        "min_samples_leaf": 1,
        "random_state": 2**32 - 1,
        "oob_score": True,
    }


@pytest.mark.parametrize("features", [1, 2, 3, 49, 61, 1000])
def test_the_share_of_features_comes_out_as_their_square_root(cuml, features) -> None:
    train(*data(count=40, features=features, classes=2), trees=1)
    share = np.float32(cuml.made["max_features"])
    assert share <= 1
    assert max(1, int(share * np.float32(features))) == max(1, int(features**0.5 + 0.5))


def test_few_rows_get_as_many_bins(cuml) -> None:
    train(*data(count=40), trees=2)
    assert cuml.made["n_bins"] == 40


def test_a_row_in_every_bag_has_no_answer(cuml) -> None:
    trained = train(np.float32([[0], [1], [2], [3]]), np.array([1, 1, 2, 2]), trees=1)
    assert trained.oob_proba.any(axis=1).sum() == trained.oob_confusion.sum() < 4


def test_features_that_split_nothing_have_no_importance(cuml) -> None:
    trained = train(np.ones((6, 2), np.float32), np.array([1, 1, 2, 2, 2, 1]), trees=3)
    assert trained.importances.tolist() == [0, 0]


def test_without_cuml_the_extra_is_named(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "cuml", None)
    with pytest.raises(BackendUnavailableError, match=r"needs cuML.*\n.*gpuseg\[rapids-cuda12\]"):
        train(*data())


def test_a_library_that_does_not_load_is_named(monkeypatch) -> None:
    class Broken:
        def find_spec(self, name, path=None, target=None):
            if name == "cuml":
                raise OSError("libcuml.so: cannot open shared object file")

    monkeypatch.delitem(sys.modules, "cuml", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Broken(), *sys.meta_path])
    with pytest.raises(BackendUnavailableError, match=r"libcuml\.so: cannot open"):
        train(*data())


def test_without_a_device_nothing_is_trained(cuml, monkeypatch) -> None:
    def no_device(name):
        raise BackendUnavailableError(f"{name}: no device")

    monkeypatch.setattr(cuml_rf, "get_backend", no_device)
    with pytest.raises(BackendUnavailableError, match="cuda: no device"):
        train(*data())
    assert cuml.made == {}


def test_memory_that_runs_out_is_told(cuml, monkeypatch) -> None:
    def full(self, rows, target):
        raise MemoryError("std::bad_alloc")

    monkeypatch.setattr(cuml, "fit", full)
    with pytest.raises(ResourceError, match="300 labelled pixels of 9 features, 5 trees: no memory"):
        train(*data(), trees=5)


def test_a_backend_that_cannot_is_refused() -> None:
    with pytest.raises(InputError, match="CUDA device, the backend is 'cpu'"):
        train(*data(), backend="cpu")


def test_what_cannot_be_learned_is_refused_before_cuml_is_asked() -> None:
    rows, labels = data()
    with pytest.raises(LabelError, match="only class 2"):
        train(rows, np.full_like(labels, 2))
    with pytest.raises(InputError, match="a forest of 0 trees"):
        train(rows, labels, trees=0)


def test_cuml_is_loaded_by_training_alone() -> None:
    code = "import gpuseg.forests.cuml_rf, sys; print({'cuml', 'treelite', 'cupy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
