"""Values as they are stored: renormalised and cast, and what was lost by that."""

import logging
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuseg.errors import InputError

log = logging.getLogger(__name__)
Renormalise = tuple[float, float, float, float]  # in_min, in_max, out_min, out_max
DTYPES = (  # that images are stored as (SPEC 8.3)
    *("uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64"),
    *("float32", "float64"),
)
INTEGERS = ("uint8", "uint16")  # what results in 0..1 are scaled to without being asked
MANTISSA = {"float32": 2**24, "float64": 2**53}  # no whole number up to this is rounded


class Cast:
    """Turns values of one result into those of its file, tile by tile, and counts what does not survive."""

    def __init__(
        self, dtype: np.dtype[Any], *, renormalise: Renormalise | None, labels: bool, scaled: bool
    ) -> None:
        """labels: a value that does not fit is an error; scaled: floats of 0..1 fill the range of `dtype`."""
        self._dtype, self._renormalise, self._labels, self._scaled = dtype, renormalise, labels, scaled
        self._clipped = self._cut = 0

    def __call__(self, values: NDArray[Any]) -> NDArray[Any]:
        if self._renormalise is not None:
            scaled = renormalised(values, self._renormalise)
            return scaled.astype(self._dtype) if self._dtype.kind == "f" else self._fitted(np.rint(scaled))
        if values.dtype == self._dtype:
            return values
        if self._labels:
            self._check_labels(values)
        elif self._scaled and values.dtype.kind == "f":
            return np.rint(np.float32(np.iinfo(self._dtype).max) * values).astype(self._dtype)
        elif not np.can_cast(values.dtype, self._dtype) and self._dtype.kind != "f":
            return self._fitted(self._whole(values))
        return values.astype(self._dtype)

    def tell(self, path: str) -> None:
        """Warn of what was lost, once."""
        if self._cut:
            log.warning(
                "%s: %d values lost their fraction, as %s has none; renormalise scales and rounds",
                *(path, self._cut, self._dtype),
            )
        if self._clipped:
            limits = np.iinfo(self._dtype)
            log.warning(
                "%s: %d values beyond %d to %d, the range of %s, were set to the nearest in it",
                *(path, self._clipped, limits.min, limits.max, self._dtype),
            )

    def _whole(self, values: NDArray[Any]) -> NDArray[Any]:
        if values.dtype.kind != "f":
            return values
        whole: NDArray[Any] = np.trunc(values)
        self._cut += int(np.count_nonzero(whole != values))
        return whole

    def _fitted(self, whole: NDArray[Any]) -> NDArray[Any]:
        """Whole numbers cast, what lies beyond the type set to its end, and NaN to 0: a cast would wrap."""
        limits = np.iinfo(self._dtype)
        # As a float the last value of 32 and 64 bits is rounded up: one more is exact in every type.
        is_float = whole.dtype.kind == "f"
        above = whole >= float(limits.max) + 1 if is_float else whole > limits.max
        below = whole < limits.min
        nan = np.isnan(whole)
        with np.errstate(invalid="ignore"):
            made: NDArray[Any] = whole.astype(self._dtype)
        if lost := int(sum(np.count_nonzero(where) for where in (above, below, nan))):
            self._clipped += lost
            made[above], made[below], made[nan] = limits.max, limits.min, 0
        return made

    def _check_labels(self, values: NDArray[Any]) -> None:
        """InputError where two labels would become one."""
        most = MANTISSA.get(self._dtype.name) or np.iinfo(self._dtype).max
        if (largest := int(values.max(initial=0))) > most:
            raise InputError(
                f"label {largest} is among the results, {self._dtype} holds no label above {most}",
                hint="choose a wider type with dtype (--dtype), or write .tif, .h5 or .zarr",
            )


def renormalised(values: NDArray[Any], numbers: Renormalise) -> NDArray[np.float32]:
    """`in_min` to `in_max` brought to `out_min` to `out_max`, in float32 as ilastik does (SPEC 8.2)."""
    in_min, in_max, out_min, out_max = (np.float32(n) for n in numbers)
    made = values.astype(np.float32) - in_min
    made *= out_max - out_min
    made /= in_max - in_min
    made += out_min
    return made
