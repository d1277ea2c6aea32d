"""The trained pixel classifier as a value and as a file: `.gpuseg`, data only, never code.

A `.gpuseg` file is one safetensors file: flat arrays of the forest, and two metadata strings.

    gpuseg    JSON: spec, kind, features, n_features, classes, channels, ndim, axes, provenance
    sha256    of that string and the arrays' bytes in the order of ARRAYS

Nothing in it names a class or a function to call. What `load` returns has passed the checksum, then the
same checks as a model made in memory; a file from a later gpuseg with another `spec` is refused by name.
"""

import json
import os
from collections.abc import Mapping, Sequence
from colorsys import hsv_to_rgb
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from gpuseg.axes import LETTERS
from gpuseg.errors import FileError, InputError, ModelError, ModelMismatchError, ResourceError, ShapeError
from gpuseg.features.selection import Selection
from gpuseg.forests.arrays import Forest
from gpuseg.io.partial import partial_path

SPEC = 1
KIND = "pixel classifier"
ARRAYS = {  # name in the file -> (safetensors' word for the type, axes)
    "feature": ("I32", 1),
    "threshold": ("F32", 1),
    "left": ("I32", 1),
    "roots": ("I32", 1),
    "leaves": ("F32", 2),
}
MAX_CHANNELS = 65536
COLORS = (  # ilastik's, in its order (SPEC 11.1)
    *((255, 225, 25), (0, 130, 200), (230, 25, 75), (70, 240, 240), (60, 180, 75)),
    *((250, 190, 190), (170, 110, 40), (145, 30, 180), (0, 128, 128), (245, 130, 48)),
    *((240, 50, 230), (210, 245, 60), (255, 215, 180), (230, 190, 255), (128, 128, 128)),
)


@dataclass(frozen=True, slots=True)
class LabelClass:
    """One class: the value it has in label images, and how it is shown."""

    value: int
    name: str
    color: tuple[int, int, int]


def label_classes(values: Sequence[int], names: Mapping[int, str] | None = None) -> tuple[LabelClass, ...]:
    """Classes with ilastik's names and colours, unless `names` has a name for the value.

    >>> label_classes([1, 2], {2: "nuclei"})[1]
    LabelClass(value=2, name='nuclei', color=(0, 130, 200))
    """
    names = names or {}
    return tuple(LabelClass(int(v), names.get(int(v), f"Label {v}"), class_color(int(v))) for v in values)


def class_color(value: int) -> tuple[int, int, int]:
    """Colour of the label value: ilastik's first 15, then hues a golden angle apart."""
    if 1 <= value <= len(COLORS):
        return COLORS[value - 1]
    r, g, b = hsv_to_rgb(value * 0.618034 % 1, 0.75, 0.9)
    return round(255 * r), round(255 * g), round(255 * b)


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
        values, columns = [c.value for c in self.classes], self.forest.leaves.shape[1]
        if len(values) != columns or values != sorted(set(values)) or values[0] < 0:
            raise ModelError(f"classes {values} do not name the {columns} columns of the forest")
        if self.ndim not in (2, 3) or not 1 <= self.channels <= MAX_CHANNELS:
            raise ModelError(f"a model of {self.channels} channels in {self.ndim} dimensions")
        if not set(self.axes) <= set(LETTERS) or len(set(self.axes)) != len(self.axes):
            raise ModelError(f"axes {self.axes!r} are not among {LETTERS}")
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
        facts = self._header()
        del facts["axes"], facts["provenance"]
        return _digest(json.dumps(facts, sort_keys=True), _arrays(self.forest))

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
        from safetensors.numpy import save

        path = Path(path)
        arrays = _arrays(self.forest)
        try:
            header = json.dumps(self._header(), allow_nan=False)
        except (TypeError, ValueError) as e:
            raise InputError(f"{path}: the provenance is not plain JSON: {e}") from e
        data = save(arrays, metadata={"gpuseg": header, "sha256": _digest(header, arrays)})
        partial = partial_path(path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            _write(partial, data)
            if type(self).load(partial).hash != self.hash:
                raise ResourceError(f"{path}: does not read back as it was written", hint="check the disk")
            partial.replace(path)
        except OSError as e:
            raise ResourceError(
                f"{path}: cannot be written: {e.strerror}; it takes {len(data)} bytes",
                hint="free disk space, or save to a folder that is writable and has room",
            ) from e
        finally:
            partial.unlink(missing_ok=True)

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """Read a `.gpuseg` file. FileError if there is none; ModelError, naming it, if it is damaged."""
        try:
            header, arrays = _read(Path(path))
            return cls._from_header(header, arrays)
        except ModelError as e:
            raise e.at(str(path)) from e

    def _header(self) -> dict[str, Any]:
        return {
            "spec": SPEC,
            "kind": KIND,
            "features": self.selection.to_dict(),
            "n_features": self.forest.n_features,
            "classes": [{"value": c.value, "name": c.name, "color": list(c.color)} for c in self.classes],
            "channels": self.channels,
            "ndim": self.ndim,
            "axes": self.axes,
            "provenance": self.provenance,
        }

    @classmethod
    def _from_header(cls, header: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Self:
        try:
            selection = Selection.from_dict(_take(header, "features", dict))
        except InputError as e:
            raise ModelError(e.problem, hint=e.hint) from e
        return cls(
            selection,
            Forest(**arrays, n_features=_take(header, "n_features", int)).validate(),
            tuple(_label_class(c) for c in _take(header, "classes", list)),
            _take(header, "channels", int),
            _take(header, "ndim", int),
            _take(header, "axes", str),
            _take(header, "provenance", dict),
        )


def _arrays(forest: Forest) -> dict[str, NDArray[Any]]:
    return {name: np.ascontiguousarray(getattr(forest, name)) for name in ARRAYS}


def _digest(header: str, arrays: Mapping[str, NDArray[Any]]) -> str:
    digest = sha256(header.encode())
    for name in ARRAYS:
        digest.update(f"{name} {arrays[name].shape}".encode())
        digest.update(arrays[name].data)
    return digest.hexdigest()


def _write(path: Path, data: bytes) -> None:
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _read(path: Path) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Header and arrays of a file whose checksum is right."""
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise FileError(f"{path}: {'is a folder' if path.is_dir() else 'no such file'}")
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            _check_table({name: file.get_slice(name) for name in file.keys()})  # noqa: SIM118, not a dict
            arrays = {name: file.get_tensor(name) for name in ARRAYS}
    except (SafetensorError, OSError) as e:
        raise ModelError(f"is no gpuseg model, or was cut off: {e}", hint=_AGAIN) from e
    header = _parse(metadata.get("gpuseg", ""))
    if metadata.get("sha256") != _digest(metadata["gpuseg"], arrays):
        raise ModelError("is damaged: its checksum is not that of its content", hint=_AGAIN)
    return header, arrays


_AGAIN = "copy it again from where it was saved, or train again"


def _check_table(slices: Mapping[str, Any]) -> None:
    found = {name: (s.get_dtype(), len(s.get_shape())) for name, s in slices.items()}
    if found != ARRAYS:
        raise ModelError(f"is no gpuseg model: it holds the arrays {', '.join(sorted(found)) or 'none'}")


def _parse(text: str) -> dict[str, Any]:
    try:
        header = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError) as e:
        raise ModelError(f"is no gpuseg model: its header is not JSON ({e})", hint=_AGAIN) from e
    if not isinstance(header, dict):
        raise ModelError("is no gpuseg model: its header is not a JSON object")
    if (kind := header.get("kind")) != KIND:
        raise ModelError(f"is a {kind!r}, a {KIND!r} is needed")
    if (spec := _take(header, "spec", int)) != SPEC:
        raise ModelError(f"has model format {spec}, this gpuseg reads {SPEC}", hint="update gpuseg")
    return header


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not a JSON number")


def _take(header: Mapping[str, Any], key: str, kind: type) -> Any:
    value = header.get(key)
    if type(value) is not kind:  # a bool is no int here
        raise ModelError(f"its header has {key} = {str(value)[:60]!r}, {kind.__name__} is needed")
    return value


def _label_class(entry: Any) -> LabelClass:
    if not isinstance(entry, dict):
        raise ModelError(f"its header has the class {str(entry)[:60]!r}")
    color = _take(entry, "color", list)
    if len(color) != 3 or any(type(c) is not int or not 0 <= c <= 255 for c in color):
        raise ModelError(f"its header has the colour {str(color)[:60]}")
    return LabelClass(_take(entry, "value", int), _take(entry, "name", str), (color[0], color[1], color[2]))
