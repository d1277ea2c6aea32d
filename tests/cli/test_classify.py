"""`gpuseg train-objects`, `gpuseg classify` and `gpuseg run`."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from objects_scene import drawn, load, pixel_classifier, store

from gpuseg import api, segment
from gpuseg.model import Pipeline


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A folder with a.tif, pixels.gpuseg, labels.tif, mask.tif, proba.h5 and said.csv."""
    folder = tmp_path_factory.mktemp("objects")
    image = drawn()
    pixel = pixel_classifier(image)
    pixel.save(folder / "pixels.gpuseg")
    proba = pixel.predict_proba(image)
    labels = segment(proba, axes="yxc", channel=1, sigma=0, min_size=5, backend="cpu").labels
    store(folder / "a.tif", image, "yx")
    store(folder / "b.tif", drawn(seed=3), "yx")
    store(folder / "labels.tif", labels.astype(np.uint16), "yx")
    store(folder / "mask.tif", (labels > 0).astype(np.uint8), "yx")
    store(folder / "proba.h5", proba, "yxc", drange=(0, 1))
    sizes = np.bincount(labels.ravel())[1:]
    order = np.argsort(sizes)
    rows = [f"{i + 1},small" for i in order[:4]] + [f"{i + 1},large" for i in order[-4:]]
    (folder / "said.csv").write_text("id,class\n" + "\n".join(rows) + "\n")
    return folder


@pytest.fixture
def here(prepared, enter):
    """The current folder, with a copy of all that."""
    return enter(prepared)


TRAIN = (
    *("train-objects", "--raw", "a.tif", "--object-labels", "said.csv", "--names", "small,large"),
    *("--features", "count,mean,radii", "--trees", "8", "--backend", "cpu"),
)
SEGMENT = ("--segment", "channel=1", "--segment", "sigma=0", "--segment", "min-size=5")


@pytest.fixture
def trained(gpuseg, here):
    done = gpuseg(*TRAIN, "--pixel-model", "pixels.gpuseg", *SEGMENT, "-o", "all.gpuseg")
    assert done.exit_code == 0, done.output
    return done


def test_training_tells_what_it_learned(trained, here):
    lines = trained.stdout.splitlines()
    assert lines[:2] == [
        "a.tif: 60 x 80, axes yx (from the file)",
        lines[1],
    ]
    assert "objects, 8 labelled" in lines[1]
    assert "all.gpuseg: model of 2 classes, 4 columns" in lines
    assert "labelled objects: small 4, large 4" in lines
    assert any(line.startswith("right on objects kept out (out of bag): ") for line in lines)
    assert any("labelled as" in line and "small" in line for line in lines)
    assert any("Size in pixels" in line for line in lines)
    model = Pipeline.load("all.gpuseg")
    assert model.segmentation.sigma == (0.0, 0.0, 0.0)
    assert model.segmentation.min_size == 5


def test_training_and_python_make_the_same_model(trained, here):
    by_python = api.train_objects(
        raw="a.tif",
        object_labels="said.csv",
        names=["small", "large"],
        features=["count", "mean", "radii"],
        trees=8,
        pixel_model="pixels.gpuseg",
        segment={"channel": 1, "sigma": 0, "min_size": 5},
        backend="cpu",
    )
    assert Pipeline.load("all.gpuseg").hash == by_python.hash


@pytest.mark.parametrize(
    "source",
    [
        ("--labels-image", "labels.tif"),
        ("--segmentation", "mask.tif"),
        ("--probabilities", "proba.h5", *SEGMENT),
    ],
    ids=lambda words: words[0],
)
def test_training_and_classifying_take_the_same_sources(gpuseg, here, source):
    done = gpuseg(*TRAIN, *source, "-o", "o.gpuseg", "-q")
    assert (done.exit_code, done.output) == (0, "")
    words = [w.replace("labels-image", "label-image") for w in source]
    done = gpuseg("classify", "o.gpuseg", "--raw", "a.tif", *words, "--table", "t.csv", "--backend", "cpu")
    assert done.exit_code == 0, done.output
    table = pd.read_csv("t.csv")
    assert set(table["Predicted Class"]) == {"small", "large"}
    assert not Path("a_Object Predictions.h5").exists()  # a table is all that was asked for


RUN = ("run", "all.gpuseg", "a.tif", "b.tif", "--backend", "cpu")


def test_command_python_and_batch_give_equal_bytes(gpuseg, trained, here):
    exports = ("object predictions", "Object Probabilities", "object_identities", "probabilities")
    words = [w for e in exports for w in ("-e", e)]
    done = gpuseg(*RUN, *words, "--table", "cli.csv", "-o", "cli_{nickname}_{result_type}.npy", "-q")
    assert (done.exit_code, done.output) == (0, "")
    how = {"export": exports, "backend": "cpu"}
    api.run("all.gpuseg", ["a.tif", "b.tif"], table="py.csv", output="py_{nickname}_{result_type}.npy", **how)
    assert Path("cli.csv").read_bytes() == Path("py.csv").read_bytes()
    assert len(list(here.glob("cli_*.npy"))) == 8
    for file in here.glob("cli_*.npy"):
        assert file.read_bytes() == Path(file.name.replace("cli_", "py_")).read_bytes()
    for name in "ab":
        api.run("all.gpuseg", f"{name}.tif", output="one_{nickname}_{result_type}.npy", **how)
    for file in here.glob("one_*.npy"):
        assert file.read_bytes() == Path(file.name.replace("one_", "cli_")).read_bytes()


def test_the_command_says_what_it_wrote(gpuseg, trained, here):
    done = gpuseg(*RUN, "-e", "Object Predictions", "--table", "t.csv", "-o", "{nickname}_p.tif")
    assert done.exit_code == 0, done.output
    counts = pd.read_csv("t.csv").groupby("image")["Predicted Class"].value_counts()
    expected = []
    for name in "ab":
        small, large = (int(counts[f"{name}.tif"].get(c, 0)) for c in ("small", "large"))
        expected += [
            f"{name}.tif: 60 x 80, axes yx (from the file)",
            f"{name}_p.tif: object predictions, 60 x 80 yx, uint8",
            f"{name}.tif: {small + large} objects: small {small}, large {large}",
        ]
    table = pd.read_csv("t.csv")
    expected.append(f"t.csv: {len(table)} objects, {len(table.columns)} columns")
    assert [line for line in done.stdout.splitlines() if not line.startswith("computing")] == expected


def test_every_option_reaches_the_function(gpuseg, trained, here):
    words = (
        "-e",
        "blockwise object predictions",
        "--block",
        "1,20,30",
        "--halo",
        "0",
        "--blockwise",
        "ilastik",
    )
    more = ("--cutout", "x:5:50", "--dtype", "uint16", "--axis-order", "xy", "--features", "variance")
    files = ("--table", "t.h5", "--pictures", "--picture-margin", "1", "--object-labels", "said.csv")
    done = gpuseg("run", "all.gpuseg", "a.tif", *words, *more, *files, "-o", "out.npy", "--report", "r.html")
    assert done.exit_code == 0, done.output
    api.run(
        "all.gpuseg",
        "a.tif",
        export="blockwise object predictions",
        block=(1, 20, 30),
        halo=0,
        blockwise="ilastik",
        cutout="x:5:50",
        dtype="uint16",
        axis_order="xy",
        output="py.npy",
    )
    assert Path("out.npy").read_bytes() == Path("py.npy").read_bytes()
    assert load("out.npy").shape == (45, 60)
    told = json.loads(gpuseg("info", "t.h5/images/0/labeling", "--json").stdout)
    assert told["axes"] == "yx"
    assert Path("r.html").stat().st_size > 10_000


def test_words_of_ilastik_are_understood(gpuseg, trained, here):
    done = gpuseg(
        *("classify", "all.gpuseg", "--raw_data", "a.tif", "--prediction_maps", "proba.h5"),
        *("--export_source", "Object Predictions", "--output_filename_format", "{nickname}_x.h5"),
        *("--table_filename", "t.csv", "--backend", "cpu"),
    )
    assert done.exit_code == 0, done.output
    assert Path("a_x.h5").exists()
    assert Path("t.csv").exists()
    done = gpuseg(
        *("classify", "all.gpuseg", "--raw_data", "a.tif", "--segmentation_image", "mask.tif"),
        *("--table_filename", "only.csv", "--table_only"),
    )
    assert done.exit_code == 0, done.output
    assert not Path("a_Object Predictions.h5").exists()


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("run", "pixels.gpuseg", "a.tif"), 3, "does not say how probabilities become objects"),
        (("run", "all.gpuseg", "none.tif"), 3, "none.tif"),
        (("run", "all.gpuseg", "a.tif", "-e", "roses"), 2, "unknown export 'roses'"),
        (("run", "all.gpuseg", "a.tif", "--segment", "colour=3"), 2, "an unknown setting"),
        (("run", "all.gpuseg", "a.tif", "--segment", "threshold=3"), 2, "outside of 0 to 1"),
        (("run", "all.gpuseg", "a.tif", "--segment", "threshold="), 2, "looks like channel=1"),
        (("run", "all.gpuseg", "a.tif", "--table", "t.doc"), 2, "no table has the suffix"),
        (("run", "all.gpuseg", "a.tif", "--report", "r.doc"), 2, "no report has the suffix"),
        (("run", "all.gpuseg", "a.tif", "--block", "a"), 2, "'a': whole numbers are needed"),
        (("run", "all.gpuseg", "a.tif", "--block", "0"), 2, "'0': whole numbers of at least 1"),
        (("run", "all.gpuseg", "a.tif", "--halo=-1"), 2, "'-1': whole numbers of at least 0"),
        (("run", "all.gpuseg", "a.tif", "--spacing", "0"), 2, "'0': numbers above 0"),
        (("classify", "all.gpuseg", "--probabilities", "a.tif", "--range", "3"), 2, "2 numbers are needed"),
        (
            ("classify", "all.gpuseg", "--probabilities", "a.tif", "--range", "1,0"),
            2,
            "'1,0': what stands for 0",
        ),
        (("run", "all.gpuseg", "a.tif", "--spacing", "inf"), 2, "'inf': numbers are needed"),
        (("run", "all.gpuseg", "a.tif", "--features", "mean,,count"), 2, "'mean,,count': a name is missing"),
        ((*TRAIN, "--labels-image", "labels.tif", "-o", "o.gpuseg", "--use", ""), 2, "a name is missing"),
        (("run", "all.gpuseg", "a.tif", "--table-only"), 2, "name it with --table"),
        (
            ("run", "all.gpuseg", "a.tif", "--table-only", "--table", "t.csv", "-e", "probabilities"),
            2,
            "leave out",
        ),
        (("run", "all.gpuseg", "a.tif", "--blockwise", "fast"), 2, "'fast' is no way"),
        (("classify", "all.gpuseg", "--raw", "a.tif"), 3, "0 of probabilities, segmentation and labels"),
        (("classify", "all.gpuseg", "--label-image", "labels.tif"), 3, "raw image has 0 channels"),
        (
            ("train-objects", "--raw", "a.tif", "--object-labels", "said.csv", "-o", "o.gpuseg"),
            3,
            "nothing says",
        ),
        ((*TRAIN, "--labels-image", "labels.tif", "-o", "o.tif"), 3, "a model has the suffix"),
    ],
)
def test_wrong_usage_is_told(gpuseg, trained, here, words, code, message):
    done = gpuseg(*words)
    assert done.exit_code == code, done.output
    assert message in " ".join(done.output.replace("│", " ").split())


def test_some_failed_files_end_with_1_and_the_others_are_done(gpuseg, trained, here):
    Path("bad.tif").write_bytes(b"II*\0")
    done = gpuseg("run", "all.gpuseg", "bad.tif", "a.tif", "--table", "t.csv", "--report", "r.html")
    assert done.exit_code == 1
    assert "1 of 2 images failed: bad.tif" in done.output
    assert set(pd.read_csv("t.csv")["image"]) == {"a.tif"}
    assert "bad.tif" in Path("r.html").read_text()


def test_info_shows_all_stages(gpuseg, trained, here):
    done = gpuseg("info", "all.gpuseg")
    assert done.exit_code == 0, done.output
    for word in ("pipeline", "pixels", "segmentation", "objects", "min_size", "small", "count"):
        assert word in done.stdout
