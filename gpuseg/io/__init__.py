"""Images in and out: `open_image` reads any format by region, `create_image` writes one whole or not at all.

with open_image("cells.h5/raw") as image:
    corner = image.read((slice(0, 64), slice(0, 64)))
"""

import stat
from contextlib import AbstractContextManager
from importlib import import_module
from pathlib import Path

from gpuseg import plugins
from gpuseg.axes import check, guess
from gpuseg.errors import FileError, ShapeError
from gpuseg.io.base import Format, Image, ImageReader, ImageWriter, Kind, Output
from gpuseg.io.faults import check_memory, reading, writing
from gpuseg.io.partial import create_with

__all__ = [
    "FORMATS",
    "Format",
    "Image",
    "ImageReader",
    "ImageWriter",
    "Kind",
    "Output",
    "check_memory",
    "create_image",
    "image_format",
    "locate",
    "open_image",
    "reading",
    "register",
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
    if suffix not in FORMATS:
        raise FileError(
            f"{file}: no image format has the suffix {suffix!r}",
            hint=f"known are {' '.join(sorted(FORMATS))}",
        )
    row = FORMATS[suffix]
    if isinstance(row, Format):
        return row
    module, name = row.split(":")
    loaded: Format = getattr(import_module(module), name)
    return loaded


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


def create_image(path: Path | str, output: Output) -> AbstractContextManager[ImageWriter]:
    """Writer of a new image in the format of the suffix; the file appears whole on exit or not at all.

        with create_image("out.h5", Output((512, 512), np.dtype("u1"), "yx")) as writer:
            writer.write((slice(0, 512), slice(0, 512)), values)

    An InputError says what the format cannot hold; a ResourceError that disk or memory ran out.
    """
    check_inside(path)
    file, inside = locate(path)
    return create_with(image_format(file), file, inside, output)


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
        raise FileError(f"{file}: {reason}", hint="check the path and its spelling") from None
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
