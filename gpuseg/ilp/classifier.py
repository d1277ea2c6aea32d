"""The trained pixel classifier of a project: its forests, and the features they were trained on."""

import re
from collections.abc import Sequence

import numpy as np

from gpuseg.errors import InputError, ModelError
from gpuseg.features.filters import FILTERS
from gpuseg.features.selection import Scale, Selection
from gpuseg.forests.vigra_rf import VigraForest
from gpuseg.ilp.parts import Part

_BY_ID = {row.ilastik: name for name, row in FILTERS.items() if row.ilastik}
_CLASS = re.compile(r"\w*Classifier\b")  # in the text of a pickle, which is never loaded
_SKLEARN = re.compile(r"(?<![\w.])c?sklearn\.[\w.]*\n(\w+)")
_TREES = re.compile(r"_num_trees'?\np\d+\nI(\d{1,9})\n")
FORESTS = "ClassifierForests"


def read_selection(root: Part, flat: bool) -> Selection | None:
    """Ticked features, None if there are none. flat: whether the images have one z slice.

    Cells are in the order of the project's own rows, which the stack follows (SPEC 1.1); old projects had
    another order, and only FeatureIds tells which row is which.
    """
    if "FeatureSelections" not in root:
        return None
    part = root.part("FeatureSelections")
    if not {"FeatureIds", "Scales", "SelectionMatrix"} & set(part.names()):
        return None
    ids, sigmas, ticked = part.texts("FeatureIds"), part.array("Scales", "f"), part.array("SelectionMatrix")
    if sigmas.ndim != 1 or ticked.shape != (len(ids), len(sigmas)):
        raise ModelError(
            f"{part.where}SelectionMatrix is {ticked.shape} for {len(ids)} features and {sigmas.size} scales"
        )
    in_2d = part.array("ComputeIn2d") if "ComputeIn2d" in part else np.full(len(sigmas), flat)
    if in_2d.shape != sigmas.shape:
        raise ModelError(f"{part.where}ComputeIn2d is {in_2d.shape}, there are {len(sigmas)} scales")
    rows = [i for i in range(len(ids)) if ticked[i].any()]
    if unknown := [ids[i] for i in rows if ids[i] not in _BY_ID]:
        raise ModelError(f"the feature {unknown[0]!r} is unknown", hint=f"known are {', '.join(_BY_ID)}")
    cells = tuple((_BY_ID[ids[i]], int(j)) for i in rows for j in np.flatnonzero(ticked[i]))
    if not cells:
        return None
    try:
        scales = tuple(Scale(float(s), bool(f)) for s, f in zip(sigmas, in_2d, strict=True))
        return Selection(scales, cells)
    except InputError as e:
        raise ModelError(f"{part.where[:-1]}: {e.problem}", hint=e.hint) from e


def read_forests(pixel: Part) -> list[VigraForest]:
    """Sub-forests as stored; ModelError names a classifier that is not a vigra forest."""
    _check_kind(pixel)
    part = pixel.part(FORESTS)
    known = None
    if "known_labels" in part:
        known = tuple(int(v) for v in part.array("known_labels", "iu").ravel())
    forests = []
    for forest in part.parts("Forest"):
        found = _read_forest(forest)
        if known is not None and found.labels != known:
            raise ModelError(
                f"{forest.where[:-1]} predicts the labels {list(found.labels)}, the classifier {list(known)}"
            )
        forests.append(found)
    if not forests:
        raise ModelError(f"{part.where[:-1]} holds no forest", hint="train again in ilastik and save")
    asked = _TREES.search(_factory(pixel))
    if asked and int(asked.group(1)) != (trees := sum(len(f.trees) for f in forests)):
        raise ModelError(
            f"{part.where[:-1]} holds {trees} trees, the classifier was made with {asked.group(1)}",
            hint="train again in ilastik and save",
        )
    return forests


def _factory(pixel: Part) -> str:
    """The text that says how a classifier is to be made; a pickle, in which words are looked for."""
    return pixel.text("ClassifierFactory") if "ClassifierFactory" in pixel else ""


def _check_kind(pixel: Part) -> None:
    name = "a pickle"
    if pixel.has_part(FORESTS):
        part = pixel.part(FORESTS)
        if "pickled_type" not in part:
            return
        found = _CLASS.search(part.text("pickled_type"))
        name = found.group() if found else "an unnamed class"
    if "VigraRf" in name:
        return
    if found := _SKLEARN.search(_factory(pixel)):
        name = f"scikit-learn's {found.group(1)}"
    raise ModelError(
        f"its classifier is {name}; it is stored as a pickle, which can run any code, and is not loaded",
        hint="in ilastik choose Advanced > Classifier > Parallel Random Forest (VIGRA), train and save",
    )


def _read_forest(part: Part) -> VigraForest:
    facts, options = part.part("_ext_param"), part.part("_options")
    weighted = options.array("predict_weighted_", "f").ravel() if "predict_weighted_" in options else ()
    if any(weighted):
        raise ModelError(f"{part.where[:-1]} weighs leaves by their size, which ilastik's forests do not")
    count = facts.array("column_count_", "f").ravel()
    if len(count) != 1 or not 1 <= count[0] < 1 << 31:
        raise ModelError(
            f"{facts.where}column_count_ is {count.tolist()}, one number of features is expected"
        )
    labels = facts.array("labels", "iu").ravel()
    names = [n for n in part.names() if n.startswith("Tree_")]
    trees = tuple((t.array("topology", "i"), t.array("parameters", "f")) for t in map(part.part, names))
    stated = options.array("tree_count_", "f").ravel()
    if stated.tolist() != [len(trees)]:
        raise ModelError(f"{part.where[:-1]} says it has {stated.tolist()} trees, {len(trees)} are there")
    return VigraForest(int(count[0]), tuple(int(v) for v in labels), trees)


def match_features(selection: Selection, names: Sequence[str], channels: int, depth: int) -> Selection:
    """`selection` in the order that the stored feature names say; ModelError names the first difference."""
    in_table = tuple(sorted(selection.cells, key=lambda cell: (list(FILTERS).index(cell[0]), cell[1])))
    table = Selection(selection.scales, in_table)
    for candidate in (selection, table):
        if _names(candidate, names, channels, depth) == list(names):
            return candidate
    ours = _names(selection, names, channels, depth)
    if len(ours) != len(names):
        raise ModelError(f"the classifier names {len(names)} features, it uses {len(ours)}")
    i = next(i for i, (a, b) in enumerate(zip(ours, names, strict=True)) if a != b)
    raise ModelError(
        f"feature {i} is {names[i]!r} to the stored forest, {ours[i]!r} by the ticked features",
        hint="the features changed after training: train again in ilastik and save",
    )


def _names(selection: Selection, stored: Sequence[str], channels: int, depth: int) -> list[str]:
    """Our names as the version of ilastik that stored the others wrote them: before 1.3 without "in 2D"."""
    ours = selection.names(channels, depth)
    if any(" in 2D" in name for name in stored):
        return ours
    return [name.replace(" in 2D", "") for name in ours]
