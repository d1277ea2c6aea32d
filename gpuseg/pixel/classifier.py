"""The pixel classifier as a scikit-learn estimator over images."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted

from gpuseg.axes import reorder
from gpuseg.backends import get_backend
from gpuseg.backends.base import Array, Backend
from gpuseg.errors import InputError, LabelError, ModelError
from gpuseg.forests import DEFAULT
from gpuseg.forests.validation import Validation
from gpuseg.model import Pipeline, PixelModel
from gpuseg.pixel.images import PLACE, Picture, scribbled, several
from gpuseg.pixel.learning import Features, blocks, held_out, learn


class PixelClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """Random forest on ilastik's filter responses, trained on scribbles.

    Parameters
    ----------
    features : "all" for every filter and sigma that fits the images; a `Selection`; `{filter: sigmas}`;
        or the path of a TOML file with one.
    axes : one letter of tzyxc per axis of the images. None guesses from the shape, yx, yxc if the last
        axis has at most 4, zyx, zyxc, tzyxc; images to predict are taken to be like the training image.
    n_estimators, random_state, n_jobs : trees, seed (an integer from 0 to 2**32 - 1, never None), threads to
        train with (None or -1 for all).
        The seed decides the model; threads and the order of images and scribbles do not.
    forest : who trains it, a name in `gpuseg.forests.TRAINERS`: "hist" is our own, "sklearn" scikit-learn's.
    backend : what computes features, "hist" forests and probabilities: "auto", "cpu", ...

    Attributes
    ----------
    classes_ : label values, ascending. model_ : the `PixelModel`, all there is to save.
    feature_names_, n_features_in_ : names and number of the feature planes.
    feature_importances_ : mean decrease of impurity of each, adds to 1.
    oob_score_, oob_confusion_ : accuracy and confusion matrix (row the label), out of bag.

    Images are arrays of bool, integers or floats, taken as float32 without any scaling: integers above
    2**24 and float64 are rounded. Complex, masked and object arrays are refused, NaN and infinities where
    they would matter. Time points are independent, and so are channels.

    >>> image = np.random.default_rng(0).normal(size=(64, 64)).astype("float32")
    >>> image[:, 32:] += 5
    >>> scribbles = np.zeros((64, 64), "uint8")
    >>> scribbles[10, 5:25], scribbles[10, 40:60] = 1, 2
    >>> model = PixelClassifier(n_estimators=10).fit(image, scribbles)
    >>> model.predict(image)[40, [5, 60]]
    array([1, 2], dtype=uint8)
    """

    def __init__(
        self,
        features: Features = "all",
        *,
        axes: str | None = None,
        n_estimators: int = 100,
        random_state: int = 0,
        forest: str = DEFAULT,
        backend: str = "auto",
        n_jobs: int | None = None,
    ) -> None:
        self.features = features
        self.axes = axes
        self.n_estimators = n_estimators
        self.random_state = random_state
        self.forest = forest
        self.backend = backend
        self.n_jobs = n_jobs

    def fit(self, X: Any, y: Any) -> Self:
        """Learn from scribbles `y` on one image `X`, or on a list of images.

        y, for one image: integers, 0 unlabelled, of the image's shape without its channel axis (an axis of
        size 1 in its place is fine); or a pair (coordinates (n, axes without c), classes (n,)).
        For a list of images: one such per image, None where there is none; or `{index: such}`.
        Whole-number floats are taken; bool, negative and fractional labels are refused.
        """
        self.model_ = learn(
            scribbled(X, y, self.axes),
            self.features,
            forest=self.forest,
            trees=self.n_estimators,
            seed=self.random_state,
            threads=self.n_jobs,
            backend=self.backend,
        )
        return self

    def predict(self, X: Any) -> NDArray[Any]:
        """Label value of the likeliest class of each pixel, the first of equals: (*image without c).

        X is one image, not a list of them, here and in `predict_proba` and `uncertainty`.
        """
        return self._values(self._picture(X))

    def predict_proba(self, X: Any) -> NDArray[np.float32]:
        """Probability of each class: float32 (*image without c, classes)."""
        picture = self._picture(X)
        return self._fill(picture, (len(self.classes_),), np.dtype(np.float32), lambda b, proba: proba)

    def uncertainty(self, X: Any) -> NDArray[np.float32]:
        """1 less the lead of the likeliest class over the next: float32 (*image without c), 0 to 1."""
        return self._fill(self._picture(X), (), np.dtype(np.float32), lambda b, proba: b.doubt(proba))

    def score(self, X: Any, y: Any) -> float:
        """Share of the labelled pixels of `y`, given as for `fit`, that are predicted right."""
        check_is_fitted(self)
        right = total = 0
        for image in scribbled(X, y, self.axes, like=self.model_.axes):
            predicted = reorder(self._values(image.picture), image.picture.places, PLACE)
            right += int((predicted[tuple(image.where.T)] == image.labels).sum())
            total += len(image.labels)
        if not total:
            raise LabelError("no labelled pixel to score: every label is 0")
        return right / total

    def cross_validate(self, X: Any, y: Any, *, folds: int = 5) -> Validation:
        """Accuracy and confusion on strokes (touching pixels of one label) kept out of training."""
        return held_out(
            scribbled(X, y, self.axes),
            self.features,
            folds=folds,
            forest=self.forest,
            trees=self.n_estimators,
            seed=self.random_state,
            threads=self.n_jobs,
            backend=self.backend,
        )

    def save(self, path: Path | str) -> None:
        """Write the model as a `.gpuseg` file."""
        check_is_fitted(self)
        self.model_.save(path)

    @classmethod
    def load(cls, path: Path | str, **parameters: Any) -> Self:
        """A fitted classifier from a `.gpuseg` file, of a pipeline too; parameters as for the class."""
        if (model := Pipeline.load(path).pixel) is None:
            raise ModelError(f"{path}: has no pixel classifier")
        return cls.from_model(model, **parameters)

    @classmethod
    def from_model(cls, model: PixelModel, **parameters: Any) -> Self:
        """A fitted classifier from a model, for example that of an ilastik project."""
        classifier = cls(**({"features": model.selection} | parameters))
        classifier.model_ = model
        return classifier

    @property
    def classes_(self) -> NDArray[np.int64]:
        return np.array([c.value for c in self.model_.classes], np.int64)

    @property
    def feature_names_(self) -> list[str]:
        return self.model_.feature_names

    @property
    def n_features_in_(self) -> int:
        return self.model_.forest.n_features

    @property
    def feature_importances_(self) -> NDArray[np.float64]:
        return np.array(self._told("importances"), np.float64)

    @property
    def oob_score_(self) -> float:
        return float(self._told("oob_accuracy"))

    @property
    def oob_confusion_(self) -> NDArray[np.int64]:
        return np.array(self._told("oob_confusion"), np.int64)

    def _told(self, key: str) -> Any:
        """What training left in the model; AttributeError for a model that came without, as ilastik's do."""
        value = self.model_.provenance.get("training", {}).get(key)
        if value is None:
            raise AttributeError(f"this model does not know its {key}")
        return value

    def _picture(self, X: Any) -> Picture:
        check_is_fitted(self)
        if several(X):
            raise InputError(
                f"X is a list of {len(X)} image{'s' * (len(X) > 1)}, predict takes one", hint="loop over them"
            )
        return Picture.of(X, self.axes, like=self.model_.axes)

    def _values(self, picture: Picture) -> NDArray[Any]:
        values = self.classes_.astype(np.min_scalar_type(int(self.classes_[-1])))
        found = self._fill(picture, (), np.dtype(np.uint8), lambda b, proba: b.likeliest(proba))
        return np.asarray(values[found])

    def _fill(
        self,
        picture: Picture,
        tail: tuple[int, ...],
        dtype: np.dtype[Any],
        make: Callable[[Backend, Array], Array],
    ) -> NDArray[Any]:
        """`make(backend, probabilities)` of every pixel, axes in the order of the image, `tail` last."""
        out = np.empty((*(picture.sizes[a] for a in picture.places), *(tail or (1,))), dtype)
        view = reorder(out, picture.places + "c", PLACE + "c")
        for t, core, made in blocks(get_backend(self.backend), self.model_, picture, make):
            view[t][core] = made.reshape(*(s.stop - s.start for s in core), -1)
        return out if tail else out[..., 0]
