"""Makes treelite_forests.json again: fields of four treelite models, and what treelite says they answer.

Run it as a script where treelite 4.8 is installed. Two forests are scikit-learn's, imported by treelite; one
has the fields that cuML writes (float32, `<=`, vectors); one has `<` and single numbers as leaves. JSON gives
every number back exactly as it was.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuseg.forests.treelite_rf import fields

FILE = Path(__file__).with_name("treelite_forests.json")
TREES, FEATURES = 4, 5


def data(classes: int, count: int = 120) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
    """Features rounded to 1/8, so that many are equal, and classes that depend on two of them."""
    rng = np.random.default_rng(classes)
    rows = (rng.normal(size=(count, FEATURES)) * 8).round().astype(np.float32) / 8
    noisy = rows[:, 0] + rows[:, 1] / 2 + rng.normal(size=count) / 2
    return rows, np.digitize(noisy, np.linspace(-0.7, 0.7, classes + 1)[1:-1])


def imported(classes: int) -> Any:
    """scikit-learn's forest in treelite's form."""
    import treelite
    from sklearn.ensemble import RandomForestClassifier

    forest = RandomForestClassifier(TREES, max_features=2, max_depth=4, random_state=0).fit(*data(classes))
    return treelite.sklearn.import_model(forest)


def built(operator: str, classes: int) -> Any:
    """Random trees in float32; two classes have the probability of the second as their leaf."""
    from treelite.model_builder import Metadata, ModelBuilder, PostProcessorFunc, TreeAnnotation

    rng, scalar = np.random.default_rng(3), classes == 2
    shape = (1, 1) if scalar else (1, classes)
    builder = ModelBuilder(
        threshold_type="float32",
        leaf_output_type="float32",
        metadata=Metadata(FEATURES, "kBinaryClf" if scalar else "kMultiClf", True, 1, [shape[1]], shape),
        tree_annotation=TreeAnnotation(TREES, [0] * TREES, [0 if scalar else -1] * TREES),
        postprocessor=PostProcessorFunc("identity" if scalar else "identity_multiclass"),
        base_scores=[0.0] * shape[1],
    )
    for tree in range(TREES):
        inner = 7 if tree else 0  # the first tree is a leaf
        builder.start_tree()
        for node in range(2 * inner + 1):
            builder.start_node(node)
            if node < inner:
                builder.numerical_test(
                    int(rng.integers(FEATURES)),
                    float(np.float32(rng.normal() * 8).round() / 8),
                    default_left=True,
                    opname=operator,
                    left_child_key=2 * node + 1,
                    right_child_key=2 * node + 2,
                )
            else:
                builder.leaf(_leaf(rng, classes))
            builder.end_node()
        builder.end_tree()
    return builder.commit()


def _leaf(rng: np.random.Generator, classes: int) -> float | list[float]:
    if classes == 2:
        return float(rng.integers(9)) / 8
    counts = rng.multinomial(rng.integers(1, 30), np.full(classes, 1 / classes))
    return (counts / counts.sum()).tolist()


def plain(values: Any) -> Any:
    """As JSON: an array is its type and its numbers."""
    return values if isinstance(values, str) else [values.dtype.str, values.tolist()]


def case(model: Any, classes: int) -> dict[str, Any]:
    """Fields, rows (some on and beside thresholds) and the answers of each tree that treelite computes."""
    import treelite

    header, trees = fields(model)
    rows, _ = data(classes, 60)
    inner = [(t["split_index"][i], t["threshold"][i]) for t in trees for i in np.flatnonzero(t["cleft"] >= 0)]
    for row, (column, threshold) in zip(rows, inner, strict=False):
        row[column] = np.float32(threshold)
    as_stored = rows.astype(trees[0]["threshold"].dtype)
    answers = treelite.gtil.predict_per_tree(model, as_stored).reshape(len(rows), len(trees), -1)
    return {
        "classes": classes,
        "header": {k: plain(v) for k, v in header.items()},
        "trees": [{k: plain(v) for k, v in tree.items()} for tree in trees],
        "rows": plain(rows),
        "answers": plain(answers),
    }


def main() -> None:
    cases = {
        "scikit-learn, 3 classes": case(imported(3), 3),
        "scikit-learn, 2 classes": case(imported(2), 2),
        "as cuML writes": case(built("<=", 3), 3),
        "less, single numbers": case(built("<", 2), 2),
    }
    FILE.write_text(json.dumps(cases) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
