"""HDF5 as ilastik reads and writes it: one dataset, its axes and pixel size in vigra's `axistags`.

`file.h5/a/b` names the dataset; without it, the only dataset with 2 to 5 axes is taken.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from math import isfinite
from pathlib import Path, PurePosixPath
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from gpuseg.axes import LETTERS, SPACE, Voxel
from gpuseg.errors import FileError
from gpuseg.io.base import Format, Output
from gpuseg.io.faults import check_memory, reading
from gpuseg.io.heaps import check_heaps
from gpuseg.tiles import Region

DATASET = "exported_data"  # ilastik's name for what it exports
CHUNK_BYTES = 1 << 19  # ilastik's chunk size
GZIP_LEVEL = 1
LISTED = 10  # datasets named in a message
TYPE_FLAGS = {"c": 1, "x": 2, "y": 2, "z": 2, "t": 8}  # vigra: channel, space, time
# 1.10 files have a checksum over every piece of metadata and a mark for "not closed properly"; 1.8 ones
# have neither, and a killed writer leaves a file that opens and reads zeros.
VERSION = ("v110", "v110")


class Hdf5Reader:
    """A dataset, open; regions are read as they are asked for."""

    def __init__(self, file: Path, inside: str) -> None:
        check_heaps(file)
        self._file = h5py.File(file, "r", locking="best-effort")
        try:
            self._data = _find(file, self._file, inside)
            _check_stored(file, self._data)
            check_memory(file, self._data.chunks or (), self._data.dtype.itemsize)  # a chunk is read whole
            with reading(f"{file}{self._data.name}"):
                self.axes, self.voxel = _axistags(self._data.attrs)
                self.drange = _drange(self._data.attrs)
                self.shape, self.dtype = self._data.shape, self._data.dtype
        except Exception:
            self._file.close()
            raise

    def read(self, region: Region) -> NDArray[Any]:
        values: NDArray[Any] = self._data[region]
        return values

    def close(self) -> None:
        self._file.close()


class Hdf5Writer:
    """A chunked dataset, compressed unless `gzip` is None, that takes regions; nothing stays in HDF5's cache.

    `rdcc_nbytes=0`: with cached chunks, a disk that fills up makes the process crash on closing.
    """

    def __init__(self, file: Path, inside: str, output: Output, *, gzip: int | None = GZIP_LEVEL) -> None:
        self._file = h5py.File(file, "a", libver=VERSION, rdcc_nbytes=0)
        try:
            self._data = self._file.create_dataset(
                inside or DATASET,
                shape=output.shape,
                dtype=output.dtype,
                chunks=chunk_shape(output.shape, output.axes, output.dtype.itemsize),
                compression=None if gzip is None else "gzip",
                compression_opts=gzip,
                fletcher32=True,  # gzip has a checksum of its own, but leaves noise as it is, without one
            )
            for i, letter in enumerate(output.axes):
                self._data.dims[i].label = letter
            for name, value in _attributes(output).items():
                # Fixed length: text of variable length goes to a heap without a checksum.
                self._data.attrs[name] = np.bytes_(value.encode()) if isinstance(value, str) else value
        except Exception:
            self._file.close()
            raise

    def write(self, region: Region, values: NDArray[Any]) -> None:
        self._data[region] = values

    def finish(self) -> None:
        self._file.close()

    def abandon(self) -> None:
        self._file.close()


def carry(old: Path, new: Path, inside: str) -> None:
    """Copy to `new` all that `old` holds but the dataset about to be written, as ilastik's append does."""
    inside = inside or DATASET
    if not h5py.is_hdf5(old):
        return
    with reading(old), h5py.File(old, locking="best-effort") as source:
        _check_place(old, source, inside)
        others = [name for name in source if name != inside]
        if not others:
            return
        with h5py.File(new, "x", libver=VERSION) as target:
            target.attrs.update(source.attrs)
            for name in others:
                source.copy(name, target)
            if inside in target:
                del target[inside]


def _check_place(old: Path, source: Any, inside: str) -> None:
    """Refuse to put a dataset where a group is, or below another dataset."""
    if isinstance(source.get(inside), h5py.Group):
        raise FileError(f"{old}: {inside!r} is a group of datasets", hint="choose another internal path")
    for parent in PurePosixPath(inside).parents[:-1]:
        if isinstance(source.get(str(parent)), h5py.Dataset):
            raise FileError(f"{old}: {str(parent)!r} is a dataset, nothing can stand below it")


def chunk_shape(shape: tuple[int, ...], axes: str, itemsize: int) -> tuple[int, ...]:
    """Chunks of about 512 kB: 1 along t and c, powers of two as near a cube as they fit elsewhere."""
    chunk = dict.fromkeys(axes, 1)
    size = dict(zip(axes, shape, strict=True))
    room = CHUNK_BYTES // itemsize
    while growing := [a for a in reversed(SPACE) if a in axes and chunk[a] < size[a]]:
        if room < 2:
            break
        chunk[min(growing, key=lambda a: chunk[a])] *= 2
        room //= 2
    return tuple(min(chunk[a], size[a]) for a in axes)


def _find(file: Path, root: Any, inside: str) -> Any:
    """The dataset at `inside`, or the only one below it that can be an image."""
    if inside and inside not in root:
        raise FileError(f"{file}: has nothing called {inside!r}; {_listing(_datasets(root))}")
    start = root[inside] if inside else root
    if isinstance(start, h5py.Dataset):
        return start
    found = _datasets(start)
    images = [d for d in found if 2 <= d.ndim <= len(LETTERS)]
    if len(images) == 1:
        return images[0]
    raise FileError(
        f"{file}: {len(images)} datasets have 2 to {len(LETTERS)} axes; {_listing(images or found)}",
        hint=f"name one, for example {file}{images[0].name}" if images else "is it an image?",
    )


def _datasets(group: Any) -> list[Any]:
    found: list[Any] = []
    group.visititems(lambda name, item: found.append(item) if isinstance(item, h5py.Dataset) else None)
    return found


def _listing(datasets: list[Any]) -> str:
    """What a file holds, for a message: `it holds raw (64, 64), labels (64, 64)`."""
    shown = ", ".join(f"{d.name.lstrip('/')} {d.shape}" for d in datasets[:LISTED])
    more = f" and {len(datasets) - LISTED} more" if len(datasets) > LISTED else ""
    return f"it holds {shown or 'no dataset'}{more}"


def _check_stored(file: Path, data: Any) -> None:
    """Refuse a dataset that was declared and never written: HDF5 would make its pixels up as zeros."""
    if data.is_virtual:
        absent = {v.file_name for v in data.virtual_sources() if v.file_name != "."}
        absent = {name for name in absent if not (file.parent / name).is_file()}
        if absent:
            raise FileError(f"{file}{data.name}: its pixels are in files that are absent: {sorted(absent)}")
    elif data.size and not data.external and not data.id.get_storage_size():
        raise FileError(
            f"{file}{data.name}: declares shape {data.shape} and holds no pixel of it",
            hint="it was never written to the end: make it again",
        )


def _axistags(attributes: Mapping[str, Any]) -> tuple[str | None, Voxel]:
    """Axis letters and pixel size from the attributes vigra and ilastik write."""
    if "axistags" not in attributes:
        return None, Voxel()
    tags = json.loads(attributes["axistags"])["axes"]
    units = json.loads(attributes.get("axis_units", "{}"))
    size = {t["key"]: float(t.get("resolution") or 0) for t in tags}
    size = {a: s for a, s in size.items() if isfinite(s) and s > 0 and a in SPACE + "t"}
    return "".join(t["key"] for t in tags), Voxel(size, {a: str(units[a]) for a in size if units.get(a)})


def _drange(attributes: Mapping[str, Any]) -> tuple[float, float] | None:
    """What values may be, by the attribute that ilastik writes."""
    found = np.asarray(attributes.get("drange", ()))
    if found.shape != (2,) or found.dtype.kind not in "iuf":
        return None
    return float(found[0]), float(found[1])


def _attributes(output: Output) -> dict[str, Any]:
    size, unit = output.voxel.size, output.voxel.unit
    tags = [
        {"key": a, "typeFlags": TYPE_FLAGS[a], "resolution": size.get(a, 0), "description": ""}
        for a in output.axes
    ]
    attributes: dict[str, Any] = {
        "axistags": json.dumps({"axes": tags}, indent=2),
        "display_mode": "random-colortable" if output.kind == "labels" else "grayscale",
    }
    if unit:
        attributes["axis_units"] = json.dumps({a: unit[a] for a in output.axes if a in unit})
    if output.drange is not None:
        attributes["drange"] = np.array(output.drange)
    if output.channel_names:
        attributes["channel_names"] = json.dumps(output.channel_names)
    if output.provenance:
        attributes["gpuseg"] = output.provenance
    return attributes


FORMAT = Format("HDF5", (".h5", ".hdf5"), Hdf5Reader, Hdf5Writer, inside=True, default=DATASET, carry=carry)
PLAIN = replace(FORMAT, create=partial(Hdf5Writer, gzip=None))
