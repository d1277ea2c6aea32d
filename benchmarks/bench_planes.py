"""2D: image to feature planes, into memory that is used again."""

from collections.abc import Iterator

import numpy as np

from benchmarks import peers, scene
from benchmarks.measure import Case, Lineup, Size, clock


def measure(size: Size) -> Iterator[Case]:
    s = scene.flat("texture", size)
    out = np.empty((s.planes, *s.image.shape[1:]), np.float32)
    theirs = np.zeros((s.planes, *s.plain.shape), np.float32)
    expected = s.stack()
    lineup = Lineup(size)
    lineup.add("gpuseg", clock(lambda: s.stack(out)), s.path)

    def check() -> str:
        return scene.largest_difference(theirs, expected)

    if lineup.admits("OpenCV", peers.OpenCV.absent()):
        opencv = peers.OpenCV()
        lineup.add("OpenCV", clock(lambda: opencv.planes(s.plain, s.jobs, theirs)), check)
    if lineup.admits("prototype", peers.Prototypes.absent(size.prototypes)):
        prototype, scratch = peers.prototypes().flat, np.empty_like(s.plain)
        plan = prototype.plan2d()
        run = clock(lambda: prototype.stack_numba(s.plain, theirs, scratch, plan=plan))
        lineup.add("prototype", run, check)
    unit = s.plain / np.float32(255)
    lineup.add("scikit-image", clock(lambda: peers.skimage_planes(unit)), lambda: "24 planes of its own")
    yield lineup.race(
        "planes",
        "2D planes",
        f"{scene.shape_text(s.plain.shape)} float32, {s.planes} planes",
        s.pixels / 1e6,
        "Mpx",
        traffic=s.traffic,
        flops=s.flops,
    )
