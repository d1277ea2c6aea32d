"""A small ilastik project of our own: the tree of SPEC 10.1, with two decision trees grown by hand."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from gpuseg.errors import GpusegError

FEATURE_IDS = (
    "GaussianSmoothing",
    "LaplacianOfGaussian",
    "GaussianGradientMagnitude",
    "DifferenceOfGaussians",
    "StructureTensorEigenvalues",
    "HessianOfGaussianEigenvalues",
)
NAMES = (  # of the ticked features below, one channel in 2D
    "Gaussian Smoothing (σ=0.3) in 2D",
    "Gaussian Smoothing (σ=1.0) in 2D",
    "Hessian of Gaussian Eigenvalues (σ=1.0) in 2D [0]",
    "Hessian of Gaussian Eigenvalues (σ=1.0) in 2D [1]",
)
LEAF = 1 << 30
# Below 99.5 in feature 0: label 1, else label 2.
STUMP = ([4, 2, 0, 0, 9, 7, 0, LEAF, 2, LEAF, 5], [1, 99.5, 6, 0, 1, 18, 1, 0])
# Below 50.25: label 1; below 99.5: one part in four label 2; else label 2.
TWO_LEVELS = (
    [4, 2, 0, 0, 7, 12, 0, 0, 2, 14, 16, 0, LEAF, 4, LEAF, 7, LEAF, 10],
    [1, 99.5, 1, 50.25, 6, 0, 1, 9, 1, 0, 8, 0.75, 0.25],
)
CLASSIFIER = (
    "clazyflow.classifiers.parallelVigraRfLazyflowClassifier\nParallelVigraRfLazyflowClassifier\np0\n."
)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A trained project without its image."""
    return write_project(tmp_path / "cells.ilp")


@pytest.fixture
def edit(project: Path) -> Callable[..., Path]:
    """Changes `project`: `edit({"path": value})`, None removes, a dict sets attributes."""

    def change(entries: dict[str, Any]) -> Path:
        with h5py.File(project, "r+") as f:
            for name, value in entries.items():
                if isinstance(value, dict):
                    f[name].attrs.update(value)
                    continue
                if name in f:
                    del f[name]
                if value is not None:
                    f[name] = value
        return project

    return change


def tags(axes: str) -> str:
    """vigra's JSON for axes."""
    flags = {"c": 1, "t": 8}
    rows = [{"key": a, "typeFlags": flags.get(a, 2), "resolution": 0, "description": ""} for a in axes]
    return json.dumps({"axes": rows})


def write_project(path: Path, *, axes: str = "yxc", shape: tuple[int, ...] = (20, 24, 1)) -> Path:
    """A trained project of one image `image.npy`, painted at y 2 to 4, x 5 to 9."""
    with h5py.File(path, "w") as f:
        f["workflowName"], f["ilastikVersion"] = b"Pixel Classification", b"1.4.1b15"
        raw = f.create_group("Input Data/infos/lane0000/Raw Data")
        f.create_group("Input Data/infos/lane0000/Prediction Mask")
        facts = {
            "filePath": "image.npy",
            "location": "FileSystem",
            "nickname": "image",
            "axistags": tags(axes),
        }
        for name, text in facts.items():
            raw[name] = text.encode()
        raw["shape"] = np.array(shape)
        _write_features(f.create_group("FeatureSelections"))
        pixel = f.create_group("PixelClassification")
        pixel["LabelNames"], pixel["LabelColors"] = [b"sky", b"cells"], [[255, 225, 25], [0, 130, 200]]
        pixel["LabelNames"].attrs["isEmpty"] = pixel["LabelColors"].attrs["isEmpty"] = False
        pixel["ClassifierFactory"] = b"(dp5\nV_num_trees\np7\nI2\nsb."
        block = np.zeros((3, 5, 1), np.uint8)
        block[0], block[2] = 1, 2
        labels = pixel.create_group("LabelSets/labels000")
        labels["block0000"] = block
        labels["block0000"].attrs.update(blockSlice="[2:5,5:10,0:1]", axistags=tags("yxc"))
        _write_forests(pixel.create_group("ClassifierForests"))
    return path


@pytest.fixture
def objects(project: Path) -> Path:
    """The same with objects: sizes above 99.5 pixels are the class "large"; and thresholds by hysteresis."""
    with h5py.File(project, "r+") as f:
        del f["workflowName"]
        f["workflowName"] = b"Pixel Classification + Object Classification"
        part = f.create_group("ObjectClassification")
        part["LabelNames"], part["LabelColors"] = [b"small", b"large"], [[1, 2, 3], [4, 5, 6]]
        for name in ("Count", "Mean in neighborhood", "RegionRadii"):
            ticked = part.create_group(f"SelectedFeatures/Standard Object Features/{name}")
            ticked["displaytext"] = b"in words"
            if "neighborhood" in name:
                ticked["margin"] = np.int32([7, 5, 1])
        _write_forests(part.create_group("ClassifierForests"))
        del part["ClassifierForests/feature_names"]
        thresholds = f.create_group("ThresholdTwoLevels")
        numbers = {"CurOperator": 1, "MinSize": 3, "MaxSize": 900, "Channel": 1, "CoreChannel": 0}
        numbers |= {"LowThreshold": 0.4, "HighThreshold": 0.7, "Beta": 0.2}
        numbers |= {"SmootherSigma/x": 0.5, "SmootherSigma/y": 0.6, "SmootherSigma/z": 0.7}
        for name, value in numbers.items():
            thresholds[name] = value
    return project


def _write_features(part: Any) -> None:
    ticked = np.zeros((6, 3), bool)
    ticked[0, [0, 2]] = ticked[5, 2] = True
    part["FeatureIds"] = [i.encode() for i in FEATURE_IDS]
    part["Scales"], part["SelectionMatrix"], part["ComputeIn2d"] = [0.3, 0.7, 1.0], ticked, [True] * 3


def _write_forests(part: Any) -> None:
    part["pickled_type"], part["known_labels"] = CLASSIFIER.encode(), np.array([1, 2], np.uint32)
    part["feature_names"] = [n.encode() for n in NAMES]
    for i, tree in enumerate((STUMP, TWO_LEVELS)):
        forest = part.create_group(f"Forest{i:04}")
        forest["_options/tree_count_"], forest["_options/predict_weighted_"] = [1.0], [0.0]
        forest["_ext_param/column_count_"] = [4.0]
        forest["_ext_param/labels"] = np.array([1, 2], np.uint32)
        forest["Tree_0/topology"], forest["Tree_0/parameters"] = np.int32(tree[0]), np.float64(tree[1])


def outcomes_of_mutants(path: Path, read: Callable[[Path], Any], count: int, seed: int) -> set[str]:
    """What comes of a file with up to 20 bytes changed, perhaps cut off: GpusegError may be raised alone."""
    rng, whole = np.random.default_rng(seed), path.read_bytes()
    outcomes = set()
    for _ in range(count):
        mutant = np.frombuffer(whole, np.uint8).copy()
        changed = rng.integers(1, 20)
        mutant[rng.integers(0, len(mutant), changed)] = rng.integers(0, 256, changed)
        path.write_bytes(mutant.tobytes()[: rng.integers(len(mutant) // 2, 2 * len(mutant))])
        try:
            read(path)
            outcomes.add("opened")
        except GpusegError:
            outcomes.add("refused")
    return outcomes
