"""Ways to write an image under the names that ilastik gives them, where a suffix does not say enough.

A form is a row: name, suffix, format; a sequence has one file for each index of the first axis.
"""

from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from gpuseg.errors import InputError
from gpuseg.io.base import Format, load_format

SLICE = "{slice_index}"
DIGITS = 4  # of a slice's number, at least: the names of a short and of a long sequence sort alike


@dataclass(frozen=True, slots=True)
class Form:
    """One way to write images."""

    title: str  # what ilastik calls it
    suffix: str
    row: str  # where its Format stands
    sequence: bool = False

    @property
    def format(self) -> Format:
        return load_format(self.row)


_ROWS = (
    Form("hdf5", ".h5", "gpuseg.io.hdf5:PLAIN"),
    Form("compressed hdf5", ".h5", "gpuseg.io.hdf5:FORMAT"),
    Form("single-scale OME-Zarr", ".zarr", "gpuseg.io.zarr:SINGLE"),
    Form("multi-scale OME-Zarr", ".zarr", "gpuseg.io.zarr:FORMAT"),
    Form("single-scale OME-Zarr 0.4", ".zarr", "gpuseg.io.zarr:SINGLE_04"),
    Form("multi-scale OME-Zarr 0.4", ".zarr", "gpuseg.io.zarr:FORMAT_04"),
    Form("numpy", ".npy", "gpuseg.io.npy:NPY"),
    Form("multipage tiff", ".tiff", "gpuseg.io.tiff:FORMAT"),
    Form("multipage tiff sequence", ".tiff", "gpuseg.io.tiff:FORMAT", sequence=True),
    Form("tiff", ".tiff", "gpuseg.io.tiff:PLAIN"),
    Form("png", ".png", "gpuseg.io.raster:PNG"),
    Form("jpeg", ".jpeg", "gpuseg.io.raster:JPEG"),
    Form("bmp", ".bmp", "gpuseg.io.raster:BMP"),
    Form("gif", ".gif", "gpuseg.io.raster:GIF"),
)
_FLAT = ("tiff", "png", "jpeg", "bmp", "gif")
_SEQUENCES = (Form(f"{f.title} sequence", f.suffix, f.row, sequence=True) for f in _ROWS if f.title in _FLAT)
FORMS: dict[str, Form] = {f.title.casefold(): f for f in (*_ROWS, *_SEQUENCES)}
ALIASES = {"jpg": "jpeg", "tif": "tiff", "jpg sequence": "jpeg sequence", "tif sequence": "tiff sequence"}


def find_form(name: str) -> Form:
    """The form of that name, in any case; an InputError lists all.

    >>> find_form("PNG sequence").suffix
    '.png'
    """
    key = " ".join(name.casefold().split())
    key = ALIASES.get(key, key)
    if key in FORMS:
        return FORMS[key]
    near = get_close_matches(key, [*FORMS, *ALIASES], 1)
    raise InputError(
        f"no format is called {name!r}",
        hint=(f"did you mean {near[0]!r}? " if near else "") + f"There are {', '.join(FORMS)}",
    )


def sequence_paths(path: Path | str, count: int) -> list[str]:
    """The files of a sequence: `path` with each number from 0 in place of `{slice_index}`.

    >>> sequence_paths("cells_{slice_index}.png", 2)
    ['cells_0000.png', 'cells_0001.png']
    """
    path, width = str(path), max(DIGITS, len(str(count - 1)))
    if SLICE not in path:
        raise InputError(
            f"{path}: a sequence has many files, and nothing in the name tells them apart",
            hint=f"write {SLICE} where the number of the file is to stand",
        )
    return [path.replace(SLICE, f"{i:0{width}d}") for i in range(count)]


def check_one_file(path: Path | str) -> None:
    """InputError if the name of a single file asks for the number of a slice."""
    if SLICE in str(path):
        raise InputError(
            f"{path}: {SLICE} numbers the files of a sequence, and this is one file",
            hint="leave it out, or choose a format whose name ends in 'sequence'",
        )
