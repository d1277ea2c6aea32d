"""Which filters at which sigmas: the table a user ticks in ilastik's feature dialog, as data."""

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from math import ceil, sqrt
from operator import index
from pathlib import Path
from typing import Any, Self

from gpuseg.axes import SPACE
from gpuseg.backends.base import Job
from gpuseg.backends.taps import SMOOTH_WINDOW, radius
from gpuseg.errors import InputError, ModelMismatchError, ShapeError
from gpuseg.features.filters import FILTERS, Filter
from gpuseg.plugins import load

SIGMAS = (0.3, 0.7, 1.0, 1.6, 3.5, 5.0, 10.0)  # the scales ilastik offers
SMALLEST = 0.3
LARGEST = 1e6  # beyond any image; what is below cannot overflow


@dataclass(frozen=True, slots=True)
class Scale:
    """One column of the table."""

    sigma: float
    in_2d: bool  # filter each z slice by itself

    @property
    def presmooth(self) -> float:
        return presmooth(self.sigma)

    @property
    def needs(self) -> int:
        """Least size of a filtered axis (SPEC 1.2)."""
        return ceil(SMOOTH_WINDOW * self.sigma) + 1


def presmooth(sigma: float) -> float:
    """Sigma of the first of the two Gaussians (SPEC 1.3)."""
    return sqrt(sigma * sigma - 1) if sigma > 1 else sigma


def _known(name: str) -> Filter:
    """The row of a filter, perhaps of another package."""
    if name not in FILTERS:
        load("filters")
    if name not in FILTERS:
        raise InputError(f"unknown filter {name!r}", hint=f"one of {', '.join(FILTERS)}")
    return FILTERS[name]


@dataclass(frozen=True, slots=True)
class Selection:
    """The ticked cells, in the order of the stack: filter by filter, scale by scale (SPEC 1.7).

    `channels`: input channels to use, None for all. `spacing`: size of a pixel along z, y, x, in any
    unit; sigmas are in pixels of the finest axis. Both go beyond ilastik.

    >>> Selection.table({"gaussian_smoothing": [1.0], "hessian_of_gaussian_eigenvalues": [1.6]}).names(1, 1)
    ['Gaussian Smoothing (σ=1.0) in 2D',
     'Hessian of Gaussian Eigenvalues (σ=1.6) in 2D [0]',
     'Hessian of Gaussian Eigenvalues (σ=1.6) in 2D [1]']
    """

    scales: tuple[Scale, ...]
    cells: tuple[tuple[str, int], ...]  # (filter id, index of its scale)
    channels: tuple[int, ...] | None = None
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)

    def __post_init__(self) -> None:
        if not self.cells:
            raise InputError("no feature is selected", hint='choose at least one filter and sigma, or "all"')
        for scale in self.scales:
            if not SMALLEST <= scale.sigma <= LARGEST:
                raise InputError(
                    f"sigma {scale.sigma}: sigmas are finite and at least {SMALLEST}, at most {LARGEST:g}"
                )
        if len(set(self.cells)) != len(self.cells):
            raise InputError("a filter is selected twice at the same sigma")
        for name, i in self.cells:
            least = _known(name).smallest
            if not 0 <= i < len(self.scales):
                raise InputError("a feature names a scale that does not exist")
            if self.scales[i].sigma < least:
                raise InputError(
                    f"{FILTERS[name].title} at sigma {self.scales[i].sigma}: its least sigma is {least}"
                )
        if self.channels == ():
            raise InputError("no channel is selected", hint="leave out `channels` to use all")
        if len(self.spacing) != len(SPACE) or not all(1 / LARGEST <= s <= LARGEST for s in self.spacing):
            raise InputError(f"spacing {self.spacing}: three positive numbers are needed, for z, y, x")

    @classmethod
    def table(
        cls, filters: Mapping[str, Sequence[float]], *, in_2d: bool | Sequence[float] = True, **more: Any
    ) -> Self:
        """From `{filter id: sigmas}`; `in_2d` for all scales alike, or the sigmas computed slice by slice."""
        sigmas = sorted({float(s) for row in filters.values() for s in row})
        flat = sigmas if in_2d is True else [] if in_2d is False else [float(s) for s in in_2d]
        stray = next((s for s in flat if s not in sigmas), None)
        if stray is not None:
            raise InputError(f"in_2d names sigma {stray}, which no filter uses", hint=f"used: {sigmas}")
        for name in filters:
            _known(name)
        cells = [
            (f, j)
            for f in FILTERS
            for j, s in enumerate(sigmas)
            if s in [float(v) for v in filters.get(f, ())]
        ]
        return cls(tuple(Scale(s, s in flat) for s in sigmas), tuple(cells), **more)

    @classmethod
    def all(cls, sizes: Mapping[str, int], **more: Any) -> Self:
        """Every cell ilastik offers that fits an image of these axis sizes: 37 on a large one.

        In 2D if the image has one slice, else in 3D (SPEC 1.2). Scales too large for an axis are
        left out, as ilastik asks its users to do. `more`: channels, spacing.
        """
        flat, fitting = sizes["z"] == 1, []
        for sigma in SIGMAS:
            with suppress(ShapeError):
                cls.table({"gaussian_smoothing": [sigma]}, in_2d=flat, **more).check(sizes)
                fitting.append(sigma)
        if not fitting:
            raise ShapeError(
                f"no scale fits an image of {_size_text(sizes)}: "
                f"sigma {SIGMAS[0]} needs {Scale(SIGMAS[0], flat).needs} pixels along every axis"
            )
        rows = {name: [s for s in fitting if s >= f.smallest] for name, f in FILTERS.items() if f.ilastik}
        return cls.table(rows, in_2d=flat, **more)

    @classmethod
    def from_toml(
        cls, path: Path, sizes: Mapping[str, int] | None = None, voxel: Mapping[str, float] | None = None
    ) -> Self:
        """From a file with the sections `[features]` (filter = sigmas) and `[options]`.

        sizes, voxel: of the image to learn from, by axis letter. The file may ask for every feature that
        fits it (no `[features]`), 2D or 3D as it is (no `in_2d`), its voxel size (spacing = "file").
        """
        try:
            data = tomllib.loads(Path(path).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as e:
            raise InputError(f"{path}: {e}", hint="see docs, 'Choosing features'") from e
        try:
            return cls._from_tables(data, sizes, voxel or {})
        except InputError as e:
            raise e.at(str(path)) from e
        except (TypeError, ValueError) as e:
            raise InputError(f"{path}: {e}") from e

    @classmethod
    def _from_tables(
        cls, data: Mapping[str, Any], sizes: Mapping[str, int] | None, voxel: Mapping[str, float]
    ) -> Self:
        options, rows = dict(data.get("options", {})), data.get("features", "all")
        stray = [*(set(data) - {"features", "options"}), *(set(options) - {"in_2d", "channels", "spacing"})]
        if stray or not (isinstance(rows, dict) or (rows == "all" and sizes and "in_2d" not in options)):
            raise InputError(
                f"unknown entry {sorted(stray)[0]!r}" if stray else "no section [features]",
                hint="sections are [features] and [options] (in_2d, channels, spacing)",
            )
        if "channels" in options:
            options["channels"] = tuple(index(c) for c in options["channels"])
        if "spacing" in options:
            options["spacing"] = _spacing(options["spacing"], voxel)
        if rows == "all" and sizes:
            return cls.all(sizes, **options)
        return cls.table(rows, **({"in_2d": sizes["z"] == 1} if sizes else {}) | options)

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values, for the header of a saved model."""
        return {
            "scales": [[s.sigma, s.in_2d] for s in self.scales],
            "cells": [list(c) for c in self.cells],
            "channels": None if self.channels is None else list(self.channels),
            "spacing": list(self.spacing),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Back from `to_dict`; InputError where it cannot be."""
        try:
            scales = tuple(Scale(float(s), bool(flat)) for s, flat in data["scales"])
            cells = tuple((str(f), int(i)) for f, i in data["cells"])
            channels = None if data["channels"] is None else tuple(int(c) for c in data["channels"])
            z, y, x = (float(s) for s in data["spacing"])
        except (KeyError, TypeError, ValueError) as e:
            raise InputError(f"the feature selection is damaged: {e}") from e
        return cls(scales, cells, channels, (z, y, x))

    @property
    def steps(self) -> tuple[float, ...]:
        """Spacing relative to the finest axis."""
        return tuple(s / min(self.spacing) for s in self.spacing)

    def used_channels(self, count: int) -> tuple[int, ...]:
        """Indices of the input channels the features are computed on."""
        used = tuple(range(count)) if self.channels is None else self.channels
        bad = next((c for c in used if not 0 <= c < count), None)
        if bad is not None:
            raise ModelMismatchError(
                f"the features use channel {bad}, the image has {count} channels, numbered from 0"
            )
        return used

    def ndim(self, scale: Scale, depth: int) -> int:
        """2 where a scale is computed slice by slice, or where there is one slice."""
        return 2 if scale.in_2d or depth == 1 else 3

    def check(self, sizes: Mapping[str, int]) -> None:
        """ShapeError naming scale, axis and both sizes if a scale does not fit (SPEC 1.2)."""
        for i in sorted({i for _, i in self.cells}):
            scale = self.scales[i]
            for axis, step in zip(SPACE, self.steps, strict=True):
                if axis == "z" and self.ndim(scale, sizes["z"]) == 2:
                    continue
                needs = Scale(scale.sigma / step, scale.in_2d).needs
                if sizes[axis] < needs:
                    raise ShapeError(
                        f"sigma {scale.sigma} needs {needs} pixels along {axis}, the image has {sizes[axis]}",
                        hint="compute this scale in 2D" if axis == "z" else "leave out this scale",
                    )

    def jobs(self, channels: int, depth: int) -> tuple[Job, ...]:
        """The work for an image of so many channels and z slices, one job per channel and scale."""
        first = self._first_planes(len(self.used_channels(channels)), depth)
        jobs = []
        for k, channel in enumerate(self.used_channels(channels)):
            for i, scale in enumerate(self.scales):
                ndim = self.ndim(scale, depth)
                planes = tuple(
                    (f, first[f, i] + k * FILTERS[f].planes(ndim)) for f, j in self.cells if j == i
                )
                if planes:
                    local = [scale.sigma / step for step in self.steps[-ndim:]]
                    smooth = tuple(presmooth(s) for s in local)
                    sigma = tuple(min(s, 1.0) for s in local)
                    jobs.append(Job(channel, ndim == 2, smooth, sigma, planes))
        return tuple(jobs)

    def count(self, channels: int, depth: int) -> int:
        """Number of planes in the stack."""
        return len(self.names(channels, depth))

    def names(self, channels: int, depth: int) -> list[str]:
        """Names of the planes, as ilastik writes them (SPEC 1.7)."""
        names = []
        for name, n, scale in self._widths(len(self.used_channels(channels)), depth):
            text = f"{FILTERS[name].title} (σ={scale.sigma}){' in 2D' if scale.in_2d else ''}"
            names += [text] if n == 1 else [f"{text} [{k}]" for k in range(n)]
        return names

    def halo(self, depth: int) -> tuple[int, int, int]:
        """Pixels along z, y, x that an output pixel depends on: exactly, no more."""
        reach = [0, 0, 0]
        for job in self.jobs(1 + max(self.channels or (0,)), depth):
            for a, (smooth, sigma) in enumerate(zip(job.smooth, job.sigma, strict=True), 3 - len(job.sigma)):
                filters = max(FILTERS[f].halo(sigma) for f, _ in job.planes)
                reach[a] = max(reach[a], radius(smooth, SMOOTH_WINDOW) + filters)
        return reach[0], reach[1], reach[2]

    def _widths(self, channels: int, depth: int) -> Iterator[tuple[str, int, Scale]]:
        for name, i in self.cells:
            ndim = self.ndim(self.scales[i], depth)
            yield name, channels * FILTERS[name].planes(ndim), self.scales[i]

    def _first_planes(self, channels: int, depth: int) -> dict[tuple[str, int], int]:
        first, start = {}, 0
        for cell, (_, n, _) in zip(self.cells, self._widths(channels, depth), strict=True):
            first[cell] = start
            start += n
        return first


def _spacing(said: Any, voxel: Mapping[str, float]) -> tuple[float, ...]:
    """Three numbers, or those of the image; an axis it says nothing of counts as its finest."""
    if said != "file":
        return tuple(float(s) for s in said)
    known = [voxel[a] for a in SPACE if a in voxel]
    if not known:
        raise InputError(
            'spacing = "file": the image says nothing of its pixel size',
            hint="write the size of a pixel along z, y, x, for example spacing = [2.5, 1, 1]",
        )
    return tuple(voxel.get(a, min(known)) for a in SPACE)


def _size_text(sizes: Mapping[str, int]) -> str:
    return " x ".join(f"{sizes[a]} ({a})" for a in SPACE if sizes[a] > 1 or a != "z")
