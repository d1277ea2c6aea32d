"""Objects: probabilities to labels, labels to tables of features, and what an object costs among many."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import cells, object_peers, peers
from benchmarks.cells import Cells
from benchmarks.measure import Case, Lineup, Size, clock
from benchmarks.scene import shape_text
from gpuseg.backends import get_backend
from gpuseg.objects.choice import declared, obstacle
from gpuseg.objects.context import Objects
from gpuseg.objects.measure import measure as table
from gpuseg.objects.segment import segment

MARGIN = 30  # pixels, ilastik's
PART, SMALL_PART = 4, 8  # the side of what slow engines measure, as a part of the whole
SKELETON = ("Branch Count", "Hole Count", "Diameter", "Euclidean Diameter", "Total Length", "Average Length")
SCALING = "components and standard features"
PATIENCE = 10.0  # seconds: there are many races


def measure(size: Size) -> Iterator[Case]:
    size = replace(size, patience=min(size.patience, PATIENCE))
    flat, deep = cells.flat(size.object_side), cells.deep(size.object_cube)
    part, small = (flat.cut(max(size.object_side // n, 64)) for n in (PART, SMALL_PART))
    with peers.Vigra() as vigra:
        yield _components(size, vigra, flat)
        yield _components(size, vigra, deep)
        yield _objects(size, vigra, flat)
        yield _standard(size, vigra, flat)
        yield _standard(size, vigra, deep)
        yield _standard_of_part(size, part)
        yield _neighbourhood(size, vigra, small)
        yield _hull(size, small)
        yield _skeleton(size, vigra, part)
    yield from _scaling(size)


def names(module: str, ndim: int) -> list[str]:
    """Ids of the features that a module declares, less the advanced, for an image of one channel."""
    return [
        key
        for key, row in declared().items()
        if row.formula.__module__ == f"gpuseg.objects.{module}"
        and not row.advanced
        and not any(obstacle(row, ndim, 1))
    ]


def _components(size: Size, vigra: peers.Vigra, made: Cells) -> Case:
    mask = (made.labels > 0).view(np.uint8)
    volume = mask.reshape((-1, *mask.shape[-2:]))
    backend, lineup = get_backend("cpu"), Lineup(size)
    expected, count = backend.components(volume)
    expected = expected.reshape(mask.shape)
    lineup.add("gpuseg", clock(lambda: backend.components(volume)), lambda: f"{count:,} objects")
    found: dict[str, Any] = {}
    libraries = [("cc3d", object_peers.no_cc3d(), object_peers.cc3d_components)]
    if mask.ndim == 2:
        libraries.append(("OpenCV", peers.OpenCV.absent(), object_peers.opencv_components))
    for engine, absent, library in libraries:
        if lineup.admits(engine, absent):
            _add(lineup, engine, library(mask), expected, found)
    if vigra.enters(lineup, "vigra"):
        name = f"mask{mask.ndim}"
        vigra.share(name, mask.shape, np.uint8)[...] = mask
        run = vigra.run("components", mask=name)
        lineup.add("vigra", run, lambda: object_peers.same_objects(vigra.last(), expected))
    return lineup.race(
        "objects",
        f"{mask.ndim}D components",
        f"{shape_text(mask.shape)} mask, {count:,} objects",
        mask.size / 1e6,
        "Mpx" if mask.ndim == 2 else "Mvox",
        traffic=5.0 * mask.size,
    )


def _add(lineup: Lineup, engine: str, task: Any, expected: NDArray[Any], found: dict[str, Any]) -> None:
    """An engine whose labels are compared, once it ran, with those expected."""

    def run() -> None:
        found[engine] = task()

    lineup.add(engine, clock(run), lambda: object_peers.same_objects(found.pop(engine), expected))


def _objects(size: Size, vigra: peers.Vigra, made: Cells) -> Case:
    """Two thresholds, sizes of cores and of objects, numbers without gaps."""
    t, lineup = object_peers.Thresholds(), Lineup(size)

    def ours() -> NDArray[np.int32]:
        limits: dict[str, Any] = {"low": t.low, "high": t.high, "min_size": t.least, "max_size": t.most}
        return segment(made.proba, method="hysteresis", sigma=0, backend="cpu", **limits).labels

    expected = ours()
    found: dict[str, Any] = {}
    lineup.add("gpuseg", clock(ours), lambda: f"{int(expected.max()):,} objects")
    engine = "cc3d + fastremap"
    if lineup.admits(engine, object_peers.no_cc3d()):
        _add(lineup, engine, lambda: object_peers.cc3d_objects(made.proba, t), expected, found)
    if vigra.enters(lineup, "vigra"):
        vigra.share("proba", made.proba.shape)[...] = made.proba
        run = vigra.run("objects", proba="proba", **asdict(t))
        lineup.add("vigra", run, lambda: object_peers.same_objects(vigra.last(), expected))
    return lineup.race(
        "objects",
        "2D probabilities to objects",
        f"{shape_text(made.proba.shape)} float32, hysteresis, sizes {t.least} to {t.most:,}",
        made.proba.size / 1e6,
        "Mpx",
        traffic=8.0 * made.proba.size,
    )


def _standard(size: Size, vigra: peers.Vigra, made: Cells) -> Case:
    """All that is not advanced, with histogram and quantiles."""
    ndim = made.labels.ndim
    features, lineup = names("standard", ndim), Lineup(size)
    lineup.add("gpuseg", clock(lambda: _columns(made, features)))
    lineup.add("gpuseg, as a table", clock(lambda: _table(made, features)), lambda: "gpuseg.measure")
    if vigra.enters(lineup, "vigra"):
        expected = np.stack([_columns(made, [key])[0].ravel() for key in ("count", "mean", "variance")])
        task = _share(vigra, made) | {"names": [declared()[key].ilastik for key in features]}

        def check() -> str:
            differs = object_peers.largest_deviation(vigra.last(), expected)
            return f"size, mean and variance differ by at most {differs} of the largest"

        lineup.add("vigra", vigra.run("region_features", **task), check)
    return _race_features(lineup, f"{ndim}D standard features", made, len(features))


def _standard_of_part(size: Size, made: Cells) -> Case:
    features, lineup = names("standard", 2), Lineup(size)
    lineup.add("gpuseg", clock(lambda: _columns(made, features)))

    def theirs(properties: Sequence[str] = object_peers.COUNTERPARTS) -> Any:
        return object_peers.skimage_table(made.labels, made.image, tuple(properties))

    def check() -> str:
        found = theirs(("label", "intensity_mean"))["intensity_mean"]
        differs = object_peers.largest_deviation(found, _columns(made, ["mean"])[0].ravel())
        return (
            f"{len(object_peers.COUNTERPARTS)} properties, means differ by at most {differs} of the largest"
        )

    lineup.add("scikit-image", clock(theirs), check)
    return _race_features(lineup, "2D standard features, part of the image", made, len(features))


def _neighbourhood(size: Size, vigra: peers.Vigra, made: Cells) -> Case:
    features, lineup = names("neighbourhood", 2), Lineup(size)
    lineup.add("gpuseg", clock(lambda: _columns(made, features, margin=(1, MARGIN, MARGIN))))
    means = [key for key in features if key.startswith("mean")]
    expected = np.stack([m.ravel() for m in _columns(made, means, margin=(1, MARGIN, MARGIN))])
    found: dict[str, Any] = {}

    def run() -> None:
        found["rows"] = object_peers.one_by_one(made.labels, made.image, MARGIN)

    def check(rows: Callable[[], NDArray[Any]]) -> Callable[[], str]:
        return lambda: (
            f"means differ by at most {object_peers.largest_deviation(rows(), expected)} of the largest"
        )

    lineup.add("NumPy, one by one", clock(run), check(lambda: object_peers.means(found["rows"])))
    if vigra.enters(lineup, "vigra, one by one"):
        ilastik = [declared()[key].ilastik.split(" ")[0] for key in features[: len(features) // 2]]
        task = _share(vigra, made, "small") | {"names": ilastik, "margin": MARGIN}
        lineup.add("vigra, one by one", vigra.run("neighbourhoods", **task), check(vigra.last))
    return _race_features(lineup, "neighbourhood features", made, len(features), f", margin {MARGIN}")


def _hull(size: Size, made: Cells) -> Case:
    features, lineup = names("hull", 2), Lineup(size)
    lineup.add("gpuseg", clock(lambda: _columns(made, features)))

    def theirs() -> Any:
        return object_peers.skimage_table(made.labels, None, object_peers.HULL)

    def check() -> str:
        ratio = float(np.mean(theirs()["area_convex"] / _columns(made, ["hull_volume"])[0]))
        return f"area_convex, solidity; around whole pixels, {ratio:.2f} times as large on average"

    lineup.add("scikit-image", clock(theirs), check)
    return _race_features(lineup, "convex hull features", made, len(features))


def _skeleton(size: Size, vigra: peers.Vigra, made: Cells) -> Case:
    features, lineup = names("skeleton", 2), Lineup(size)
    lineup.add("gpuseg", clock(lambda: _columns(made, features)))
    if vigra.enters(lineup, "vigra"):
        expected = np.stack(_columns(made, features[: len(SKELETON)]))
        task = {"labels": _share(vigra, made, "part")["labels"], "names": SKELETON}

        def check() -> str:
            same = np.isclose(vigra.last(), expected, rtol=1e-4).all(axis=0)
            return f"{np.count_nonzero(same):,} of {len(same):,} objects the same"

        lineup.add("vigra", vigra.run("skeleton_features", **task), check)
    return _race_features(lineup, "skeleton features", made, len(features))


def _scaling(size: Size) -> Iterator[Case]:
    """The same cells over and over, in ever larger images: components and standard features of them."""
    square = cells.flat(cells.PITCH * 100)  # 10,000 cells
    features = names("standard", 2)
    for n in (10**k for k in range(3, 7)):
        if n > size.most_objects:
            break
        made = square.cut(round(cells.PITCH * n**0.5)) if n < 10**4 else _tiled(square, n // 10**4)
        few = replace(size, rounds=min(size.rounds, 2 if n == 10**6 else 5))
        lineup = Lineup(few)
        task = partial(_table, made, features, kind="components")
        lineup.add("gpuseg", clock(task))
        found = len(task())
        yield lineup.race(
            "objects",
            f"{SCALING}, {n:,} cells",
            f"{shape_text(made.labels.shape)} labels, {found:,} objects",
            found / 1e3,
            "krow",
        )


def _tiled(square: Cells, copies: int) -> Cells:
    down, across = (copies, 1) if copies < 100 else (copies // 10, 10)
    labels, image = np.tile(square.labels, (down, across)), np.tile(square.image, (down, across))
    return replace(square, labels=labels, image=image)


def _table(made: Cells, features: Sequence[str], **how: Any) -> Any:
    return table(made.labels, made.image, features=features, backend="cpu", **how)


def _columns(made: Cells, features: Sequence[str], **how: Any) -> list[NDArray[Any]]:
    """Features as arrays, from one pass over the pixels."""
    labels, image = (a.reshape((-1, *a.shape[-2:])) for a in (made.labels, made.image))
    rows = [declared()[key] for key in features]
    o = Objects(get_backend("cpu"), labels, made.count, image[None], **how)
    o.request({name for row in rows for name in row.needs})
    return [row.formula(o) for row in rows]


def _share(vigra: peers.Vigra, made: Cells, which: str = "whole") -> dict[str, str]:
    """Names under which vigra finds labels and image."""
    shared = {"labels": f"labels {which} {made.labels.ndim}", "image": f"image {which} {made.labels.ndim}"}
    vigra.share(shared["labels"], made.labels.shape, np.uint32)[...] = made.labels
    vigra.share(shared["image"], made.image.shape)[...] = made.image
    return shared


def _race_features(lineup: Lineup, name: str, made: Cells, features: int, more: str = "") -> Case:
    data = f"{shape_text(made.labels.shape)}, {made.count:,} objects, {features} features{more}"
    return lineup.race("objects", name, data, made.count / 1e3, "krow")
