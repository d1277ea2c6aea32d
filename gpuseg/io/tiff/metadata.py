"""What TIFF files say about their axes and the size of a voxel: OME-XML and ImageJ's dialect."""

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from gpuseg.axes import Voxel
from gpuseg.errors import FileError

log = logging.getLogger(__name__)

LETTERS = {"T": "t", "Z": "z", "Y": "y", "X": "x", "C": "c", "S": "c"}  # S: samples of one pixel, e.g. RGB
UNITS = {
    "micrometer": ("micrometer", "micrometre", "micron", "microns", "um", "µm", "μm"),
    "nanometer": ("nanometer", "nanometre", "nm"),
    "picometer": ("picometer", "picometre", "pm"),
    "angstrom": ("angstrom", "å", "Å"),
    "millimeter": ("millimeter", "millimetre", "mm"),
    "centimeter": ("centimeter", "centimetre", "cm"),
    "meter": ("meter", "metre", "m"),
    "millisecond": ("millisecond", "msec", "ms"),
    "second": ("second", "seconds", "sec", "s"),
    "minute": ("minute", "minutes", "min"),
    "hour": ("hour", "hours", "hr", "h"),
}
_UNIT_OF = {word: unit for unit, words in UNITS.items() for word in words}
SYMBOLS = {"angstrom": "Å"} | {unit: words[-2] for unit, words in UNITS.items() if unit == "micrometer"}
SYMBOLS |= {unit: words[-1] for unit, words in UNITS.items() if unit not in SYMBOLS}
CENTIMETER = 3  # of the tag ResolutionUnit
SOFTWARE = "gpuseg"  # what the tag Software says of files written here
METERS = {"picometer": 1e-12, "angstrom": 1e-10, "nanometer": 1e-9, "micrometer": 1e-6, "millimeter": 1e-3}
METERS |= {"centimeter": 1e-2, "meter": 1.0}


def name_axes(path: str, axes: str, shape: Sequence[int]) -> tuple[tuple[int, ...], str | None]:
    """Which axes to keep, and their letters: None where one is not among t z y x c.

    Axes of size 1 without a letter of ours are dropped. Samples (S) are channels; a file that has both
    samples and channels is a FileError, as no image here has two channel axes.
    """
    names = [LETTERS.get(a) for a in axes.upper()]
    keep = [i for i, n in enumerate(shape) if n > 1 or (names[i] is not None and not _again(names, i, shape))]
    sizes = {axes[i].upper(): shape[i] for i in keep}
    if "C" in sizes and "S" in sizes:
        raise FileError(
            f"{path}: has {sizes['C']} channels of {sizes['S']} samples (colours) each",
            hint="split the colours into channels first, e.g. in Fiji: Image > Color > Split Channels",
        )
    kept = [names[i] for i in keep]
    letters = "".join(n or "?" for n in kept)
    known = "?" not in letters and len(set(letters)) == len(letters) and {"y", "x"} <= set(letters)
    return tuple(keep), letters if known else None


def _again(names: Sequence[str | None], i: int, shape: Sequence[int]) -> bool:
    """Whether axis i, of size 1, has its letter on a longer or an earlier axis too."""
    same = [j for j, name in enumerate(names) if name == names[i] and j != i]
    return any(shape[j] > 1 or j < i for j in same)


def ome_pixels(path: str, xml: str) -> list[ElementTree.Element]:
    """The Pixels elements of OME-XML that have data, in order; FileError where it is not XML."""
    try:
        root = ElementTree.fromstring(xml)
    except ElementTree.ParseError as error:
        raise FileError(f"{path}: its OME-XML cannot be read: {error}") from error
    return [p for p in _named(root, "Pixels") if any(True for _ in _named(p, "TiffData"))]


def check_ome(path: str, pixels: Sequence[ElementTree.Element], pages: int) -> None:
    """FileError where OME-XML declares more planes than the file has pages.

    tifffile fills such planes with zeros, and makes a list as long as the declared number.
    """
    for image in pixels:
        spp = max((int(c.get("SamplesPerPixel", 1)) for c in _named(image, "Channel")), default=1)
        planes = math.prod(int(image.get(f"Size{a}", 1)) for a in "ZCT") // max(spp, 1)
        far = [
            int(d.get(k, 0)) for d in _named(image, "TiffData") for k in ("IFD", "PlaneCount", "NumPlanes")
        ]
        elsewhere = any(u.get("FileName", Path(path).name) != Path(path).name for u in _named(image, "UUID"))
        limit = 1 << 20 if elsewhere else pages
        if max(planes, *far, 0) > limit:
            raise FileError(
                f"{path}: OME metadata declares {max(planes, *far)} planes, the file has {pages}",
                hint="the file is incomplete: copy it again from where it was made",
            )


def ome_voxel(path: str, pixels: ElementTree.Element) -> Voxel:
    """Voxel from PhysicalSizeX, Y, Z (default micrometer) and TimeIncrement (default second)."""
    said: dict[str, tuple[Any, str]] = {}
    for axis, key, unit in (
        ("z", "PhysicalSizeZ", "µm"),
        ("y", "PhysicalSizeY", "µm"),
        ("x", "PhysicalSizeX", "µm"),
        ("t", "TimeIncrement", "s"),
    ):
        if (value := pixels.get(key)) is not None:
            said[axis] = (value, pixels.get(f"{key}Unit", unit))
    return _voxel(path, said)


def imagej_voxel(path: str, meta: Mapping[str, Any], tags: Any) -> Voxel:
    """Voxel from the resolution tags (pixels per unit), `spacing`, `finterval` and their units."""
    unit = meta.get("unit") or ("cm" if tags.valueof(296) == CENTIMETER else "pixel")
    said: dict[str, tuple[Any, str]] = {}
    for axis, code, named in (("x", 282, unit), ("y", 283, meta.get("yunit", unit))):
        if (ratio := tags.valueof(code)) is not None:
            pixels, units = ratio if isinstance(ratio, tuple) else (ratio, 1)
            said[axis] = (units / pixels if pixels else math.inf, named)
    if "spacing" in meta:
        said["z"] = (meta["spacing"], meta.get("zunit", unit))
    if "finterval" in meta:
        said["t"] = (meta["finterval"], meta.get("tunit", "sec"))
    return _voxel(path, said)


def tags_voxel(path: str, tags: Any) -> Voxel:
    """Voxel in micrometer from the resolution tags, if they count pixels per centimeter."""
    if tags.valueof(296) != CENTIMETER:
        return Voxel()
    found = imagej_voxel(path, {}, tags)
    return Voxel({a: s * 1e4 for a, s in found.size.items()}, dict.fromkeys(found.size, "micrometer"))


def resolution(voxel: Voxel) -> tuple[float, float] | None:
    """Pixels per centimeter along x and y, for the resolution tags; None unless both have a size."""
    units = {a: METERS.get(voxel.unit.get(a, "micrometer")) for a in "xy"}
    sizes = [voxel.size.get(a, 0) * (units[a] or 0) for a in "xy"]
    return (0.01 / sizes[0], 0.01 / sizes[1]) if all(sizes) else None


def _voxel(path: str, said: Mapping[str, tuple[Any, str]]) -> Voxel:
    sizes: dict[str, float] = {}
    units: dict[str, str] = {}
    for axis, (value, unit) in said.items():
        name = _UNIT_OF.get(_spelled(unit).lower())
        if (number := _number(value)) is None:
            log.warning("%s: size %r along %s is impossible and ignored", path, value, axis)
        elif name is not None:  # a "pixel", or a unit nobody knows, is no size
            sizes[axis], units[axis] = number, name
    return Voxel(sizes, units)


def _number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) and number > 0 else None


def _spelled(unit: Any) -> str:
    """ImageJ writes µ as \\u00B5; an older ilastik wrote tuples as text, `('cm',)`."""
    text = str(unit).strip("()', ")
    for escaped, letter in (("\\u00B5", "µ"), ("\\u03BC", "μ"), ("\\u00C5", "Å")):
        text = text.replace(escaped, letter).replace(escaped.lower(), letter)
    return text


def _named(element: ElementTree.Element, name: str) -> Iterator[ElementTree.Element]:
    return (e for e in element.iter() if e.tag.rsplit("}", 1)[-1] == name)
