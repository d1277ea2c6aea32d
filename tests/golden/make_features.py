"""Makes features.npz again: exact feature values of two images that are formulas. Run it as a script.

The values come from THE TABLE in float64, so what a backend answers differs only by its own rounding.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends.cpu import CpuBackend
from gpuseg.features.selection import Selection
from gpuseg.features.stack import formulas, whole

PIXELS = 150
FILE = Path(__file__).with_name("features.npz")


class Exact(CpuBackend):
    """The same formulas in float64."""

    def gaussian(self, image: Any, *args: Any, **kwargs: Any) -> Any:
        return super().gaussian(np.asarray(image, np.float64), *args, **kwargs)

    def eigvals_sym(self, upper: Any) -> Any:
        n = {3: 2, 6: 3}[len(upper)]
        matrix = np.empty((*upper[0].shape, n, n))
        for part, (i, j) in zip(upper, zip(*np.triu_indices(n), strict=True), strict=True):
            matrix[..., i, j] = matrix[..., j, i] = part
        return list(np.moveaxis(np.linalg.eigvalsh(matrix)[..., ::-1], -1, 0))


def picture() -> NDArray[np.float32]:
    """(1, 1, 64, 80): integers 0 to 255, texture and a bright disc."""
    y, x = np.ogrid[:64, :80]
    disc = (y - 30) ** 2 + (x - 45) ** 2 < 150
    return ((37 * y * y + 101 * x + 13 * x * y + 7 * (x * x // 5)) % 131 + 124 * disc)[None, None].astype(
        "f4"
    )


def volume() -> NDArray[np.float32]:
    """(1, 38, 40, 44): integers 0 to 255, texture and a bright ball."""
    z, y, x = np.ogrid[:38, :40, :44]
    ball = (z - 17) ** 2 + (y - 22) ** 2 + (x - 20) ** 2 < 90
    return ((31 * z * z + 17 * y + 23 * x * y + 5 * x * z) % 151 + 104 * ball)[None].astype("f4")


def exact(image: NDArray[np.float32], selection: Selection) -> NDArray[np.float64]:
    """All planes of `image`, float64."""
    jobs = selection.jobs(*image.shape[:2])
    out = np.empty((selection.count(*image.shape[:2]), *image.shape[1:]))
    formulas(Exact(), image.astype(np.float64), jobs, whole(image), out)
    return out


def main() -> None:
    """Corners and random pixels of all planes of both images."""
    rng, arrays = np.random.default_rng(1), {}
    for name, image in (("2d", picture()), ("3d", volume())):
        sizes = dict(zip("czyx", image.shape, strict=True))
        values = exact(image, Selection.all(sizes))
        shape = np.array(image.shape[1:])
        corners = np.stack(np.meshgrid(*([0, n - 1] for n in shape)), -1).reshape(-1, 3)
        where = np.concatenate([corners, rng.integers(0, shape, (PIXELS - len(corners), 3))])
        arrays[f"where_{name}"] = where.astype(np.uint8)
        arrays[f"values_{name}"] = values[(slice(None), *where.T)].astype(np.float32)
        arrays[f"largest_{name}"] = abs(values).max((1, 2, 3)).astype(np.float32)
    np.savez_compressed(FILE, **arrays)


if __name__ == "__main__":
    main()
