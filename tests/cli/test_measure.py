"""`gpuseg measure`."""

import ast
import re
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest

from gpuseg import measure


@pytest.fixture
def here(tmp_path, monkeypatch):
    """The current folder with labels.npy, raw.npy and proba.npy."""
    monkeypatch.chdir(tmp_path)
    labels = np.zeros((30, 40), np.uint16)
    labels[3:9, 3:12], labels[20:, 25:] = 4, 300
    np.save("labels.npy", labels)
    np.save("raw.npy", np.random.default_rng(0).normal(50, 5, (30, 40)).astype(np.float32))
    np.save("wide.npy", np.zeros((30, 41), np.uint8))
    np.save("proba.npy", np.random.default_rng(1).random((30, 40, 2)).astype(np.float32))
    return tmp_path


def test_it_writes_what_the_function_gives(gpuseg, here):
    done = gpuseg("measure", "labels.npy", "--raw", "raw.npy", "-o", "t.csv", "--backend", "cpu")
    assert done.exit_code == 0, done.output
    expected = measure(np.load("labels.npy"), np.load("raw.npy"), backend="cpu")
    pd.testing.assert_frame_equal(pd.read_csv("t.csv"), expected, rtol=1e-12, check_dtype=False)
    lines = [line for line in done.stdout.splitlines() if not line.startswith("compiling")]
    assert lines == [
        "labels.npy: 30 x 40, axes yx (guessed from the shape)",
        "raw.npy: 30 x 40, axes yx (guessed from the shape)",
        f"t.csv: 2 objects, {len(expected.columns)} columns",
    ]


def test_every_option_reaches_the_function(gpuseg, here):
    words = ["--features", "mean, Size in pixels,mean_in_neighborhood", "--margin", "4,3", "--kind", "labels"]
    words += ["--probabilities", "proba.npy", "--classes", "a, b", "--spacing", "0.5,0.5", "--unit", "nm"]
    words += ["--block", "16", "--axes", "yx", "--raw-axes", "yx", "--backend", "cpu", "-q"]
    done = gpuseg("measure", "labels.npy", "--raw", "raw.npy", "-o", "t.csv", *words)
    assert (done.exit_code, done.output) == (0, "")
    expected = measure(
        np.load("labels.npy"),
        np.load("raw.npy"),
        features=["mean", "count", "mean_in_neighborhood"],
        margin=(4, 3),
        probabilities=np.load("proba.npy"),
        classes=["a", "b"],
        spacing=0.5,
        unit="nm",
        backend="cpu",
    )
    pd.testing.assert_frame_equal(pd.read_csv("t.csv"), expected, rtol=1e-6, check_dtype=False)


MANUAL = Path(__file__).parents[3] / "shared/manual/object_classification.md"


@pytest.fixture
def pictured(gpuseg, here):
    """objects.h5, of the labels 4 and 300, with pictures of both."""
    done = gpuseg(
        "measure", "labels.npy", "--raw", "raw.npy", "-o", "objects.h5", "--pictures", "--backend", "cpu"
    )
    assert done.exit_code == 0, done.output
    return here / "objects.h5"


def values_of(code):
    """What every expression in Python text gives, by its source; statements are run."""
    names, found = {}, {}
    for node in ast.parse(code).body:
        line = ast.unparse(node)
        if isinstance(node, ast.Expr):
            found[line] = eval(line, names)
        else:
            exec(line, names)
    return names, found


@pytest.mark.skipif(not MANUAL.exists(), reason="the manual of ilastik is not part of the repository")
def test_the_examples_of_ilastiks_manual_run_as_they_stand(pictured):
    section = MANUAL.read_text(encoding="utf-8").partition("## HDF5 export format\n")[2].partition("\n## ")[0]
    blocks = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    assert len(blocks) == 6
    names, found = values_of("".join(blocks).replace("path/to/data.h5", str(pictured)))
    with names["data"]:
        labels, raw = np.load("labels.npy"), np.load("raw.npy")
        assert list(found["data.keys()"]) == ["images", "table"]
        assert list(found["data['images'].keys()"]) == ["0", "1"]
        assert list(found["data['images']['1'].keys()"]) == ["labeling", "raw"]
        assert found["data['images']['1']['labeling']"].dtype == "|u1"
        np.testing.assert_array_equal(found["data['images']['1']['labeling'][:]"], labels[20:, 25:] == 300)
        assert found["data['table'].dtype.names"][:3] == ("object_id", "timestep", "labelimage_oid")
        means = [raw[labels == i].mean() for i in (4, 300)]
        np.testing.assert_allclose(found["data['table']['Mean Intensity']"], means, rtol=1e-6)
        np.testing.assert_allclose(found["data['table']['Mean Intensity'][0]"], means[0], rtol=1e-6)


def test_a_table_with_pictures_opens_as_ilastiks_do(pictured):
    labels, raw = np.load("labels.npy"), np.load("raw.npy")
    with h5py.File(pictured, "r") as data:
        assert set(data) == {"images", "table"}
        assert set(data["images"]) == {"0", "1"}
        for i, label, region in ((0, 4, np.s_[3:9, 3:12]), (1, 300, np.s_[20:, 25:])):
            one = data["images"][str(i)]
            assert set(one) == {"labeling", "raw"}
            assert (one["labeling"].dtype, one["raw"].dtype) == (np.uint8, raw.dtype)
            np.testing.assert_array_equal(one["labeling"][:], labels[region] == label)
            np.testing.assert_array_equal(one["raw"][:], raw[region])
            assert data["table"]["object_id"][i] == i
            assert data["table"]["Mean Intensity"][i] == pytest.approx(raw[labels == label].mean())
            assert data["table"][i]["Size in pixels"] == (labels == label).sum()
        assert "Mean Intensity" in data["table"].dtype.names


def test_margin_and_whole_image_reach_the_file(gpuseg, here):
    words = ["--pictures", "--picture-margin", "2", "--whole-image", "--backend", "cpu", "-q"]
    done = gpuseg("measure", "labels.npy", "--raw", "raw.npy", "-o", "t.h5", *words)
    assert (done.exit_code, done.output) == (0, "")
    with h5py.File("t.h5", "r") as data:
        np.testing.assert_array_equal(data["images/raw"], np.load("raw.npy"))
        assert data["images/0/labeling"].shape == (10, 13)
        assert list(data["images/0"]) == ["labeling"]


def test_components_and_all_are_words(gpuseg, here):
    done = gpuseg("measure", "labels.npy", "-o", "t.csv", "--kind", "components", "--features", "all")
    assert done.exit_code == 0, done.output
    assert len(pd.read_csv("t.csv")) == 2


@pytest.mark.parametrize(
    "words",
    [
        ["-o", "t.docx"],
        [],
        ["-o", "t.csv", "--margin", "30"],
        ["-o", "t.csv", "--margin", "a,b"],
        ["-o", "t.csv", "--spacing", "0"],
        ["-o", "t.csv", "--block", "0"],
        ["-o", "t.csv", "--features", ""],
        ["-o", "t.csv", "--features", "mean,,count"],
        ["-o", "t.csv", "--kind", "islands"],
        ["-o", "t.csv", "--axes", "yy"],
        ["-o", "t.csv", "--fetures", "all"],
        ["-o", "t.h5", "--pictures", "--picture-margin", "-1"],
    ],
    ids=" ".join,
)
def test_wrong_usage_is_exit_code_2(gpuseg, here, words):
    done = gpuseg("measure", "labels.npy", *words)
    assert done.exit_code == 2, done.output
    assert not list(here.glob("t*"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--block", "0"], "'0': whole numbers of at least 1 are needed"),
        (["--spacing", "0"], "'0': numbers above 0 are needed"),
        (["--margin", "-1,3"], "'-1,3': whole numbers of at least 0 are needed"),
        (["--margin", "3"], "'3': 2 or 3 whole numbers are needed, with commas between, not 1"),
    ],
    ids=lambda a: " ".join(a) if isinstance(a, list) else "",
)
def test_a_value_that_is_too_small_is_not_called_a_wrong_count(gpuseg, here, words, message):
    done = gpuseg("measure", "labels.npy", "-o", "t.csv", *words)
    assert message in " ".join(done.output.replace("│", " ").split()), done.output


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["none.npy"], "none.npy"),
        (["raw.npy"], "raw.npy: pixels are float32"),
        (["labels.npy", "--pictures"], "t.csv: a .csv table holds no pictures of objects"),
        (["labels.npy", "--picture-margin", "3"], "ask for pictures too"),
        (["labels.npy", "--features", "meen"], "unknown object feature 'meen'"),
        (["labels.npy", "--raw", "wide.npy"], "wide.npy: has 30 (y) x 41 (x) pixels, labels.npy has"),
    ],
    ids=lambda a: " ".join(a) if isinstance(a, list) else "",
)
def test_invalid_input_is_exit_code_3_and_told_once(gpuseg, here, words, message):
    done = gpuseg("measure", *words, "-o", "t.csv")
    assert done.exit_code == 3, done.output
    assert done.output.count(message) == 1
    assert "Traceback" not in done.output
    assert not (here / "t.csv").exists()


def test_some_failed_files_are_exit_code_1_and_listed(gpuseg, here):
    np.save("bad.npy", -np.eye(30, 40, dtype=np.int8))
    done = gpuseg("measure", "labels.npy", "bad.npy", "-o", "t.csv")
    assert done.exit_code == 1
    assert "Error: bad.npy: label -1 at y 0, x 0" in done.stderr
    assert done.stderr.splitlines()[-1] == "1 of 2 images failed: bad.npy"
    assert set(pd.read_csv("t.csv")["image"]) == {"labels.npy"}
