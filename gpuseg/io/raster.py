"""PNG, JPEG, BMP and GIF: two-dimensional images with 1 to 4 channels, decoded whole on the first read.

Grey images are `yx`, all others `yxc`. A palette becomes RGB, without its transparency; 1-bit images
are bool; grey with alpha has 2 channels, RGBA 4; CMYK becomes RGB; 16 bits per channel are kept.
Orientation tags (EXIF) are ignored: pixels come as stored. Of an animation the first frame is read.
"""

import struct
import zlib
from importlib import import_module
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gpuseg.axes import Voxel, reorder
from gpuseg.errors import FileError, InputError, ShapeError
from gpuseg.io.base import Format, Output
from gpuseg.io.faults import check_memory, check_packed
from gpuseg.tiles import Region

READ_SIZE = 1 << 20
PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by colour type
SIXTEEN = ("I;16", "I;16B", "I;16L")
# Pillow's mode -> what it is converted to, channels, dtype; modes not here are refused by name.
MODES = {
    "1": ("1", 1, "bool"),
    "L": ("L", 1, "uint8"),
    "P": ("RGB", 3, "uint8"),
    "LA": ("LA", 2, "uint8"),
    "PA": ("RGB", 3, "uint8"),
    "RGB": ("RGB", 3, "uint8"),
    "RGBA": ("RGBA", 4, "uint8"),
    "RGBX": ("RGB", 3, "uint8"),
    "CMYK": ("RGB", 3, "uint8"),
    "I": ("I", 1, "int32"),
} | {mode: (mode, 1, "uint16") for mode in SIXTEEN}


class RasterReader:
    """Size and type from the header; pixels on the first `read`."""

    voxel = Voxel()

    def __init__(self, file: Path, kind: str) -> None:
        self._file, self._kind = file, kind
        with _pillow(file, kind) as picture:
            if picture.mode not in MODES:
                raise FileError(f"{file}: pixels of kind {picture.mode} are not read", hint="save it as RGB")
            _, channels, dtype = MODES[picture.mode]
            self._describe((picture.height, picture.width), channels, dtype)

    def _describe(self, size: tuple[int, int], channels: int, dtype: str) -> None:
        self.axes: str | None = "yx" if channels == 1 else "yxc"
        self.shape: tuple[int, ...] = size if channels == 1 else (*size, channels)
        self.dtype: np.dtype[Any] = np.dtype(dtype)
        self._pixels: NDArray[Any] | None = None
        check_memory(self._file, self.shape, self.dtype.itemsize)

    def read(self, region: Region) -> NDArray[Any]:
        if self._pixels is None:
            self._pixels = self._decode()
        return self._pixels[region]

    def _decode(self) -> NDArray[Any]:
        with _pillow(self._file, self._kind) as picture:
            mode = MODES[picture.mode][0]
            picture.info.pop("transparency", None)
            return np.asarray(picture if mode == picture.mode else picture.convert(mode), self.dtype)

    def close(self) -> None:
        self._pixels = None


class PngReader(RasterReader):
    """A PNG whose checksums have all been compared, which Pillow leaves out for the pixels."""

    def __init__(self, file: Path) -> None:
        with file.open("rb") as stream:
            head = _png_header(stream, file)
        # Pillow cuts 16 bits to 8 where there is more than one channel.
        self._deep = head.bits == 16 and PNG_CHANNELS[head.color] > 1
        if self._deep:
            self._file = file
            self._describe((head.height, head.width), PNG_CHANNELS[head.color], "uint16")
        else:
            super().__init__(file, "Png")

    def _decode(self) -> NDArray[Any]:
        if not self._deep:
            return super()._decode()
        import imagecodecs  # late: few images need it

        pixels: NDArray[Any] = imagecodecs.png_decode(self._file.read_bytes())
        return pixels


class PngWriter:
    """Label values or greys (uint8, uint16) or RGB (uint8), kept in memory and encoded at the end."""

    def __init__(self, file: Path, inside: str, output: Output) -> None:
        sizes = dict(zip(output.axes, output.shape, strict=True))
        if deep := {a: n for a, n in sizes.items() if a in "tz" and n > 1}:
            raise ShapeError(
                f"{file}: PNG is two-dimensional, the image has {deep}",
                hint="choose .tif, .h5, .zarr or .npy",
            )
        channels = sizes.get("c", 1)
        fits = {1: ("uint8", "uint16"), 3: ("uint8",)}.get(channels, ())
        if output.dtype.name not in fits:
            raise InputError(
                f"{file}: PNG holds uint8 or uint16 with 1 channel, uint8 with 3; the image is"
                f" {output.dtype} with {channels}",
                hint="choose .tif, .h5, .zarr or .npy",
            )
        check_memory(file, output.shape, output.dtype.itemsize)
        self._file, self._axes = file, output.axes
        self._pixels = np.zeros(output.shape, output.dtype)

    def write(self, region: Region, values: NDArray[Any]) -> None:
        self._pixels[region] = values

    def finish(self) -> None:
        from PIL import Image

        flat = reorder(self._pixels, self._axes, "yxc")
        picture = Image.fromarray(np.ascontiguousarray(flat[..., 0] if flat.shape[2] == 1 else flat))
        with self._file.open("xb") as stream:
            picture.save(stream, format="PNG", compress_level=6)

    def abandon(self) -> None:
        self._pixels = np.zeros(0, np.uint8)


class _PngHeader(NamedTuple):
    width: int
    height: int
    bits: int
    color: int


def _png_header(stream: IO[bytes], file: Path) -> _PngHeader:
    """First chunk of a PNG, after every chunk up to the last has been found whole by its checksum."""
    stream.seek(8)
    packed, head, name = 0, b"", b""
    while name != b"IEND":
        start = stream.read(8)
        if len(start) < 8:
            raise FileError(f"{file}: ends before its last chunk, after {stream.tell()} bytes: cut off")
        length, name = struct.unpack(">I4s", start)
        crc, body = _checksum(stream, length, name)
        if stream.read(4) != struct.pack(">I", crc):
            raise FileError(
                f"{file}: chunk {name.decode('latin-1')!r} of {length} bytes is damaged or cut off",
                hint="copy it again from where it was made",
            )
        head = head or body
        packed += length if name == b"IDAT" else 0
    width, height, bits, color = struct.unpack(">IIBB", head[:10])
    if color not in PNG_CHANNELS:
        raise FileError(f"{file}: PNG colour type {color}; there are 0, 2, 3, 4 and 6")
    check_packed(file, packed, height * -(-width * bits * PNG_CHANNELS[color] // 8))
    return _PngHeader(width, height, bits, color)


def _checksum(stream: IO[bytes], length: int, name: bytes) -> tuple[int, bytes]:
    crc, first = zlib.crc32(name), b""
    while length > 0 and (part := stream.read(min(length, READ_SIZE))):
        crc, length, first = zlib.crc32(part, crc), length - len(part), first or part
    return crc, first


def _pillow(file: Path, kind: str) -> Any:
    """The file opened by Pillow's reader of its kind: nothing is guessed from the content."""
    from PIL import Image

    reader = import_module(f"PIL.{kind}ImagePlugin")
    try:
        return getattr(reader, f"{kind}ImageFile")(file)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise FileError(f"{file}: claims more pixels than it can hold: {error}") from error


PNG = Format("PNG", (".png",), lambda file, inside: PngReader(file), PngWriter)
JPEG = Format("JPEG", (".jpg", ".jpeg"), lambda file, inside: RasterReader(file, "Jpeg"))
BMP = Format("BMP", (".bmp",), lambda file, inside: RasterReader(file, "Bmp"))
GIF = Format("GIF", (".gif",), lambda file, inside: RasterReader(file, "Gif"))
