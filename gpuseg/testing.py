"""Exams that a plug-in inherits: what its kind promises, as tests that run under pytest.

from gpuseg.testing import ForestExam

class TestMine(ForestExam):
    forest = "mine"
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuseg.errors import LabelError
from gpuseg.forests import get_trainer
from gpuseg.forests.arrays import Forest
from gpuseg.forests.training import Trained
from gpuseg.objects.choice import declared, obstacle
from gpuseg.objects.columns import heading
from gpuseg.objects.measure import measure
from gpuseg.objects.table import LOCATION, ObjectFeature

Scene = tuple[NDArray[np.int64], NDArray[np.float32] | None]  # labels and the image under them


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


class ObjectFeatureExam:
    """What every object feature does; `feature` is its id, in `gpuseg.objects.table.OBJECT_FEATURES`."""

    feature: str
    rtol = 1e-9  # of what must be equal

    @property
    def row(self) -> ObjectFeature:
        return declared()[self.feature]

    def scene(self, ndim: int, channels: int) -> Scene:
        """Objects that touch, that reach the border, of one pixel, with a hole, over several tiles."""
        labels = np.zeros((12, 40, 50) if ndim == 3 else (40, 50), np.int64)
        z = (slice(2, 10),) if ndim == 3 else ()
        for i, (y, x) in enumerate(((3, 4), (3, 10), (20, 22), (22, 32)), 1):
            labels[(*z, slice(y, y + 6 + i), slice(x, x + 6))] = i
        labels[(*z, slice(30, None), slice(4, 12))] = 5
        labels[(*((5,) if z else ()), 15, 45)] = 6
        labels[(*z, slice(22, 25), slice(24, 26))] = 0
        labels[(*z, slice(1, 3), slice(20, 48))] = 7
        image = np.random.default_rng(5).normal(100, 20, (*labels.shape, channels)).astype(np.float32)
        return labels, image if channels else None

    def scenes(self) -> Iterator[Scene]:
        """A scene for each kind of image that the feature can be measured in."""
        for ndim in (2, 3):
            for channels in (0, 1, 2):
                if not obstacle(self.row, ndim, channels)[0]:
                    yield self.scene(ndim, channels)

    def table(self, labels: NDArray[Any], raw: NDArray[Any] | None, **how: Any) -> Any:
        """The table of a scene."""
        axes = "zyx"[-labels.ndim :]
        asked: dict[str, Any] = {"features": [self.feature], "backend": "cpu"} | how
        return measure(labels, raw, axes=axes, raw_axes=None if raw is None else f"{axes}c", **asked)

    def values(self, labels: NDArray[Any], raw: NDArray[Any] | None, **how: Any) -> NDArray[np.float64]:
        """What is measured: a row for each object, in the order of their ids."""
        table = self.table(labels, raw, **how)
        title = heading(self.row, labels.ndim, "µm" if "spacing" in how else "")
        names = [c for c in table if c == title or c.rpartition("_")[0] == title]
        assert names, f"there is no column {title!r}"
        return np.asarray(table[names].to_numpy(np.float64))

    def test_it_can_be_measured_somewhere(self) -> None:
        assert list(self.scenes())

    def test_every_object_has_its_row_of_numbers(self) -> None:
        for labels, raw in self.scenes():
            assert len(self.values(labels, raw)) == 7

    def test_an_image_without_objects_has_the_same_columns(self) -> None:
        for labels, raw in self.scenes():
            shape = self.values(labels * 0, raw).shape
            assert shape == (0, self.values(labels, raw).shape[1])

    def test_ids_change_nothing(self) -> None:
        ids = np.array([0, 70, 20, 2**40, 5, 90, 1, 33])
        for labels, raw in self.scenes():
            order = np.argsort(ids[1:])
            self._same(self.values(ids[labels], raw), self.values(labels, raw)[order])

    def test_where_an_object_is_changes_nothing_but_its_location(self) -> None:
        if self.row.group == LOCATION:
            return
        for labels, raw in self.scenes():
            self._same(self.values(*_padded(labels, raw, 3)), self.values(*_padded(labels, raw, 0)))

    def test_tiles_give_what_the_whole_image_gives(self) -> None:
        for labels, raw in self.scenes():
            self._same(self.values(labels, raw, block=24), self.values(labels, raw))

    def test_lengths_follow_the_size_of_pixels(self) -> None:
        for labels, raw in self.scenes():
            power = labels.ndim if self.row.unit == "d" else self.row.unit
            self._same(self.values(labels, raw, spacing=2.0), self.values(labels, raw) * 2.0**power)

    def _same(self, a: NDArray[Any], b: NDArray[Any]) -> None:
        np.testing.assert_allclose(a, b, self.rtol, 1e-9, err_msg=self.feature)


def _padded(labels: NDArray[Any], raw: NDArray[Any] | None, by: int) -> Scene:
    """A scene with more around it than any margin, moved by a few pixels along each axis."""
    room = [(4, 4), (40, 40), (40, 40)][-labels.ndim :]
    around = [(a + by, b - by) for a, b in room]
    return np.pad(labels, around), None if raw is None else np.pad(raw, [*around, (0, 0)])
