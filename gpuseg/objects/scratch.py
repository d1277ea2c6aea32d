"""Arrays larger than memory: in a temporary file that is gone with the process."""

import os
from math import prod
from tempfile import TemporaryFile, gettempdir
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from gpuseg.errors import ResourceError


class Scratch:
    """Zeros to begin with. The file has no name; its space is taken at once, so a full disk is an error here.

    A map that stands would keep every page it touched in the memory of the process, so each use maps anew.
    """

    def __init__(self, shape: tuple[int, ...], dtype: DTypeLike, what: str) -> None:
        self.shape, self.dtype = shape, np.dtype(dtype)
        nbytes = prod(shape) * self.dtype.itemsize
        try:
            self._file = TemporaryFile()  # noqa: SIM115  it lives as long as this object
            _reserve(self._file, nbytes)
        except OSError as e:
            raise ResourceError(
                f"{gettempdir()}: {nbytes:,} bytes for {what}: {e.strerror}",
                hint="set TMPDIR to a folder with more room",
            ) from e

    def view(self) -> NDArray[Any]:
        """The whole array, to read or write a part of; let go of it after."""
        return np.memmap(self._file, self.dtype, "r+", shape=self.shape)

    def __getitem__(self, region: Any) -> NDArray[Any]:
        return np.array(self.view()[region])

    def __setitem__(self, region: Any, values: Any) -> None:
        self.view()[region] = values

    def close(self) -> None:
        self._file.close()

    def __del__(self) -> None:
        if hasattr(self, "_file"):
            self._file.close()


def _reserve(file: Any, size: int) -> None:
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file.fileno(), 0, size)
    else:  # macOS, Windows
        file.truncate(size)
