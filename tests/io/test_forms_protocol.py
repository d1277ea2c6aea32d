"""Every form keeps the write protocol: whole under the final name or not there, in little memory."""

import os
import subprocess
import sys
from errno import EACCES, EIO, ENOSPC
from pathlib import Path

import numpy as np
import pytest

from gpuseg.axes import reorder
from gpuseg.errors import Cancelled, ResourceError, ShapeError
from gpuseg.io import FORMS, Output, create_image, open_image, output_paths
from gpuseg.tiles import tiles

NEW = [f for f in FORMS if FORMS[f].sequence or f in ("tiff", "jpeg", "bmp", "gif", "hdf5")]
NEW += ["single-scale ome-zarr", "multi-scale ome-zarr 0.4"]
SEQUENCES = [f for f in NEW if FORMS[f].sequence]
KILLS = ["hdf5", "tiff", "bmp", "png sequence", "multipage tiff sequence", "multi-scale ome-zarr 0.4"]
KILLED = Path(__file__).with_name("killed_writer.py")
every_form = pytest.mark.parametrize("form", NEW)


def picture(form, seed=0):
    """Smooth, so that JPEG may be compared too; three slices for a sequence."""
    y, x = np.mgrid[:70, :90]
    waves = [127 + 60 * np.sin(y / 9 + i + seed) + 60 * np.cos(x / 7) for i in range(3)]
    values = np.rint(waves).astype("u1")
    return values if FORMS[form].sequence else values[0]


def target(folder, form):
    return folder / ("a_{slice_index}" if FORMS[form].sequence else "a")


def save(folder, form, values):
    output = Output(values.shape, values.dtype, "zyx"[-values.ndim :])
    with create_image(target(folder, form), output, form) as writer:
        for tile in reversed(list(tiles(values.shape, [32] * values.ndim, [0] * values.ndim))):
            writer.write(tile.core, values[tile.core])


def load(folder, form, values):
    """Values, or None where any file is missing."""
    found = []
    output = Output(values.shape, values.dtype, "zyx"[-values.ndim :])
    for path in map(Path, output_paths(target(folder, form), output, form)):
        if not path.exists():
            return None
        with open_image(path) as image:
            found.append(reorder(image.read(), image.axes, "yx"))
    return np.stack(found) if FORMS[form].sequence else found[0]


def same(folder, form, values):
    found = load(folder, form, values)
    if found is None or not FORMS[form].format.limits.exact:
        return found is not None and np.abs(found.astype(int) - values).max() <= 12
    return np.array_equal(found, values)


def left(folder):
    return sorted(f.name for f in folder.iterdir())


def attempt(folder, form):
    """The message of a write that ran out of something; None if it went through."""
    try:
        save(folder, form, picture(form))
    except ResourceError as error:
        return str(error)


@every_form
@pytest.mark.parametrize(
    ("call", "code"), [("fsync", EIO), ("replace", EACCES), ("posix_fallocate", ENOSPC)], ids=str
)
def test_each_failing_system_call_is_a_resource_error(tmp_path, monkeypatch, form, call, code):
    """The n-th call fails, for every n, until one run needs fewer than n calls."""
    genuine = getattr(os, call)
    for n in range(60):
        calls = []

        def fail(*args, n=n, calls=calls):
            calls.append(args)
            if len(calls) == n + 1:
                raise OSError(code, os.strerror(code))
            return genuine(*args)

        monkeypatch.setattr(os, call, fail)
        found = attempt(tmp_path, form)
        if found is None:
            break
        assert f"cannot be written: {os.strerror(code)}" in found
        assert "kB uncompressed" in found
        assert left(tmp_path) == []
    monkeypatch.undo()
    spools = call != "posix_fallocate" or not ({"hdf5", "ome-zarr"} & set(form.split()))
    assert (n > 0) == spools
    assert same(tmp_path, form, picture(form))


@pytest.mark.parametrize("links", [True, False])
@pytest.mark.parametrize("form", SEQUENCES)
def test_a_rename_that_fails_gives_back_what_was_there(tmp_path, monkeypatch, form, links):
    """Old slices stay old, all of them; a slice that was not there before is not there after."""
    old, new = picture(form, 1), picture(form, 2)
    if not links:
        monkeypatch.setattr("os.link", lambda *_: (_ for _ in ()).throw(OSError(EIO, "no links")))
    genuine, failed = Path.replace, 0
    for n in range(20):
        save(tmp_path, form, old)
        last = Path(sorted(tmp_path.iterdir())[-1])
        last.unlink()
        before, renamed = {f: f.read_bytes() for f in tmp_path.iterdir()}, []

        def fail(path, to, n=n, renamed=renamed):
            renamed.append(path)
            if len(renamed) == n + 1:
                raise OSError(EIO, os.strerror(EIO))
            return genuine(path, to)

        monkeypatch.setattr(Path, "replace", fail)
        try:
            save(tmp_path, form, new)
            break
        except ResourceError:
            failed += 1
        finally:
            monkeypatch.setattr(Path, "replace", genuine)
        assert {f: f.read_bytes() for f in tmp_path.iterdir()} == before
    assert failed >= 3
    assert same(tmp_path, form, new)
    assert not [f for f in left(tmp_path) if ".partial-" in f]


@every_form
@pytest.mark.parametrize("error", [Cancelled("stopped"), KeyboardInterrupt(), ZeroDivisionError()])
def test_an_error_while_writing_leaves_nothing(tmp_path, form, error):
    values = picture(form)

    def stop_half_way():
        output = Output(values.shape, values.dtype, "zyx"[-values.ndim :])
        with create_image(target(tmp_path, form), output, form) as writer:
            region = (*[slice(0, n) for n in values.shape[:-1]], slice(0, 10))
            writer.write(region, values[region])
            raise error

    with pytest.raises(type(error)):
        stop_half_way()
    assert left(tmp_path) == []


@every_form
def test_an_image_that_was_not_covered_is_not_kept(tmp_path, form):
    values = picture(form)
    output = Output(values.shape, values.dtype, "zyx"[-values.ndim :])
    with (
        pytest.raises(ShapeError, match=r"a\w*\.\w+: 0 of \d+ pixels were written"),
        create_image(target(tmp_path, form), output, form),
    ):
        pass
    assert left(tmp_path) == []


@pytest.mark.parametrize("form", SEQUENCES)
def test_a_slice_that_does_not_read_back_leaves_none(tmp_path, monkeypatch, form):
    """The disk loses the last slice, after the others were compared."""
    from gpuseg.io import sequence

    genuine = sequence._copy

    def copy(spool, index, writer, one):
        genuine(spool, index, writer, one)
        writer.samples = [(region, values + 99) for region, values in writer.samples] if index == 2 else []

    monkeypatch.setattr(sequence, "_copy", copy)
    if not FORMS[form].format.limits.exact:
        save(tmp_path, form, picture(form))  # values are not compared
        return
    with pytest.raises(ResourceError, match=r"a_0002\.\w+: does not read back as it was written"):
        save(tmp_path, form, picture(form))
    assert left(tmp_path) == []


def test_of_a_lossy_picture_shape_and_type_are_compared(tmp_path, monkeypatch):
    from PIL import Image

    from gpuseg.io import raster

    monkeypatch.setattr(
        raster.RasterWriter,
        "_save",
        lambda self, stream, pixels: Image.fromarray(pixels[:-1]).save(stream, "JPEG"),
    )
    with pytest.raises(ResourceError, match=r"shape \(69, 90\) for yx of shape \(70, 90\)"):
        save(tmp_path, "jpeg", picture("jpeg"))
    assert left(tmp_path) == []


LIMITED = """
import resource, sys, numpy as np
from gpuseg.io import Output, create_image
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))
values = np.random.default_rng(0).integers(0, 255, (3, 700, 900), "u1")
values = values if "sequence" in sys.argv[2] else values[0]
try:
    output = Output(values.shape, values.dtype, "zyx"[-values.ndim:])
    with create_image(sys.argv[1], output, sys.argv[2]) as writer:
        writer.write(tuple(slice(0, n) for n in values.shape), values)
except Exception as error:
    print(type(error).__name__, error)
"""


@every_form
def test_a_file_that_may_not_grow_is_an_error_and_no_crash(tmp_path, form):
    """The system itself refuses to write more than 200 kB, as a full disk does."""
    call = [sys.executable, "-c", LIMITED, str(target(tmp_path, form)), form]
    run = subprocess.run(call, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert run.stdout.startswith("ResourceError")
    assert left(tmp_path) == []


@pytest.mark.parametrize(
    "form", KILLS + [pytest.param(f, marks=pytest.mark.soak) for f in NEW if f not in KILLS]
)
def test_a_kill_leaves_only_whole_files_under_final_names(tmp_path, form):
    sequence = FORMS[form].sequence
    suffix = ("_{slice_index}" if sequence else "") + FORMS[form].suffix
    run = subprocess.run(
        [sys.executable, KILLED, str(tmp_path), suffix, "6", form],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert run.returncode == 0, run.stderr
    flat = sequence or form in ("tiff", "jpeg", "bmp", "gif")
    values = (
        np.random.default_rng(0).random((500, 100) if flat and not sequence else (4, 100, 100)) * 200
    ).astype("u1")
    finished = 0
    for file in (f for folder in tmp_path.iterdir() for f in folder.iterdir() if ".partial-" not in f.name):
        expected = values[int(file.stem[-4:])] if sequence else values
        with open_image(file) as image:
            assert (image.shape, image.dtype) == (expected.shape, expected.dtype)
            if FORMS[form].format.limits.exact:
                np.testing.assert_array_equal(image.read(), expected)
        finished += 1
    assert finished >= 6, "every run was let through at least once"


MEMORY = """
import resource, sys, numpy as np
from gpuseg.io import Output, create_image

def write(form, count, side):
    shape = (count, side, side) if "sequence" in form else (count * side, side)
    block = np.tile(np.arange(side, dtype="u1"), (side, 1))
    name = f"{sys.argv[1]}/{count}" + "_{slice_index}" * ("sequence" in form)
    with create_image(name, Output(shape, block.dtype, "zyx"[-len(shape):]), form) as writer:
        for i in range(count):
            whole = (slice(0, side), slice(0, side)) if len(shape) == 3 else (slice(0, side),)
            first = slice(i, i + 1) if len(shape) == 3 else slice(i * side, i * side + side)
            writer.write((first, *whole), block[None] if len(shape) == 3 else block)

write(sys.argv[2], 2, 512)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
write(sys.argv[2], int(sys.argv[3]), 2896)  # 8.4 MB each
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
STREAMED = [
    "hdf5",
    "numpy",
    "tiff",
    "multipage tiff",
    "single-scale ome-zarr",
    "multi-scale ome-zarr 0.4",
    *SEQUENCES,
]


@pytest.mark.parametrize(
    ("form", "count"),
    [("bmp sequence", 24), *(pytest.param(f, 64, marks=pytest.mark.soak, id=f"{f}-64") for f in STREAMED)],
)
def test_memory_does_not_grow_with_the_image(tmp_path, form, count):
    """24 slices are 200 MB, 64 are 540 MB; no more than 150 MB of them are ever in memory."""
    call = [sys.executable, "-c", MEMORY, str(tmp_path), form, str(count)]
    run = subprocess.run(call, capture_output=True, text=True, check=True)
    assert int(run.stdout) < 150_000
