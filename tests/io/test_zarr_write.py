"""OME-Zarr 0.5: what is written reads back, whole or not at all, labels and levels in their places."""

import json
from pathlib import Path

import numpy as np
import pytest
import zarr

from gpuseg.axes import Voxel, reorder
from gpuseg.errors import FileError
from gpuseg.io import Output, create_image, open_image
from gpuseg.io.zarr.nodes import chunk_files
from gpuseg.io.zarr.writer import ZarrWriter

RNG = np.random.default_rng(13)
VOXEL = Voxel({"x": 0.5, "y": 0.25, "t": 3.0}, {"x": "micrometer", "y": "nanometer", "t": "minute"})
LABELS = np.kron(RNG.integers(0, 4, (7, 13)), np.ones((100, 100))).astype("u1")


def write(path: Path, pixels: np.ndarray, axes: str, step: int = 7, **more: object) -> None:
    with create_image(path, Output(pixels.shape, pixels.dtype, axes, **more)) as writer:
        for start in range(0, len(pixels), step):
            region = (slice(start, start + step), *(slice(0, n) for n in pixels.shape[1:]))
            writer.write(region, pixels[region])


def attributes(path: Path) -> dict:
    return json.loads((path / "zarr.json").read_text())["attributes"]


@pytest.mark.parametrize("dtype", ["bool", "u1", "i8", "f2", "f4", ">u2"])
@pytest.mark.parametrize(
    ("axes", "shape"),
    [
        ("yx", (70, 90)),
        ("yx", (1, 1)),
        ("xy", (30, 20)),
        ("zyx", (3, 50, 60)),
        ("yxc", (60, 53, 3)),
        ("tzyxc", (2, 3, 20, 30, 2)),
    ],
)
def test_what_is_written_reads_back(axes, shape, dtype, tmp_path):
    pixels = (RNG.random(shape) * 100).astype(dtype)
    write(tmp_path / "a.zarr", pixels, axes, voxel=VOXEL)
    assert [p.name for p in tmp_path.iterdir()] == ["a.zarr"]
    with open_image(tmp_path / "a.zarr") as image:
        np.testing.assert_array_equal(reorder(image.read(), image.axes, axes), pixels)
        assert image.axes == "".join(a for a in "tczyx" if a in axes)
        assert dict(image.voxel.unit) == {a: u for a, u in VOXEL.unit.items() if a in axes}


def test_the_store_is_ome_zarr_that_zarr_reads(tmp_path):
    pixels = RNG.random((60, 50, 2), np.float32)
    more = {"channel_names": ("cell", "gap"), "colors": ((255, 0, 0),), "provenance": '{"model": 1}'}
    write(tmp_path / "a.zarr", pixels, "yxc", voxel=VOXEL, **more)
    group = zarr.open_group(str(tmp_path / "a.zarr"), mode="r")
    ome = dict(group.attrs)["ome"]
    assert ome["version"] == "0.5"
    assert [a["name"] for a in ome["multiscales"][0]["axes"]] == ["c", "y", "x"]
    assert [(c["label"], c["color"]) for c in ome["omero"]["channels"]] == [
        ("cell", "FF0000"),
        ("gap", "FFFFFF"),
    ]
    np.testing.assert_array_equal(group["0"][:], pixels.transpose(2, 0, 1))
    assert [c.to_dict()["name"] for c in group["0"].compressors] == ["zstd", "crc32c"]
    assert attributes(tmp_path / "a.zarr")["gpuseg"] == {
        "complete": True,
        "provenance": '{"model": 1}',
        "chunks": 2,
    }


@pytest.mark.parametrize(
    ("dtype", "window"), [("u1", (0, 255)), ("i2", (-32768, 32767)), ("f4", (0, 1)), ("u2", (0, 9))]
)
def test_channels_say_what_values_to_show(dtype, window, tmp_path):
    more = {"channel_names": ("a",)} | ({"drange": (0, 9)} if dtype == "u2" else {})
    write(tmp_path / "a.zarr", np.zeros((1, 4, 4), dtype), "cyx", **more)
    found = attributes(tmp_path / "a.zarr")["ome"]["omero"]["channels"][0]["window"]
    assert (found["min"], found["max"]) == window


def test_chunks_hold_about_a_megabyte(tmp_path):
    for name, shape, axes, dtype, chunks in (
        ("a", (2000, 2000), "yx", "u1", (1024, 1024)),
        ("b", (700, 2, 700), "ycx", "f4", (1, 512, 512)),
        ("c", (200, 200, 200), "zyx", "u1", (64, 128, 128)),
    ):
        write(tmp_path / f"{name}.zarr", np.zeros(shape, dtype), axes, 512)
        assert zarr.open_array(str(tmp_path / f"{name}.zarr" / "0"), mode="r").chunks == chunks


def test_levels_are_means_of_images(tmp_path):
    pixels = RNG.random((701, 1302), np.float32)
    write(tmp_path / "a.zarr", pixels, "yx", 256, voxel=Voxel({"y": 0.5, "x": 0.5}))
    with open_image(tmp_path / "a.zarr" / "1") as level:
        assert (level.shape, level.voxel.size["y"]) == ((351, 651), 1.0)
        found = level.read()
    np.testing.assert_allclose(found[:350], pixels[:700].reshape(350, 2, 651, 2).mean((1, 3)), rtol=1e-6)
    np.testing.assert_allclose(found[350], pixels[700].reshape(651, 2).mean(1), rtol=1e-6)
    datasets = attributes(tmp_path / "a.zarr")["ome"]["multiscales"][0]["datasets"]
    assert [d["path"] for d in datasets] == ["0", "1"]
    assert datasets[1]["coordinateTransformations"][1]["translation"] == [0.25, 0.25]


def test_integer_levels_are_rounded(tmp_path):
    pixels = RNG.integers(0, 255, (1100, 1000)).astype("u1")
    write(tmp_path / "a.zarr", pixels, "yx", 512)
    with open_image(tmp_path / "a.zarr" / "1") as level:
        expected = np.rint(pixels.reshape(550, 2, 500, 2).mean((1, 3)))
        np.testing.assert_array_equal(level.read(), expected)


def test_thin_axes_are_halved_last(tmp_path):
    write(tmp_path / "a.zarr", np.zeros((6, 1024, 1024), "u1"), "zyx")
    with open_image(tmp_path / "a.zarr" / "1") as level:
        assert level.shape == (6, 512, 512)


def test_labels_stand_under_labels(tmp_path):
    write(tmp_path / "a.zarr", LABELS, "yx", 512, kind="labels", colors=((255, 0, 0), (0, 255, 0)))
    place = tmp_path / "a.zarr" / "labels" / "segmentation"
    found = attributes(place)["ome"]["image-label"]
    assert found["colors"][1] == {"label-value": 2, "rgba": [0, 255, 0, 255]}
    assert attributes(tmp_path / "a.zarr" / "labels")["ome"]["labels"] == ["segmentation"]
    for path in (tmp_path / "a.zarr", place):
        with open_image(path) as image:
            np.testing.assert_array_equal(image.read(), LABELS)


def test_labels_join_an_image_that_exists(tmp_path):
    path, pixels = tmp_path / "a.zarr", RNG.random((700, 1300), np.float32)
    write(path, pixels, "yx", 512)
    for name, values in (("cells", LABELS), ("nuclei", LABELS), ("cells", LABELS % 2)):
        write(path / "labels" / name, values, "yx", 512, kind="labels")
    assert attributes(path / "labels")["ome"]["labels"] == ["nuclei", "cells"]
    for place, expected in (("", pixels), ("labels/cells", LABELS % 2), ("labels/nuclei", LABELS)):
        with open_image(f"{path}/{place}") as image:
            np.testing.assert_array_equal(image.read(), expected)
    levels = [len(attributes(p)["ome"]["multiscales"][0]["datasets"]) for p in (path, path / "labels/cells")]
    assert levels == [2, 2]  # OME-Zarr wants as many for labels as for their image
    with open_image(path / "labels" / "cells" / "1") as level:
        np.testing.assert_array_equal(level.read(), (LABELS % 2)[::2, ::2])


@pytest.mark.parametrize("inside", ["", "labels/segmentation"])
def test_labels_written_again_replace_themselves(inside, tmp_path):
    for values in (LABELS, LABELS[:50, :60]):
        write(tmp_path / "a.zarr" / inside, values, "yx", 512, kind="labels")
    for place in ("", "labels/segmentation"):
        with open_image(tmp_path / "a.zarr" / place) as image:
            np.testing.assert_array_equal(image.read(), LABELS[:50, :60])
    assert len(attributes(tmp_path / "a.zarr")["ome"]["multiscales"][0]["datasets"]) == 1


def test_labels_join_a_group_without_an_image(tmp_path):
    zarr.create_group(str(tmp_path / "a.zarr"), attributes={"mine": 1})
    write(tmp_path / "a.zarr" / "labels" / "cells", LABELS, "yx", 512, kind="labels")
    assert attributes(tmp_path / "a.zarr") == {"mine": 1}
    with open_image(tmp_path / "a.zarr" / "labels" / "cells") as image:
        np.testing.assert_array_equal(image.read(), LABELS)


def test_labels_join_where_the_disk_has_no_links(tmp_path, monkeypatch):
    def no_links(*_: object) -> None:
        raise OSError("not supported")

    write(tmp_path / "a.zarr", LABELS, "yx", 512)
    monkeypatch.setattr("os.link", no_links)
    write(tmp_path / "a.zarr" / "labels" / "cells", LABELS, "yx", 512, kind="labels")
    with open_image(tmp_path / "a.zarr") as image:
        np.testing.assert_array_equal(image.read(), LABELS)


def test_labels_do_not_join_an_image_of_the_old_version(tmp_path):
    zarr.create_group(str(tmp_path / "a.zarr"), zarr_format=2)
    with pytest.raises(FileError, match="is zarr version 2; labels can be added to version 3"):
        write(tmp_path / "a.zarr" / "labels" / "cells", LABELS, "yx", 512, kind="labels")
    assert [p.name for p in tmp_path.iterdir()] == ["a.zarr"]
    assert not (tmp_path / "a.zarr" / "labels").exists()


@pytest.mark.parametrize("inside", ["0", "labels", "labels/a/b", "a/b"])
def test_images_go_to_the_store_or_to_labels(inside, tmp_path):
    with pytest.raises(FileError, match=f"cannot write labels to '{inside}' in a store"):
        write(tmp_path / "a.zarr" / inside, LABELS, "yx", 512, kind="labels")
    with pytest.raises(FileError, match="cannot write image to"):
        write(tmp_path / "a.zarr" / "labels" / "a", LABELS, "yx", 512)
    assert not list(tmp_path.iterdir())


def test_long_floats_are_refused(tmp_path):
    with pytest.raises(FileError, match=r"OME-Zarr cannot hold float\d+ pixels"):
        write(tmp_path / "a.zarr", np.zeros((4, 4), np.longdouble), "yx")


def test_a_lost_chunk_is_noticed(tmp_path):
    path = tmp_path / "a.zarr"
    write(path, np.zeros((2000, 2000), "u1"), "yx", 1024)
    (path / "0" / "c" / "1" / "0").unlink()
    with pytest.raises(FileError, match="5 chunks were written, 4 are there"):
        open_image(path)


def test_a_changed_chunk_is_noticed(tmp_path):
    path = tmp_path / "a.zarr"
    write(path, LABELS, "yx", 512)
    file = path / "0" / "c" / "0" / "0"
    data = bytearray(file.read_bytes())
    for place in range(0, len(data), max(1, len(data) // 40)):
        file.write_bytes(data[:place] + bytes([data[place] ^ 4]) + data[place + 1 :])
        with pytest.raises(FileError, match=r"a\.zarr: cannot be read"), open_image(path) as image:
            image.read()


@pytest.mark.parametrize("place", [".", "labels/segmentation"])
def test_an_unfinished_store_is_refused(place, tmp_path):
    write(tmp_path / "a.zarr", LABELS, "yx", 512, kind="labels")
    meta = tmp_path / "a.zarr" / place / "zarr.json"
    meta.write_text(meta.read_text().replace('"complete": true', '"complete": false'))
    with pytest.raises(FileError, match="was not written to its end"):
        open_image(tmp_path / "a.zarr")


def test_a_kill_before_the_end_leaves_a_store_that_is_refused(tmp_path):
    output = Output(LABELS.shape, LABELS.dtype, "yx")
    writer = ZarrWriter(tmp_path / "a.zarr", "", output)
    writer.write((slice(0, 700), slice(0, 1300)), LABELS)
    with pytest.raises(FileError):
        open_image(tmp_path / "a.zarr")
    writer.finish()
    open_image(tmp_path / "a.zarr").close()


def test_regions_need_not_follow_chunks(tmp_path):
    pixels = RNG.integers(0, 99, (1500, 1100)).astype("u2")
    with create_image(tmp_path / "a.zarr", Output(pixels.shape, pixels.dtype, "yx")) as writer:
        for y in range(0, 1500, 700):
            for x in range(0, 1100, 300):
                region = (slice(y, y + 700), slice(x, x + 300))
                writer.write(region, pixels[region])
    with open_image(tmp_path / "a.zarr") as image:
        np.testing.assert_array_equal(image.read(), pixels)
    assert chunk_files(tmp_path / "a.zarr" / "0") == 6
