"""Label files in, one table out."""

from threading import Event

import h5py
import numpy as np
import pandas as pd
import pytest

import gpuseg
from gpuseg import api
from gpuseg.axes import Voxel
from gpuseg.errors import Cancelled, FileError, InputError, LabelError, ShapeError
from gpuseg.io import Output, create_image

RNG = np.random.default_rng(0)


@pytest.fixture
def files(tmp_path, monkeypatch):
    """The current folder with labels and raw of two images, a and b, and probabilities of a."""
    monkeypatch.chdir(tmp_path)
    for name, shift in (("a", 0), ("b", 5)):
        labels = np.zeros((30, 40), np.uint16)
        labels[3:9, 3 + shift : 12 + shift], labels[20:, 25:] = 4, 300
        np.save(f"{name}.npy", labels)
        np.save(f"{name}_raw.npy", RNG.normal(50, 5, (30, 40)).astype(np.float32))
    np.save("a_proba.npy", RNG.random((30, 40, 2)).astype(np.float32))
    return tmp_path


def measure(labels, **how):
    return api.measure(labels, **{"features": ["mean"], "backend": "cpu"} | how)


def test_a_file_is_measured_as_its_array_is(files):
    table = measure("a.npy", raw="a_raw.npy", probabilities="a_proba.npy", classes=["x", "y"])
    arrays = (np.load(p) for p in ("a.npy", "a_raw.npy", "a_proba.npy"))
    labels, raw, proba = arrays
    expected = gpuseg.measure(
        labels, raw, probabilities=proba, classes=["x", "y"], features=["mean"], backend="cpu"
    )
    pd.testing.assert_frame_equal(table, expected)
    tiled = measure("a.npy", raw="a_raw.npy", probabilities="a_proba.npy", classes=["x", "y"], block=16)
    np.testing.assert_allclose(tiled, table, 1e-9)


@pytest.mark.parametrize("suffix", [".csv", ".h5", ".parquet"])
def test_the_table_is_written(files, suffix, caplog):
    caplog.set_level("INFO")
    table = measure("a.npy", raw="a_raw.npy", output=f"t{suffix}")
    assert (files / f"t{suffix}").stat().st_size > 100
    assert f"t{suffix}: 2 objects, {len(table.columns)} columns" in caplog.text
    assert "a.npy: 30 x 40, axes yx (guessed from the shape)" in caplog.text


def test_several_files_are_one_table_with_a_column_image(files):
    table = measure(["a.npy", "b.npy"], raw=["a_raw.npy", "b_raw.npy"], output="t.csv")
    assert list(table)[:3] == ["image", "object_id", "timestep"]
    assert table["image"].tolist() == ["a.npy", "a.npy", "b.npy", "b.npy"]
    assert table["object_id"].tolist() == [0, 1, 2, 3]
    for name, part in table.groupby("image"):
        alone = measure(name, raw=name.replace(".", "_raw.")).drop(columns="object_id")
        pd.testing.assert_frame_equal(part[list(alone)].reset_index(drop=True), alone)
    np.testing.assert_allclose(pd.read_csv("t.csv")["Mean Intensity"], table["Mean Intensity"], 1e-15)


def test_several_files_are_joined_without_a_warning(files):
    table = measure(["a.npy", "b.npy"], raw=["a_raw.npy", "b_raw.npy"], features="all")
    assert len(table.columns) > 100  # pandas warns of columns put into so many


@pytest.mark.parametrize("names", [("none", "a", "b"), ("a", "none", "b"), ("none", "zero")])
@pytest.mark.parametrize("suffix", [".csv", ".h5", ".parquet"])
def test_images_without_objects_give_no_row_and_change_no_type(files, names, suffix):
    for name in ("none", "zero"):
        np.save(f"{name}.npy", np.zeros((30, 40), np.uint16))
    raw = ["a_raw.npy"] * len(names)
    table = measure([f"{n}.npy" for n in names], raw=raw, output=f"t{suffix}")
    assert table["image"].tolist() == [f"{n}.npy" for n in names if n in "ab" for _ in range(2)]
    assert table.dtypes.to_dict() == measure(["a.npy", "b.npy"], raw=["a_raw.npy"] * 2).dtypes.to_dict()
    found = read(files / f"t{suffix}")
    assert (list(found), len(found)) == (list(table), len(table))


def read(path):
    if path.suffix == ".h5":
        with h5py.File(path) as file:
            return pd.DataFrame({name: file["table"][name] for name in file["table"].dtype.names})
    return pd.read_csv(path) if path.suffix == ".csv" else pd.read_parquet(path)


def pictures(path):
    """Of every object: its label image and the raw image under it, or none."""
    with h5py.File(path) as file:
        return {
            int(i): (g["labeling"][:], g["raw"][:] if "raw" in g else None)
            for i, g in file["images"].items()
            if i != "raw"
        }


def test_objects_of_all_files_are_cut_out(files):
    names, raw = ["a.npy", "b.npy"], ["a_raw.npy", "b_raw.npy"]
    table = measure(names, raw=raw, output="t.h5", pictures=True, picture_margin=2)
    found = pictures("t.h5")
    assert sorted(found) == table["object_id"].tolist() == [0, 1, 2, 3]
    for i, name, label in table[["object_id", "image", "original_oid"]].itertuples(index=False):
        where = slice(1, 11), slice(1 + 5 * (name == "b.npy"), 14 + 5 * (name == "b.npy"))
        where = where if label == 4 else (slice(18, 30), slice(23, 40))
        np.testing.assert_array_equal(found[i][0], np.load(name)[where] == label)
        np.testing.assert_array_equal(found[i][1], np.load(name.replace(".", "_raw."))[where])
        assert found[i][1].dtype == np.float32


@pytest.mark.parametrize("block", [None, 8])
def test_objects_are_cut_out_by_the_number_they_have_in_the_table(files, block):
    movie = np.zeros((2, 30, 40), np.int64)
    movie[0, 2:5, 2:5], movie[0, 2:9, 20:26], movie[1, 12:17, 2:5] = 2**40, 9, 9
    np.save("movie.npy", movie)
    table = measure("movie.npy", axes="tyx", features=[], output="t.h5", pictures=True, block=block)
    assert table["original_oid"].tolist() == [9, 2**40, 9]
    assert {i: one.sum() for i, (one, _) in pictures("t.h5").items()} == {0: 42, 1: 9, 2: 15}
    assert all(one.all() and raw is None for one, raw in pictures("t.h5").values())


def test_components_are_cut_out_one_by_one(files):
    movie = np.zeros((2, 30, 40), np.uint8)
    movie[0, 2:5, 2:5], movie[0, 20:29, 1:3], movie[1, 12:17, 2:5], movie[1, 12:17, 5:9] = 1, 1, 1, 2
    np.save("movie.npy", movie)
    how = {"axes": "tyx", "features": [], "kind": "components", "output": "t.h5", "pictures": True}
    table = measure("movie.npy", picture_margin=20, **how)
    assert len(table) == 4
    assert {i: one.sum() for i, (one, _) in pictures("t.h5").items()} == dict(
        enumerate(table["Size in pixels"])
    )
    for i, (one, _) in pictures("t.h5").items():
        assert one[np.nonzero(one)].all()
        box = table.iloc[i]
        y, x = (int(box[f"Bounding Box Minimum_{k}"]) for k in (1, 0))
        first = np.argwhere(one)[0] + (max(0, y - 20), max(0, x - 20))
        assert movie[(box["timestep"].astype(int), *first)] == box["original_oid"]


def test_the_whole_image_may_be_stored_once(files):
    names, raw = ["a.npy", "b.npy"], ["a_raw.npy", "b_raw.npy"]
    measure(names, raw=raw, output="t.h5", pictures=True, whole_image=True)
    assert all(under is None for _, under in pictures("t.h5").values())
    with h5py.File("t.h5") as file:
        np.testing.assert_array_equal(file["images/raw/1"], np.load("b_raw.npy"))
    measure("a.npy", raw="a_raw.npy", output="u.h5", pictures=True, whole_image=True)
    with h5py.File("u.h5") as file:
        np.testing.assert_array_equal(file["images/raw"], np.load("a_raw.npy"))


def test_a_file_that_failed_is_not_cut_out(files):
    names = ["gone.npy", "a.npy"]
    table = measure(names, features=[], on_error="skip", output="t.h5", pictures=True)
    assert table.attrs["failed"] == ["gone.npy"]
    assert sorted(pictures("t.h5")) == [0, 1]


def test_it_stops_while_objects_are_cut_out(files, monkeypatch):
    stop = Event()
    write = api.measure.__globals__["write_table"]
    monkeypatch.setitem(api.measure.__globals__, "write_table", lambda *a: [stop.set(), write(*a)])
    with pytest.raises(Cancelled, match=r"t\.h5: stopped before it was written"):
        measure("a.npy", features=[], output="t.h5", pictures=True, cancel=stop)
    assert not list(files.glob("t.h5*"))


def test_axes_are_as_said(files):
    movie = np.stack([np.load("a.npy"), np.load("b.npy")])
    np.save("movie.npy", movie)
    table = measure("movie.npy", axes="tyx", features=[])
    assert table["timestep"].tolist() == [0, 0, 1, 1]
    np.save("movie_raw.npy", movie.astype(np.float32))
    table = measure("movie.npy", raw="movie_raw.npy", raw_axes="tyx")
    assert table["timestep"].tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize(
    ("labels", "how", "error", "message"),
    [
        ("none.npy", {}, FileError, "none.npy"),
        ("a_raw.npy", {}, LabelError, "a_raw.npy: pixels are float32"),
        (["a.npy", "b.npy"], {"raw": ["a_raw.npy"]}, InputError, "2 label files and 1 raw images"),
        (["a.npy", "a.npy"], {}, InputError, r"a\.npy: is named twice\n"),
        (["a.npy", "./a.npy"], {}, InputError, r"\./a\.npy: is named twice, also as a\.npy"),
        ([], {}, InputError, "no label file"),
        ("a.npy", {"output": "t.doc"}, InputError, "no table has the suffix '.doc'"),
        ("a.npy", {"output": "t" * 300 + ".csv"}, InputError, "its name has 304 bytes"),
        ("a.npy", {"features": "mean"}, InputError, "needs intensities"),
        ("a.npy", {"pictures": True}, InputError, r"in an HDF5 table\n  hint: name one"),
        ("a.npy", {"pictures": True, "output": "t.csv"}, InputError, "a .csv table holds no pictures"),
        ("a.npy", {"picture_margin": 3, "output": "t.h5"}, InputError, "ask for pictures too"),
        ("a.npy", {"whole_image": True, "output": "t.h5"}, InputError, "ask for pictures too"),
        (
            "a.npy",
            {"pictures": True, "whole_image": True, "output": "t.h5"},
            InputError,
            "needs a raw image",
        ),
        (
            "a.npy",
            {"pictures": True, "picture_margin": -1, "output": "t.h5"},
            InputError,
            "picture_margin -1: ",
        ),
        ("a.npy", {"raw": "wide.npy"}, ShapeError, r"wide.npy: has 30 \(y\) x 41 \(x\) pixels, a.npy has"),
        (["a.npy", "wide.npy"], {"raw": ["a_raw.npy", "two.npy"]}, InputError, "two.npy"),
    ],
)
def test_what_cannot_be_measured_is_named_before_anything_is(files, monkeypatch, labels, how, error, message):
    np.save("wide.npy", np.zeros((30, 41), np.uint8))
    np.save("two.npy", np.zeros((30, 40, 2), np.float32))
    monkeypatch.setattr("gpuseg.objects.measure.measure", lambda *a, **b: pytest.fail("it was measured"))
    with pytest.raises(error, match=message):
        measure(labels, **how)


def test_images_of_other_columns_are_not_put_into_one_table(files):
    np.save("two.npy", np.ones((30, 40, 2), np.float32))
    with pytest.raises(InputError, match=r"b.npy: .* with 2 channels .*; a.npy: .* with 1 channels"):
        measure(["a.npy", "b.npy"], raw=["a_raw.npy", "two.npy"])


def test_probabilities_of_other_channels_are_not_put_into_one_table(files):
    np.save("b_proba.npy", np.ones((30, 40, 3), np.float32))
    with pytest.raises(InputError, match=r"b.npy: .* and 3 of probabilities, .*; a.npy: .* and 2 of prob"):
        measure(["a.npy", "b.npy"], features=[], probabilities=["a_proba.npy", "b_proba.npy"])


def test_lengths_in_other_units_are_not_put_into_one_table(files):
    for name, unit in (("a", "micrometer"), ("b", "nm")):
        voxel = Voxel({"y": 0.5, "x": 0.5}, {"y": unit, "x": unit})
        with create_image(f"{name}.h5", Output((30, 40), np.dtype(np.uint16), "yx", voxel)) as writer:
            writer.write((slice(0, 30), slice(0, 40)), np.load(f"{name}.npy"))
    with pytest.raises(InputError, match=r"b.h5: .* lengths in nm; a.h5: .* lengths in µm"):
        measure(["a.h5", "b.h5"], features=[], spacing="file")


def test_an_input_is_not_overwritten(files):
    (files / "a.h5").write_bytes(b"")
    with pytest.raises(InputError, match=r"would overwrite the input a\.h5"):
        measure("a.h5", output="a.h5")


def test_a_file_that_fails_may_be_skipped(files, caplog):
    spoilt = np.load("b_raw.npy")
    spoilt[7, 8] = np.nan
    np.save("b_raw.npy", spoilt)
    given = {"raw": ["a_raw.npy", "b_raw.npy"], "output": "t.csv"}
    table = measure(["a.npy", "b.npy"], on_error="skip", **given)
    assert table.attrs["failed"] == ["b.npy"]
    assert table["image"].unique().tolist() == ["a.npy"]
    assert "b_raw.npy: 1 pixels are NaN" in caplog.text
    (files / "t.csv").unlink()
    with pytest.raises(InputError, match=r"b_raw.npy: 1 pixels are NaN.* at y 7, x 8"):
        measure(["a.npy", "b.npy"], **given)
    assert not (files / "t.csv").exists()
    with pytest.raises(InputError, match=r"b_raw\.npy: 1 pixels"):
        measure("b.npy", raw="b_raw.npy", on_error="skip")
    given["raw"] = ["b_raw.npy", "b_raw.npy"]
    with pytest.raises(InputError, match="none of 2 label files could be measured"):
        measure(["a.npy", "b.npy"], on_error="skip", **given)


def test_it_stops_between_two_tiles(files):
    stop, seen = Event(), []

    def progress(name, done, total):
        seen.append(name)
        if len(seen) == 3:
            stop.set()

    with pytest.raises(Cancelled, match=r"a.npy: stopped after 0 of 1 parts"):
        measure("a.npy", raw="a_raw.npy", block=8, output="t.csv", progress=progress, cancel=stop)
    assert seen == ["a.npy"] * 3
    assert not (files / "t.csv").exists()
