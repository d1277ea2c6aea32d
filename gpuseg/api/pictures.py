"""Labels that are kept until the table is written, for the pictures of its objects."""

from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gpuseg.api.objects import Asked, Files, Opened
from gpuseg.objects.scratch import Scratch
from gpuseg.run.objects import Frame
from gpuseg.tables import Cutouts, CutoutSource


@dataclass(slots=True)
class Kept:
    """Labels of all images, in temporary files. margin, whole: as for `Cutouts`."""

    asked: Asked
    margin: int = 0
    whole: bool = False
    _labels: dict[str, tuple[Files, Scratch]] = field(default_factory=dict)

    def add(self, opened: Opened, frame: Frame) -> None:
        """A time point of an image."""
        files, n = opened.files, opened.objects.sizes
        if files.name not in self._labels:
            shape = (n["t"], n["z"], n["y"], n["x"])
            self._labels[files.name] = files, Scratch(shape, np.int32, "labels of the pictures in the table")
        everything = tuple(slice(0, size) for size in frame.labels.shape)
        self._labels[files.name][1][frame.t] = frame.labels.read(everything)

    def cutouts(self, stack: ExitStack) -> Cutouts:
        """What the table's pictures are cut from, until the stack ends."""
        sources = [self._source(files, labels, stack) for files, labels in self._labels.values()]
        return Cutouts(sources, margin=self.margin, whole=self.whole)

    def _source(self, files: Files, labels: Scratch, stack: ExitStack) -> CutoutSource:
        opened = self.asked.open(files, stack)
        n, image = opened.objects.sizes, opened.first

        def read(t: int, region: Any) -> Any:
            return labels[(t, *region)]

        raw = None if opened.under is None else opened.under.read
        shape = n["z"], n["y"], n["x"]
        return CutoutSource(files.name, read, raw, shape, image.axes, n["t"], image.voxel)
