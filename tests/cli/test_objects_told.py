"""What commands about objects say of their files, and several files after one option."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from objects_scene import drawn, store

from gpuseg import api
from gpuseg.axes import Voxel
from gpuseg.model import Pipeline

CELLS = np.kron(np.arange(1, 7).reshape(2, 3), np.pad(np.ones((8, 8)), 2)).astype(np.uint8)
HOW = {"features": ["count", "mean"], "trees": 3, "folds": 0, "backend": "cpu"}
PIXELS = {"a": 0.5, "b": 0.5, "far": 2.0}  # micrometers


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A folder with images, label images and object labels of each, and models in pixels and in µm."""
    folder = tmp_path_factory.mktemp("told")
    for seed, (name, size) in enumerate(PIXELS.items()):
        voxel = Voxel({"y": size, "x": size}, {"y": "micrometer", "x": "micrometer"})
        store(folder / f"{name}.tif", drawn(CELLS.shape, seed), "yx", voxel=voxel)
        store(folder / f"{name}_labels.tif", np.roll(CELLS, seed, 1), "yx", voxel=voxel)
        (folder / f"{name}.csv").write_text(f"id,class\n{1 + seed},small\n{4 + seed},large\n")
    files = {"raw": folder / "a.tif", "labels": folder / "a_labels.tif", "object_labels": folder / "a.csv"}
    api.train_objects(**files, **HOW, output=folder / "all.gpuseg")
    api.train_objects(**files, **HOW, spacing=[0.5, 0.5], output=folder / "lengths.gpuseg")
    return folder


@pytest.fixture
def here(prepared, enter):
    """The current folder, with a copy of all that."""
    return enter(prepared)


SPREAD = ["--raw", "a.tif", "b.tif", "--label-image", "a_labels.tif", "b_labels.tif"]
REPEATED = ["--raw", "a.tif", "--raw", "b.tif", "--labels", "a_labels.tif", "--labels", "b_labels.tif"]
SAID = ["--object-labels", "a.csv", "b.csv"]
SAID_EACH = ["--object-labels", "a.csv", "--object-labels", "b.csv"]


@pytest.mark.parametrize(
    "words",
    [
        ["all.gpuseg", *SPREAD, *SAID],
        [*SPREAD, *SAID, "all.gpuseg"],
        [*SPREAD[:3], "all.gpuseg", *SPREAD[3:], *SAID],
        [*SPREAD[:2], "all.gpuseg", *SPREAD[2:], *SAID],
        ["all.gpuseg", *SPREAD[:3], "--label-image", "a_labels.tif", "--labels", "b_labels.tif", *SAID],
        ["all.gpuseg", "--raw_data", *SPREAD[1:], *SAID],
        ["all.gpuseg", "--raw=a.tif", *SPREAD[2:], *SAID],
    ],
    ids=" ".join,
)
def test_several_files_after_one_option_are_classified_as_if_each_had_its_own(gpuseg, here, words):
    how = ("--backend", "cpu", "-q", "-e", "object predictions")
    done = gpuseg("classify", *words, *how, "--table", "t.csv", "-o", "spread_{nickname}.npy")
    assert (done.exit_code, done.output) == (0, "")
    each = ("all.gpuseg", *REPEATED, *SAID_EACH)
    gpuseg("classify", *each, *how, "--table", "u.csv", "-o", "each_{nickname}.npy")
    assert Path("t.csv").read_bytes() == Path("u.csv").read_bytes()
    table = pd.read_csv("t.csv", dtype={"User Label": str})
    assert table[table["User Label"] != "0"].groupby("image")["original_oid"].apply(list).to_dict() == {
        "a.tif": [1, 4],
        "b.tif": [2, 5],
    }
    for name in "ab":
        assert Path(f"spread_{name}.npy").read_bytes() == Path(f"each_{name}.npy").read_bytes()


def test_several_files_after_one_option_teach_as_if_each_had_its_own(gpuseg, here):
    how = ("--features", "count,mean", "--trees", "3", "--folds", "0", "--backend", "cpu", "-q")
    for words, model in (((*SPREAD, *SAID), "s.gpuseg"), ((*REPEATED, *SAID_EACH), "r.gpuseg")):
        done = gpuseg("train-objects", *words, *how, "-o", model)
        assert (done.exit_code, done.output) == (0, "")
    found, expected = (Pipeline.load(f"{n}.gpuseg").objects for n in "sr")
    assert found.hash == expected.hash
    assert found.provenance["training"]["labels"] == {"1": 2, "2": 2}
    gpuseg("train-objects", *SPREAD, *SAID, *how, "--spacing", "0.5,0.5", "-o", "l.gpuseg")
    assert Pipeline.load("l.gpuseg").objects.measured.spacing == (1, 0.5, 0.5)


def test_a_file_with_other_pixels_than_those_of_the_training_names_the_option(gpuseg, here):
    files = ("--raw", "far.tif", "--label-image", "far_labels.tif")
    words = ("classify", "lengths.gpuseg", *files, "--table", "t.csv", "--backend", "cpu")
    done = gpuseg(*words)
    assert done.exit_code == 3
    assert re.search(r"a pixel is 2 .*along y, .* 0\.5 µm", done.stderr)
    assert "--spacing file" in done.stderr
    assert not Path("t.csv").exists()
    for spacing, size in (("file", 2), ("0.25", 0.25), ("1,2,0.5", 1)):
        done = gpuseg(*words, "--spacing", spacing)
        assert done.exit_code == 0, done.output
        table = pd.read_csv("t.csv")
        np.testing.assert_allclose(table["Size (µm²)"], table["Size in pixels"] * size**2)


def test_a_table_for_each_image_is_named_after_it(gpuseg, here):
    table = ("--table", "{nickname}_{result_type}.csv")
    done = gpuseg("classify", "all.gpuseg", *SPREAD, *table, "--backend", "cpu")
    assert done.exit_code == 0, done.output
    tables = {f"{n}_Table.csv": pd.read_csv(f"{n}_Table.csv") for n in "ab"}
    expected = [f"{name}: {len(t)} objects, {len(t.columns)} columns" for name, t in tables.items()]
    assert [line for line in done.stdout.splitlines() if "_Table.csv" in line] == expected
    assert not any("image" in t for t in tables.values())
    assert sorted(file.name for file in here.glob("*_Table.csv")) == list(tables)


def test_another_count_of_label_files_than_of_images_is_told(gpuseg, here):
    done = gpuseg("classify", "all.gpuseg", *SPREAD, *SAID, "far.csv", "--table", "t.csv")
    assert done.exit_code == 3
    assert "3 files of object labels for 2 images" in done.stderr


def test_warnings_reach_the_terminal(gpuseg, here):
    store(here / "mask.tif", (CELLS > 0).astype(np.uint8), "yx")
    (here / "said.csv").write_text("image,id,class\na.tif,1,small\nnight.tif,1,large\n")
    words = ("--raw", "a.tif", "--label-image", "mask.tif", "--object-labels", "said.csv", "--table", "t.csv")
    done = gpuseg("classify", "all.gpuseg", *words, "--backend", "cpu")
    assert done.exit_code == 0, done.output
    assert done.stderr.splitlines() == [
        "Warning: object labels of images that are not given are not used: night.tif; the images are a.tif",
        "Warning: mask.tif: has one label, 1, in 6 parts: they are one object; as a segmentation each is one",
    ]


def test_features_choose_the_columns(gpuseg, here):
    files = ("--raw", "a.tif", "--label-image", "a_labels.tif", "--backend", "cpu")
    asked = {"all": (), "few": ("--features", "mean, radii"), "none": ("--features", "count")}
    for name, words in asked.items():
        done = gpuseg("classify", "all.gpuseg", *files, *words, "--table", f"{name}.csv")
        assert done.exit_code == 0, done.output
    every, few, none = (pd.read_csv(f"{name}.csv") for name in ("all", "few", "none"))
    assert set(every) - set(none) == {"Mean Intensity"}
    assert set(few) - set(every) == {"Radii of the object_0", "Radii of the object_1"}
    assert set(every) <= set(few)
    pd.testing.assert_frame_equal(few[list(every)], every)
    pd.testing.assert_frame_equal(every[list(none)], none)


def test_a_result_that_is_nearly_named_is_told(gpuseg, here):
    done = gpuseg("run", "all.gpuseg", "a.tif", "-e", "object prediction")
    assert done.exit_code == 2
    text = " ".join(done.output.replace("│", " ").split())
    assert "unknown export 'object prediction'" in text
    assert "do you mean 'object predictions'?" in text
