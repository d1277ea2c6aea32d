"""3D: volume to planes, planes to probabilities, and all the way."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from benchmarks import images, peers, scene
from benchmarks.measure import Case, Lineup, Size, clock
from gpuseg.features.stack import probabilities
from gpuseg.forests.arrays import Forest

TILE = (4, 8, 8)
SCRATCH = 13  # volumes that the prototype wants beside the planes


def measure(size: Size) -> Iterator[Case]:
    s = scene.deep(size)
    rows = s.rows()
    forest, _ = scene.forests(rows, s.labels, size.trees)
    out = np.empty((s.planes, *s.plain.shape), np.float32)
    with peers.Vigra() as vigra:
        for part in (_planes, _forest, _image):
            lineup = Lineup(size)
            if vigra.join(lineup, rows, s.labels, size.trees, "vigra"):
                vigra.share("image", s.plain.shape)[...] = s.plain
            lineup.admits("prototype", peers.Prototypes.absent(size.prototypes))
            yield part(lineup, s, forest, vigra, out)


def _planes(
    lineup: Lineup, s: scene.Scene, forest: Forest, vigra: peers.Vigra, out: NDArray[np.float32]
) -> Case:
    expected = s.stack()
    lineup.add("gpuseg", clock(lambda: s.stack(out)), s.path)
    if "prototype" not in lineup.skipped:
        prototype, scratch = peers.prototypes().deep, _scratch(s)
        run = clock(lambda: prototype.stack_numba3d(s.plain, out, scratch))
        lineup.add("prototype", run, lambda: scene.largest_difference(out, expected))
    if "vigra" not in lineup.skipped:
        task = {"image": "image", "jobs": peers.jobs_as_json(s.jobs), "count": s.planes}

        def check() -> str:
            return scene.largest_difference(vigra.last(), expected)

        lineup.add("vigra", vigra.run("planes", **task), check)
    return lineup.race(
        "volume",
        "3D planes",
        f"{scene.shape_text(s.plain.shape)} float32, {s.planes} planes",
        s.pixels / 1e6,
        "Mvox",
        traffic=s.traffic,
        flops=s.flops,
    )


def _forest(
    lineup: Lineup, s: scene.Scene, forest: Forest, vigra: peers.Vigra, out: NDArray[np.float32]
) -> Case:
    planes = s.stack(out)
    lineup.add("gpuseg", clock(lambda: s.backend.forest_proba(planes, forest)))
    if "prototype" not in lineup.skipped:
        blocks = peers.tiled(planes, TILE)
        proba = np.empty((s.pixels, images.CLASSES), np.float32)
        run = clock(peers.prototypes().forest(blocks, forest, proba))
        lineup.add("prototype", run, lambda: "planes reordered beforehand")
    if "vigra" not in lineup.skipped:
        vigra.share("pixels", (s.pixels, s.planes))[...] = scene.as_rows(planes)
        run = vigra.run("row_proba", pixels="pixels")
        lineup.add("vigra", run, lambda: "trained on the same rows")
    return lineup.race(
        "volume",
        "3D forest",
        f"{scene.shape_text(s.plain.shape)} voxels, {s.planes} planes, {len(forest.roots)} trees",
        s.pixels / 1e6,
        "Mvox",
        traffic=4.0 * s.pixels * (s.planes + images.CLASSES),
    )


def _image(
    lineup: Lineup, s: scene.Scene, forest: Forest, vigra: peers.Vigra, out: NDArray[np.float32]
) -> Case:
    expected = probabilities(s.backend, s.image, s.selection, forest)
    lineup.add("gpuseg", clock(lambda: probabilities(s.backend, s.image, s.selection, forest)))
    if "prototype" not in lineup.skipped:
        prototype, scratch = peers.prototypes(), _scratch(s)
        proba = np.empty((s.pixels, images.CLASSES), np.float32)
        walk = prototype.forest(out.reshape(s.planes, -1), forest, proba)
        run = clock(lambda: (prototype.deep.stack_numba3d(s.plain, out, scratch), walk()))
        lineup.add("prototype", run, lambda: scene.differing_labels(proba.reshape(expected.shape), expected))
    if "vigra" not in lineup.skipped:
        task = {"image": "image", "jobs": peers.jobs_as_json(s.jobs), "count": s.planes}

        def check() -> str:
            return "a forest of its own, " + scene.differing_labels(vigra.last(), expected)

        lineup.add("vigra", vigra.run("image_proba", **task), check)
    return lineup.race(
        "volume",
        "3D image to probabilities",
        f"{scene.shape_text(s.plain.shape)} float32, {s.planes} planes, {len(forest.roots)} trees",
        s.pixels / 1e6,
        "Mvox",
        traffic=4.0 * (s.pixels + expected.size),
        flops=s.flops,
    )


def _scratch(s: scene.Scene) -> list[NDArray[np.float32]]:
    return [np.empty_like(s.plain) for _ in range(SCRATCH)]
