"""TIFF files that were cut, changed, or never were what they claim: refused by name, never read short."""

import io
import struct
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import tifffile

from gpuseg.errors import FileError, GpusegError
from gpuseg.io import open_image
from gpuseg.io.tiff import FORMAT

RNG = np.random.default_rng(3)
NOISE = RNG.integers(0, 4000, (3, 40, 48)).astype("u2")
RAMP = (np.add.outer(np.arange(80), np.arange(96))[None] + np.arange(3)[:, None, None] * 20).astype("u2")
ZYX = {"axes": "ZYX"}
KINDS = {
    "imagej": (NOISE, {"imagej": True, "metadata": ZYX}),
    "ome": (NOISE, {"ome": True, "metadata": ZYX}),
    "bigtiff": (NOISE, {"bigtiff": True, "metadata": ZYX, "photometric": "minisblack"}),
    "ome zlib tiles": (RAMP, {"ome": True, "tile": (32, 32), "compression": "zlib", "predictor": True}),
    "bigtiff zstd": (
        RAMP.astype("f4"),
        {"bigtiff": True, "compression": "zstd", "metadata": ZYX, "photometric": "minisblack"},
    ),
    "jpeg tiles": (
        np.repeat(RAMP[0, :, :, None] // 2, 3, -1).astype("u1"),
        {"compression": "jpeg", "tile": (32, 32), "photometric": "rgb"},
    ),
    "lzw strip": (
        RAMP[0],
        {"compression": "lzw", "rowsperstrip": 80, "metadata": None, "photometric": "minisblack"},
    ),
}


def encode(pixels: np.ndarray, **options: object) -> bytes:
    stream = io.BytesIO()
    tifffile.imwrite(stream, pixels, **options)
    return stream.getvalue()


def read(path: Path) -> np.ndarray:
    reader = FORMAT.open(path, "")
    try:
        return reader.read(tuple(slice(0, n) for n in reader.shape))
    finally:
        reader.close()


def mutate(data: bytes, seed: int) -> bytes:
    """Cut, flip bits, overwrite a number, zero a run or delete one, by seed."""
    rng = np.random.default_rng(seed)
    mutant, at = bytearray(data), int(rng.integers(0, len(data) - 4))
    match seed % 5:
        case 0:
            del mutant[at:]
        case 1:
            for i in rng.integers(0, len(data), 8):
                mutant[i] ^= 1 << int(rng.integers(0, 8))
        case 2:
            near = at % 600 if rng.random() < 0.5 else len(data) - 4 - at % min(1500, len(data) - 4)
            mutant[near : near + 4] = struct.pack("<I", int(rng.choice([0, 1, 2, 255, 65535, 2**32 - 1])))
        case 3:
            mutant[at : at + 40] = bytes(min(40, len(data) - at))
        case 4:
            del mutant[at : at + int(rng.integers(1, 65))]
    return bytes(mutant)


@pytest.mark.parametrize("kind", KINDS)
def test_mutants_never_change_shape_or_type(kind, tmp_path, caplog):
    pixels, options = KINDS[kind]
    data, refused = encode(pixels, **options), 0
    for seed in range(150):
        path = tmp_path / "a.tif"
        path.write_bytes(mutate(data, seed))
        start = time.perf_counter()
        try:
            found = read(path)
        except GpusegError as error:
            refused += str(path) in str(error)
        else:
            assert (found.shape, found.dtype) == (pixels.shape, pixels.dtype), seed
        assert time.perf_counter() - start < 10, seed
    assert refused > 30
    assert not [r for r in caplog.records if r.name == "tifffile"]


@pytest.mark.parametrize("kind", KINDS)
def test_every_truncation_is_refused(kind, tmp_path):
    data = encode(KINDS[kind][0], **KINDS[kind][1])
    for length in range(0, len(data), 64):
        (tmp_path / "a.tif").write_bytes(data[:length])
        with pytest.raises(FileError, match=r"a\.tif"):
            read(tmp_path / "a.tif")


def test_a_cut_file_is_refused_with_both_numbers(tmp_path):
    data = encode(NOISE, metadata=None, photometric="minisblack", bigtiff=True)
    page = struct.unpack("<Q", data[8:16])[0]
    assert page == 16
    (tmp_path / "a.tif").write_bytes(data[:3000])
    with pytest.raises(FileError, match=r"page 1 is said to be at byte \d+ of 3000"):
        read(tmp_path / "a.tif")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b"images=3", b"images=4", "ImageJ metadata declare 4 planes, the file has 3"),
        (b"images=3\nslices=3", b"images=5\nslices=5", "ImageJ metadata declare 5 planes, the file has 3"),
        (b"images=3\nslices=3", b"images=2\nslices=2", "ImageJ metadata declare 2 planes, the file has 3"),
    ],
)
def test_imagej_planes_must_be_there(old, new, message, tmp_path):
    data = encode(NOISE, imagej=True, metadata=ZYX)
    assert old in data
    (tmp_path / "a.tif").write_bytes(data.replace(old, new))
    with pytest.raises(FileError, match=message):
        read(tmp_path / "a.tif")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('SizeZ="3"', 'SizeZ="7"', "OME metadata declares 7 planes, the file has 3"),
        ('PlaneCount="3"', 'PlaneCount="9"', "OME metadata declares 9 planes, the file has 3"),
        ('PlaneCount="3"', 'PlaneCount="2"', "plane 2 of 3 is declared and missing"),
        ('SizeZ="3"', 'SizeZ="2"', "damaged or incomplete: .*expected 2 frames, got 3"),
        ('Type="uint16"', 'Type="int16" ', "OME metadata declares int16 pixels, they are stored as uint16"),
        ('SizeX="48"', 'SizeX="47"', "damaged or incomplete"),
        ("<Image", "<Imag>", "OME-XML cannot be read"),
    ],
)
def test_ome_metadata_must_fit_what_is_stored(old, new, message, tmp_path):
    data = encode(NOISE, ome=True, metadata=ZYX)
    assert old.encode() in data
    (tmp_path / "a.tif").write_bytes(data.replace(old.encode(), new.encode(), 1))
    with pytest.raises(FileError, match=message):
        read(tmp_path / "a.tif")


def page(tags: dict[int, tuple[int, int, int]], size: int = 512) -> bytes:
    """A little-endian TIFF of one page; tags: code -> (type, count, value)."""
    entries = b"".join(struct.pack("<HHII", code, *tags[code]) for code in sorted(tags))
    head = b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4)
    return head + bytes(size - len(head))


GRAY = {256: (4, 1, 8), 257: (4, 1, 8), 258: (3, 1, 8), 259: (3, 1, 1), 262: (3, 1, 1)} | {
    273: (4, 1, 256), 277: (3, 1, 1), 278: (4, 1, 8), 279: (4, 1, 64),
}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({279: (4, 1, 0)}, "1 of 1 strips or tiles have no data"),
        ({273: (4, 1, 0)}, "1 of 1 strips or tiles have no data"),
        ({273: (4, 1, 500)}, "plane 0 ends at byte 564, the file has 512 bytes"),
        ({279: (4, 1, 60)}, "has 60 bytes, its pixels need 64"),
        ({257: (4, 1, 6)}, "has 64 bytes, its pixels need 48"),
        ({258: (3, 1, 16)}, "has 64 bytes, its pixels need 128"),
        ({258: (3, 1, 7), 339: (3, 1, 3)}, "pixels of 7 bits, sample format 3"),
        ({256: (4, 1, 0)}, "a.tif"),
        ({259: (3, 1, 60000)}, "a.tif"),
        ({278: (4, 1, 4)}, "needs 2 strips or tiles, has 1|incorrect StripByteCounts"),
        ({256: (4, 1, 100_000), 257: (4, 1, 100_000), 278: (4, 1, 100_000), 279: (4, 1, 200)}, "one strip"),
        (
            {256: (4, 1, 60_000), 257: (4, 1, 60_000), 278: (4, 1, 60_000), 279: (4, 1, 200), 259: (3, 1, 8)},
            "3600000000 bytes of pixels are said to come out of 200 bytes",
        ),
        (
            {256: (4, 1, 60_000), 257: (4, 1, 60_000), 278: (4, 1, 60_000), 279: (4, 1, 200), 259: (3, 1, 7)},
            "3600000000 bytes of pixels are said to come out of 200 bytes",
        ),
    ],
)
def test_headers_that_cannot_be_true_are_refused(changes, message, tmp_path):
    (tmp_path / "a.tif").write_bytes(page(GRAY))
    assert read(tmp_path / "a.tif").shape == (8, 8)
    (tmp_path / "a.tif").write_bytes(page(GRAY | changes))
    tracemalloc.start()
    with pytest.raises(GpusegError, match=message):
        read(tmp_path / "a.tif")
    assert tracemalloc.get_traced_memory()[1] < 30e6
    tracemalloc.stop()


def test_a_strip_that_holds_more_than_its_pixels_is_refused(tmp_path):
    data = encode(RAMP[0], compression="lzw", rowsperstrip=80, metadata=None)
    with tifffile.TiffFile(io.BytesIO(data)) as tif:
        where = tif.pages[0].tags[257].valueoffset
    (tmp_path / "a.tif").write_bytes(data[:where] + b"\x40" + data[where + 1 :])
    with pytest.raises(FileError, match=r"strip 0 holds 1\d+ bytes, its pixels need 12288"):
        read(tmp_path / "a.tif")


def test_pixels_of_another_type_than_declared_are_refused(tmp_path):
    pixels = RNG.integers(0, 9, (16, 16)).astype("u1")
    data = encode(pixels, compression="png", metadata=None)
    with tifffile.TiffFile(io.BytesIO(data)) as tif:
        where = tif.pages[0].tags[258].valueoffset
    (tmp_path / "a.tif").write_bytes(data[:where] + b"\x10" + data[where + 1 :])
    with pytest.raises(FileError, match="holds uint8, declared is uint16"):
        read(tmp_path / "a.tif")


def test_a_ring_of_pages_ends(tmp_path):
    data = bytearray(encode(np.zeros((130, 4, 4), "u1"), metadata=None, photometric="minisblack"))
    with tifffile.TiffFile(io.BytesIO(bytes(data))) as tif:
        last = tif.pages.next_page_offset
        first = tif.pages[0].offset
    data[last : last + 4] = struct.pack("<I", first)
    (tmp_path / "a.tif").write_bytes(data)
    with pytest.raises(FileError, match="page 130 is said to be at an earlier page"):
        read(tmp_path / "a.tif")


@pytest.mark.parametrize(
    "data", [b"II*\0", b"II+\0\x08\0\0\0", b"II*\0\x08\0\0\0\xff\xff", b"II*\0" + bytes(4)]
)
def test_stumps_are_refused(data, tmp_path):
    (tmp_path / "a.tif").write_bytes(data)
    with pytest.raises(
        FileError, match=r"not a TIFF file|page 0|without pages|without an image|at byte 8 of 8"
    ):
        read(tmp_path / "a.tif")


@pytest.mark.parametrize(
    "options",
    [
        {"rowsperstrip": 80},
        {"rowsperstrip": 8, "byteorder": ">"},
        {"bigtiff": True, "compression": "zlib"},
        {"tile": (16, 16), "subfiletype": 2},
    ],
)
@pytest.mark.parametrize("kept", [1, 2])
def test_a_chain_of_pages_that_was_cut_is_refused(options, kept, tmp_path):
    data = bytearray(encode(RAMP, metadata=None, photometric="minisblack", **options))
    with tifffile.TiffFile(io.BytesIO(bytes(data))) as tif:
        order, big, entry = tif.byteorder, tif.is_bigtiff, 20 if tif.is_bigtiff else 12
        where = tif.pages[kept - 1].offset
    number = struct.unpack_from(order + ("Q" if big else "H"), data, where)[0]
    link = where + (8 if big else 2) + number * entry
    data[link : link + (8 if big else 4)] = bytes(8 if big else 4)
    (tmp_path / "a.tif").write_bytes(data)
    with pytest.raises(FileError, match=f"{kept} pages are linked, and another lies at byte"):
        read(tmp_path / "a.tif")


def test_a_directory_that_was_replaced_is_no_lost_page(tmp_path):
    """Editors append a new directory and leave the old one: both have the same pixels."""
    data = encode(RAMP[0], metadata=None, rowsperstrip=80)
    first = struct.unpack_from("<I", data, 4)[0]
    size = 2 + struct.unpack_from("<H", data, first)[0] * 12 + 4
    moved = data[:4] + struct.pack("<I", len(data)) + data[8:] + data[first : first + size]
    (tmp_path / "a.tif").write_bytes(moved)
    np.testing.assert_array_equal(read(tmp_path / "a.tif"), RAMP[0])


@pytest.mark.parametrize("number", [0, 3, 4, 9, 101])
def test_what_only_looks_like_a_directory_is_no_page(number, tmp_path):
    width = struct.pack("<HHIHH", 256, 3, 1, 96, 0)
    plain = b"".join(struct.pack("<HHII", code, 3, 1, 1) for code in (257, 258, 259, 262))
    tail = struct.pack("<H", number) + width + (width * 3 if number == 4 else plain) + bytes(100)
    (tmp_path / "a.tif").write_bytes(encode(RAMP[0], metadata=None, rowsperstrip=80) + tail)
    np.testing.assert_array_equal(read(tmp_path / "a.tif"), RAMP[0])


def test_pages_of_different_sizes_are_refused(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as tif:
        for pixels in (NOISE[0], NOISE[1], NOISE[2, :20]):
            tif.write(pixels, metadata=None)
    with pytest.raises(FileError, match=r"pages differ.*2 of shape \(40, 48\), 1 of shape \(20, 48\)"):
        read(tmp_path / "a.tif")


def test_a_part_of_a_tiff_file_is_refused(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", NOISE[0])
    with pytest.raises(FileError, match="nothing called 'raw'"):
        open_image(tmp_path / "a.tif" / "raw")
    with pytest.raises(FileError, match="no parts named 'raw'"):
        FORMAT.open(tmp_path / "a.tif", "raw")
