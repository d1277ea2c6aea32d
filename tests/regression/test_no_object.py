"""ilastik#1776, #2279, #2738: an image without any object failed, and spoiled those that came after it."""

import numpy as np
import pandas as pd
import pytest

import gpuseg as library
from gpuseg import api
from gpuseg.export import RESULTS
from gpuseg.model import Pipeline

COUNTS = [0, 1, 2]
TABLES = {
    "csv": pd.read_csv,
    "parquet": pd.read_parquet,
    "h5": lambda path: pd.DataFrame.from_records(_structured(path)),
}
OBJECTS = [name for name, row in RESULTS.items() if row.source == "objects"]
MAP = "map{}.h5"


def _structured(path):
    import h5py

    with h5py.File(path) as file:
        return file["table"][()]


@pytest.fixture
def here(tmp_path, write, squares, small_image):
    """Of 0, 1, 2 and 6 objects: label images, probabilities, a raw image."""
    write(tmp_path / "raw.h5", small_image(40, 90), "yx")
    for n in (*COUNTS, 6):
        write(tmp_path / f"labels{n}.tif", squares(n), "yx", kind="labels")
        write(tmp_path / MAP.format(n), (squares(n) > 0).astype(np.float32) * 0.9, "yx")
    return tmp_path


@pytest.fixture
def model(here):
    table = api.measure(here / "labels6.tif", raw=here / "raw.h5")
    return library.ObjectClassifier(n_estimators=5).fit(table, [1, 2, 1, 2, 0, 0])


def mixed(folder, name):
    """Files of 2, 0, 1 and again 0 objects, of different names."""
    files = []
    for i, n in enumerate((2, 0, 1, 0)):
        path = folder / f"{i}_{name.format(n)}"
        path.write_bytes((folder / name.format(n)).read_bytes())
        files.append(path)
    return files


@pytest.mark.parametrize("count", COUNTS)
def test_segmenting_finds_as_many_as_there_are_ilastik_1776(here, read, gpuseg, count):
    (done,) = api.segment(here / MAP.format(count), output=f"{here}/python.tif", sigma=0)
    shell = gpuseg("segment", here / MAP.format(count), "--sigma", 0, "-o", here / "shell.tif")
    assert (done.error, shell.exit_code) == (None, 0)
    for name in ("python.tif", "shell.tif"):
        assert np.unique(read(here / name)).tolist() == list(range(count + 1))


@pytest.mark.parametrize("suffix", TABLES)
@pytest.mark.parametrize("count", COUNTS)
def test_a_table_has_as_many_rows_and_always_the_same_columns_ilastik_2279(here, gpuseg, suffix, count):
    files = [here / f"labels{count}.tif", "--raw", here / "raw.h5", "-o", here / f"shell.{suffix}"]
    full = api.measure(here / "labels6.tif", raw=here / "raw.h5")
    api.measure(here / f"labels{count}.tif", raw=here / "raw.h5", output=here / f"python.{suffix}")
    assert gpuseg("measure", *files).exit_code == 0
    for name in ("python", "shell"):
        table = TABLES[suffix](here / f"{name}.{suffix}")
        assert (len(table), list(table)) == (count, list(full))


def test_empty_images_among_others_change_nothing_ilastik_2738(here):
    labels = mixed(here, "labels{}.tif")
    table = api.measure(labels, raw=[here / "raw.h5"] * 4, output=here / "all.csv")
    assert table["image"].tolist() == [str(labels[0])] * 2 + [str(labels[2])]
    for i, n in ((0, 2), (2, 1)):
        alone = api.measure(here / f"labels{n}.tif", raw=here / "raw.h5")
        mine = table[table["image"] == str(labels[i])].drop(columns="image").reset_index(drop=True)
        pd.testing.assert_frame_equal(mine.drop(columns="object_id"), alone.drop(columns="object_id"))


def test_an_empty_frame_of_a_movie_has_no_rows_ilastik_2738(squares):
    movie = np.stack([squares(n) for n in (0, 2, 0, 1)])
    table = library.measure(movie, axes="tyx")
    assert table["timestep"].tolist() == [1, 1, 3]
    assert library.segment((movie > 0) * 0.9, axes="tyx", sigma=0).count.tolist() == [0, 2, 0, 1]


@pytest.mark.parametrize("count", COUNTS)
def test_a_classifier_answers_for_as_many_ilastik_1776(here, model, count):
    table = api.measure(here / f"labels{count}.tif", raw=here / "raw.h5")
    assert model.predict_proba(table).shape == (count, 2)
    assert len(model.predict(table)) == len(model.uncertainty(table)) == count


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("result", OBJECTS)
def test_every_image_of_objects_is_written_ilastik_1776(here, read, model, result, count):
    labels = here / f"labels{count}.tif"
    (done,) = api.classify(
        model, raw=here / "raw.h5", labels=labels, export=[result], output=f"{here}/out.h5"
    ).outcomes
    assert done.error is None
    found = read(done.outputs[0])
    assert found.shape[:2] == (40, 90)
    assert not found[read(labels) == 0].any()
    if result != "object uncertainty":  # of an object that is sure it is 0
        assert found[read(labels) > 0].any(-1).all()


@pytest.mark.parametrize("count", COUNTS)
def test_the_table_of_classes_has_as_many_rows_ilastik_2279(here, model, gpuseg, count):
    model.save(here / "m.gpuseg")
    files = ("--raw", here / "raw.h5", "--labels", here / f"labels{count}.tif")
    done = gpuseg("classify", here / "m.gpuseg", *files, "--table", here / "shell.csv")
    assert done.exit_code == 0, done.output
    full = api.classify(model, raw=here / "raw.h5", labels=here / "labels6.tif", table=True).table
    table = pd.read_csv(here / "shell.csv")
    assert (len(table), list(table)) == (count, list(full))


def test_empty_images_among_others_change_no_class_ilastik_2738(here, read, model):
    labels, raw = mixed(here, "labels{}.tif"), mixed(here, "raw.h5")
    to = f"{here}/{{nickname}}_out.h5"
    done = api.classify(
        model, raw=raw, labels=labels, export=["object predictions"], output=to, table=here / "all.csv"
    )
    assert [o.error for o in done.outcomes] == [None] * 4
    for i, n in enumerate((2, 0, 1, 0)):
        alone = api.classify(
            model, raw=here / "raw.h5", labels=here / f"labels{n}.tif", output=f"{here}/alone.h5"
        ).outcomes[0]
        np.testing.assert_array_equal(read(done.outcomes[i].outputs[0]), read(alone.outputs[0]))
    assert len(pd.read_csv(here / "all.csv")) == 3


@pytest.mark.parametrize("count", COUNTS)
def test_a_whole_run_ends_well_ilastik_1776(here, small_image, small_model, count):
    """Thresholds that nothing, or all of it, reaches: no object, or one."""
    np.save(here / "a.npy", small_image(30, 40))
    high = 1.0 if count == 0 else 0.0
    pipeline = Pipeline(small_model(), {"channel": 1, "threshold": high, "min_size": 1 if count else 1200})
    done = api.run(pipeline, here / "a.npy", output=f"{here}/out.h5", table=True, features=["size_in_pixels"])
    assert done.outcomes[0].error is None
    assert len(done.table) == min(count, 1)
