"""2D: image to probabilities, both in memory."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import images, peers, scene
from benchmarks.measure import Case, Lineup, Size, clock
from gpuseg.features.stack import probabilities


def measure(size: Size) -> Iterator[Case]:
    s = scene.flat("texture", size)
    forest, _ = scene.forests(s.rows(), s.labels, size.trees)
    expected = probabilities(s.backend, s.image, s.selection, forest)
    lineup = Lineup(size)
    lineup.add("gpuseg", clock(lambda: probabilities(s.backend, s.image, s.selection, forest)))
    if lineup.admits("prototype", peers.Prototypes.absent(size.prototypes)):
        out = np.empty((*s.plain.shape, images.CLASSES), np.float32)
        run = clock(peers.prototypes().image(s.plain, forest, out))
        lineup.add("prototype", run, lambda: scene.differing_labels(out, expected))
    _scikit(lineup, s, size)
    with peers.Vigra() as vigra:
        _opencv_vigra(lineup, s, size, vigra, expected)
        yield lineup.race(
            "image",
            "2D image to probabilities",
            f"{scene.shape_text(s.plain.shape)} float32, {s.planes} planes, {size.trees} trees",
            s.pixels / 1e6,
            "Mpx",
            traffic=4.0 * (s.pixels + expected.size),
            flops=s.flops,
        )


def _scikit(lineup: Lineup, s: scene.Scene, size: Size) -> None:
    """scikit-image's features, scikit-learn's forest on them."""
    unit = s.plain / np.float32(255)
    planes = peers.skimage_planes(unit)
    forest = scene.sklearn_forest(size.trees, planes.shape[-1])
    forest.fit(planes[tuple(s.where.T[1:])], s.labels)

    def run() -> Any:
        rows = peers.skimage_planes(unit)
        return forest.predict_proba(rows.reshape(-1, rows.shape[-1]))

    lineup.add("scikit-image + scikit-learn", clock(run), lambda: "24 planes of its own")


def _opencv_vigra(
    lineup: Lineup, s: scene.Scene, size: Size, vigra: peers.Vigra, expected: NDArray[Any]
) -> None:
    """OpenCV's filters write where vigra's forest reads; the two times are added."""
    engine = "OpenCV + vigra"
    if not lineup.admits(engine, peers.OpenCV.absent()):
        return
    if not vigra.join(lineup, s.rows(), s.labels, size.trees, engine):
        return
    opencv, planes = peers.OpenCV(), vigra.share("planes", (s.planes, *s.plain.shape))
    filters = clock(lambda: opencv.planes(s.plain, s.jobs, planes))
    forest = vigra.run("proba", planes="planes")

    def check() -> str:
        return "a forest of its own, " + scene.differing_labels(vigra.last(), expected)

    lineup.add(engine, lambda: filters() + forest(), check)
