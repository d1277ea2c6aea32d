"""Pixels that wait for an encoder: regions come in any order, encoders want rows or planes one by one.

They lie in an unnamed scratch file beside the target, which the system takes back whatever happens, and are
mapped: memory does not grow with the image, and a full disk is an error before the first write.
"""

import mmap
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from gpuseg.axes import reorder, sizes
from gpuseg.errors import FileError
from gpuseg.io.base import Output
from gpuseg.io.partial import reserve
from gpuseg.tiles import Region


class Spool:
    """`pixels`: the image with its axes in `order`, in native byte order. Itself a writer of images."""

    def __init__(self, file: Path, output: Output, order: str) -> None:
        if not output.nbytes:
            raise FileError(f"{file}: an image of shape {output.shape} has no pixels")
        self._axes, self._order = output.axes, order
        n = sizes(output.axes, output.shape)
        self._scratch: IO[bytes] = tempfile.TemporaryFile(dir=file.parent)  # noqa: SIM115
        try:
            reserve(self._scratch, 0, output.nbytes)
            self.map = mmap.mmap(self._scratch.fileno(), output.nbytes)
            shape, dtype = [n[a] for a in order], output.dtype.newbyteorder("=")
            self.pixels: Any = np.ndarray(shape, dtype, self.map)
        except BaseException:
            self._scratch.close()
            raise

    def write(self, region: Region, values: NDArray[Any]) -> None:
        where = dict(zip(self._axes, region, strict=True))
        place = tuple(where.get(a, slice(0, 1)) for a in self._order)
        self.pixels[place] = reorder(values, self._axes, self._order)
        forget(self.map)

    def finish(self) -> None: ...

    def abandon(self) -> None:
        """Give the scratch file back."""
        self.pixels = None
        with suppress(BufferError):  # an error on its way still shows the pixels to a debugger
            self.map.close()
        self._scratch.close()


def forget(held: mmap.mmap) -> None:
    """Let go of pages that were touched, or a map would count as memory as large as its file."""
    if hasattr(mmap, "MADV_DONTNEED"):
        held.madvise(mmap.MADV_DONTNEED)
