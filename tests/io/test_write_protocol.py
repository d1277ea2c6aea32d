"""Every format writes an image whole or not at all, whatever happens on the way."""

import os
import subprocess
import sys
from errno import EACCES, EIO, ENOSPC, ENOTEMPTY
from pathlib import Path
from threading import Thread

import numpy as np
import pytest

from gpuseg.axes import Voxel, reorder
from gpuseg.errors import Cancelled, FileError, InputError, ResourceError, ShapeError
from gpuseg.io import Format, Output, create_image, open_image, partial
from gpuseg.tiles import tiles

SUFFIXES = [".h5", ".npy", ".png", ".tif", ".zarr"]
SHAPE = (70, 90)
every_format = pytest.mark.parametrize("suffix", SUFFIXES)


def picture(shape=SHAPE, dtype="u1", seed=0):
    """Noise, with a NaN where the type has one."""
    values = (np.random.default_rng(seed).random(shape) * 200).astype(dtype)
    if values.dtype.kind == "f":
        values.flat[0] = np.nan
    return values


def save(path, values, axes="yx", size=(32, 32), **facts):
    """Write in tiles, last one first: order must not matter."""
    step = {"y": size[0], "x": size[1]}
    blocks = [step.get(a, n) for a, n in zip(axes, values.shape, strict=True)]
    with create_image(path, Output(values.shape, values.dtype, axes, **facts)) as writer:
        for tile in reversed(list(tiles(values.shape, blocks, [0] * values.ndim))):
            writer.write(tile.core, values[tile.core])


def load(path, axes):
    with open_image(path, None if path.suffix != ".npy" else axes) as image:
        return reorder(image.read(), image.axes, axes)


def left(folder):
    return sorted(f.name for f in folder.iterdir())


@pytest.mark.parametrize(
    ("axes", "shape"),
    [
        ("yx", (70, 90)),
        ("yxc", (70, 90, 2)),
        ("zyx", (5, 33, 34)),
        ("zyxc", (5, 33, 34, 2)),
        ("tyxc", (3, 33, 34, 1)),
        ("tzyxc", (2, 3, 33, 34, 2)),
        ("cxy", (2, 34, 33)),
        ("yx", (1, 1)),
        ("yx", (1, 300)),
        ("yxc", (9, 8, 65)),
    ],
)
@pytest.mark.parametrize("suffix", [".h5", ".npy", ".tif", ".zarr"])
def test_any_axes_come_back_as_written(tmp_path, suffix, axes, shape):
    values = picture(shape, "f4")
    save(tmp_path / f"a{suffix}", values, axes)
    np.testing.assert_array_equal(load(tmp_path / f"a{suffix}", axes), values)
    assert left(tmp_path) == [f"a{suffix}"]


@pytest.mark.parametrize("dtype", ["u1", "u2", "u4", "i2", "i4", "f4", "f8", "bool", "u8", "i8"])
@pytest.mark.parametrize("suffix", [".h5", ".npy"])
def test_any_type_comes_back_as_written(tmp_path, suffix, dtype):
    values = picture(dtype=dtype)
    save(tmp_path / f"a{suffix}", values)
    found = load(tmp_path / f"a{suffix}", "yx")
    assert found.dtype == values.dtype
    np.testing.assert_array_equal(found, values)


@pytest.mark.parametrize(
    ("axes", "shape", "dtype"),
    [
        ("yx", SHAPE, "u1"),
        ("yx", SHAPE, "u2"),
        ("yxc", (*SHAPE, 3), "u1"),
        ("yxc", (*SHAPE, 1), "u2"),
        ("tzyxc", (1, 1, *SHAPE, 1), "u1"),
        ("cyx", (3, *SHAPE), "u1"),
    ],
)
def test_png_keeps_label_values_and_colours(tmp_path, axes, shape, dtype):
    values = picture(shape, dtype)
    save(tmp_path / "a.png", values, axes)
    np.testing.assert_array_equal(load(tmp_path / "a.png", axes), values)


@pytest.mark.parametrize("suffix", [".h5", ".tif", ".zarr"])
def test_pixel_size_comes_back(tmp_path, suffix):
    voxel = Voxel({"z": 2.0, "y": 0.5, "x": 0.25}, dict.fromkeys("zyx", "micrometer"))
    save(tmp_path / f"a{suffix}", picture((3, 20, 30)), "zyx", voxel=voxel)
    with open_image(tmp_path / f"a{suffix}") as image:
        assert image.voxel.size == pytest.approx(voxel.size)
        assert image.voxel.unit == voxel.unit


@every_format
@pytest.mark.parametrize("error", [Cancelled("stopped"), KeyboardInterrupt(), ZeroDivisionError()])
def test_an_error_while_writing_leaves_nothing(tmp_path, suffix, error):
    def stop_half_way():
        with create_image(tmp_path / f"a{suffix}", Output(SHAPE, np.dtype("u1"), "yx")) as writer:
            writer.write((slice(0, 10), slice(0, 90)), picture()[:10])
            raise error

    with pytest.raises(type(error)):
        stop_half_way()
    assert left(tmp_path) == []


@every_format
def test_an_image_that_was_not_covered_is_not_kept(tmp_path, suffix):
    with (
        pytest.raises(ShapeError, match=r"6210 of 6300 pixels were written"),
        create_image(tmp_path / f"a{suffix}", Output(SHAPE, np.dtype("u1"), "yx")) as writer,
    ):
        writer.write((slice(0, 69), slice(0, 90)), picture()[:69])
    assert left(tmp_path) == []


@every_format
def test_a_failed_rewrite_keeps_the_old_image(tmp_path, suffix):
    old, new = picture(seed=1), picture(seed=2)
    save(tmp_path / f"a{suffix}", old)
    with (
        pytest.raises(ZeroDivisionError),
        create_image(tmp_path / f"a{suffix}", Output(SHAPE, old.dtype, "yx")),
    ):
        raise ZeroDivisionError
    np.testing.assert_array_equal(load(tmp_path / f"a{suffix}", "yx"), old)
    save(tmp_path / f"a{suffix}", new)
    np.testing.assert_array_equal(load(tmp_path / f"a{suffix}", "yx"), new)
    assert left(tmp_path) == [f"a{suffix}"]


@pytest.mark.parametrize(
    "values", [picture((10, 90), "u2"), picture((10, 89)), picture((9, 90)), picture((10, 90, 1))]
)
def test_values_that_do_not_fit_their_region_are_refused(tmp_path, values):
    with (
        pytest.raises(ShapeError, match=r"region of shape \(10, 90\) and type uint8 was given values"),
        create_image(tmp_path / "a.npy", Output(SHAPE, np.dtype("u1"), "yx")) as writer,
    ):
        writer.write((slice(0, 10), slice(0, 90)), values)


@every_format
@pytest.mark.parametrize("code", [ENOSPC, EIO, EACCES])
@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_each_failing_system_call_is_a_resource_error(tmp_path, monkeypatch, suffix, call, code):
    """The n-th call fails, for every n, until one run needs fewer than n calls."""
    genuine = getattr(os, call)
    for n in range(40):
        calls = []

        def fail(*args, n=n, calls=calls):
            calls.append(args)
            if len(calls) == n + 1:
                raise OSError(code, os.strerror(code))
            return genuine(*args)

        monkeypatch.setattr(os, call, fail)
        found = _attempt(tmp_path / f"a{suffix}")
        if found is None:
            break
        assert f"a{suffix}: cannot be written: {os.strerror(code)}" in found
        assert "6.3 kB uncompressed" in found
        assert left(tmp_path) == []
    monkeypatch.undo()
    assert n > 0
    np.testing.assert_array_equal(load(tmp_path / f"a{suffix}", "yx"), picture())


def _attempt(path):
    """The message of a write that ran out of something; None if it went through."""
    try:
        save(path, picture())
    except ResourceError as error:
        return str(error)


LIMITED = """
import resource, sys, numpy as np
from gpuseg.io import Output, create_image
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))
values = np.random.default_rng(0).integers(0, 60000, (1200, 1200), "u2")
try:
    with create_image(sys.argv[1], Output(values.shape, values.dtype, "yx")) as writer:
        for y in range(0, 1200, 300):
            writer.write((slice(y, y + 300), slice(0, 1200)), values[y : y + 300])
except Exception as error:
    print(type(error).__name__, error)
"""


@every_format
def test_a_file_that_may_not_grow_is_an_error_and_no_crash(tmp_path, suffix):
    """The system itself refuses to write more than 200 kB of 2.9 MB, as a full disk does."""
    run = subprocess.run(
        [sys.executable, "-c", LIMITED, str(tmp_path / f"a{suffix}")], capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.startswith("ResourceError")
    assert "2.9 MB uncompressed" in run.stdout
    assert left(tmp_path) == []


def _npy(file, values):
    with file.open("wb") as stream:
        np.save(stream, values)


class Forgetful:
    """A writer that loses what it is given, on a disk that does not say so."""

    def __init__(self, file, inside, output):
        _npy(file, np.zeros(output.shape, output.dtype))

    def write(self, region, values): ...
    def finish(self): ...
    def abandon(self): ...


def test_what_does_not_read_back_as_written_is_not_kept(tmp_path, monkeypatch):
    from gpuseg.io.npy import NpyReader

    rows = {".npy": Format("NPY", (".npy",), NpyReader, Forgetful)}
    monkeypatch.setattr("gpuseg.io.FORMATS", rows)
    with pytest.raises(ResourceError, match=r"a\.npy: does not read back as it was written: values differ"):
        save(tmp_path / "a.npy", picture())
    assert left(tmp_path) == []


@pytest.mark.parametrize(
    "wrong", [(np.zeros((70, 91), "u1"), "axes yx of shape"), (np.zeros(SHAPE, "i1"), "type int8 for")]
)
def test_another_shape_or_type_on_disk_is_not_kept(tmp_path, monkeypatch, wrong):
    from gpuseg.io.npy import NpyReader

    class Confused(Forgetful):
        def __init__(self, file, inside, output):
            _npy(file, wrong[0])

    monkeypatch.setattr("gpuseg.io.FORMATS", {".npy": Format("NPY", (".npy",), NpyReader, Confused)})
    with pytest.raises(ResourceError, match=wrong[1]):
        save(tmp_path / "a.npy", picture())


def test_samples_come_from_the_whole_of_a_long_run(tmp_path):
    output = Output((1000, 4), np.dtype("u1"), "yx")
    writer = partial.Watched(tmp_path / "a", Forgetful(tmp_path / "b", "", output), output)
    for y in range(1000):
        writer.write((slice(y, y + 1), slice(0, 4)), np.full((1, 4), y % 256, "u1"))
    rows = [region[0].start for region, _ in writer.samples]
    assert len(rows) <= partial.SAMPLES
    assert rows == sorted(rows)
    assert (rows[0], rows[-1]) == (0, 999)


@every_format
def test_two_writers_of_one_name_both_finish(tmp_path, suffix):
    images = [picture(seed=s) for s in range(4)]
    errors = []

    def run(values):
        try:
            save(tmp_path / f"a{suffix}", values)
        except Exception as error:
            errors.append(error)

    threads = [Thread(target=run, args=[v]) for v in images]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    found = load(tmp_path / f"a{suffix}", "yx")
    assert any(np.array_equal(found, v) for v in images)
    assert left(tmp_path) == [f"a{suffix}"]


def test_a_folder_that_cannot_take_its_place_gives_it_back(tmp_path, monkeypatch):
    save(tmp_path / "a.zarr", picture(seed=1))
    genuine = Path.replace

    def fail_at_the_second(path, target):
        if path.name != "a.zarr" and target.name == "a.zarr" and not target.exists():
            monkeypatch.undo()
            raise OSError(EIO, os.strerror(EIO))
        return genuine(path, target)

    monkeypatch.setattr(Path, "replace", fail_at_the_second)
    with pytest.raises(ResourceError, match="Input/output error"):
        save(tmp_path / "a.zarr", picture(seed=2))
    np.testing.assert_array_equal(load(tmp_path / "a.zarr", "yx"), picture(seed=1))
    assert left(tmp_path) == ["a.zarr"]


def test_a_place_that_others_keep_taking_is_an_error_in_the_end(tmp_path, monkeypatch):
    genuine = Path.replace

    def fail(path, target):
        if target.name == "a.zarr":
            raise OSError(ENOTEMPTY, os.strerror(ENOTEMPTY))
        return genuine(path, target)

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(ResourceError, match="other writers keep replacing it"):
        save(tmp_path / "a.zarr", picture())
    assert left(tmp_path) == []


@every_format
def test_pixels_that_are_no_numbers_are_refused(tmp_path, suffix):
    with pytest.raises(
        InputError, match=rf"a{suffix}: pixels of type complex64; images have bool, integer or"
    ):
        save(tmp_path / f"a{suffix}", np.zeros(SHAPE, "c8"))


def test_folders_on_the_way_are_made(tmp_path):
    save(tmp_path / "new" / "deep" / "a.npy", picture())
    assert left(tmp_path / "new" / "deep") == ["a.npy"]


def test_a_folder_that_is_none_is_named(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(FileError, match=r"file/a\.npy: .*file is no folder"):
        save(tmp_path / "file" / "a.npy", picture())


def test_a_link_to_nowhere_is_no_folder(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "gone")
    with pytest.raises(FileError, match=r"link/a\.npy: .*link is no folder"):
        save(tmp_path / "link" / "a.npy", picture())


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("t" * 252 + ".npy", "its name has 256 bytes, at most 255"),
        ("é" * 126 + ".npy", "its name has 256 bytes, at most 255"),
        ("d" * 256 + "/a.npy", "its name has 256 bytes"),
        ("d/" * 2100 + "a.npy", r"the path has \d+ bytes, at most 4000"),
        ("a\0b.npy", "cannot hold the character NUL"),
    ],
    ids=["name", "umlauts", "folder", "path", "nul"],
)
def test_names_that_no_file_can_have_are_refused(tmp_path, name, message):
    with pytest.raises(InputError, match=message):
        save(tmp_path / name, picture())


def begin(path, monkeypatch, error):
    """Write an image of which the first part is done, or fails, and then nobody goes on."""

    def fail(region, values):
        raise error

    with create_image(path, Output(SHAPE, np.dtype("u1"), "yx")) as writer:
        if isinstance(error, OSError):
            monkeypatch.setattr(writer.writer, "write", fail, raising=False)
        writer.write((slice(0, 70), slice(0, 90)), picture())
        raise error


@pytest.mark.parametrize(
    ("error", "raised", "waits"),
    [(Cancelled("stop"), Cancelled, 0), (OSError(ENOSPC, "full"), ResourceError, 1)],
)
def test_it_waits_for_threads_that_write_yet_only_where_a_write_failed(
    tmp_path, monkeypatch, error, raised, waits
):
    waited = []
    monkeypatch.setattr(partial.time, "sleep", waited.append)
    with pytest.raises(raised):
        begin(tmp_path / "a.zarr", monkeypatch, error)
    assert waited == [partial.PAUSE] * waits
    assert not left(tmp_path)


def test_a_target_that_is_a_folder_is_refused(tmp_path):
    (tmp_path / "a.png").mkdir()
    with pytest.raises(FileError, match=r"a\.png: is a folder"):
        save(tmp_path / "a.png", picture())


def test_a_format_that_is_only_read_names_the_others(tmp_path):
    with pytest.raises(FileError, match=r"but does not write it\n  hint: choose \.h5"):
        save(tmp_path / "a.npz", picture())


def test_axes_that_do_not_fit_the_shape_are_refused_before_anything_is_made(tmp_path):
    with pytest.raises(ShapeError, match=r"a\.npy: axes 'zyx' name 3 axes, the array has 2"):
        create_image(tmp_path / "a.npy", Output(SHAPE, np.dtype("u1"), "zyx")).__enter__()
    assert left(tmp_path) == []


@pytest.mark.parametrize(
    ("values", "axes", "match"),
    [
        (picture(dtype="f4"), "yx", r"the image is float32 with 1\n  hint: choose \.tif, \.h5"),
        (picture(dtype="u4"), "yx", "uint32 with 1"),
        (picture((9, 9, 2)), "yxc", "uint8 with 2"),
        (picture((9, 9, 2), "u2"), "yxc", "uint16 with 2"),
        (picture((4, 9, 9)), "zyx", r"PNG is two-dimensional, the image has \{'z': 4\}"),
        (picture((4, 9, 9)), "tyx", r"the image has \{'t': 4\}"),
    ],
)
def test_what_png_cannot_hold_names_what_can(tmp_path, values, axes, match):
    with pytest.raises((ShapeError, ValueError), match=match):
        save(tmp_path / "a.png", values, axes)
    assert left(tmp_path) == []


KILLED = Path(__file__).with_name("killed_writer.py")


@every_format
def test_a_kill_leaves_no_partial_file_under_the_final_name(tmp_path, suffix):
    run = subprocess.run(
        [sys.executable, KILLED, str(tmp_path), suffix, "20"], capture_output=True, text=True, timeout=60
    )
    assert run.returncode == 0, run.stderr
    expected = picture((4, 100, 100) if suffix != ".png" else (500, 100), "u2")
    finished = 0
    for folder in tmp_path.iterdir():
        for name in [n for n in left(folder) if ".partial-" not in n]:
            np.testing.assert_array_equal(load(folder / name, "zyx"[-expected.ndim :]), expected)
            finished += 1
    assert finished >= 20, "every run was let through at least once"
