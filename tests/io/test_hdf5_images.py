"""HDF5 as ilastik writes it: found, described, read and written."""

import json
import subprocess
import sys

import h5py
import numpy as np
import pytest

from gpuseg.axes import Voxel
from gpuseg.errors import FileError, ResourceError, ShapeError
from gpuseg.io import Output, create_image, open_image
from gpuseg.io.hdf5 import CHUNK_BYTES, chunk_shape
from gpuseg.io.heaps import OBJECT, SIGNATURE, check_heaps

GREY = np.arange(20 * 30, dtype=np.uint8).reshape(20, 30)


def tags(axes, **resolution):
    """The text vigra writes for these axes."""
    kinds = {"c": 1, "t": 8}
    return json.dumps(
        {
            "axes": [
                {
                    "key": a,
                    "typeFlags": kinds.get(a, 2),
                    "resolution": resolution.get(a, 0),
                    "description": "",
                }
                for a in axes
            ]
        },
        indent=2,
    )


@pytest.fixture
def h5(tmp_path):
    """A file to fill: `h5(name=array, ...)` gives its path."""

    def fill(**arrays):
        with h5py.File(tmp_path / "a.h5", "w") as file:
            for name, values in arrays.items():
                file[name.replace("__", "/")] = values
        return tmp_path / "a.h5"

    return fill


def write(path, values, axes, **facts):
    with create_image(path, Output(values.shape, values.dtype, axes, **facts)) as writer:
        writer.write(tuple(slice(0, n) for n in values.shape), values)


def test_the_only_image_is_taken(h5):
    with open_image(h5(volume__raw=GREY, table=np.arange(5), scalar=3.0)) as image:
        np.testing.assert_array_equal(image.read(), GREY)


def test_one_of_several_must_be_named(h5):
    path = h5(raw=GREY, labels=GREY + 1)
    with pytest.raises(
        FileError, match=r"a\.h5: 2 datasets .* labels \(20, 30\), raw \(20, 30\)\n  hint: .*a\.h5/labels"
    ):
        open_image(path)
    with open_image(f"{path}/raw") as image:
        np.testing.assert_array_equal(image.read(), GREY)


def test_a_group_stands_for_the_only_image_in_it(h5):
    path = h5(left__raw=GREY, right__raw=GREY + 1)
    with open_image(path / "right") as image:
        np.testing.assert_array_equal(image.read(), GREY + 1)


def test_a_wrong_name_lists_what_is_there(h5):
    with pytest.raises(FileError, match=r"has nothing called 'rwa'; it holds raw \(20, 30\)"):
        open_image(h5(raw=GREY) / "rwa")


def test_long_listings_are_cut(h5):
    path = h5(**{f"image{i:02}": GREY for i in range(14)})
    with pytest.raises(FileError, match=r"14 datasets .*image09 \(20, 30\) and 4 more"):
        open_image(path)


def test_a_file_without_an_image_says_what_it_holds(h5):
    with pytest.raises(
        FileError, match=r"0 datasets have 2 to 5 axes; it holds line \(7,\)\n  hint: is it an"
    ):
        open_image(h5(line=np.arange(7)))
    with pytest.raises(FileError, match="it holds no dataset"):
        open_image(h5())


def test_axes_and_pixel_size_come_from_axistags(h5):
    path = h5(raw=np.zeros((3, 20, 30, 2), np.uint8))
    with h5py.File(path, "a") as file:
        file["raw"].attrs["axistags"] = tags("txyc", x=0.5, y=0.25, t=2)
        file["raw"].attrs["axis_units"] = json.dumps({"x": "um", "y": "um"})
    with open_image(path) as image:
        assert (image.axes, image.axes_from) == ("txyc", "file")
        assert image.voxel == Voxel({"t": 2.0, "x": 0.5, "y": 0.25}, {"x": "um", "y": "um"})
    with open_image(path, axes="zyxc") as image:
        assert (image.axes, image.axes_from, image.voxel) == ("zyxc", "user", Voxel())


@pytest.mark.parametrize("resolution", [0, -1, float("nan"), float("inf"), None])
def test_a_pixel_size_that_is_none_is_left_out(h5, resolution):
    path = h5(raw=GREY)
    with h5py.File(path, "a") as file:
        file["raw"].attrs["axistags"] = tags("yx", y=resolution, x=2)
    with open_image(path) as image:
        assert image.voxel.size == {"x": 2.0}


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("{", r"a\.h5/raw: cannot be read: .*JSONDecodeError"),
        ("[]", r"a\.h5/raw: cannot be read: .*TypeError"),
        ('{"axes": [{"typeFlags": 2}]}', r"a\.h5/raw: cannot be read: key \(KeyError\)"),
        (tags("yxc"), r"a\.h5: axes 'yxc' name 3 axes, the array has 2"),
        (tags("y?"), r"a\.h5: axes 'y\?': unknown letter"),
    ],
)
def test_damaged_axistags_are_refused(h5, text, match):
    path = h5(raw=GREY)
    with h5py.File(path, "a") as file:
        file["raw"].attrs["axistags"] = text
    with pytest.raises((FileError, ShapeError), match=match):
        open_image(path)


def test_a_dataset_never_written_is_refused(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("raw", (200_000, 200_000), "u1", chunks=(512, 512))
    with pytest.raises(FileError, match=r"declares shape \(200000, 200000\) and holds no pixel of it"):
        open_image(tmp_path / "a.h5")


def test_a_chunk_that_unpacks_beyond_memory_is_refused(tmp_path, monkeypatch):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        data = file.create_dataset("raw", (10_000, 10_000), "u1", chunks=(10_000, 10_000), compression="gzip")
        data[:10, :10] = 1
    assert (tmp_path / "a.h5").stat().st_size < 200_000
    monkeypatch.setenv("GPUSEG_MAX_BYTES", "90000000")
    with pytest.raises(ResourceError, match=r"shape \(10000, 10000\) takes 100\.0 MB"):
        open_image(tmp_path / "a.h5")


def test_a_virtual_dataset_with_absent_sources_is_refused(tmp_path):
    layout = h5py.VirtualLayout((2, 20, 30), "u1")
    for i, name in enumerate(("here.h5", "gone.h5")):
        with h5py.File(tmp_path / name, "w") as file:
            file["raw"] = GREY
        layout[i] = h5py.VirtualSource(tmp_path / name, "raw", GREY.shape)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_virtual_dataset("raw", layout)
    with open_image(tmp_path / "a.h5") as image:
        np.testing.assert_array_equal(image.read()[1], GREY)
    (tmp_path / "gone.h5").unlink()
    with pytest.raises(FileError, match=r"in files that are absent: .*gone\.h5"):
        open_image(tmp_path / "a.h5")


def test_a_region_reads_no_other_chunk(tmp_path):
    """Of two chunks one is damaged: the other still reads, and the damage is found when it is met."""
    write(tmp_path / "a.h5", np.random.default_rng(0).integers(0, 60000, (1024, 512), "u2"), "yx")
    with h5py.File(tmp_path / "a.h5") as file:
        damaged = file["exported_data"].id.get_chunk_info_by_coord((512, 0))
    with (tmp_path / "a.h5").open("r+b") as stream:
        stream.seek(damaged.byte_offset + damaged.size // 2)
        stream.write(b"damage")
    with open_image(tmp_path / "a.h5") as image:
        assert image.read((slice(0, 512), slice(0, 512))).shape == (512, 512)
        with pytest.raises(FileError, match=r"a\.h5: cannot be read: .*filter"):
            image.read()


def test_what_is_written_is_what_ilastik_writes(tmp_path):
    voxel = Voxel({"y": 0.5, "x": 0.25}, {"y": "micrometer", "x": "micrometer"})
    values = np.random.default_rng(0).random((40, 50, 2), np.float32)
    write(
        tmp_path / "a.h5",
        values,
        "yxc",
        voxel=voxel,
        drange=(0, 1),
        channel_names=("background", "cell"),
        provenance='{"model": "abc"}',
    )
    with h5py.File(tmp_path / "a.h5") as file:
        assert list(file) == ["exported_data"]
        data = file["exported_data"]
        assert (data.shape, data.dtype, data.chunks) == ((40, 50, 2), np.float32, (40, 50, 1))
        assert (data.compression, data.compression_opts, data.fletcher32) == ("gzip", 1, True)
        assert data.attrs["axistags"].decode() == tags("yxc", y=0.5, x=0.25)
        assert json.loads(data.attrs["axis_units"]) == {"y": "micrometer", "x": "micrometer"}
        assert data.attrs["display_mode"] == b"grayscale"
        assert data.attrs["drange"].tolist() == [0.0, 1.0]
        assert json.loads(data.attrs["channel_names"]) == ["background", "cell"]
        assert data.attrs["gpuseg"] == b'{"model": "abc"}'
        assert [d.label for d in data.dims] == ["y", "x", "c"]
        np.testing.assert_array_equal(data[:], values)


def test_axistags_without_pixel_size_match_those_of_a_file_by_ilastik(tmp_path, shared):
    reference = shared / "data/ilp/ilastik-runs/em2d__fibsem_z010_Probabilities.h5"
    with open_image(reference) as image:
        write(tmp_path / "a.h5", image.read(), image.axes, drange=(0, 1))
    with h5py.File(reference) as theirs, h5py.File(tmp_path / "a.h5") as ours:
        one, other = theirs["exported_data"], ours["exported_data"]
        assert other.attrs["axistags"].decode() == one.attrs["axistags"]
        assert other.attrs["display_mode"].decode() == one.attrs["display_mode"]
        assert other.attrs["drange"].tolist() == one.attrs["drange"].tolist()
        assert [d.label for d in other.dims] == [d.label for d in one.dims]


def test_labels_are_marked_and_an_internal_path_is_used(tmp_path):
    write(tmp_path / "a.h5/volume/cells", GREY, "yx", kind="labels")
    with h5py.File(tmp_path / "a.h5") as file:
        assert file["volume/cells"].attrs["display_mode"] == b"random-colortable"
    with open_image(tmp_path / "a.h5/volume/cells") as image:
        np.testing.assert_array_equal(image.read(), GREY)


def test_a_new_dataset_joins_those_in_the_file(h5):
    path = h5(raw=GREY, volume__old=GREY + 1, volume__cells=GREY + 2)
    with h5py.File(path, "a") as file:
        file.attrs["note"] = "kept"
        file["raw"].attrs["axistags"] = tags("yx", x=0.5)
    write(path / "volume/cells", GREY[:5], "yx")
    write(path / "raw2", GREY[:6], "yx")
    with h5py.File(path) as file:
        assert file.attrs["note"] == "kept"
        shapes = {name: file[name].shape for name in ("raw", "raw2", "volume/old", "volume/cells")}
    assert shapes == {"raw": (20, 30), "raw2": (6, 30), "volume/old": (20, 30), "volume/cells": (5, 30)}
    with open_image(path / "raw") as image:
        np.testing.assert_array_equal(image.read(), GREY)
        assert image.voxel.size == {"x": 0.5}


def test_a_dataset_written_again_leaves_no_trace_of_the_old(tmp_path):
    write(tmp_path / "a.h5", GREY, "yx")
    once = (tmp_path / "a.h5").stat().st_size
    write(tmp_path / "a.h5", GREY, "yx")
    assert (tmp_path / "a.h5").stat().st_size == once


def test_a_file_that_is_no_hdf5_is_replaced(tmp_path):
    (tmp_path / "a.h5").write_text("left by something else")
    write(tmp_path / "a.h5", GREY, "yx")
    with open_image(tmp_path / "a.h5") as image:
        np.testing.assert_array_equal(image.read(), GREY)


@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("raw/below", r"a\.h5: 'raw' is a dataset, nothing can stand"),
        ("volume", r"a\.h5: 'volume' is a group of"),
    ],
)
def test_a_dataset_takes_no_place_that_is_taken(h5, name, match):
    path = h5(raw=GREY, volume__old=GREY + 1)
    with pytest.raises(FileError, match=match):
        write(path / name, GREY, "yx")
    with open_image(path / "volume/old") as image:
        np.testing.assert_array_equal(image.read(), GREY + 1)


def test_a_disk_that_fills_up_at_the_start_leaves_nothing(tmp_path, monkeypatch):
    def fail(output):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("gpuseg.io.hdf5._attributes", fail)
    with pytest.raises(ResourceError, match=r"a\.h5: cannot be written: No space left on device"):
        write(tmp_path / "a.h5", GREY, "yx")
    assert not list(tmp_path.iterdir())


def test_a_file_that_begins_with_a_users_own_block_is_read(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w", userblock_size=1024) as file:
        file["raw"] = GREY
    with open_image(tmp_path / "a.h5") as image:
        np.testing.assert_array_equal(image.read(), GREY)


def test_equal_images_give_equal_bytes(tmp_path):
    for name in ("a.h5", "b.h5"):
        write(tmp_path / name, GREY, "yx")
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


@pytest.mark.parametrize(
    ("axes", "shape", "itemsize", "chunk"),
    [
        ("yx", (4096, 4096), 1, (512, 1024)),
        ("yxc", (4096, 4096, 3), 4, (256, 512, 1)),
        ("zyxc", (500, 500, 500, 2), 4, (32, 64, 64, 1)),
        ("tzyxc", (9, 500, 500, 500, 2), 2, (1, 64, 64, 64, 1)),
        ("yx", (3, 100_000), 4, (3, 32768)),
        ("xy", (1, 1), 8, (1, 1)),
    ],
)
def test_chunks_are_near_cubes_of_half_a_megabyte(axes, shape, itemsize, chunk):
    found = chunk_shape(shape, axes, itemsize)
    assert found == chunk
    assert np.prod(found) * itemsize <= CHUNK_BYTES


def test_a_heap_that_never_ends_is_refused(tmp_path):
    """HDF5 itself stays for ever at free space of size 0; the file stands in for a damaged one."""
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["raw"] = GREY
        file["raw"].attrs["axistags"] = tags("yx")
    data = bytearray(path.read_bytes())
    heap = data.index(SIGNATURE)
    check_heaps(path)
    OBJECT.pack_into(data, heap + 16, 0, 0, 0)
    path.write_bytes(data)
    with pytest.raises(
        FileError, match=rf"heap at byte {heap} has free space of 0 bytes at byte {heap + 16}"
    ):
        open_image(path)


def test_a_heap_beyond_the_end_is_left_to_hdf5(tmp_path):
    (tmp_path / "a.h5").write_bytes(b"x" * 32 + SIGNATURE + (10**9).to_bytes(8, "little"))
    check_heaps(tmp_path / "a.h5")
    (tmp_path / "a.h5").write_bytes(b"x" * 32 + SIGNATURE)
    check_heaps(tmp_path / "a.h5")


def test_a_file_that_is_being_written_is_refused(tmp_path):
    script = "import h5py, sys; file = h5py.File(sys.argv[1], 'w'); print('open', flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path / "a.h5")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout.readline() == "open\n"
            with pytest.raises(FileError, match=r"a\.h5: (cannot be read|is empty)"):
                open_image(tmp_path / "a.h5")
        finally:
            process.kill()


ILASTIK_FILES = [
    ("formats/ilastik/1t3d2c.h5", "tzyxc", "shape", (1, 33, 77, 45, 2), "uint8"),
    ("formats/ilastik/3cRGB.h5", "xyc", "file", (16, 15, 9), "uint8"),
    ("timeseries/fluo_n2dh_sim_raw.h5", "txyc", "file", (10, 495, 534, 1), "uint32"),
    ("timeseries/smallVideo.h5", "tyxc", "file", (7, 408, 408, 1), "float32"),
    ("ilp/ilastik-tests/inputdata/2d3c.h5", "yxc", "shape", (73, 187, 3), "uint8"),
    ("ilp/ilastik-tests/inputdata/3d.h5", "zyx", "shape", (50, 60, 55), "uint8"),
    (
        "ilp/ilastik-tests/reference/5t3d2c_wSeg_Object Predictions.h5",
        "tzyxc",
        "file",
        (5, 33, 77, 45, 1),
        "uint8",
    ),
    ("formats/ilastik/smallVideoBdv.h5/t00003/s00/1/cells", "zyx", "shape", (1, 204, 204), "int16"),
]


@pytest.mark.parametrize(("name", "axes", "origin", "shape", "dtype"), ILASTIK_FILES)
def test_files_of_ilastik_are_read(shared, name, axes, origin, shape, dtype):
    with open_image(shared / "data" / name) as image:
        assert (image.axes, image.axes_from, image.shape, image.dtype) == (axes, origin, shape, dtype)
        values = image.read()
    assert values.std() > 0


@pytest.mark.parametrize("name", ["1d.h5", "smallVideoBdv.h5"])
def test_files_without_one_image_are_refused(shared, name):
    with pytest.raises(FileError, match=r"datasets have 2 to 5 axes; it holds \w"):
        open_image(shared / "data/formats/ilastik" / name)


def test_malformed_files_are_refused(shared):
    files = sorted((shared / "data/malformed/hdf5").glob("*.h5"))
    assert len(files) == 6
    for file in files:
        with pytest.raises(FileError, match=rf"{file.name}: cannot be read: "):
            open_image(file)
