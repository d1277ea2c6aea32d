"""Labels that are kept until the table is written, for the pictures of its objects."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuseg.api.objects import Asked, Files, Opened
from gpuseg.errors import Cancelled, InputError
from gpuseg.objects.scratch import Scratch, ScratchFile
from gpuseg.objects.settings import whole as check_whole
from gpuseg.run.objects import AT_ONCE, Frame
from gpuseg.tables import Cutouts, CutoutSource
from gpuseg.tiles import Region, pieces


def check_pictures(
    table: str | Path | None, raw: Sequence[str | None], pictures: bool, margin: int, whole: bool
) -> None:
    """Refuse pictures of objects that could not be written, before anything is measured."""
    if pictures and table is None:
        raise InputError("pictures of objects are kept in an HDF5 table", hint="name one: objects.h5")
    if not pictures and (margin or whole):
        raise InputError("pictures of objects are described and not asked for", hint="ask for pictures too")
    check_whole("picture_margin", margin)
    if whole and None in raw:
        raise InputError("the whole image needs a raw image", hint="give it, or do without whole_image")


def check_stop(cancel: Event | None, what: str) -> None:
    """Cancelled, if somebody asked for it: what is written after all images were measured is not."""
    if cancel is not None and cancel.is_set():
        raise Cancelled(f"{what}: stopped before it was written; the images are done")


@dataclass(slots=True)
class Kept:
    """Labels of all images, in one temporary file. margin, whole: as for `Cutouts`."""

    asked: Asked
    margin: int = 0
    whole: bool = False
    cancel: Event | None = None
    _labels: dict[str, tuple[Files, Scratch]] = field(default_factory=dict)
    _file: ScratchFile = field(default_factory=ScratchFile)

    def add(self, opened: Opened, frame: Frame) -> None:
        """A time point of an image."""
        files, n = opened.files, opened.objects.sizes
        if files.name not in self._labels:
            shape = (n["t"], n["z"], n["y"], n["x"])
            what = "labels of the pictures in the table"
            self._labels[files.name] = files, Scratch(shape, np.int32, what, self._file)
        kept = self._labels[files.name][1]
        for region in pieces(tuple(slice(0, size) for size in frame.labels.shape), AT_ONCE):
            kept[(frame.t, *region)] = frame.labels.read(region)

    def drop(self, name: str) -> None:
        """Without an image that failed."""
        self._labels.pop(name, None)

    def cutouts(self, names: Sequence[str]) -> Cutouts:
        """What the pictures of these images' objects are cut from; one image after the other is open."""
        check = partial(check_stop, self.cancel, "table")
        return Cutouts(self._sources(names), self.margin, self.whole, check)

    def _sources(self, names: Sequence[str]) -> Iterator[CutoutSource]:
        for files, labels in (self._labels[name] for name in names):
            with ExitStack() as stack:
                opened = self.asked.open(files, stack)
                n, image = opened.objects.sizes, opened.first
                raw = None if opened.under is None else opened.under.read
                shape = n["z"], n["y"], n["x"]
                read = partial(_read, labels)
                yield CutoutSource(files.name, read, raw, shape, image.axes, n["t"], image.voxel)


def _read(labels: Scratch, t: int, region: Region) -> NDArray[Any]:
    return labels[(t, *region)]
