"""TIFF images, read by region: memory-mapped where stored plainly, else strip by strip or tile by tile."""

import logging
import mmap
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuseg.axes import Voxel
from gpuseg.errors import FileError
from gpuseg.io.faults import check_memory, reading
from gpuseg.io.spool import forget
from gpuseg.io.tiff.layout import LZMA, LZW, Layout, Plane, count_pages, decoded_sizes, lay_out
from gpuseg.io.tiff.messages import listening
from gpuseg.io.tiff.metadata import (
    SOFTWARE,
    check_ome,
    imagej_voxel,
    name_axes,
    ome_pixels,
    ome_voxel,
    tags_voxel,
)
from gpuseg.io.tiff.orphans import check_orphans
from gpuseg.tiles import Region

log = logging.getLogger(__name__)

CACHE = 64 << 20  # bytes of decoded strips and tiles kept: a row of tiles over wide strips decodes once


class TiffReader:
    """The first image of a TIFF file. Palettes stay indices, white-is-zero stays as stored."""

    def __init__(self, path: Path, layout: Layout, keep: tuple[int, ...], axes: str | None, voxel: Voxel):
        self.axes, self.voxel = axes, voxel
        self.shape = tuple(layout.shape[i] for i in keep)
        self.dtype = np.dtype(layout.planes[0].keyframe.dtype).newbyteorder("=")
        self._path, self._layout, self._keep = path, layout, keep
        self._maps = {file: _map(file) for file in {p.file for p in layout.planes}}
        self._cache: OrderedDict[tuple[int, int], NDArray[Any]] = OrderedDict()
        self._cached = 0
        self._lock = Lock()

    def read(self, region: Region) -> NDArray[Any]:
        full = [slice(0, 1)] * len(self._layout.shape)
        for i, s in zip(self._keep, region, strict=True):
            full[i] = s
        sizes = [s.stop - s.start for s in full]
        check_memory(self._path, tuple(sizes), self.dtype.itemsize)
        out = np.empty(sizes, self.dtype)
        lead, shape = self._layout.lead, self._layout.shape
        where = [slice(0, 1)] * 5
        for place, s in zip(self._layout.inner, full[lead:], strict=True):
            if place >= 0:
                where[place] = s
        with reading(self._path):
            for index in np.ndindex(*sizes[:lead] if out.size else (0,)):
                at = tuple(i + s.start for i, s in zip(index, full[:lead], strict=True))
                plane = int(np.ravel_multi_index(at, shape[:lead])) if lead else 0
                out[index] = self._block(plane, where).reshape(sizes[lead:])
        for held in self._maps.values():
            forget(held)
        return out.reshape([s.stop - s.start for s in region])

    def close(self) -> None:
        self._cache.clear()
        for held in self._maps.values():
            held.close()

    def _block(self, index: int, where: Sequence[slice]) -> NDArray[Any]:
        plane = self._layout.planes[index]
        if plane.raw:
            dtype = self.dtype.newbyteorder(plane.keyframe.parent.byteorder)
            pixels: NDArray[Any] = np.ndarray(
                plane.keyframe.shaped, dtype, self._maps[plane.file], plane.offsets[0]
            )
            return pixels[tuple(where)].astype(self.dtype)
        out = np.empty([s.stop - s.start for s in where], self.dtype)
        for number, corner in _touched(plane.keyframe, where):
            segment = self._segment(index, number)
            inside, target = [], []
            for s, first, n in zip(where, corner, (1, *segment.shape), strict=True):
                a, b = max(s.start, first), min(s.stop, first + n)
                inside.append(slice(a - first, b - first))
                target.append(slice(a - s.start, b - s.start))
            out[tuple(target)] = segment[tuple(inside[1:])]
        return out

    def _segment(self, index: int, number: int) -> NDArray[Any]:
        """Strip or tile `number` of a plane, decoded: (z, y, x, sample)."""
        with self._lock:
            if (found := self._cache.get((index, number))) is not None:
                self._cache.move_to_end((index, number))
                return found
        plane = self._layout.planes[index]
        segment = _decode(self._path, plane, number, self._maps[plane.file])
        with self._lock:
            self._cached += segment.nbytes if (index, number) not in self._cache else 0
            self._cache[index, number] = segment
            while self._cached > CACHE and len(self._cache) > 1:
                self._cached -= self._cache.popitem(last=False)[1].nbytes
        return segment


def open_tiff(path: Path, inside: str = "") -> TiffReader:
    """A reader of the first image in `path`, at full resolution.

    Refused, each as a FileError that says what was declared and what is there: files cut short, fewer
    planes than declared, strips or tiles without data or outside the file, sizes that contradict each other.
    """
    if inside:
        raise FileError(f"{path}: a TIFF file has no parts named {inside!r}")
    with reading(path):
        pages = count_pages(path)
    import tifffile

    with listening(path), tifffile.TiffFile(path) as tif:
        pixels = ome_pixels(str(path), tif.ome_metadata) if tif.is_ome else []
        check_ome(str(path), pixels, pages)
        series = tif.series[0]
        _check_series(path, tif.series)
        layout = lay_out(path, series, pages)
        _check_declared(path, tif, layout, pages, pixels)
        keep, axes = name_axes(str(path), series.axes, layout.shape)
        series.keyframe.init_decode()
        voxel = Voxel()
        if pixels:
            voxel = ome_voxel(str(path), pixels[0])
        elif tif.is_imagej:
            voxel = imagej_voxel(str(path), tif.imagej_metadata or {}, tif.pages.first.tags)
        elif tif.pages.first.software == SOFTWARE:  # others fill these tags with 72 dpi and the like
            voxel = tags_voxel(str(path), tif.pages.first.tags)
        _check_surplus(path, layout.planes[0])
        check_orphans(path, tif, layout.planes)
    return TiffReader(path, layout, keep, axes, _of_axes(voxel, axes))


def _of_axes(voxel: Voxel, axes: str | None) -> Voxel:
    """The voxel without axes that the image lacks (ImageJ writes a spacing for single planes too)."""
    kept = [a for a in voxel.size if a in (axes or "yx")]
    return Voxel({a: voxel.size[a] for a in kept}, {a: voxel.unit[a] for a in kept})


def _check_series(path: Path, every: Sequence[Any]) -> None:
    if len(every) < 2:
        return
    if every[0].kind == "generic" and any(len(s) > 1 for s in every):
        found = ", ".join(f"{len(s)} of shape {tuple(s.keyframe.shape)}" for s in every)
        raise FileError(
            f"{path}: pages differ and are not one image: {found}", hint="save each image to its own file"
        )
    log.warning("%s: holds %d images; the first, of shape %s, is read", path, len(every), every[0].shape)


def _check_declared(path: Path, tif: Any, layout: Layout, pages: int, pixels: Sequence[Any]) -> None:
    """FileError where the metadata declare another number of planes, or another type, than is stored."""
    number, samples = len(layout.planes), layout.planes[0].keyframe.samplesperpixel
    if pixels and (declared := pixels[0].get("Type")) is not None:
        stored = layout.planes[0].keyframe.dtype
        said = {"float": "float32", "double": "float64", "bit": "bool"}.get(declared, declared)
        if said != stored.name and "complex" not in said:
            raise FileError(f"{path}: OME metadata declares {declared} pixels, they are stored as {stored}")
    if tif.is_imagej and not pixels:
        images = (tif.imagej_metadata or {}).get("images", 1)
        if images not in (number, number * samples) or pages not in (1, number):
            raise FileError(
                f"{path}: ImageJ metadata declare {images} planes, the file has {max(pages, number)}",
                hint="the file is incomplete: copy it again from where it was made",
            )


def _check_surplus(path: Path, plane: Plane) -> None:
    """FileError where strips hold more than their pixels; codecs but LZW and LZMA notice on their own."""
    import tifffile

    key = plane.keyframe
    if key.compression not in (LZW, LZMA) or key.is_tiled:
        return
    sizes, full = decoded_sizes(key)
    for number in {0, len(sizes) - 1}:
        with plane.file.open("rb") as file:
            file.seek(plane.offsets[number])
            data = file.read(plane.counts[number])
        found = len(tifffile.TIFF.DECOMPRESSORS[key.compression](data, out=full + 4))
        if found > sizes[number] + 3 and found != full:  # some fill up the last strip
            raise FileError(f"{path}: strip {number} holds {found} bytes, its pixels need {sizes[number]}")


def _touched(key: Any, where: Sequence[slice]) -> Iterator[tuple[int, tuple[int, ...]]]:
    """Strips or tiles that a region meets, each with the place of its first pixel."""
    full = (1, key.tiledepth, key.tilelength, key.tilewidth) if key.is_tiled else (
        1, 1, key.rowsperstrip, key.imagewidth,
    )  # fmt: skip
    grid = [-(-n // step) for n, step in zip(key.shaped[:4], full, strict=True)]
    ranges = [range(s.start // n, -(-s.stop // n)) for s, n in zip(where[:4], full, strict=True)]
    for at in product(*ranges):
        number = 0
        for i, n in zip(at, grid, strict=True):
            number = number * n + i
        yield number, (*(i * n for i, n in zip(at, full, strict=True)), 0)


def _decode(path: Path, plane: Plane, number: int, data: mmap.mmap) -> NDArray[Any]:
    key, start = plane.keyframe, plane.offsets[number]
    jpeg = {"jpegtables": plane.tables, "jpegheader": key.jpegheader}
    segment, _, _ = key.decode(data[start : start + plane.counts[number]], number, **jpeg)
    if key.dtype == bool and segment.dtype == np.uint8:  # what fax codecs return
        segment = segment.astype(bool)
    if segment.dtype != key.dtype:
        raise FileError(f"{path}: strip or tile {number} holds {segment.dtype}, declared is {key.dtype}")
    return np.asarray(segment)


def _map(file: Path) -> mmap.mmap:
    with file.open("rb") as opened:
        return mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)
