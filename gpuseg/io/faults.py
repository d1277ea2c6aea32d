"""What libraries and the system raise about a file, as errors that name the file."""

import os
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from errno import EMFILE, ENFILE
from math import prod
from pathlib import Path

from gpuseg.errors import FileError, GpusegError, InputError, ResourceError

# What decoders are known to raise on damaged files. TypeError and AttributeError come from parsers that
# found None where a field should be; SyntaxError is Pillow's word for a broken PNG.
DAMAGE = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
)
CEILING = 64 << 30  # no single read asks for more, whatever the machine has
DEFLATE_RATIO = 1032  # deflate cannot pack tighter, so a larger claim is false
SMALL = 64 << 20  # below this, asking what the machine has costs more than it protects


@contextmanager
def reading(path: Path | str) -> Iterator[None]:
    """Inside, whatever a library raises on a bad file becomes a FileError that names `path`.

        with reading(path):
            data = library.open(path)

    A read that needs more memory than there is becomes a ResourceError; our own errors pass through.
    """
    try:
        yield
    except GpusegError:
        raise
    except MemoryError as error:
        raise ResourceError(
            f"{path}: not enough memory to read it", hint="read it by region, or close other programs"
        ) from error
    except DAMAGE as error:
        if isinstance(error, OSError) and error.errno in (EMFILE, ENFILE):
            raise ResourceError(f"{path}: {error.strerror}", hint="allow more: ulimit -n") from error
        raise FileError(
            f"{path}: cannot be read: {_reason(error)}",
            hint="if it is damaged or incomplete, copy it again from where it was made",
        ) from error


@contextmanager
def writing(path: Path | str, nbytes: int = 0) -> Iterator[None]:
    """Inside, a failed write becomes a ResourceError with `path`, the bytes needed and the bytes free."""
    try:
        yield
    except GpusegError:
        raise
    except MemoryError as error:
        raise ResourceError(
            f"{path}: not enough memory to write {size(nbytes)}", hint="choose .h5, .tif or .zarr"
        ) from error
    except (OSError, RuntimeError) as error:  # HDF5 reports some failed writes as RuntimeError
        raise ResourceError(
            f"{path}: cannot be written: {_reason(error)}; the image has {size(nbytes)}"
            f" uncompressed, {_free(Path(path))}",
            hint="free disk space, or write to a folder that is writable and has room",
        ) from error


def check_memory(path: Path | str, shape: tuple[int, ...], itemsize: int) -> None:
    """Refuse an image too large for memory by its header, before any of it is decoded.

    The limit is what the machine (or its container) has available, at most 64 GiB;
    the environment variable GPUSEG_MAX_BYTES sets another.
    """
    nbytes = prod(shape) * itemsize
    if nbytes <= SMALL and "GPUSEG_MAX_BYTES" not in os.environ:
        return
    if nbytes > (limit := free_memory()):
        raise ResourceError(
            f"{path}: shape {shape} takes {size(nbytes)} of memory at once, the limit is {size(limit)}",
            hint="cut the image, store it as .h5, .zarr or .npy, which are read piece by piece, "
            "or set GPUSEG_MAX_BYTES",
        )


def check_packed(path: Path | str, packed: int, nbytes: int) -> None:
    """Refuse a header that claims more bytes than its deflate stream can hold."""
    if nbytes > packed * DEFLATE_RATIO:
        raise FileError(
            f"{path}: {packed} packed bytes cannot hold the {nbytes} that its header claims",
            hint="the file is cut off or damaged: copy it again from where it was made",
        )


def size(nbytes: int) -> str:
    """Bytes as people read them, e.g. `'3.1 GB'`."""
    for unit, scale in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if nbytes >= scale:
            return f"{nbytes / scale:.1f} {unit}"
    return f"{nbytes} bytes"


def _reason(error: BaseException) -> str:
    if isinstance(error, OSError) and error.errno and error.strerror:
        return error.strerror if len(error.strerror) < 60 else os.strerror(error.errno)
    text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    lines = text.strip().splitlines()
    return f"{lines[0][:200]} ({type(error).__name__})" if lines else type(error).__name__


def _free(path: Path) -> str:
    try:
        disk = os.statvfs(path.parent)
    except (OSError, AttributeError):
        return "free space unknown"
    return f"{size(disk.f_bavail * disk.f_frsize)} are free"


def free_memory() -> int:
    """Bytes that this process may still take, as far as the system tells."""
    if chosen := os.environ.get("GPUSEG_MAX_BYTES"):
        if not chosen.isdecimal():
            raise InputError(
                f"GPUSEG_MAX_BYTES is {chosen!r}", hint="give a number of bytes, e.g. 8000000000"
            )
        return int(chosen)
    limits = [CEILING]
    for file, field, unit in (
        ("/proc/meminfo", "MemAvailable:", 1024),
        ("/sys/fs/cgroup/memory.max", "", 1),
    ):
        try:
            words = Path(file).read_text(encoding="ascii").split()
        except OSError:
            continue
        value = words[words.index(field) + 1] if field in words else words[0]
        limits += [int(value) * unit] if value.isdigit() else []
    return min(limits)
