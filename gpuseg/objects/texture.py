"""Spherical Texture (SPEC 5.7): how an object's intensities vary around its middle, on a circle or a sphere.

The box of an object is stretched to 80 pixels along each axis. From its middle, intensities are averaged
along rays to where each first leaves the object. What is left of these averages when their mean is
subtracted and their spread is 1 is split into waves: how much of it varies how fast around the object.
Unlike ilastik, the image is cut to the object's box just as the mask is, and pixels below 0 do not end rays.
"""

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from gpuseg.objects.context import Objects
from gpuseg.objects.table import object_feature

DEGREE = 251  # of the waves on a sphere, int(80 pi); on a circle there are as many rays
NUMBERS = 20  # that a spectrum is condensed to
BATCH = {2: 4096, 3: 16}  # objects at a time: their rays take 2 kB each on a circle, 1 MB on a sphere
PIECE = {2: 256, 3: 16}  # of a batch that a thread takes: products of matrices on a sphere have threads
FAMILY = "Spherical Texture"


@cache
def _rays(ndim: int) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    from gpuseg.backends._numba.rays import rays  # takes a second to import

    if ndim == 2:
        angle = np.linspace(0, 2 * np.pi, DEGREE)  # the first and the last are the same
        return rays(np.stack([np.cos(angle), np.sin(angle), 0 * angle], -1), True)
    height = _latitudes()[0][:, None]
    angle = np.linspace(0, 2 * np.pi, 2 * DEGREE + 1, endpoint=False)
    aside = np.sqrt(1 - height**2)
    parts = np.broadcast_arrays(aside * np.cos(angle), aside * np.sin(angle), height)
    return rays(np.stack(parts, -1).reshape(-1, 3), False)


@cache
def _latitudes() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sines of the latitudes, from the north on, and weights: Gauss' quadrature."""
    height, weight = np.polynomial.legendre.leggauss(DEGREE + 1)
    return height[::-1].astype(np.float64), weight[::-1].astype(np.float64)


@cache
def _legendre() -> list[NDArray[np.float64]]:
    """For each order, functions of all degrees on northern latitudes: mean square 1, times weights."""
    height, weight = (a[: (DEGREE + 1) // 2] for a in _latitudes())
    first, tables = np.ones_like(height), []
    for m in range(DEGREE + 1):
        if m:
            first = first * np.sqrt((2 * m + 1) / (2 * m) * (2 if m == 1 else 1)) * np.sqrt(1 - height**2)
        table = np.zeros((DEGREE + 1 - m, len(height)))
        table[0] = first
        for n in range(m + 1, DEGREE + 1):
            last = table[n - m - 2] if n > m + 1 else 0
            a = np.sqrt((2 * n + 1) * (2 * n - 1) / ((n - m) * (n + m)))
            b = np.sqrt((2 * n + 1) * (n - m - 1) * (n + m - 1) / ((2 * n - 3) * (n - m) * (n + m)))
            table[n - m] = a * height * table[n - m - 1] - b * last
        tables.append(table * weight)
    return tables


@cache
def _borders(size: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Where each of the NUMBERS begins and ends in a spectrum: single waves first, then ever more at once."""
    points, ends = NUMBERS, np.empty(0, int)
    while len(ends) < NUMBERS:
        ends = np.unique(np.logspace(0, np.log2(size - 1), points, base=2).astype(int))
        points += 1
    single = int(np.argmax(ends > np.arange(1, NUMBERS + 1)))
    return np.concatenate([np.arange(single), ends[single - 1 : -1]]), np.append(ends[:single], ends[single:])


def condensed(power: NDArray[np.float64]) -> NDArray[np.float64]:
    """NUMBERS sums over neighbouring waves: (n, waves) -> (n, NUMBERS)."""
    starts, ends = _borders(power.shape[1])
    sums = np.pad(np.cumsum(power, 1), ((0, 0), (1, 0)))
    result: NDArray[np.float64] = sums[:, ends] - sums[:, starts]
    return result


def circular_power(around: NDArray[np.float64]) -> NDArray[np.float64]:
    """Power of waves 0, 1, 2, ... times around a circle; they add up to the mean square."""
    power: NDArray[np.float64] = 2 * np.abs(fft.rfft(around, axis=1) / around.shape[1]) ** 2
    return power


def spherical_power(sphere: NDArray[np.float64]) -> NDArray[np.float64]:
    """Power per degree of spherical harmonics: (n, latitudes, longitudes) -> (n, DEGREE + 1)."""
    waves = np.ascontiguousarray(fft.rfft(sphere, axis=2).T) / (2 * sphere.shape[2])  # (order, latitude, n)
    north, south = waves[:, : (DEGREE + 1) // 2], waves[:, : DEGREE // 2 : -1]
    power = np.zeros((DEGREE + 1, len(sphere)))
    for m, table in enumerate(_legendre()):
        # Functions are the same on both halves, or negated: in turn.
        for turn, halves in enumerate((north[m] + south[m], north[m] - south[m])):
            parts = table[turn::2] @ halves.view(np.float64)  # real and imaginary: half the work of complex
            power[m + turn :: 2] += np.square(parts).reshape(len(parts), len(sphere), 2).sum(2)
    return power.T


def _standard(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean 0 and spread 1 over all rays of an object; 0 where all are equal."""
    mean = values.mean(1, keepdims=True)
    values = values - mean
    spread = values.std(1, keepdims=True)
    varied = spread > 1e-12 * np.abs(mean)  # less is rounding
    result: NDArray[np.float64] = np.divide(values, spread, out=np.zeros_like(values), where=varied)
    return result


def _numbers(around: NDArray[np.float64], ndim: int) -> NDArray[np.float64]:
    """Spectra and directions of objects from means along their rays."""
    around = _standard(around)
    peak = around.argmax(1)
    if ndim == 2:
        direction = (peak / around.shape[1])[:, None]
        power = circular_power(around)
    else:
        size = DEGREE + 1, 2 * DEGREE + 1
        direction = np.stack(np.unravel_index(peak, size), -1) / size
        power = spherical_power(around.reshape(-1, *size))
    return np.concatenate([condensed(power), direction * (2 * np.pi)], 1)


def _channel(o: Objects, values: NDArray[np.float32], out: NDArray[np.float64]) -> None:
    """Spectra and directions of one channel, some objects at a time."""
    from gpuseg.backends._numba.rays import projections

    cells, starts = _rays(o.ndim)
    for first in range(0, o.count, BATCH[o.ndim]):
        which = np.arange(first, min(first + BATCH[o.ndim], o.count))
        around = projections(o.host_labels, values, o.sums("box"), which, cells, starts)
        _condense(around, o.ndim, out[first : first + len(around)])


def _condense(around: NDArray[np.float64], ndim: int, out: NDArray[np.float64]) -> None:
    """`_numbers` of all objects, by all cores."""
    from gpuseg.backends._numba.threads import spread

    piece = PIECE[ndim]

    def work(i: int, _: Any) -> None:
        part = slice(i * piece, (i + 1) * piece)
        out[part] = _numbers(around[part], ndim)

    spread(-(-len(around) // piece), work, lambda: None)


def textures(o: Objects) -> NDArray[np.float64]:
    """(n, channels, NUMBERS and 1 or 2 angles), computed once."""
    if "textures" not in o.cache:
        found = np.empty((o.count, o.channels, NUMBERS + o.ndim - 1))
        for c, values in enumerate(o.host_raw if o.host_raw is not None and o.count else ()):
            _channel(o, values, found[:, c])
        o.cache["textures"] = found
    result: NDArray[np.float64] = o.cache["textures"]
    return result


def _spectrum(o: Objects) -> NDArray[Any]:
    return textures(o)[:, :, :NUMBERS].reshape(o.count, o.channels * NUMBERS)


def _direction(o: Objects) -> NDArray[Any]:
    return textures(o)[:, :, NUMBERS:].reshape(o.count, o.channels * (o.ndim - 1))


@object_feature(
    "Circular Texture",
    group="",
    family=FAMILY,
    ilastik="Circular Spectrum",
    channels="SM",
    ndims=(2,),
    needs=("box",),
    local=True,
)
def circular_texture(o: Objects) -> NDArray[Any]:
    """Power of the waves around a circle, 20 numbers from slow to fast; 0 where nothing varies."""
    return _spectrum(o)


@object_feature(
    "Circular Polarization Direction",
    group="",
    family=FAMILY,
    ilastik="Circular Polarization Direction",
    channels="SM",
    ndims=(2,),
    needs=("box",),
    local=True,
)
def circular_direction(o: Objects) -> NDArray[Any]:
    """Angle of the brightest ray, from x towards y, in radians."""
    return _direction(o)


@object_feature(
    "Spherical Texture",
    group="",
    family=FAMILY,
    ilastik="Spherical Spectrum",
    channels="SM",
    ndims=(3,),
    needs=("box",),
    local=True,
)
def spherical_texture(o: Objects) -> NDArray[Any]:
    """Power of the waves on a sphere, 20 numbers from slow to fast; 0 where nothing varies."""
    return _spectrum(o)


@object_feature(
    "Polarization Direction",
    group="",
    family=FAMILY,
    ilastik="Spherical Polarization Direction",
    channels="SM",
    ndims=(3,),
    needs=("box",),
    local=True,
)
def spherical_direction(o: Objects) -> NDArray[Any]:
    """Latitude from the north pole and longitude of the brightest ray, as parts of their range times 2 pi."""
    return _direction(o)
