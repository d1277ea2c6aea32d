"""Damaged files: refused, or read with the shape and type they had; never a crash, never a hang.

Where a format has checksums (PNG, NPZ, HDF5 as written here) the pixels are right too. NPY, JPEG, BMP and
GIF have none: a flipped bit among their pixels cannot be seen by anyone.
"""

import h5py
import numpy as np
import pytest
from PIL import Image as Pillow

from gpuseg.errors import GpusegError
from gpuseg.io import Output, create_image, open_image

SEEDS = 100
RNG = np.random.default_rng(0)
VOLUME = (RNG.random((3, 33, 29, 2)) * 100).round().astype("f4")
NOISE = RNG.integers(0, 65536, (40, 50), "u2")
RGB = RNG.integers(0, 256, (40, 50, 3), "u1")


def write(path, values, axes):
    with create_image(path, Output(values.shape, values.dtype, axes)) as writer:
        writer.write(tuple(slice(0, n) for n in values.shape), values)


def as_ilastik(path, values):
    """A file in HDF5's oldest format with text of variable length, as h5py writes by default."""
    with h5py.File(path, "w") as file:
        data = file.create_dataset("exported_data", data=values, chunks=(3, 17, 29, 1), compression="gzip")
        data.attrs["axistags"] = '{"axes": [{"key": "z"}, {"key": "y"}, {"key": "x"}, {"key": "c"}]}'


# name -> (suffix, how to make it, whether checksums cover the pixels)
FILES = {
    "hdf5": (".h5", lambda path: write(path, VOLUME, "zyxc"), True),
    "hdf5 noise": (".h5", lambda path: write(path, NOISE, "yx"), True),
    "hdf5 of ilastik": (".h5", lambda path: as_ilastik(path, VOLUME), False),
    "npy": (".npy", lambda path: write(path, VOLUME, "zyxc"), False),
    "npz": (".npz", lambda path: np.savez_compressed(path, a=VOLUME), True),
    "png 16 bit": (".png", lambda path: write(path, NOISE, "yx"), True),
    "png rgb": (".png", lambda path: write(path, RGB, "yxc"), True),
    "jpeg": (".jpg", lambda path: Pillow.fromarray(RGB).save(path), False),
    "bmp": (".bmp", lambda path: Pillow.fromarray(RGB).save(path), False),
    "gif": (".gif", lambda path: Pillow.fromarray(RGB).save(path), False),
}


def mutant(data, seed):
    """One of five kinds of damage: cut off, bits flipped, a field overwritten, zeroed, bytes lost."""
    chance = np.random.default_rng(seed)
    changed, start = bytearray(data), int(chance.integers(0, len(data)))
    run = int(chance.integers(1, 64))
    match seed % 5:
        case 0:
            del changed[start:]
        case 1:
            for i in chance.integers(0, len(data), run % 8 + 1):
                changed[i] ^= 1 << chance.integers(8)
        case 2:
            changed[start : start + 4] = chance.bytes(4)
        case 3:
            changed[start : start + run] = bytes(min(run, len(data) - start))
        case 4:
            del changed[start : start + run]
    return bytes(changed)


def load(path):
    """Pixels, or None where the file is refused by an error of ours that names it."""
    try:
        with open_image(path) as image:
            return image.read()
    except GpusegError as error:
        if path.name not in str(error):
            raise
    return None


@pytest.mark.parametrize(
    "seeds", [range(SEEDS), pytest.param(range(SEEDS, 2000), marks=pytest.mark.soak)], ids=str
)
@pytest.mark.parametrize("name", FILES)
def test_mutants_are_refused_or_read_as_they_were(tmp_path, name, seeds):
    suffix, make, checked = FILES[name]
    whole, path = tmp_path / f"whole{suffix}", tmp_path / f"mutant{suffix}"
    make(whole)
    data, expected = whole.read_bytes(), load(whole)
    refused = 0
    for seed in seeds:
        path.write_bytes(mutant(data, seed))
        found = load(path)
        if found is None:
            refused += 1
            continue
        assert (found.shape, found.dtype) == (expected.shape, expected.dtype), seed
        if checked:
            np.testing.assert_array_equal(found, expected, err_msg=str(seed))
    assert refused >= len(seeds) // 5, "every file that was cut off must be refused"


@pytest.mark.parametrize("name", FILES)
def test_every_truncation_is_refused_or_complete(tmp_path, name):
    suffix, make, _ = FILES[name]
    whole, path = tmp_path / f"whole{suffix}", tmp_path / f"cut{suffix}"
    make(whole)
    data, expected = whole.read_bytes(), load(whole)
    for length in [*range(0, len(data), max(1, len(data) // 150)), *range(len(data) - 20, len(data))]:
        path.write_bytes(data[:length])
        found = load(path)
        if found is not None:
            np.testing.assert_array_equal(found, expected, err_msg=f"cut after {length} of {len(data)} bytes")


@pytest.mark.parametrize("name", FILES)
def test_the_whole_file_is_read(tmp_path, name):
    suffix, make, _ = FILES[name]
    make(tmp_path / f"a{suffix}")
    assert load(tmp_path / f"a{suffix}").size
