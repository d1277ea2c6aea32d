"""scikit-learn's own checks of an estimator; those that cannot hold for images are listed with why."""

import pickle
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.utils.estimator_checks import parametrize_with_checks

from gpuseg import PixelClassifier

TABLE = "feeds a table with a label per row; X is an image, y has a label per pixel"
WORDING = "wants scikit-learn's own wording of the error; ours names the image and its axes"
EXCLUDED = {
    "check_classifier_data_not_an_array": TABLE,
    "check_classifiers_classes": TABLE,
    "check_classifiers_train": TABLE,
    "check_dict_unchanged": TABLE,
    "check_dont_overwrite_parameters": TABLE,
    "check_dtype_object": TABLE,
    "check_estimators_dtypes": TABLE,
    "check_estimators_fit_returns_self": TABLE,
    "check_estimators_overwrite_params": TABLE,
    "check_estimators_pickle": TABLE,
    "check_f_contiguous_array_estimator": TABLE,
    "check_fit2d_predict1d": TABLE,
    "check_fit_check_is_fitted": TABLE,
    "check_fit_idempotent": TABLE,
    "check_fit_score_takes_y": TABLE,
    "check_methods_sample_order_invariance": TABLE,
    "check_methods_subset_invariance": TABLE,
    "check_n_features_in": TABLE,
    "check_n_features_in_after_fitting": TABLE,
    "check_pipeline_consistency": TABLE,
    "check_positive_only_tag_during_fit": TABLE,
    "check_readonly_memmap_input": TABLE,
    "check_supervised_y_2d": TABLE,
    "check_classifiers_regression_target": WORDING,
    "check_complex_data": WORDING,
    "check_estimators_empty_data_messages": WORDING,
    "check_fit2d_1feature": WORDING,
    "check_fit2d_1sample": WORDING,
    "check_classifiers_one_label": "one class teaches nothing here: refused, as ilastik does",
    "check_estimators_nan_inf": "NaN far from any scribble does no harm; where it does, it is refused",
}


@parametrize_with_checks([PixelClassifier()], expected_failed_checks=lambda _: EXCLUDED)
def test_scikit_learn_accepts_it(estimator: Any, check: Any) -> None:
    check(estimator)


# What the excluded checks are about, on images


def scene() -> tuple[np.ndarray, np.ndarray]:
    image = np.random.default_rng(0).normal(size=(40, 50)).astype(np.float32)
    image[:, 25:] += 4
    labels = np.zeros((40, 50), np.uint8)
    labels[3, 3:20], labels[3, 30:47] = 1, 2
    return image, labels


def fitted() -> PixelClassifier:
    return PixelClassifier({"gaussian_smoothing": [0.7]}, n_estimators=5).fit(*scene())


def test_fit_changes_neither_data_nor_parameters() -> None:
    image, labels = scene()
    before = image.copy(), labels.copy()
    image.setflags(write=False)
    labels.setflags(write=False)
    model = fitted()
    settings = model.get_params()
    hashed = model.model_.hash
    assert model.fit(np.asfortranarray(image), labels) is model
    assert model.model_.hash == hashed
    assert model.get_params() == settings
    assert_array_equal((image, labels), before)


def test_it_survives_clone_and_pickle() -> None:
    model = fitted()
    assert clone(model).get_params() == model.get_params()
    again = pickle.loads(pickle.dumps(model))
    assert_array_equal(again.predict(scene()[0]), model.predict(scene()[0]))


@pytest.mark.parametrize("method", ["predict", "predict_proba", "uncertainty"])
def test_nothing_is_predicted_before_fit(method: str) -> None:
    with pytest.raises(NotFittedError):
        getattr(PixelClassifier(), method)(scene()[0])
    assert not hasattr(PixelClassifier(), "classes_")


def test_score_and_save_need_a_fit(tmp_path: Any) -> None:
    with pytest.raises(NotFittedError):
        PixelClassifier().score(*scene())
    with pytest.raises(NotFittedError):
        PixelClassifier().save(tmp_path / "a.gpuseg")
