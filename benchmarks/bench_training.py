"""Scribbles to a trained forest, and features where somebody painted instead of everywhere."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from benchmarks import scene
from benchmarks.machine import CORES
from benchmarks.measure import Case, Lineup, Size, clock
from gpuseg.forests import hist_rf, sklearn_rf

# Case, share of the labelled pixels that targets are about, rounds at most: scikit-learn takes a minute for
# the last.
CASES = (
    ("training, few strokes", 0.25, 5),
    ("training", 1, 5),
    ("training, many strokes", 5, 3),
    ("training, areas", 25, 1),
)


def measure(size: Size) -> Iterator[Case]:
    for name, share, rounds in CASES:
        labelled = int(share * size.labelled)
        yield training(name, replace(size, labelled=labelled, rounds=min(rounds, size.rounds)))

    s = scene.flat("texture", size)
    lineup = Lineup(size)
    out = np.empty((s.planes, *s.image.shape[1:]), np.float32)
    lineup.add("gpuseg", clock(s.rows), lambda: "tiles around the scribbles")
    lineup.add("gpuseg, whole image", clock(lambda: s.stack(out)))
    data = f"{len(s.where)} pixels of {scene.shape_text(s.plain.shape)}, {s.planes} planes"
    yield lineup.race("training", "features under scribbles", data, len(s.where) / 1e3, "krow")


def training(name: str, size: Size) -> Case:
    """Our own trainer beside scikit-learn's trees, grown by us and as it grows them itself."""
    s = scene.flat("texture", size)
    rows = s.rows()
    lineup = Lineup(size)
    for engine, trainer in (("gpuseg", hist_rf.train), ("gpuseg --forest sklearn", sklearn_rf.train)):
        run = clock(lambda train=trainer: train(rows, s.labels, trees=size.trees, threads=CORES))
        lineup.add(engine, run, lambda: "with out-of-bag accuracy, confusion matrix and importances")
    theirs = scene.sklearn_forest(size.trees, rows.shape[1])
    lineup.add("scikit-learn", clock(lambda: theirs.fit(rows, s.labels)), lambda: f"fit(n_jobs={CORES})")
    data = f"{len(rows)} pixels, {s.planes} planes, {size.trees} trees"
    return lineup.race("training", name, data, len(rows) / 1e3, "krow")
