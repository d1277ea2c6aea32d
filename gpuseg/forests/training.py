"""What every trainer does alike: check the rows, put them in order, measure what was learned."""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from gpuseg.errors import InputError, LabelError
from gpuseg.forests.arrays import Forest

MAX_CLASSES = 255
MAX_VALUE = 2**32 - 1


@dataclass(frozen=True, slots=True, eq=False)
class Trained:
    """A forest and what is known about it. Rows are those that were given, in the order they were given.

    Out of bag means: asked only the trees that did not learn from that row.
    """

    forest: Forest
    classes: NDArray[np.int64]  # label values, ascending; column k of `forest.leaves` is classes[k]
    oob_proba: NDArray[np.float32]  # (rows, classes), zero where every tree learned from the row
    oob_confusion: NDArray[np.int64]  # (classes, classes): row the label, column the answer
    importances: NDArray[np.float64]  # (features,) mean decrease of impurity, adds to 1

    @property
    def oob_accuracy(self) -> float:
        """Share of right answers, out of bag; NaN if no row was out of any bag."""
        return accuracy(self.oob_confusion)


class Trainer(Protocol):
    """Learn a forest from feature rows, float32 (n, features), and integer labels (n,).

    The order of rows and the number of threads change nothing. `backend` names the one that computed the
    features: a trainer may grow its trees there, or ignore it. LabelError where nothing can be learned.
    """

    def __call__(
        self,
        rows: NDArray[np.float32],
        labels: NDArray[Any],
        *,
        trees: int = ...,
        seed: int = ...,
        threads: int | None = ...,
        backend: str = ...,
    ) -> Trained: ...


def accuracy(confusion: NDArray[np.int64]) -> float:
    """Share of counts on the diagonal; NaN of nothing."""
    return float(np.trace(confusion) / confusion.sum()) if confusion.sum() else float("nan")


def confusion_matrix(
    labels: NDArray[Any], proba: NDArray[Any], classes: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Counts (classes, classes): row the label, column the likeliest class; rows without answer left out."""
    answered = proba.any(axis=1)
    truth, said = np.searchsorted(classes, labels[answered]), proba[answered].argmax(axis=1)
    k = len(classes)
    return np.bincount(truth * k + said, minlength=k * k).reshape(k, k)


def check_trees(trees: int) -> None:
    """InputError unless there is a tree to grow."""
    if trees < 1:
        raise InputError(f"a forest of {trees} trees: at least 1 is needed")


def check_labels(labels: NDArray[Any]) -> NDArray[np.int64]:
    """The classes among `labels`, ascending, if a classifier can be learned from them (SPEC 2.1)."""
    if not len(labels):
        raise LabelError("no labelled pixel: every label is 0", hint="label at least two classes")
    classes = np.unique(labels)
    if classes[0] < 1 or classes[-1] > MAX_VALUE:
        wrong = classes[0] if classes[0] < 1 else classes[-1]
        raise LabelError(f"label {wrong}: class labels are 1 to {MAX_VALUE}, 0 is unlabelled")
    if len(classes) == 1:
        raise LabelError(
            f"only class {classes[0]} is labelled ({len(labels)} pixels), at least two classes are needed",
            hint="label some background too",
        )
    if len(classes) > MAX_CLASSES:
        raise LabelError(
            f"the labels have {len(classes)} different values, at most {MAX_CLASSES} classes can be learned",
            hint="labels are few classes of pixels, 0 where unlabelled: is this an image of objects?",
        )
    return classes.astype(np.int64)


def check_rows(rows: NDArray[Any], labels: NDArray[Any]) -> NDArray[np.float32]:
    """`rows` as contiguous float32, if they are finite and one per label."""
    rows = np.ascontiguousarray(rows, np.float32)
    if rows.ndim != 2 or len(rows) != len(labels) or not rows.shape[1]:
        raise LabelError(f"feature rows {rows.shape} do not fit {len(labels)} labels")
    # The sum of finite numbers may overflow, so a bad sum is only a reason to look closer.
    if not np.isfinite(rows.sum(dtype=np.float64)) and not (finite := np.isfinite(rows)).all():
        row, column = np.argwhere(~finite)[0]
        raise LabelError(
            f"feature {column} of labelled pixel {row} is {rows[row, column]}, features must be finite",
            hint="the image has NaN, infinite or very large values near the labels",
        )
    return rows


def canonical_order(rows: NDArray[np.float32], labels: NDArray[Any]) -> NDArray[np.intp]:
    """Order of rows that depends on their content alone: by label, then bytes of the features."""
    # Most rows are told apart by their first 8 bytes, which are compared as one number.
    start = labels.astype(np.uint32).astype(np.uint64) << np.uint64(32) | rows[:, 0].view(">u4")
    order = start.argsort()
    start = start[order]
    alike = np.concatenate([[False], start[1:] == start[:-1], [False]])
    at = np.flatnonzero(alike[1:] | alike[:-1])
    some = np.sort(order[at])
    keys = np.column_stack([labels[some].astype(">u4").view(np.float32), rows[some]])
    texts = keys.view(np.dtype((np.void, keys.itemsize * keys.shape[1]))).ravel()
    order[at] = some[texts.argsort(kind="stable")]
    return np.asarray(order)
