"""Train a forest with cuML's RandomForestClassifier, on a CUDA device, with ilastik's settings (SPEC 2.2).

cuML looks for splits at quantiles of a feature, `BINS` of them, where scikit-learn tries every value; a leaf
whose rows lie between two neighbouring quantiles in every feature stays mixed. It draws at random in its own
way, so a seed gives another forest than elsewhere, and the same one each time.
"""

import warnings
from math import floor, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends import get_backend
from gpuseg.errors import BackendUnavailableError, InputError, ResourceError
from gpuseg.forests.training import (
    Trained,
    canonical_order,
    check_labels,
    check_rows,
    check_trees,
    confusion_matrix,
)
from gpuseg.forests.treelite_rf import fields, from_treelite

BINS = 128  # cuML's default


def train(
    rows: NDArray[np.float32],
    labels: NDArray[Any],
    *,
    trees: int = 100,
    seed: int = 0,
    threads: int | None = None,
    backend: str = "auto",
) -> Trained:
    """A forest grown on bootstrap samples as far as cuML can, sqrt(features) columns tried at each node.

    rows: float32 (n, features), finite; labels: integers (n,), at least two classes.
    backend: "auto" or "cuda". Row order and threads change nothing.
    LabelError, InputError, BackendUnavailableError without cuML or a device, ResourceError without memory.
    """
    check_trees(trees)
    if backend not in ("auto", "cuda"):
        raise InputError(
            f"cuML trains on a CUDA device, the backend is {backend!r}",
            hint="--backend cuda, or --forest sklearn",
        )
    classes = check_labels(labels)
    rows = check_rows(rows, labels)
    order = canonical_order(rows, labels)
    target = np.searchsorted(classes, labels[order]).astype(np.int32)
    model = _fit(rows[order], target, trees, seed)

    proba = np.empty((len(rows), len(classes)), np.float32)
    proba[order] = np.nan_to_num(model.oob_decision_function_)  # NaN or zero: no tree was without the row
    return Trained(
        from_treelite(*fields(model.as_treelite()), len(classes)),
        classes,
        proba,
        confusion_matrix(labels, proba, classes),
        _importances(model.feature_importances_),
    )


def _fit(rows: NDArray[np.float32], target: NDArray[np.int32], trees: int, seed: int) -> Any:
    """cuML's fitted classifier."""
    n, features = rows.shape
    tried = max(1, floor(sqrt(features) + 0.5))
    model = _classifier()(
        n_estimators=trees,
        split_criterion="gini",
        bootstrap=True,
        max_depth=None,
        # A share of the features that cuML multiplies and cuts in float32: 7 / 49 of 49 may come out as 6.
        max_features=min(1.0, (tried + 0.25) / features),
        n_bins=min(BINS, n),
        min_samples_split=2,
        min_samples_leaf=1,
        random_state=seed,
        oob_score=True,
        output_type="numpy",
    )
    try:
        with warnings.catch_warnings():
            # Rows that are in every bag, as with few trees, and versions of libraries: nothing to be done.
            warnings.simplefilter("ignore", UserWarning)
            return model.fit(rows, target)
    except MemoryError as e:
        raise ResourceError(
            f"{n} labelled pixels of {features} features, {trees} trees: no memory left on the device ({e})",
            hint="fewer trees or labels, or --forest sklearn",
        ) from e


def _classifier() -> Any:
    """cuML's class, if it is installed and has a device to work on."""
    try:
        from cuml.ensemble import RandomForestClassifier
    except (ImportError, OSError) as e:  # OSError: one of its libraries does not load
        raise BackendUnavailableError(
            f"the forest 'cuml' needs cuML, which cannot be imported: {e}",
            hint="on Linux: pip install 'gpuseg[rapids-cuda12]', or rapids-cuda13; else --forest sklearn",
        ) from e
    get_backend("cuda")  # says what is missing; cuML's own error names a driver call
    return RandomForestClassifier


def _importances(decrease: Any) -> NDArray[np.float64]:
    """As shares that add to 1; all zero where no tree has a split."""
    decrease = np.maximum(np.nan_to_num(np.asarray(decrease, np.float64)), 0)
    return np.asarray(decrease / max(decrease.sum(), np.finfo(float).tiny))
