"""Write protocol of every format: whole under the final name, or not there at all.

`NAME.partial-<id>` in the same folder, write, flush, fsync, open again and compare, then rename.
A kill leaves at most `*.partial-*`; no reader and no later run takes that for a result.

Of a sequence all slices are written and compared first, then renamed one after another. A kill between two
renames leaves the new slices under the first names, and under the others what was there before, if
anything: each file is whole, but they may stem from two runs. A rename that fails takes back those before it.
"""

import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from errno import EBUSY, EEXIST, ENOTEMPTY
from math import prod
from pathlib import Path
from typing import IO, Any
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from gpuseg.axes import check, reorder, sizes
from gpuseg.errors import FileError, GpusegError, InputError, ResourceError, ShapeError
from gpuseg.io.base import Format, ImageReader, ImageWriter, Output
from gpuseg.io.faults import reading, writing
from gpuseg.io.limits import check_limits
from gpuseg.io.places import LONGEST, check_folder
from gpuseg.tiles import Region

SAMPLES = 16  # patches kept while writing and compared after reopening
PATCH = 64  # pixels along the last axis of a patch
ATTEMPTS = 20  # at putting a folder in its place, or removing it
PAUSE = 0.1  # seconds between those


@contextmanager
def create_with(row: Format, file: Path, inside: str, output: Output) -> Iterator[ImageWriter]:
    """A writer of `output` to `file`; commits on clean exit, else removes what was begun."""
    with writing(file, output.nbytes):
        check_target(row, file, output)
    partial = partial_path(file)
    try:
        with written(row, file, partial, inside, output) as writer:
            yield writer
        with writing(file, output.nbytes):
            _replace(partial, file)
            _sync_folder(file.parent)
    except BaseException:
        remove(partial)
        raise


@contextmanager
def written(row: Format, file: Path, partial: Path, inside: str, output: Output) -> Iterator[ImageWriter]:
    """A writer to `partial`, which on clean exit is on the disk and was compared; it may stay on errors."""
    with writing(file, output.nbytes):
        file.parent.mkdir(parents=True, exist_ok=True)
        if row.carry is not None and file.exists():
            row.carry(file, partial, inside)
        writer = Watched(file, _begun(row, file, partial, inside, output), output)
    try:
        yield writer
        writer.finish()
    except BaseException:
        writer.abandon()
        if writer.broken:
            remove(partial)
            time.sleep(PAUSE)  # zarr's threads may be writing other chunks yet, and make the folder again
        raise
    with writing(file, output.nbytes):
        _sync(partial)
        _verify(row, file, partial, inside, writer)


def _begun(row: Format, file: Path, partial: Path, inside: str, output: Output) -> ImageWriter:
    """The writer of the format; what it refuses is told of the file that was asked for."""
    assert row.create is not None
    try:
        return row.create(partial, inside, output)
    except GpusegError as e:
        raise type(e)(e.problem.replace(partial.name, file.name), hint=e.hint) from e


def partial_path(file: Path) -> Path:
    """`NAME.partial-<id>` beside `file`, cut where the name would grow too long for a folder entry."""
    tail = os.fsencode(f".partial-{uuid4().hex[:12]}")
    return file.with_name(os.fsdecode(os.fsencode(file.name)[: LONGEST - len(tail)] + tail))


class Watched:
    """Passes writes on; counts pixels and keeps small samples to compare with what is on disk."""

    def __init__(self, file: Path, writer: ImageWriter, output: Output) -> None:
        self.file, self.writer, self.output = file, writer, output
        self.pixels = 0
        self.broken = False  # whether the last write did not end
        self.samples: list[tuple[Region, NDArray[Any]]] = []

    def write(self, region: Region, values: NDArray[Any]) -> None:
        bounds = [s.indices(n)[:2] for s, n in zip(region, self.output.shape, strict=True)]
        full = tuple(slice(*b) for b in bounds)
        shape = tuple(stop - start for start, stop in bounds)
        if values.shape != shape or values.dtype != self.output.dtype:
            raise ShapeError(
                f"{self.file}: region of shape {shape} and type {self.output.dtype} was given values"
                f" of shape {values.shape} and type {values.dtype}"
            )
        self.broken = True
        with writing(self.file, self.output.nbytes):
            self.writer.write(full, values)
        self.broken = False
        self.pixels += prod(shape)
        if values.size:
            corner = (*(slice(0, 1) for _ in shape[1:]), slice(0, PATCH))
            where = tuple(
                slice(s.start + c.start, min(s.stop, s.start + c.stop))
                for s, c in zip(full, corner, strict=True)
            )
            self._keep(where, values[corner].copy())

    def _keep(self, region: Region, values: NDArray[Any]) -> None:
        if len(self.samples) == SAMPLES:  # keep the first, thin out the rest: early and late both count
            self.samples[1:] = self.samples[2::2]
        self.samples.append((region, values))

    def finish(self) -> None:
        if self.pixels != prod(self.output.shape):
            raise ShapeError(
                f"{self.file}: {self.pixels} of {prod(self.output.shape)} pixels were written; the regions"
                " must cover the image once"
            )
        with writing(self.file, self.output.nbytes):
            self.writer.finish()

    def abandon(self) -> None:
        with suppress(OSError, RuntimeError, ValueError):  # the first error is the one to tell
            self.writer.abandon()


def check_target(row: Format, file: Path, output: Output) -> None:
    """InputError if the format cannot be written, or cannot hold this image, or `file` is a folder."""
    if row.create is None:
        raise FileError(
            f"{file}: gpuseg reads {row.name} but does not write it",
            hint="choose .h5, .tif, .zarr, .npy or .png",
        )
    if output.dtype.kind not in "biuf":
        raise InputError(f"{file}: pixels of type {output.dtype}; images have bool, integer or float pixels")
    check_folder(file)
    if file.is_dir() and not row.folder:
        raise FileError(f"{file}: is a folder", hint="choose another name")
    try:
        check(output.axes, output.shape)
    except ShapeError as error:
        raise error.at(str(file)) from None
    check_limits(row, file, output)


def _verify(row: Format, file: Path, partial: Path, inside: str, writer: Watched) -> None:
    """Open again what was written and compare shape, dtype and samples; a difference is a ResourceError."""
    output = writer.output
    with reading(file):
        reader = row.open(partial, inside or row.default)
        try:
            wrong = _difference(reader, output, writer.samples if row.limits.exact else [])
        finally:
            reader.close()
    if wrong:
        raise ResourceError(
            f"{file}: does not read back as it was written: {wrong}",
            hint="the disk or its file system may be failing: write elsewhere",
        )


def _difference(
    reader: ImageReader, output: Output, samples: list[tuple[Region, NDArray[Any]]]
) -> str | None:
    axes = reader.axes or output.axes  # a format that stores no axes keeps their order
    if sizes(axes, reader.shape) != sizes(output.axes, output.shape):
        return f"axes {axes} of shape {reader.shape} for {output.axes} of shape {output.shape}"
    if reader.dtype.newbyteorder("=") != output.dtype.newbyteorder("="):
        return f"type {reader.dtype} for {output.dtype}"
    for region, values in samples:
        where = dict(zip(output.axes, region, strict=True))
        found = reader.read(tuple(where.get(a, slice(0, 1)) for a in axes))
        if not np.array_equal(_bytes(reorder(found, axes, output.axes), output), _bytes(values, output)):
            return f"values differ at {tuple(s.start for s in region)}"
    return None


def _bytes(values: NDArray[Any], output: Output) -> NDArray[Any]:
    """Values as raw bytes, so that NaN equals NaN."""
    return np.ascontiguousarray(values, output.dtype).view(np.uint8)


def _sync(path: Path) -> None:
    for file in [p for p in path.rglob("*") if p.is_file()] if path.is_dir() else [path]:
        descriptor = os.open(file, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _sync_folder(folder: Path) -> None:
    with suppress(OSError):  # some network file systems refuse to sync a folder; the file itself is safe
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _replace(partial: Path, file: Path) -> None:
    """Rename; a folder cannot be replaced in one step, so the old one steps aside first."""
    if not partial.is_dir():
        partial.replace(file)
        return
    for _ in range(ATTEMPTS):
        old = partial_path(file)
        with suppress(FileNotFoundError):
            file.replace(old)
        try:
            partial.replace(file)
        except OSError as error:
            if error.errno in (EEXIST, ENOTEMPTY):  # another writer was faster: its folder steps aside too
                shutil.rmtree(old, ignore_errors=True)
                continue
            if old.exists():
                old.replace(file)
            raise
        shutil.rmtree(old, ignore_errors=True)
        return
    raise OSError(EBUSY, "other writers keep replacing it")


def replace_all(partials: Mapping[Path, Path]) -> None:
    """Rename the partial files of a sequence to the names that are their keys: all, or none."""
    before: dict[Path, Path] = {}  # what stood under a name, kept until all are renamed
    done: list[Path] = []
    try:
        for file, partial in partials.items():
            if file.exists():
                before[file] = _second_name(file)
            partial.replace(file)
            done.append(file)
        for folder in {file.parent for file in partials}:
            _sync_folder(folder)
    except BaseException:
        for file in (f for f in done if f not in before):
            with suppress(OSError):
                file.unlink()
        for file, old in before.items():
            with suppress(OSError):
                old.replace(file)
                old.unlink(missing_ok=True)  # to rename one link of a file to another does nothing
        raise
    for old in before.values():
        old.unlink(missing_ok=True)


def _second_name(file: Path) -> Path:
    old = partial_path(file)
    try:
        os.link(file, old)
    except OSError:  # file systems without links: its own name is free for a moment
        file.replace(old)
    return old


def remove(partial: Path) -> None:
    """What was begun under this name, if anything."""
    with suppress(OSError):
        if not partial.is_dir():
            partial.unlink(missing_ok=True)
            return
    for _ in range(ATTEMPTS):
        shutil.rmtree(partial, ignore_errors=True)
        if not partial.exists():
            return
        time.sleep(PAUSE)


def reserve(stream: IO[bytes], offset: int, nbytes: int) -> None:
    """Disk space before a map is made: a full disk is then an error, not a killed process."""
    if hasattr(os, "posix_fallocate") and nbytes:
        os.posix_fallocate(stream.fileno(), offset, nbytes)
        return
    zeros = bytes(1 << 20)  # not on every system: write what will be overwritten
    for start in range(0, nbytes, len(zeros)):
        stream.write(zeros[: nbytes - start])
    stream.flush()
