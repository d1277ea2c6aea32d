"""One result of one image: the file it goes to, and what happens to values on their way there."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuseg.axes import SPACE, reorder
from gpuseg.errors import InputError
from gpuseg.export.results import RESULTS
from gpuseg.export.values import INTEGERS, Cast, Renormalise
from gpuseg.io import ImageWriter, Output, create_image, find_form, image_format, locate, output_paths
from gpuseg.tiles import Region

log = logging.getLogger(__name__)
COLORED = ("segmentation", "object predictions")  # values of 1, 2, ... look black on a screen


@dataclass(frozen=True, slots=True, eq=False)
class Target:
    """One file, or one sequence of files, to be written; all is known before anything is computed."""

    result: str  # key of RESULTS
    path: str
    output: Output
    region: Mapping[str, slice]  # of the source, by axis, that is written
    form: str | None = None
    renormalise: Renormalise | None = None
    outside: str = ""  # what of the cutout lies outside of the image
    palette: NDArray[np.uint8] | None = None  # colours of values, where those are written instead

    @property
    def files(self) -> tuple[str, ...]:
        """Every path that will appear."""
        return tuple(output_paths(self.path, self.output, self.form))

    @property
    def nbytes(self) -> int:
        return self.output.nbytes

    @property
    def scaled(self) -> np.dtype[Any] | None:
        """Integers that results of 0..1 are stretched over, where they are."""
        small = self.output.dtype.name in INTEGERS and self.renormalise is None
        return self.output.dtype if small and RESULTS[self.result].unit else None

    def described(self) -> str:
        """`probabilities, 512 x 512 x 2 yxc, float32`."""
        title, output = RESULTS[self.result].title.lower(), self.output
        return f"{title}, {' x '.join(map(str, output.shape))} {output.axes}, {output.dtype}"

    @contextmanager
    def open(self) -> "Iterator[Sink]":
        """Where values go; the file appears whole on exit or not at all."""
        if self.outside:
            log.warning("%s: the cutout goes beyond the image: %s", self.path, self.outside)
        with create_image(self.path, self.output, self.form) as writer:
            sink = Sink(self, writer)
            yield sink
        sink.tell()

    def colored(self) -> "Target":
        """The coloured twin of label values, which alone look black on a screen."""
        file = locate(self.path)[0]
        path = str(file.with_name(f"{file.stem}_colors{file.suffix}"))
        palette = np.array([(0, 0, 0), *self.output.colors], np.uint8)
        axes = self.output.axes.replace("c", "") + "c"
        n = dict(zip(self.output.axes, self.output.shape, strict=True)) | {"c": 3}
        output = Output(
            tuple(n[a] for a in axes),
            palette.dtype,
            axes,
            self.output.voxel,
            provenance=self.output.provenance,
        )
        return replace(self, path=path, output=output, palette=palette, outside="")

    @property
    def has_twin(self) -> bool:
        """Whether a coloured twin is written beside it: that of classes as pictures."""
        if image_format(self.path).name != "PNG" or self.result not in COLORED:
            return False
        sliced = self.form is not None and find_form(self.form).sequence and self.output.axes[0] == "c"
        return self.output.kind == "labels" and not sliced  # slices along colours are no pictures


class Sink:
    """An open target that takes values as they are computed, in any order of regions."""

    def __init__(self, target: Target, writer: ImageWriter) -> None:
        self.target, self._writer = target, writer
        is_labels = target.output.kind == "labels" and target.renormalise is None
        self._cast = Cast(
            target.output.dtype,
            renormalise=target.renormalise,
            labels=is_labels,
            scaled=target.scaled is not None,
        )

    @property
    def result(self) -> str:
        return self.target.result

    @property
    def scaled(self) -> np.dtype[Any] | None:
        return self.target.scaled

    def wants(self, t: int) -> bool:
        """Whether anything of a time point is written."""
        time = self.target.region["t"]
        return bool(time.start <= t < time.stop)

    @property
    def space(self) -> Region:
        """What is written of a time point: slices along z, y, x of the source."""
        return tuple(self.target.region[a] for a in SPACE)

    def put(self, t: int, region: Region, values: NDArray[Any]) -> None:
        """Values (z, y, x, n) of a time point and region (z, y, x of the source): cut out, changed, written.

        What lies outside of the cutout is ignored.
        """
        part = common(region, self.space)
        if part is None or not self.wants(t):
            return
        known = {"t": slice(t, t + 1)} | dict(zip(SPACE, part, strict=True))
        cut = self.target.region
        inside = tuple(slice(p.start - r.start, p.stop - r.start) for p, r in zip(part, region, strict=True))
        made = self._changed(values[(*inside, cut["c"])])
        axes = self.target.output.axes
        where = {a: slice(s.start - cut[a].start, s.stop - cut[a].start) for a, s in known.items()}
        where["c"] = slice(0, made.shape[-1])
        self._writer.write(tuple(where[a] for a in axes), reorder(made[None], "tzyxc", axes))

    def tell(self) -> None:
        """Warn of values that could not be kept."""
        self._cast.tell(self.target.path)

    def _changed(self, values: NDArray[Any]) -> NDArray[Any]:
        if (palette := self.target.palette) is not None:
            colors: NDArray[Any] = palette[np.minimum(values[..., 0], len(palette) - 1)]
            return colors
        try:
            return self._cast(values)
        except InputError as error:
            raise error.at(self.target.path) from None


def common(one: Region, other: Region) -> Region | None:
    """What two regions have in common, None if nothing."""
    both = [(max(a.start, b.start), min(a.stop, b.stop)) for a, b in zip(one, other, strict=True)]
    return tuple(slice(*ends) for ends in both) if all(start < stop for start, stop in both) else None
