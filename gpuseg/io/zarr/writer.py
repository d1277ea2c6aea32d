"""OME-Zarr: chunks of about 1 MB, a pyramid if wanted, and a mark that says it is complete.

Version 0.5 has zstd and crc32c over each chunk. Version 0.4 is for programs that read nothing newer: blosc
with zstd, which all of them know; it has no checksum.

Label images stand under `labels/NAME`; the store's own multiscales point there too, so that a store of
labels opens as an image as well. Into a store that exists, `image.zarr/labels/NAME` adds labels: its
files are linked into the new one, which then takes its place.

Regions need not follow chunks: a chunk that is written in part is read, changed and written again, so
one thread at a time may write, and regions that follow the chunks are many times faster.
"""

import os
import shutil
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuseg.axes import SPACE
from gpuseg.errors import FileError
from gpuseg.io.base import Output
from gpuseg.io.zarr.multiscales import levels
from gpuseg.io.zarr.nodes import OME, Node, chunk_files, descend, has_metadata, read_node, write_group
from gpuseg.tiles import Region

ORDER = "tczyx"  # OME-Zarr wants time, then channel, then space
TYPES = {"t": "time", "c": "channel"} | dict.fromkeys(SPACE, "space")
CHUNK = 1 << 20  # bytes
SMALLEST, SHORTEST = 1 << 20, 256  # bytes, and longest side, at which levels end
LEVEL = 3  # of zstd: 2.5 times faster than level 9 for 4 % larger files
NAME = "segmentation"  # of labels that were given none


class ZarrWriter:
    """Writer of one image, or of one label image, to a new store at `file`; `version` is that of zarr."""

    def __init__(
        self, file: Path, inside: str, output: Output, *, version: int = 3, pyramid: bool = True
    ) -> None:
        if output.dtype.itemsize > 8:
            raise FileError(f"{file}: OME-Zarr cannot hold {output.dtype} pixels")
        self._root, self._output, self._version, self._pyramid = file, output, version, pyramid
        self._place = _place(file, inside, output)
        self._axes = "".join(a for a in ORDER if a in output.axes)
        self._order = [output.axes.index(a) for a in self._axes]
        self._begin()
        shape = tuple(output.shape[i] for i in self._order)
        self._levels = [self._create(0, shape)]

    def write(self, region: Region, values: NDArray[Any]) -> None:
        self._levels[0][tuple(region[i] for i in self._order)] = values.transpose(self._order)

    def finish(self) -> None:
        while self._more():
            self._levels.append(self._halved(self._levels[-1]))
        scales = [_scale(self._levels[0].shape, a.shape) for a in self._levels]
        image = _multiscales(self._output, self._axes, scales)
        ours = {"complete": True, "provenance": self._output.provenance}
        folder = self._root / self._place
        if self._place:
            extra = {"image-label": _image_label(self._output)}
            chunks = {"chunks": chunk_files(folder)}
            self._group(folder, {"multiscales": [image], **extra}, ours | chunks)
            if self._guest:
                return
            image = image | {
                "datasets": [d | {"path": f"{self._place}/{d['path']}"} for d in image["datasets"]]
            }
        block = {"multiscales": [image], **_channels(self._output)}
        self._group(self._root, block, ours | {"chunks": chunk_files(self._root)})

    def abandon(self) -> None: ...

    def _begin(self) -> None:
        """The groups around the image, marked unfinished, but for an image that labels are added to."""
        unfinished = {"complete": False}
        self._guest = has_metadata(self._root) and not self._own(read_node(self._root))
        if not self._guest:
            self._group(self._root, None, unfinished)
        if self._place:
            labels, name = self._root / "labels", self._place.split("/")[1]
            there = read_node(labels).ome.get("labels", []) if labels.is_dir() else []
            self._group(labels, {"labels": [*(n for n in there if n != name), name]}, None)
            self._group(self._root / self._place, None, unfinished)

    def _group(self, path: Path, ome: dict[str, Any] | None, ours: dict[str, Any] | None) -> None:
        write_group(path, self._version, ome, ours)

    def _own(self, root: Node) -> bool:
        """Whether a store that exists shows the labels that are written, and no other image."""
        image = root.ome.get("multiscales")
        return bool(image) and levels(self._root, image)[0].path.startswith(f"{self._place}/")

    def _create(self, level: int, shape: tuple[int, ...]) -> Any:
        import zarr

        dtype = self._output.dtype.newbyteorder("=")
        return zarr.create_array(
            zarr.storage.LocalStore(self._root / self._place / str(level)),
            shape=shape,
            chunks=_chunks(shape, self._axes, dtype.itemsize),
            dtype=dtype,
            config={"write_empty_chunks": True},  # so that a lost chunk can be told from an empty one
            **self._coding(),
        )

    def _coding(self) -> dict[str, Any]:
        """How chunks are compressed and called."""
        from zarr import codecs

        if self._version == 3:
            packed = [codecs.ZstdCodec(level=LEVEL), codecs.Crc32cCodec()]
            return {"compressors": packed, "dimension_names": list(self._axes)}
        blosc = {"id": "blosc", "cname": "zstd", "clevel": LEVEL, "shuffle": 1, "blocksize": 0}
        nested = {"name": "v2", "separator": "/"}
        return {"zarr_format": 2, "compressors": blosc, "chunk_key_encoding": nested, "fill_value": 0}

    def _more(self) -> bool:
        """Whether another level is due; labels must have as many as the image that they belong to."""
        if not self._pyramid:
            return False
        if self._guest and (image := read_node(self._root).ome.get("multiscales")):
            return len(self._levels) < len(levels(self._root, image))
        coarsest = self._levels[-1]
        return bool(coarsest.nbytes > SMALLEST and self._longest(coarsest) > SHORTEST)

    def _longest(self, level: Any) -> int:
        return max(int(n) for a, n in zip(self._axes, level.shape, strict=True) if a in SPACE)

    def _halved(self, fine: Any) -> Any:
        """The next level: every axis of space that is long is half as long; block by block."""
        long = self._longest(fine) // 2
        steps = [2 if a in SPACE and n > long else 1 for a, n in zip(self._axes, fine.shape, strict=True)]
        coarse = self._create(
            len(self._levels), tuple(-(-n // k) for n, k in zip(fine.shape, steps, strict=True))
        )
        nearest = self._output.kind == "labels" or self._output.dtype.kind == "b"
        for corner in product(*(range(0, n, c) for n, c in zip(coarse.shape, coarse.chunks, strict=True))):
            ends = [min(a + c, n) for a, c, n in zip(corner, coarse.chunks, coarse.shape, strict=True)]
            source = tuple(slice(a * k, b * k) for a, b, k in zip(corner, ends, steps, strict=True))
            block = _nearest(fine[source], steps) if nearest else _mean(fine[source], steps)
            coarse[tuple(slice(a, b) for a, b in zip(corner, ends, strict=True))] = block
        return coarse


def _place(file: Path, inside: str, output: Output) -> str:
    """Where in the store the image goes: "" or `labels/NAME`."""
    parts = inside.split("/") if inside else ["labels", NAME] if output.kind == "labels" else []
    labels = output.kind == "labels" and len(parts) == 2 and parts[0] == "labels" and parts[1].strip(".")
    if not parts or labels:
        return "/".join(parts)
    raise FileError(
        f"{file}: cannot write {output.kind} to {inside!r} in a store",
        hint="images go to NAME.zarr, label images also to NAME.zarr/labels/NAME",
    )


def carry(old: Path, new: Path, inside: str, *, version: int = 3) -> None:
    """Begin the store `new` with links to the files of `old`, but for `inside`, where labels are added to it.

    Zarr replaces files and never edits them, so that `old` stays what it is.
    """
    if not inside:
        return
    if (found := read_node(old).version) != version:
        raise FileError(
            f"{old}: is zarr version {found}; labels can be added to version {version}"
            f" (OME-Zarr {OME[version]})",
            hint="write the labels to a store of their own",
        )
    shutil.copytree(old, new, copy_function=_link_or_copy)
    shutil.rmtree(descend(new, inside), ignore_errors=True)


def _link_or_copy(old: str, new: str) -> None:
    try:
        os.link(old, new)
    except OSError:  # file systems without links
        shutil.copy2(old, new)


def _chunks(shape: tuple[int, ...], axes: str, itemsize: int) -> tuple[int, ...]:
    """1 along time and channel; along space powers of two, as even as the image allows, in about 1 MB."""
    chunk = dict.fromkeys(axes, 1)
    sizes = dict(zip(axes, shape, strict=True))
    room = CHUNK // itemsize
    while room > 1 and (short := [a for a in reversed(SPACE) if a in axes and chunk[a] < sizes[a]]):
        chunk[min(short, key=lambda a: chunk[a])] *= 2
        room //= 2
    return tuple(min(chunk[a], sizes[a]) for a in axes)


def _nearest(block: NDArray[Any], steps: list[int]) -> NDArray[Any]:
    return block[tuple(slice(None, None, k) for k in steps)]


def _mean(block: NDArray[Any], steps: list[int]) -> NDArray[Any]:
    """Means over `steps` pixels per axis; a last single pixel stands for itself."""
    mean = block.astype(np.result_type(block.dtype, np.float32))
    for axis, step in enumerate(steps):
        if step == 1:
            continue
        rows = np.moveaxis(mean, axis, 0)
        pairs = rows[0::2].copy()
        pairs[: len(rows) // 2] = (rows[0 : len(rows) // 2 * 2 : 2] + rows[1::2]) / 2
        mean = np.moveaxis(pairs, 0, axis)
    return (np.rint(mean) if block.dtype.kind in "iu" else mean).astype(block.dtype)


def _scale(finest: tuple[int, ...], shape: tuple[int, ...]) -> list[int]:
    """Factor between two levels along each axis, a power of two."""
    return [1 << (-(-n // m) - 1).bit_length() for n, m in zip(finest, shape, strict=True)]


def _multiscales(output: Output, axes: str, scales: list[list[int]]) -> dict[str, Any]:
    voxel = output.voxel
    named = []
    for a in axes:
        axis = {"name": a, "type": TYPES[a]}
        if a in voxel.size:
            axis["unit"] = voxel.unit.get(a, "second" if a == "t" else "micrometer")
        named.append(axis)
    sizes = [float(voxel.size.get(a, 1.0)) for a in axes]
    nearest = output.kind == "labels" or output.dtype.kind == "b"
    datasets = []
    for i, factors in enumerate(scales):
        steps: list[dict[str, Any]] = [
            {"type": "scale", "scale": [s * k for s, k in zip(sizes, factors, strict=True)]}
        ]
        if i and not nearest:  # the middle of a mean lies between the pixels that it stands for
            shift = [s * (k - 1) / 2 for s, k in zip(sizes, factors, strict=True)]
            steps.append({"type": "translation", "translation": shift})
        datasets.append({"path": str(i), "coordinateTransformations": steps})
    return {
        "name": output.kind,
        "axes": named,
        "datasets": datasets,
        "type": "nearest" if nearest else "mean",
    }


def _image_label(output: Output) -> dict[str, Any]:
    colors = [{"label-value": i, "rgba": [*rgb, 255]} for i, rgb in enumerate(output.colors, 1)]
    return {"colors": colors, "source": {"image": "../../"}} if colors else {"source": {"image": "../../"}}


def _channels(output: Output) -> dict[str, Any]:
    """Names and colours of channels, in the block that viewers inherited from OMERO."""
    if not output.channel_names:
        return {}
    low, high = output.drange or ((0, 1) if output.dtype.kind in "bf" else _limits(output.dtype))
    window = {"min": low, "max": high, "start": low, "end": high}
    colors = [*output.colors, *[(255, 255, 255)] * len(output.channel_names)]
    return {
        "omero": {
            "channels": [
                {"label": name, "color": bytes(rgb).hex().upper(), "window": window, "active": True}
                for name, rgb in zip(output.channel_names, colors, strict=False)
            ]
        }
    }


def _limits(dtype: np.dtype[Any]) -> tuple[int, int]:
    return int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)
