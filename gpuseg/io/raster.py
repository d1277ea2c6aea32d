"""PNG, JPEG, BMP and GIF: two-dimensional images with 1 to 4 channels, decoded whole on the first read.

Grey images are `yx`, all others `yxc`. A palette becomes RGB, without its transparency; 1-bit images
are bool; grey with alpha has 2 channels, RGBA 4; CMYK becomes RGB; 16 bits per channel are kept.
Orientation tags (EXIF) are ignored: pixels come as stored. Of an animation the first frame is read.

Written are 1 channel, and 3 where they stay what they are: GIF would choose 256 colours, and JPEG keeps
less of the colour than of the light, which mixes channels that are no colours.
"""

import struct
import zlib
from dataclasses import replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gpuseg.axes import Voxel
from gpuseg.errors import FileError
from gpuseg.io.base import Format, Limits, Output
from gpuseg.io.faults import check_memory, check_packed
from gpuseg.io.spool import Spool
from gpuseg.tiles import Region

READ_SIZE = 1 << 20
BAND = 1024  # rows
PNG_LEVEL = 6  # of zlib
QUALITY = 95  # of JPEG, of 100
BMP_BYTES = 1 << 31  # half of what its 32-bit size can say; rows are padded
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
            whole = picture if mode == picture.mode else picture.convert(mode)
            pixels = np.empty(self.shape, self.dtype)
            for y in range(0, whole.height, BAND):  # of the whole, NumPy would make three copies at a time
                end = min(whole.height, y + BAND)
                pixels[y:end] = np.asarray(whole.crop((0, y, whole.width, end)), self.dtype)
            return pixels

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


class RasterWriter:
    """Labels, greys or RGB, kept in a scratch file and encoded whole at the end, as they are decoded."""

    def __init__(self, file: Path, inside: str, output: Output, *, kind: str, **settings: Any) -> None:
        check_memory(file, output.shape, output.dtype.itemsize)
        self._file, self._kind, self._settings = file, kind, settings
        self._spool = Spool(file, output, "yxc")

    def write(self, region: Region, values: NDArray[Any]) -> None:
        self._spool.write(region, values)

    def finish(self) -> None:
        pixels = self._spool.pixels
        with self._file.open("xb") as stream:
            if pixels.dtype.itemsize == 2 and pixels.shape[2] == 3:
                import imagecodecs  # late: few images need it, and Pillow cannot

                stream.write(imagecodecs.png_encode(pixels, level=PNG_LEVEL))
            else:
                self._save(stream, pixels[..., 0] if pixels.shape[2] == 1 else pixels)
        del pixels
        self.abandon()

    def _save(self, stream: IO[bytes], pixels: NDArray[Any]) -> None:
        from PIL import Image

        Image.fromarray(pixels).save(stream, format=self._kind, **self._settings)

    def abandon(self) -> None:
        self._spool.abandon()


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


def _format(name: str, suffixes: tuple[str, ...], limits: Limits, **settings: Any) -> Format:
    return Format(
        name,
        suffixes,
        lambda file, inside: RasterReader(file, name.capitalize()),
        partial(RasterWriter, kind=name, **settings),
        limits=replace(limits, flat=True),
    )


_PNG = Limits(dtypes=("uint8", "uint16"), channels=(1, 3))
_GREY = Limits(dtypes=("uint8",), channels=(1,), instead="choose .png, .tif, .h5, .zarr or .npy")
PNG = replace(
    _format("PNG", (".png",), _PNG, compress_level=PNG_LEVEL), open=lambda file, inside: PngReader(file)
)
JPEG = _format("JPEG", (".jpg", ".jpeg"), replace(_GREY, side=65_500, exact=False), quality=QUALITY)
BMP = _format("BMP", (".bmp",), replace(_GREY, channels=(1, 3), nbytes=BMP_BYTES))
# Not optimized: that would leave the used greys alone in the palette, and labels would come back as colours.
GIF = _format("GIF", (".gif",), replace(_GREY, side=65_535), optimize=False, interlace=False)
