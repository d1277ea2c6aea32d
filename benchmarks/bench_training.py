"""Scribbles to a trained forest, and features where somebody painted instead of everywhere."""

from collections.abc import Iterator

import numpy as np

from benchmarks import scene
from benchmarks.machine import CORES
from benchmarks.measure import Case, Lineup, Size, clock
from gpuseg.forests.sklearn_rf import train


def measure(size: Size) -> Iterator[Case]:
    s = scene.flat("texture", size)
    rows = s.rows()
    lineup = Lineup(size)
    run = clock(lambda: train(rows, s.labels, trees=size.trees, threads=CORES))
    lineup.add("gpuseg", run, lambda: "with out-of-bag accuracy, confusion matrix and importances")
    theirs = scene.sklearn_forest(size.trees, rows.shape[1])
    lineup.add("scikit-learn", clock(lambda: theirs.fit(rows, s.labels)), lambda: "fit(n_jobs=2)")
    data = f"{len(rows)} pixels, {s.planes} planes, {size.trees} trees"
    yield lineup.race("training", "training", data, len(rows) / 1e3, "krow")

    lineup = Lineup(size)
    out = np.empty((s.planes, *s.image.shape[1:]), np.float32)
    lineup.add("gpuseg", clock(s.rows), lambda: "tiles around the scribbles")
    lineup.add("gpuseg, whole image", clock(lambda: s.stack(out)))
    data = f"{len(rows)} pixels of {scene.shape_text(s.plain.shape)}, {s.planes} planes"
    yield lineup.race("training", "features under scribbles", data, len(rows) / 1e3, "krow")
