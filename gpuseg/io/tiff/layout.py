"""Where the pixels of a TIFF image lie, and the proof that they are all there.

tifffile hands out short stacks and zeros where a file was cut; here every plane that is declared must
have its bytes inside the file, or the file is refused before anything is read.
"""

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from gpuseg.errors import FileError

LZW, LZMA = 5, 34925
EXPANDS = {8: 1100, 32946: 1100, LZW: 2000, 32773: 64, 50000: 40_000}  # most bytes out per byte in, by codec
EXPANDS_MOST = 1 << 20  # of any other codec: a segment that claims more is a bomb, not an image
SMALL = 1 << 20  # segments up to this size may claim what they like
LARGEST = 1 << 32  # bytes of one strip or tile, decoded
INCOMPLETE = "the file is damaged or incomplete: copy it again from where it was made"


@dataclass(frozen=True, slots=True, eq=False)
class Plane:
    """One page: where its strips or tiles lie."""

    file: Path
    keyframe: Any  # the tifffile page that says how to decode it
    offsets: Sequence[int]
    counts: Sequence[int]
    tables: bytes | None = None  # of JPEG
    raw: bool = False  # the pixels lie at offsets[0] as they are in memory


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """An image of `shape`, whose first `lead` axes count planes and whose others lie in a plane.

    inner: for each of the others its place in tifffile's (sample, z, y, x, sample); -1 where of size 1.
    """

    shape: tuple[int, ...]
    lead: int
    inner: tuple[int, ...]
    planes: tuple[Plane, ...]


def count_pages(path: Path) -> int:
    """Number of pages; FileError where the chain of pages leaves the file or bites its tail.

    tifffile follows a ring of more than 100 pages until memory ends.
    """
    with path.open("rb") as file:
        size = path.stat().st_size
        order, big, offset = _header(path, file)
        entry, number = (20, "Q") if big else (12, "I")
        seen: set[int] = set()
        while offset:
            if offset in seen or not 8 <= offset < size:
                where = "an earlier page" if offset in seen else f"byte {offset} of {size}"
                raise FileError(f"{path}: page {len(seen)} is said to be at {where}", hint=INCOMPLETE)
            seen.add(offset)
            file.seek(offset)
            tags = _number(path, file, order + ("Q" if big else "H"), len(seen))
            file.seek(entry * tags, 1) if tags <= 4096 else _number(path, file, "", len(seen))
            offset = _number(path, file, order + number, len(seen))
    if not seen:
        raise FileError(f"{path}: a TIFF without pages", hint=INCOMPLETE)
    return len(seen)


def _header(path: Path, file: BinaryIO) -> tuple[str, bool, int]:
    start = file.read(16)
    order = {b"II": "<", b"MM": ">"}.get(start[:2])
    version = struct.unpack(f"{order}H", start[2:4])[0] if order and len(start) >= 8 else 0
    if version not in (42, 43) or (version == 43 and len(start) < 16):
        raise FileError(f"{path}: not a TIFF file: it begins with {start[:4]!r}")
    big = version == 43
    return (
        str(order),
        big,
        struct.unpack(f"{order}{'Q' if big else 'I'}", start[8:16] if big else start[4:8])[0],
    )


def _number(path: Path, file: BinaryIO, code: str, page: int) -> int:
    data = file.read(struct.calcsize(code)) if code else b""
    if not code or len(data) < struct.calcsize(code):
        raise FileError(f"{path}: the directory of page {page - 1} is cut short", hint=INCOMPLETE)
    return int(struct.unpack(code, data)[0])


def lay_out(path: Path, series: Any, pages: int) -> Layout:
    """Layout of a tifffile series in a file of `pages`; FileError unless every byte it declares is there."""
    key, shape = series.keyframe, tuple(series.shape)
    _check_kind(path, key, shape)
    lead = _split(path, shape, key.shape)
    number = math.prod(shape[:lead])
    if series.kind != "ome" and number > 1 and (len(series) != number or pages < number):
        planes = _one_after_another(path, series, number, pages)
    else:
        planes = [_plane(path, page, i, number) for i, page in enumerate(series)]
    if len(planes) != number:
        raise FileError(f"{path}: declares {number} planes, has {len(planes)}", hint=INCOMPLETE)
    return Layout(shape, lead, _inner(shape[lead:], key.shaped), tuple(planes))


def _check_kind(path: Path, key: Any, shape: tuple[int, ...]) -> None:
    if key.dtype is None:
        raise FileError(f"{path}: pixels of {key.bitspersample} bits, sample format {key.sampleformat}")
    if 0 in shape or not shape:
        raise FileError(f"{path}: an image of shape {shape} has no pixels")


def _split(path: Path, shape: tuple[int, ...], page: tuple[int, ...]) -> int:
    """Number of leading axes that count pages: the rest, but for axes of size 1, is the page."""
    within = [n for n in page if n != 1]
    for lead in range(len(shape) + 1):
        if [n for n in shape[lead:] if n != 1] == within:
            return lead
    raise FileError(f"{path}: declares shape {shape}, its pages have shape {tuple(page)}", hint=INCOMPLETE)


def _inner(shape: tuple[int, ...], shaped: tuple[int, ...]) -> tuple[int, ...]:
    places = iter([i for i, n in enumerate(shaped) if n != 1])
    return tuple(next(places) if n != 1 else -1 for n in shape)


def _one_after_another(path: Path, series: Any, number: int, pages: int) -> list[Plane]:
    """Planes of a file whose first page alone is described, as ImageJ does above 4 GB."""
    key = series.keyframe
    if pages != 1 or not key.is_final:
        raise FileError(f"{path}: declares {number} planes, has {pages} pages", hint=INCOMPLETE)
    start, size = key.dataoffsets[0], path.stat().st_size
    if start + number * key.nbytes > size:
        raise FileError(
            f"{path}: declares {number} planes that end at byte {start + number * key.nbytes}, "
            f"the file has {size} bytes",
            hint=INCOMPLETE,
        )
    return [Plane(path, key, (start + i * key.nbytes,), (key.nbytes,), raw=True) for i in range(number)]


def _plane(path: Path, page: Any, index: int, number: int) -> Plane:
    """A page as a Plane, after checking that each of its strips or tiles lies in the file."""
    if page is None:
        raise FileError(f"{path}: plane {index} of {number} is declared and missing", hint=INCOMPLETE)
    key, file = page.keyframe, Path(page.parent.filehandle.path)
    expected = math.prod(key.chunked)
    offsets, counts = np.array(page.dataoffsets, np.int64), np.array(page.databytecounts, np.int64)
    if not len(offsets) == len(counts) == expected:
        raise FileError(
            f"{path}: plane {index} needs {expected} strips or tiles, has {len(offsets)}", hint=INCOMPLETE
        )
    if (empty := (offsets <= 0) | (counts <= 0)).any():
        raise FileError(
            f"{path}: plane {index}: {empty.sum()} of {expected} strips or tiles have no data",
            hint=INCOMPLETE,
        )
    if (end := int((offsets + counts).max())) > (size := file.stat().st_size):
        raise FileError(
            f"{path}: plane {index} ends at byte {end}, the file has {size} bytes", hint=INCOMPLETE
        )
    _check_bytes(path, key, counts)
    final = key.is_final and bool((offsets[:-1] + counts[:-1] == offsets[1:]).all())
    return Plane(file, key, page.dataoffsets, page.databytecounts, page.jpegtables, raw=final)


def _check_bytes(path: Path, key: Any, counts: Any) -> None:
    """FileError where the strips or tiles cannot hold the pixels that they declare."""
    sizes, full = decoded_sizes(key)
    if full > LARGEST:
        raise FileError(f"{path}: one strip or tile of {full} bytes, at most {LARGEST} can be read")
    if key.compression == 1:
        fits = ((counts >= sizes) & (counts <= sizes + 3)) | (counts == full)  # some pad strips
        if not (fits.all() or key.is_lsm or key.is_stk):
            i = int(np.flatnonzero(~fits)[0])
            raise FileError(
                f"{path}: strip or tile {i} has {counts[i]} bytes, its pixels need {sizes[i]}",
                hint=INCOMPLETE,
            )
        return
    limit = EXPANDS.get(int(key.compression), EXPANDS_MOST)
    if ((sizes > SMALL) & (sizes > limit * counts)).any():
        raise FileError(
            f"{path}: {int(sizes.sum())} bytes of pixels are said to come out of {int(counts.sum())} bytes",
            hint="its header does not fit its content",
        )


def decoded_sizes(key: Any) -> tuple[Any, int]:
    """Bytes of each strip or tile of a page when decoded, and of a full one."""
    samples = key.samplesperpixel if key.planarconfig == 1 else 1
    bits = sum(key.bitspersample) if isinstance(key.bitspersample, tuple) else key.bitspersample * samples
    number = math.prod(key.chunked)
    if key.is_tiled:
        full = key.tiledepth * key.tilelength * -(-key.tilewidth * bits // 8)
        return np.full(number, full, np.int64), full
    row = -(-key.imagewidth * bits // 8)
    strips = -(-key.imagelength // key.rowsperstrip)
    first = np.arange(number) % strips * key.rowsperstrip
    return np.minimum(key.rowsperstrip, key.imagelength - first) * row, key.rowsperstrip * row
