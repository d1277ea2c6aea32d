"""What classifying objects says of its files, labels and models: warnings, refusals, tables and pictures."""

import logging
import re
from functools import partial
from pathlib import Path
from threading import Event

import numpy as np
import pandas as pd
import pytest
from objects_scene import SEGMENT, drawn, store, trained

import gpuseg
from gpuseg import ObjectClassifier, ObjectLabels, Pipeline, PixelClassifier, api
from gpuseg.api import reports
from gpuseg.axes import Voxel
from gpuseg.errors import Cancelled, FileError, InputError, ModelError, ModelMismatchError
from gpuseg.run import objects

CELL = np.pad(np.ones((8, 8), np.uint8), 2)
CELLS = np.kron(np.arange(1, 7, dtype=np.uint8).reshape(2, 3), CELL)
IDENTITY = ["object_id", "timestep", "labelimage_oid"]
CLASSES = ["Probability of small", "Probability of large"]
OF_CLASS = ["User Label", "Predicted Class", *CLASSES, "Uncertainty", "Ambiguous"]
CORNERS = ("Bounding Box Minimum", "Bounding Box Maximum", "Center of the object")
PLACE = ["Size in pixels", *(f"{name}_{k}" for name in CORNERS for k in (0, 1)), "original_oid"]


@pytest.fixture(scope="module")
def pipeline():
    return trained(drawn((40, 50)))


@pytest.fixture(scope="module")
def scene(tmp_path_factory, pipeline):
    """A folder with a.tif and b.tif, their probabilities, segmentations and label images, and all.gpuseg."""
    folder = tmp_path_factory.mktemp("scene")
    for seed, name in enumerate("ab"):
        image = drawn((40, 50), seed)
        store(folder / f"{name}.tif", image, "yx")
        proba = PixelClassifier.from_model(pipeline.pixel, backend="cpu").predict_proba(image)
        store(folder / f"{name}_proba.h5", proba, "yxc", drange=(0, 1))
        labels = gpuseg.segment(proba, axes="yxc", backend="cpu", **SEGMENT).labels
        store(folder / f"{name}_labels.tif", labels.astype(np.uint8), "yx")
        store(folder / f"{name}_segmentation.tif", (labels > 0).astype(np.uint8), "yx")
    pipeline.save(folder / "all.gpuseg")
    return folder


def given(scene, kind, names="a"):
    """Raw images of the scene and, of this kind, what objects come from."""
    suffix = {"probabilities": "_proba.h5", "segmentation": "_segmentation.tif", "labels": "_labels.tif"}
    raw = {"raw": [str(scene / f"{n}.tif") for n in names]}
    return raw if kind == "pixels" else raw | {kind: [str(scene / f"{n}{suffix[kind]}") for n in names]}


def classified(model, files, **how):
    """By `run` where there are raw images alone, else by `classify`."""
    how = {"table": True, "backend": "cpu"} | how
    if set(files) == {"raw"}:
        return api.run(model, files["raw"], **how)
    return api.classify(model, **files, **how)


@pytest.fixture
def warned(caplog):
    """Warnings of gpuseg so far, which hold this text."""
    caplog.set_level(logging.WARNING, "gpuseg")
    return lambda text="": [m for m in caplog.messages if text in m]


@pytest.fixture
def said(tmp_path):
    """Writes a file of object labels."""

    def write(text, name="said.csv"):
        (tmp_path / name).write_text(text)
        return tmp_path / name

    return write


@pytest.fixture
def albums(monkeypatch):
    """Pictures of the reports that are written."""
    found = []
    monkeypatch.setattr(reports, "write_report", lambda path, facts, album, table: found.append(album))
    return found


@pytest.fixture
def uncomputed(monkeypatch):
    """No time point may be looked at."""

    def frames(run):
        raise AssertionError("something was computed")

    monkeypatch.setattr(objects.Run, "frames", frames)


def movie(tmp_path, name, seeds):
    """Labels and raw images of a movie, and those of the stills that it consists of."""
    labels = [np.roll(np.where(s % 3 < CELLS, CELLS, 0), (s, 3 * s), (0, 1)) for s in seeds]
    both = {"labels": labels, "raw": [drawn(CELLS.shape, s, count=6) for s in seeds]}
    stills = [
        {k: store(tmp_path / f"{name}_{t}_{k}.h5", v[t], "yx") for k, v in both.items()}
        for t in range(len(seeds))
    ]
    return {k: store(tmp_path / f"{name}_{k}.h5", np.stack(v), "tyx") for k, v in both.items()}, stills


def test_a_report_shows_each_movie_once_by_its_first_time_point(tmp_path, pipeline, albums):
    made = [movie(tmp_path, name, seeds) for name, seeds in (("m", (0, 1, 2)), ("n", (4, 3)))]
    stills = [still for _, stills in made for still in stills]
    how = {"report": tmp_path / "r.html", "backend": "cpu"}
    for files in ([one for one, _ in made], stills):
        api.classify(pipeline, **{k: [f[k] for f in files] for k in ("labels", "raw")}, **how)
    movies, single = albums
    assert [one.name for one in movies.images] == [one["raw"] for one, _ in made]
    shown = [one.picture.data for one in movies.images]
    assert shown == [single.images[i].picture.data for i in (0, 3)]
    assert len({one.picture.data for one in single.images}) == 5
    assert all("first time point" in one.note for one in movies.images)
    counts = np.array([one.counts for one in single.images])
    assert [one.counts for one in movies.images] == [tuple(counts[:3].sum(0)), tuple(counts[3:].sum(0))]
    assert [one.objects for one in movies.images] == [counts[:3].sum(), counts[3:].sum()]


def test_a_doubtful_object_of_a_movie_is_shown_at_its_time_point(tmp_path, pipeline, albums):
    one, stills = movie(tmp_path, "m", (0, 1, 2))
    how = {"report": tmp_path / "r.html", "backend": "cpu"}
    api.classify(pipeline, **one, **how)
    api.classify(pipeline, **{k: [still[k] for still in stills] for k in one}, **how)
    in_movie, alone = (album.doubtful for album in albums)
    times = [[still["raw"] for still in stills].index(found.image) for found in alone]
    assert set(times) == {0, 1, 2}
    assert [found.picture.data for found in in_movie] == [found.picture.data for found in alone]
    for found, t in zip(in_movie, times, strict=True):
        assert t == 0 or f"time point {t}" in found.place


@pytest.fixture(scope="module")
def measured_in_lengths(scene, tmp_path_factory):
    """Of every kind of input a pipeline that learned with half a micrometer for a pixel."""
    said = tmp_path_factory.mktemp("lengths") / "said.csv"
    said.write_text("id,class\n1,small\n2,large\n3,small\n4,large\n")
    more = {
        "pixels": {"pixel_model": scene / "all.gpuseg", "segment": SEGMENT},
        "probabilities": {"segment": SEGMENT},
    }
    how = {"object_labels": said, "features": ["count"], "spacing": [0.5, 0.5], "folds": 0, "trees": 5}
    return {
        kind: api.train_objects(**given(scene, kind), **more.get(kind, {}), **how, backend="cpu")
        for kind in ("pixels", "probabilities", "labels")
    }


@pytest.fixture(params=["pixels", "probabilities", "labels", "raw beside labels"])
def with_pixels_of(request, tmp_path, scene, measured_in_lengths):
    """Makes a model, its files, one of which says how large a pixel is, and the name of that one."""
    kind = "labels" if request.param == "raw beside labels" else request.param
    by = "raw" if request.param in ("pixels", "raw beside labels") else kind

    def make(size, unit="micrometer"):
        files = {k: v[0] for k, v in given(scene, kind).items()}
        with gpuseg.open_image(files[by]) as image:
            name = tmp_path / f"{size}{Path(files[by]).suffix}"
            voxel = Voxel(dict.fromkeys("yx", size), dict.fromkeys("yx", unit)) if size else Voxel()
            drange = (0, 1) if by == "probabilities" else None
            told = store(name, image.read(), image.axes, voxel=voxel, drange=drange)
        return measured_in_lengths[kind], {k: [v] for k, v in (files | {by: told}).items()}, told

    return make


def test_a_file_with_other_pixels_than_those_of_the_training_is_refused(with_pixels_of, uncomputed):
    model, files, told = with_pixels_of(0.51)
    with pytest.raises(ModelMismatchError) as refused:
        classified(model, files)
    assert re.match(rf"{re.escape(told)}: a pixel is 0\.51 .*along y, .* 0\.5 µm$", refused.value.problem)
    assert "spacing='file'" in refused.value.hint
    assert "--spacing file" in refused.value.hint


@pytest.mark.parametrize(
    ("stored", "asked", "taken"),
    [
        ((0.5,), None, 0.5),
        ((0.504,), None, 0.5),
        ((500, "nm"), None, 0.5),
        ((None,), None, 0.5),
        ((2,), "file", 2),
    ],
    ids=["same", "nearly", "in another unit", "unknown", "own"],
)
def test_a_file_is_measured_by_the_training_or_by_its_own_pixels(with_pixels_of, stored, asked, taken):
    model, files, _ = with_pixels_of(*stored)
    table = classified(model, files, spacing=asked).table
    np.testing.assert_allclose(table["Size (µm²)"], table["Size in pixels"] * taken**2)


@pytest.mark.parametrize(
    ("text", "by_number"),
    [
        ("id,class\n1,large\n", True),
        ("x,y,class\n20,12,large\n", False),
        ("id,x,y,class\n1,,,a\n,2,2,b\n", True),
    ],
    ids=["number", "place", "both"],
)
@pytest.mark.parametrize("kind", ["pixels", "probabilities", "segmentation", "labels"])
def test_numbers_of_objects_that_are_yet_to_be_found_are_warned_of(
    scene, pipeline, said, warned, kind, text, by_number
):
    path = said(text)
    classified(pipeline, given(scene, kind), object_labels=path)
    found = warned("names objects by number alone")
    assert len(found) == (by_number and kind in ("pixels", "probabilities"))
    assert all(one.startswith(f"{path}: ") and "x and y hold for any" in one for one in found)


@pytest.mark.parametrize(
    ("text", "frames", "expected"),
    [
        ("id,class\n1,a\n2,b\n", 3, 1),
        ("id,timestep,class\n1,0,a\n2,0,b\n", 3, 1),
        ("id,timestep,class\n1,0,a\n2,2,b\n", 3, 0),
        ("id,class\n1,a\n2,b\n", 1, 0),
        ("id,class\n1,0\n", 3, 0),
    ],
)
def test_a_movie_with_labels_at_its_first_time_point_alone_is_warned_of(
    tmp_path, said, warned, text, frames, expected
):
    path = store(tmp_path / "m.h5", np.stack([CELLS] * frames), "tyx")
    api.classify(Pipeline(), labels=path, table=True, object_labels=said(text), backend="cpu")
    text = "all object labels are of time point 0, the image has 3; a column `timestep` says of which"
    assert warned("time point 0") == [text] * expected


@pytest.mark.parametrize(
    ("template", "name"),
    [("{nickname}.csv", "{}.csv"), ("{dataset_dir}/{nickname}_{result_type}.csv", "images/{}_Table.csv")],
)
def test_a_table_with_the_name_of_its_image_has_its_objects_alone(
    tmp_path, scene, pipeline, monkeypatch, template, name
):
    monkeypatch.chdir(tmp_path)
    Path("images").mkdir()
    paths = [f"images/{n}.tif" for n in "ab"]
    for path in paths:
        Path(path).write_bytes((scene / Path(path).name).read_bytes())
    joined = api.run(pipeline, paths, table=template, backend="cpu").table
    assert sorted(map(str, Path().rglob("*.csv"))) == sorted(name.format(n) for n in "ab")
    for n, path in zip("ab", paths, strict=True):
        rows = pd.read_csv(name.format(n), dtype={"User Label": str}, keep_default_na=False)
        alone = api.run(pipeline, path, table=True, backend="cpu").table
        pd.testing.assert_frame_equal(rows, alone, check_dtype=False, check_exact=False)
        assert len(rows) == (joined["image"] == path).sum()


def test_tables_of_two_images_never_get_one_name(tmp_path, scene, pipeline, uncomputed):
    other = store(tmp_path / "a.tif", drawn((40, 50)), "yx")
    with pytest.raises(InputError, match="would overwrite"):
        api.run(pipeline, [scene / "a.tif", other], table=f"{tmp_path}/{{nickname}}.csv", backend="cpu")
    with pytest.raises(InputError, match=r"unknown placeholder \{nick\}"):
        api.run(pipeline, scene / "a.tif", table="{nick}.csv", backend="cpu")


@pytest.mark.parametrize("kind", ["pixels", "labels"])
def test_files_of_labels_go_to_the_images_in_their_order(scene, pipeline, said, kind):
    first, second = said("id,class\n1,large\n", "1.csv"), said("id,class\n2,small\n", "2.csv")
    for paths, expected in (
        ([first, second], [["large", "0"], ["0", "small"]]),
        ([second, first], [["0", "small"], ["large", "0"]]),
    ):
        files = given(scene, kind, "ab")
        table = classified(pipeline, files, object_labels=paths).table
        found = [table[table["image"] == path]["User Label"].tolist()[:2] for path in files["raw"]]
        assert found == expected


@pytest.mark.parametrize(("images", "count"), [("a", 0), ("a", 2), ("ab", 0), ("ab", 3)])
def test_another_count_of_label_files_than_of_images_is_refused(
    scene, pipeline, said, uncomputed, images, count
):
    paths = [said("id,class\n1,large\n", f"{i}.csv") for i in range(count)]
    counts = f"^{count} files of object labels for {len(images)} images"
    with pytest.raises(InputError, match=counts) as refused:
        classified(pipeline, given(scene, "labels", images), object_labels=paths)
    assert "one for each image in their order" in refused.value.hint


@pytest.mark.parametrize("block", [None, 20])
def test_a_mask_in_place_of_a_label_image_is_warned_of_once(tmp_path, warned, block):
    mask = store(tmp_path / "mask.tif", (CELLS > 0).astype(np.uint8) * 255, "yx")
    movie = store(tmp_path / "movie.h5", np.stack([CELLS > 0] * 3).astype(np.uint8), "tyx")
    one = store(tmp_path / "one.tif", (CELLS == 2).astype(np.uint8), "yx")
    numbered = store(tmp_path / "numbered.tif", CELLS, "yx")
    api.classify(Pipeline(), labels=[numbered, one, mask, movie], table=True, block=block, backend="cpu")
    api.classify(Pipeline(), segmentation=mask, table=True, block=block, backend="cpu")
    told = "{}: has one label, {}, in 6 parts: they are one object; as a segmentation each is one"
    assert warned("has one label") == [told.format(mask, 255), told.format(movie, 1)]


@pytest.mark.parametrize("block", [None, 10, 16])
def test_one_bent_object_is_no_mask_and_two_far_ones_are(tmp_path, warned, block):
    bent, far = np.zeros((2, 40, 40), np.uint8)
    bent[5:35, 5:8] = bent[5:35, 30:33] = bent[32:35, 5:33] = 7
    far[1:4, 1:4] = far[36:39, 36:39] = 7
    for name, labels in (("bent", bent), ("far", far)):
        path = store(tmp_path / f"{name}.tif", labels, "yx")
        assert len(api.classify(Pipeline(), labels=path, table=True, block=block).table) == 1
        assert len(warned("far.tif: has one label, 7, in 2 parts")) == (name == "far")
    assert not warned("bent.tif")


def test_what_no_object_has_is_told_once_in_training(tmp_path, scene, warned):
    said = tmp_path / "lost.csv"
    said.write_text(
        "image,id,class\na_labels.tif,1,small\na_labels.tif,2,large\na_labels.tif,99,large\nx,1,small\n"
    )
    how = {"features": ["count"], "trees": 2, "folds": 0, "report": tmp_path / "r.html"}
    api.train_objects(labels=scene / "a_labels.tif", object_labels=said, table=tmp_path / "t.csv", **how)
    assert len(warned("label is not used")) == len(warned("images that are not given")) == 1
    assert "label is not used" in (tmp_path / "r.html").read_text()


@pytest.mark.parametrize("unit", ["um", "micron", "μm", "micrometer", "px"])
def test_a_model_takes_the_files_that_it_learned_from_whatever_its_unit_is_called(tmp_path, unit):
    voxel = Voxel({"y": 0.5, "x": 0.5}, {"y": "micrometer", "x": "micrometer"})
    labels = store(tmp_path / "l.tif", CELLS, "yx", voxel=voxel)
    known = ObjectLabels.of(CELLS, {1: "a", 2: "b", 3: "a", 4: "b"}, names=["a", "b"])
    how = {"spacing": 0.5, "unit": unit, "features": ["count", "radii"], "trees": 3, "folds": 0}
    model = api.train_objects(labels=labels, object_labels=known, table=tmp_path / "t.csv", **how)
    table = api.classify(model, labels=labels, table=True).table
    assert f"Size ({'px' if unit == 'px' else 'µm'}²)" in table
    pd.testing.assert_frame_equal(
        table.filter(like="Size"), pd.read_csv(tmp_path / "t.csv").filter(like="Size")
    )


def test_training_may_take_another_pixel_size_than_the_file_says(tmp_path):
    voxel = Voxel({"y": 0.5, "x": 0.5}, {"y": "micrometer", "x": "micrometer"})
    labels = store(tmp_path / "l.tif", CELLS, "yx", voxel=voxel)
    known = ObjectLabels.of(CELLS, {1: "a", 2: "b", 3: "a", 4: "b"}, names=["a", "b"])
    how = {"spacing": 1, "features": ["count"], "trees": 3, "folds": 0, "table": tmp_path / "t.csv"}
    api.train_objects(labels=labels, object_labels=known, **how)
    table = pd.read_csv(tmp_path / "t.csv")
    assert (table["Size (µm²)"] == table["Size in pixels"]).all()


@pytest.mark.parametrize("output", ["said.csv/m.gpuseg", "m" * 250 + ".gpuseg", "folder.gpuseg"])
def test_a_model_that_cannot_be_written_is_told_before_anything_is_computed(
    tmp_path, scene, said, uncomputed, monkeypatch, output
):
    said("id,class\n1,small\n2,large\n")
    (tmp_path / "folder.gpuseg").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(PixelClassifier, "fit", lambda *a: pytest.fail("it was trained"))
    told = r"is no folder|its name has 257 bytes|is a folder"
    with pytest.raises(InputError, match=told):
        api.train_objects(labels=scene / "a_labels.tif", object_labels="said.csv", output=output)
    with pytest.raises(InputError, match=told):
        api.train(scene / "a.tif", scene / "a_labels.tif", output=output)


def test_labels_that_come_one_by_one_are_not_overwritten(scene, said):
    file = said("id,class\n1,small\n2,large\n")
    before = file.read_text()
    for verb in (partial(api.classify, Pipeline()), api.train_objects):
        with pytest.raises(InputError, match="would overwrite the input"):
            verb(labels=scene / "a_labels.tif", object_labels=(p for p in [file]), table=file)
    assert file.read_text() == before
    how = {"features": iter(["count"]), "trees": 2, "folds": 0}
    found = api.train_objects(labels=scene / "a_labels.tif", object_labels=file, **how)
    assert found.objects.columns == ("Size in pixels",)


def test_images_of_one_beginning_have_labels_of_their_own(tmp_path):
    paths = [store(tmp_path / f"{name}.tif", CELLS, "yx") for name in ("cells", "cells.v2")]
    files = [tmp_path / "1.csv", tmp_path / "2.csv"]
    for file, name, value in zip(files, ("cells", "cells.v2"), ("a", "b"), strict=True):
        file.write_text(f"image,id,class\n{name},1,{value}\n")
    table = api.classify(Pipeline(), labels=paths, object_labels=files, table=True).table
    assert len(table) == 12


def test_labels_may_name_an_image_by_any_path_to_it(tmp_path, scene, monkeypatch, warned):
    monkeypatch.chdir(scene)
    for name in ("a_labels.tif", "./a_labels.tif", scene / "a_labels.tif", f"../{scene.name}/a_labels.tif"):
        (tmp_path / "said.csv").write_text(f"image,id,class\n{name},1,small\n{name},2,large\n")
        how = {"object_labels": tmp_path / "said.csv", "features": "count", "folds": 0}
        model = api.train_objects(labels=["a_labels.tif", "b_labels.tif"], **how)
        assert model.objects.provenance["training"]["labels"] == {"1": 1, "2": 1}
    assert not warned()


@pytest.mark.parametrize("margin", [1.5, "3", None, -1])
def test_a_margin_of_pictures_is_a_whole_number(tmp_path, scene, uncomputed, margin):
    how = {"table": tmp_path / "t.h5", "pictures": True, "picture_margin": margin}
    with pytest.raises(InputError, match=r"picture_margin .*: a whole number from 0 is needed"):
        api.classify(Pipeline(), labels=scene / "a_labels.tif", **how)


def test_a_range_is_of_probabilities_alone(scene):
    with pytest.raises(InputError, match=r"range .* is of probabilities, and objects come from labels"):
        api.classify(Pipeline(), labels=scene / "a_labels.tif", range=(0, 100))


def test_a_halo_is_checked_also_where_it_is_not_used(scene):
    with pytest.raises(InputError, match="halo -1: a whole number from 0"):
        api.classify(Pipeline(), labels=scene / "a_labels.tif", halo=-1)


def test_files_of_labels_in_another_order_than_the_images_are_refused(tmp_path, scene):
    files = [tmp_path / f"{name}.csv" for name in "ba"]
    for file in files:
        file.write_text(f"image,id,class\n{file.stem}_labels.tif,1,small\n{file.stem}_labels.tif,2,large\n")
    labels = [scene / "a_labels.tif", scene / "b_labels.tif"]
    with pytest.raises(FileError, match=r"b\.csv: has labels of b_labels\.tif, and is given for .*a_labels"):
        api.classify(Pipeline(), labels=labels, object_labels=files, table=True)
    table = api.classify(Pipeline(), labels=labels, object_labels=files[::-1], table=True).table
    assert len(table)


@pytest.mark.parametrize(
    ("asked", "columns"),
    [
        ("mean", ["Mean Intensity"]),
        (["Mean Intensity", "count"], ["Mean Intensity"]),
        (["skewness", "radii"], ["Skewness of Intensity", "Radii of the object_0", "Radii of the object_1"]),
    ],
)
@pytest.mark.parametrize("kind", ["pixels", "labels"])
def test_features_choose_columns_and_change_no_prediction(scene, pipeline, kind, asked, columns):
    files = given(scene, kind)
    full, chosen = (classified(pipeline, files, features=f).table for f in (None, asked))
    assert sorted(chosen) == sorted([*IDENTITY, *OF_CLASS, *PLACE, *columns])
    same = [c for c in chosen if c in full]
    pd.testing.assert_frame_equal(chosen[same], full[same], check_flags=False)
    assert set(chosen["Predicted Class"]) == {"small", "large"}


@pytest.mark.parametrize("kind", ["pixels", "labels"])
def test_a_model_without_object_classifier_measures_and_says_so(scene, pipeline, warned, kind):
    model = Pipeline(pipeline.pixel, pipeline.segmentation)
    table = classified(model, given(scene, kind), features=["mean"]).table
    assert sorted(table) == sorted([*IDENTITY, *PLACE, "Mean Intensity"])
    assert warned() == ["the model has no object classifier: objects are measured, and have no classes"]


def test_nothing_is_warned_of_where_a_model_is_whole(scene, pipeline, warned):
    classified(pipeline, given(scene, "pixels"))
    classified(pipeline, given(scene, "labels"))
    assert warned() == []


@pytest.fixture(scope="module")
def of_sizes():
    """A model that needs no raw image."""
    table = gpuseg.measure(CELLS, features=["count"], backend="cpu")
    return ObjectClassifier(n_estimators=2, backend="cpu").fit(table, [1, 2, 1, 2, 1, 2])


def test_a_place_between_two_pixels_is_the_nearest(tmp_path, of_sizes, said):
    path = store(tmp_path / "l.tif", CELLS, "yx")
    text = "x,y,class\n1.6,9.4,first\n25.51,13.5,last\n10.4,5,nobody\n"
    for table in (text, text.replace(",", ";").replace(".", ",")):
        found = api.classify(of_sizes, labels=path, table=True, object_labels=said(table)).table
        assert found["User Label"].tolist() == ["first", "0", "0", "0", "0", "last"]


@pytest.mark.parametrize("column", ["timestep", "time", "frame", "t", "Frame"])
def test_the_column_of_times_may_have_several_names(tmp_path, of_sizes, said, warned, column):
    path = store(tmp_path / "m.h5", np.stack([CELLS] * 3), "tyx")
    labels = said(f"id,{column},class\n2,1,a\n3,2,b\n")
    table = api.classify(of_sizes, labels=path, table=True, object_labels=labels).table
    given = table[table["User Label"] != "0"]
    assert given[["timestep", "original_oid", "User Label"]].values.tolist() == [[1, 2, "a"], [2, 3, "b"]]
    assert warned() == []


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("object prediction", "object predictions"),
        ("Object_Probabilites", "object probabilities"),
        ("blockwise-object-prediction", "blockwise object predictions"),
        ("objects identities", "object identities"),
        ("Pixel Probability", "probabilities"),
    ],
)
def test_a_name_that_is_nearly_that_of_a_result_is_told(scene, pipeline, uncomputed, word, meant):
    with pytest.raises(InputError, match=f"unknown export '{word}'") as refused:
        api.run(pipeline, scene / "a.tif", export=["probabilities", word])
    assert refused.value.hint == f"do you mean {meant!r}?"


def test_an_estimator_is_loaded_from_its_stage_of_a_pipeline(scene, pipeline):
    pixel = PixelClassifier.load(scene / "all.gpuseg", backend="cpu")
    assert pixel.model_.hash == pipeline.pixel.hash
    classifier = ObjectClassifier.load(scene / "all.gpuseg", backend="cpu")
    assert classifier.model_.hash == pipeline.objects.hash
    assert (pixel.backend, classifier.backend) == ("cpu", "cpu")
    assert classifier.classes == ("small", "large")


@pytest.mark.parametrize(("estimator", "lacks"), [(PixelClassifier, "pixel"), (ObjectClassifier, "object")])
def test_an_estimator_is_not_loaded_from_a_pipeline_without_its_stage(tmp_path, pipeline, estimator, lacks):
    kept = Pipeline(pipeline.pixel, SEGMENT) if lacks == "object" else Pipeline(objects=pipeline.objects)
    kept.save(tmp_path / "p.gpuseg")
    with pytest.raises(ModelError, match=rf"p\.gpuseg: has no {lacks} classifier"):
        estimator.load(tmp_path / "p.gpuseg")


ARRAY = np.zeros((4, 5), np.uint8)
NO_PATH = "{} is given where the path of a file is needed"


@pytest.mark.parametrize(
    ("images", "kind"),
    [
        *[(ARRAY, "ndarray"), ([ARRAY], "ndarray"), (np.zeros(3), "ndarray"), (np.zeros(()), "ndarray")],
        *[(["a", None], "NoneType"), (3, "int"), ({"a": 1}, "dict")],
    ],
)
def test_what_is_no_path_of_an_image_is_refused_by_its_type(scene, pipeline, images, kind):
    calls = [
        lambda: api.run(pipeline, images),
        lambda: api.classify(pipeline, raw=images, labels=scene / "a_labels.tif"),
        lambda: api.train_objects(raw=images, labels=scene / "a_labels.tif", object_labels="said.csv"),
        lambda: api.classify(pipeline, labels=images),
        lambda: api.train_objects(segmentation=images, object_labels="said.csv"),
    ]
    if not isinstance(images, dict):
        calls += [lambda: api.run(pipeline, scene / "a.tif", table=True, object_labels=images)]
    for call in calls:
        with pytest.raises(InputError, match=f"^{NO_PATH.format(kind)}") as refused:
            call()
        assert "gpuseg.measure" in refused.value.hint


@pytest.mark.parametrize("kind", ["labels", "segmentation", "probabilities"])
def test_an_array_among_files_that_objects_come_from_is_refused_by_its_type(pipeline, kind):
    with pytest.raises(InputError, match=f"^{NO_PATH.format('ndarray')}"):
        api.classify(pipeline, **{kind: ["a.tif", ARRAY]})


def test_a_dictionary_is_no_object_labels(scene, pipeline):
    how = {"labels": scene / "a_labels.tif", "object_labels": {1: "large", 2: "small"}}
    for call in (lambda: api.train_objects(**how), lambda: api.classify(Pipeline(), table=True, **how)):
        with pytest.raises(InputError, match="object labels are a dictionary") as refused:
            call()
        assert refused.value.hint == "ObjectLabels.of(label_image, {...})"


@pytest.mark.parametrize("block", [None, (1, 20, 25)])
@pytest.mark.parametrize(("kind", "stages"), [("pixels", 4), ("labels", 3)])
def test_measuring_that_is_stopped_leaves_no_file(tmp_path, scene, pipeline, kind, stages, block):
    """Measuring is the last stage but one, of a hundred parts as each; it is stopped in its middle."""
    cancel, told = Event(), []

    def tell(name, done, total):
        told.append((done, total))
        if 20 < done - 100 * (stages - 2) < 80:
            cancel.set()

    results = ["object predictions", "object identities"] + ["probabilities"] * (kind == "pixels")
    how = {"export": results, "report": tmp_path / "r.html", "table": tmp_path / "t.h5", "pictures": True}
    how |= {"output": f"{tmp_path}/{{result_type}}.h5", "block": block, "cancel": cancel, "progress": tell}
    with pytest.raises(Cancelled, match=r"a\.tif: stopped after") as stopped:
        classified(pipeline, given(scene, kind), **how)
    assert told[-1][1] == 100 * stages
    per_cent = int(re.search(r"after (\d+) %", stopped.value.problem)[1])
    assert stages - 2 < per_cent * stages / 100 < stages - 1
    assert not list(tmp_path.iterdir())


def test_training_that_is_stopped_while_it_measures_leaves_no_model(tmp_path, scene, said):
    cancel = Event()

    def tell(name, done, total):
        if 120 < done < 180:
            cancel.set()

    files = {"labels": scene / "a_labels.tif", "object_labels": said("id,class\n1,a\n2,b\n")}
    written = {"output": tmp_path / "m.gpuseg", "table": tmp_path / "t.csv", "report": tmp_path / "r.html"}
    with pytest.raises(Cancelled, match=r"a_labels\.tif: stopped"):
        api.train_objects(**files, **written, progress=tell, cancel=cancel, backend="cpu")
    assert cancel.is_set()
    assert [p.name for p in tmp_path.iterdir()] == ["said.csv"]


NOT_GIVEN = "object labels of images that are not given are not used: {}; the images are {}"


@pytest.mark.parametrize("in_memory", [False, True])
def test_labels_of_images_that_are_not_given_are_named(scene, said, warned, in_memory):
    rows = (("a.tif", 1), ("night.tif", 1), ("b_labels", 2), ("fog.tif", 1), ("a", 2))
    labels = said("image,id,class\n" + "".join(f"{image},{i},large\n" for image, i in rows))
    if in_memory:
        parts = [ObjectLabels.of(CELLS, {i: 1}, names=["large"], image=image) for image, i in rows]
        labels = parts[0].join(*parts[1:])
    files = {"labels": [str(scene / f"{n}_labels.tif") for n in "ab"]}
    api.classify(Pipeline(), **files, table=True, object_labels=labels, backend="cpu")
    strangers, known = "a.tif, night.tif, fog.tif, a", ", ".join(files["labels"])
    assert warned("not given") == [NOT_GIVEN.format(strangers, known)]


def test_training_names_labels_of_images_that_are_not_given(scene, said, warned):
    labels = said("image,id,class\na,1,small\na,2,large\nnight.tif,1,small\n")
    files = {"labels": scene / "a_labels.tif", "raw": scene / "a.tif"}
    api.train_objects(**files, object_labels=labels, features=["count"], folds=0, trees=2, backend="cpu")
    assert warned() == [NOT_GIVEN.format("night.tif", files["raw"])]


USUAL = ("yx", "yx", "micrometer")  # axes of labels and of the raw image, unit of a pixel


@pytest.mark.parametrize(
    ("other", "begin", "end"),
    [
        (("zyx", "zyx", "micrometer"), "3D, 1 ", "lengths in µm"),
        (("yx", "yxc", "micrometer"), "2D, 2 ", "lengths in µm"),
        (("yx", "yx", "nm"), "2D, 1 ", "lengths in nm"),
    ],
    ids=["dimensions", "channels", "units"],
)
@pytest.mark.parametrize("verb", ["classify", "train"])
def test_images_whose_columns_differ_get_no_table_together(tmp_path, uncomputed, verb, other, begin, end):
    labels, raw = [], []
    for name, (axes, raw_axes, unit) in (("usual", USUAL), ("other", other)):
        cells = np.stack([CELLS] * 3) if "z" in axes else CELLS
        pixels = np.stack([cells] * 2, -1) if "c" in raw_axes else cells
        voxel = Voxel(dict.fromkeys(axes, 0.5), dict.fromkeys(axes, unit))
        labels.append(store(tmp_path / f"{name}_labels.h5", cells, axes, voxel=voxel))
        raw.append(store(tmp_path / f"{name}.h5", pixels, raw_axes, voxel=voxel))
    how = {"raw": raw, "labels": labels, "spacing": "file", "features": ["count", "mean"]}
    how |= {"object_labels": ObjectLabels.of(CELLS, {1: 1, 2: 2}, image="usual"), "table": tmp_path / "t.csv"}
    with pytest.raises(InputError) as refused:
        api.classify(Pipeline(), **how) if verb == "classify" else api.train_objects(**how)
    one, first = refused.value.problem.split("; ")
    assert one.startswith(f"{raw[1]}: {begin}")
    assert one.endswith(end)
    assert first.startswith(f"{raw[0]}: 2D, 1 ")
    assert first.endswith("lengths in µm")
    assert not (tmp_path / "t.csv").exists()
