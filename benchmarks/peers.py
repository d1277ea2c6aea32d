"""The other programs, each driven the way that suits it best, on the recipe that gpuseg follows.

opencv     the filters of SPEC 1 written with `sepFilter2D`, one scale per task in two threads
skimage    its own feature set (24 planes), the one its users take for this job
vigra      filters and forest of ilastik's library, in its own process (see vigra_worker.py)
Prototype  what gpuseg's CPU path was first tried as, if it is beside this checkout
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from benchmarks.machine import CORES, ROOT
from benchmarks.measure import Lineup
from gpuseg.backends import taps
from gpuseg.backends.base import Job
from gpuseg.features.filters import DOG_RATIO, TENSOR_RATIO
from gpuseg.forests.arrays import Forest

Floats = NDArray[np.float32]

PROTOTYPES = ROOT.parent / "shared" / "proto" / "cpu"
SYSTEM_PYTHON = "/usr/bin/python3"
NO_OPENCV = "opencv-python-headless is not installed: pip install 'gpuseg[bench]'"
NO_VIGRA = f"{SYSTEM_PYTHON} has no vigra: apt-get install python3-vigra"
NO_PROTOTYPES = "the prototypes are not beside this checkout"


class OpenCV:
    """2D planes with OpenCV, its own threads switched off: two scales at a time are faster."""

    @staticmethod
    def absent() -> str:
        return "" if find_spec("cv2") else NO_OPENCV

    def __init__(self) -> None:
        import cv2

        cv2.setNumThreads(1)
        self.cv2: Any = cv2
        self.pool = ThreadPoolExecutor(CORES)

    def planes(self, image: Floats, jobs: Sequence[Job], out: Floats) -> None:
        """Fill `out` (planes, y, x) with the planes of `jobs`, the largest scale first."""
        order = sorted(jobs, key=lambda j: j.smooth, reverse=True)
        list(self.pool.map(lambda job: self._scale(image, job, out), order))

    def _scale(self, image: Floats, job: Job, out: Floats) -> None:
        smooth = self._filter(image, job.smooth[0], window=taps.SMOOTH_WINDOW)
        second: tuple[Floats, Floats] | None = None
        for name, k in job.planes:
            if name in ("laplacian_of_gaussian", "hessian_of_gaussian_eigenvalues"):
                s = job.sigma[0]
                second = second or (self._filter(smooth, s, y=2), self._filter(smooth, s, x=2))
                self._of_second(name, smooth, s, second, out[k : k + 2])
            else:
                self._of_first(name, smooth, job.sigma[0], out[k : k + 2])

    def _of_second(self, name: str, image: Floats, s: float, second: Any, out: Floats) -> None:
        yy, xx = second
        if name == "laplacian_of_gaussian":
            self.cv2.add(yy, xx, dst=out[0])
        else:
            self._eigenvalues([yy, self._filter(image, s, y=1, x=1), xx], out)

    def _of_first(self, name: str, image: Floats, s: float, out: Floats) -> None:
        cv2 = self.cv2
        if name == "gaussian_smoothing":
            self._filter(image, s, dst=out[0])
        elif name == "difference_of_gaussians":
            cv2.subtract(self._filter(image, s), self._filter(image, DOG_RATIO * s), dst=out[0])
        elif name == "gaussian_gradient_magnitude":
            cv2.magnitude(self._filter(image, s, y=1), self._filter(image, s, x=1), magnitude=out[0])
        else:
            y = self._filter(image, TENSOR_RATIO * s, y=1)
            x = self._filter(image, TENSOR_RATIO * s, x=1)
            pairs = (y, y), (y, x), (x, x)
            self._eigenvalues([self._filter(cv2.multiply(a, b), s) for a, b in pairs], out)

    def _filter(
        self,
        image: Floats,
        sigma: float,
        y: int = 0,
        x: int = 0,
        window: float = taps.FILTER_WINDOW,
        dst: Floats | None = None,
    ) -> Floats:
        ky, kx = _kernel(sigma, y, window), _kernel(sigma, x, window)
        border = self.cv2.BORDER_REFLECT_101
        result: Floats = self.cv2.sepFilter2D(image, self.cv2.CV_32F, kx, ky, dst=dst, borderType=border)
        return result

    def _eigenvalues(self, upper: Sequence[Floats], out: Floats) -> None:
        cv2, (yy, xy, xx) = self.cv2, upper
        gap = cv2.magnitude(cv2.subtract(yy, xx), cv2.add(xy, xy))
        total = cv2.add(yy, xx)
        cv2.addWeighted(total, 0.5, gap, 0.5, 0, dst=out[0])
        cv2.addWeighted(total, 0.5, gap, -0.5, 0, dst=out[1])


def skimage_planes(image: Floats) -> Floats:
    """scikit-image's multi-scale features of an image of 0..1: (*shape, 24) in 2D."""
    from skimage.feature import multiscale_basic_features

    features: Callable[..., Floats] = multiscale_basic_features
    return features(image, texture=True, sigma_min=0.5, sigma_max=16, workers=CORES)


class Vigra:
    """vigra in a process of its own, started when first needed.

    Arrays go through files in memory; times come from inside, so the way there and back costs nothing.
    """

    def __init__(self) -> None:
        shm = Path("/dev/shm")
        self.folder = tempfile.TemporaryDirectory(dir=shm if shm.is_dir() else None)
        self.process: subprocess.Popen[str] | None = None

    @staticmethod
    @cache
    def absent() -> str:
        if not Path(SYSTEM_PYTHON).exists():
            return NO_VIGRA
        found = subprocess.run([SYSTEM_PYTHON, "-c", "import vigra"], capture_output=True, check=False)
        return NO_VIGRA if found.returncode else ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process is not None:
            self.process.communicate("")
        self.folder.cleanup()

    def join(self, lineup: Lineup, rows: Floats, labels: NDArray[Any], trees: int, engine: str) -> bool:
        """Train on the rows and be ready to race as `engine`; False where there is no vigra."""
        if not self.enters(lineup, engine):
            return False
        self.share("rows", rows.shape)[...] = rows
        self.share("labels", labels.shape)[...] = labels
        self.do("train", rows="rows", labels="labels", trees=trees)
        return True

    def enters(self, lineup: Lineup, engine: str) -> bool:
        """Whether there is a vigra to race as `engine`; its work is then counted as ours."""
        if not lineup.admits(engine, self.absent()):
            return False
        lineup.others.append(self._started().pid)
        return True

    def share(self, name: str, shape: Sequence[int], dtype: Any = np.float32) -> NDArray[Any]:
        """An array that both processes see; one name is one shape."""
        path = Path(self.folder.name, f"{name}.npy")
        return np.asarray(np.lib.format.open_memmap(path, "w+", dtype, tuple(shape)))

    def last(self) -> Floats:
        """What the last task came to."""
        self.do("save", name="last")
        result: Floats = np.load(Path(self.folder.name, "last.npy"))
        return result

    def do(self, task: str, **arguments: Any) -> float:
        """Run a function of the worker; seconds it took there."""
        process = self._started()
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps({"task": task, **arguments}) + "\n")
        answer = process.stdout.readline()
        if not answer:
            raise RuntimeError(f"vigra's process ended with code {process.wait()} during {task!r}")
        return float(json.loads(answer))

    def _started(self) -> "subprocess.Popen[str]":
        if self.process is None:
            command = [SYSTEM_PYTHON, str(ROOT / "benchmarks" / "vigra_worker.py"), self.folder.name]
            self.process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
            )
        return self.process

    def run(self, task: str, **arguments: Any) -> Callable[[], float]:
        """`do` as something that can be raced."""
        return lambda: self.do(task, **arguments)


def jobs_as_json(jobs: Sequence[Job]) -> list[dict[str, Any]]:
    return [{"smooth": j.smooth[0], "sigma": j.sigma[0], "planes": j.planes} for j in jobs]


class Prototypes:
    """The laboratory versions: imported from where they lie, compiled on first use."""

    def __init__(self) -> None:
        sys.path.append(str(PROTOTYPES))
        self.fused, self.mask = import_module("proto_fused"), import_module("proto_mask")
        self.flat, self.deep = import_module("proto_numba"), import_module("proto_numba3d")
        self.walk = self.mask.make_forest_packed(4)  # 256 pixels at a time

    @staticmethod
    def absent(wanted: bool) -> str:
        return "left out: they take a minute to compile" if not wanted else _no_prototypes()

    def pack(self, forest: Forest) -> Any:
        return self.mask.pack((forest.feature, forest.threshold, forest.left, forest.roots, forest.leaves))

    def forest(self, planes: Floats, forest: Forest, out: Floats) -> Callable[[], Any]:
        """The masked walk over (planes, pixels) into `out` (pixels, classes)."""
        packed = self.pack(forest)
        return lambda: self.walk(planes, *packed, out, 4096)

    def image(self, image: Floats, forest: Forest, out: Floats) -> Callable[[], Any]:
        """2D image to probabilities without ever storing the planes."""
        pipeline, packed = self.fused.make_pipeline(self.walk.walk), self.pack(forest)
        scratch = np.empty((7, *image.shape), np.float32)
        return lambda: pipeline(image, packed, out, scratch)


@cache
def prototypes() -> Prototypes:
    """One of them for all sections: nothing is compiled twice."""
    return Prototypes()


def _no_prototypes() -> str:
    return "" if PROTOTYPES.is_dir() else NO_PROTOTYPES


def tiled(planes: Floats, tile: Sequence[int]) -> Floats:
    """(planes, pixels), pixels in the order of small blocks: neighbours go down the trees together."""
    shape = [n for size, t in zip(planes.shape[1:], tile, strict=True) for n in (size // t, t)]
    spatial = range(1, 1 + len(shape))
    order = [0, *spatial[::2], *spatial[1::2]]
    return np.ascontiguousarray(planes.reshape(-1, *shape).transpose(order)).reshape(len(planes), -1)


def _kernel(sigma: float, order: int, window: float) -> Floats:
    right = taps.half(sigma, order, window)
    return np.concatenate([(-1) ** order * right[:0:-1], right])
