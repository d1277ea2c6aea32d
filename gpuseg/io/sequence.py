"""Sequences: an image as one file for each index of its first axis, all of them or none.

`gpuseg.io.partial` says how, and what a kill between two renames leaves.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from gpuseg.axes import check
from gpuseg.errors import ShapeError
from gpuseg.io.base import Format, ImageWriter, Output
from gpuseg.io.faults import writing
from gpuseg.io.partial import Watched, check_target, partial_path, remove, replace_all, written
from gpuseg.io.spool import Spool, forget
from gpuseg.tiles import tile_size, tiles

PIXELS = 1 << 22  # that pass from the scratch file to a slice at once


def slice_output(path: Path | str, output: Output) -> Output:
    """What one file of a sequence holds: all but the first axis; ShapeError if that is y or x."""
    try:
        check(output.axes, output.shape)
    except ShapeError as error:
        raise error.at(str(path)) from None
    if output.axes[0] in "yx":
        raise ShapeError(
            f"{path}: a sequence has a file for each index of the first axis, and axes {output.axes!r}"
            f" begin with {output.axes[0]}",
            hint="put t, z or c first, or choose a format without 'sequence'",
        )
    return replace(output, shape=output.shape[1:], axes=output.axes[1:])


@contextmanager
def create_sequence(row: Format, files: Sequence[Path], output: Output) -> Iterator[ImageWriter]:
    """A writer of `output`, of which each file takes one slice; they appear on clean exit, else none does."""
    first, one = files[0], slice_output(files[0], output)
    partials = {file: partial_path(file) for file in files}
    with writing(first, output.nbytes):
        for file in files:
            check_target(row, file, one)
        first.parent.mkdir(parents=True, exist_ok=True)
        spool = Spool(first, output, output.axes)
    writer = Watched(first, spool, output)
    try:
        yield writer
        writer.finish()
        for index, (file, partial) in enumerate(partials.items()):
            with written(row, file, partial, "", one) as each:
                _copy(spool, index, each, one)
        with writing(first, output.nbytes):
            replace_all(partials)
    except BaseException:
        for partial in partials.values():
            remove(partial)
        raise
    finally:
        writer.abandon()


def _copy(spool: Spool, index: int, writer: ImageWriter, one: Output) -> None:
    none = [0] * len(one.shape)
    for tile in tiles(one.shape, tile_size(one.shape, none, PIXELS), none):
        writer.write(tile.core, np.array(spool.pixels[(index, *tile.core)], one.dtype))
        forget(spool.map)
