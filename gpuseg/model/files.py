"""`.gpuseg` files: data only, never code.

One safetensors file: the flat arrays of forests, and two metadata strings.

    gpuseg    JSON: spec, kind, and what the kind of model says of itself
    sha256    of that string and the arrays' bytes in the order of ARRAYS

Nothing in it names a class or a function to call. What is read has passed the checksum; a file from a later
gpuseg with another `spec` is refused by name.
"""

import json
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuseg.axes import LETTERS
from gpuseg.classes import LabelClass
from gpuseg.errors import FileError, InputError, ModelError
from gpuseg.forests.arrays import Forest
from gpuseg.io.whole import write_whole

SPEC = 1
ARRAYS = {  # of a forest: name in the file -> (safetensors' word for the type, axes)
    "feature": ("I32", 1),
    "threshold": ("F32", 1),
    "left": ("I32", 1),
    "roots": ("I32", 1),
    "leaves": ("F32", 2),
}
# Kind of model -> what its forests' arrays may be called, in the order of the checksum: "pixel/feature".
FORESTS = {"pixel classifier": ("",), "object classifier": ("",), "pipeline": ("pixel/", "objects/")}
MAX_CHANNELS = 65536
Header = dict[str, Any]
Arrays = dict[str, NDArray[Any]]
_AGAIN = "copy it again from where it was saved, or train again"


def write_model(path: Path | str, header: Header, forests: Mapping[str, Forest]) -> None:
    """Write a model file: whole under that name, or not at all. ResourceError if it cannot be.

    forests: by what is put in front of the names of their arrays.
    """
    from safetensors.numpy import save

    arrays = {prefix + name: a for prefix, f in forests.items() for name, a in forest_arrays(f).items()}
    try:
        text = json.dumps(header, allow_nan=False)
    except (TypeError, ValueError) as e:
        raise InputError(f"{path}: the provenance is not plain JSON: {e}") from e
    write_whole(Path(path), save(arrays, metadata={"gpuseg": text, "sha256": digest(text, arrays)}))


def read_model(path: Path | str) -> tuple[Header, Arrays]:
    """Header and arrays of a file whose checksum is right. ModelError, without the path, if it is damaged."""
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    if not path.is_file():
        raise FileError(f"{path}: {'is a folder' if path.is_dir() else 'no such file'}")
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            names = _check_table({name: file.get_slice(name) for name in file.keys()})  # noqa: SIM118, not a dict
            arrays = {name: file.get_tensor(name) for name in names}
    except (SafetensorError, OSError) as e:
        known = path.suffix.lower() == ".gpuseg"
        hint = _AGAIN if known else "the model comes first, then images"
        raise ModelError(f"is no gpuseg model, or was cut off: {e}", hint=hint) from e
    header = _parse(metadata.get("gpuseg", ""))
    if metadata.get("sha256") != digest(metadata["gpuseg"], arrays):
        raise ModelError("is damaged: its checksum is not that of its content", hint=_AGAIN)
    return header, arrays


def forest_arrays(forest: Forest) -> Arrays:
    return {name: np.ascontiguousarray(getattr(forest, name)) for name in ARRAYS}


def take_forest(arrays: Mapping[str, NDArray[Any]], prefix: str, n_features: int) -> Forest:
    """The forest whose arrays have this prefix, checked; ModelError."""
    if missing := [prefix + name for name in ARRAYS if prefix + name not in arrays]:
        raise ModelError(f"lacks the arrays {', '.join(missing)}")
    return Forest(**{name: arrays[prefix + name] for name in ARRAYS}, n_features=n_features).validate()


def digest(header: str, arrays: Mapping[str, NDArray[Any]]) -> str:
    """SHA-256 of a header and the arrays, in the order that does not depend on the file."""
    found = sha256(header.encode())
    for name in _names(arrays):
        found.update(f"{name} {arrays[name].shape}".encode())
        found.update(arrays[name].data)
    return found.hexdigest()


def _names(found: Mapping[str, Any]) -> list[str]:
    """Names of the arrays of all forests there are, in their order."""
    prefixes = dict.fromkeys(p for every in FORESTS.values() for p in every)
    return [p + name for p in prefixes for name in ARRAYS if p + name in found]


def _check_table(slices: Mapping[str, Any]) -> list[str]:
    """Names of the arrays, if they are those of forests and nothing else."""
    found = {name: (s.get_dtype(), len(s.get_shape())) for name, s in slices.items()}
    names = _names(found)
    whole = len(names) % len(ARRAYS) == 0 and len(names) == len(found)
    if not whole or any(found[name] != ARRAYS[name.split("/")[-1]] for name in names):
        raise ModelError(f"is no gpuseg model: it holds the arrays {', '.join(sorted(found)) or 'none'}")
    return names


def _parse(text: str) -> Header:
    try:
        header = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError) as e:
        raise ModelError(f"is no gpuseg model: its header is not JSON ({e})", hint=_AGAIN) from e
    if not isinstance(header, dict):
        raise ModelError("is no gpuseg model: its header is not a JSON object")
    if (kind := header.get("kind")) not in list(FORESTS):  # of anything, a list too
        raise ModelError(f"is a {kind!r}, this gpuseg knows {', '.join(FORESTS)}")
    if (spec := take(header, "spec", int)) != SPEC:
        raise ModelError(f"has model format {spec}, this gpuseg reads {SPEC}", hint="update gpuseg")
    return header


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not a JSON number")


def take(header: Mapping[str, Any], key: str, kind: type) -> Any:
    """header[key], if it is of this type; ModelError."""
    value = header.get(key)
    if type(value) is not kind:  # a bool is no int here
        raise ModelError(f"its header has {key} = {str(value)[:60]!r}, {kind.__name__} is needed")
    return value


def take_list(header: Mapping[str, Any], key: str, kind: type) -> list[Any]:
    """header[key], if it is a list of values of one type."""
    values: list[Any] = take(header, key, list)
    if any(type(v) is not kind for v in values):
        raise ModelError(f"its header has {key} = {str(values)[:60]}, a list of {kind.__name__} is needed")
    return values


def check_kind(header: Mapping[str, Any], kind: str) -> None:
    """ModelError if the file holds another kind of model."""
    if (found := header.get("kind")) != kind:
        raise ModelError(f"is a {found!r}, a {kind!r} is needed")


def check_classes(classes: Sequence[LabelClass], columns: int) -> None:
    """ModelError if the classes do not name the columns of a forest."""
    values = [c.value for c in classes]
    if len(values) != columns or values != sorted(set(values)) or values[0] < 0:
        raise ModelError(f"classes {values} do not name the {columns} columns of the forest")


def check_axes(axes: str) -> None:
    if not set(axes) <= set(LETTERS) or len(set(axes)) != len(axes):
        raise ModelError(f"axes {axes!r} are not among {LETTERS}")


def check_training(provenance: Mapping[str, Any], features: int, classes: int) -> None:
    """ModelError if what training told cannot be of so many features and classes."""
    told = provenance.get("training", {})
    if not isinstance(told, dict):
        raise ModelError(f"its provenance has training = {str(told)[:60]!r}")
    weights, confusion = told.get("importances"), told.get("oob_confusion")
    if weights is not None and not _numbers(weights, features):
        raise ModelError(f"its provenance has importances {str(weights)[:60]}, {features} numbers are needed")
    square = isinstance(confusion, list) and len(confusion) == classes
    if confusion is not None and not (square and all(_numbers(row, classes) for row in confusion)):
        raise ModelError(f"its provenance has the confusion {str(confusion)[:60]} of {classes} classes")


def _numbers(value: Any, count: int) -> bool:
    return isinstance(value, list) and len(value) == count and all(type(v) in (int, float) for v in value)


def class_entries(classes: Sequence[LabelClass]) -> list[dict[str, Any]]:
    """Classes as JSON has them."""
    return [{"value": c.value, "name": c.name, "color": list(c.color)} for c in classes]


def take_classes(header: Mapping[str, Any]) -> tuple[LabelClass, ...]:
    return tuple(_label_class(entry) for entry in take(header, "classes", list))


def _label_class(entry: Any) -> LabelClass:
    if not isinstance(entry, dict):
        raise ModelError(f"its header has the class {str(entry)[:60]!r}")
    color = take(entry, "color", list)
    if len(color) != 3 or any(type(c) is not int or not 0 <= c <= 255 for c in color):
        raise ModelError(f"its header has the colour {str(color)[:60]}")
    return LabelClass(take(entry, "value", int), take(entry, "name", str), (color[0], color[1], color[2]))
