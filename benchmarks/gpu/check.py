"""Answers before times: what the card computed, against the CPU on a few places of the same image."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.gpu.stage import Stage
from gpuseg.backends import get_backend
from gpuseg.backends.base import Array, Backend
from gpuseg.backends.cpu import ReferenceBackend
from gpuseg.features.stack import formulas
from gpuseg.tiles import Region, Tile

PLACE = {"2D": (1, 64, 64), "3D": (8, 16, 16)}  # pixels of a place that is looked at
ROUNDING = 2e-6  # of the largest value: float32 against formulas in float64
NEAR = {"2D": 1e-5, "3D": 1e-4}  # planes of a 0..255 image: card against CPU
ROWS = 4  # of each slice whose eigenvalues are looked at
SUMS = 1e-6  # rounding of a mean over trees
ODD = 1e-4  # share of pixels whose probabilities may differ: those with a feature at a threshold


class WrongAnswer(RuntimeError):
    """The card computed something else; its time is worth nothing."""


@dataclass(frozen=True, slots=True)
class Part:
    """A place of the image with the halo that its features see."""

    core: Region
    inside: Region
    pixels: NDArray[np.float32]


def planes(stage: Stage, found: Array) -> str:
    """How close the planes are to the CPU's, and in 2D to the formulas in float64; or WrongAnswer."""
    equal, largest, pixels = True, 0.0, 0
    for part in _parts(stage):
        got = stage.backend.to_numpy(found[(slice(None), *part.core)])
        expected = _cpu_planes(stage, part)
        equal &= bool((got == expected).all())
        largest = max(largest, float(np.abs(got - expected).max()))
        pixels += got[0].size
        if stage.plain == "2D":
            _against_formulas(stage, part, got)
    if not largest <= NEAR[stage.plain]:  # NaN is not
        raise WrongAnswer(f"planes differ from the CPU's by {largest:.2g}, at most {NEAR[stage.plain]:g}")
    return f"equal to the CPU's bits on {pixels} pixels" if equal else f"within {largest:.1g} of the CPU's"


def proba(stage: Stage, found: Array) -> str:
    """How many pixels have other probabilities than on the CPU; or WrongAnswer."""
    different = pixels = 0
    for part in _parts(stage):
        got = stage.backend.to_numpy(found[part.core])
        expected = get_backend("cpu").forest_proba(_cpu_planes(stage, part), stage.forest)
        different += int((np.abs(got - expected) > SUMS).any(-1).sum())
        pixels += got[..., 0].size
    if different > ODD * pixels:
        raise WrongAnswer(f"{different} of {pixels} pixels have other probabilities than on the CPU")
    return f"{different} of {pixels} pixels differ from the CPU's"


def eigenvalues(stage: Stage, upper: Sequence[Array], found: Sequence[Array]) -> str:
    """How close eigenvalues of matrices are to LAPACK's, on a few rows; or WrongAnswer."""
    few = [stage.backend.to_numpy(part[..., :ROWS, :]) for part in upper]
    expected = ReferenceBackend().eigvals_sym(few)
    got = [stage.backend.to_numpy(part[..., :ROWS, :]) for part in found]
    largest = max(float(np.abs(a - e).max()) for a, e in zip(got, expected, strict=True))
    if not largest <= 1e-3:
        raise WrongAnswer(f"eigenvalues differ from LAPACK's by {largest:.2g}")
    return f"within {largest:.1g} of LAPACK's"


def answers(stage: Stage, given: Array, found: Sequence[Array]) -> str:
    """That classes, doubt and integers of a few rows of probabilities are the CPU's; or WrongAnswer."""
    few = stage.backend.to_numpy(given[:, :ROWS])
    for i, (got, expected) in enumerate(zip(found, made_of(get_backend("cpu"), few), strict=True)):
        if not np.array_equal(stage.backend.to_numpy(got[:, :ROWS]), expected):
            raise WrongAnswer(f"answer {i} made of probabilities is not the CPU's")
    return "equal to the CPU's bits"


def made_of(b: Backend, proba: Array) -> list[Array]:
    """What results are made of probabilities."""
    return [b.likeliest(proba), b.doubt(proba), b.integers(proba, "uint8"), b.integers(proba, "uint16")]


def _cpu_planes(stage: Stage, part: Part) -> NDArray[np.float32]:
    planes = get_backend("cpu").bank(part.pixels, stage.scene.jobs, part.inside)
    if planes is None:
        raise WrongAnswer("the CPU has no fused bank for these features")
    return np.asarray(planes)


def _against_formulas(stage: Stage, part: Part, got: NDArray[np.float32]) -> None:
    exact = np.empty(got.shape)
    formulas(ReferenceBackend(), part.pixels.astype(np.float64), stage.scene.jobs, part.inside, exact)
    for k, (a, e) in enumerate(zip(got, exact, strict=True)):
        most = ROUNDING * max(255.0, float(np.abs(e).max()))
        if not np.abs(a - e).max() <= most:
            raise WrongAnswer(f"plane {k} differs from its formula by {np.abs(a - e).max():.2g}")


def _parts(stage: Stage) -> Iterator[Part]:
    """First corner, middle and last corner: borders, and what lies between tiles."""
    shape = stage.scene.image.shape[1:]
    halo = stage.scene.selection.halo(shape[0])
    size = [min(n, s) for n, s in zip(PLACE[stage.plain], shape, strict=True)]
    for start in (
        [0, 0, 0],
        [(n - s) // 2 for n, s in zip(shape, size, strict=True)],
        [n - s for n, s in zip(shape, size, strict=True)],
    ):
        core = tuple(slice(a, a + s) for a, s in zip(start, size, strict=True))
        read = tuple(
            slice(max(0, c.start - h), min(n, c.stop + h)) for c, h, n in zip(core, halo, shape, strict=True)
        )
        pixels = np.ascontiguousarray(stage.scene.image[(slice(None), *read)])
        yield Part(core, Tile(core, read).inside, pixels)
