"""The object classifier as a scikit-learn estimator over tables of objects."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted

from gpuseg.errors import InputError, LabelError, ModelError, ModelMismatchError
from gpuseg.forests import DEFAULT
from gpuseg.forests.validation import Validation
from gpuseg.model import ObjectModel, Pipeline
from gpuseg.object import learning

if TYPE_CHECKING:
    import pandas as pd


class ObjectClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """Random forest on object features, trained on a few labelled objects.

    Parameters
    ----------
    features : what to learn from, of what the table has: names of features or columns. None takes all that
        were asked for when the table was measured: the bounding box and centre that every table has are not.
    classes : names of the classes 1, 2, ...; each has a column of probabilities, labelled or not.
    n_estimators, random_state, n_jobs : trees, seed (an integer, never None), threads (None or -1 for all).
        The seed decides the model; threads and the order of rows do not.
    forest : who trains it, a name in `gpuseg.forests.TRAINERS`.
    backend : what grows "hist" forests and predicts: "auto", "cpu", ...

    Attributes
    ----------
    classes_ : class values, ascending from 1. model_ : the `ObjectModel`, all there is to save.
    feature_names_in_, n_features_in_ : columns it learned from. feature_importances_ : adds to 1.
    oob_score_, oob_confusion_ : accuracy and confusion matrix (row the label), out of bag.

    A feature that is NaN or infinite counts as 0, and `ambiguous` says of which objects.

    >>> labels = np.zeros((40, 80), int)
    >>> for i in range(8):
    ...     labels[5:10 + i % 2 * 20, 10 * i : 10 * i + 8] = i + 1
    >>> table = gpuseg.measure(labels)
    >>> short_or_long = [1, 2, 1, 2, 0, 0, 0, 0]  # of the first four
    >>> ObjectClassifier(n_estimators=10).fit(table, short_or_long).predict(table)
    array([1, 2, 1, 2, 1, 2, 1, 2])
    """

    def __init__(
        self,
        features: Sequence[str] | None = None,
        *,
        classes: Sequence[str] | None = None,
        n_estimators: int = 100,
        random_state: int = 0,
        forest: str = DEFAULT,
        backend: str = "auto",
        n_jobs: int | None = None,
    ) -> None:
        self.features = features
        self.classes = classes
        self.n_estimators = n_estimators
        self.random_state = random_state
        self.forest = forest
        self.backend = backend
        self.n_jobs = n_jobs

    def fit(self, X: Any, y: Any) -> Self:
        """Learn from a table of `gpuseg.measure`, or an array (objects, features).

        y: a class for each row, 0 unlabelled; or names of classes, "" unlabelled.
        LabelError unless objects of two classes are labelled.
        """
        table = _table(X)
        labels, names = self._labels(table, y)
        self.model_ = learning.learn(
            table, labels, names, subset=self.features, threads=self.n_jobs, **self._how()
        )
        return self

    def predict(self, X: Any) -> NDArray[np.int64]:
        """Value of the likeliest class of each row, the first of equals: (n,)."""
        return learning.winners(self._model(), self.predict_proba(X))

    def predict_proba(self, X: Any) -> NDArray[np.float32]:
        """Probability of each class: float32 (n, classes)."""
        model = self._model()
        rows, _ = learning.feature_rows(_table(X, model.columns), model.columns)
        return learning.probabilities(model, rows, self.backend)

    def uncertainty(self, X: Any) -> NDArray[np.float32]:
        """1 less the lead of the likeliest class over the next: float32 (n,), 0 to 1."""
        return learning.doubt(self.predict_proba(X))

    def ambiguous(self, X: Any) -> tuple[str, ...]:
        """Of each row the features that are NaN or infinite, and counted as 0; "" where none is."""
        model = self._model()
        return learning.feature_rows(_table(X, model.columns), model.columns)[1]

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Share of the labelled rows that are predicted right."""
        table = _table(X, self._model().columns)
        labels, _ = self._labels(table, y)
        if not (labels != 0).any():
            raise LabelError("no labelled object to score: every label is 0")
        chosen = labels != 0
        weight = None if sample_weight is None else np.asarray(sample_weight)[chosen]
        return float(np.average(self.predict(table)[chosen] == labels[chosen], weights=weight))

    def cross_validate(self, X: Any, y: Any, *, folds: int = 5) -> Validation:
        """Accuracy and confusion on objects kept out of training."""
        table = _table(X)
        labels, _ = self._labels(table, y)
        return learning.held_out(
            table, labels, subset=self.features, folds=folds, threads=self.n_jobs, **self._how()
        )

    def save(self, path: Path | str) -> None:
        """Write the model as a `.gpuseg` file."""
        self._model().save(path)

    @classmethod
    def load(cls, path: Path | str, **parameters: Any) -> Self:
        """A fitted classifier from a `.gpuseg` file, of a pipeline too; parameters as for the class."""
        if (model := Pipeline.load(path).objects) is None:
            raise ModelError(f"{path}: has no object classifier")
        return cls.from_model(model, **parameters)

    @classmethod
    def from_model(cls, model: ObjectModel, **parameters: Any) -> Self:
        """A fitted classifier from a model, for example that of a pipeline."""
        classifier = cls(**({"classes": tuple(c.name for c in model.classes)} | parameters))
        classifier.model_ = model
        return classifier

    @property
    def classes_(self) -> NDArray[np.int64]:
        return np.array([c.value for c in self.model_.classes], np.int64)

    @property
    def feature_names_in_(self) -> NDArray[Any]:
        return np.array(self.model_.columns, object)

    @property
    def n_features_in_(self) -> int:
        return len(self.model_.columns)

    @property
    def feature_importances_(self) -> NDArray[np.float64]:
        return np.array(self._told("importances"), np.float64)

    @property
    def oob_score_(self) -> float:
        return float(self._told("oob_accuracy"))

    @property
    def oob_confusion_(self) -> NDArray[np.int64]:
        return np.array(self._told("oob_confusion"), np.int64)

    def _model(self) -> ObjectModel:
        check_is_fitted(self)
        return self.model_

    def _how(self) -> dict[str, Any]:
        return {
            "forest": self.forest,
            "trees": self.n_estimators,
            "seed": self.random_state,
            "backend": self.backend,
        }

    def _labels(self, table: "pd.DataFrame", y: Any) -> tuple[NDArray[np.int64], tuple[str, ...]]:
        labels, names = learning.as_values(y, self.classes or ())
        if len(labels) != len(table):
            raise LabelError(
                f"{len(labels)} labels for {len(table)} objects",
                hint="give one for each row, 0 if unlabelled",
            )
        return labels, names

    def _told(self, key: str) -> Any:
        """What training left in the model; AttributeError for a model that came without."""
        value = self.model_.provenance.get("training", {}).get(key)
        if value is None:
            raise AttributeError(f"this model does not know its {key}")
        return value


def _table(X: Any, columns: Sequence[str] = ()) -> "pd.DataFrame":
    """A table as it is; an array with its columns named, as those that were learned from."""
    import pandas as pd

    if isinstance(X, pd.DataFrame):
        return X
    rows = np.asarray(X)
    if rows.ndim != 2 or rows.dtype.kind not in "biuf":
        raise InputError(
            f"X: {rows.dtype} of shape {rows.shape}", hint="give a table of gpuseg.measure, or numbers (n, k)"
        )
    if columns and len(columns) != rows.shape[1]:
        raise ModelMismatchError(
            f"X has {rows.shape[1]} features, but ObjectClassifier is expecting {len(columns)} features"
            " as input"  # scikit-learn's words
        )
    return pd.DataFrame(rows, columns=list(columns) or [f"x{i}" for i in range(rows.shape[1])])
