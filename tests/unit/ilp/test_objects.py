"""Object classifiers of ilastik projects: features, forest, thresholds, and what is wrong with them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from numpy.testing import assert_array_equal
from unit.ilp.conftest import outcomes_of_mutants

import gpuseg
from gpuseg import ObjectClassifier
from gpuseg.errors import GpusegError, ModelError
from gpuseg.ilp.read import open_project

Edit = Callable[..., Path]
FEATURES = "ObjectClassification/SelectedFeatures/Standard Object Features/"
FORESTS = "ObjectClassification/ClassifierForests/"


@pytest.fixture
def change(objects: Path, edit: Edit) -> Edit:
    """Changes the project that has objects."""
    return edit


def test_a_project_is_a_pipeline_of_all_its_stages(objects: Path) -> None:
    found = open_project(objects).pipeline()
    model, s = found.objects, found.segmentation
    assert found.pixel is not None
    assert model is not None
    assert s is not None
    assert [(c.value, c.name, c.color) for c in model.classes] == [
        (1, "small", (1, 2, 3)),
        (2, "large", (4, 5, 6)),
    ]
    assert model.columns == (
        *("Size in pixels", "Mean Intensity in neighborhood"),
        *("Radii of the object_0", "Radii of the object_1"),
    )
    assert (model.measured.ndim, model.measured.channels, model.measured.margin) == (2, 1, (7, 5, 1))
    assert (s.method, s.low, s.high, s.channel, s.core_channel) == ("hysteresis", 0.4, 0.7, 1, 0)
    assert (s.sigma, s.min_size, s.max_size, s.grow_limit) == ((0.7, 0.6, 0.5), 3, 900, "shell")
    assert not s.keep_apart
    assert found.provenance["project"] == "cells.ilp"


def test_its_forest_says_what_its_trees_say(objects: Path) -> None:
    model = open_project(objects).pipeline().objects
    labels = np.zeros((30, 40), int)
    labels[2:4, 2:4], labels[10:19, 2:10], labels[2:17, 20:35] = 1, 2, 3  # 4, 72 and 225 pixels
    raw = np.random.default_rng(0).random(labels.shape).astype(np.float32)
    table = gpuseg.measure(labels, raw, features=["count", "mean_in_neighborhood", "radii"], margin=(7, 5))
    found = ObjectClassifier.from_model(model)
    assert_array_equal(found.predict_proba(table), np.float32([[1, 0], [0.875, 0.125], [0, 1]]))


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ({"CurOperator": 0}, {"method": "simple", "threshold": 0.4}),
        ({"CurOperator": 3}, {"keep_apart": True, "grow_limit": "shell"}),
        ({"CoreChannel": None}, {"core_channel": 1}),
        ({"LowThreshold": None, "SingleThreshold": 0.3, "CurOperator": 0}, {"threshold": 0.3}),
        ({"SmootherSigma": None}, {"sigma": (1, 1, 1)}),
        ({"MinSize": None, "MaxSize": None}, {"min_size": 10, "max_size": 1_000_000}),
    ],
)
def test_thresholds_are_those_of_the_project(
    change: Edit, entries: dict[str, Any], expected: dict[str, Any]
) -> None:
    path = change({f"ThresholdTwoLevels/{k}": v for k, v in entries.items()})
    found = open_project(path).pipeline().segmentation
    assert {k: getattr(found, k) for k in expected} == expected


def test_thresholds_that_nobody_looked_at_are_ilastiks_own(change: Edit) -> None:
    s = open_project(change({"ThresholdTwoLevels": None})).pipeline().segmentation
    assert s is not None
    assert (s.method, s.threshold, s.sigma, s.min_size, s.channel) == ("simple", 0.5, (1, 1, 1), 10, 0)


@pytest.mark.parametrize("workflow", ["binary image", "label image"])
def test_objects_from_images_need_neither_pixels_nor_thresholds(change: Edit, workflow: str) -> None:
    found = open_project(
        change({"workflowName": f"Object Classification (from {workflow})".encode()})
    ).pipeline()
    assert found.pixel is None
    assert found.segmentation is None
    assert found.objects is not None


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_old_projects_tell_channels_by_their_columns(change: Edit, channels: int) -> None:
    entries: dict[str, Any] = {"Input Data/infos/lane0000/Raw Data/shape": None}
    entries |= {FEATURES + name: None for name in ("Count", "RegionRadii")}
    path = change(entries)
    with h5py.File(path, "r+") as f:
        for forest in ("Forest0000", "Forest0001"):
            part = f[FORESTS + forest]
            part["_ext_param/column_count_"][:] = channels
            part["Tree_0/topology"][0] = channels
    found = (
        open_project(change({"workflowName": b"Object Classification (from binary image)"}))
        .pipeline()
        .objects
    )
    assert found is not None
    assert (found.measured.channels, len(found.columns)) == (channels, channels)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({FEATURES + "Count": None}, "uses 4 columns, its features have 3 in a 2D image of 1 channels"),
        (
            {FEATURES + "Magic/displaytext": b"x"},
            "the object feature 'Magic' of Standard Object Features is not known",
        ),
        (
            {FEATURES + "Covariance/displaytext": b"x"},
            "'Covariance' of Standard .* needs an image of several channels",
        ),
        (
            {FEATURES[:-1].replace("Standard", "My") + "/Count/displaytext": b"x"},
            "of My Object Features is not known",
        ),
        ({"ThresholdTwoLevels/CurOperator": 2}, "CurOperator is 2, a graph cut"),
        ({"ThresholdTwoLevels/MinSize": [1, 2]}, "MinSize is .2,., one number is expected"),
        ({"ThresholdTwoLevels/LowThreshold": 0.9}, "the low threshold 0.9 is above the high one"),
        ({"ObjectClassification/LabelNames": [b"a"]}, "class"),
        ({FEATURES + "Mean in neighborhood/margin": [1.5, 2]}, "margin holds float64, numbers"),
        ({FORESTS + "pickled_type": b"sklearnLazyflowClassifier"}, "stored as a pickle"),
    ],
)
def test_what_is_wrong_with_objects_is_named(change: Edit, entries: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        open_project(change(entries)).pipeline()
    assert "cells.ilp: " in str(caught.value)


@pytest.mark.parametrize("workflow", ["prediction image", "binary image"])
def test_objects_that_were_never_classified_are_told(change: Edit, workflow: str) -> None:
    entries = {"workflowName": f"Object Classification (from {workflow})".encode(), FORESTS[:-1]: None}
    with pytest.raises(
        ModelError, match="cannot classify, the project lacks a trained forest\n  hint: in ilastik: label"
    ):
        open_project(change(entries)).pipeline()


def test_directions_have_other_signs_and_that_is_told(change: Edit, caplog: pytest.LogCaptureFixture) -> None:
    with h5py.File(
        change({FEATURES + "RegionRadii": None, FEATURES + "Mean in neighborhood": None}), "r+"
    ) as f:
        f.create_group(FEATURES + "RegionAxes")
        for forest in ("Forest0000", "Forest0001"):
            f[FORESTS + forest]["_ext_param/column_count_"][:] = f[FORESTS + forest]["Tree_0/topology"][0] = 5
    found = open_project(change({})).pipeline().objects
    assert found is not None
    assert "Principal components of the object, whose signs are arbitrary" in caplog.text


@pytest.mark.parametrize("seed", range(3))
def test_mutants_end_in_a_pipeline_or_a_named_error(objects: Path, seed: int) -> None:
    """60 projects each with up to 20 bytes changed: GpusegError is the only way to fail."""
    found = outcomes_of_mutants(objects, lambda path: open_project(path).pipeline(), 60, seed)
    assert found == {"opened", "refused"}


def test_any_entry_of_the_objects_may_be_missing(objects: Path) -> None:
    whole = objects.read_bytes()
    names: list[str] = []
    with h5py.File(objects) as f:
        for group in ("ObjectClassification", "ThresholdTwoLevels"):
            f[group].visit(lambda name, group=group: names.append(f"{group}/{name}"))
    refused = {}
    for name in names:
        objects.write_bytes(whole)
        with h5py.File(objects, "r+") as f:
            del f[name]
        try:
            open_project(objects).pipeline()
        except GpusegError as error:
            refused[name.rsplit("/", 1)[-1]] = str(error)
    assert all("cells.ilp: " in message for message in refused.values())
    assert {"LabelNames", "SelectedFeatures", "Count", "Tree_0", "labels"} <= set(refused)
    assert not {"displaytext", "LabelColors", "MinSize", "known_labels"} & set(refused)
