"""Opening an image: what is accepted, what is refused, and in which words."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from gpuseg.axes import Voxel
from gpuseg.errors import FileError, InputError, ResourceError, ShapeError
from gpuseg.io import FORMATS, Format, Image, create_image, image_format, locate, open_image, register
from gpuseg.io.base import Output
from gpuseg.io.faults import check_memory, reading, size, writing

GREY = np.arange(20 * 30, dtype=np.uint8).reshape(20, 30)


@pytest.fixture
def png(tmp_path):
    Pillow.fromarray(GREY).save(tmp_path / "a.png")
    return tmp_path / "a.png"


@pytest.mark.parametrize(
    ("path", "file", "inside"),
    [
        ("a.png", "a.png", ""),
        ("deep/er/a.h5", "deep/er/a.h5", ""),
        ("deep/a.h5/raw", "deep/a.h5", "raw"),
        ("a.hdf5/vol/raw", "a.hdf5", "vol/raw"),
        ("a.npz/left", "a.npz", "left"),
        ("A.H5/raw", "A.H5", "raw"),
        ("img.ome.zarr/labels/cells", "img.ome.zarr", "labels/cells"),
        ("series.ome.tif", "series.ome.tif", ""),
        ("a.unknown", "a.unknown", ""),
    ],
)
def test_a_path_is_split_after_the_file(path, file, inside):
    assert locate(path) == (Path(file), inside)


def test_a_folder_named_like_a_file_is_walked_through(tmp_path):
    (tmp_path / "run.h5").mkdir()
    np.save(tmp_path / "run.h5" / "a.npy", GREY)
    assert locate(tmp_path / "run.h5" / "a.npy") == (tmp_path / "run.h5" / "a.npy", "")
    with open_image(tmp_path / "run.h5" / "a.npy") as image:
        assert image.shape == GREY.shape


def test_opening_a_png_loads_no_other_format(png):
    script = (
        "import sys; from gpuseg.io import open_image\n"
        f"with open_image({str(png)!r}) as image: image.read()\n"
        "print({'h5py', 'zarr', 'tifffile', 'imagecodecs', 'scipy', 'sklearn'} & set(sys.modules))"
    )
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "set()"


@pytest.mark.parametrize("suffix", sorted(FORMATS))
def test_every_suffix_has_a_row_that_lists_it(suffix):
    assert suffix in image_format(f"a{suffix}").suffixes
    assert image_format(f"A{suffix.upper()}") is image_format(f"a{suffix}")


def test_an_absent_file_is_named(tmp_path):
    with pytest.raises(FileError, match=r"gone\.png: No such file"):
        open_image(tmp_path / "gone.png")


def test_a_folder_is_refused(tmp_path):
    (tmp_path / "a.png").mkdir()
    with pytest.raises(FileError, match=r"a\.png: is a folder, not a PNG file"):
        open_image(tmp_path / "a.png")


def test_a_file_where_a_folder_belongs_is_refused(tmp_path):
    (tmp_path / "a.zarr").write_bytes(b"something")
    with pytest.raises(FileError, match=r"a\.zarr: is a file; .* is a folder"):
        open_image(tmp_path / "a.zarr")


@pytest.mark.parametrize("suffix", sorted(set(FORMATS) - {".zarr"}))
def test_an_empty_file_is_refused(tmp_path, suffix):
    (tmp_path / f"a{suffix}").touch()
    with pytest.raises(FileError, match=r"is empty \(0 bytes\)"):
        open_image(tmp_path / f"a{suffix}")


@pytest.mark.parametrize("suffix", sorted(set(FORMATS) - {".zarr", ".png"}))
def test_a_file_that_is_not_what_its_suffix_says_is_refused(tmp_path, png, suffix):
    (tmp_path / f"b{suffix}").write_bytes(png.read_bytes())
    with pytest.raises(FileError, match=r"is not a \w+ file; its first bytes say PNG\n  hint: rename"):
        open_image(tmp_path / f"b{suffix}")


def test_content_of_no_known_kind_is_refused(tmp_path):
    (tmp_path / "a.h5").write_bytes(b"This is a text about images.")
    with pytest.raises(FileError, match="nothing known here"):
        open_image(tmp_path / "a.h5")


def test_an_unknown_suffix_lists_the_known(tmp_path):
    with pytest.raises(FileError, match=r"suffix '\.czi'\n  hint: known are .*\.h5 .*\.zarr"):
        open_image(tmp_path / "a.czi")


def test_a_path_inside_a_png_is_refused(png):
    with pytest.raises(FileError, match="hold one image, nothing called 'raw'"):
        open_image(png / "raw")


def test_a_symlink_loop_is_refused(tmp_path):
    (tmp_path / "a.png").symlink_to(tmp_path / "b.png")
    (tmp_path / "b.png").symlink_to(tmp_path / "a.png")
    with pytest.raises(FileError, match=r"a\.png: Too many levels of symbolic links"):
        open_image(tmp_path / "a.png")


def test_a_name_too_long_or_with_a_zero_byte_is_refused(tmp_path):
    with pytest.raises(FileError, match="File name too long"):
        open_image(tmp_path / ("a" * 300 + ".png"))
    with pytest.raises(FileError, match="null byte"):
        open_image(f"{tmp_path}/a\0b.png")


def test_a_pipe_is_refused(tmp_path):
    os.mkfifo(tmp_path / "a.png")
    with pytest.raises(FileError, match="not a regular file"):
        open_image(tmp_path / "a.png")


def test_a_file_without_permission_is_named(png, monkeypatch):
    def refuse(*args, **options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(FileError, match=r"a\.png: cannot be read: Permission denied"):
        open_image(png)


@pytest.mark.parametrize("name", ["two words.npy", "zelle-µ-細胞.npy", "n" * 251 + ".npy"])
def test_spaces_unicode_and_long_names_are_read_and_written(tmp_path, name):
    with create_image(tmp_path / name, Output(GREY.shape, GREY.dtype, "yx")) as writer:
        writer.write((slice(0, 20), slice(0, 30)), GREY)
    with open_image(tmp_path / name) as image:
        np.testing.assert_array_equal(image.read(), GREY)
    assert [f.name for f in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize(
    ("shape", "axes"),
    [
        ((4, 5), "yx"),
        ((9, 4, 3), "yxc"),
        ((9, 4, 5), "zyx"),
        ((2, 3, 4, 5), "zyxc"),
        ((1, 2, 3, 4, 5), "tzyxc"),
    ],
)
def test_axes_are_guessed_by_shape(tmp_path, shape, axes):
    np.save(tmp_path / "a.npy", np.zeros(shape, np.uint8))
    with open_image(tmp_path / "a.npy") as image:
        assert (image.axes, image.axes_from) == (axes, "shape")


def test_axes_from_the_user_win(tmp_path, png):
    np.save(tmp_path / "a.npy", np.zeros((5, 6, 3), np.uint8))
    with open_image(tmp_path / "a.npy", axes="tyx") as image:
        assert (image.axes, image.axes_from) == ("tyx", "user")
    with open_image(png) as image:
        assert (image.axes, image.axes_from) == ("yx", "file")


@pytest.mark.parametrize(
    ("axes", "match"),
    [
        ("yxc", r"a\.png: axes 'yxc' name 3 axes, the array has 2, shape \(20, 30\)"),
        ("yy", r"a\.png: axes 'yy': a letter twice"),
        ("yq", r"a\.png: axes 'yq': unknown letter 'q'"),
        ("zy", r"a\.png: axes 'zy' lack x"),
        ("", r"a\.png: axes '' name 0 axes"),
    ],
)
def test_axes_that_do_not_fit_are_refused(png, axes, match):
    with pytest.raises(ShapeError, match=match):
        open_image(png, axes=axes)


@pytest.mark.parametrize("shape", [(7,), (1, 1, 1, 1, 2, 2), ()])
def test_arrays_of_too_few_or_many_axes_are_refused(tmp_path, shape):
    np.save(tmp_path / "a.npy", np.zeros(shape, np.uint8))
    with pytest.raises(ShapeError, match=rf"a\.npy: an array of {len(shape)} axes"):
        open_image(tmp_path / "a.npy")


@pytest.mark.parametrize("shape", [(0, 5), (5, 0), (0, 0)])
def test_an_image_without_pixels_is_refused(tmp_path, shape):
    np.save(tmp_path / "a.npy", np.zeros(shape, np.uint8))
    with pytest.raises(FileError, match=r"has no pixels, its shape is \("):
        open_image(tmp_path / "a.npy")


NUMBERS = [
    "?",
    "i1",
    "u1",
    *(order + kind for kind in ("i2", "u2", "i4", "u4", "i8", "u8", "f2", "f4", "f8") for order in "<>"),
]


@pytest.mark.parametrize("dtype", NUMBERS)
@pytest.mark.parametrize("suffix", [".npy", ".npz", ".h5"])
def test_numbers_of_every_type_and_byte_order_are_read(tmp_path, suffix, dtype):
    values = np.arange(12).reshape(3, 4).astype(dtype)
    _store(tmp_path / f"a{suffix}", values)
    with open_image(tmp_path / f"a{suffix}") as image:
        found = image.read()
    assert found.dtype == values.dtype.newbyteorder("=")
    assert found.dtype.isnative
    np.testing.assert_array_equal(found, values)


@pytest.mark.parametrize("dtype", ["c8", "c16", "S3", "V3"])
@pytest.mark.parametrize("suffix", [".npy", ".npz", ".h5"])
def test_what_is_not_a_number_is_refused_by_name(tmp_path, suffix, dtype):
    values = np.zeros((3, 4), dtype)
    _store(tmp_path / f"a{suffix}", values)
    with pytest.raises(FileError, match=r"pixels of type (complex|\|S3|\|V3)"):
        open_image(tmp_path / f"a{suffix}")


@pytest.mark.parametrize("dtype", ["M8[s]", "m8[s]", "U2"])
def test_dates_and_text_are_refused_by_name(tmp_path, dtype):
    np.save(tmp_path / "a.npy", np.zeros((3, 4), dtype))
    with pytest.raises(FileError, match=r"pixels of type (datetime64|timedelta64|<U2)"):
        open_image(tmp_path / "a.npy")


def _store(file, values):
    if file.suffix == ".npy":
        np.save(file, values)
    elif file.suffix == ".npz":
        np.savez(file, image=values)
    else:
        import h5py

        with h5py.File(file, "w") as h5:
            h5["image"] = values


def test_more_than_memory_is_refused_by_what_is_asked_for(tmp_path, monkeypatch):
    np.save(tmp_path / "a.npy", np.zeros((100, 100), np.uint8))
    monkeypatch.setenv("GPUSEG_MAX_BYTES", "5000")
    with open_image(tmp_path / "a.npy") as image:
        assert image.read((slice(0, 50), slice(0, 100))).shape == (50, 100)
        with pytest.raises(ResourceError, match=r"takes 10\.0 kB of memory at once, the limit is 5\.0 kB"):
            image.read()


def test_a_region_must_fit_the_image(png):
    with open_image(png) as image:
        with pytest.raises(ShapeError, match=r"of an image of shape \(20, 30\)"):
            image.read((slice(0, 3),))
        with pytest.raises(ShapeError, match="region"):
            image.read((slice(0, 9, 2), slice(None)))
        assert image.read((slice(18, 99), slice(-2, None))).shape == (2, 2)


def test_a_limit_that_is_no_number_is_refused(png, monkeypatch):
    monkeypatch.setenv("GPUSEG_MAX_BYTES", "8 GB")
    with pytest.raises(InputError, match="GPUSEG_MAX_BYTES is '8 GB'"):
        open_image(png)


@pytest.mark.parametrize(
    ("meminfo", "cgroup", "limit"),
    [
        ("MemTotal: 9 kB MemAvailable: 800000 kB", "max", "819.2 MB"),
        ("MemTotal: 9 kB MemAvailable: 800000 kB", "500000000", "500.0 MB"),
        (None, "400000000", "400.0 MB"),
        (None, None, "68.7 GB"),
    ],
)
def test_the_limit_is_what_the_machine_and_its_container_have(monkeypatch, meminfo, cgroup, limit):
    texts = {"/proc/meminfo": meminfo, "/sys/fs/cgroup/memory.max": cgroup}

    def read_text(path, **options):
        if texts[str(path)] is None:
            raise FileNotFoundError
        return texts[str(path)]

    monkeypatch.setattr(Path, "read_text", read_text)
    check_memory("a.png", (1000, 1000), 1)
    with pytest.raises(ResourceError, match=f"takes 100.0 GB of memory at once, the limit is {limit}"):
        check_memory("a.png", (10**5, 10**6), 1)


class Short:
    """A reader that gives fewer rows than it was asked for."""

    shape, dtype, axes, voxel = (20, 30), np.dtype("u1"), "yx", Voxel({"y": 2.0, "x": 2.0})

    def read(self, region):
        return GREY[region][:-1]

    def close(self): ...


def test_fewer_pixels_than_asked_for_are_an_error():
    with pytest.raises(
        FileError, match=r"pixels are missing: asked for shape \(20, 30\), the file gave \(19, 30\)"
    ):
        Image("a.x", Short(), "yx", "file").read()


def test_renamed_axes_drop_the_pixel_size():
    assert Image("a.x", Short(), "yx", "file").voxel == Voxel({"y": 2.0, "x": 2.0})
    assert Image("a.x", Short(), "xy", "user").voxel == Voxel()


def test_a_format_of_another_package_is_opened_and_created(tmp_path, monkeypatch):
    monkeypatch.setattr("gpuseg.io.FORMATS", dict(FORMATS))
    register(Format("SHORT", (".short",), lambda file, inside: Short()))
    (tmp_path / "a.short").write_text("anything")
    with open_image(tmp_path / "a.short") as image:
        assert image.shape == (20, 30)
    assert ".short" not in FORMATS


@pytest.mark.parametrize(
    "error", [MemoryError(), ValueError("bad\nfield"), KeyError("no such thing"), EOFError()]
)
def test_what_libraries_raise_names_the_file(error):
    with (
        pytest.raises((FileError, ResourceError), match=r"a\.h5: (cannot be read: \w|not enough memory)"),
        reading("a.h5"),
    ):
        raise error


def test_our_own_errors_pass_unchanged():
    with pytest.raises(ShapeError, match=r"^as it is$"), reading("a.h5"):
        raise ShapeError("as it is")
    with pytest.raises(ShapeError, match=r"^as it is$"), writing("a.h5"):
        raise ShapeError("as it is")


def test_running_out_of_memory_while_writing_says_how_much():
    with (
        pytest.raises(ResourceError, match=r"a\.png: not enough memory to write 3\.0 GB"),
        writing("a.png", 3 * 10**9),
    ):
        raise MemoryError


def test_a_disk_that_does_not_answer_is_said_so(monkeypatch):
    with pytest.raises(ResourceError, match="free space unknown"), writing("/no/such/folder/a.h5", 10):
        raise OSError(28, "No space left on device")


@pytest.mark.parametrize(
    ("nbytes", "text"), [(12, "12 bytes"), (1500, "1.5 kB"), (2 * 10**6, "2.0 MB"), (10**10, "10.0 GB")]
)
def test_sizes_read_well(nbytes, text):
    assert size(nbytes) == text


@pytest.mark.parametrize("name", ["plain.npy/x.tif", "plain.png/x"])
def test_nothing_is_written_inside_of_a_file_that_holds_one_image(tmp_path, name):
    """It would replace that file, which somebody may need."""
    file = tmp_path / name.partition("/")[0]
    with create_image(file, Output((4, 5), np.dtype("u1"), "yx")) as writer:
        writer.write((slice(0, 4), slice(0, 5)), np.ones((4, 5), np.uint8))
    before = file.read_bytes()
    with (
        pytest.raises(FileError, match=r"files hold one image, nothing called 'x"),
        create_image(tmp_path / name, Output((4, 5), np.dtype("u1"), "yx")),
    ):
        pass
    assert file.read_bytes() == before


def test_what_a_format_refuses_is_told_of_the_file_that_was_asked_for(tmp_path):
    with (
        pytest.raises(InputError) as caught,
        create_image(tmp_path / "deep.png", Output((3, 4, 5), np.dtype("u1"), "zyx")),
    ):
        pass
    assert "deep.png" in str(caught.value)
    assert "partial" not in str(caught.value)
