"""PNG, JPEG, BMP and GIF: every kind of pixel they hold, and every way they lie."""

import struct
import time
import zlib

import imagecodecs
import numpy as np
import pytest
from PIL import Image as Pillow

from gpuseg.errors import FileError, ResourceError
from gpuseg.io import open_image

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (20, 30), "u1")
RGB = RNG.integers(0, 256, (20, 30, 3), "u1")
RGBA = RNG.integers(0, 256, (20, 30, 4), "u1")
DEEP = RNG.integers(0, 65536, (20, 30), "u2")
MASK = GREY > 100


@pytest.mark.parametrize(
    ("values", "axes"),
    [(GREY, "yx"), (RGB, "yxc"), (RGBA, "yxc"), (DEEP, "yx"), (MASK, "yx"), (RGBA[..., :2], "yxc")],
    ids=["grey", "rgb", "rgba", "16 bit", "1 bit", "grey and alpha"],
)
def test_png_pixels_come_as_stored(tmp_path, values, axes):
    Pillow.fromarray(values).save(tmp_path / "a.png")
    with open_image(tmp_path / "a.png") as image:
        assert (image.axes, image.axes_from) == (axes, "file")
        assert (image.shape, image.dtype) == (values.shape, values.dtype)
        np.testing.assert_array_equal(image.read(), values)
        np.testing.assert_array_equal(image.read()[3:5], values[3:5])


@pytest.mark.parametrize("channels", [2, 3, 4])
def test_16_bits_are_kept_in_every_channel(tmp_path, channels):
    values = RNG.integers(0, 65536, (20, 30, channels), "u2")
    (tmp_path / "a.png").write_bytes(imagecodecs.png_encode(values))
    with open_image(tmp_path / "a.png") as image:
        assert (image.axes, image.dtype) == ("yxc", np.uint16)
        np.testing.assert_array_equal(image.read(), values)


@pytest.mark.parametrize("suffix", [".png", ".gif", ".bmp"])
def test_a_palette_becomes_rgb(tmp_path, suffix):
    picture = Pillow.fromarray(GREY % 8, "P")
    picture.putpalette([i * 7 % 256 for i in range(768)])
    picture.save(tmp_path / f"a{suffix}")
    with open_image(tmp_path / f"a{suffix}") as image:
        assert (image.axes, image.shape, image.dtype) == ("yxc", (20, 30, 3), np.uint8)
        np.testing.assert_array_equal(image.read(), np.asarray(picture.convert("RGB")))


def test_a_palette_with_transparency_becomes_rgb(tmp_path):
    picture = Pillow.fromarray(GREY % 2, "P")
    picture.putpalette([10, 20, 30, 40, 50, 60])
    picture.save(tmp_path / "a.png", transparency=bytes([0, 128]))
    with open_image(tmp_path / "a.png") as image:
        np.testing.assert_array_equal(image.read()[0, 0], np.array([10, 20, 30]) + 30 * (GREY[0, 0] % 2))


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_jpeg_is_grey_or_rgb(tmp_path, mode):
    Pillow.fromarray(RGB).convert(mode).save(tmp_path / "a.jpg", quality=95)
    with open_image(tmp_path / "a.jpg") as image:
        assert image.shape == ((20, 30) if mode == "L" else (20, 30, 3))
        assert image.read().dtype == np.uint8


def test_orientation_tags_are_ignored(tmp_path):
    exif = Pillow.Exif()
    exif[0x0112] = 6  # turn by 90 degrees
    Pillow.fromarray(RGB).save(tmp_path / "a.jpg", exif=exif)
    with open_image(tmp_path / "a.jpg") as image:
        assert image.shape == (20, 30, 3)
        assert image.read().shape == (20, 30, 3)


def test_of_an_animation_the_first_frame_is_read(tmp_path):
    frames = [Pillow.fromarray(np.full((8, 9), v, np.uint8)) for v in (10, 200, 30)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    with open_image(tmp_path / "a.gif") as image:
        assert set(np.unique(image.read())) == {10}


def test_a_kind_of_pixel_that_is_not_read_is_named(tmp_path, monkeypatch):
    monkeypatch.delitem(__import__("gpuseg.io.raster", fromlist=["MODES"]).MODES, "CMYK")
    Pillow.fromarray(RGB).convert("CMYK").save(tmp_path / "a.jpg")
    with pytest.raises(FileError, match=r"a\.jpg: pixels of kind CMYK are not read"):
        open_image(tmp_path / "a.jpg")


def chunk(name, body):
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png(width, height, pixels, bits=8, color=0):
    head = struct.pack(">IIBBBBB", width, height, bits, color, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def test_a_small_file_that_claims_a_huge_image_is_refused_at_once(tmp_path):
    (tmp_path / "a.png").write_bytes(png(100_000, 100_000, zlib.compress(bytes(1000))))
    start = time.perf_counter()
    with pytest.raises(FileError, match="packed bytes cannot hold the 10000000000 that its header claims"):
        open_image(tmp_path / "a.png")
    assert time.perf_counter() - start < 1


def test_a_bomb_that_can_unpack_is_refused_by_memory(tmp_path, monkeypatch):
    (tmp_path / "a.png").write_bytes(png(10_000, 10_000, zlib.compress(bytes(10_001 * 10_000), 9)))
    monkeypatch.setenv("GPUSEG_MAX_BYTES", "90000000")
    with pytest.raises(ResourceError, match=r"shape \(10000, 10000\) takes 100\.0 MB of memory at once"):
        open_image(tmp_path / "a.png")


def test_an_image_larger_than_pillow_allows_is_read(tmp_path, monkeypatch):
    """The limit is memory, not a fixed number of pixels: slide scans are that large."""
    monkeypatch.setattr(Pillow, "MAX_IMAGE_PIXELS", 100)
    (tmp_path / "a.png").write_bytes(png(200, 200, zlib.compress(bytes(201 * 200))))
    with open_image(tmp_path / "a.png") as image:
        assert image.read().shape == (200, 200)


@pytest.mark.parametrize("limit", [100, 300])
def test_a_gif_beyond_pillows_limit_is_a_named_error(tmp_path, monkeypatch, limit):
    frame = Pillow.fromarray(np.zeros((20, 20), np.uint8))
    frame.save(tmp_path / "a.gif")
    data = bytearray((tmp_path / "a.gif").read_bytes())
    where = data.index(b"\x2c\0\0\0\0")  # the frame reaches beyond the screen
    struct.pack_into("<HH", data, where + 5, 21, 21)
    (tmp_path / "a.gif").write_bytes(data)
    monkeypatch.setattr(Pillow, "MAX_IMAGE_PIXELS", limit)
    with pytest.raises(
        FileError, match=r"a\.gif: claims more pixels than it can hold: Image size \(441 pixels\)"
    ):
        open_image(tmp_path / "a.gif")


@pytest.mark.parametrize("position", [30, 60, -8])
def test_a_flipped_bit_is_found_by_the_checksum(tmp_path, position):
    data = bytearray(png(20, 20, zlib.compress(RNG.bytes(420))))
    data[position] ^= 4
    (tmp_path / "a.png").write_bytes(data)
    with pytest.raises(
        FileError, match=r"a\.png: (chunk .* is damaged or cut off|ends before its last chunk)"
    ):
        open_image(tmp_path / "a.png")


def test_a_png_without_its_end_is_refused(tmp_path):
    (tmp_path / "a.png").write_bytes(png(20, 20, zlib.compress(bytes(420)))[:-12])
    with pytest.raises(FileError, match="ends before its last chunk, after 59 bytes: cut off"):
        open_image(tmp_path / "a.png")


def test_an_unknown_colour_type_is_named(tmp_path):
    (tmp_path / "a.png").write_bytes(png(20, 20, zlib.compress(bytes(420)), color=5))
    with pytest.raises(FileError, match="PNG colour type 5"):
        open_image(tmp_path / "a.png")


def test_pixels_that_are_too_few_are_refused(tmp_path):
    (tmp_path / "a.png").write_bytes(png(20, 20, zlib.compress(bytes(200))))
    with pytest.raises(FileError, match=r"a\.png: cannot be read"), open_image(tmp_path / "a.png") as image:
        image.read()


@pytest.mark.parametrize(
    ("name", "shape", "dtype"),
    [
        ("em2d/fibsem_z010.png", (250, 250), "uint8"),
        ("histology/dsb_4e92129f.png", (256, 320, 4), "uint8"),
        ("objects2d/BloodImage_00007.jpg", (480, 640, 3), "uint8"),
        ("formats/ilastik/rgba.png", (400, 640, 4), "uint8"),
        ("formats/scikit-image/foo3x5x4indexed.png", (3, 5, 3), "uint8"),
        ("formats/scikit-image/palette_gray.png", (10, 10, 3), "uint8"),
        ("formats/scikit-image/cell.png", (660, 550), "uint8"),
    ],
)
def test_real_images_are_read(shared, name, shape, dtype):
    with open_image(shared / "data" / name) as image:
        assert (image.shape, image.dtype) == (shape, dtype)
        assert image.read().std() > 0


@pytest.mark.parametrize("name", ["imread/error.png", "pillow/broken.png", "pillow/truncated_image.png"])
def test_malformed_images_are_refused(shared, name):
    with pytest.raises(FileError, match=r"is not a PNG file|chunk .* is damaged or cut off"):
        open_image(shared / "data/malformed" / name)
