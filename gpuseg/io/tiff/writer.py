"""OME-TIFF, in tiles that Fiji, napari, QuPath and Bio-Formats read.

Regions may come in any order, so pixels go to an unnamed scratch file beside the target first, and are
cut into tiles and compressed at the end, one at a time: memory does not grow with the image.
"""

import mmap
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import suppress
from itertools import product
from pathlib import Path
from typing import IO, Any
from uuid import NAMESPACE_OID, uuid5

import numpy as np
from numpy.typing import NDArray

from gpuseg.errors import FileError
from gpuseg.io.base import Output
from gpuseg.io.partial import reserve
from gpuseg.io.tiff.metadata import SYMBOLS
from gpuseg.io.tiff.reader import forget
from gpuseg.tiles import Region

ORDER = "tzcyx"  # of the file
DTYPES = ("uint8", "uint16", "uint32", "int8", "int16", "int32", "float32", "float64")  # that OME has
TILE = 512
CLASSIC = (1 << 32) - (64 << 20)  # bytes of pixels above which offsets need 64 bits
BLOCK = 1 << 20


class TiffWriter:
    """Writer of one OME-TIFF; raises FileError for types that OME does not have."""

    def __init__(self, file: Path, inside: str, output: Output) -> None:
        if inside:
            raise FileError(f"{file}: a TIFF file has no parts named {inside!r}")
        if output.dtype.name not in DTYPES:
            raise FileError(
                f"{file}: OME-TIFF cannot hold {output.dtype} pixels, it can hold {', '.join(DTYPES)}",
                hint="write .h5 or .zarr, or convert",
            )
        if not output.nbytes:
            raise FileError(f"{file}: an image of shape {output.shape} has no pixels")
        self._file, self._output = file, output
        self._axes = "".join(a for a in ORDER if a in output.axes)
        self._scratch: IO[bytes] = tempfile.TemporaryFile(dir=file.parent)  # noqa: SIM115
        try:
            reserve(self._scratch, 0, output.nbytes)
            shape = tuple(output.shape[output.axes.index(a)] for a in self._axes)
            self._map = mmap.mmap(self._scratch.fileno(), output.nbytes)
            self._pixels: Any = np.ndarray(shape, output.dtype.newbyteorder("="), self._map)
        except BaseException:
            self._scratch.close()
            raise

    def write(self, region: Region, values: NDArray[Any]) -> None:
        order = [self._output.axes.index(a) for a in self._axes]
        self._pixels[tuple(region[i] for i in order)] = values.transpose(order)
        forget(self._map)

    def finish(self) -> None:
        self._encode()
        self.abandon()

    def abandon(self) -> None:
        self._pixels = None
        with suppress(BufferError):  # an error on its way still shows the pixels to a debugger
            self._map.close()
        self._scratch.close()

    def _encode(self) -> None:
        import tifffile

        shape, dtype = self._pixels.shape, self._pixels.dtype
        tile = tuple(min(TILE, -(-n // 16) * 16) for n in shape[-2:])
        with tifffile.TiffWriter(self._file, ome=True, bigtiff=self._output.nbytes > CLASSIC) as tif:
            tif.write(
                self._tiles(tile),
                shape=shape,
                dtype=dtype,
                tile=tile,
                photometric="minisblack",
                # level 1: higher levels gain 2 to 5 % in size for twice the time. The predictor doubles what
                # integers gain; on floats few readers know it and it makes probabilities larger.
                compression="zlib",
                compressionargs={"level": 1},
                predictor=dtype.kind in "iu",
                software="gpuseg",
                metadata=_metadata(self._output, self._axes, self._checksum()),
            )

    def _tiles(self, tile: tuple[int, ...]) -> Iterator[NDArray[Any]]:
        height, width = self._pixels.shape[-2:]
        for plane in np.ndindex(*self._pixels.shape[:-2]):
            for y, x in product(range(0, height, tile[0]), range(0, width, tile[1])):
                block = self._pixels[(*plane, slice(y, y + tile[0]), slice(x, x + tile[1]))]
                full = np.zeros(tile, block.dtype)
                full[: block.shape[0], : block.shape[1]] = block
                del block
                yield full
                forget(self._map)

    def _checksum(self) -> int:
        found = 0
        with memoryview(self._map) as raw:
            for start in range(0, len(raw), BLOCK):
                found = zlib.crc32(raw[start : start + BLOCK], found)
                forget(self._map)
        return found


def _metadata(output: Output, axes: str, checksum: int) -> dict[str, Any]:
    """What tifffile writes as OME-XML. The UUID comes from the content: equal images are equal files."""
    meta: dict[str, Any] = {"axes": axes.upper(), "Name": output.kind}
    for axis, size in output.voxel.size.items():
        key = "TimeIncrement" if axis == "t" else f"PhysicalSize{axis.upper()}"
        unit = output.voxel.unit.get(axis, "micrometer" if axis != "t" else "second")
        meta |= {key: float(size), f"{key}Unit": SYMBOLS.get(unit, unit)}
    if output.channel_names and "c" in axes:
        meta["Channel"] = {"Name": list(output.channel_names)}
    if output.provenance:
        meta["Description"] = output.provenance
    meta["UUID"] = str(uuid5(NAMESPACE_OID, repr((meta, output.shape, output.dtype.str, checksum))))
    return meta
