"""The filter bank on the device: all scales of all channels, smoothed together, filtered together."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gpuseg.backends._cuda import deep, flat
from gpuseg.backends._cuda.smoothing import Kernel, across, along
from gpuseg.backends._kernels import Kernels
from gpuseg.backends.plan import TAPS, Step
from gpuseg.tiles import Region, grown

REACH = 3  # pixels around one that filters see in a pre-smoothed plane


@dataclass(frozen=True, slots=True)
class Steps:
    """Steps that run together: what kernels are given of them, on the device."""

    channels: Any  # int32 (steps,)
    own: Any  # int32 (steps,): 0, 1, ...: the array of each step where every one has its own
    smooth: tuple[Kernel, ...]  # along y, x or z, y, x
    taps: Any  # float32 (steps, 3, TAPS)
    planes: Any  # int32 (steps, 6)
    tables: deep.Tables | None  # of 3D steps

    @classmethod
    def of(cls, xp: Any, steps: Sequence[Step]) -> "Steps":
        taps = np.zeros((len(steps), 3, TAPS), np.float32)
        for i, step in enumerate(steps):
            taps[i, 3 - len(step.taps) :] = step.taps
        axes = range(len(steps[0].smooth))
        return cls(
            xp.asarray(np.array([s.channel for s in steps], np.int32)),
            xp.asarray(np.arange(len(steps), dtype=np.int32)),
            tuple(Kernel.of(xp, [s.smooth[a] for s in steps]) for a in axes),
            xp.asarray(taps),
            xp.asarray(np.stack([s.planes for s in steps]).astype(np.int32)),
            None if steps[0].flat else deep.Tables.of(xp, steps),
        )


@dataclass(frozen=True, slots=True)
class Bank:
    """All steps of a feature stack, those of a kind together."""

    xp: Any
    steps: tuple[Step, ...]
    slices: Steps | None  # filtered slice by slice
    volumes: Steps | None

    @classmethod
    def of(cls, xp: Any, steps: Sequence[Step]) -> "Bank":
        kinds = [[s for s in steps if s.flat is flat] for flat in (True, False)]
        return cls(xp, tuple(steps), *(Steps.of(xp, kind) if kind else None for kind in kinds))

    @property
    def flat_only(self) -> bool:
        return self.volumes is None

    def store(self, kernels: Kernels, image: Any, core: Region, out: Any, scratch: int) -> None:
        """Fill `out` (features, z, y, x) with the planes of `core`, using some `scratch` bytes at a time."""
        box = reach(core, image.shape[1:])
        pixels = int(np.prod([s.stop - s.start for s in box]))
        for some in self._groups(scratch // (12 * pixels)):
            if some.slices is not None:
                flat.filters(kernels, some.smooth_flat(kernels, image, core), core, out)
            else:
                some._store_deep(kernels, image, core, box, out)

    def _groups(self, most: int) -> Iterator["Bank"]:
        """This bank in parts of at most so many steps, each of one kind."""
        most = max(1, most)
        for kind, all_of_them in ((True, self.slices), (False, self.volumes)):
            steps = [s for s in self.steps if s.flat is kind]
            if all_of_them is not None and len(steps) <= most:
                yield Bank(self.xp, tuple(steps), *((all_of_them, None) if kind else (None, all_of_them)))
            else:
                yield from (Bank.of(self.xp, steps[i : i + most]) for i in range(0, len(steps), most))

    def smooth_flat(self, kernels: Kernels, image: Any, core: Region) -> flat.Smooth:
        """Slices of `core`, smoothed, with REACH pixels around them where the image has them."""
        assert self.slices is not None
        (_, depth, height, width), (z, y, x) = image.shape, reach(core, image.shape[1:])
        z = core[0]
        slices, plane = z.stop - z.start, height * width
        given = image.reshape(-1)[z.start * plane :]
        sizes = (slices, height, width)
        rows = across(
            self.xp, kernels, given, self.slices.channels, depth * plane, self.slices.smooth[0], sizes, y
        )
        count = slices * (y.stop - y.start)
        values = along(
            self.xp, kernels, rows, self.slices.own, count * width, self.slices.smooth[1], (count, width), x
        )
        box = (height, width, y.start, x.start, y.stop - y.start, x.stop - x.start)
        return flat.Smooth(
            values.reshape(len(self.slices.own), slices, y.stop - y.start, x.stop - x.start),
            self.xp.asarray(np.array(box, np.int32)),
            self.slices.taps,
            self.slices.planes,
        )

    def _store_deep(self, kernels: Kernels, image: Any, core: Region, box: Region, out: Any) -> None:
        assert self.volumes is not None
        xp, own, (_, depth, height, width), (z, y, x) = self.xp, self.volumes.own, image.shape, box
        slices, rows = z.stop - z.start, y.stop - y.start
        volume, along_z, along_y, along_x = depth * height * width, *self.volumes.smooth
        smooth = across(
            xp, kernels, image, self.volumes.channels, volume, along_z, (1, depth, height * width), z
        )
        part = slices * height * width
        smooth = across(xp, kernels, smooth, own, part, along_y, (slices, height, width), y)
        part = slices * rows * width
        smooth = along(xp, kernels, smooth, own, part, along_x, (slices * rows, width), x)
        smooth = smooth.reshape(len(own), slices, rows, x.stop - x.start)
        corner, shape = [s.start for s in box], (depth, height, width)
        assert self.volumes.tables is not None
        deep.filters(kernels, smooth, self.volumes.tables, corner, shape, core, out)


def reach(core: Region, shape: Sequence[int]) -> Region:
    """`core` and REACH pixels around it, as far as there are any."""
    return grown(core, [REACH] * len(core), shape)
