"""What a format can hold, said with both sides and with what to choose instead."""

from collections.abc import Sequence
from pathlib import Path

from gpuseg.axes import sizes
from gpuseg.errors import InputError, ShapeError
from gpuseg.io.base import Format, Output
from gpuseg.io.faults import size


def check_limits(row: Format, path: Path | str, output: Output) -> None:
    """ShapeError or InputError if one file of the format cannot hold this image."""
    limits, name, n = row.limits, row.limits.name or row.name, sizes(output.axes, output.shape)
    if limits.flat and (deep := {a: n[a] for a in output.axes if a in "tz" and n[a] > 1}):
        raise ShapeError(f"{path}: {name} is two-dimensional, the image has {deep}", hint=limits.instead)
    if limits.side and max(n["y"], n["x"]) > limits.side:
        raise ShapeError(
            f"{path}: {name} holds up to {limits.side} pixels along y and x,"
            f" the image has {n['y']} and {n['x']}",
            hint=limits.instead,
        )
    if limits.nbytes and output.nbytes > limits.nbytes:
        raise ShapeError(
            f"{path}: {name} holds up to {size(limits.nbytes)}, the image has {size(output.nbytes)}",
            hint=limits.instead,
        )
    wrong = limits.channels and n["c"] not in limits.channels
    if wrong or (limits.dtypes and output.dtype.name not in limits.dtypes):
        holds, has = _listed(limits.dtypes), output.dtype.name
        if limits.channels:
            holds += f" with {_listed(limits.channels)} channel{'s' * (limits.channels != (1,))}"
            has += f" with {n['c']}"
        raise InputError(f"{path}: {name} holds {holds}; the image is {has}", hint=limits.instead)
    if not limits.exact and output.kind == "labels":
        raise InputError(
            f"{path}: {name} changes pixel values a little, so that labels would become other labels",
            hint=limits.instead,
        )


def _listed(words: Sequence[object]) -> str:
    """`1, 2 or 3`."""
    *most, last = map(str, words)
    return f"{', '.join(most)} or {last}" if most else last
