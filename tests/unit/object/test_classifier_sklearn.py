"""scikit-learn's own checks of the object classifier; those that cannot hold are listed with why."""

from typing import Any

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from gpuseg import ObjectClassifier

ZERO = "labels some rows with 0, which is unlabelled here"
WORDING = "wants scikit-learn's own wording of the error; ours says it for objects"
EXCLUDED = {
    "check_classifiers_train": ZERO,
    "check_fit_check_is_fitted": ZERO,
    "check_fit_idempotent": ZERO,
    "check_n_features_in": ZERO,
    "check_estimators_pickle": ZERO,
    "check_pipeline_consistency": ZERO,
    "check_classifiers_classes": "predict gives class values, names of classes are in the model",
    "check_classifiers_regression_target": WORDING,
    "check_complex_data": WORDING,
    "check_dtype_object": "numbers are needed; what else a table holds is refused by its column",
    "check_estimators_empty_data_messages": WORDING,
    "check_fit2d_1sample": WORDING,
    "check_fit2d_predict1d": WORDING,
    "check_requires_y_none": WORDING,
    "check_supervised_y_2d": "one label a row; columns are refused, not flattened",
    "check_estimators_nan_inf": "NaN and infinity count as 0 and are told, as in ilastik",
    "check_estimator_sparse_tag": "tables of objects are dense",
    "check_estimator_sparse_array": "tables of objects are dense",
    "check_estimator_sparse_matrix": "tables of objects are dense",
}


@parametrize_with_checks([ObjectClassifier(n_estimators=5)], expected_failed_checks=lambda _: EXCLUDED)
def test_scikit_learn_accepts_it(estimator: Any, check: Any) -> None:
    check(estimator)


def test_what_is_excluded_exists() -> None:
    from sklearn.utils import estimator_checks

    unknown = [name for name in EXCLUDED if not hasattr(estimator_checks, name)]
    assert not unknown, pytest.fail(f"no checks of scikit-learn: {unknown}")
