"""A check that HDF5 leaves out: text of variable length lies in heaps that a damaged file can make endless.

HDF5 walks the objects of such a heap by their own sizes. Free space of size 0 makes it stay where it is
for ever (seen with HDF5 2.0), in C, where no timeout of Python reaches. No checksum covers these heaps.
"""

import struct
from collections.abc import Iterator
from mmap import ACCESS_READ, mmap
from pathlib import Path

from gpuseg.errors import FileError

SIGNATURE = b"GCOL\1\0\0\0"
OBJECT = struct.Struct("<HH4xQ")  # index (0: free space), references, size; then the bytes, padded to 8
SCANNED = 32 << 20  # bytes at either end of a file: heaps of attributes are made with their dataset


def check_heaps(file: Path) -> None:
    """Refuse an HDF5 file with a heap that reading would never leave; FileError names its position."""
    with file.open("rb") as stream, mmap(stream.fileno(), 0, access=ACCESS_READ) as data:
        for start in _heaps(data):
            (length,) = struct.unpack_from("<Q", data, start + 8)
            position, stop = start + 16, min(start + length, len(data))
            while position + OBJECT.size <= stop:
                index, _, size = OBJECT.unpack_from(data, position)
                step = OBJECT.size + -(-size // 8) * 8 if index else size
                if step < 8:
                    raise FileError(
                        f"{file}: the heap at byte {start} has free space of {size} bytes at byte {position}",
                        hint="the file is damaged: copy it again from where it was made",
                    )
                position += step


def _heaps(data: mmap) -> Iterator[int]:
    for begin, end in ((0, SCANNED), (max(SCANNED, len(data) - SCANNED), len(data))):
        start = data.find(SIGNATURE, begin, end)
        while start >= 0 and start + 16 <= len(data):
            yield start
            start = data.find(SIGNATURE, start + 8, end)
