# mypy: ignore-errors
"""The other end of `peers.Vigra`: runs under the interpreter that has vigra, times itself.

Reads one JSON object per line, {"task": function, **arguments}; answers with seconds. Arrays are NPY files
in the folder given as argument. Two threads: one scale per task for the filters, half of the trees per
task for training, a block of pixels per task for prediction, which is a little faster than ilastik's way
of half of the trees per thread.
"""

import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import vigra

FOLDER = Path(sys.argv[1])
POOL = ThreadPoolExecutor(2)
SMOOTH_WINDOW, FILTER_WINDOW = 3.5, 2.0
BLOCK = 4096  # pixels
FOREST = []  # two halves
LAST = []  # what the last task came to
ARRAYS = {}


def array(name):
    """The array called `name`, mapped once: both processes see each other's writes."""
    if name not in ARRAYS:
        ARRAYS[name] = np.asarray(np.load(FOLDER / f"{name}.npy", mmap_mode="r+"))
    return ARRAYS[name]


def train(rows, labels, trees):
    x, y = array(rows), array(labels).astype(np.uint32).reshape(-1, 1)
    FOREST[:] = (vigra.learning.RandomForest(n) for n in (trees // 2, trees - trees // 2))
    return timed(lambda: list(POOL.map(lambda half: half.learnRF(x, y), FOREST)))


def proba(planes):
    """Probabilities of every pixel of `planes` (planes, *shape)."""
    x = array(planes)
    return timed(lambda: predict(x.reshape(len(x), -1).T))


def row_proba(pixels):
    """Probabilities of `pixels` (n, planes)."""
    return timed(lambda: predict(array(pixels)))


def image_proba(image, jobs, count):
    """Filters, then forest."""
    values = array(image)
    stack = scratch(count, values.shape)
    return timed(lambda: predict(filters(values, jobs, stack).reshape(count, -1).T))


def planes(image, jobs, count):
    """The planes of `jobs` into memory that is used again."""
    values = array(image)
    stack = scratch(count, values.shape)
    return timed(lambda: filters(values, jobs, stack))


def save(name):
    """Write what the last task came to."""
    return timed(lambda: np.save(FOLDER / f"{name}.npy", LAST[0]))


def timed(task):
    start = time.perf_counter()
    result = task()
    seconds = time.perf_counter() - start
    LAST[:] = [result]
    return seconds


def scratch(count, shape):
    if (count, *shape) not in ARRAYS:
        ARRAYS[(count, *shape)] = np.zeros((count, *shape), np.float32)
    return ARRAYS[(count, *shape)]


def predict(rows):
    """Probabilities (n, classes) of rows (n, planes) in any memory order: blocks that fit the cache."""
    trees = [half.treeCount() for half in FOREST]
    out = np.empty((len(rows), FOREST[0].labelCount()), np.float32)

    def block(i):
        part = np.ascontiguousarray(rows[i : i + BLOCK])
        first, second = (half.predictProbabilities(part) for half in FOREST)
        out[i : i + BLOCK] = (trees[0] * first + trees[1] * second) / sum(trees)

    list(POOL.map(block, range(0, len(rows), BLOCK)))
    return out


def filters(image, jobs, out):
    order = sorted(jobs, key=lambda job: job["smooth"], reverse=True)
    list(POOL.map(lambda job: scale(image, job, out), order))
    return out


def scale(image, job, out):
    smooth = vigra.filters.gaussianSmoothing(image, job["smooth"], window_size=SMOOTH_WINDOW)
    for name, first in job["planes"]:
        result = apply(name, smooth, job["sigma"])
        if name.endswith("eigenvalues"):
            out[first : first + image.ndim] = np.moveaxis(np.asarray(result), -1, 0)
        else:
            out[first] = result


def apply(name, image, s):
    f = vigra.filters
    w = {"window_size": FILTER_WINDOW}
    if name == "gaussian_smoothing":
        return f.gaussianSmoothing(image, s, **w)
    if name == "laplacian_of_gaussian":
        return f.laplacianOfGaussian(image, s, **w)
    if name == "gaussian_gradient_magnitude":
        return f.gaussianGradientMagnitude(image, s, **w)
    if name == "difference_of_gaussians":
        return f.gaussianSmoothing(image, s, **w) - f.gaussianSmoothing(image, 0.66 * s, **w)
    if name == "structure_tensor_eigenvalues":
        return f.structureTensorEigenvalues(image, 0.5 * s, s, **w)
    return f.hessianOfGaussianEigenvalues(image, s, **w)


def components(mask):
    """Connected components, neighbours sharing a face."""
    pixels = tagged(mask)
    return timed(lambda: vigra.analysis.labelMultiArrayWithBackground(pixels))


def objects(proba, low, high, least, most):
    """What reaches `low`, holds a core of the right size that reaches `high`, and has the right size."""
    values = tagged(proba)

    def work():
        cores = vigra.analysis.labelMultiArrayWithBackground((values >= high).view(np.uint8))
        core = right_size(cores, least, most)[cores]
        labels = vigra.analysis.labelMultiArrayWithBackground((values >= low).view(np.uint8))
        kept = right_size(labels, least, most)
        held = np.zeros_like(kept)
        held[labels[core]] = True
        kept &= held
        return (np.cumsum(kept) * kept).astype(np.uint32)[labels]

    return timed(work)


def right_size(labels, least, most):
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    return (sizes >= least) & (sizes <= most)


def region_features(labels, image, names):
    """Region accumulators; what is kept are count, mean and variance (3, objects)."""
    pixels, values = tagged(labels), tagged(image)
    extract = vigra.analysis.extractRegionFeatures
    seconds = timed(lambda: extract(values, pixels, features=names, ignoreLabel=0))
    LAST[:] = [np.stack([LAST[0][name][1:].ravel() for name in ("Count", "Mean", "Variance")])]
    return seconds


def neighbourhoods(labels, image, names, margin):
    """Rings one after the other, as ilastik does; what is kept are means (ring, ring and object; objects)."""
    pixels, values = tagged(labels), tagged(image)
    boxes = vigra.analysis.extractRegionFeatures(
        values, pixels, features=["Coord<Minimum>", "Coord<Maximum>"], ignoreLabel=0
    )
    low, high = (boxes[name][1:].astype(int) for name in ("Coord<Minimum>", "Coord<Maximum>"))

    def one(i):
        y, x = (slice(max(low[i, k] - margin, 0), high[i, k] + margin + 1) for k in (0, 1))
        mine, around = pixels[y, x] == i + 1, values[y, x]
        both = vigra.filters.distanceTransform(mine.astype(np.float32), background=True) < margin
        return [
            vigra.analysis.extractRegionFeatures(
                around, region.astype(np.uint32), features=names, ignoreLabel=0
            )
            for region in (both ^ mine, both)
        ]

    seconds = timed(lambda: [[found["Mean"][1] for found in one(i)] for i in range(len(low))])
    LAST[:] = [np.transpose(LAST[0])]
    return seconds


def skeleton_features(labels, names):
    """Skeletons of all objects; what is kept are the features named (features, objects)."""
    pixels = tagged(labels)
    seconds = timed(lambda: vigra.analysis.extractSkeletonFeatures(pixels))
    LAST[:] = [np.stack([LAST[0][name][1:] for name in names])]
    return seconds


def tagged(name):
    values = array(name)
    return vigra.taggedView(values, "zyx"[-values.ndim :])


PIXELS = (train, proba, row_proba, image_proba, planes)
OBJECTS = (components, objects, region_features, neighbourhoods, skeleton_features)
TASKS = {task.__name__: task for task in (*PIXELS, *OBJECTS, save)}

for line in sys.stdin:
    request = json.loads(line)
    print(json.dumps(TASKS[request.pop("task")](**request)), flush=True)
