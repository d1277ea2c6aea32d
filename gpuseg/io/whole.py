"""Files that are no images and fit into memory: whole under their name, or not there at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from gpuseg.errors import ResourceError
from gpuseg.io.faults import size
from gpuseg.io.partial import partial_path


def write_whole(file: Path, data: bytes) -> None:
    """Write, flush, read back, rename. ResourceError, with the bytes it takes, if the disk refuses."""
    with committed(file, len(data)) as partial:
        with partial.open("xb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        if partial.read_bytes() != data:
            raise unlike(file)


@contextmanager
def committed(file: Path, nbytes: int = 0) -> Iterator[Path]:
    """A name to write under; what is there in the end becomes `file`, and nothing if there was an error."""
    partial = partial_path(file)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        partial.replace(file)
    except OSError as error:
        takes = f"; it takes {size(nbytes)}" if nbytes else ""
        raise ResourceError(
            f"{file}: cannot be written: {error.strerror or error}{takes}",
            hint="free disk space, or write to a folder that is writable and has room",
        ) from error
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


def unlike(file: Path) -> ResourceError:
    """What to say of a file that is not what was written."""
    return ResourceError(f"{file}: does not read back as it was written", hint="check the disk")
