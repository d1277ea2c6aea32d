"""Entries of a project file, read so that damage ends in a ModelError that names the entry.

Nothing is unpickled: the few pickles in a project are texts in which a name is looked for.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from gpuseg.axes import LETTERS
from gpuseg.errors import FileError, GpusegError, ModelError
from gpuseg.io.heaps import check_heaps

LIMIT = 1 << 30  # bytes of one entry; a damaged shape can claim any number
# What h5py and NumPy raise on files that are not what they say.
_DAMAGE = (OSError, KeyError, RuntimeError, ValueError, TypeError, OverflowError, MemoryError, AttributeError)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Errors inside get the project's name in front."""
    try:
        yield
    except GpusegError as e:
        raise e.at(str(path)) from e


@contextmanager
def opened(path: Path) -> Iterator["Part"]:
    """The root of a project, open for reading; errors inside get the project's name in front."""
    with naming(path):
        if not path.is_file():
            raise FileError("is not a file" if path.exists() else "there is no such file")
        if path.stat().st_size == 0:
            raise FileError("is empty (0 bytes)", hint="go back to a backup")
    check_heaps(path)  # without it, HDF5 can go round for ever in the texts of a damaged project
    with naming(path):
        with _named("is not a readable project (HDF5)"):
            file = h5py.File(path, "r")
        with file:
            yield Part(file, "")


@contextmanager
def _named(problem: str) -> Iterator[None]:
    try:
        yield
    except GpusegError:
        raise
    except _DAMAGE as e:
        reason = str(e).splitlines()[0] if str(e) else type(e).__name__
        raise ModelError(
            f"{problem}: {reason}",
            hint="open it in ilastik and save it again, or go back to a backup",
        ) from e


@dataclass(frozen=True, slots=True)
class Part:
    """A group of a project."""

    group: h5py.Group
    where: str  # its path in the file, ending in "/", or nothing for the root

    def __contains__(self, name: str) -> bool:
        with _named(f"{self.where}{name} cannot be read"):
            return name in self.group

    def has_part(self, name: str) -> bool:
        """Whether there is a group of this name."""
        with _named(f"{self.where}{name} cannot be read"):
            return self.group.get(name, getclass=True) is h5py.Group

    def names(self) -> list[str]:
        """Names of the entries, sorted."""
        with _named(f"{self.where or 'the root'} cannot be listed"):
            return sorted(str(n) for n in self.group)

    def part(self, name: str) -> "Part":
        """The group of this name."""
        return Part(self._get(name, h5py.Group), f"{self.where}{name}/")

    def parts(self, prefix: str) -> Iterator["Part"]:
        """The groups whose names start so, in order."""
        return (self.part(n) for n in self.names() if n.startswith(prefix))

    def array(self, name: str, kinds: str = "buif") -> NDArray[Any]:
        """A numeric array whose dtype is of one of the `kinds`."""
        data = self._get(name, h5py.Dataset)
        with _named(f"{self.where}{name} cannot be read"):
            if data.dtype.kind not in kinds:
                raise ModelError(f"{self.where}{name} holds {data.dtype}, numbers are expected")
            return np.asarray(_read(data, f"{self.where}{name}"))

    def text(self, name: str) -> str:
        """A string."""
        return _text(self._strings(name, 0), f"{self.where}{name}")

    def texts(self, name: str) -> list[str]:
        """A list of strings; an empty list where ilastik says so in an attribute."""
        if self.empty(name):
            return []
        return [_text(v, f"{self.where}{name}") for v in self._strings(name, 1)]

    def empty(self, name: str) -> bool:
        """Whether the entry stands for an empty list; its value then means nothing."""
        data = self._get(name, h5py.Dataset)
        with _named(f"{self.where}{name} cannot be read"):
            if "isEmpty" not in data.attrs or data.attrs.get_id("isEmpty").dtype.kind not in "bui":
                return False
            return bool(data.attrs["isEmpty"])

    def attribute(self, name: str, key: str) -> str | None:
        """A text attribute of an entry, None if it has none."""
        data = self._get(name, h5py.Dataset)
        with _named(f"{self.where}{name}: its attribute {key!r} cannot be read"):
            if key in data.attrs and not _is_text(data.attrs.get_id(key).dtype):
                raise ModelError(f"{self.where}{name}: attribute {key!r} is not text")
            value = data.attrs.get(key)
        return None if value is None else _text(value, f"{self.where}{name}: attribute {key!r}")

    def _strings(self, name: str, ndim: int) -> Any:
        data = self._get(name, h5py.Dataset)
        with _named(f"{self.where}{name} cannot be read"):
            if data.ndim != ndim or not _is_text(data.dtype):
                raise ModelError(f"{self.where}{name} holds {data.dtype} {data.shape}, text is expected")
            return _read(data, f"{self.where}{name}")

    def _get(self, name: str, kind: type) -> Any:
        where = f"{self.where}{name}"
        with _named(f"{where} cannot be read"):
            if name not in self.group:
                raise ModelError(f"{where} is missing")
            if not isinstance(self.group.get(name, getlink=True), h5py.HardLink):
                raise ModelError(f"{where} is a link to another place, which projects do not have")
            item = self.group[name]
        if not isinstance(item, kind):
            raise ModelError(f"{where} is not a {kind.__name__.lower()}")
        return item


def _is_text(dtype: np.dtype[Any]) -> bool:
    """Whether HDF5 may read it: it crashes on elements of variable length of a kind that does not exist."""
    return h5py.check_string_dtype(dtype) is not None


def _read(data: h5py.Dataset, where: str) -> Any:
    if data.external or data.is_virtual:
        raise ModelError(f"{where} keeps its numbers in another file, which projects do not do")
    if data.size is None or data.size * data.dtype.itemsize > LIMIT:
        raise ModelError(f"{where} claims {data.shape} of {data.dtype}, more than {LIMIT} bytes")
    return data[()]


def _text(value: Any, where: str) -> str:
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value[()]
    if isinstance(value, bytes):
        try:
            return value.decode("utf-8")
        except UnicodeDecodeError as e:
            raise ModelError(f"{where} is not UTF-8 text") from e
    if not isinstance(value, str):
        raise ModelError(f"{where} is not text")
    return value


def axes_of(tags: str, where: str) -> str:
    """Axis letters out of vigra's JSON (SPEC 8.4)."""
    try:
        found = "".join(str(a["key"]) for a in json.loads(tags)["axes"])
    except (ValueError, KeyError, TypeError, RecursionError) as e:
        raise ModelError(f"{where}: the axis tags are damaged") from e
    if set(found) - set(LETTERS) or len(set(found)) < len(found):
        raise ModelError(f"{where}: axes {found!r}; each of {LETTERS} may be there once")
    return found
