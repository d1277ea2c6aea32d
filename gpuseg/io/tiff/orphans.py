"""Pages that no page points to: what is left where a chain of pages was cut by a run of zeros.

Without metadata that count planes, a stack whose chain ends early looks like a shorter stack. Its other
pages are still in the file, though: directories whose pixels lie where no page of the chain has any.
(A directory that an editor replaced is left behind too, but its pixels are those of its successor.)
"""

import mmap
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from gpuseg.errors import FileError
from gpuseg.io.tiff.layout import INCOMPLETE, Plane

WIDTH, PIXELS = 256, (273, 324)  # tags: image width; offsets of strips or tiles
MOST = 100  # tags of a directory that is taken for one


def check_orphans(path: Path, tif: Any, planes: Sequence[Plane]) -> None:
    """FileError where pages of the size of the image lie unused between its pixels."""
    counted = tif.series[0].kind not in ("uniform", "generic")  # by metadata, which were compared
    if counted or WIDTH not in tif.pages.first.tags or any(p.subifds for p in tif.pages):
        return
    linked = {p.offset for p in tif.pages}
    used = {o for p in tif.pages for o in p.dataoffsets}
    page = _Directories(tif)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        for start, stop in _gaps(planes, len(data)):
            for at in page.found(data, start, stop):
                if at not in linked and (pixels := page.pixels(data, at)) and pixels not in used:
                    raise FileError(
                        f"{path}: {len(linked)} pages are linked, and another lies at byte {at}",
                        hint=INCOMPLETE,
                    )


def _gaps(planes: Sequence[Plane], size: int) -> Iterator[tuple[int, int]]:
    """What of the file is not pixels."""
    end = 0
    for start, count in sorted(s for p in planes for s in zip(p.offsets, p.counts, strict=True)):
        if start > end:
            yield end, start
        end = max(end, start + count)
    if end < size:
        yield end, size


class _Directories:
    """How directories look in one file: byte order, width of offsets, and the width of its image."""

    def __init__(self, tif: Any) -> None:
        order, self.big = tif.byteorder, tif.is_bigtiff
        self.count = struct.Struct(order + ("Q" if self.big else "H"))
        self.entry = struct.Struct(order + ("HHQQ" if self.big else "HHII"))
        tag = tif.pages.first.tags[WIDTH]
        value = struct.pack(f"{order}{'H' if tag.dtype == 3 else 'I'}", tag.value)
        self.mark = struct.pack(f"{order}HH{'Q' if self.big else 'I'}", WIDTH, tag.dtype, 1) + value
        self.offset = struct.Struct(order + ("Q" if self.big else "I"))

    def found(self, data: mmap.mmap, start: int, stop: int) -> Iterator[int]:
        """Where directories may begin: their width is the first or the second entry."""
        at = data.find(self.mark, start, stop)
        while at >= 0:
            for before in (0, 1):
                if (begin := at - before * self.entry.size - self.count.size) >= 8:
                    yield begin
            at = data.find(self.mark, at + 1, stop)

    def pixels(self, data: mmap.mmap, at: int) -> int:
        """Offset of the first strip or tile of the directory at a place; 0 if it is none."""
        number = self.count.unpack_from(data, at)[0]
        end = at + self.count.size + number * self.entry.size
        if not 4 <= number <= MOST or end > len(data):
            return 0
        entries = list(self.entry.iter_unpack(data[at + self.count.size : end]))
        codes = [e[0] for e in entries]
        if sorted(set(codes)) != codes:
            return 0
        for code, _, count, value in entries:
            if code in PIXELS and 8 <= value < len(data) - 8:
                return int(value if count == 1 else self.offset.unpack_from(data, value)[0])
        return 0
