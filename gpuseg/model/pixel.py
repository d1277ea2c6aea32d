"""The trained pixel classifier as a value and as a file."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from gpuseg.classes import LabelClass
from gpuseg.errors import InputError, ModelError, ModelMismatchError, ShapeError
from gpuseg.features.selection import Selection
from gpuseg.forests.arrays import Forest
from gpuseg.model import files

KIND = "pixel classifier"


@dataclass(frozen=True, slots=True, eq=False)
class PixelModel:
    """Everything that turns an image into class probabilities.

    Column k of all probabilities is classes[k]. ModelError where the parts do not fit each other.

    >>> image, scribbles = np.zeros((40, 40)), np.zeros((40, 40), int)
    >>> image[:, 20:], scribbles[5, :20], scribbles[5, 20:] = 9, 1, 2
    >>> gpuseg.PixelClassifier(n_estimators=5).fit(image, scribbles).save("cells.gpuseg")
    >>> model = PixelModel.load("cells.gpuseg")
    >>> [c.name for c in model.classes], model.channels, len(model.feature_names)
    (['Label 1', 'Label 2'], 1, 49)
    """

    selection: Selection
    forest: Forest
    classes: tuple[LabelClass, ...]
    channels: int  # of the training images
    ndim: int  # their spatial axes: 2 or 3, one slice counts as 2
    axes: str  # of the first training image
    provenance: dict[str, Any] = field(default_factory=dict)  # JSON values: who made it from what

    def __post_init__(self) -> None:
        files.check_classes(self.classes, self.forest.leaves.shape[1])
        if self.ndim not in (2, 3) or not 1 <= self.channels <= files.MAX_CHANNELS:
            raise ModelError(f"a model of {self.channels} channels in {self.ndim} dimensions")
        files.check_axes(self.axes)
        files.check_training(self.provenance, self.forest.n_features, len(self.classes))
        if self.forest.n_features != (count := self.selection.count(self.channels, self.depth)):
            raise ModelError(f"the selection has {count} features, the forest uses {self.forest.n_features}")

    @property
    def depth(self) -> int:
        """A z size with the model's dimensionality, as `Selection` wants it: 1 or more."""
        return self.ndim - 1

    @property
    def feature_names(self) -> list[str]:
        """Names of the features, in the order of the planes."""
        return self.selection.names(self.channels, self.depth)

    @property
    def hash(self) -> str:
        """SHA-256 of all that decides a prediction; not of dates, paths or versions."""
        facts = self.header()
        del facts["axes"], facts["provenance"]
        return files.digest(json.dumps(facts, sort_keys=True), files.forest_arrays(self.forest))

    def check_image(self, sizes: Mapping[str, int], name: str = "image") -> None:
        """ModelMismatchError or ShapeError, with `name` in front, if this model cannot predict the image."""
        if sizes["c"] != self.channels:
            raise ModelMismatchError(
                f"{name}: image has {sizes['c']} channels, model was trained on {self.channels}",
                hint="is the channel axis where --axes says? else save the image with as many channels,"
                " or train a new model",
            )
        ndim = 2 if sizes["z"] == 1 else 3
        if ndim != self.ndim:
            raise ModelMismatchError(
                f"{name}: image is {ndim}D ({sizes['z']} z slices), model was trained on {self.ndim}D images",
                hint="to take each slice for an image of its own, name that axis t, for example --axes tyx"
                if ndim == 3
                else "train a model on 2D images",
            )
        try:
            self.selection.check(sizes)
        except ShapeError as e:
            raise e.at(name) from None

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
        return {
            "spec": files.SPEC,
            "kind": KIND,
            "features": self.selection.to_dict(),
            "n_features": self.forest.n_features,
            "classes": files.class_entries(self.classes),
            "channels": self.channels,
            "ndim": self.ndim,
            "axes": self.axes,
            "provenance": self.provenance,
        }

    @classmethod
    def from_header(cls, header: Mapping[str, Any], arrays: files.Arrays, prefix: str = "") -> Self:
        """Of a header and the arrays with this prefix; ModelError where they cannot be a model."""
        try:
            selection = Selection.from_dict(files.take(header, "features", dict))
        except InputError as e:
            raise ModelError(e.problem, hint=e.hint) from e
        return cls(
            selection,
            files.take_forest(arrays, prefix, files.take(header, "n_features", int)),
            files.take_classes(header),
            files.take(header, "channels", int),
            files.take(header, "ndim", int),
            files.take(header, "axes", str),
            files.take(header, "provenance", dict),
        )
