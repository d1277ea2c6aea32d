"""The trained object classifier as a value and as a file."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from typing import Any, Self

from gpuseg.classes import LabelClass
from gpuseg.errors import ModelError, ModelMismatchError
from gpuseg.forests.arrays import Forest
from gpuseg.model import files

KIND = "object classifier"


@dataclass(frozen=True, slots=True)
class Measured:
    """How the objects were measured that a classifier learned from; others must be measured alike.

    Empty where the table came from elsewhere: such a classifier predicts tables, not images.
    """

    features: tuple[str, ...] = ()  # ids, in the order of THE TABLE
    used: tuple[str, ...] = ()  # those of them that the forest uses
    ndim: int = 0
    channels: int = 0  # of the raw image, 0 without
    margin: tuple[int, ...] = (30, 30, 1)  # of neighbourhoods, along x, y, z
    spacing: tuple[float, ...] = ()  # along z, y, x as somebody gave it; empty: as each file says
    unit: str = ""  # of lengths, "" for pixels

    def check(self, ndim: int, channels: int, name: str) -> None:
        """ModelMismatchError if an image is not like those of the training."""
        if not self.ndim:
            raise ModelMismatchError(
                f"{name}: the object classifier learned from a table that does not say how it was measured",
                hint="train it on a table of gpuseg.measure as it is, or predict tables with it",
            )
        if ndim != self.ndim:
            raise ModelMismatchError(f"{name}: objects are {ndim}D, the classifier learned {self.ndim}D ones")
        if channels != self.channels:
            found, learned = (f"{n} channel{'s' * (n != 1)}" for n in (channels, self.channels))
            raise ModelMismatchError(
                f"{name}: the raw image has {found}, the object classifier was trained on {learned}",
                hint="give the raw image, and the same channels as in training",
            )


@dataclass(frozen=True, slots=True, eq=False)
class ObjectModel:
    """Everything that turns a row of object features into class probabilities.

    Column k of all probabilities is classes[k]; a class that nobody labelled has the probability 0.
    ModelError where the parts do not fit each other.

    >>> labels = np.kron(np.diag([1, 2, 3, 4]), np.ones((5, 5), int))
    >>> table = gpuseg.measure(labels, features=["count", "radii"])
    >>> gpuseg.ObjectClassifier(n_estimators=5).fit(table, [1, 2, 1, 2]).save("objects.gpuseg")
    >>> model = ObjectModel.load("objects.gpuseg")
    >>> model.columns[0], model.measured.features
    ('Size in pixels', ('count', 'radii'))
    """

    columns: tuple[str, ...]  # of the table, in the order that the forest was trained on
    forest: Forest
    classes: tuple[LabelClass, ...]
    measured: Measured = field(default_factory=Measured)
    provenance: dict[str, Any] = field(default_factory=dict)  # JSON values: who made it from what

    def __post_init__(self) -> None:
        files.check_classes(self.classes, self.forest.leaves.shape[1])
        if len({c.name for c in self.classes}) < len(self.classes):
            raise ModelError(f"two classes have one name: {', '.join(c.name for c in self.classes)}")
        if self.forest.n_features != len(self.columns) or len(set(self.columns)) != len(self.columns):
            raise ModelError(
                f"{len(set(self.columns))} names of columns, the forest uses {self.forest.n_features}"
            )
        m = self.measured
        if m.ndim not in (0, 2, 3) or not 0 <= m.channels <= files.MAX_CHANNELS:
            raise ModelError(f"a model of {m.channels} channels in {m.ndim} dimensions")
        lengths = len(m.spacing) in (0, 3) and all(0 < s < inf for s in m.spacing)
        if len(m.margin) not in (2, 3) or min(m.margin) < 0 or not lengths:
            raise ModelError(f"a margin of {m.margin} pixels, a spacing of {m.spacing}")
        files.check_training(self.provenance, len(self.columns), len(self.classes))

    @property
    def hash(self) -> str:
        """SHA-256 of all that decides a prediction; not of dates, paths or versions."""
        facts = self.header()
        del facts["provenance"]
        return files.digest(json.dumps(facts, sort_keys=True), files.forest_arrays(self.forest))

    def save(self, path: Path | str) -> None:
        """Write a `.gpuseg` file: whole under that name, or not at all. ResourceError if it cannot be."""
        files.write_model(path, self.header(), {"": self.forest})

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """Read a `.gpuseg` file. FileError if there is none; ModelError, naming it, if it is damaged."""
        try:
            header, arrays = files.read_model(path)
            files.check_kind(header, KIND)
            return cls.from_header(header, arrays)
        except ModelError as e:
            raise e.at(str(path)) from e

    def header(self) -> files.Header:
        """All but the forest, as JSON has it."""
        m = self.measured
        return {
            "spec": files.SPEC,
            "kind": KIND,
            "columns": list(self.columns),
            "classes": files.class_entries(self.classes),
            "features": list(m.features),
            "used": list(m.used),
            "ndim": m.ndim,
            "channels": m.channels,
            "margin": list(m.margin),
            "spacing": list(m.spacing),
            "unit": m.unit,
            "provenance": self.provenance,
        }

    @classmethod
    def from_header(cls, header: Mapping[str, Any], arrays: files.Arrays, prefix: str = "") -> Self:
        """Of a header and the arrays with this prefix; ModelError where they cannot be a model."""
        columns = tuple(files.take_list(header, "columns", str))
        return cls(
            columns,
            files.take_forest(arrays, prefix, len(columns)),
            files.take_classes(header),
            Measured(
                tuple(files.take_list(header, "features", str)),
                tuple(files.take_list(header, "used", str)),
                files.take(header, "ndim", int),
                files.take(header, "channels", int),
                tuple(files.take_list(header, "margin", int)),
                tuple(files.take_list(header, "spacing", float)),
                files.take(header, "unit", str),
            ),
            files.take(header, "provenance", dict),
        )


def check_columns(columns: Sequence[str], known: Sequence[str], what: str) -> None:
    """ModelMismatchError that names the columns a table lacks."""
    if missing := [c for c in columns if c not in set(known)]:
        some = ", ".join(missing[:3]) + (f" and {len(missing) - 3} more" if len(missing) > 3 else "")
        raise ModelMismatchError(
            f"{what} lacks {len(missing)} of the {len(columns)} columns the classifier uses: {some}",
            hint="measure the same features, with the same raw channels and units, as in training",
        )
