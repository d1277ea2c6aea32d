"""NumPy's own files: .npy is mapped and read by region, one array of an .npz is unpacked whole.

Neither stores axes. Arrays of objects are refused: reading them would run code from the file.
"""

import zipfile
from collections.abc import Callable
from functools import partial
from math import prod
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from gpuseg.axes import Voxel
from gpuseg.errors import FileError
from gpuseg.io.base import Format, Output
from gpuseg.io.faults import check_memory, check_packed, reading
from gpuseg.io.partial import reserve
from gpuseg.tiles import Region


class _Header(NamedTuple):
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    order: str
    offset: int  # of the first pixel

    @property
    def nbytes(self) -> int:
        return prod(self.shape) * self.dtype.itemsize


class NpyReader:
    """A memory-mapped .npy: a region costs only its own pages."""

    axes: str | None = None
    voxel = Voxel()

    def __init__(self, file: Path, inside: str) -> None:
        with file.open("rb") as stream:
            head = _header(stream, str(file), file.stat().st_size)
        self.shape, self.dtype = head.shape, head.dtype
        self._map: Callable[[], NDArray[Any]] | None = None
        if prod(head.shape):  # mapped anew for each read: pages of a standing map would add up
            self._map = partial(np.memmap, file, head.dtype, "r", head.offset, head.shape, head.order)

    def read(self, region: Region) -> NDArray[Any]:
        if self._map is None:
            raise ValueError("the file is closed")
        return np.array(self._map()[region])

    def close(self) -> None:
        self._map = None


class NpzReader:
    """One array of an .npz, unpacked on the first read; the zip's checksum is checked then."""

    axes: str | None = None
    voxel = Voxel()

    def __init__(self, file: Path, inside: str) -> None:
        self._file = file
        with zipfile.ZipFile(file) as archive:
            self._member = _member(file, archive, inside)
            with archive.open(self._member) as stream:
                head = _header(stream, f"{file}/{self._member.filename[:-4]}", self._member.file_size)
        if self._member.compress_type == zipfile.ZIP_DEFLATED:
            check_packed(file, self._member.compress_size, self._member.file_size)
        check_memory(file, head.shape, head.dtype.itemsize)
        self.shape, self.dtype = head.shape, head.dtype
        self._array: NDArray[Any] | None = None

    def read(self, region: Region) -> NDArray[Any]:
        if self._array is None:
            with zipfile.ZipFile(self._file) as archive, archive.open(self._member) as stream:
                self._array = np.asarray(npy.read_array(stream, allow_pickle=False))
                stream.read()  # to the end, where zipfile compares the checksum
        return self._array[region]

    def close(self) -> None:
        self._array = None


class NpyWriter:
    """Regions into a mapped file. Its disk space is reserved first: a full disk is an error, not a crash."""

    def __init__(self, file: Path, inside: str, output: Output) -> None:
        head = {"descr": npy.dtype_to_descr(output.dtype), "fortran_order": False, "shape": output.shape}
        with file.open("xb") as stream:
            npy.write_array_header_1_0(stream, head)
            offset = stream.tell()
            reserve(stream, offset, output.nbytes)
        self._map = partial(np.memmap, file, output.dtype, "r+", offset, output.shape)

    def write(self, region: Region, values: NDArray[Any]) -> None:
        pixels = self._map()  # mapped anew for each write: pages of a standing map would add up
        pixels[region] = values

    def finish(self) -> None:
        pass  # the map is gone, its pages are the system's; fsync brings them to disk

    def abandon(self) -> None:
        pass


def _header(stream: IO[bytes], name: str, length: int) -> _Header:
    """Header at the start of `stream`, checked against the `length` of all of it."""
    with reading(name):
        version = npy.read_magic(stream)
        if version not in ((1, 0), (2, 0)):  # 3.0 is for structured types with names beyond latin1
            raise FileError(f"{name}: NPY format version {version}; images are 1.0 or 2.0")
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, fortran, dtype = read(stream)
        offset = stream.tell()
    if dtype.hasobject:
        raise FileError(
            f"{name}: an array of Python objects (dtype object); reading it could run code from the file",
            hint="save numbers: np.save(path, np.asarray(image, np.float32))",
        )
    head = _Header(shape, dtype, "F" if fortran else "C", offset)
    if offset + head.nbytes != length:
        raise FileError(
            f"{name}: {length} bytes, but shape {shape} of {dtype} takes {offset + head.nbytes}",
            hint="the file is cut off or damaged: copy it again from where it was made",
        )
    return head


def _member(file: Path, archive: zipfile.ZipFile, inside: str) -> zipfile.ZipInfo:
    arrays = {m.filename[:-4]: m for m in archive.infolist() if m.filename.endswith(".npy")}
    names = ", ".join(list(arrays)[:10]) or "none"
    if inside and inside not in arrays:
        raise FileError(f"{file}: has no array {inside!r}; its arrays: {names}")
    if not inside and len(arrays) != 1:
        raise FileError(
            f"{file}: {len(arrays)} arrays: {names}",
            hint=f"name one, for example {file}/{next(iter(arrays), 'a')}",
        )
    return arrays[inside or next(iter(arrays))]


NPY = Format("NPY", (".npy",), NpyReader, NpyWriter)
NPZ = Format("NPZ", (".npz",), NpzReader, inside=True)
