"""ilastik's own object projects: features, objects and classes are those that it stored and exported.

Two features have no sign of their own, the axes of shapes and of intensities; and the convex hulls of ilastik
1.2, which made these projects, enclosed the corners of pixels, those of today their centres (SPEC 5.5).
"""

from pathlib import Path

import h5py
import numpy as np
import pytest
from objects_scene import load

from gpuseg import api
from gpuseg.ilp.objects import AXES
from gpuseg.ilp.read import open_project

FOLDER = "data/ilp/ilastik-tests"
OTHER_HULLS = {"HullCenter", "HullVolume", "Convexity"}  # and all that begins with Defect
# Name, what objects come from, where that is; objects in all, objects that have another class than there.
CASES = [
    ("5t3d2c_wSeg", "segmentation", "5t3d2c_Binary Segmentation.h5", 133, 1),
    ("2d3c_wPred", "probabilities", "2d3c_Probabilities.h5", 12, 0),
    ("5t2d2c_wPred", "probabilities", "5t2d2c_Probabilities.h5", 28, 1),
]
every_case = pytest.mark.parametrize(("name", "kind", "file", "count", "others"), CASES, ids=lambda c: str(c))


def classified(shared, name, kind, file, **how):
    folder = shared / FOLDER
    raw = folder / "inputdata" / f"{name.split('_')[0]}.h5"
    objects = {kind: folder / "inputdata" / file}
    project = folder / f"ObjectClassification{name}.ilp"
    return api.classify(project, raw=raw, **objects, table=True, backend="cpu", **how)


@every_case
def test_features_are_those_that_ilastik_stored(shared, name, kind, file, count, others):
    table = classified(shared, name, kind, file).table
    model = open_project(shared / FOLDER / f"ObjectClassification{name}.ilp").pipeline().objects
    columns, compared = iter(model.columns), 0
    assert len(table) == count
    with h5py.File(shared / FOLDER / f"ObjectClassification{name}.ilp") as project:
        frames = project["ObjectExtraction/RegionFeatures/0000"]
        selected = project["ObjectClassification/SelectedFeatures"]
        for plugin in sorted(selected):
            for feature in sorted(selected[plugin]):
                times = [frames[f"[[{t}], [{t + 1}]]"] for t in range(len(frames))]
                stored = np.concatenate([frame[plugin][feature][1:] for frame in times])
                found = table[[next(columns) for _ in range(stored.shape[1])]].to_numpy(np.float64)
                if feature in OTHER_HULLS or feature.startswith("Defect"):
                    continue
                if feature in AXES:
                    stored, found = abs(stored), abs(found)
                if feature == "RegionAxes":  # equal radii have any axes
                    radii = np.concatenate([frame[plugin]["RegionRadii"][1:] for frame in times])
                    apart = (abs(np.diff(radii)) > 1e-3).all(1)
                    stored, found = stored[apart], found[apart]
                np.testing.assert_allclose(found, stored, rtol=1e-4, atol=1e-4, err_msg=feature)
                compared += 1
    assert next(columns, None) is None
    assert compared >= 18


@every_case
def test_classes_are_those_that_ilastik_exported(shared, tmp_path, name, kind, file, count, others):
    how = {"export": ["object predictions", "object identities"], "output": f"{tmp_path}/{{result_type}}.h5"}
    (done,) = classified(shared, name, kind, file, axis_order="tzyxc", **how).outcomes
    with h5py.File(shared / FOLDER / f"reference/{name}_Object Predictions.h5") as there:
        stored = there["exported_data"][()]
    found, numbers = (load(path).reshape(stored.shape) for path in done.outputs)
    np.testing.assert_array_equal(found > 0, stored > 0)
    differ = [len(np.unique(n[f != s])) for f, s, n in zip(found, stored, numbers, strict=True)]
    assert sum(differ) == others


def test_a_project_runs_from_raw_image_to_objects(shared, tmp_path):
    project = shared / FOLDER / "inputdata/pc-oc-133.ilp"
    done = api.run(project, shared / FOLDER / "inputdata/5t2d1c.h5", output=f"{tmp_path}/o.h5", table=True)
    assert set(done.table["timestep"]) == set(range(5))
    assert "Predicted Class" not in done.table


def test_an_object_project_has_no_pixels(shared):
    project = Path(shared / FOLDER / "ObjectClassification2d3c_wPred.ilp")
    with pytest.raises(ValueError, match="has no pixel classifier"):
        api.run(project, shared / FOLDER / "inputdata/2d3c.h5")
