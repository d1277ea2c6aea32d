"""Images in and out: `open_image` reads any format by region, `create_image` writes one whole or not at all.

with open_image("cells.h5/raw") as image:
    corner = image.read((slice(0, 64), slice(0, 64)))

The suffix chooses the format; where it does not say enough, a form does, by ilastik's name for it (`FORMS`).
"""

import stat
from contextlib import AbstractContextManager
from pathlib import Path

from gpuseg import plugins
from gpuseg.axes import check, guess
from gpuseg.errors import FileError, ShapeError
from gpuseg.io.base import Format, Image, ImageReader, ImageWriter, Kind, Limits, Output, load_format
from gpuseg.io.faults import check_memory, reading, writing
from gpuseg.io.forms import FORMS, Form, check_one_file, find_form, sequence_paths
from gpuseg.io.partial import check_target, create_with
from gpuseg.io.sequence import create_sequence, slice_output

__all__ = [
    "FORMATS",
    "FORMS",
    "Form",
    "Format",
    "Image",
    "ImageReader",
    "ImageWriter",
    "Kind",
    "Limits",
    "Output",
    "check_form",
    "check_memory",
    "create_image",
    "find_form",
    "image_format",
    "locate",
    "open_image",
    "output_paths",
    "reading",
    "register",
    "sequence_paths",
    "with_suffix",
    "writing",
]

# Suffix -> where its Format row stands, imported when a file of that kind is first met:
# opening a PNG loads neither h5py nor zarr nor tifffile.
FORMATS: dict[str, str | Format] = {
    ".tif": "gpuseg.io.tiff:FORMAT",
    ".tiff": "gpuseg.io.tiff:FORMAT",
    ".svs": "gpuseg.io.tiff:FORMAT",
    ".h5": "gpuseg.io.hdf5:FORMAT",
    ".hdf5": "gpuseg.io.hdf5:FORMAT",
    ".zarr": "gpuseg.io.zarr:FORMAT",
    ".npy": "gpuseg.io.npy:NPY",
    ".npz": "gpuseg.io.npy:NPZ",
    ".png": "gpuseg.io.raster:PNG",
    ".jpg": "gpuseg.io.raster:JPEG",
    ".jpeg": "gpuseg.io.raster:JPEG",
    ".bmp": "gpuseg.io.raster:BMP",
    ".gif": "gpuseg.io.raster:GIF",
}

# How files begin, to tell what a file is from what it is called.
_BEGINNINGS = {
    "PNG": (b"\x89PNG\r\n\x1a\n",),
    "JPEG": (b"\xff\xd8\xff",),
    "GIF": (b"GIF87a", b"GIF89a"),
    "BMP": (b"BM",),
    "TIFF": (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),
    "HDF5": (b"\x89HDF\r\n\x1a\n",),
    "NPY": (b"\x93NUMPY",),
    "NPZ": (b"PK\3\4", b"PK\5\6"),
}
_USER_BLOCKS = (512, 1024, 2048, 4096)  # HDF5 may begin after a block of the user's own


def register(row: Format) -> None:
    """Make a format known by its suffixes; what a package registered under `gpuseg.formats` calls."""
    FORMATS.update(dict.fromkeys(row.suffixes, row))


def image_format(path: Path | str) -> Format:
    """The format that `path` has by its suffix; a FileError lists the known ones."""
    file, _ = locate(path)
    suffix = file.suffix.lower()
    if suffix not in FORMATS:
        plugins.load("formats")
    if suffix not in FORMATS and _is_folder(file):
        raise FileError(f"{file}: is a folder, no image", hint="name the files in it")
    if suffix not in FORMATS:
        raise FileError(
            f"{file}: no image format has the suffix {suffix!r}",
            hint=f"known are {' '.join(sorted(FORMATS))}",
        )
    return load_format(FORMATS[suffix])


def locate(path: Path | str) -> tuple[Path, str]:
    """File and internal path of `file.h5/a/b`: `(Path("file.h5"), "a/b")`; `""` where there is none."""
    path = Path(path)
    for outer in [*reversed(path.parents), path]:
        suffix = outer.suffix.lower()
        if suffix in FORMATS and (suffix == ".zarr" or not _is_folder(outer)):
            inside = path.relative_to(outer).as_posix()
            return outer, "" if inside == "." else inside
    return path, ""


def open_image(path: Path | str, axes: str | None = None) -> Image:
    """An image file, open for reading by region; `path` may go on inside the file (`file.h5/a/b`).

    axes: one letter of tzyxc per array axis. By default what the file says (`axes_from` "file"),
    else ilastik's guess by shape ("shape"). A FileError names the file, what is wrong, what to do.

    >>> np.save("stack.npy", np.zeros((5, 40, 30), np.uint8))
    >>> with open_image("stack.npy", axes="tyx") as image:
    ...     print(image.shape, image.dtype, image.axes)
    (5, 40, 30) uint8 tyx
    """
    file, inside = locate(path)
    row = image_format(file)
    _check_content(file, row)
    check_inside(path)
    with reading(path):
        reader = row.open(file, inside)
    try:
        return _named(str(path), reader, axes)
    except (FileError, ShapeError):
        reader.close()
        raise


def create_image(
    path: Path | str, output: Output, form: str | None = None
) -> AbstractContextManager[ImageWriter]:
    """Writer of a new image in the format of the suffix; the file appears whole on exit or not at all.

        with create_image("out.h5", Output((512, 512), np.dtype("u1"), "yx")) as writer:
            writer.write((slice(0, 512), slice(0, 512)), values)

    form: a name of `FORMS`, which replaces the suffix; a sequence needs `{slice_index}` in the path.
    An InputError says what the format cannot hold; a ResourceError that disk or memory ran out.
    """
    row, _ = _row_and_part(path, output, form)
    paths = output_paths(path, output, form)
    if form is not None and find_form(form).sequence:
        return create_sequence(row, [Path(p) for p in paths], output)
    return create_with(row, *locate(paths[0]), output)


def check_form(form: str | None, path: Path | str, output: Output) -> None:
    """InputError or ShapeError if `create_image` would refuse this image, before anything is computed.

    It says what the form can hold, what the image has, and what to choose instead.
    """
    row, part = _row_and_part(path, output, form)
    for name in output_paths(path, output, form):
        check_target(row, locate(name)[0], part)


def output_paths(path: Path | str, output: Output, form: str | None = None) -> list[str]:
    """The files that `create_image` makes: one, or one for each slice of a sequence, in their order."""
    target = with_suffix(path, form)
    if form is not None and find_form(form).sequence:
        return sequence_paths(target, output.shape[0])
    check_one_file(target)
    return [target]


def with_suffix(path: Path | str, form: Form | str | None) -> str:
    """`path` with the suffix of the form in place of another format's; a path inside the file stays.

    >>> with_suffix("cells.tif", "hdf5"), with_suffix("cells.h5/raw", "hdf5"), with_suffix("day.1", "png")
    ('cells.h5', 'cells.h5/raw', 'day.1.png')
    """
    if form is None:
        return str(path)
    form = find_form(form) if isinstance(form, str) else form
    file, inside = locate(path)
    if (suffix := file.suffix.lower()) not in form.format.suffixes:
        stem = file.stem if suffix in FORMATS else file.name  # in `day.1`, `.1` is part of the name
        file = file.with_name(stem + form.suffix)
    return str(file / inside)


def _row_and_part(path: Path | str, output: Output, form: str | None) -> tuple[Format, Output]:
    """The format that a form or a suffix stands for, and what each file of it is to hold."""
    if form is None:
        check_inside(path)
        return image_format(path), output
    chosen = find_form(form)
    check_inside(path := with_suffix(path, chosen))
    return chosen.format, slice_output(path, output) if chosen.sequence else output


def check_inside(path: Path | str) -> None:
    """FileError if `path` names something inside of a file that holds one image and no names."""
    file, inside = locate(path)
    if inside and not (row := image_format(file)).inside:
        raise FileError(f"{path}: {row.name} files hold one image, nothing called {inside!r}")


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):  # a name too long, or with a zero byte: opening it will say so
        return False


def _named(path: str, reader: ImageReader, axes: str | None) -> Image:
    if reader.dtype.kind not in "biuf":
        raise FileError(
            f"{path}: pixels of type {reader.dtype}; images have bool, integer or float pixels",
            hint="store the real part or the magnitude of complex data; name another dataset",
        )
    if 0 in reader.shape:
        raise FileError(f"{path}: has no pixels, its shape is {reader.shape}")
    try:
        if axes is not None:
            return Image(path, reader, check(axes, reader.shape), "user")
        if reader.axes is not None:
            return Image(path, reader, check(reader.axes, reader.shape), "file")
        return Image(path, reader, guess(reader.shape), "shape")
    except ShapeError as error:
        raise error.at(path) from None


def _check_content(file: Path, row: Format) -> None:
    try:
        found = file.stat()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        glob = any(c in file.name for c in "*?[")
        hint = "* and ? stand for files without quotes only" if glob else "check the path and its spelling"
        raise FileError(f"{file}: {reason}", hint=hint) from None
    if row.folder:
        if not stat.S_ISDIR(found.st_mode):
            raise FileError(f"{file}: is a file; a {row.name} image is a folder")
        return
    if stat.S_ISDIR(found.st_mode):
        raise FileError(f"{file}: is a folder, not a {row.name} file", hint="name the file inside it")
    if not stat.S_ISREG(found.st_mode):
        raise FileError(f"{file}: is not a regular file")
    if found.st_size == 0:
        raise FileError(f"{file}: is empty (0 bytes)", hint="copy it again from where it was made")
    content = _content(file)
    if row.name in _BEGINNINGS and content != row.name:
        raise FileError(
            f"{file}: is not a {row.name} file; its first bytes say {content or 'nothing known here'}",
            hint="rename it to what it is" if content else "it is damaged, or its suffix is wrong",
        )


def _content(file: Path) -> str:
    """What a file is by its first bytes: a key of _BEGINNINGS, or nothing."""
    with reading(file), file.open("rb") as stream:
        head = stream.read(16)
        for name, beginnings in _BEGINNINGS.items():
            if head.startswith(beginnings):
                return name
        for offset in _USER_BLOCKS:
            stream.seek(offset)
            if stream.read(8) in _BEGINNINGS["HDF5"]:
                return "HDF5"
    return ""
