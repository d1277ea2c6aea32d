"""cuCIM's features with nvForest's or cuML's forest on them: what people do on a card today."""

from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np

from benchmarks import scene
from benchmarks.gpu import stage
from benchmarks.gpu.clock import wall_seconds
from benchmarks.gpu.rows import Row, Skip
from benchmarks.gpu.size import Size
from gpuseg.backends.base import Backend

CASE = "2D image to probabilities, texture"
SIGMAS = 12  # four planes each: 48, where gpuseg has 49
ROUNDS = 3  # they take their time
ABSENT = "{} is not importable: carry the bundle that tools/gpu_check.sh tells of"


def measure(cupy: Any, backend: Backend, size: Size) -> Iterator[Row | Skip]:
    """Features, then each forest on the same rows; by the host's clock, for they bring their streams."""
    if find_spec("cucim") is None:
        yield Skip("peers", CASE, "cuCIM + nvForest", ABSENT.format("cuCIM"))
        yield Skip("peers", CASE, "cuCIM + cuML", ABSENT.format("cuCIM"))
        return
    s = stage.flat(cupy, backend, "texture", size.side, size)
    unit = s.image[0, 0] / np.float32(255)
    rows = _planes(unit)
    planes = rows.shape[-1]
    where = tuple(s.scene.where.T[1:])
    data = f"{scene.shape_text(s.scene.plain.shape)} float32, {planes} planes, {size.trees} trees"
    painted = cupy.asnumpy(rows[where])
    target = np.unique(s.scene.labels, return_inverse=True)[1]
    for engine, (package, forest) in FORESTS.items():
        if find_spec(package) is None:
            yield Skip("peers", CASE, engine, ABSENT.format(package))
            continue
        proba = forest(cupy, painted, s.scene.labels, size.trees)
        right = cupy.asnumpy(proba(rows[where])).argmax(1) == target

        def run(proba: Callable[[Any], Any] = proba) -> Any:
            stack = _planes(unit)
            return proba(stack.reshape(-1, planes))

        run()
        note = f"planes of its own; {right.mean():.1%} of the labelled pixels right"
        seconds = wall_seconds(cupy, run, ROUNDS)
        yield Row("peers", CASE, data, seconds, engine, s.scene.pixels / 1e6, "Mpx", note=note)


def _planes(unit: Any) -> Any:
    features = import_module("cucim.skimage.feature").multiscale_basic_features
    return features(unit, texture=True, sigma_min=0.5, sigma_max=16, num_sigma=SIGMAS)


def _nvforest(cupy: Any, rows: Any, labels: Any, trees: int) -> Callable[[Any], Any]:
    theirs = scene.sklearn_forest(trees, rows.shape[1]).fit(rows, labels)
    load = import_module("nvforest").load_from_sklearn
    forest = load(theirs, device="gpu", layout="breadth_first", precision="single")
    return lambda pixels: forest.predict_proba(cupy.ascontiguousarray(pixels))


def _cuml(cupy: Any, rows: Any, labels: Any, trees: int) -> Callable[[Any], Any]:
    if find_spec("slim_cuml"):
        import_module("slim_cuml")  # the bundle's stand-ins for libraries that the forest does not call
    kind = import_module("cuml.ensemble.randomforestclassifier").RandomForestClassifier
    forest = kind(n_estimators=trees, random_state=0)
    forest.fit(cupy.asarray(rows), cupy.asarray(labels.astype(np.int32)))
    return lambda pixels: forest.predict_proba(cupy.ascontiguousarray(pixels))


FORESTS: dict[str, tuple[str, Callable[..., Callable[[Any], Any]]]] = {
    "cuCIM + nvForest": ("nvforest", _nvforest),
    "cuCIM + cuML": ("cuml", _cuml),
}
