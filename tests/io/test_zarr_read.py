"""OME-Zarr of every version, bioformats2raw and plain zarr: read by region, or refused by name."""

import json
from pathlib import Path

import numpy as np
import pytest
import zarr

from gpuseg.errors import FileError, GpusegError
from gpuseg.io import open_image

RNG = np.random.default_rng(5)
PIXELS = RNG.integers(0, 4000, (3, 40, 48)).astype("u2")
AXES = [{"name": a, "type": "space", "unit": "micrometer"} for a in "zyx"]
SCALE = {"type": "scale", "scale": [2.0, 0.5, 0.5]}

ARRAY = json.dumps(
    {"zarr_format": 3, "node_type": "array", "shape": [3, 40, 48], "data_type": "uint16", "fill_value": 0}
    | {"chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [1, 16, 16]}}, "attributes": {}}
    | {"chunk_key_encoding": {"name": "default"}, "codecs": [{"name": "bytes"}, {"name": "zstd"}]}
)


def scales(*factors: float) -> list[dict[str, object]]:
    return [{"type": "scale", "scale": list(factors)}]


def image(version: int, path: Path, multiscales: object, **arrays: np.ndarray) -> Path:
    """A store with `multiscales` as given and the arrays of that name, `_0` for `0`."""
    block = {"multiscales": multiscales}
    attributes = block if version == 2 else {"ome": {"version": "0.5"} | block}
    zarr.create_group(str(path), zarr_format=version, attributes=attributes)
    for name, pixels in (arrays or {"_0": PIXELS}).items():
        plain(path / name[1:], pixels, version)
    return path


def plain(path: Path, pixels: np.ndarray, version: int = 3, **options: object) -> Path:
    chunks = (*(1 for _ in pixels.shape[2:]), 16, 16) if pixels.ndim > 1 else (16,)
    array = zarr.create_array(
        str(path), shape=pixels.shape, chunks=chunks, dtype=pixels.dtype, zarr_format=version, **options
    )
    array[...] = pixels
    return path


def multiscales(*paths: str, axes: object = AXES, factors: object = None) -> list[dict[str, object]]:
    steps = factors or [scales(2.0, 0.5 * 2**i, 0.5 * 2**i) for i in range(len(paths))]
    sets = [{"path": p, "coordinateTransformations": s} for p, s in zip(paths, steps, strict=True)]
    return [{"axes": axes, "datasets": sets}]


@pytest.mark.parametrize("version", [2, 3])
def test_the_finest_level_reads_by_region(version, tmp_path):
    path = image(version, tmp_path / "a.zarr", multiscales("0", "1"), _0=PIXELS, _1=PIXELS[:, ::2, ::2])
    with open_image(path) as found:
        assert (found.axes, found.axes_from, found.dtype) == ("zyx", "file", np.uint16)
        assert dict(found.voxel.size) == {"z": 2.0, "y": 0.5, "x": 0.5}
        assert found.voxel.unit["x"] == "micrometer"
        np.testing.assert_array_equal(found.read(), PIXELS)
        region = (slice(1, 3), slice(5, 39), slice(30, 31))
        np.testing.assert_array_equal(found.read(region), PIXELS[region])
    with open_image(path / "1") as coarse:
        assert (coarse.shape, coarse.axes, coarse.voxel.size["x"]) == ((3, 20, 24), "zyx", 1.0)


def test_labels_have_paths_of_their_own(tmp_path):
    path = image(3, tmp_path / "a.zarr", multiscales("0"))
    zarr.create_group(str(path / "labels"), attributes={"ome": {"version": "0.5", "labels": ["cells"]}})
    image(3, path / "labels" / "cells", multiscales("0"), _0=PIXELS % 3)
    with open_image(path / "labels" / "cells") as found:
        np.testing.assert_array_equal(found.read(), PIXELS % 3)
    with pytest.raises(FileError, match=r"no such folder\n  hint: labels has: cells"):
        open_image(path / "labels" / "nuclei")


@pytest.mark.parametrize(
    ("axes", "ndim", "expected"),
    [
        (None, 5, "tczyx"),
        (["z", "y", "x"], 3, "zyx"),
        ([{"name": "C", "type": "channel"}, {"name": "Y", "type": "space"}, {"name": "X"}], 3, "cyx"),
        ([{"name": "colour", "type": "channel"}, "y", "x"], 3, "cyx"),
        (["angle", "y", "x"], 3, None),
        (["z", "c", "x"], 3, None),
    ],
)
def test_axes_of_every_version(axes, ndim, expected, tmp_path):
    block = [{"axes": axes, "datasets": [{"path": "0"}]}]
    if axes is None:
        del block[0]["axes"]
    path = image(2, tmp_path / "a.zarr", block, _0=np.ones((2,) * (ndim - 2) + (20, 20), "u1"))
    with open_image(path) as found:
        assert found.reader.axes == expected
        assert found.axes_from == ("shape" if expected is None else "file")
        assert not found.voxel.size


@pytest.mark.parametrize(
    ("options", "axes"),
    [
        ({"dimension_names": ["time", "Y", "X"]}, "tyx"),
        ({"dimension_names": ["a", "y", "x"]}, None),
        ({}, None),
        ({"attributes": {"_ARRAY_DIMENSIONS": ["channel", "y", "x"]}}, "cyx"),
    ],
)
def test_plain_arrays_may_name_their_axes(options, axes, tmp_path):
    path = plain(tmp_path / "a.zarr", PIXELS, **options)
    with open_image(path) as found:
        assert found.reader.axes == axes
        np.testing.assert_array_equal(found.read(), PIXELS)


def test_the_only_array_of_a_group_is_the_image(tmp_path):
    zarr.create_group(str(tmp_path / "a.zarr"))
    plain(tmp_path / "a.zarr" / "raw", PIXELS)
    with open_image(tmp_path / "a.zarr") as found:
        np.testing.assert_array_equal(found.read(), PIXELS)
    plain(tmp_path / "a.zarr" / "more", PIXELS)
    with pytest.raises(FileError, match=r"no multiscales, 2 arrays(.|\n)*name one of more, raw"):
        open_image(tmp_path / "a.zarr")
    with open_image(tmp_path / "a.zarr" / "raw") as found:
        assert found.axes_from == "shape"


@pytest.mark.parametrize("listed", [None, ["1"], []])
def test_bioformats2raw_gives_its_first_image(listed, tmp_path, caplog):
    path = tmp_path / "a.zarr"
    zarr.create_group(str(path), zarr_format=2, attributes={"bioformats2raw.layout": 3})
    for name in "01":
        image(2, path / name, multiscales("0"), _0=PIXELS + int(name))
    if listed is not None:
        zarr.create_group(str(path / "OME"), zarr_format=2, attributes={"series": listed})
    with open_image(path) as found:
        np.testing.assert_array_equal(found.read(), PIXELS + (1 if listed else 0))
    assert ("holds 2 images, 0, 1; the first is read" in caplog.text) == (not listed)


def test_bioformats2raw_without_images_is_refused(tmp_path):
    zarr.create_group(str(tmp_path / "a.zarr"), attributes={"ome": {"bioformats2raw.layout": 3}})
    with pytest.raises(FileError, match="layout without an image"):
        open_image(tmp_path / "a.zarr")


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ({"plate": {"wells": [{"path": "A/1"}]}}, r"a plate of 1 wells(.|\n)*e\.g\. a\.zarr/A/1/0"),
        ({"well": {"images": [{"path": "0"}]}}, r"a well of 1 images(.|\n)*e\.g\. a\.zarr/0"),
        ({"multiscales": []}, "must be a list with at least one image"),
        ({"multiscales": "0"}, "must be a list with at least one image"),
        ({"multiscales": [{}]}, "has no datasets"),
        ({"multiscales": [{"datasets": [{"path": 0}]}]}, "has no path"),
        ({"multiscales": [{"datasets": [{"path": "0"}], "axes": "zyx"}]}, "axes must be a list"),
        ({"multiscales": [{"datasets": [{"path": "0"}], "axes": [{"type": "space"}]}]}, "has no name"),
        (
            {"multiscales": [{"datasets": [{"path": "0"}], "axes": ["z", "y", "Y"]}]},
            "'zyy' name an axis twice",
        ),
        ({"multiscales": [{"datasets": [{"path": "0"}], "axes": ["y", "x"]}]}, "has 3 axes, .* name 2"),
        ({"multiscales": [{"datasets": [{"path": "0"}]}]}, "has 3 axes, .* name 5"),
        ({"multiscales": multiscales("7")}, "names the array '7', which is not there"),
        ({"multiscales": multiscales("sub")}, "'sub' is a group, not an array"),
        ({"multiscales": multiscales("../b")}, r"'\.\./b' leads out of the store"),
        ({"multiscales": multiscales("0", factors=[scales(1.0)])}, "3 axes and 1 scale factors"),
        ({"multiscales": multiscales("0", factors=[[{"type": "scale"}]])}, "3 axes and no scale factors"),
        ({"multiscales": multiscales("0", factors=[scales("a", 1, 1)])}, "are not numbers"),
    ],
)
def test_what_is_no_image_is_refused_by_name(block, message, tmp_path):
    path = tmp_path / "a.zarr"
    zarr.create_group(str(path), attributes={"ome": {"version": "0.5"} | block})
    plain(path / "0", PIXELS)
    zarr.create_group(str(path / "sub"))
    with pytest.raises(FileError, match=message):
        open_image(path)


def test_impossible_sizes_are_ignored_with_a_message(tmp_path, caplog):
    path = image(3, tmp_path / "a.zarr", multiscales("0", factors=[scales(-1.0, 0.0, 0.5)]))
    with open_image(path) as found:
        assert dict(found.voxel.size) == {"x": 0.5}
    assert "-1.0 along z is impossible" in caplog.text


def test_the_first_of_several_multiscales_is_read_and_said(tmp_path, caplog):
    with open_image(image(3, tmp_path / "a.zarr", multiscales("0") * 2)):
        assert "hold 2 images; the first is read" in caplog.text


@pytest.mark.parametrize(
    ("inside", "message"),
    [("../other", "leads out"), ("nothing", "no such folder"), ("folder", "is not part of a zarr store")],
)
def test_paths_must_lead_to_an_array(inside, message, tmp_path):
    path = image(3, tmp_path / "a.zarr", multiscales("0"))
    (path / "folder").mkdir()
    with pytest.raises(FileError, match=message):
        open_image(f"{path}/{inside}")


def test_an_array_that_no_multiscales_name_has_no_level(tmp_path):
    path = image(3, tmp_path / "a.zarr", multiscales("0"), _0=PIXELS, _raw=PIXELS)
    (path / "more").mkdir()  # a folder without metadata: older writers leave such
    plain(path / "more" / "raw", PIXELS)
    for name in ("raw", "more/raw"):
        with open_image(path / name) as found:
            assert found.axes_from == "shape"


def test_absent_chunks_read_as_the_fill_value_and_are_counted(tmp_path, caplog):
    path = plain(tmp_path / "a.zarr", PIXELS)
    (path / "c" / "0" / "0" / "0").unlink()
    with open_image(path) as found:
        pixels = found.read()
    assert not pixels[0, :16, :16].any()
    np.testing.assert_array_equal(pixels[1:], PIXELS[1:])
    assert "1 of 27 chunks are absent and read as 0" in caplog.text


def test_python_objects_are_never_unpickled(tmp_path):
    path = plain(tmp_path / "a.zarr", PIXELS, version=2)
    meta = json.loads((path / ".zarray").read_text())
    for change in ({"filters": [{"id": "pickle"}]}, {"dtype": "|O"}):
        (path / ".zarray").write_text(json.dumps(meta | change))
        with pytest.raises(FileError, match="an array of Python objects"):
            open_image(path)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("zarr.json", "{", "zarr.json: cannot be read"),
        ("zarr.json", "[]", "must be a JSON object, is a list"),
        ("0/zarr.json", '{"zarr_format": 3, "node_type": "array"}', "has 0 axes, its multiscales name 3"),
        ("0/zarr.json", ARRAY.replace("uint16", "uint17"), "a.zarr: cannot be read"),
        ("0/zarr.json", ARRAY.replace("zstd", "other"), "a.zarr: cannot be read"),
    ],
)
def test_broken_metadata_is_refused(name, text, message, tmp_path):
    path = image(3, tmp_path / "a.zarr", multiscales("0"))
    (path / name).write_text(text)
    with pytest.raises(FileError, match=message):
        open_image(path)


def test_an_enormous_empty_array_opens_and_reads_by_region(tmp_path):
    zarr.create_array(str(tmp_path / "a.zarr"), shape=(200_000, 200_000), chunks=(1000, 1000), dtype="u1")
    with open_image(tmp_path / "a.zarr") as found:
        assert found.read((slice(199_990, 200_000), slice(0, 5))).shape == (10, 5)
        with pytest.raises(GpusegError, match=r"takes 40\.0 GB of memory at once"):
            found.read()


def test_an_enormous_chunk_is_refused(tmp_path):
    zarr.create_array(str(tmp_path / "a.zarr"), shape=(200_000, 200_000), chunks=(200_000,) * 2, dtype="u1")
    with pytest.raises(FileError, match="chunks of 40000000000 bytes, at most 4294967296"):
        open_image(tmp_path / "a.zarr")


def test_mutants_never_change_shape_or_type(tmp_path):
    path = image(2, tmp_path / "a.zarr", multiscales("0"))
    files = sorted(p for p in path.rglob("*") if p.is_file())
    refused = 0
    for seed in range(80):
        rng, file = np.random.default_rng(seed), files[seed % len(files)]
        data = file.read_bytes()
        mutant, at = bytearray(data), int(rng.integers(0, len(data)))
        if seed % 2:
            del mutant[at : at + int(rng.integers(1, 200))]
        else:
            mutant[at] ^= 1 << int(rng.integers(0, 8))
        file.write_bytes(mutant)
        try:
            with open_image(path) as found:
                pixels = found.read()
            assert (pixels.shape, pixels.dtype) == (PIXELS.shape, PIXELS.dtype), seed
        except GpusegError:
            refused += 1
        file.write_bytes(data)
    assert refused > 20


REAL = {
    "coins_bioformats2raw.ome.zarr": ((1, 1, 1, 480, 640), "uint8", "tczyx"),
    "cyx_uint8_v3.zarr": ((3, 16, 20), "uint8", "cyx"),
    "image-02_v2.ome.zarr": ((200, 200), "float64", "yx"),
    "image-04_v2.ome.zarr": ((2, 64, 64), "float64", "zyx"),
    "input10_v3.zarr": ((2, 64, 64), "uint8", "cyx"),
    "input9_v3.zarr/2": ((2, 25, 25), "bool", "zyx"),
}


@pytest.mark.parametrize("name", REAL)
def test_real_stores_read(name, shared):
    with open_image(shared / "data" / "formats" / "ome-zarr" / name) as found:
        assert (found.shape, found.dtype.name, found.axes) == REAL[name]
        assert found.read().shape == found.shape


@pytest.mark.parametrize(
    ("name", "message"),
    [("image-01.zarr", "no multiscales, 0 arrays"), ("image-03.zarr", "invalid multiscales: .* not there")],
)
def test_real_broken_stores_are_refused(name, message, shared):
    with pytest.raises(FileError, match=message):
        open_image(shared / "data" / "malformed" / "ome-zarr-invalid" / name)
