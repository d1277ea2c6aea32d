"""From labelled objects in files to a pipeline: `api.train_objects`."""

import logging

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal
from objects_scene import FEATURES, SEGMENT, drawn, pixel_classifier, store

import gpuseg
from gpuseg import ObjectClassifier, ObjectLabels, Pipeline, api
from gpuseg.errors import Cancelled, InputError, LabelError
from gpuseg.object.label_files import write_labels


@pytest.fixture
def labels(tmp_path):
    """A file of bars, short and long in turn, its raw image, and what is said of the first eight."""
    values = np.zeros((48, 90), np.uint16)
    for i in range(16):
        y, x = divmod(i, 4)
        values[y * 12 + 2 : y * 12 + 9, x * 22 + 1 : x * 22 + (8 if i % 2 else 20)] = 5 * i + 5
    raw = np.where(values, 100, 20) + np.random.default_rng(0).normal(0, 5, values.shape)
    said = tmp_path / "said.csv"
    said.write_text(
        "label,class\n" + "".join(f"{5 * i + 5},{'short' if i % 2 else 'long'}\n" for i in range(8))
    )
    return {
        "labels": store(tmp_path / "labels.tif", values, "yx"),
        "raw": store(tmp_path / "raw.tif", raw.astype(np.float32), "yx"),
        "object_labels": said,
    }


def test_labelled_objects_teach_the_others(tmp_path, labels, caplog):
    with caplog.at_level(logging.INFO, "gpuseg"):
        found = api.train_objects(**labels, output=tmp_path / "m.gpuseg", features=FEATURES, trees=20)
    assert [c.name for c in found.objects.classes] == ["long", "short"]
    assert found.pixel is None
    assert found.segmentation is None
    table = api.classify(tmp_path / "m.gpuseg", raw=labels["raw"], labels=labels["labels"], table=True).table
    assert table["Predicted Class"].tolist() == ["long", "short"] * 8
    told = found.objects.provenance["training"]
    assert told["labels"] == {"1": 4, "2": 4}
    assert told["validation"]["accuracy"] == 1
    assert told["validation"]["confusion"] == [[4, 0], [0, 4]]
    assert any("raw.tif: 16 objects, 8 labelled" in m for m in caplog.messages)


def test_the_model_is_that_of_the_estimator(labels):
    table = gpuseg.measure(
        *(gpuseg.open_image(labels[k]).read() for k in ("labels", "raw")), features=FEATURES
    )
    y = ["short" if i % 2 else "long" for i in range(8)] + [""] * 8
    by_hand = ObjectClassifier(n_estimators=20).fit(table, y)
    found = api.train_objects(**labels, features=FEATURES, trees=20, folds=0)
    assert found.objects.hash == by_hand.model_.hash


def test_measured_is_more_than_used(labels):
    found = api.train_objects(**labels, features=FEATURES, use=["count"], trees=5, folds=0)
    assert found.objects.columns == ("Size in pixels",)
    assert found.objects.measured.used == ("count",)
    assert len(found.objects.measured.features) == len(FEATURES)
    given = {k: labels[k] for k in ("labels", "raw")}
    assert "Mean Intensity" in api.classify(found, **given, table=True).table


def test_names_give_classes_their_numbers_and_unlabelled_ones_a_column(labels):
    found = api.train_objects(
        **labels, names=["round", "short", "long"], features=["count"], trees=5, folds=0
    )
    assert [c.name for c in found.objects.classes] == ["round", "short", "long"]
    given = {k: labels[k] for k in ("labels", "raw")}
    table = api.classify(found, **given, table=True).table
    assert (table["Probability of round"] == 0).all()
    assert table["Predicted Class"].tolist() == ["long", "short"] * 8


@pytest.mark.parametrize("kind", ["labels", "segmentation"])
def test_a_segmentation_does_as_well(tmp_path, labels, kind):
    image = (gpuseg.open_image(labels["labels"]).read() > 0).astype(np.uint8)
    mask = store(tmp_path / "mask.tif", image, "yx")
    given = {"labels": labels["labels"]} if kind == "labels" else {"segmentation": mask}
    known = ObjectLabels.at_positions([[4, 3], [4, 25]], ["long", "short"], names=["long", "short"])
    found = api.train_objects(**given, object_labels=known, features=["count"], trees=5, folds=0)
    table = api.classify(found, **given, table=True).table
    assert table["Predicted Class"].tolist() == ["long", "short"] * 8


def test_labels_by_position_survive_another_threshold(tmp_path):
    image = store(tmp_path / "a.tif", drawn(), "yx")
    pixel = pixel_classifier(drawn())
    proba = pixel.predict_proba(drawn())
    old = gpuseg.segment(proba, axes="yxc", **SEGMENT)
    sizes = np.bincount(old.labels.ravel())[1:]
    kind = {i + 1: "large" if n > np.median(sizes) else "small" for i, n in enumerate(sizes)}
    write_labels(ObjectLabels.of(old.labels, kind, names=["small", "large"]), tmp_path / "said.json")
    found = api.train_objects(
        raw=image,
        pixel_model=pixel,
        segment=SEGMENT | {"threshold": 0.7, "min_size": 8},
        object_labels=tmp_path / "said.json",
        features=["count"],
        trees=5,
        folds=0,
    )
    assert isinstance(found, Pipeline)
    assert found.segmentation.threshold == 0.7
    new = api.run(found, image, table=True, object_labels=tmp_path / "said.json").table
    assert len(new) <= len(sizes)
    assert (new["User Label"] != "0").mean() > 0.9
    assert found.objects.provenance["training"]["labels"]["1"] >= 3


def test_what_no_object_has_is_told_one_by_one(tmp_path, labels, caplog):
    labels["object_labels"].write_text("id,class\n5,long\n10,short\n11,long\n12,short\n")
    with caplog.at_level(logging.WARNING, "gpuseg"):
        api.train_objects(**labels, features=["count"], trees=5, folds=0)
    lost = [m for m in caplog.messages if "a label is not used" in m]
    assert len(lost) == 2
    assert "object 11" in lost[0]
    assert "object 12" in lost[1]


def test_several_images_and_a_file_of_labels_for_each(tmp_path, labels):
    second = {
        k: store(tmp_path / f"2{k}.tif", gpuseg.open_image(labels[k]).read(), "yx") for k in ("labels", "raw")
    }
    only_short = tmp_path / "2.csv"
    only_short.write_text("label,class\n10,short\n20,short\n")
    both = {k: [labels[k], second[k]] for k in ("labels", "raw")}
    found = api.train_objects(
        **both, object_labels=[labels["object_labels"], only_short], features=["count"], trees=5, folds=0
    )
    assert [c.name for c in found.objects.classes] == ["long", "short"]
    assert found.objects.provenance["training"]["labels"] == {"1": 4, "2": 6}
    one = tmp_path / "all.csv"
    one.write_text(
        "image,id,class\n"
        + "".join(f"raw.tif,{5 * i + 5},{'short' if i % 2 else 'long'}\n" for i in range(8))
        + "2raw.tif,10,short\n2raw.tif,20,short\n"
    )
    same = api.train_objects(**both, object_labels=one, features=["count"], trees=5, folds=0)
    assert same.objects.hash == found.objects.hash


def test_a_table_and_a_report_of_the_training_may_be_had(tmp_path, labels):
    api.train_objects(
        **labels, features=["count"], trees=5, table=tmp_path / "t.csv", report=tmp_path / "r.html"
    )
    table = pd.read_csv(tmp_path / "t.csv", dtype={"User Label": str})
    assert table["User Label"].tolist() == ["long", "short"] * 4 + ["0"] * 8
    assert table["Predicted Class"].tolist() == ["long", "short"] * 8
    page = (tmp_path / "r.html").read_text()
    assert "short" in page
    assert "://" not in page.replace("http://www.w3.org", "")


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"output": "m.h5"}, InputError, "m.h5: a model has the suffix .gpuseg"),
        ({"labels": None}, InputError, "nothing says what the objects are"),
        ({"forest": "oak"}, InputError, "unknown forest 'oak'"),
        ({"features": ["roundness"]}, InputError, "unknown object feature 'roundness'"),
        ({"use": ["mean"], "features": ["count"]}, InputError, "the table has no feature 'mean'"),
        ({"segmentation": "x.tif"}, InputError, "2 of probabilities, segmentation and labels"),
        ({"object_labels": ["a.csv", "b.csv"]}, InputError, "2 files of object labels for 1 images"),
        ({"names": ["short"]}, InputError, "long"),
        ({"spacing": "file"}, InputError, "does not say how large a pixel is"),
        ({"features": [len]}, InputError, "feature 'len' is a function: a model cannot keep it"),
        ({"use": ["Bounding Box Minimum_0"]}, InputError, "were not asked for: Bounding Box Minimum_0"),
    ],
)
def test_what_cannot_be_learned_is_refused(tmp_path, labels, monkeypatch, change, error, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=message):
        api.train_objects(**(labels | {"features": ["count"]} | change))


def test_a_model_does_not_replace_the_one_it_is_made_from(tmp_path, labels):
    pixel_classifier(drawn()).save(tmp_path / "p.gpuseg")
    with pytest.raises(InputError, match="would overwrite the input"):
        api.train_objects(
            raw=labels["raw"],
            pixel_model=tmp_path / "p.gpuseg",
            segment=SEGMENT,
            object_labels=labels["object_labels"],
            output=tmp_path / "p.gpuseg",
        )


def test_names_are_those_of_the_labels(labels):
    known = ObjectLabels.at_positions([[4, 3], [4, 25]], ["long", "short"], names=["long", "short"])
    with pytest.raises(InputError, match="have names of classes already"):
        api.train_objects(labels=labels["labels"], object_labels=known, names=["a", "b"])


def test_one_class_is_refused_with_the_file(labels):
    labels["object_labels"].write_text("id,class\n5,long\n15,long\n")
    with pytest.raises(LabelError, match=r"raw\.tif: only class 1 is labelled \(2 objects\)"):
        api.train_objects(**labels, features=["count"])


def test_probabilities_need_settings_and_get_them(tmp_path):
    proba = pixel_classifier(drawn()).predict_proba(drawn())
    path = store(tmp_path / "p.h5", proba, "yxc", drange=(0, 1))
    found = gpuseg.segment(proba, axes="yxc", **SEGMENT)
    known = ObjectLabels.of(found.labels, {1: 1, 2: 2, 3: 1})
    with pytest.raises(InputError, match="nothing says how probabilities become objects"):
        api.train_objects(probabilities=path, object_labels=known)
    model = api.train_objects(
        probabilities=path, object_labels=known, segment=SEGMENT, features=["count"], trees=5, folds=0
    )
    table = api.classify(model, probabilities=path, table=True, object_labels=known).table
    assert_array_equal(table["User Label"][:3], ["Label 1", "Label 2", "Label 1"])


def test_training_can_be_stopped(labels):
    from threading import Event

    cancel = Event()
    cancel.set()
    with pytest.raises(Cancelled, match=r"raw\.tif: stopped"):
        api.train_objects(**labels, cancel=cancel)
