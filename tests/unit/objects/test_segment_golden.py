"""Objects are ilastik's own, pixel by pixel, where it left results with its projects."""

import csv

import h5py
import numpy as np
import pytest

from gpuseg.objects.segment import segment

FOLDER = "data/ilp/ilastik-tests"


@pytest.fixture
def stored(shared):
    def load(path, name="exported_data"):
        with h5py.File(shared / FOLDER / path) as file:
            return file[name][()]

    return load


def test_the_volume_of_the_object_classification_reference(stored, shared):
    proba = stored("inputdata/3d_Probabilities.h5")
    found = segment(proba, axes="zyxc", threshold=0.7, sigma=(2.0, 2.1, 1.9), compat="ilastik", backend="cpu")
    folder = "reference/objectClassificationGui"
    there = stored(f"{folder}/reference_out_object_prediction.h5")[..., 0] > 0
    np.testing.assert_array_equal(found.labels > 0, there)
    with (shared / FOLDER / folder / "table-test_data_table.csv").open() as file:
        rows = list(csv.DictReader(file))
    sizes = np.bincount(found.labels.ravel())[1:]
    assert sizes.tolist() == [float(row["Size in pixels"]) for row in rows]
    for i, row in enumerate(rows, 1):
        z, y, x = np.nonzero(found.labels == i)
        told = [float(row[f"Object Center_{k}"]) for k in range(3)]
        np.testing.assert_allclose([x.mean(), y.mean(), z.mean()], told, rtol=1e-5)


@pytest.mark.parametrize(("name", "axes"), [("2d3c", "yxc"), ("5t2d2c", "tyxc")])
def test_the_projects_with_prediction_maps(stored, name, axes):
    project = f"ObjectClassification{name}_wPred.ilp"

    def setting(key):
        return stored(project, f"ThresholdTwoLevels/{key}")

    assert setting("CurOperator") == 0
    found = segment(
        stored(f"inputdata/{name}_Probabilities.h5"),
        axes=axes,
        channel=int(setting("Channel")),
        threshold=float(setting("LowThreshold")),
        sigma=[float(setting(f"SmootherSigma/{a}")) for a in "xyz"],
        min_size=int(setting("MinSize")),
        max_size=int(setting("MaxSize")),
        compat="ilastik",
        backend="cpu",
    )
    there = stored(f"reference/{name}_wPred_Object Predictions.h5").reshape(found.labels.shape) > 0
    np.testing.assert_array_equal(found.labels > 0, there)
    assert found.count.min() >= 5
