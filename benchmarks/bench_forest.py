"""2D: feature planes to probabilities, on a hard task (deep trees) and an easy one."""

from collections.abc import Iterator

import numpy as np

from benchmarks import images, peers, scene
from benchmarks.measure import Case, Lineup, Size, clock

TILE = (16, 16)  # the prototype wants neighbouring pixels beside each other


def measure(size: Size) -> Iterator[Case]:
    yield from (_forest(kind, size) for kind in ("texture", "intensity"))


def _forest(kind: str, size: Size) -> Case:
    s = scene.flat(kind, size)
    labelled = s.rows()
    forest, sklearn = scene.forests(labelled, s.labels, size.trees)
    planes = images.bands(s.stack(), size.band)  # a part of every photograph
    rows = scene.as_rows(planes)
    expected = s.backend.forest_proba(planes, forest)
    lineup = Lineup(size)
    lineup.add("gpuseg", clock(lambda: s.backend.forest_proba(planes, forest)))

    def check() -> str:
        return "the same forest, " + scene.largest_difference(sklearn.predict_proba(rows), expected)

    lineup.add("scikit-learn", clock(lambda: sklearn.predict_proba(rows)), check)
    if lineup.admits("prototype", peers.Prototypes.absent(size.prototypes)):
        blocks = peers.tiled(planes[:, 0], TILE)
        out = np.empty((blocks.shape[1], images.CLASSES), np.float32)
        run = clock(peers.prototypes().forest(blocks, forest, out))
        lineup.add("prototype", run, lambda: "planes reordered beforehand")
    with peers.Vigra() as vigra:
        if vigra.join(lineup, labelled, s.labels, size.trees, "vigra"):
            vigra.share("pixels", rows.shape)[...] = rows
            run = vigra.run("row_proba", pixels="pixels")
            lineup.add("vigra", run, lambda: "trained on the same rows")
        return lineup.race(
            "forest",
            f"2D forest, {kind}",
            f"{scene.shape_text(planes.shape[2:])} pixels, {len(planes)} planes, {size.trees} trees",
            len(rows) / 1e6,
            "Mpx",
            traffic=4.0 * (planes.size + expected.size),
        )
