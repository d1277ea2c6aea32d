"""Files as each form writes them: what other programs find in them, and where a format has its own rules."""

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile
import zarr
from PIL import Image as Pillow

from gpuseg.axes import Voxel, reorder
from gpuseg.errors import FileError
from gpuseg.io import Output, create_image, open_image, output_paths
from gpuseg.tiles import tiles

RNG = np.random.default_rng(19)
VOXEL = Voxel(
    {"x": 0.5, "y": 0.25, "z": 2.0, "t": 3.0},
    {"x": "micrometer", "y": "nanometer", "z": "millimeter", "t": "minute"},
)


def noise(shape, dtype="u1"):
    return (RNG.random(shape) * 120).astype(dtype)


def write(path, values, axes, form=None, size=16, **facts):
    """In tiles, the last one first; returns the files that appeared."""
    output = Output(values.shape, values.dtype, axes, **facts)
    with create_image(path, output, form) as writer:
        for tile in reversed(list(tiles(values.shape, [size] * values.ndim, [0] * values.ndim))):
            writer.write(tile.core, values[tile.core])
    return [Path(p) for p in output_paths(path, output, form)]


def load(path, axes):
    with open_image(path) as image:
        return reorder(image.read(), image.axes, axes)


@pytest.mark.parametrize("form", ["jpeg", "jpeg sequence"])
def test_jpeg_comes_back_almost(tmp_path, form):
    y, x = np.mgrid[:64, :80]
    smooth = np.rint(127 + 60 * np.sin(y / 9) + 60 * np.cos(x / 7)).astype("u1")
    values = np.stack([smooth, smooth.T[:64, :80].repeat(2, 1)[:, :80]]) if "sequence" in form else smooth
    name = "a_{slice_index}" if "sequence" in form else "a"
    files = write(tmp_path / name, values, "zyx"[-values.ndim :], form)
    found = np.stack([load(f, "yx") for f in files])
    assert np.abs(found.astype(int) - values).max() <= 12
    assert np.abs(found.astype(int) - values).max() > 0, "it is lossy: a test of equality would be wrong"


@pytest.mark.parametrize("suffix", [".jpg", ".jpeg", ".bmp", ".gif"])
def test_pictures_are_written_by_their_suffix(tmp_path, suffix):
    (file,) = write(tmp_path / f"a{suffix}", np.full((20, 30), 77, "u1"), "yx")
    assert file.name == f"a{suffix}"
    np.testing.assert_array_equal(load(file, "yx"), 77)


@pytest.mark.parametrize(
    "values", [noise((20, 30)) % 4, noise((600, 700)) % 2 + 254, np.zeros((20, 30), "u1")]
)
def test_gif_keeps_label_values_whatever_they_are(tmp_path, values):
    """Pillow's default sorts the used greys into a palette, which is read as colours."""
    (file,) = write(tmp_path / "a.gif", values, "yx", kind="labels", size=512)
    np.testing.assert_array_equal(load(file, "yx"), values)


def test_a_plain_tiff_is_plain(tmp_path):
    values = noise((700, 500, 3), "u2")
    (file,) = write(tmp_path / "a", values, "yxc", "tiff", 512, voxel=VOXEL)
    with tifffile.TiffFile(file) as tif:
        page = tif.pages.first
        assert len(tif.pages) == 1
        assert not any(
            (tif.is_ome, tif.is_imagej, tif.is_shaped, page.is_tiled, "ImageDescription" in page.tags)
        )
        assert (page.photometric.name, page.samplesperpixel, page.planarconfig.name) == ("RGB", 3, "CONTIG")
        assert 1 < len(page.dataoffsets) < 20
        np.testing.assert_array_equal(page.asarray(), values)
    (grey,) = write(tmp_path / "b", values[..., 0], "yx", "tiff", 512)
    with Pillow.open(grey) as picture:  # libtiff, which decodes on its own
        np.testing.assert_array_equal(np.asarray(picture), values[..., 0])


def test_resolution_tags_of_others_are_no_pixel_size(tmp_path):
    tifffile.imwrite(
        tmp_path / "a.tif", noise((9, 9)), metadata=None, resolution=(28.3, 28.3), resolutionunit=3
    )
    with open_image(tmp_path / "a.tif") as image:
        assert not image.voxel.size


def test_a_plain_tiff_without_pixel_size_has_none(tmp_path):
    (file,) = write(tmp_path / "a", noise((9, 9)), "yx", "tiff", voxel=Voxel({"x": 0.5}))
    with open_image(file) as image:
        assert not image.voxel.size


def test_large_plain_tiffs_get_wide_offsets(tmp_path, monkeypatch):
    monkeypatch.setattr("gpuseg.io.tiff.writer.CLASSIC", 1000)
    (file,) = write(tmp_path / "a", noise((40, 40)), "yx", "tiff")
    with tifffile.TiffFile(file) as tif:
        assert tif.is_bigtiff


@pytest.mark.parametrize(("form", "packed"), [("hdf5", None), ("compressed hdf5", "gzip")])
def test_hdf5_has_what_ilastik_looks_for(tmp_path, form, packed):
    values = noise((3, 200, 300), "f4")
    (file,) = write(tmp_path / "a" / "deep", values, "zyx", form, 64, voxel=VOXEL, drange=(0, 1))
    with h5py.File(file) as opened:
        data = opened["exported_data"]
        assert (data.compression, data.chunks, data.fletcher32) == (
            packed,
            (3, 200, 256)[:0] or data.chunks,
            True,
        )
        assert np.prod(data.chunks) * 4 <= 1 << 19
        assert [d.label for d in data.dims] == ["z", "y", "x"]
        assert data.attrs["display_mode"] == b"grayscale"
        assert json.loads(data.attrs["axis_units"]) == {
            "z": "millimeter",
            "y": "nanometer",
            "x": "micrometer",
        }
        assert data.attrs["drange"].tolist() == [0, 1]
        assert [t["key"] for t in json.loads(data.attrs["axistags"])["axes"]] == ["z", "y", "x"]
        assert (data.id.get_storage_size() >= values.nbytes) == (packed is None)


def test_a_form_of_hdf5_keeps_what_else_is_in_the_file(tmp_path):
    for inside, form in (("a/one", "hdf5"), ("two", "compressed hdf5"), ("a/one", "hdf5")):
        write(tmp_path / "a.h5" / inside, noise((9, 9)), "yx", form)
    with h5py.File(tmp_path / "a.h5") as opened:
        assert (opened["a/one"].compression, opened["two"].compression) == (None, "gzip")


LABELS = np.kron(RNG.integers(0, 4, (7, 13)), np.ones((100, 100))).astype("u1")
ZARR = {"": 3, " 0.4": 2}


@pytest.mark.parametrize("old", ZARR)
@pytest.mark.parametrize(("scales", "levels"), [("single", 1), ("multi", 2)])
def test_zarr_has_one_level_or_all(tmp_path, scales, levels, old):
    values = noise((701, 1302), "f4")
    form = f"{scales}-scale OME-Zarr{old}"
    (store,) = write(tmp_path / "a", values, "yx", form, 512, voxel=Voxel({"y": 0.5, "x": 0.5}))
    group = zarr.open_group(str(store), mode="r")
    assert group.metadata.zarr_format == ZARR[old]
    assert sorted(group.array_keys()) == [str(i) for i in range(levels)]
    attributes = dict(group.attrs)
    ome = attributes if old else attributes["ome"]
    (image,) = ome["multiscales"]
    assert (image["version"] if old else ome["version"]) == (old.strip() or "0.5")
    assert len(image["datasets"]) == levels
    assert attributes["gpuseg"]["complete"] is True
    np.testing.assert_array_equal(group["0"][:], values)


def test_ome_zarr_0_4_says_what_0_5_says_in_its_own_places(tmp_path):
    more = {"channel_names": ("cell", "gap"), "colors": ((255, 0, 0), (0, 255, 0))}
    (store,) = write(tmp_path / "a", noise((9, 9, 2)), "yxc", "multi-scale ome-zarr 0.4", voxel=VOXEL, **more)
    top = json.loads((store / ".zattrs").read_text())
    assert [a["name"] for a in top["multiscales"][0]["axes"]] == ["c", "y", "x"]
    assert (top["omero"]["version"], len(top["omero"]["channels"])) == ("0.4", 2)
    array = json.loads((store / "0" / ".zarray").read_text())
    assert (array["dimension_separator"], array["compressor"]["cname"]) == ("/", "zstd")
    (labels,) = write(
        tmp_path / "b", LABELS, "yx", "multi-scale ome-zarr 0.4", 512, kind="labels", colors=more["colors"]
    )
    assert json.loads((labels / "labels" / ".zattrs").read_text()) == {"labels": ["segmentation"]}
    inner = json.loads((labels / "labels" / "segmentation" / ".zattrs").read_text())
    assert (inner["image-label"]["version"], len(inner["image-label"]["colors"])) == ("0.4", 2)
    for place in (labels, labels / "labels" / "segmentation"):
        np.testing.assert_array_equal(load(place, "yx"), LABELS)


@pytest.mark.parametrize("old", ZARR)
def test_labels_join_an_image_of_their_own_version(tmp_path, old):
    pixels = noise((700, 1300), "f4")
    write(tmp_path / "a.zarr", pixels, "yx", f"multi-scale OME-Zarr{old}", 512)
    for name, values in (("cells", LABELS), ("cells", LABELS % 2)):
        write(
            tmp_path / "a.zarr" / "labels" / name,
            values,
            "yx",
            f"multi-scale OME-Zarr{old}",
            512,
            kind="labels",
        )
    np.testing.assert_array_equal(load(tmp_path / "a.zarr", "yx"), pixels)
    np.testing.assert_array_equal(load(tmp_path / "a.zarr" / "labels" / "cells", "yx"), LABELS % 2)
    other = next(f for f in ZARR if f != old)
    with pytest.raises(
        FileError, match=rf"is zarr version {ZARR[old]}; labels can be added to version {ZARR[other]}"
    ):
        write(
            tmp_path / "a.zarr" / "labels" / "b",
            LABELS,
            "yx",
            f"multi-scale OME-Zarr{other}",
            512,
            kind="labels",
        )


@pytest.mark.parametrize(("old", "chunk"), [("", "0/c/1/0"), (" 0.4", "0/1/0")])
def test_a_lost_chunk_is_noticed_in_both_versions(tmp_path, old, chunk):
    (store,) = write(tmp_path / "a", np.zeros((2000, 2000), "u1"), "yx", f"single-scale OME-Zarr{old}", 1024)
    (store / chunk).unlink()
    with pytest.raises(FileError, match="4 chunks were written, 3 are there"):
        open_image(store)


def test_an_unfinished_store_of_0_4_is_refused(tmp_path):
    (store,) = write(tmp_path / "a", noise((9, 9)), "yx", "multi-scale ome-zarr 0.4")
    meta = store / ".zattrs"
    meta.write_text(meta.read_text().replace('"complete": true', '"complete": false'))
    with pytest.raises(FileError, match="was not written to its end"):
        open_image(store)


@pytest.mark.parametrize(
    "values", [noise((40, 30)), noise((40, 30), "u2"), noise((40, 30, 3)), noise((40, 30)) > 60]
)
def test_pictures_are_decoded_band_by_band(tmp_path, monkeypatch, values):
    monkeypatch.setattr("gpuseg.io.raster.BAND", 7)
    Pillow.fromarray(values).save(tmp_path / "a.png")
    np.testing.assert_array_equal(load(tmp_path / "a.png", "yxc"[: values.ndim]), values)
