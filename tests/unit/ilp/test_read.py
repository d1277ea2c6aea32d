"""ilastik projects: what they say, where their images are, what they lack."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from numpy.testing import assert_array_equal
from unit.ilp.conftest import outcomes_of_mutants

from gpuseg.backends import get_backend
from gpuseg.classes import class_color
from gpuseg.errors import FileError, GpusegError, LabelError, ModelError
from gpuseg.features.stack import formulas, whole
from gpuseg.ilp.lanes import Source, find
from gpuseg.ilp.read import open_project

Edit = Callable[..., Path]
PIXEL, RAW = "PixelClassification/", "Input Data/infos/lane0000/Raw Data/"
FORESTS = PIXEL + "ClassifierForests/"
BLOCK = PIXEL + "LabelSets/labels000/block0000"


def tags(axes: str) -> str:
    return '{"axes": [' + ", ".join(f'{{"key": "{a}"}}' for a in axes) + "]}"


def test_a_project_says_what_it_holds(project: Path) -> None:
    found = open_project(project)

    assert (found.workflow, found.version, found.has_forest) == ("Pixel Classification", "1.4.1b15", True)
    assert [(c.value, c.name, c.color) for c in found.classes] == [
        (1, "sky", (255, 225, 25)),
        (2, "cells", (0, 130, 200)),
    ]
    raw = found.lanes[0].raw
    assert (raw.file, raw.nickname, raw.axes, raw.shape) == ("image.npy", "image", "yxc", (20, 24, 1))
    assert list(found.lanes[0].sources) == ["Raw Data"]  # the mask's group is empty: no image
    assert found.selection is not None
    assert found.selection.cells == (
        ("gaussian_smoothing", 0),
        ("gaussian_smoothing", 2),
        ("hessian_of_gaussian_eigenvalues", 2),
    )


def test_the_model_predicts_what_its_trees_say(project: Path) -> None:
    model = open_project(project).pixel_model()
    image = np.repeat(np.float32([10, 80, 200]), 8).reshape(1, 1, 1, 24) + np.zeros((1, 1, 20, 1), np.float32)

    planes = formulas(get_backend("cpu"), image, model.selection.jobs(1, 1), whole(image))
    rows = planes[:, 0, 9, [0, 12, 23]].T
    leaf = model.forest.descend(rows, np.repeat(np.arange(3), 2), np.tile(model.forest.roots, 3))
    found = model.forest.leaves[leaf].reshape(3, 2, 2).mean(1)

    assert (model.channels, model.ndim, model.axes) == (1, 2, "yxc")
    assert_array_equal(found, np.float32([[1, 0], [0.875, 0.125], [0, 1]]))
    assert model.provenance["project"] == "cells.ilp"
    assert model.provenance["ilastik"] == "1.4.1b15"


def test_labels_lie_where_they_were_painted(project: Path) -> None:
    labels = open_project(project).labels()

    expected = np.zeros((20, 24), np.uint8)
    expected[2, 5:10], expected[4, 5:10] = 1, 2
    assert (labels.axes, labels.shape, len(labels.values)) == ("yx", (20, 24), 10)
    assert_array_equal(labels.dense(), expected)


@pytest.mark.parametrize(
    ("stored", "lane", "ranges"),
    [
        ("cyx", "yxc", "[0:1,2:5,5:10]"),
        ("xyc", "yxc", "[5:10, 2:5, 0:1]"),
        ("tzyxc", "tyxc", "[1:2,0:1,2:5,5:10,0:1]"),
        ("yxc", "zyxc", "[2:5,5:10,0:1]"),
    ],
)
def test_labels_in_other_axis_orders_land_on_the_same_pixels(
    project: Path, edit: Edit, stored: str, lane: str, ranges: str
) -> None:
    block = np.zeros((3, 5), np.uint8)
    block[0], block[2] = 1, 2
    sizes = {"y": 20, "x": 24, "c": 1, "t": 3, "z": 2}
    turned = block.T if stored.index("x") < stored.index("y") else block
    shape = [{"y": 3, "x": 5}.get(a, 1) for a in stored]
    edit(
        {BLOCK: turned.reshape(shape), RAW + "axistags": tags(lane), RAW + "shape": [sizes[a] for a in lane]}
    )
    edit({BLOCK: {"blockSlice": ranges, "axistags": tags(stored)}})

    found = open_project(project).labels()

    other = 1 if "t" in stored else 0
    assert found.axes == lane.replace("c", "")
    assert_array_equal(found.where[0], [*([other] if len(found.axes) == 3 else []), 2, 5])
    assert_array_equal(found.values, [1] * 5 + [2] * 5 if turned is block else [1, 2] * 5)


@pytest.mark.parametrize("version", ["1.3.3", "1.3.3post1", "1.3.3post2"])
def test_untagged_labels_of_early_combined_projects_are_txyzc(
    project: Path, edit: Edit, version: str
) -> None:
    early = version != "1.3.3post2"
    shape = (1, 5, 3, 1, 1) if early else (1, 3, 5, 1)
    ranges = "[1:2,5:10,2:5,0:1,0:1]" if early else "[1:2,2:5,5:10,0:1]"
    edit(
        {
            "workflowName": b"Object Classification (from pixel classification)",
            "ilastikVersion": version.encode(),
            RAW + "axistags": tags("tyxc"),
            RAW + "shape": [3, 20, 24, 1],
            BLOCK: np.ones(shape, np.uint8),
        }
    )
    edit({BLOCK: {"blockSlice": ranges}})

    found = open_project(project).labels()

    assert_array_equal(found.where.min(0), [1, 2, 5])
    assert_array_equal(found.where.max(0), [1, 4, 9])


BAD_LABELS: dict[str, tuple[dict[str, Any], str]] = {
    "ranges that are code": ({"blockSlice": "__import__('os').abort()"}, "blockSlice .*cannot be read"),
    "ranges without an end": ({"blockSlice": "[2:5,5:"}, "cannot be read"),
    "negative": ({"blockSlice": "[-3:0,5:10,0:1]"}, "cannot be read"),
    "many digits": ({"blockSlice": "[0:" + "9" * 5000 + "]"}, "cannot be read"),
    "another shape": (
        {"blockSlice": "[2:6,5:10,0:1]"},
        r"\[2:6,5:10,0:1\] does not fit its shape \(3, 5, 1\)",
    ),
    "backwards": ({"blockSlice": "[5:2,5:10,0:1]"}, "does not fit its shape"),
    "two ranges": ({"blockSlice": "[2:5,5:10]"}, "does not fit its shape"),
    "outside": (
        {"blockSlice": "[18:21,5:10,0:1]"},
        r"reach pixel \[20, 9\] \(yx\), the image has \(20, 24\)",
    ),
    "two axes": ({"axistags": tags("yx")}, "has 3 axes, its labels are said to be 'yx'"),
    "unknown axis": ({"axistags": tags("yxq")}, "axes 'yxq'"),
    "axis twice": ({"axistags": tags("yyx")}, "axes 'yyx'"),
    "tags are no JSON": ({"axistags": "yxc"}, "axis tags are damaged"),
    "tags are a bomb": ({"axistags": "[" * 100_000}, "axis tags are damaged"),
    "tags are a number": ({"axistags": 3}, "is not text"),
    "tags are not UTF-8": ({"axistags": np.bytes_(b"\xff")}, "not UTF-8"),
    "channel 3": ({"blockSlice": "[2:5,5:10,3:4]"}, "labels at c > 0, the image has axes 'yxc'"),
}


@pytest.mark.parametrize(("attributes", "problem"), BAD_LABELS.values(), ids=BAD_LABELS.keys())
def test_damaged_label_blocks_are_refused(
    project: Path, edit: Edit, attributes: dict[str, Any], problem: str
) -> None:
    edit({BLOCK: attributes})
    with pytest.raises(ModelError, match=problem) as error:
        open_project(project).labels()
    assert str(project) in str(error.value)


def test_labels_of_no_class_and_of_no_lane_are_refused(project: Path, edit: Edit) -> None:
    edit({BLOCK: np.full((3, 5, 1), 3, np.uint8)})
    edit({BLOCK: {"blockSlice": "[2:5,5:10,0:1]"}})
    with pytest.raises(ModelError, match="labels from 3 to 3, of 2 classes"):
        open_project(project).labels()
    with pytest.raises(ModelError, match="lane 1 is asked for, the project has 1"):
        open_project(project).labels(1)


def test_dense_labels_need_an_image_that_holds_them(project: Path, edit: Edit) -> None:
    labels = open_project(edit({RAW + "shape": None})).labels()
    with pytest.raises(LabelError, match="does not store the size"):
        labels.dense()
    with pytest.raises(LabelError, match=r"reach pixel \[4, 9\] \(yx\), the image has \(20, 9\)"):
        labels.dense((20, 9))
    with pytest.raises(LabelError, match="the image has"):
        labels.dense((20, 24, 1))
    assert labels.dense((5, 10)).sum() == 15


def source(file: str, embedded: str = "") -> Source:
    return Source("Raw Data", file, "", "yx", None, embedded)


@pytest.mark.parametrize(
    ("stored", "now"),
    [
        ("image.npy", "image.npy"),
        ("./sub/image.h5/volume/data", "sub/image.h5/volume/data"),
        ("/gone/with/the/disk/image.npy", "image.npy"),
        ("../elsewhere/IMAGE.H5/a/b", "IMAGE.H5/a/b"),
        (r"C:\Users\me\image.npy", "image.npy"),
        (r"C:\Users\me\IMAGE.H5/a/b", "IMAGE.H5/a/b"),
        ("a:b.png", "a:b.png"),
        ("plate.zarr/0", "plate.zarr/0"),
    ],
)
def test_images_are_found_beside_the_project(tmp_path: Path, stored: str, now: str) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "plate.zarr").mkdir()
    for name in ("image.npy", "sub/image.h5", "IMAGE.H5", "a:b.png"):
        (tmp_path / name).touch()
    assert find(source(stored), tmp_path / "cells.ilp") == str(tmp_path / now)


def test_an_absolute_path_that_still_holds_wins(tmp_path: Path) -> None:
    for folder in ("first", "second"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "image.npy").touch()
    stored = str(tmp_path / "first" / "image.npy")
    assert find(source(stored), tmp_path / "second" / "cells.ilp") == stored


@pytest.mark.parametrize(
    ("stored", "problem"),
    [
        ("sub/image.npy", "is not at {here}/sub/image.npy nor at {here}/image.npy"),
        ("image.npy", "is not at {here}/image.npy\n"),
        ("https://server/image.zarr", "is on a server"),
        ("z*.png", "is a stack of files"),
        (f"z1.png{os.pathsep}z2.png", "is a stack of files"),
    ],
)
def test_a_missing_image_says_where_it_was_looked_for(tmp_path: Path, stored: str, problem: str) -> None:
    with pytest.raises(FileError) as error:
        find(source(stored), tmp_path / "cells.ilp")
    assert problem.format(here=tmp_path) in str(error.value)


def test_training_data_is_image_labels_and_axes(project: Path) -> None:
    pixels = np.arange(480, dtype=np.uint16).reshape(20, 24)
    np.save(project.parent / "image.npy", pixels)

    [(image, labels, axes)] = open_project(project).training_data()

    assert_array_equal(image, pixels)
    assert axes == "yx"  # the file has no channel axis, the project's yxc says the rest
    assert (labels.shape, labels.sum()) == ((20, 24), 15)


def test_embedded_images_are_read_from_the_project(project: Path, edit: Edit) -> None:
    pixels = np.arange(480, dtype=np.uint8).reshape(20, 24, 1)
    inside = "Input Data/local_data/1234"
    edit({inside: pixels, RAW + "location": b"ProjectInternal", RAW + "inner_path": inside.encode()})
    found = open_project(project)
    assert_array_equal(found.read_image()[0], pixels)
    assert found.read_image()[1] == "yxc"
    assert found.image_path() == f"{project}/{inside}"

    edit({RAW + "inner_path": None, RAW + "datasetId": b"1234"})
    assert_array_equal(open_project(project).read_image()[0], pixels)


def test_an_image_of_other_axes_is_refused(project: Path) -> None:
    np.save(project.parent / "image.npy", np.zeros((2, 3, 20, 24), np.uint8))
    with pytest.raises(ModelError, match=r"image.npy has 4 axes, not those of 'yxc'"):
        open_project(project).read_image()


def test_nothing_painted_cannot_be_learned_from(project: Path, edit: Edit) -> None:
    edit({PIXEL + "LabelSets": None})
    assert len(open_project(project).labels().values) == 0
    with pytest.raises(LabelError, match="nothing is painted"):
        next(open_project(project).training_data())


@pytest.mark.parametrize(
    ("workflow", "problem"),
    [
        (b"Cell Density Counting", "project of Cell Density Counting, which estimates how many objects"),
        (b"Data Conversion", "which only converts image files"),
        (b"Home Brew", "project of Home Brew, which is not known here"),
    ],
)
def test_other_workflows_are_refused_with_what_they_are(edit: Edit, workflow: bytes, problem: str) -> None:
    with pytest.raises(ModelError, match=problem):
        open_project(edit({"workflowName": workflow}))


def test_object_projects_open_but_hold_no_pixel_classifier(edit: Edit) -> None:
    found = open_project(edit({"workflowName": b"Object Classification (from binary image)"}))
    with pytest.raises(ModelError, match="has no pixel classifier, it is of Object Classification"):
        found.pixel_model()


def test_what_a_project_lacks_is_listed(edit: Edit) -> None:
    found = open_project(edit({FORESTS[:-1]: None}))
    with pytest.raises(ModelError, match="the project lacks a trained forest\n  hint: in ilastik"):
        found.pixel_model()
    edit({PIXEL[:-1]: None, "FeatureSelections": None, "Input Data": None})
    found = open_project(found.path)
    assert (found.lanes, found.selection, found.classes) == ((), None, ())
    everything = "lacks a raw image, features, class names, scribbles, a trained forest"
    with pytest.raises(ModelError, match=everything):
        found.pixel_model()


def test_rows_are_known_by_their_feature_id_not_by_their_number(edit: Edit) -> None:
    """The 0.5 era had another order of rows; names tell which order the forest was trained in."""
    old = ["GaussianSmoothing", "LaplacianOfGaussian", "StructureTensorEigenvalues"]
    old += ["HessianOfGaussianEigenvalues", "GaussianGradientMagnitude", "DifferenceOfGaussians"]
    ticked = np.zeros((6, 3), bool)
    ticked[0, 0] = ticked[3, 2] = ticked[4, 2] = True
    names = [f"Hessian of Gaussian Eigenvalues (σ=1.0) [{k}]" for k in (0, 1)]
    first, gradient = "Gaussian Smoothing (σ=0.3)", "Gaussian Gradient Magnitude (σ=1.0)"
    selections = {"FeatureSelections/FeatureIds": [i.encode() for i in old]}
    selections["FeatureSelections/SelectionMatrix"] = ticked
    in_rows, in_table = [first, *names, gradient], [first, gradient, *names]

    for stored in (in_rows, in_table):
        path = edit(selections | {FORESTS + "feature_names": [n.encode() for n in stored]})
        ours = open_project(path).pixel_model().feature_names
        assert [n.replace(" in 2D", "") for n in ours] == stored


def test_features_that_are_not_the_forests_name_the_first_difference(project: Path, edit: Edit) -> None:
    with h5py.File(project) as f:
        names = f[FORESTS + "feature_names"][()]
    names[1] = names[1].replace(b"1.0", b"0.7")
    with pytest.raises(ModelError, match=r"feature 1 is 'Gaussian Smoothing \(σ=0.7\) in 2D' .*\(σ=1.0\)"):
        open_project(edit({FORESTS + "feature_names": names})).pixel_model()
    with pytest.raises(ModelError, match="names 3 features, it uses 4"):
        open_project(edit({FORESTS + "feature_names": names[:3]})).pixel_model()
    assert open_project(edit({FORESTS + "feature_names": None})).pixel_model().channels == 1


@pytest.mark.parametrize(
    ("axes", "shape", "flat"),
    [("yxc", (9, 9, 1), True), ("zyxc", (5, 9, 9, 1), False), ("zyxc", (1, 9, 9, 1), True)],
)
def test_without_a_switch_images_of_one_slice_are_filtered_in_2d(
    edit: Edit, axes: str, shape: tuple[int, ...], flat: bool
) -> None:
    path = edit({"FeatureSelections/ComputeIn2d": None, RAW + "axistags": tags(axes), RAW + "shape": shape})
    selection = open_project(path).selection
    assert selection is not None
    assert [s.in_2d for s in selection.scales] == [flat] * 3


def test_channels_come_from_the_image_or_from_the_forest(edit: Edit) -> None:
    path = edit({RAW + "shape": None, FORESTS + "feature_names": None})
    assert open_project(path).pixel_model().channels == 1
    with pytest.raises(ModelError, match="wants 4 features; ticked are 4 for each of 3 channels"):
        open_project(edit({RAW + "shape": (20, 24, 3)})).pixel_model()


def test_colours_are_ilastiks_where_none_are_stored(edit: Edit) -> None:
    path = edit({PIXEL + "LabelColors": [0.0]})
    found = open_project(edit({PIXEL + "LabelColors": {"isEmpty": True}})).classes
    assert [c.color for c in found] == [class_color(1), class_color(2)]
    with pytest.raises(ModelError, match=r"LabelColors, \(1, 3\), are not colours of 2 classes"):
        open_project(edit({PIXEL + "LabelColors": [[1, 2, 3]]}))
    assert path.exists()


def test_pickled_classifiers_are_named_and_never_loaded(edit: Edit, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    pickle = f"cos\nsystem\n(S'touch {canary}'\ntR."
    factory = b"(dp1\nclazyflow.classifiers.sklearnLazyflowClassifier\nSklearnLazyflowClassifierFactory\n"
    factory += b"csklearn.neighbors._classification\nKNeighborsClassifier\np3\n."
    edit({FORESTS + "pickled_type": pickle.encode() + b"clazyflow\nSklearnLazyflowClassifier\n."})
    with pytest.raises(ModelError, match="is SklearnLazyflowClassifier; it is stored as a pickle"):
        open_project(edit({PIXEL + "ClassifierFactory": pickle.encode()})).pixel_model()
    with pytest.raises(ModelError, match="is scikit-learn's KNeighborsClassifier"):
        open_project(edit({PIXEL + "ClassifierFactory": factory})).pixel_model()
    with pytest.raises(ModelError, match=r"is scikit-learn's KNeighborsClassifier"):
        open_project(edit({FORESTS[:-1]: np.void(pickle.encode())})).pixel_model()
    assert not canary.exists()


FEATURES, FOREST = "FeatureSelections/", FORESTS + "Forest0001/"
DAMAGED: dict[str, tuple[dict[str, Any], str]] = {
    "matrix": ({FEATURES + "SelectionMatrix": np.ones((6, 2), bool)}, r"is \(6, 2\) for 6 features and 3"),
    "switch": ({FEATURES + "ComputeIn2d": [True]}, r"ComputeIn2d is \(1,\), there are 3 scales"),
    "unknown feature": ({FEATURES + "FeatureIds": [b"Magic"] * 6}, "feature 'Magic' is unknown"),
    "NaN scale": ({FEATURES + "Scales": [np.nan, 0.7, 1.0]}, "sigma nan"),
    "small scale": ({FEATURES + "Scales": [0.3, 0.7, 0.4]}, "least sigma is 0.7"),
    "scales of text": ({FEATURES + "Scales": b"0.3"}, "numbers are expected"),
    "nothing ticked": ({FEATURES + "SelectionMatrix": np.zeros((6, 3), bool)}, "lacks features"),
    "axis tags": ({RAW + "axistags": b"{}"}, "axistags: the axis tags are damaged"),
    "shape": ({RAW + "shape": [20, 0, 1]}, r"shape is \[20, 0, 1\], positive sizes"),
    "axes and shape": ({RAW + "shape": [20, 24]}, r"axes 'yxc' do not fit its shape \(20, 24\)"),
    "file path": ({RAW + "filePath": 3}, r"filePath holds int64 .*text is expected"),
    "names": ({PIXEL + "LabelNames": b"sky"}, r"LabelNames holds .*text is expected"),
    "known labels": ({FORESTS + "known_labels": [1, 3]}, r"labels \[1, 2\], the classifier \[1, 3\]"),
    "labels": (
        {FOREST + "_ext_param/labels": [1, 3], FORESTS + "known_labels": None},
        r"predicts the labels \[1, 3\], the project has \[1, 2\]",
    ),
    "trees": ({FOREST + "_options/tree_count_": [2.0]}, r"says it has \[2.0\] trees, 1 are there"),
    "weights": ({FOREST + "_options/predict_weighted_": [1.0]}, "weighs leaves"),
    "columns": ({FOREST + "_ext_param/column_count_": [np.nan]}, r"column_count_ is \[nan\]"),
    "topology": ({FOREST + "Tree_0/topology": np.int32([4, 2, 0])}, "Forest0001, tree 0: its arrays"),
    "one forest": ({FOREST[:-1]: None}, "holds 1 trees, the classifier was made with 2"),
    "no forest": ({FOREST[:-1]: None, FORESTS + "Forest0000": None}, "ClassifierForests holds no forest"),
    "group for array": (
        {FOREST + "Tree_0/topology": None, FOREST + "Tree_0/topology/x": 1},
        "topology is not a dataset",
    ),
    "array for group": ({FOREST + "Tree_0": 1}, "Tree_0 is not a group"),
    "soft link": ({FOREST[:-1]: h5py.SoftLink("/" + FORESTS + "Forest0000")}, "is a link to another place"),
    "external link": ({RAW + "axistags": h5py.ExternalLink("/etc/x.h5", "/x")}, "is a link to another place"),
    "workflow": ({"workflowName": None}, "workflowName is missing"),
}


@pytest.mark.parametrize(("entries", "problem"), DAMAGED.values(), ids=DAMAGED.keys())
def test_damaged_entries_are_named(project: Path, edit: Edit, entries: dict[str, Any], problem: str) -> None:
    edit(entries)
    with pytest.raises(ModelError, match=problem) as error:
        open_project(project).pixel_model()
    assert str(error.value).startswith(f"{project}: ")


def test_numbers_in_other_files_and_boundless_ones_are_refused(project: Path, tmp_path: Path) -> None:
    name = RAW + "shape"
    secret = tmp_path / "secret"
    secret.write_bytes(bytes(24))
    for kind, problem in (
        ("external", "in another file"),
        ("virtual", "in another file"),
        ("large", "claims"),
    ):
        with h5py.File(project, "r+") as f:
            del f[name]
            if kind == "external":
                f.create_dataset(name, (3,), "i8", external=[(str(secret), 0, 24)])
            elif kind == "virtual":
                layout = h5py.VirtualLayout((3,), "i8")
                layout[:] = h5py.VirtualSource(str(secret), "x", (3,))
                f.create_virtual_dataset(name, layout)
            else:
                f.create_dataset(name, (1 << 40,), "i8", chunks=(1024,))
        with pytest.raises(ModelError, match=f"shape .*{problem}"):
            open_project(project)


def test_what_is_no_project_is_refused(tmp_path: Path) -> None:
    text, empty = tmp_path / "text.ilp", tmp_path / "empty.ilp"
    text.write_text("not HDF5")
    h5py.File(empty, "w").close()
    with pytest.raises(ModelError, match=r"text\.ilp: is not a readable project"):
        open_project(text)
    with pytest.raises(ModelError, match=r"empty\.ilp: workflowName is missing"):
        open_project(empty)
    (tmp_path / "nothing.ilp").touch()
    with pytest.raises(FileError, match=r"nothing\.ilp: is empty \(0 bytes\)"):
        open_project(tmp_path / "nothing.ilp")
    with pytest.raises(FileError, match=r"none\.ilp: there is no such file"):
        open_project(tmp_path / "none.ilp")
    with pytest.raises(FileError, match="is not a file"):
        open_project(tmp_path)


def test_a_heap_of_texts_that_never_ends_is_refused(project: Path) -> None:
    """One byte of a project can send HDF5 round for ever; found by mutating a real one."""
    with h5py.File(project, "r+") as f:
        del f["ilastikVersion"]
        f["ilastikVersion"] = "1.4.1"  # of variable length: kept in a heap
    damaged = bytearray(project.read_bytes())
    heap = damaged.index(b"GCOL")
    free = heap + 16
    while int.from_bytes(damaged[free : free + 2], "little"):
        free += 16 + -(-int.from_bytes(damaged[free + 8 : free + 16], "little") // 8) * 8
    damaged[free + 8 : free + 16] = bytes(8)
    project.write_bytes(damaged)
    with pytest.raises(FileError, match=r"cells\.ilp: the heap at byte \d+ has free space of 0 bytes"):
        open_project(project)


def test_texts_of_a_kind_that_does_not_exist_are_refused(project: Path) -> None:
    """One byte that makes HDF5 crash on reading; found by mutating a real project."""
    whole = project.read_bytes()
    text = bytes.fromhex("19010000 10000000 10000000 01000000")  # a datatype: variable length, of characters
    assert text in whole
    project.write_bytes(whole.replace(text, bytes.fromhex("19b70000") + text[4:]))
    with pytest.raises(ModelError, match=r"workflowName holds object \(\), text is expected"):
        open_project(project)


def everything(path: Path) -> None:
    found = open_project(path)
    found.pixel_model()
    found.labels()


def test_any_entry_may_be_missing(project: Path) -> None:
    """Every group and dataset removed by itself: the project still works, or the error says what is gone."""
    whole = project.read_bytes()
    names: list[str] = []
    with h5py.File(project) as f:
        f.visit(names.append)
    refused = {}
    for name in names:
        project.write_bytes(whole)
        with h5py.File(project, "r+") as f:
            del f[name]
        try:
            everything(project)
        except GpusegError as e:
            refused[name] = str(e)
    spared = {n.rsplit("/", 1)[-1] for n in set(names) - set(refused)}
    assert spared == {
        *("ilastikVersion", "Prediction Mask", "nickname", "location", "ComputeIn2d", "LabelColors", "shape"),
        *("ClassifierFactory", "LabelSets", "labels000", "block0000", "feature_names", "known_labels"),
        *("pickled_type", "predict_weighted_"),
    }
    lacks = ("lacks features", "lacks a raw image", "lacks class names", "lacks a trained forest")
    lacks += (
        "holds 1 trees, the classifier was made with 2",
        "trees, 0 are there",
        "axes of Raw Data 'image.npy' are not stored",
    )
    for name, message in refused.items():
        assert name.rsplit("/", 1)[-1] in message or any(what in message for what in lacks), (name, message)


@pytest.mark.parametrize("seed", range(3))
def test_mutants_end_in_a_project_or_a_named_error(project: Path, seed: int) -> None:
    """100 projects each with up to 20 bytes changed: GpusegError is the only way to fail."""
    assert outcomes_of_mutants(project, everything, 100, seed) == {"opened", "refused"}
