"""Real ilastik projects: their forests predict here what ilastik exported, and grew on our feature values.

A threshold in a vigra tree is the midpoint of two training values, so a forest remembers the feature values
of the ilastik that made it, to float32 rounding (SPEC 1.9). The three projects of ilastik 1.2.2 remember
vigra's structure tensor (gradient at the scale, averaged at half of it), which ilastik falls back to where
fastfilters is missing (SPEC 1.5). With that tensor their thresholds and exports are explained as exactly as
all others; with the one that ilastik applies to every forest today they are off as far as ilastik is.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import combinations_with_replacement
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from gpuseg.axes import reorder
from gpuseg.backends import get_backend
from gpuseg.errors import ModelError
from gpuseg.features.filters import FILTERS
from gpuseg.features.stack import features_at, formulas, probabilities, whole
from gpuseg.ilp.classifier import read_forests
from gpuseg.ilp.parts import opened
from gpuseg.ilp.read import Project, open_project
from gpuseg.io import open_image
from gpuseg.model import PixelModel

EPS = 2.0**-24
TENSOR = "structure_tensor_eigenvalues"
ROUNDINGS = 4.5  # EPS of the largest pixel between a threshold and the midpoint of our values: 6.8e-5 at 255
TENSOR_ROUNDINGS = 3  # of the largest pixel times the largest gradient
# fastfilters solves the 3 x 3 matrices of 3D tensors by a formula in float32; see test_features.py.
TENSOR_3D = 1.2e-3
CLOSE, MOST, LIMIT = 0.015, 0.999, 0.15  # ilastik's own bounds between platforms
API, TESTS, RUNS = "ilastik-api/", "ilastik-tests/", "ilastik-runs/"
Rows = NDArray[Any]


@dataclass(frozen=True)
class Case:
    project: str
    image: str
    export: str = ""
    vigra: bool = False  # made where fastfilters was missing


CASES = [
    Case(API + "PixelClass.ilp", API + "Data_1channel.png", API + "res-Data_1channel_pc1xyc.npy"),
    Case(
        API + "2464_PixelClassification_xy_input.ilp",
        API + "Data_1channel.png",
        API + "res-Data_1channel_pc1xy.npy",
    ),
    Case(API + "PixelClass3D.ilp", API + "Data_3D.npy", API + "res-Data_3D_pc3d.npy"),
    *(
        Case(
            f"{TESTS}PixelClassification{name}.ilp",
            f"{TESTS}inputdata/{name}.h5/data",
            f"{TESTS}reference/{name}_Probabilities.h5/exported_data",
            vigra=True,
        )
        for name in ("2d", "2d3c", "5t2d1c")
    ),
    Case(TESTS + "inputdata/pc-oc-133.ilp", TESTS + "inputdata/5t2d1c.h5/data"),
    *(
        Case(f"{RUNS}{name}.ilp", f"{RUNS}{name}.h5/data", f"{RUNS}{name}_Probabilities.h5/exported_data")
        for name in (
            "em2d__fibsem_z010",
            "histology__dsb_4e92129f",
            "nuclei2d__dsb_00071198",
            "volume3d__stardist",
        )
    ),
]
VIGRA = [c for c in CASES if c.vigra]
EXPORTED = [c for c in CASES if c.export]


def names(cases: list[Case]) -> list[str]:
    return [Path(c.project).stem for c in cases]


def vigra_tensor(b: Any, image: Rows, sigma: tuple[float, ...]) -> list[Rows]:
    """Gradient at the scale, averaged at half of it."""
    n, outer = image.ndim, tuple(0.5 * s for s in sigma)
    g = [b.gaussian(image, sigma, [int(a == i) for i in range(n)]) for a in range(n)]
    pairs = combinations_with_replacement(range(n), 2)
    return list(b.eigvals_sym([b.gaussian(g[i] * g[j], outer) for i, j in pairs]))


def opened_case(case: Case, shared: Path) -> tuple[Project, PixelModel, Rows]:
    """Project, its model, and its image as float32 (t, c, z, y, x)."""
    project = open_project(shared / "data/ilp" / case.project)
    model = project.pixel_model()
    axes = project.lanes[0].raw.stated_axes
    with open_image(shared / "data/ilp" / case.image) as image:
        pixels = image.read()
    axes = axes if len(axes) == pixels.ndim else axes.replace("c", "")
    return project, model, reorder(pixels, axes, "tczyx").astype(np.float32)


def differences(case: Case, shared: Path, found: Rows) -> tuple[Rows, float]:
    """Largest difference of each pixel's probabilities to the export; part of pixels with the same class."""
    with open_image(shared / "data/ilp" / case.export, axes=None) as image:
        export = image.read()
    found = found.reshape(export.shape)  # t z y x and classes, without the axes of size 1
    same = (found.argmax(-1) == export.argmax(-1)).mean()
    return abs(found - export).max(-1), float(same)


def predicted(model: PixelModel, image: Rows) -> Rows:
    b = get_backend("cpu")
    return np.stack([probabilities(b, volume, model.selection, model.forest) for volume in image])


@pytest.mark.parametrize(
    "case", [c for c in EXPORTED if not c.vigra], ids=names([c for c in EXPORTED if not c.vigra])
)
def test_stored_forests_predict_what_ilastik_exported(case: Case, shared: Path) -> None:
    _, model, image = opened_case(case, shared)
    model.check_image(dict(zip("tczyx", image.shape, strict=True)))
    off, same = differences(case, shared, predicted(model, image))
    assert off.max() <= LIMIT
    assert (off <= CLOSE).mean() >= MOST
    assert same >= MOST


@pytest.mark.parametrize("case", VIGRA, ids=names(VIGRA))
def test_forests_grown_on_vigras_tensor_predict_their_exports_with_it(
    case: Case, shared: Path, monkeypatch: Any
) -> None:
    _, model, image = opened_case(case, shared)
    monkeypatch.setitem(FILTERS, TENSOR, replace(FILTERS[TENSOR], formula=vigra_tensor))
    b = get_backend("cpu")
    planes = (formulas(b, v, model.selection.jobs(*v.shape[:2]), whole(v)) for v in image)
    found = np.stack([b.forest_proba(p, model.forest) for p in planes])
    off, same = differences(case, shared, found)
    assert off.max() <= LIMIT
    assert (off <= CLOSE).mean() >= MOST
    assert same >= MOST


@pytest.mark.parametrize(
    ("case", "largest", "mean", "same"),
    [(VIGRA[0], 0.131, 0.0031, 0.998), (VIGRA[1], 0.181, 0.034, 0.977), (VIGRA[2], 0.021, 0.0001, 0.9999)],
    ids=names(VIGRA),
)
def test_forests_grown_on_vigras_tensor_predict_what_ilastik_predicts_today(
    case: Case, largest: float, mean: float, same: float, shared: Path
) -> None:
    """The bounds are how far ilastik today is from those exports (data/README.md)."""
    _, model, image = opened_case(case, shared)
    off, found = differences(case, shared, predicted(model, image))
    assert off.max() <= largest
    assert off.mean() <= mean
    assert found >= same


def training_rows(project: Project, model: PixelModel, image: Rows, formula_only: bool) -> tuple[Rows, Rows]:
    """Feature rows of all painted pixels, float32, and their labels."""
    labels, b = project.labels(), get_backend("cpu")
    column = {a: labels.where[:, i] for i, a in enumerate(labels.axes)}
    zero = np.zeros(len(labels.values), np.intp)
    time, where = column.get("t", zero), np.stack([column.get(a, zero) for a in "zyx"], axis=1)
    rows = np.empty((len(where), model.forest.n_features), np.float32)
    for t in np.unique(time):
        here, volume = time == t, image[t]
        if formula_only:
            planes = formulas(b, volume, model.selection.jobs(*volume.shape[:2]), whole(volume))
            rows[here] = planes[(slice(None), *where[here].T)].T
        else:
            rows[here] = features_at(b, volume, model.selection, where[here])
    return rows, labels.values


def inner_nodes(project: Project, rows: Rows) -> Iterator[tuple[int, float, Rows]]:
    """(feature, float64 threshold, training pixels that reach it) of every inner node of every tree."""
    with opened(project.path) as root:
        trees = [t for f in read_forests(root.part("PixelClassification")) for t in f.trees]
    for topology, parameters in trees:
        todo = [(2, np.arange(len(rows)))]
        while todo:
            at, here = todo.pop()
            if topology[at]:
                continue
            threshold, feature = float(parameters[topology[at + 1] + 1]), int(topology[at + 4])
            yield feature, threshold, here
            below = rows[here, feature] < threshold
            todo += [(topology[at + 2], here[below]), (topology[at + 3], here[~below])]


def slack(model: PixelModel, rows: Rows, image_max: float) -> Rows:
    """How far rounding may move each training value, (pixels, features)."""
    found = np.full(rows.shape, ROUNDINGS * EPS * image_max)
    for i, name in enumerate(model.feature_names):
        if name.startswith(FILTERS[TENSOR].title):
            k = i - int(name[:-1].split("[")[1]) % model.ndim  # the largest eigenvalue of the same channel
            found[:, i] = TENSOR_ROUNDINGS * EPS * image_max * np.sqrt(abs(rows[:, k]))
            found[:, i] += (model.ndim == 3) * TENSOR_3D
    return found


def excess(values: Rows, room: Rows, threshold: float) -> float:
    """Distance of a threshold from the nearest midpoint of a value below and one above, less their slack."""
    order = np.argsort(values)
    sure, room = values[order].astype(np.float64), room[order]
    split = np.searchsorted(sure, threshold)
    low, high = sure[:split], sure[split:]
    if not len(low) or not len(high):
        return np.inf
    at = np.searchsorted(high, 2 * threshold - low)
    pairs = [np.minimum(at, len(high) - 1), np.maximum(at - 1, 0)]
    rooms = [np.maximum(room[:split], room[split:][k]) for k in pairs]
    beyond = [abs((low + high[k]) / 2 - threshold) - r for k, r in zip(pairs, rooms, strict=True)]
    return float(np.min(beyond))


def unexplained(case: Case, shared: Path, *, vigra: bool, monkeypatch: Any) -> tuple[int, list[str], int]:
    """Nodes; those whose threshold is no midpoint; those that needed pixels that rounding sent elsewhere."""
    project, model, image = opened_case(case, shared)
    if vigra:
        monkeypatch.setitem(FILTERS, TENSOR, replace(FILTERS[TENSOR], formula=vigra_tensor))
    rows, labels = training_rows(project, model, image, formula_only=vigra)
    if vigra == case.vigra:
        assert_learned(model, rows, labels)
    room = slack(model, rows, float(image.max()))
    count, missed, astray = 0, [], 0
    for feature, threshold, here in inner_nodes(project, rows):
        count += 1
        if excess(rows[here, feature], room[here, feature], threshold) > 0:
            astray += 1
            if (off := excess(rows[:, feature], room[:, feature], threshold)) > 0:
                missed.append(f"{model.feature_names[feature]} < {threshold}: {off:.1e} beyond rounding")
    return count, missed, astray


def assert_learned(model: PixelModel, rows: Rows, labels: Rows) -> None:
    """A forest grown to purity gets every training pixel right: features and labels are where it had them."""
    n, trees = len(rows), len(model.forest.roots)
    leaf = model.forest.descend(rows, np.repeat(np.arange(n), trees), np.tile(model.forest.roots, n))
    answers = model.forest.leaves[leaf].reshape(n, trees, -1).mean(1).argmax(1)
    assert (np.array([c.value for c in model.classes])[answers] == labels).all()


@pytest.mark.parametrize("case", CASES, ids=names(CASES))
def test_every_threshold_is_the_midpoint_of_two_of_our_values(
    case: Case, shared: Path, monkeypatch: Any
) -> None:
    count, missed, astray = unexplained(case, shared, vigra=case.vigra, monkeypatch=monkeypatch)
    assert count >= 100
    assert not missed, missed[:5]
    assert astray <= 0.0005 * count


def test_midpoints_tell_one_structure_tensor_from_the_other(shared: Path, monkeypatch: Any) -> None:
    """Control: the test above fails with the other library's tensor, in both directions."""
    fastfilters, vigra = next(c for c in CASES if "nuclei2d" in c.project), VIGRA[1]
    assert len(unexplained(vigra, shared, vigra=False, monkeypatch=monkeypatch)[1]) >= 10
    assert len(unexplained(fastfilters, shared, vigra=True, monkeypatch=monkeypatch)[1]) >= 20


REFUSED: list[tuple[str, Callable[[Path], Any], str]] = [
    (
        API + "PixelClassNoClassifier.ilp",
        lambda p: open_project(p).pixel_model(),
        "lacks scribbles, a trained forest",
    ),
    (
        API + "PixelClassNoData.ilp",
        lambda p: open_project(p).pixel_model(),
        "lacks a raw image, features, class names",
    ),
    (
        TESTS + "ObjectClassification2d3c_wPred.ilp",
        lambda p: open_project(p).pixel_model(),
        "has no pixel classifier",
    ),
    ("other-workflows/CellDensityCounting2d3c.ilp", open_project, "estimates how many objects there are"),
    ("other-workflows/mitocheckDataConversion.ilp", open_project, "only converts image files"),
]


@pytest.mark.parametrize(("project", "use", "reason"), REFUSED, ids=[Path(r[0]).stem for r in REFUSED])
def test_projects_without_a_classifier_say_why(
    project: str, use: Callable[[Path], Any], reason: str, shared: Path
) -> None:
    with pytest.raises(ModelError, match=reason):
        use(shared / "data/ilp" / project)
