"""From a table of objects, some labelled, to classes of all of them."""

import itertools

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import gpuseg
from gpuseg.errors import InputError, LabelError, ModelMismatchError
from gpuseg.model import ObjectModel
from gpuseg.object.classifier import ObjectClassifier


def scene(kinds: int = 3, each: int = 12, seed: int = 0) -> tuple[pd.DataFrame, np.ndarray]:
    """A table of squares of several sizes and greys, in turn, and the kind of each, from 1."""
    rng = np.random.default_rng(seed)
    side, count = 2 * kinds + 6, kinds * each
    labels = np.zeros((side * each, side * kinds), np.int32)
    kind = np.arange(count) % kinds + 1
    for i, k in enumerate(kind):
        y, x = divmod(i, kinds)
        labels[y * side + 1 : y * side + 3 + 2 * k, x * side + 1 : x * side + 3 + 2 * k] = i + 1
    raw = np.concatenate([[0], kind])[labels].astype(np.float32) + rng.random(labels.shape, np.float32)
    features = ["count", "mean", "variance", "skewness", "radii", "quantiles"]
    return gpuseg.measure(labels, raw, features=features, backend="cpu"), kind


def few(kind: np.ndarray, of_each: int = 4) -> np.ndarray:
    """Labels of the first few of each kind, the others 0."""
    given = np.zeros_like(kind)
    for k in np.unique(kind):
        given[np.flatnonzero(kind == k)[:of_each]] = k
    return given


def fitted(kinds: int = 3, **how) -> tuple[ObjectClassifier, pd.DataFrame, np.ndarray]:
    table, kind = scene(kinds)
    return ObjectClassifier(**({"n_estimators": 20} | how)).fit(table, few(kind)), table, kind


@pytest.mark.parametrize("kinds", range(2, 9))
def test_probabilities_add_to_one_and_the_largest_is_the_prediction(kinds):
    model, table, kind = fitted(kinds)
    proba = model.predict_proba(table)
    assert (proba.shape, proba.dtype) == ((len(table), kinds), np.float32)
    assert_allclose(proba.sum(axis=1, dtype=np.float64), 1, atol=1e-6)
    assert_array_equal(model.predict(table), model.classes_[proba.argmax(axis=1)])
    assert_array_equal(model.classes_, np.arange(1, kinds + 1))
    assert (model.predict(table) == kind).mean() > 0.95


def test_every_class_has_a_column_though_nobody_labelled_it():
    table, kind = scene()
    given = few(kind)
    given[given == 2] = 0
    model = ObjectClassifier(classes=["small", "medium", "large", "huge"], n_estimators=20).fit(table, given)
    proba = model.predict_proba(table)
    assert proba.shape == (len(table), 4)
    assert_array_equal(proba[:, [1, 3]], 0)
    assert_allclose(proba.sum(axis=1), 1, atol=1e-6)
    assert set(model.predict(table)) == {1, 3}
    assert [c.name for c in model.model_.classes] == ["small", "medium", "large", "huge"]
    assert model.oob_confusion_.shape == (4, 4)


def test_of_equals_the_first_class_wins():
    table, kind = scene(2)
    same = table.assign(
        **{c: 1.0 for c in table.columns if "Intensity" in c or "intensity" in c or "ize" in c}
    )
    model = ObjectClassifier(["Mean Intensity"], n_estimators=4).fit(same, few(kind))
    proba = model.predict_proba(same)
    assert_array_equal(proba, proba[:1].repeat(len(same), 0))  # nothing tells them apart
    tied = ObjectClassifier.from_model(model.model_)
    tied.predict_proba = lambda X: np.full((3, 2), 0.5, np.float32)
    assert_array_equal(tied.predict(same), [1, 1, 1])


def test_uncertainty_is_one_less_the_lead_and_zero_for_a_certain_object_of_class_1():
    model, table, kind = fitted()
    first, second = -np.sort(-model.predict_proba(table), axis=1)[:, :2].T
    assert_array_equal(model.uncertainty(table), 1 - (first - second))
    certain = np.flatnonzero((kind == 1) & (first == 1))
    assert len(certain)
    assert_array_equal(model.uncertainty(table)[certain], 0)  # ilastik says 1 (SPEC 6.4)


def test_rows_in_any_order_and_any_number_of_threads_make_the_same_model():
    table, kind = scene()
    given = few(kind)
    order = np.random.default_rng(3).permutation(len(table))
    hashes = {
        ObjectClassifier(n_estimators=20, n_jobs=threads).fit(t, y).model_.hash
        for (t, y), threads in itertools.product(
            ((table, given), (table.iloc[order], given[order])), (1, 2, None)
        )
    }
    assert len(hashes) == 1
    assert ObjectClassifier(n_estimators=20, random_state=1).fit(table, given).model_.hash not in hashes


def test_the_backends_agree(host_cuda):
    on_cpu, table, _ = fitted(backend="cpu")
    on_gpu = ObjectClassifier.from_model(on_cpu.model_, backend="cuda")
    assert fitted(backend="cuda")[0].model_.hash == on_cpu.model_.hash
    assert_allclose(on_gpu.predict_proba(table), on_cpu.predict_proba(table), atol=3e-7)
    assert_array_equal(on_gpu.predict(table), on_cpu.predict(table))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e300])
def test_what_is_no_number_counts_as_0_and_its_object_is_ambiguous(bad):
    model, table, _ = fitted()
    damaged = table.copy()
    damaged.loc[2, ["Variance of Intensity", "Mean Intensity"]] = bad
    zeroed = table.copy()
    zeroed.loc[2, ["Variance of Intensity", "Mean Intensity"]] = 0
    assert_array_equal(model.predict_proba(damaged), model.predict_proba(zeroed))
    shown = np.float32(bad) if abs(bad) != 1e300 else np.inf
    reason = f"Mean Intensity is {shown}; Variance of Intensity is {shown}"
    assert model.ambiguous(damaged)[2] == reason
    assert set(np.delete(model.ambiguous(damaged), 2)) == {""}


def test_ambiguous_objects_can_be_learned_from_and_the_reason_is_kept():
    table, kind = scene()
    table.loc[0, "Skewness of Intensity"] = np.nan
    model = ObjectClassifier(n_estimators=20).fit(table, few(kind))
    assert model.model_.provenance["training"]["ambiguous"] == ["Skewness of Intensity is nan"]
    assert (model.predict(table) == kind).mean() > 0.95


def test_features_are_those_that_were_asked_for_not_the_box_that_every_table_has():
    model, table, _ = fitted()
    columns = list(model.feature_names_in_)
    assert columns == [c for c in table.columns if c in set(columns)]  # in the order of the table
    assert columns[0] == "Size in pixels"
    assert not [c for c in columns if c.startswith(("Bounding", "Center", "object_id", "original"))]
    assert model.n_features_in_ == len(columns) == len(model.feature_importances_)
    assert_allclose(model.feature_importances_.sum(), 1)


@pytest.mark.parametrize(
    ("asked", "columns"),
    [
        (["count"], ["Size in pixels"]),
        (["Mean"], ["Mean Intensity"]),  # ilastik's id
        (["radii of the object"], ["Radii of the object_0", "Radii of the object_1"]),
        (["Quantiles of Intensity_3", "mean"], ["Mean Intensity", "Quantiles of Intensity_3"]),
        (["Bounding Box Minimum_0"], ["Bounding Box Minimum_0"]),  # asked for by name
    ],
)
def test_a_subset_is_learned_from(asked, columns):
    table, kind = scene()
    model = ObjectClassifier(asked, n_estimators=5).fit(table, few(kind))
    assert list(model.feature_names_in_) == columns
    assert model.predict_proba(table[columns]).shape == (len(table), 3)  # nothing else is needed


def test_a_table_from_a_file_teaches_the_same(tmp_path):
    table, kind = scene()
    table.to_csv(tmp_path / "a.csv", index=False)
    read = pd.read_csv(tmp_path / "a.csv")
    model = ObjectClassifier(n_estimators=20).fit(read, few(kind))
    assert_array_equal(model.predict(read), fitted()[0].predict(table))
    assert model.model_.measured.ndim == 0  # nobody knows how it was measured
    with pytest.raises(ModelMismatchError, match="does not say how it was measured"):
        model.model_.measured.check(2, 1, "a.tif")


def test_what_was_predicted_before_is_no_feature():
    _, table, kind = fitted()
    said = table.assign(**{"Predicted Class": "x", "Probability of x": 0.3, "Uncertainty": 0.1}, image=1.0)
    said.attrs.clear()
    assert not {"Probability of x", "Uncertainty", "image"} & set(
        ObjectClassifier(n_estimators=5).fit(said, few(kind)).feature_names_in_
    )


def test_names_are_as_good_as_numbers():
    table, kind = scene()
    words = np.array(["", "b", "a", "c"])[few(kind)]
    model = ObjectClassifier(n_estimators=20).fit(table, words)
    assert [c.name for c in model.model_.classes] == ["a", "b", "c"]  # alphabetical, whatever comes first
    named = ObjectClassifier(classes=["b", "a", "c"], n_estimators=20).fit(table, words)
    assert_array_equal(named.predict(table), fitted()[0].predict(table))
    with pytest.raises(LabelError, match=r"class 'd' is none of b, a, c"):
        ObjectClassifier(classes=["b", "a", "c"]).fit(table, ["d"] * len(table))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.zeros(36, int), "no object is labelled"),
        (np.ones(36, int), r"only class 1 is labelled \(36 objects\), at least two"),
        (np.arange(36) - 1, "label -1: classes are 1 to 99"),
        (np.arange(36) * 10, "label 350: classes are 1 to 99"),
        (np.arange(36) / 2, r"label 0.5: labels are whole numbers"),
        (np.ones(3, int), "3 labels for 36 objects"),
        (np.ones((36, 1), int), r"labels of shape \(36, 1\)"),
    ],
)
def test_labels_that_teach_nothing_are_refused(labels, message):
    with pytest.raises(LabelError, match=message):
        ObjectClassifier().fit(scene()[0], labels)


def test_more_classes_than_names_are_refused():
    table, kind = scene()
    with pytest.raises(LabelError, match="label 3 of 2 classes: a, b"):
        ObjectClassifier(classes=["a", "b"]).fit(table, few(kind))


def test_two_classes_of_one_name_are_refused():
    table, kind = scene()
    with pytest.raises(LabelError, match="two classes have one name: a, a, b"):
        ObjectClassifier(classes=["a", "a", "b"]).fit(table, few(kind))


def test_a_table_that_lacks_columns_is_refused_by_name():
    model, table, _ = fitted()
    with pytest.raises(ModelMismatchError, match=r"the table lacks 1 of the 13 columns .*: Mean Intensity"):
        model.predict(table.drop(columns="Mean Intensity"))
    with pytest.raises(InputError, match="the table has no feature 'roundness'"):
        ObjectClassifier(["roundness"]).fit(table, few(np.arange(36) % 3 + 1))
    with pytest.raises(InputError, match="the table has no feature to learn from"):
        ObjectClassifier().fit(pd.DataFrame({"object_id": [1, 2]}), [1, 2])
    with pytest.raises(InputError, match="column 'Mean Intensity' holds"):
        model.predict(table.astype({"Mean Intensity": object}).assign(**{"Mean Intensity": "a"}))


def test_images_of_another_kind_are_refused_with_both_numbers():
    measured = fitted()[0].model_.measured
    measured.check(2, 1, "a.tif")
    with pytest.raises(ModelMismatchError, match=r"a.tif: objects are 3D, the classifier learned 2D ones"):
        measured.check(3, 1, "a.tif")
    with pytest.raises(ModelMismatchError, match=r"raw image has 3 channels, .* trained on 1 channel\n"):
        measured.check(2, 3, "a.tif")


def test_objects_kept_out_tell_how_good_it_is():
    table, kind = scene(each=20)
    model = ObjectClassifier(n_estimators=20)
    found = model.cross_validate(table, few(kind, 10))
    assert found.confusion.sum() == 30
    assert found.accuracy > 0.9
    assert found.notice == ""
    lone = few(kind, 10)
    lone[np.flatnonzero(lone == 3)[1:]] = 0
    assert "class 3 has a single object" in model.cross_validate(table, lone).notice
    shuffled = np.random.default_rng(0).permutation(few(kind, 10))
    assert model.cross_validate(table, shuffled).accuracy < 0.7
    assert model.fit(table, few(kind, 10)).oob_score_ > 0.9
    assert model.score(table, kind) > 0.9
    with pytest.raises(LabelError, match="no labelled object to score"):
        model.score(table, np.zeros(len(table), int))


def test_a_model_survives_its_file(tmp_path):
    model, table, _ = fitted(classes=["a, b", 'say "c"', "ü"])
    model.save(tmp_path / "objects.gpuseg")
    again = ObjectClassifier.load(tmp_path / "objects.gpuseg")
    assert again.model_.hash == model.model_.hash == ObjectModel.load(tmp_path / "objects.gpuseg").hash
    assert_array_equal(again.predict_proba(table), model.predict_proba(table))
    assert again.model_.classes == model.model_.classes
    assert again.model_.measured == model.model_.measured
    assert_array_equal(again.oob_confusion_, model.oob_confusion_)
    assert again.get_params()["classes"] == ("a, b", 'say "c"', "ü")


def test_an_own_function_leaves_the_model_to_tables():
    labels = np.zeros((30, 60), int)
    for i in range(6):
        labels[2 : 6 + 3 * (i % 2), 10 * i + 1 : 10 * i + 8] = i + 1

    def height(o):
        box = o.sums("box")
        return box[:, 1, 1] - box[:, 1, 0]

    table = gpuseg.measure(labels, features=[height, "count"], backend="cpu")
    given = [1, 2, 1, 2, 0, 0]
    both = ObjectClassifier(n_estimators=5).fit(table, given)
    assert both.model_.measured.ndim == 0
    assert_array_equal(both.predict(table), [1, 2, 1, 2, 1, 2])
    alone = ObjectClassifier(["count"], n_estimators=5).fit(table, given)
    assert alone.model_.measured.features == ("count",)  # the other cannot be measured again, and need not
