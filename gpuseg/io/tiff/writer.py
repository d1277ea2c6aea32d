"""OME-TIFF, in tiles that Fiji, napari, QuPath and Bio-Formats read; plain TIFF, in strips that all read.

Regions may come in any order, so pixels go to a scratch file first, and are cut into tiles or strips and
compressed at the end, one at a time: memory does not grow with the image.
"""

import zlib
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_OID, uuid5

import numpy as np
from numpy.typing import NDArray

from gpuseg.errors import FileError
from gpuseg.io.base import Output
from gpuseg.io.spool import Spool, forget
from gpuseg.io.tiff.metadata import SOFTWARE, SYMBOLS, resolution
from gpuseg.tiles import Region

ORDER = "tzcyx"  # of the file
TILE = 512
STRIP = 1 << 18  # bytes
CLASSIC = (1 << 32) - (64 << 20)  # bytes of pixels above which offsets need 64 bits
BLOCK = 1 << 20


class TiffWriter:
    """Writer of one OME-TIFF."""

    def __init__(self, file: Path, inside: str, output: Output) -> None:
        if inside:
            raise FileError(f"{file}: a TIFF file has no parts named {inside!r}")
        self._file, self._output = file, output
        self._axes = self._order(output)
        self._spool = Spool(file, output, self._axes)

    def _order(self, output: Output) -> str:
        return "".join(a for a in ORDER if a in output.axes)

    def write(self, region: Region, values: NDArray[Any]) -> None:
        self._spool.write(region, values)

    def finish(self) -> None:
        self._encode()
        self.abandon()

    def abandon(self) -> None:
        self._spool.abandon()

    def _encode(self) -> None:
        import tifffile

        shape, dtype = self._spool.pixels.shape, self._spool.pixels.dtype
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
                software=SOFTWARE,
                metadata=_metadata(self._output, self._axes, self._checksum()),
            )

    def _tiles(self, tile: tuple[int, ...]) -> Iterator[NDArray[Any]]:
        pixels = self._spool.pixels
        height, width = pixels.shape[-2:]
        for plane in np.ndindex(*pixels.shape[:-2]):
            for y, x in product(range(0, height, tile[0]), range(0, width, tile[1])):
                block = pixels[(*plane, slice(y, y + tile[0]), slice(x, x + tile[1]))]
                full = np.zeros(tile, block.dtype)
                full[: block.shape[0], : block.shape[1]] = block
                del block
                yield full
                forget(self._spool.map)

    def _checksum(self) -> int:
        found = 0
        with memoryview(self._spool.map) as raw:
            for start in range(0, len(raw), BLOCK):
                found = zlib.crc32(raw[start : start + BLOCK], found)
                forget(self._spool.map)
        return found


class PlainTiffWriter(TiffWriter):
    """Writer of one plane, its channels as samples of a pixel, without metadata but the resolution tags."""

    def _order(self, output: Output) -> str:
        return "yxc"

    def _encode(self) -> None:
        import tifffile

        height, width, channels = self._spool.pixels.shape
        dtype, dpcm = self._spool.pixels.dtype, resolution(self._output.voxel)
        rows = max(1, STRIP // (width * channels * dtype.itemsize))
        more: dict[str, Any] = {"planarconfig": "contig"} if channels > 1 else {}
        more |= {"extrasamples": ["unspecified"]} if channels in (2, 4) else {}
        more |= {"resolution": dpcm, "resolutionunit": "CENTIMETER"} if dpcm else {}
        with tifffile.TiffWriter(self._file, bigtiff=self._output.nbytes > CLASSIC) as tif:
            tif.write(
                self._strips(rows, predictor := dtype.kind in "iu" and dtype.itemsize <= 4),
                shape=(height, width, channels)[: 2 + (channels > 1)],
                dtype=dtype,
                rowsperstrip=rows,
                photometric="rgb" if channels > 2 else "minisblack",
                compression="zlib",
                predictor=predictor,  # of 64-bit integers few readers know it
                software=SOFTWARE,
                metadata=None,
                **more,
            )

    def _strips(self, rows: int, predictor: bool) -> Iterator[bytes]:
        import imagecodecs

        for start in range(0, self._spool.pixels.shape[0], rows):
            strip = np.array(self._spool.pixels[start : start + rows])
            forget(self._spool.map)
            coded = imagecodecs.delta_encode(strip, axis=1) if predictor else strip
            yield zlib.compress(coded.tobytes(), 1)


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
