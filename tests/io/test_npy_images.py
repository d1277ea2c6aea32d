"""NumPy's own files: mapped, checked, and never a way to run code."""

import io
import pickle
import zipfile

import numpy as np
import pytest

from gpuseg.errors import FileError, ResourceError
from gpuseg.io import Output, create_image, open_image

CUBE = np.random.default_rng(0).random((5, 6, 7), np.float32)


class Canary:
    """Unpickling one leaves a file behind."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_both_memory_orders_read_by_region(tmp_path, suffix, order):
    values = np.asarray(CUBE, order=order)
    (np.save if suffix == ".npy" else np.savez)(tmp_path / f"a{suffix}", values)
    with open_image(tmp_path / f"a{suffix}") as image:
        region = (slice(1, 4), slice(2, 3), slice(0, 7))
        np.testing.assert_array_equal(image.read(region), CUBE[region])
        np.testing.assert_array_equal(image.read(), CUBE)


def test_a_region_is_a_copy_that_outlives_the_file(tmp_path):
    np.save(tmp_path / "a.npy", CUBE)
    with open_image(tmp_path / "a.npy") as image:
        values = image.read()
    values += 1
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), CUBE)
    with pytest.raises(FileError, match="the file is closed"):
        image.read()


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_arrays_of_objects_are_refused_and_never_unpickled(tmp_path, suffix):
    canary = tmp_path / "canary"
    values = np.array([[Canary(canary)] * 3] * 2, dtype=object)
    (np.save if suffix == ".npy" else np.savez)(tmp_path / f"a{suffix}", values)
    with pytest.raises(FileError, match=r"a\.np.*: an array of Python objects \(dtype object\)"):
        open_image(tmp_path / f"a{suffix}")
    assert not canary.exists()


def test_a_pickle_named_npy_is_refused_and_never_unpickled(tmp_path):
    (tmp_path / "a.npy").write_bytes(pickle.dumps(Canary(tmp_path / "canary")))
    with pytest.raises(FileError, match="is not a NPY file"):
        open_image(tmp_path / "a.npy")
    assert not (tmp_path / "canary").exists()


@pytest.mark.parametrize("change", [-1, -100, 1, 4096])
def test_a_length_other_than_the_header_says_is_refused(tmp_path, change):
    np.save(tmp_path / "a.npy", CUBE)
    data = (tmp_path / "a.npy").read_bytes()
    (tmp_path / "a.npy").write_bytes(data[:change] if change < 0 else data + bytes(change))
    with pytest.raises(
        FileError, match=rf"{len(data) + change} bytes, but shape \(5, 6, 7\) .* takes {len(data)}"
    ):
        open_image(tmp_path / "a.npy")


def test_a_short_file_claiming_a_huge_image_is_refused(tmp_path):
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        stream, {"descr": "<f8", "fortran_order": False, "shape": (100_000, 100_000)}
    )
    (tmp_path / "a.npy").write_bytes(stream.getvalue() + bytes(512))
    with pytest.raises(FileError, match=r"640 bytes, but shape \(100000, 100000\)"):
        open_image(tmp_path / "a.npy")


def test_format_version_2_is_read_and_others_are_refused(tmp_path):
    with (tmp_path / "a.npy").open("wb") as stream:
        np.lib.format.write_array(stream, CUBE, version=(2, 0))
    with open_image(tmp_path / "a.npy") as image:
        np.testing.assert_array_equal(image.read(), CUBE)
    data = bytearray((tmp_path / "a.npy").read_bytes())
    data[6] = 3
    (tmp_path / "a.npy").write_bytes(data)
    with pytest.raises(FileError, match=r"NPY format version \(3, 0\)"):
        open_image(tmp_path / "a.npy")


def test_one_of_several_arrays_must_be_named(tmp_path):
    np.savez(tmp_path / "a.npz", left=CUBE, right=CUBE + 1)
    with pytest.raises(
        FileError, match=r"2 arrays: left, right\n  hint: name one, for example .*a\.npz/left"
    ):
        open_image(tmp_path / "a.npz")
    with pytest.raises(FileError, match="has no array 'up'; its arrays: left, right"):
        open_image(tmp_path / "a.npz" / "up")
    with open_image(tmp_path / "a.npz" / "right") as image:
        np.testing.assert_array_equal(image.read(), CUBE + 1)


def test_an_archive_without_arrays_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("readme.txt", "nothing here")
    with pytest.raises(FileError, match="0 arrays: none"):
        open_image(tmp_path / "a.npz")


def test_a_damaged_archive_is_found_by_its_checksum(tmp_path):
    np.savez(tmp_path / "a.npz", a=CUBE)
    data = bytearray((tmp_path / "a.npz").read_bytes())
    data[400] ^= 1
    (tmp_path / "a.npz").write_bytes(data)
    with pytest.raises(FileError, match="Bad CRC-32"), open_image(tmp_path / "a.npz") as image:
        image.read()


def test_an_archive_that_unpacks_beyond_memory_is_refused(tmp_path, monkeypatch):
    np.savez_compressed(tmp_path / "a.npz", a=np.zeros((3000, 3000)))
    monkeypatch.setenv("GPUSEG_MAX_BYTES", "50000000")
    with pytest.raises(ResourceError, match=r"shape \(3000, 3000\) takes 72\.0 MB"):
        open_image(tmp_path / "a.npz")


def test_disk_space_is_reserved_before_writing(tmp_path):
    output = Output((1000, 1000), np.dtype("f4"), "yx")
    with create_image(tmp_path / "a.npy", output) as writer:
        (partial,) = tmp_path.iterdir()
        assert partial.stat().st_blocks * 512 >= output.nbytes
        writer.write((slice(0, 1000), slice(0, 1000)), np.ones((1000, 1000), np.float32))
    assert np.load(tmp_path / "a.npy").sum() == 10**6


def test_space_is_reserved_where_the_system_cannot(tmp_path, monkeypatch):
    monkeypatch.delattr("os.posix_fallocate")
    with create_image(tmp_path / "a.npy", Output((1500, 1000), np.dtype("u1"), "yx")) as writer:
        writer.write((slice(0, 1500), slice(0, 1000)), np.ones((1500, 1000), np.uint8))
    assert np.load(tmp_path / "a.npy").sum() == 1_500_000


def test_arrays_of_ilastik_are_read(shared):
    with open_image(shared / "data/ilp/ilastik-api/Data_3D.npy") as image:
        assert (image.axes, image.axes_from, image.shape) == ("zyxc", "shape", (64, 64, 64, 1))
        assert image.read().std() > 0
