"""Tables as files: every format gives back what was written, whole or not at all."""

import csv
import json
import os
import subprocess
import sys
from dataclasses import replace
from types import ModuleType, SimpleNamespace

import h5py
import numpy as np
import pandas as pd
import pytest

from gpuseg import measure, tables
from gpuseg.axes import Voxel
from gpuseg.errors import BackendUnavailableError, FileError, InputError, ResourceError
from gpuseg.objects.columns import HIGH, LOW
from gpuseg.objects.pixels import pair
from gpuseg.tables import Cutouts, CutoutSource, classified, join_tables, write_table
from gpuseg.tables.cutouts import ImageWriter
from gpuseg.tables.files import _Patient

TABLE = pd.DataFrame(
    {
        "image": ['a, "b".h5', "Zellen µ.tif"],
        "object_id": np.array([0, 1]),
        "Size (µm²)": [0.1 + 0.2, 1e-300],
        "Skewness": [np.nan, -1.5],
    }
)


def read(path):
    if path.suffix == ".csv":
        return pd.read_csv(path)
    if path.suffix == ".parquet":
        return pd.read_parquet(path)
    with h5py.File(path) as file:
        rows = file["table"][()]
    return pd.DataFrame(
        {n: rows[n] if rows[n].dtype.kind != "S" else _text(rows[n]) for n in rows.dtype.names}
    )


def _text(column):
    return [value.decode() for value in column]


def with_classes(table, classes, user="0"):
    """All predicted as the first class, without a doubt."""
    n, proba = len(table), np.zeros((len(table), len(classes)), np.float32)
    proba[:, 0] = 1
    return classified(table, [user] * n, [classes[0]] * n, proba, classes, np.zeros(n), ["x"] * n)


@pytest.mark.parametrize("suffix", [".csv", ".h5", ".hdf5", ".parquet", ".CSV"])
def test_a_table_reads_back_as_it_was_written(tmp_path, suffix):
    write_table(TABLE, tmp_path / f"new/table{suffix}")
    found = read((tmp_path / f"new/table{suffix}").rename(tmp_path / f"t{suffix.lower()}"))
    exact = suffix.lower() != ".csv"  # pandas 2 does not read text to the last digit
    pd.testing.assert_frame_equal(found, TABLE, check_exact=exact)


@pytest.mark.parametrize("suffix", [".csv", ".h5", ".parquet"])
def test_a_table_without_rows_keeps_its_columns(tmp_path, suffix):
    write_table(TABLE[:0], tmp_path / f"t{suffix}")
    found = read(tmp_path / f"t{suffix}")
    assert (list(found), len(found)) == (list(TABLE), 0)


NASTY = 'Zelle, "groß"\n;µ\tx'


@pytest.mark.parametrize("name", [NASTY, "\rx", "a\r\nb", "'x", "0", " x "])
def test_any_name_of_a_class_survives_csv(tmp_path, name):
    table = with_classes(TABLE.drop(columns="Skewness"), [name, "b"])
    write_table(table, tmp_path / "t.csv")
    with (tmp_path / "t.csv").open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    assert header == list(table)
    assert [row[header.index("Predicted Class")] for row in rows] == [name, name]
    found = pd.read_csv(tmp_path / "t.csv")
    text = found.astype({"Predicted Class": str, "User Label": str, "Ambiguous": str})
    pd.testing.assert_frame_equal(text, table, check_dtype=False)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_numbers_are_written_in_full(tmp_path, dtype):
    values = np.array([1 / 3, np.pi * 1e30, -np.inf, np.nan, np.nextafter(dtype(1), dtype(2)), 0], dtype)
    write_table(pd.DataFrame({"a": values, "b": np.full(6, 2**63 - 1)}), tmp_path / "t.csv")
    with (tmp_path / "t.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    np.testing.assert_array_equal(np.array([row["a"] or "nan" for row in rows], dtype), values)
    assert {row["b"] for row in rows} == {str(2**63 - 1)}


def test_a_file_name_that_is_no_text_is_escaped(tmp_path):
    table = TABLE.assign(image=pd.Series(["a\udcff", "b"], dtype=object))
    for suffix in (".csv", ".h5"):
        write_table(table, tmp_path / f"t{suffix}")
        assert read(tmp_path / f"t{suffix}")["image"].tolist() == ["a\\udcff", "b"]


def test_hdf5_has_a_structured_array_with_text_as_bytes(tmp_path):
    write_table(TABLE, tmp_path / "t.h5")
    with h5py.File(tmp_path / "t.h5") as file:
        assert list(file) == ["table"]
        assert file["table"].dtype.names == tuple(TABLE)
        assert file["table"]["image"][1] == "Zellen µ.tif".encode()
        assert file["table"]["object_id"].dtype == np.int64


def test_many_columns_fit_or_are_refused_by_name(tmp_path):
    wide = pd.DataFrame({f"a rather long title of a feature_{k}": [float(k)] for k in range(3000)})
    write_table(wide, tmp_path / "t.csv")
    with pytest.raises(InputError, match=r"t.h5: 3000 columns are more than HDF5(.|\n)*\.csv"):
        write_table(wide, tmp_path / "t.h5")
    assert not (tmp_path / "t.h5").exists()
    write_table(wide.iloc[:, :1000], tmp_path / "t.h5")
    pd.testing.assert_frame_equal(read(tmp_path / "t.h5"), wide.iloc[:, :1000])


@pytest.mark.parametrize("name", ["t.xlsx", "t", "t.txt"])
def test_an_unknown_suffix_is_refused(tmp_path, name):
    with pytest.raises(InputError, match=r"no table has the suffix(.|\n)*\.csv \.h5 \.hdf5 \.parquet \.h5ad"):
        tables.check_path(tmp_path / name)


def test_a_folder_is_refused(tmp_path):
    (tmp_path / "t.csv").mkdir()
    with pytest.raises(FileError, match="is a folder"):
        write_table(TABLE, tmp_path / "t.csv")


def test_a_folder_that_cannot_be_written_to_is_refused_before_anything_is_done(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    with pytest.raises(FileError, match=r"t.csv: .*file is no folder"):
        tables.check_path(tmp_path / "file/new/t.csv")
    access = os.access  # tests may run as root, who may write anywhere
    monkeypatch.setattr("os.access", lambda p, mode: access(p, mode) and (p != tmp_path or mode == os.F_OK))
    with pytest.raises(FileError, match=r"t.csv: .* is not writable"):
        tables.check_path(tmp_path / "new/er/t.csv")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(("suffix", "package"), [("parquet", "pyarrow"), ("h5ad", "anndata")])
def test_a_package_that_is_missing_is_named_with_its_extra(tmp_path, monkeypatch, suffix, package):
    monkeypatch.setattr("gpuseg.tables.files.find_spec", lambda name: None)
    extra = package if suffix == "h5ad" else suffix
    with pytest.raises(BackendUnavailableError, match=rf"{package}(.|\n)*pip install 'gpuseg\[{extra}\]'"):
        tables.check_path(tmp_path / f"t.{suffix}")


CELLS = pd.DataFrame(
    {
        "object_id": [0, 1],
        "timestep": [0, 0],
        "labelimage_oid": [1, 2],
        "Size in pixels": [7, 9],
        "Center of the object_0": [1.5, 2.5],
        "Center of the object_1": [3.0, 4.0],
        "original_oid": [3, 2**60 + 1],
        "Mean/Max": [0.1, 0.2],
    }
)


def test_anndata_gets_features_identities_and_centres(tmp_path, monkeypatch):
    """The package itself is not installed with the tests; the one below runs where it is."""
    given, stand_in = {}, ModuleType("anndata")
    stand_in.AnnData = lambda **parts: given.update(parts)
    stand_in.io = SimpleNamespace(write_elem=lambda file, name, data: file.create_group("obs"))
    monkeypatch.setitem(sys.modules, "anndata", stand_in)
    monkeypatch.setattr("gpuseg.tables.files.find_spec", lambda name: stand_in)
    write_table(with_classes(CELLS, ["a/b", "c"]), tmp_path / "t.h5ad")
    features = [n for n in CELLS if n not in ("object_id", "timestep", "labelimage_oid", "original_oid")]
    assert list(given["var"].index) == features
    np.testing.assert_array_equal(given["X"], CELLS[features])
    np.testing.assert_array_equal(given["obsm"]["spatial"], [[1.5, 3], [2.5, 4]])
    assert list(given["obs"].index) == ["0", "1"]
    assert given["obs"]["original_oid"].tolist() == [3, 2**60 + 1]
    assert given["obs"]["Predicted Class"].tolist() == ["a/b", "a/b"]
    assert not any("/" in name for name in given["obs"])
    with h5py.File(tmp_path / "t.h5ad") as file:
        assert list(file) == ["obs"]


@pytest.mark.parametrize("count", [2, 0])
def test_anndata_reads_what_was_written(tmp_path, count):
    anndata = pytest.importorskip("anndata")
    write_table(with_classes(CELLS[:count], ["a/b", "c"]), tmp_path / "t.h5ad")
    found = anndata.read_h5ad(tmp_path / "t.h5ad")
    assert found.shape == (count, 4)
    assert found.obs["original_oid"].tolist() == [3, 2**60 + 1][:count]
    np.testing.assert_array_equal(found[:, "Mean/Max"].X[:, 0], [0.1, 0.2][:count])


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    (tmp_path / "t.csv").write_text("old")

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(ResourceError, match=r"t.csv: cannot be written: No space left on device; it takes"):
        write_table(TABLE, tmp_path / "t.csv")
    assert [p.name for p in tmp_path.iterdir()] == ["t.csv"]
    assert (tmp_path / "t.csv").read_text() == "old"


def test_what_does_not_read_back_is_no_result(tmp_path, monkeypatch):
    monkeypatch.setattr("pathlib.Path.read_bytes", lambda self: b"")
    with pytest.raises(ResourceError, match="does not read back"):
        write_table(TABLE, tmp_path / "t.csv")
    assert not list(tmp_path.iterdir())


IDENTITY = ["object_id", "timestep", "labelimage_oid"]


def test_a_prediction_stands_before_what_was_measured():
    table = CELLS.set_index(pd.Index([7, 7]))  # rows picked from several tables
    table.attrs["gpuseg"] = "2"
    proba = np.array([[0.25, 0.75], [0.5, 0.5]], np.float32)
    found = classified(table, ["0", "b"], ["b", "a"], proba, ["a", "b"], np.array([0.5, 1.0]), ["", "a b"])
    said = [
        "User Label",
        "Predicted Class",
        "Probability of a",
        "Probability of b",
        "Uncertainty",
        "Ambiguous",
    ]
    assert list(found) == [*IDENTITY, *said, *list(CELLS)[3:]]
    assert found[said].iloc[0].tolist() == ["0", "b", 0.25, 0.75, 0.5, ""]
    assert found[said].iloc[1].tolist() == ["b", "a", 0.5, 0.5, 1.0, "a b"]
    assert found["Probability of a"].dtype == np.float32
    pd.testing.assert_frame_equal(found[list(CELLS)], table)
    assert found.attrs == {"gpuseg": "2"}
    again = with_classes(found, ["c"])
    assert "Probability of a" not in again
    assert list(again)[3:6] == ["User Label", "Predicted Class", "Probability of c"]


def test_a_prediction_of_nothing_has_the_columns_and_their_types():
    none, some = with_classes(CELLS[:0], ["a", "b"]), with_classes(CELLS, ["a", "b"])
    assert len(none) == 0
    assert none.dtypes.to_dict() == some.dtypes.to_dict()


def test_joined_tables_number_their_objects_through():
    first, second = with_classes(CELLS, ["a"]), with_classes(CELLS, ["a"])
    first.attrs["gpuseg"] = "2"
    joined = join_tables({"x.h5": first, "y, z.h5": second[second.columns[::-1]]})
    assert list(joined) == ["image", *first]
    assert joined["image"].tolist() == ["x.h5", "x.h5", "y, z.h5", "y, z.h5"]
    assert joined["object_id"].tolist() == [0, 1, 2, 3]
    assert joined["labelimage_oid"].tolist() == [1, 2, 1, 2]
    assert joined.attrs == {"gpuseg": "2"}
    pd.testing.assert_frame_equal(joined.iloc[2:, 2:].reset_index(drop=True), second.iloc[:, 1:])


@pytest.mark.parametrize("counts", [(0, 2, 0), (2, 0, 0), (0, 0, 2), (0, 0)])
def test_images_without_objects_do_not_change_types(counts):
    named = {str(i): with_classes(CELLS[:count], ["a"]) for i, count in enumerate(counts)}
    for table in named.values():
        if not len(table):
            table["Size in pixels"] = table["Size in pixels"].astype(float)  # nobody counted anything
    joined = join_tables(named)
    assert len(joined) == sum(counts)
    expected = {"image": np.dtype(object)} | with_classes(CELLS, ["a"]).dtypes.to_dict()
    if not any(counts):
        expected["Size in pixels"] = np.dtype(float)
    assert joined.dtypes.to_dict() == expected


@pytest.mark.parametrize("suffix", [".csv", ".h5", ".parquet"])
def test_no_object_in_any_image_gives_a_header_and_no_row(tmp_path, suffix):
    none = with_classes(CELLS[:0], ["a", NASTY])
    joined = join_tables({"a": none, "b": none})
    write_table(joined, tmp_path / f"t{suffix}")
    found = read(tmp_path / f"t{suffix}")
    assert (list(found), len(found)) == (list(joined), 0)


def test_tables_of_other_columns_are_not_joined():
    with pytest.raises(InputError, match=r"b: 7 columns, a: 8; 'Mean/Max' is in one of them only"):
        join_tables({"a": CELLS, "b": CELLS.drop(columns="Mean/Max")})


RNG = np.random.default_rng(3)
MOVIE = np.zeros((2, 4, 40, 50), np.uint16)  # tzyx; 7 is one pixel, 900 in a corner, 5 all over
MOVIE[0, 1:3, 5:11, 4:16], MOVIE[0, 0, 20, 20], MOVIE[0, 2:, 30:, 44:] = 30, 7, 900
MOVIE[1, :, ::13, ::17], MOVIE[1, 1, 6:9, 6:9] = 5, 8
COLOURS = RNG.integers(1, 2**16, (2, 4, 40, 50, 3), dtype=np.uint16)  # tzyxc


def cutting(labels, raw=None, axes=None, raw_axes=None, **how):
    """The table of an image, and what writes its objects."""
    table = measure(labels, raw, axes=axes, raw_axes=raw_axes, features=[], backend="cpu")
    source = CutoutSource.measured("a", table, *pair(labels, raw, axes, raw_axes))
    return table, Cutouts([source], **how)


def boxes(table, margin, shape):
    """Regions zyx of an image of this shape (z, y, x), from the columns of a table."""
    for _, row in table.iterrows():
        ends = [(int(row[f"{LOW}_{k}"]), int(row[f"{HIGH}_{k}"])) for k in range(len(shape))][::-1]
        yield tuple(
            slice(max(0, a - margin), min(n, b + margin)) for (a, b), n in zip(ends, shape, strict=True)
        )


@pytest.mark.parametrize("margin", [0, 3, 100])
@pytest.mark.parametrize("pixels", [1 << 24, 2000, 40])
def test_cutouts_are_the_boxes_of_objects(tmp_path, monkeypatch, margin, pixels):
    monkeypatch.setattr("gpuseg.tables.cutouts.PIXELS", pixels)
    table, images = cutting(MOVIE, COLOURS, margin=margin)
    write_table(table, tmp_path / "t.h5", images)
    with h5py.File(tmp_path / "t.h5") as file:
        assert set(file) == {"images", "table"}
        assert set(file["images"]) == {str(i) for i in table["object_id"]} == set("01234")
        regions = boxes(table, margin, (4, 40, 50))
        for i, t, label, region in zip(
            *table[["object_id", "timestep", "original_oid"]].T.values, regions, strict=True
        ):
            stored = file["images"][str(int(i))]
            assert set(stored) == {"labeling", "raw"}
            frame = (t, *region)
            np.testing.assert_array_equal(stored["labeling"], MOVIE[frame] == label)
            np.testing.assert_array_equal(stored["raw"], COLOURS[frame])
            assert (stored["labeling"].dtype, stored["raw"].dtype) == (np.uint8, np.uint16)


def test_cutouts_say_their_type_and_axes(tmp_path):
    table, images = cutting(MOVIE, COLOURS)
    voxel = Voxel({"z": 2.0, "x": 0.5}, {"z": "nm"})
    sources = [replace(source, voxel=voxel) for source in images.sources]
    write_table(table, tmp_path / "t.h5", Cutouts(sources))
    with h5py.File(tmp_path / "t.h5") as file:
        attributes = {name: dict(file[f"images/1/{name}"].attrs) for name in ("labeling", "raw")}
    assert {name: a["type"] for name, a in attributes.items()} == {"labeling": b"labeling", "raw": b"image"}
    tags = json.loads(attributes["raw"]["axistags"])
    assert tags["axes"][0] == {"key": "z", "typeFlags": 2, "resolution": 2.0, "description": ""}
    assert [(a["key"], a["typeFlags"], a["resolution"]) for a in tags["axes"]][1:] == [
        ("y", 2, 0),
        ("x", 2, 0.5),
        ("c", 1, 0),
    ]
    assert [a["key"] for a in json.loads(attributes["labeling"]["axistags"])["axes"]] == ["z", "y", "x"]
    assert json.loads(attributes["raw"]["axis_units"]) == {"z": "nm"}


@pytest.mark.parametrize(
    ("shape", "axes", "raw_axes", "labeling", "raw"),
    [
        ((9, 8), "yx", "yx", "yx", "yx"),
        ((8, 9), "xy", "xy", "xy", "xy"),
        ((1, 9, 8), "zyx", "czyx", "yx", "yx"),
        ((9, 8), "yx", "cyx", "yx", "cyx"),
        ((9, 8), "yx", "yxc", "yx", "yxc"),
        ((3, 9, 8), "tyx", "tcyx", "yx", "cyx"),
        ((1, 8), "yx", "yx", "x", "x"),
        ((1, 1), "yx", "yx", "x", "x"),
    ],
)
def test_axes_of_one_place_are_left_out_and_the_others_keep_their_order(
    tmp_path, shape, axes, raw_axes, labeling, raw
):
    labels = np.zeros(shape, np.uint8)
    labels[(slice(0, 1),) * len(shape)] = 3  # one pixel: it is an image of as many axes all the same
    size = dict(zip(axes, shape, strict=True)) | {"c": 2 if "c" in raw else 1}
    under = RNG.random([size[a] for a in raw_axes])
    table, images = cutting(labels, under, axes, raw_axes, margin=1)
    write_table(table, tmp_path / "t.h5", images)
    with h5py.File(tmp_path / "t.h5") as file:
        for name, letters in (("labeling", labeling), ("raw", raw)):
            data = file[f"images/0/{name}"]
            assert "".join(a["key"] for a in json.loads(data.attrs["axistags"])["axes"]) == letters
            assert data.shape == tuple(size[a] if a == "c" else min(2, size[a]) for a in letters)
        where = tuple(slice(0, 1) if a == "t" else slice(None) if a == "c" else slice(0, 2) for a in raw_axes)
        np.testing.assert_array_equal(file["images/0/raw"][:].ravel(), under[where].ravel())
        assert file["images/0/labeling"][:].sum() == 1


@pytest.mark.parametrize("pixels", [1 << 24, 999])
def test_a_whole_image_is_stored_once(tmp_path, monkeypatch, pixels):
    monkeypatch.setattr("gpuseg.tables.cutouts.PIXELS", pixels)
    table, images = cutting(MOVIE, COLOURS, whole=True)
    write_table(table, tmp_path / "t.h5", images)
    with h5py.File(tmp_path / "t.h5") as file:
        np.testing.assert_array_equal(file["images/raw"], COLOURS)
        assert [a["key"] for a in json.loads(file["images/raw"].attrs["axistags"])["axes"]] == list("tzyxc")
        assert list(file["images/0"]) == ["labeling"]


def test_labels_alone_are_cut_out_too(tmp_path):
    labels = np.zeros((20, 30), np.uint64)
    labels[2:5, 3:9], labels[10, 11] = 2**63 - 1, 2**63 - 2  # one number for float64
    table, images = cutting(labels)
    write_table(table, tmp_path / "t.h5", images)
    with h5py.File(tmp_path / "t.h5") as file:
        assert list(file["images/1"]) == ["labeling"]
        assert file["images/1/labeling"][:].sum() == 18
        assert file["images/0/labeling"].shape == (1, 1)


def test_a_part_of_a_table_cuts_out_its_objects(tmp_path):
    table, images = cutting(MOVIE[0])
    write_table(table[1:], tmp_path / "t.h5", Cutouts(images.sources))
    source = CutoutSource.measured("a", table[1:], *pair(MOVIE[0]))
    write_table(table[1:], tmp_path / "u.h5", Cutouts([source]))
    for name in "tu":
        with h5py.File(tmp_path / f"{name}.h5") as file:
            assert list(file["images"]) == ["1", "2"]
            np.testing.assert_array_equal(file["images/1/labeling"], np.ones((2, 6, 12)))


@pytest.mark.parametrize("whole", [False, True])
def test_objects_of_several_images_have_one_number_each(tmp_path, whole):
    both = {"a/x.h5": MOVIE[0], "b": MOVIE[0, :, ::-1]}
    tables = {name: measure(labels, features=[], backend="cpu") for name, labels in both.items()}
    joined = join_tables({"none": tables["b"][:0], **tables})
    sources = (  # a generator: each is open while it is needed
        CutoutSource.measured(name, joined, *pair(both[name], COLOURS[i, ..., 0]))
        for i, name in enumerate(both)
    )
    write_table(joined, tmp_path / "t.h5", Cutouts(sources, whole=whole))
    with h5py.File(tmp_path / "t.h5") as file:
        for i, name, label in zip(*joined[["object_id", "image", "original_oid"]].T.values, strict=True):
            assert file[f"images/{i}/labeling"][:].sum() == (both[name] == label).sum()
        if whole:
            assert [file[f"images/raw/{i}"].attrs["image"] for i in range(2)] == [b"a/x.h5", b"b"]
            np.testing.assert_array_equal(file["images/raw/1"], COLOURS[1, ..., 0])


@pytest.mark.parametrize("whole", [False, True])
def test_images_without_objects_have_an_empty_group(tmp_path, whole):
    table, images = cutting(np.zeros((5, 6), int), np.ones((5, 6)), whole=whole)
    write_table(table, tmp_path / "t.h5", images)
    with h5py.File(tmp_path / "t.h5") as file:
        assert list(file["images"]) == ["raw"] * whole
        assert file["table"].shape == (0,)


def test_an_image_is_read_once_or_in_pieces_and_never_beyond_the_limit(tmp_path, monkeypatch):
    labels = np.kron(np.arange(1, 401).reshape(20, 20), np.ones((5, 5), int))
    seen = []

    def counted(read):
        def count(t, region):
            seen.append(np.prod([s.stop - s.start for s in region]))
            return read(t, region)

        return count

    table, images = cutting(labels, labels + 1)
    (source,) = images.sources
    images = Cutouts([replace(source, labels=counted(source.labels))], margin=1)
    write_table(table, tmp_path / "t.h5", images)
    assert seen == [labels.size]
    seen.clear()
    monkeypatch.setattr("gpuseg.tables.cutouts.PIXELS", 4000)
    write_table(table, tmp_path / "u.h5", images)
    assert len(seen) < 40  # tiles, not objects
    assert max(seen) <= 2000


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_only_hdf5_holds_pictures(tmp_path, suffix):
    table, images = cutting(MOVIE[0])
    with pytest.raises(InputError, match=rf"t{suffix}: a {suffix} table holds no pictures(.|\n)*write \.h5"):
        write_table(table, tmp_path / f"t{suffix}", images)


def test_cutouts_that_do_not_fit_their_table_are_refused(tmp_path):
    table, images = cutting(MOVIE[0], COLOURS[0])
    (source,) = images.sources
    elsewhere = pair(MOVIE[0, :, ::-1].copy())[0]
    joined = join_tables({"a": table, "b": table})
    cases = [
        (table, [replace(source, shape=(4, 40, 49))], "object 3 of time point 0 lies beyond .* 4 x 40 x 49"),
        (table.assign(timestep=1), [source], "object 1 of time point 1 lies beyond the image"),
        (table, [replace(source, labels=elsewhere.integers)], "a: no pixel of object 1 in its box"),
        (table, [source, source], "several images to cut objects out of"),
        (table, [], "no image to cut objects out of"),
        (joined, [source], "b: no image to cut objects out of"),
        (table.assign(object_id=0), [source], "3 objects have 1 numbers in the column object_id"),
    ]
    for given, sources, message in cases:
        with pytest.raises(InputError, match=f"t.h5: .*{message}"):
            write_table(given, tmp_path / "t.h5", Cutouts(sources))
    with pytest.raises(InputError, match="no raw image to store whole"):
        write_table(table, tmp_path / "t.h5", Cutouts([replace(source, raw=None)], whole=True))
    with pytest.raises(InputError, match="a margin of -1 pixels"):
        Cutouts([source], margin=-1)
    assert not list(tmp_path.iterdir())


def test_images_that_do_not_read_back_are_no_result(tmp_path, monkeypatch):
    table, images = cutting(MOVIE[0], COLOURS[0])
    monkeypatch.setattr("gpuseg.tables.cutouts.first_row", lambda ndim: (0,) * (ndim - 1) + (slice(1, 3),))
    keep = ImageWriter.write

    def spoilt(self):
        keep(self)
        self.group["0/raw"][0, 0, 0, 1] += 1

    monkeypatch.setattr(ImageWriter, "write", spoilt)
    with pytest.raises(ResourceError, match=r"t.h5: does not read back"):
        write_table(table, tmp_path / "t.h5", images)
    assert not list(tmp_path.iterdir())


def test_a_write_that_fails_when_the_file_is_closed_is_not_missed(tmp_path, monkeypatch):
    table, images = cutting(MOVIE[0], COLOURS[0])
    writes = []

    class Failing(_Patient):
        most = 10**9

        def write(self, data):
            writes.append(len(data))
            if len(writes) <= self.most:
                return super().write(data)
            self.error = OSError(28, "No space left on device")
            return len(data)

    monkeypatch.setattr("gpuseg.tables.files._Patient", Failing)
    write_table(table, tmp_path / "t.h5", images)
    Failing.most = len(writes) - 1
    writes.clear()
    with pytest.raises(ResourceError, match=r"u.h5: cannot be written: No space left on device"):
        write_table(table, tmp_path / "u.h5", images)
    assert [p.name for p in tmp_path.iterdir()] == ["t.h5"]


FULL = """
import resource, sys
import numpy as np, gpuseg
from gpuseg.errors import ResourceError
from gpuseg.objects.pixels import pair
from gpuseg.tables import Cutouts, CutoutSource, write_table
labels = np.kron(np.arange(1, 26).reshape(5, 5), np.ones((30, 30), int))
table = gpuseg.measure(labels, labels, features=[], backend="cpu")
source = CutoutSource.measured("a", table, *pair(labels, labels))
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)
try:
    write_table(table, sys.argv[1], Cutouts([source]))
except ResourceError as error:
    print(error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="has no limit on the size of files")
@pytest.mark.parametrize("room", [1000, 150_000])
def test_a_full_disk_is_an_error_and_no_crash(tmp_path, room):
    words = [sys.executable, "-c", FULL, str(tmp_path / "t.h5"), str(room)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "t.h5: cannot be written: File too large" in done.stdout
    assert not list(tmp_path.iterdir())
