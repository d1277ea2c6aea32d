"""From a table of objects, some of them labelled, to a model; and from rows to probabilities."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gpuseg import __version__
from gpuseg.backends import get_backend
from gpuseg.backends.base import Backend
from gpuseg.classes import label_classes
from gpuseg.errors import FULL, InputError, LabelError
from gpuseg.forests import DEFAULT, get_trainer
from gpuseg.forests.arrays import Forest, shared_rows
from gpuseg.forests.training import Trained
from gpuseg.forests.validation import Validation, cross_validate
from gpuseg.model.objects import Measured, ObjectModel, check_columns
from gpuseg.objects.choice import declared, plain
from gpuseg.objects.columns import (
    AMBIGUOUS,
    CENTER,
    HIGH,
    ID,
    IMAGE,
    LOW,
    NUMBER,
    ORIGINAL,
    PREDICTED,
    PROBABILITY,
    TIME,
    UNSURE,
    USER,
)
from gpuseg.objects.measure import ATTRS

if TYPE_CHECKING:
    import pandas as pd

SAID = {USER, PREDICTED, UNSURE, AMBIGUOUS}  # of objects, by people and by classifiers
IDENTITY = {IMAGE, ID, TIME, NUMBER, ORIGINAL}
PLACE = tuple(f"{title}_" for title in (LOW, HIGH, CENTER))  # where an object is says little of what it is
UNLABELLED = ("", "0")
MAX_CLASS = 99  # as in ilastik


def learn(
    table: "pd.DataFrame",
    labels: NDArray[np.int64],
    names: Sequence[str] = (),
    *,
    subset: Sequence[str] | None = None,
    forest: str = DEFAULT,
    trees: int = 100,
    seed: int = 0,
    threads: int | None = None,
    backend: str = "auto",
) -> ObjectModel:
    """The model that labelled rows of a table teach. labels: (n,), 0 unlabelled; names: of classes 1, 2, ...

    Every class has a column of probabilities, labelled or not (SPEC 6.3). Its provenance holds what training
    told: label counts, out-of-bag accuracy, importances, ambiguous objects, versions.
    """
    count = check_labels(labels, names)
    columns = choose_columns(table, subset)
    rows, reasons = feature_rows(table, columns)
    chosen = labels > 0
    trained = get_trainer(forest)(
        rows[chosen], labels[chosen], trees=trees, seed=seed, threads=threads, backend=backend
    )
    classes = label_classes(range(1, count + 1), dict(enumerate(names, 1)))
    told = _told(trained, labels, count, forest, seed, len(table))
    told["ambiguous"] = [r for r, c in zip(reasons, chosen, strict=True) if r and c]
    return ObjectModel(
        columns=tuple(columns),
        forest=_with_all_classes(trained.forest, trained.classes, count),
        classes=classes,
        measured=_measured(table, columns),
        provenance={"training": told, "versions": _versions()},
    )


def held_out(
    table: "pd.DataFrame",
    labels: NDArray[np.int64],
    *,
    subset: Sequence[str] | None = None,
    folds: int = 5,
    forest: str = DEFAULT,
    trees: int = 100,
    seed: int = 0,
    threads: int | None = None,
    backend: str = "auto",
) -> Validation:
    """What labelled objects are taken for by forests that did not learn from them."""
    check_labels(labels)
    rows, _ = feature_rows(table, choose_columns(table, subset))
    chosen = labels > 0
    return cross_validate(
        rows[chosen],
        labels[chosen],
        np.arange(int(chosen.sum())),
        partial(get_trainer(forest), backend=backend),
        folds=folds,
        trees=trees,
        seed=seed,
        threads=threads,
        what="object",
    )


def check_labels(labels: NDArray[np.int64], names: Sequence[str] = ()) -> int:
    """The number of classes, if something can be learned of them; LabelError."""
    painted, count = np.unique(labels[labels != 0]), int((labels != 0).sum())
    if not count:
        raise LabelError("no object is labelled", hint="label objects of at least two classes")
    if painted[0] < 0 or painted[-1] > MAX_CLASS:
        wrong = painted[0] if painted[0] < 0 else painted[-1]
        raise LabelError(f"label {wrong}: classes are 1 to {MAX_CLASS}, 0 is unlabelled")
    if len(painted) == 1:
        raise LabelError(
            f"only class {painted[0]} is labelled ({count} objects), at least two classes are needed",
            hint="label objects of another class too",
        )
    if len(set(names)) < len(names):
        raise LabelError(f"two classes have one name: {', '.join(names)}", hint="give each its own")
    if names and painted[-1] > len(names):
        raise LabelError(
            f"label {painted[-1]} of {len(names)} classes: {', '.join(names)}", hint="name every class"
        )
    return len(names) or int(painted[-1])


def choose_columns(table: "pd.DataFrame", subset: Sequence[str] | None = None) -> list[str]:
    """Columns to learn from, in the order of the table: all features, or those named.

    subset: columns, or features by id, title or ilastik's id. By default the features that were asked for
    when the table was measured; of a table from elsewhere all numbers but places and identities.
    """
    features = table.attrs.get(ATTRS, {}).get("columns") or _numeric(table)
    if subset is None:
        chosen = [c for c in table.columns if c in features]
    else:
        wanted = {c for word in subset for c in _columns_of(word, features, list(table.columns))}
        chosen = [c for c in table.columns if c in wanted]
    if not chosen:
        raise InputError("the table has no feature to learn from", hint="measure some: features='all'")
    return chosen


def _numeric(table: "pd.DataFrame") -> dict[str, str]:
    """Columns of numbers that say what an object is like, and no feature of ours known for them."""
    return {
        name: ""
        for name, column in table.items()
        if name not in IDENTITY | SAID and not str(name).startswith((PROBABILITY, *PLACE)) and _number(column)
    }


def _number(column: Any) -> bool:
    return column.dtype.kind in "biuf"


def _columns_of(word: str, features: Mapping[str, str], columns: Sequence[str]) -> list[str]:
    """Columns of the table that a name of a column or of a feature means; InputError for neither."""
    if word in columns:
        return [word]
    rows = declared()
    plainly = plain(word)
    ids = {k for k, r in rows.items() if plainly in {plain(n) for n in (k, r.title, r.ilastik) if n}}
    found = [c for c, key in features.items() if key in ids]
    if not found:
        raise InputError(
            f"the table has no feature {word!r}",
            hint="it must be among those that were measured: a column, or the name of a feature",
        )
    return found


def feature_rows(
    table: "pd.DataFrame", columns: Sequence[str]
) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    """Rows of these columns, float32 (n, p), and of each the features that were NaN or infinite.

    Such a number becomes 0, and its object is ambiguous (SPEC 6.2).
    """
    check_columns(columns, list(table.columns), "the table")
    if wrong := [c for c in columns if not _number(table[c])]:
        raise InputError(f"column {wrong[0]!r} holds {table[wrong[0]].dtype}, a feature is a number")
    with np.errstate(over="ignore"):  # beyond float32 is infinite, and told
        rows = np.ascontiguousarray(table[list(columns)].to_numpy(np.float32))
    bad = ~np.isfinite(rows)
    reasons = [""] * len(rows)
    for i in np.flatnonzero(bad.any(axis=1)).tolist():
        reasons[i] = "; ".join(f"{columns[k]} is {rows[i, k]}" for k in np.flatnonzero(bad[i]).tolist())
    return np.where(bad, np.float32(0), rows), tuple(reasons)


def probabilities(
    model: ObjectModel, rows: NDArray[np.float32], backend: str = "auto"
) -> NDArray[np.float32]:
    """Probability of each class of each row: float32 (n, K), adding to 1."""
    if not len(rows):
        return np.zeros((0, len(model.classes)), np.float32)
    planes = np.ascontiguousarray(rows.T)[:, None, None]  # an image of one row
    try:
        votes = _votes(get_backend(backend), planes, model)
    except FULL:  # objects are few: the CPU is as fast
        votes = _votes(get_backend("cpu"), planes, model)
    total = votes.sum(axis=1, keepdims=True)
    return np.asarray(votes / np.where(total > 0, total, 1), np.float32)


def _votes(b: Backend, planes: NDArray[np.float32], model: ObjectModel) -> NDArray[np.float64]:
    return np.asarray(b.to_numpy(b.forest_proba(b.asarray(planes), model.forest))[0, 0], np.float64)


def winners(model: ObjectModel, proba: NDArray[np.float32]) -> NDArray[np.int64]:
    """Class value of each row: the likeliest, the first of equals."""
    values = np.array([c.value for c in model.classes], np.int64)
    return np.asarray(values[proba.argmax(axis=1)])


def doubt(proba: NDArray[np.float32]) -> NDArray[np.float32]:
    """1 less the lead of the likeliest class over the next, 0 where there is one class (SPEC 6.4)."""
    if proba.shape[1] < 2:
        return np.zeros(len(proba), np.float32)
    second, first = np.sort(proba, axis=1)[:, -2:].T
    return np.asarray(1 - (first - second), np.float32)


def as_values(y: Any, names: Sequence[str] = ()) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Class values (n,) of numbers or of names, and the names of classes 1, 2, ...

    "" and "0" are unlabelled. Names that nobody numbered are numbered in alphabetical order.
    """
    found = np.asarray(y)
    if found.ndim != 1:
        raise LabelError(f"labels of shape {found.shape}: one for each row of the table is needed")
    if found.dtype.kind in "biuf":
        with np.errstate(invalid="ignore"):
            values = found.astype(np.int64)
        if (values != found).any():  # NaN too
            raise LabelError(f"label {found[values != found][0]}: labels are whole numbers, 0 is unlabelled")
        return values, tuple(names)
    words = [str(w).strip() for w in found.tolist()]
    known = tuple(names) or tuple(sorted({w for w in words if w not in UNLABELLED}))
    number = {w: i for i, w in enumerate(known, 1)} | dict.fromkeys(UNLABELLED, 0)
    if strange := [w for w in words if w not in number]:
        raise LabelError(f"class {strange[0]!r} is none of {', '.join(known)}")
    return np.array([number[w] for w in words], np.int64), known


def _with_all_classes(forest: Forest, found: NDArray[np.int64], count: int) -> Forest:
    """The same forest with a column for each of the classes 1 to `count`."""
    if len(found) == count:
        return forest
    leaves = np.zeros((len(forest.leaves), count), np.float32)
    leaves[:, found - 1] = forest.leaves
    table, row = shared_rows(leaves)
    left = forest.left.copy()
    at = forest.feature < 0
    left[at] = row[left[at]]
    return replace(forest, left=left, leaves=table).validate()


def _measured(table: "pd.DataFrame", columns: Sequence[str]) -> Measured:
    """How the table came about, if it says so; features that nobody else can measure leave it out."""
    told = table.attrs.get(ATTRS)
    if not told or "" in (used := [told["columns"].get(c, "") for c in columns]):
        return Measured()
    return Measured(
        tuple(f for f in told["features"] if f),
        tuple(dict.fromkeys(used)),
        told["ndim"],
        told["channels"],
        tuple(told["margin"]),
        tuple(told["spacing"]),
        told["unit"],
    )


def _told(
    trained: Trained, labels: NDArray[np.int64], count: int, forest: str, seed: int, objects: int
) -> dict[str, Any]:
    """What training found out, as JSON has it."""
    confusion = np.zeros((count, count), np.int64)
    confusion[np.ix_(trained.classes - 1, trained.classes - 1)] = trained.oob_confusion
    accuracy = trained.oob_accuracy
    return {
        "forest": forest,
        "trees": len(trained.forest.roots),
        "seed": seed,
        "objects": objects,
        "labels": {str(v): int((labels == v).sum()) for v in range(1, count + 1)},
        "oob_accuracy": accuracy if np.isfinite(accuracy) else None,
        "oob_confusion": confusion.tolist(),
        "importances": trained.importances.tolist(),
    }


def _versions() -> dict[str, str]:
    return {"gpuseg": __version__, "numpy": np.__version__}
