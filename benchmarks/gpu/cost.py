"""What each kernel cannot do without: bytes and operations per call, by formula.

Counted once per pixel of the answer: halos, and pixels that a tile computes for its neighbour, are not work.
An operation is a product or a sum of two taps: 2 per tap, as a fused multiply-add counts 2 in the limit.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.gpu.rows import Cost
from benchmarks.gpu.stage import Stage
from gpuseg.backends.base import Grown, Growth, Job
from gpuseg.backends.taps import FILTER_WINDOW, SMOOTH_WINDOW, radius
from gpuseg.features.filters import DOG_RATIO, FILTERS, TENSOR_RATIO

FLOAT = 4  # bytes; shared memory answers 4 bytes a lane even where a byte is asked for
NODE = {"Coded": 4, "Narrow": 8, "Wide": 16}  # bytes, by packing of walk.cuh
VISIT = 11  # instructions a node
STEP = 3  # instructions a step of the search for a code, and one number read
SEARCH = 8  # steps
SLOT = 2.0  # operations of a fused multiply-add, whose place an instruction takes
DOUBLE = 90  # operations in float64 of the eigenvalues of a voxel, two places each on cards for computing
RUN = 8  # neighbours that a thread of smooth.cu answers for
TENSOR = "structure_tensor_eigenvalues"
FACES = {False: 3 / 32, True: 1 / 4 + 3 / 4 * (1 / 4 + 3 / 4 / 16)}  # of pixels of a tile, in volumes or not
SPAN = 4096  # pixels of a count of roots


def of(kernel: str, stage: Stage, met: float) -> Cost | None:
    """The cost of all launches of a kernel in one call for the whole image; None where no formula is known.

    met: nodes that a pixel meets in all trees, by `visits`.
    """
    name, _, packing = kernel.rstrip(">").partition("<")
    if name in FILTERING:
        return FILTERING[name](stage)
    return WALKING[name](stage, packing, met) if name in WALKING else None


def smooth_across(stage: Stage) -> Cost:
    """All axes but x: one pass each, from device memory and back."""
    return _passes(stage, lambda job: job.smooth[:-1])


def smooth_along(stage: Stage) -> Cost:
    """x, the last axis."""
    return _passes(stage, lambda job: job.smooth[-1:])


def filters2d(stage: Stage) -> Cost:
    """All planes of a scale from its smoothed plane, through shared memory."""
    return _filters(stage, lambda job: _lines(job) + _tensor(job), lambda name: True)


def filters3d(stage: Stage) -> Cost:
    """All planes of a scale but the tensor's."""
    return _filters(stage, _lines, lambda name: name != TENSOR)


def tensor3d(stage: Stage) -> Cost:
    """The tensor's planes."""
    return _filters(stage, _tensor, lambda name: name == TENSOR)


def eigenvalues2(stage: Stage) -> Cost:
    """Three planes read, two written."""
    return Cost(bytes=FLOAT * 5.0 * stage.scene.pixels)


def eigenvalues3(stage: Stage) -> Cost:
    """Six planes read, three written."""
    return Cost(bytes=FLOAT * 9.0 * stage.scene.pixels, operations=_eigen(3) * stage.scene.pixels)


def walk_planes(stage: Stage, packing: str, met: float) -> Cost:
    """Every plane that a tree tests read once, probabilities written, and the walk."""
    stored = FLOAT * (_tested(stage) + stage.forest.leaves.shape[1])
    return Cost(bytes=stored * stage.scene.pixels) + _walk(stage, packing, met)


def classify2d(stage: Stage, packing: str, met: float) -> Cost:
    """Smoothed planes read, probabilities written; filters and walk in shared memory."""
    stored = FLOAT * (len(stage.scene.jobs) + stage.forest.leaves.shape[1]) * stage.scene.pixels
    return replace(filters2d(stage), bytes=stored) + _walk(stage, packing, met)


def likeliest(stage: Stage) -> Cost:
    """Probabilities read, a byte written."""
    return Cost(bytes=(FLOAT * stage.forest.leaves.shape[1] + 1.0) * stage.scene.pixels)


def doubt(stage: Stage) -> Cost:
    """Probabilities read, a number written."""
    return Cost(bytes=FLOAT * (stage.forest.leaves.shape[1] + 1.0) * stage.scene.pixels)


def stretch8(stage: Stage) -> Cost:
    """Every probability read, a byte written for it."""
    return Cost(bytes=(FLOAT + 1.0) * stage.forest.leaves.shape[1] * stage.scene.pixels)


def stretch16(stage: Stage) -> Cost:
    """Every probability read, two bytes written for it."""
    return Cost(bytes=(FLOAT + 2.0) * stage.forest.leaves.shape[1] * stage.scene.pixels)


FILTERING: dict[str, Callable[[Stage], Cost]] = {
    f.__name__: f
    for f in (
        *(smooth_across, smooth_along, filters2d, filters3d, tensor3d, eigenvalues2, eigenvalues3),
        *(likeliest, doubt, stretch8, stretch16),
    )
}
WALKING: dict[str, Callable[[Stage, str, float], Cost]] = {f.__name__: f for f in (walk_planes, classify2d)}


def grow(grown: Grown, how: Growth) -> Cost:
    """A code read and a count raised for every row of a node that is split and every feature tried there."""
    rows = grown.counts.sum(1, dtype=np.int64)
    tried = float(rows[grown.feature >= 0].sum()) * how.tried
    return Cost(bytes=tried, shared=2 * FLOAT * tried)


def gather_trees(grown: Grown) -> Cost:
    """Every node read and written: feature, child and counts of 4 B, code of 1."""
    nodes, classes = grown.counts.shape
    return Cost(bytes=2.0 * nodes * (2 * FLOAT + 1 + FLOAT * classes))


def of_components(kernel: str, image: NDArray[Any]) -> Cost:
    """What every pixel costs: its value and its parent's place, or its label. Joining comes on top."""
    numbers = {
        "join_in_tiles": image.itemsize + FLOAT,  # value read, parent written
        "join_tiles": FACES[image.shape[0] > 1] * image.itemsize,  # values at faces read
        "find_roots": 2 * FLOAT,  # parent read, root written
        "sum_up": 2 * FLOAT / SPAN,  # a count read, a sum written
        "number_roots": FLOAT,  # root read
        "spread_numbers": 2 * FLOAT,  # root read, label written
    }
    return Cost(bytes=float(numbers[kernel.partition("<")[0]]) * image.size)


def of_flood(kernel: str, pixels: int, within: int) -> Cost:
    """What pixels cost, and those within the limit. Heaps and neighbours, read from caches, come on top."""
    numbers = {
        "prepare_flood": (18, 0),  # cost and seed read; key, label and two bytes written
        "count_basins": (FLOAT, FLOAT),  # basin read, label where there is one
        "line_up_seeds": (FLOAT, FLOAT),
        "grow_basins": (0, 41),  # key and label twice, who; entry, 8 B, and place written and read
        "settle_shores": (2 * FLOAT, 0),  # key and label read
    }
    each, more = numbers[kernel]
    return Cost(bytes=float(each) * pixels + float(more) * within)


def of_regions(kernel: str, pixels: int, channels: int) -> Cost:
    """Labels read, and values unless it is about shape. Atomics on sums of objects come on top."""
    numbers = 1 if kernel in ("region_whole", "region_central") else 1 + channels
    return Cost(bytes=float(FLOAT) * numbers * pixels)


def of_rings(pixels: int, channels: int, compared: int) -> Cost:
    """Labels and values read once, however many crops they are in; a sum and a comparison for each number."""
    return Cost(bytes=float(FLOAT) * (1 + channels) * pixels, operations=SLOT * 2 * compared)


def _passes(stage: Stage, axes: Callable[[Job], Iterable[float]]) -> Cost:
    """Per scale and axis 8 B a pixel, 2 operations a tap; a thread loads 2 samples a tap for 8 answers."""
    radii = [radius(sigma, SMOOTH_WINDOW) for job in stage.scene.jobs for sigma in axes(job)]
    pixels = stage.scene.pixels
    return Cost(
        bytes=2 * FLOAT * pixels * len(radii),
        operations=2.0 * pixels * sum(2 * r + 1 for r in radii),
        shared=FLOAT * pixels * sum(2 + 2 * r / RUN for r in radii),
    )


def _filters(stage: Stage, operations: Callable[[Job], float], chosen: Callable[[str], bool]) -> Cost:
    bytes_, work, shared = 0.0, 0.0, 0.0
    for job in stage.scene.jobs:
        planes = [FILTERS[name].planes(len(job.sigma)) for name, _ in job.planes if chosen(name)]
        if planes:
            bytes_ += FLOAT * (1 + sum(planes))
            work += operations(job)
            shared += FLOAT * _exchanged(job, chosen)
    pixels = stage.scene.pixels
    return Cost(bytes_ * pixels, work * pixels, shared * pixels)


def _taps(job: Job, ratio: float) -> int:
    return 2 * radius(ratio * job.sigma[-1], FILTER_WINDOW) + 1


def _lines(job: Job) -> float:
    """Operations of the filters but the tensor: derivatives up to the second order, axis by axis, shared."""
    n = len(job.sigma)
    if len(job.planes) == 1:
        return 2.0 * n * _taps(job, 1.0)
    derivatives = sum((m + 1) * (m + 2) // 2 for m in range(1, n + 1))
    return 2.0 * (_taps(job, 1.0) * derivatives + _taps(job, DOG_RATIO) * n) + _eigen(n)


def _tensor(job: Job) -> float:
    """Operations of the tensor: the gradient, then every product of two of its parts averaged."""
    n = len(job.sigma)
    if all(name != TENSOR for name, _ in job.planes):
        return 0.0
    gradient = sum(m + 1 for m in range(1, n)) + n
    averages = n * n * (n + 1) // 2
    return 2.0 * (_taps(job, TENSOR_RATIO) * gradient + _taps(job, 1.0) * averages) + _eigen(n)


def _eigen(n: int) -> float:
    """Operations for the eigenvalues: of 2 x 2 matrices next to nothing."""
    return SLOT * 2 * DOUBLE if n == 3 else 0.0


def _exchanged(job: Job, chosen: Callable[[str], bool]) -> float:
    """Numbers through shared memory, or from lane to lane, per pixel, as the kernels are written.

    2D: tile 1 in and 2 out, 4 lines in, 5 + 5 + 5 + 3 out; tensor: 4.5 out, 3 in, 6 out, 3 in, 15 out.
    3D: what filters3d.cu says.
    """
    lines, tensor = (25.0, 31.5) if len(job.sigma) == 2 else (38.0, 85.0)
    if len(job.planes) == 1:
        return 12.0
    names = [name for name, _ in job.planes if chosen(name)]
    return tensor * (TENSOR in names) + lines * (names != [TENSOR])


def _walk(stage: Stage, packing: str, met: float) -> Cost:
    """A node and a value for each visit, a sum for each tree; before, codes found for the planes."""
    steps = SEARCH * _tested(stage) if packing == "Coded" else 0
    numbers = (NODE[packing] + FLOAT) * met + 2 * FLOAT * len(stage.forest.roots) + FLOAT * steps
    pixels = stage.scene.pixels
    return Cost(operations=SLOT * (VISIT * met + STEP * steps) * pixels, shared=numbers * pixels)


def _tested(stage: Stage) -> int:
    """Planes that some tree asks for."""
    return len(np.unique(stage.forest.feature[stage.forest.feature >= 0]))
