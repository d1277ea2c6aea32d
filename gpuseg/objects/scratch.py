"""Arrays larger than memory: in a temporary file that is gone with the process."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from errno import EMFILE, ENFILE
from math import prod
from tempfile import TemporaryFile, gettempdir
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from gpuseg.errors import ResourceError


class ScratchFile:
    """Room for arrays, one after the other: the arrays of many images do not need many open files.

    The file has no name; its space is taken at once, so a full disk is an error here.
    """

    def __init__(self) -> None:
        self.stream: Any = None
        self._end = 0

    def take(self, nbytes: int, what: str) -> int:
        """Where the next so many bytes begin."""
        begin = self._end
        with _refused(nbytes, what):
            if self.stream is None:
                self.stream = TemporaryFile()  # noqa: SIM115  it lives as long as this object
            _reserve(self.stream, begin, nbytes)
        self._end += nbytes
        return begin

    def close(self) -> None:
        if self.stream is not None:
            self.stream.close()

    def __del__(self) -> None:
        self.close()


class Scratch:
    """Zeros to begin with, in a file of their own or in `file`, which stays open for others.

    A map that stands would keep every page it touched in the memory of the process, so each use maps anew.
    """

    def __init__(
        self, shape: tuple[int, ...], dtype: DTypeLike, what: str, file: ScratchFile | None = None
    ) -> None:
        self.shape, self.dtype, self._what = shape, np.dtype(dtype), what
        self._own, self._file = file is None, file or ScratchFile()
        self._nbytes = prod(shape) * self.dtype.itemsize
        self._begin = self._file.take(self._nbytes, what)

    def view(self) -> NDArray[Any]:
        """The whole array, to read or write a part of; let go of it after."""
        with _refused(self._nbytes, self._what):
            return np.memmap(self._file.stream, self.dtype, "r+", self._begin, self.shape)

    def __getitem__(self, region: Any) -> NDArray[Any]:
        return np.array(self.view()[region])

    def __setitem__(self, region: Any, values: Any) -> None:
        self.view()[region] = values

    def close(self) -> None:
        if self._own:
            self._file.close()


@contextmanager
def _refused(nbytes: int, what: str) -> Iterator[None]:
    """Inside, what the system refuses is a ResourceError that says what it was for."""
    try:
        yield
    except OSError as e:
        crowded = e.errno in (EMFILE, ENFILE)
        raise ResourceError(
            f"{gettempdir()}: {nbytes:,} bytes for {what}: {e.strerror}",
            hint="allow more open files: ulimit -n" if crowded else "set TMPDIR to a folder with more room",
        ) from e


def _reserve(file: Any, begin: int, size: int) -> None:
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file.fileno(), begin, size)
    else:  # macOS, Windows
        file.truncate(begin + size)
