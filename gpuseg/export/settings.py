"""ilastik's export settings: what of a result is written, as what, and where to (SPEC 8)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from gpuseg.axes import LETTERS, Voxel
from gpuseg.errors import InputError, ShapeError
from gpuseg.export.cutout import Cutout, cutout_of, region_of
from gpuseg.export.files import check_name
from gpuseg.export.names import DEFAULT_NAME, DEFAULT_SEQUENCE, check_template, output_path, region_texts
from gpuseg.export.results import RESULTS
from gpuseg.export.target import Target
from gpuseg.export.values import DTYPES, INTEGERS, Renormalise
from gpuseg.io import Output, check_form, find_form, image_format, with_suffix

KEPT = {"HDF5": LETTERS} | dict.fromkeys(("TIFF", "PNG", "JPEG", "BMP", "GIF"), "")  # axes of size 1


@dataclass(frozen=True, slots=True)
class Made:
    """A result as it is computed, before any setting."""

    result: str  # key of RESULTS
    dtype: np.dtype[Any]
    channels: int = 1
    channel_names: tuple[str, ...] = ()
    colors: tuple[tuple[int, int, int], ...] = ()  # of the label values 1, 2, ...
    drange: tuple[float, float] | None = None
    provenance: str = ""


@dataclass(frozen=True, slots=True)
class ExportSettings:
    """What is asked of every result alike: to be cut out, renormalised, cast and reordered, in this order."""

    template: str = DEFAULT_NAME
    form: str | None = None  # a name in gpuseg.io.FORMS, None: by the suffix
    cutout: Cutout = ()
    renormalise: Renormalise | None = None
    dtype: str | None = None
    axis_order: str | None = None

    @classmethod
    def of(
        cls,
        *,
        output: str = DEFAULT_NAME,
        format: str | None = None,
        cutout: Any = None,
        renormalise: Any = None,
        dtype: str | None = None,
        axis_order: str | None = None,
    ) -> Self:
        """Checked, from what users give; InputError."""
        is_sequence = format is not None and find_form(format).sequence
        if is_sequence and output == DEFAULT_NAME:
            output = DEFAULT_SEQUENCE
        check_template(output, sequence=is_sequence)
        image_format(with_suffix(output, format))
        return cls(
            template=output,
            form=format,
            cutout=cutout_of(cutout),
            renormalise=None if renormalise is None else renormalise_of(renormalise),
            dtype=None if dtype is None else check_dtype(dtype),
            axis_order=None if axis_order is None else axis_order_of(axis_order),
        )

    def target(
        self, image_path: str, axes: str, sizes: Mapping[str, int], voxel: Voxel, made: Made
    ) -> Target:
        """Where a result of an image goes, and as what; InputError if it cannot.

        axes, sizes: of the source, by letter; its channels give way to those of the result.
        """
        full = axes if "c" in axes else axes + "c"
        n = dict.fromkeys(LETTERS, 1) | dict(sizes) | {"c": made.channels}
        try:
            region, outside = region_of(self.cutout, full, n)
            left = {a: s.stop - s.start for a, s in region.items()}
            texts = region_texts(full, region)
            path = with_suffix(output_path(self.template, image_path, made.result, texts), self.form)
            row = image_format(path) if self.form is None else find_form(self.form).format
            order = self.axis_order or output_axes(axes, left, row.name)
            _check_kept(order, left, made.result)
        except ShapeError as error:
            raise error.at(image_path) from None
        is_labels = RESULTS[made.result].kind == "labels" and self.renormalise is None
        output = Output(
            shape=tuple(left[a] for a in order),
            dtype=np.dtype(self.dtype) if self.dtype else _natural(made, row.limits.dtypes),
            axes=order,
            voxel=voxel,
            kind="labels" if is_labels else "image",
            channel_names=made.channel_names[region["c"]],
            colors=made.colors if is_labels else (),
            drange=self._drange(made),
            provenance=made.provenance,
        )
        target = Target(made.result, path, output, region, self.form, self.renormalise, outside)
        check_name(target.files[-1])
        check_form(self.form, path, output)
        return target

    def _drange(self, made: Made) -> tuple[float, float] | None:
        """What values may be in the file."""
        if self.renormalise is not None:
            low, high = sorted(self.renormalise[2:])
            return low, high
        if RESULTS[made.result].unit and self.dtype in INTEGERS:
            return 0, np.iinfo(self.dtype).max
        return made.drange


def output_axes(axes: str, sizes: Mapping[str, int], format_name: str) -> str:
    """Axes of an output: those of the input, c last if it had none (sizes: of the output).

    HDF5 keeps axes of size 1 as ilastik does; pictures and TIFF drop them all, other formats only c.
    """
    keep = KEPT.get(format_name, "tz")
    full = axes if "c" in axes else axes + "c"
    return "".join(a for a in full if a in "yx" or a in keep or sizes[a] > 1)


def _natural(made: Made, held: Sequence[str]) -> np.dtype[Any]:
    """The type of a result; of labels the widest that the format holds, where it does not hold theirs."""
    unsigned = [np.dtype(name) for name in held if name.startswith("uint")]
    if RESULTS[made.result].kind == "labels" and unsigned and made.dtype not in unsigned:
        return max(unsigned, key=lambda dtype: dtype.itemsize)
    return made.dtype


def _check_kept(order: str, sizes: Mapping[str, int], result: str) -> None:
    """ShapeError where an axis is to be dropped that has more than one place."""
    for axis, size in sizes.items():
        if axis not in order and size > 1:
            raise ShapeError(
                f"axis order {order!r} has no {axis}, of which {result} have {size}",
                hint=f"add {axis}, or take one of it with the cutout {axis}:0:1",
            )


def check_dtype(name: str) -> str:
    """`name`, if images can be stored so; else an InputError."""
    if name not in DTYPES:
        raise InputError(f"unknown type {name!r}", hint=f"one of {', '.join(DTYPES)}")
    return name


def axis_order_of(order: str) -> str:
    """`order`, if an image can have it; else an InputError."""
    if set(order) - set(LETTERS) or len(set(order)) < len(order) or not set("yx") <= set(order):
        raise InputError(f"axis order {order!r}: each of {LETTERS} at most once is needed, y and x always")
    return order


def renormalise_of(given: Any) -> Renormalise:
    """Four numbers from text like `0,1,0,255` or a sequence; InputError."""
    parts = given.split(",") if isinstance(given, str) else given
    try:
        in_min, in_max, out_min, out_max = (float(p) for p in parts)
    except (TypeError, ValueError):
        raise InputError(
            f"renormalise {given!r}: four numbers are needed, IN_MIN,IN_MAX,OUT_MIN,OUT_MAX",
            hint="0,1,0,255 brings 0 to 1 to 0 to 255",
        ) from None
    if not (-np.inf < in_min < in_max < np.inf and np.isfinite((out_min, out_max)).all()):
        raise InputError(f"renormalise {given!r}: IN_MAX must be above IN_MIN, and all four finite")
    return in_min, in_max, out_min, out_max
