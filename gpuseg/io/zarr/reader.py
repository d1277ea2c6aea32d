"""Zarr images, read by region: OME-Zarr 0.1 to 0.5, bioformats2raw, and arrays without such metadata.

A chunk that is absent is legal in zarr and reads as the fill value: an empty label image has no chunks at
all. So absent chunks are accepted, with a message that counts them; but a store that gpuseg wrote says
how many chunks it has, and is refused when one is missing.
"""

import json
import logging
import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuseg.axes import Voxel
from gpuseg.errors import FileError
from gpuseg.io.faults import check_memory, reading
from gpuseg.io.zarr.multiscales import OLD_AXES, Level, by_names, levels
from gpuseg.io.zarr.nodes import Node, children, chunk_files, descend, has_metadata, read_node
from gpuseg.tiles import Region

log = logging.getLogger(__name__)

LARGEST = 1 << 32  # bytes of one chunk, decoded
COUNTED = 100_000  # chunks up to which absent ones are counted


class ZarrReader:
    """The finest level of the image at `path`, or what `inside` names: a level, a label image, an array."""

    def __init__(self, path: Path, inside: str = "") -> None:
        with reading(path):
            node, level = _find(path, descend(path, inside))
            for group in {path, node.path.parent if node.path != path else path}:
                _check_finished(group)
            self._array = _open_array(node)
        self._path = path
        self.shape: tuple[int, ...] = tuple(self._array.shape)
        self.dtype = np.dtype(self._array.dtype)
        if level is None:
            names = node.meta.get("dimension_names") or node.attributes.get("_ARRAY_DIMENSIONS")
            level = Level("", by_names(names if isinstance(names, list) else None), Voxel())
        self.axes, self.voxel = level.axes, level.voxel
        _check_chunks(node, self._array)

    def read(self, region: Region) -> NDArray[Any]:
        check_memory(self._path, tuple(s.stop - s.start for s in region), self.dtype.itemsize)
        with reading(self._path):
            return np.asarray(self._array[region])

    def close(self) -> None: ...


def _find(root: Path, path: Path) -> tuple[Node, Level | None]:
    """The array to read at `path`, and its level of a multiscale image if it is one."""
    node = read_node(path)
    if node.is_array:
        return node, _level_of(root, path)
    for key, step in (("multiscales", _finest), ("plate", _refuse), ("well", _refuse)):
        if key in node.ome:
            return step(root, node)
    if "bioformats2raw.layout" in node.ome or "bioformats2raw.layout" in node.attributes:
        return _first_series(root, node)
    arrays, groups = children(path)
    if len(arrays) == 1:
        return read_node(path / arrays[0]), None
    raise FileError(
        f"{path}: not an image: no multiscales, {len(arrays)} arrays, {len(groups)} groups",
        hint=f"name one of {', '.join([*arrays, *groups][:10])}"
        if arrays or groups
        else "the store is empty",
    )


def _finest(root: Path, node: Node) -> tuple[Node, Level]:
    level = levels(node.path, node.ome["multiscales"])[0]
    target = descend(node.path, level.path)
    if not target.is_dir():
        raise FileError(
            f"{node.path}: invalid multiscales: it names the array {level.path!r}, which is not there",
            hint="the store is incomplete: copy it again from where it was made",
        )
    array = read_node(target)
    if not array.is_array:
        raise FileError(f"{node.path}: invalid multiscales: {level.path!r} is a group, not an array")
    return array, _fitting(array, level, node)


def _level_of(root: Path, path: Path) -> Level | None:
    """What the nearest group above an array says about it."""
    for group in path.parents:
        if not group.is_relative_to(root):
            return None
        if has_metadata(group) and "multiscales" in (node := read_node(group)).ome:
            inside = path.relative_to(group).as_posix()
            for level in levels(group, node.ome["multiscales"]):
                if level.path == inside:
                    return _fitting(read_node(path), level, node)
    return None


def _fitting(array: Node, level: Level, group: Node) -> Level:
    """`level`, if the array has as many axes as it names."""
    ndim = len(array.meta.get("shape", ()))
    first: Any = group.ome["multiscales"][0]
    named = len(first.get("axes") or OLD_AXES)
    if named != ndim:
        raise FileError(f"{array.path}: has {ndim} axes, its multiscales name {named}")
    return level


def _refuse(root: Path, node: Node) -> tuple[Node, Level]:
    kind = "plate" if "plate" in node.ome else "well"
    items = node.ome[kind].get("wells" if kind == "plate" else "images", [])
    found = [str(i.get("path")) for i in items if isinstance(i, dict)]
    raise FileError(
        f"{node.path}: a {kind} of {len(found)} {'wells' if kind == 'plate' else 'images'}, not one image",
        hint=f"name an image, e.g. {node.path.name}/{found[0] if found else 'A/1'}"
        + ("/0" if kind == "plate" else ""),
    )


def _first_series(root: Path, node: Node) -> tuple[Node, Level | None]:
    """bioformats2raw's layout: images `0`, `1`, ... unless OME/ lists others."""
    listed: Any = []
    if (node.path / "OME").is_dir():
        listed = read_node(node.path / "OME").ome.get("series", [])
    series = [str(s) for s in listed] or sorted((g for g in children(node.path)[1] if g.isdigit()), key=int)
    if not series:
        raise FileError(f"{node.path}: bioformats2raw layout without an image")
    if len(series) > 1:
        log.warning("%s: holds %d images, %s; the first is read", node.path, len(series), ", ".join(series))
    return _find(root, descend(node.path, series[0]))


def _check_finished(path: Path) -> None:
    """FileError for a store of ours that was not finished or lost chunks since."""
    if not any((path / name).is_file() for name in ("zarr.json", ".zgroup", ".zarray")):
        return
    ours = read_node(path).attributes.get("gpuseg")
    if not isinstance(ours, dict):
        return
    if ours.get("complete") is not True:
        raise FileError(f"{path}: was not written to its end", hint="make it again")
    if (found := chunk_files(path)) < (written := int(ours.get("chunks", 0))):
        raise FileError(
            f"{path}: {written} chunks were written, {found} are there",
            hint="copy it again from where it was made, or make it again",
        )


def _open_array(node: Node) -> Any:
    if "pickle" in json.dumps(node.meta) or node.meta.get("dtype") == "|O":
        raise FileError(f"{node.path}: an array of Python objects; only numbers are read")
    import zarr

    store = zarr.storage.LocalStore(node.path, read_only=True)
    array = zarr.open_array(store, mode="r", zarr_format=node.version)
    if (size := math.prod(array.chunks) * array.dtype.itemsize) > LARGEST:
        raise FileError(
            f"{node.path}: chunks of {size} bytes, at most {LARGEST} can be read",
            hint="store it in smaller chunks",
        )
    return array


def _check_chunks(node: Node, array: Any) -> None:
    stored = array.shards or array.chunks
    expected = math.prod(-(-n // c) for n, c in zip(array.shape, stored, strict=True))
    if expected <= COUNTED and (found := chunk_files(node.path)) < expected:
        log.warning(
            "%s: %d of %d chunks are absent and read as %s",
            node.path,
            expected - found,
            expected,
            array.fill_value,
        )
