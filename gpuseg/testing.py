"""Exams that a plug-in inherits: what its kind promises, as tests that run under pytest.

from gpuseg.testing import ForestExam

class TestMine(ForestExam):
    forest = "mine"
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuseg.errors import LabelError
from gpuseg.forests import get_trainer
from gpuseg.forests.arrays import Forest
from gpuseg.forests.training import Trained


class ForestExam:
    """What every trainer in `gpuseg.forests.TRAINERS` does; `forest` is its name there."""

    forest: str
    fields = ("feature", "threshold", "left", "roots", "leaves")

    def train(self, rows: NDArray[Any], labels: NDArray[Any], **settings: Any) -> Trained:
        how: dict[str, Any] = {"trees": 20, "seed": 3, "backend": "auto"}
        return get_trainer(self.forest)(rows, labels, **(how | settings))

    def data(self, count: int = 200) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Three features, of which the first tells label 5 from label 2."""
        rows = np.random.default_rng(0).normal(size=(count, 3)).astype(np.float32)
        return rows, np.where(rows[:, 0] > 0, 5, 2)

    def test_it_learns_what_can_be_learned(self) -> None:
        rows, labels = self.data()
        trained = self.train(rows, labels)
        assert trained.classes.tolist() == [2, 5]
        assert trained.oob_accuracy > 0.9
        assert trained.importances.argmax() == 0

    def test_arrays_are_a_valid_forest(self) -> None:
        forest = self.train(*self.data()).forest
        assert isinstance(forest, Forest)
        assert forest.validate().n_features == 3

    def test_shapes_are_those_of_the_data(self) -> None:
        trained = self.train(*self.data(60))
        assert (trained.forest.leaves.shape[1], trained.importances.shape) == (2, (3,))
        assert (trained.oob_proba.shape, trained.oob_confusion.shape) == ((60, 2), (2, 2))

    def test_order_of_rows_and_threads_change_nothing(self) -> None:
        rows, labels = self.data()
        first = self.train(rows, labels, threads=1)
        order = np.random.default_rng(1).permutation(len(rows))
        second = self.train(rows[order], labels[order], threads=2)
        for name in self.fields:
            np.testing.assert_array_equal(getattr(first.forest, name), getattr(second.forest, name))
        np.testing.assert_array_equal(first.oob_proba[order], second.oob_proba)

    def test_one_class_is_refused(self) -> None:
        rows, labels = self.data()
        self._refused(rows, np.full_like(labels, 2))

    def test_nothing_is_refused(self) -> None:
        self._refused(np.zeros((0, 3), np.float32), np.zeros(0, np.int64))

    def test_rows_that_are_not_finite_are_refused(self) -> None:
        rows, labels = self.data()
        rows[7, 1] = np.nan
        self._refused(rows, labels)

    def _refused(self, rows: NDArray[Any], labels: NDArray[Any]) -> None:
        try:
            self.train(rows, labels)
        except LabelError:
            return
        raise AssertionError("a LabelError was expected")
