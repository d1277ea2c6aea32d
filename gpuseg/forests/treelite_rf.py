"""Forests in the form in which cuML hands them over, decoded from the fields of a treelite model.

treelite 4 keeps a forest as a header and, for each tree, arrays with one entry a node, node 0 the root:

    header      num_feature, num_target [1], num_class [k], leaf_vector_shape [1, k], average_tree_output [1],
                base_scores all 0, postprocessor "identity_multiclass" or "identity": answers are plain means
    inner node  cleft, cright >= 0 its children, split_index a column, threshold, cmp LESS or LESS_EQUAL: the
                test that leads to cleft
    leaf        cleft -1; leaf_vector[leaf_vector_begin : leaf_vector_end] is one number a class. Where
                leaf_vector_shape is [1, 1], leaf_value is the probability of the second of two classes

cuML stores float32, LESS_EQUAL and a vector in every leaf; treelite's import of a scikit-learn forest stores
the same in float64. Where missing values go (default_left) is not read: NaN goes right, as everywhere here.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuseg.errors import ModelError
from gpuseg.forests.arrays import SUM_TOLERANCE, Forest, Tree, float32_threshold

Fields = Mapping[str, Any]  # arrays by name; in a header a text too

HEADER = (
    *("num_feature", "num_target", "num_class", "leaf_vector_shape"),
    *("average_tree_output", "base_scores", "postprocessor"),
)
NODES = (
    "cleft",
    "cright",
    "split_index",
    "threshold",
    "cmp",
    "leaf_value",
    "leaf_vector_begin",
    "leaf_vector_end",
)
TREE = (*NODES, "leaf_vector", "has_categorical_split")
LESS, LESS_EQUAL = 2, 3  # in the enumeration of comparisons


def fields(model: Any) -> tuple[Fields, list[Fields]]:
    """Header and trees of a `treelite.Model`, copied: its arrays are views that die with it."""
    header = model.get_header_accessor()
    trees = [model.get_tree_accessor(i) for i in range(model.num_tree)]
    return _copied(header, HEADER), [_copied(tree, TREE) for tree in trees]


def from_treelite(header: Fields, trees: Sequence[Fields], classes: int) -> Forest:
    """The forest whose fields these are, as flat arrays with a column for each of `classes`.

    ModelError if its answer is not the mean of class probabilities, or a test is not on a number.
    """
    _check_header(header, classes)
    p, scalar = int(header["num_feature"][0]), list(header["leaf_vector_shape"]) == [1, 1]
    decoded = []
    for i, tree in enumerate(trees):
        try:
            decoded.append(_decode(tree, classes, scalar))
        except ModelError as e:
            raise e.at(f"tree {i}") from e
    return Forest.from_trees(decoded, p)


def _copied(accessor: Any, names: Sequence[str]) -> Fields:
    values = {name: accessor.get_field(name) for name in names}
    return {name: v if isinstance(v, str) else np.array(v) for name, v in values.items()}


def _check_header(header: Fields, classes: int) -> None:
    targets, known = int(header["num_target"][0]), header["num_class"].tolist()
    shape, post = header["leaf_vector_shape"].tolist(), header["postprocessor"]
    if targets != 1:
        raise ModelError(f"the treelite model has {targets} targets, a classifier of pixels has 1")
    scalar = shape == [1, 1] and known == [1] and classes == 2
    if not scalar and (known != [classes] or shape != [1, classes]):
        raise ModelError(
            f"the treelite model has {known} classes in leaves of {shape}, {classes} were expected"
        )
    if not header["average_tree_output"][0] or post not in ("identity", "identity_multiclass"):
        raise ModelError(
            f"the treelite model adds up its trees or applies {post!r}, a random forest takes the mean",
            hint="boosted trees cannot be used",
        )
    if header["base_scores"].any():
        raise ModelError(f"the treelite model adds {header['base_scores'].tolist()} to the mean of its trees")


def _decode(tree: Fields, classes: int, scalar: bool) -> Tree:
    n = len(tree["cleft"])
    if not n:
        raise ModelError("has no nodes")
    uneven = [name for name in NODES if tree[name].shape != (n,)]
    if uneven:
        raise ModelError(f"{uneven[0]} has shape {tree[uneven[0]].shape}, cleft has {n} nodes")
    inner = tree["cleft"] >= 0
    if tree["has_categorical_split"].any() or not np.isin(tree["cmp"][inner], (LESS, LESS_EQUAL)).all():
        raise ModelError(
            "a node's test is not `value < number` or `value <= number`",
            hint="categories and other comparisons cannot be used",
        )
    return Tree(
        np.where(inner, tree["split_index"], -1),
        _thresholds(tree, inner),
        tree["cleft"],
        tree["cright"],
        _probabilities(tree, np.flatnonzero(~inner), classes, scalar),
    )


def _thresholds(tree: Fields, inner: NDArray[np.bool_]) -> NDArray[np.float32]:
    exact = np.where(inner, tree["threshold"], 0)
    below, up_to = (float32_threshold(exact, inclusive=flag) for flag in (False, True))
    return np.where(tree["cmp"] == LESS, below, up_to)


def _probabilities(tree: Fields, leaf: NDArray[np.intp], classes: int, scalar: bool) -> NDArray[np.float64]:
    """(nodes, classes), zero in inner nodes. Numbers that are no probabilities are counts of rows."""
    proba = np.zeros((len(tree["cleft"]), classes))
    if scalar:
        second = tree["leaf_value"][leaf].astype(np.float64)
        proba[leaf] = np.column_stack([1 - second, second])
        return proba
    begin, end = (tree[f"leaf_vector_{side}"][leaf].astype(np.int64) for side in ("begin", "end"))
    if (end - begin != classes).any() or (begin < 0).any() or (end > len(tree["leaf_vector"])).any():
        raise ModelError(f"a leaf does not hold {classes} numbers of the {len(tree['leaf_vector'])} stored")
    rows = tree["leaf_vector"][begin[:, None] + np.arange(classes)].astype(np.float64)
    total = rows.sum(axis=1, keepdims=True)
    counted = (np.abs(total - 1) > SUM_TOLERANCE) & (total > 0)
    proba[leaf] = np.where(counted, rows / np.where(counted, total, 1), rows)
    return proba
