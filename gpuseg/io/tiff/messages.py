"""What tifffile only logs, as errors: it returns short or zeroed images and says so in its log."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from gpuseg.errors import FileError
from gpuseg.io.faults import reading

# tifffile's words about things that do not concern the pixels
HARMLESS = (
    "GDAL_NODATA",
    "estimating ByteCounts for CCITT",
    "imagej_metadata",
    "read_uic1tag",
    "ndpi_jpeg_tile",
)

_heard: ContextVar[list[str] | None] = ContextVar("_heard", default=None)


class _Divert(logging.Filter):
    """Keeps records of the thread that is reading from the log, and keeps them for us instead."""

    def filter(self, record: logging.LogRecord) -> bool:
        if (heard := _heard.get()) is None:
            return True
        if record.levelno >= logging.WARNING:
            heard.append(record.getMessage())
        return False


logging.getLogger("tifffile").addFilter(_Divert("gpuseg"))


@contextmanager
def listening(path: Path | str) -> Iterator[None]:
    """Inside, what tifffile raises or logs about damage becomes a FileError that names `path`."""
    heard: list[str] = []
    token = _heard.set(heard)
    try:
        with reading(path):
            yield
    finally:
        _heard.reset(token)
    if damage := [m for m in heard if not any(known in m for known in HARMLESS)]:
        raise FileError(
            f"{path}: damaged or incomplete: {damage[0][:200]}",
            hint="copy it again from where it was made, or save it again with Fiji or tifffile",
        )
