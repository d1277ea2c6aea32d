"""What every image format offers: opening lazily, reading by region, writing whole or not at all."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from math import prod
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from gpuseg.axes import Voxel
from gpuseg.errors import FileError, ShapeError
from gpuseg.io.faults import check_memory, reading
from gpuseg.tiles import Region

Kind = Literal["image", "labels"]  # labels: integers that name things, never to be interpolated


class ImageReader(Protocol):
    """An open image. `read` takes one slice per axis, in the axis order of the file."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    axes: str | None  # what the file says, None if it does not
    voxel: Voxel

    def read(self, region: Region) -> NDArray[Any]: ...
    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Output:
    """What is about to be written."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    axes: str
    voxel: Voxel = field(default_factory=Voxel)
    kind: Kind = "image"
    channel_names: tuple[str, ...] = ()
    colors: tuple[tuple[int, int, int], ...] = ()  # of the label values 1, 2, ...
    drange: tuple[float, float] | None = None  # what the values may be, e.g. (0, 1) for probabilities
    provenance: str = ""  # JSON: which model, which version

    @property
    def nbytes(self) -> int:
        return prod(self.shape) * self.dtype.itemsize


class ImageWriter(Protocol):
    """Takes regions in any order that covers the image once; `finish` flushes, `abandon` lets go."""

    def write(self, region: Region, values: NDArray[Any]) -> None: ...
    def finish(self) -> None: ...
    def abandon(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Limits:
    """What one file of a format can hold; whatever is left as it is has no limit."""

    name: str = ""  # in messages, where it is not that of the format
    dtypes: tuple[str, ...] = ()
    channels: tuple[int, ...] = ()
    flat: bool = False  # y, x and channels, nothing else
    side: int = 0  # pixels along y or x
    nbytes: int = 0
    exact: bool = True  # pixels come back as they went in
    instead: str = "choose .tif, .h5, .zarr or .npy"


@dataclass(frozen=True, slots=True)
class Format:
    """One file format: a row of the table in `gpuseg.io`."""

    name: str
    suffixes: tuple[str, ...]
    open: Callable[[Path, str], ImageReader]  # (file, internal path or "")
    create: Callable[[Path, str, Output], ImageWriter] | None = None
    inside: bool = False  # file.h5/internal/path
    default: str = ""  # that path where none is named
    folder: bool = False  # an image is a folder, not a file
    # (existing file, new file, internal path): copy what else is in it, so that nothing is lost
    carry: Callable[[Path, Path, str], None] | None = None
    limits: Limits = field(default_factory=Limits)


def load_format(row: str | Format) -> Format:
    """A row of a table of formats; `module:NAME` is imported when it is first met."""
    if isinstance(row, Format):
        return row
    module, name = row.split(":")
    loaded: Format = getattr(import_module(module), name)
    return loaded


@dataclass(slots=True)
class Image:
    """An image file, open for reading by region.

    axes: one letter per array axis; axes_from: who said so, for the line that users are shown.
    """

    path: str
    reader: ImageReader
    axes: str
    axes_from: Literal["file", "shape", "user", "training"]

    @property
    def shape(self) -> tuple[int, ...]:
        return self.reader.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.reader.dtype

    @property
    def voxel(self) -> Voxel:
        """Pixel size by the file; none where the user renamed the axes, as in ilastik."""
        return self.reader.voxel if self.axes == (self.reader.axes or self.axes) else Voxel()

    @property
    def drange(self) -> tuple[float, float] | None:
        """What the file says its values may be, e.g. (0, 1) for probabilities."""
        return getattr(self.reader, "drange", None)

    def read(self, region: Sequence[slice] | None = None) -> NDArray[Any]:
        """Pixels of `region` (one slice per axis, file order), by default all, in native byte order."""
        region = [slice(None)] * len(self.shape) if region is None else list(region)
        if len(region) != len(self.shape) or any(s.step not in (None, 1) for s in region):
            raise ShapeError(f"{self.path}: region {region} of an image of shape {self.shape}")
        bounds = [s.indices(n)[:2] for s, n in zip(region, self.shape, strict=True)]
        shape = tuple(max(0, stop - start) for start, stop in bounds)
        check_memory(self.path, shape, self.dtype.itemsize)
        with reading(self.path):
            values = self.reader.read(tuple(slice(*b) for b in bounds))
        if values.shape != shape:
            raise FileError(
                f"{self.path}: pixels are missing: asked for shape {shape}, the file gave {values.shape}"
            )
        return values.astype(values.dtype.newbyteorder("="), copy=False)

    def close(self) -> None:
        self.reader.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
