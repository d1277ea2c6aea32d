"""Makes skeleton_vigra.npz again: label images, and what vigra says of the skeletons in them.

Run as a script by an interpreter that has vigra (Debian: python3-vigra), with the folder of reference data
as argument. Columns as `gpuseg.backends._numba.skeleton.skeletons` has them.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import vigra

FILE = Path(__file__).with_name("skeleton_vigra.npz")
REAL = (
    "objects2d/BloodImage_00003_labels.tif",
    "nuclei2d/dsb_00071198_labels.tif",
    "nuclei2d/dsb_700afb1c_labels.tif",
    "nuclei2d/dsb_9bb6e39d_labels.tif",
)
NUMBERS = ("Branch Count", "Hole Count", "Diameter", "Euclidean Diameter", "Total Length", "Average Length")
PLACES = ("Skeleton Center", "Terminal 1", "Terminal 2")


def shapes() -> Any:
    """(200, 266): disc, bars, ring, cross, triangle, a frame with two holes, an L, lines and a dot."""
    y, x = np.mgrid[:64, :64] - 31
    square = np.maximum(abs(y), abs(x)) < 27
    drawn = [
        y**2 + x**2 < 28**2,
        (abs(y) < 10) & (abs(x) < 25),
        (y**2 + x**2 < 28**2) & (y**2 + x**2 > 15**2),
        (abs(y) < 4) | (abs(x) < 4),
        (abs(x - y) < 5) & square,
        square & (x > y),
        square & (np.hypot(y + 12, x + 10) > 6) & (np.hypot(y - 13, x - 11) > 7),
        square & ((x < -18) | (y > 19)),
        (y == 0) & square,
        (y**2 / 900 + x**2 / 225 < 1),
        (y == 3) & (x == 3),
        (y // 2 == 1) & (x // 2 == 1),
    ]
    out = np.zeros((3 * 66 + 2, 4 * 66 + 2), np.uint32)
    for i, mask in enumerate(drawn):
        row, column = divmod(i, 4)
        out[row * 66 + 1 :, column * 66 + 1 :][:64, :64][mask] = i + 1
    return out


def blobs(sigma: float, level: float, seed: int) -> Any:
    """(200, 260): components of smoothed noise above a quantile; many touch the border of the image."""
    noise = np.random.default_rng(seed).normal(size=(200, 260)).astype("f4")
    smooth = np.asarray(vigra.filters.gaussianSmoothing(vigra.taggedView(noise, "yx"), sigma))
    mask = (smooth > np.quantile(smooth, level)).astype("u1")
    labels = vigra.analysis.labelImageWithBackground(vigra.taggedView(mask, "yx"), neighborhood=4)
    return np.asarray(labels).astype(np.uint32)


def numbered(labels: Any) -> Any:
    return np.unique(labels, return_inverse=True)[1].reshape(labels.shape).astype(np.uint32)


def measured(labels: Any) -> Any:
    found = vigra.analysis.extractSkeletonFeatures(vigra.taggedView(labels, "yx"))
    places = [np.asarray(found[name])[1:, ::-1] for name in PLACES]
    return np.column_stack([np.asarray(found[name], float)[1:] for name in NUMBERS] + places)


def main() -> None:
    """Shapes that are formulas, noise, and cells as people drew them."""
    images = {
        "shapes": shapes(),
        "specks": blobs(2, 0.6, 0),
        "blobs": blobs(5, 0.6, 1),
        "net": blobs(4, 0.35, 2),
    }
    for name in REAL:
        read = vigra.impex.readImage(str(Path(sys.argv[1]) / name), dtype="UINT32")
        images[Path(name).stem.removesuffix("_labels")] = numbered(np.asarray(read.withAxes("y", "x")))
    arrays = {}
    for name, labels in images.items():
        arrays[f"{name}_labels"] = labels.astype(np.min_scalar_type(labels.max()))
        arrays[f"{name}_numbers"] = measured(labels)
    np.savez_compressed(FILE, **arrays)


if __name__ == "__main__":
    main()
