"""What a prediction can be written as, under ilastik's names: results, file names, sizes on disk."""

import re
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from os import fsencode
from os.path import realpath
from pathlib import Path
from typing import Any, Literal

import numpy as np

from gpuseg.axes import LETTERS
from gpuseg.backends.base import Array, Backend
from gpuseg.errors import InputError, ResourceError
from gpuseg.io import Kind, check_inside, locate
from gpuseg.io.faults import size
from gpuseg.io.partial import LONGEST

Source = Literal["proba", "planes", "labels"]
DEFAULT_NAME = "{dataset_dir}/{nickname}_{result_type}.h5"
PLACEHOLDERS = ("{dataset_dir}", "{nickname}", "{result_type}")
INTEGERS = ("uint8", "uint16")  # what float results can be scaled to
ORIGIN = {  # of the axes of an image
    "file": "from the file",
    "shape": "guessed from the shape",
    "user": "as you said",
    "image": "as its image",
    "training": "as in training",
}
SHORTAGE = 1.05  # an estimate this much above the free space is refused: compression is not counted


@dataclass(frozen=True, slots=True)
class Result:
    """One row: the name ilastik gives it, what it is made from, how, and whether it lies in 0..1."""

    title: str  # {result_type} in file names
    kind: Kind
    source: Source
    make: Callable[[Backend, Array], Array]  # from a tile of the source, channels last: (z, y, x, n)
    unit: bool = False


def as_it_is(b: Backend, source: Array) -> Array:
    return source


def winners(b: Backend, proba: Array) -> Array:
    """Column of the most probable class, the first of equals: uint8 (z, y, x, 1)."""
    return b.likeliest(proba)[..., None]


def doubt(b: Backend, proba: Array) -> Array:
    """1 less the lead of the likeliest class over the next: float32 (z, y, x, 1) (SPEC 3)."""
    return b.doubt(proba)[..., None]


RESULTS: dict[str, Result] = {
    "probabilities": Result("Probabilities", "image", "proba", as_it_is, unit=True),
    "segmentation": Result("Simple Segmentation", "labels", "proba", winners),
    "uncertainty": Result("Uncertainty", "image", "proba", doubt, unit=True),
    "features": Result("Features", "image", "planes", as_it_is),
    "labels": Result("Labels", "labels", "labels", as_it_is),
}


def find(word: str) -> str:
    """The key of `RESULTS` for a word of ours or ilastik's display name, in any case."""
    for key, result in RESULTS.items():
        if word.casefold() in (key, result.title.casefold()):
            return key
    raise InputError(f"unknown export {word!r}", hint=f"one of {', '.join(RESULTS)}")


def label_dtype(values: Iterable[int]) -> np.dtype[Any]:
    """uint8, or the least unsigned type that holds the label values."""
    return np.min_scalar_type(max(values, default=0))


def check_dtype(name: str) -> str:
    """`name`, if float results can be stored so; else an InputError."""
    if name not in INTEGERS:
        raise InputError(f"unknown type {name!r}", hint=f"one of {', '.join(INTEGERS)}")
    return name


def output_axes(axes: str, sizes: Mapping[str, int], format_name: str) -> str:
    """Axes of an output: those of the input, c last if it had none (sizes: of the output).

    HDF5 keeps axes of size 1 as ilastik does; pictures and TIFF drop them all, other formats only c.
    """
    keep = {"HDF5": LETTERS, "TIFF": "", "PNG": ""}.get(format_name, "tz")
    full = axes if "c" in axes else axes + "c"
    return "".join(a for a in full if a in "yx" or a in keep or sizes[a] > 1)


def nickname(image: str) -> str:
    """Name of an input in output names: `cells.h5/raw/a` becomes `cells-raw-a` (SPEC 1.11)."""
    file, inside = locate(image)
    return "-".join([file.stem, *inside.split("/")] if inside else [file.stem])


def output_path(template: str, image: str, result: str) -> str:
    """Where a result of an image goes, by its key or title: `template` with its placeholders filled in."""
    title = RESULTS[result].title if result in RESULTS else result
    values = (str(locate(image)[0].parent), nickname(image), title)
    known = dict(zip(PLACEHOLDERS, values, strict=True))
    return str(Path(re.sub(r"\{.*?\}", lambda m: known[m[0]], template)))


def check_template(template: str) -> None:
    """InputError for a placeholder that does not exist."""
    for found in re.findall(r"\{[^}]*\}?", template):
        if found not in PLACEHOLDERS:
            raise InputError(
                f"output {template!r}: unknown placeholder {found}",
                hint=f"there are {', '.join(PLACEHOLDERS)}",
            )


def check_name(path: str) -> None:
    """InputError for a file name longer than file systems take, or inside of a file that has no names."""
    check_inside(path)
    name = locate(path)[0].name
    if (length := len(fsencode(name))) > LONGEST:
        raise InputError(
            f"{path}: its name has {length} bytes, at most {LONGEST} are possible",
            hint="choose a shorter name with --output",
        )


def check_collisions(targets: Iterable[tuple[str, str, str]], inputs: Iterable[str]) -> None:
    """InputError if two results share a file, or one would go into that of an input.

    targets: (image, result, path) of everything about to be written.
    """
    taken = {realpath(locate(path)[0]): (f"the input {path}", path, "read") for path in inputs}
    for image, result, path in targets:
        what, (file, inside) = f"the {result} of {image}", locate(path)
        other, there, used = taken.setdefault(realpath(file), (what, path, "written"))
        if other is not what:
            if inside != locate(there)[1]:
                raise InputError(
                    f"{path}: {what} cannot go into the file of {other}, which is being {used}",
                    hint="write to another file",
                )
            raise InputError(
                f"{path}: {what} would overwrite {other}",
                hint="use {nickname} and {result_type} in the output name, or another folder",
            )


def check_space(needs: Iterable[tuple[str, int]]) -> None:
    """ResourceError if a disk has less free than what is to be written there.

    needs: path and bytes, uncompressed, of every output.
    """
    disks: dict[int, tuple[Path, int]] = {}
    for path, need in needs:
        folder = next(p for p in Path(path).absolute().parents if p.is_dir())
        disk = folder.stat().st_dev
        disks[disk] = folder, disks.get(disk, (folder, 0))[1] + need
    for folder, need in disks.values():
        free = shutil.disk_usage(folder).free
        if need > SHORTAGE * free:
            raise ResourceError(
                f"{folder}: the results need {size(need)}, the disk has {size(free)} free",
                hint="free some space, export less, or write elsewhere with --output",
            )


def axes_text(axes: str, shape: Sequence[int], said_by: str) -> str:
    """How an image was understood: `512 x 512, axes yx (from the file)`."""
    return f"{' x '.join(map(str, shape))}, axes {axes} ({ORIGIN[said_by]})"
