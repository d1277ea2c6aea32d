"""Makes regions_vigra.npz again: crops of real images, and what vigra says of the objects in them.

Run as a script by an interpreter that has vigra (Debian: python3-vigra), with the folder of reference data
as argument. For the files as they are, of which crops are stored, vigra's numbers are stored too.
Coordinates are turned round to x, y(, z): vigra gives them in the order of the array's axes.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import vigra

FILE = Path(__file__).with_name("regions_vigra.npz")
PICTURE = "objects2d/BloodImage_00003.jpg", "objects2d/BloodImage_00003_labels.tif"
VOLUME = "volume3d/stardist_img3d.tif", "volume3d/stardist_mask3d.tif"
PLACES = ("Coord<Minimum>", "Coord<Maximum>", "RegionCenter", "Coord<PowerSum<1>>")
PLACES += (
    "Coord<ArgMinWeight>",
    "Coord<ArgMaxWeight>",
    "Weighted<RegionCenter>",
    "Weighted<Coord<PowerSum<1>>>",
)


def measured(image: Any, labels: Any) -> dict[str, Any]:
    """Every feature that vigra has, (n, k); image: (y, x), (y, x, c) or (z, y, x)."""
    axes = "zyx"[-labels.ndim :]
    image = vigra.taggedView(np.float32(image), axes + "c" * (image.ndim - labels.ndim))
    found = vigra.analysis.extractRegionFeatures(
        image, vigra.taggedView(labels, axes), features="all", ignoreLabel=0
    )
    n, made = int(labels.max()), {}
    for key in found.activeFeatures():
        name, value = key.replace(" ", ""), np.asarray(found[key], float)
        rows = np.full((n, 1), value) if value.ndim == 0 else value[1:].reshape(n, -1)
        made[name] = (rows[:, ::-1] if name in PLACES else rows).astype(np.float32)
    made["Coord<Maximum>"] += 1  # as in ilastik
    return made


def read(file: Path, volume: bool) -> Any:
    load = vigra.impex.readVolume if volume else vigra.impex.readImage
    pixels = load(str(file))
    return np.asarray(pixels.withAxes(*("zyx" if volume else "yxc"))).squeeze()


def numbered(labels: Any) -> Any:
    """Ids from 1 on, for objects of 30 pixels and more."""
    ids, inverse, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    keep = (ids > 0) & (sizes >= 30)
    return (np.cumsum(keep) * keep)[inverse].reshape(labels.shape).astype(np.uint32)


def main() -> None:
    """One picture of three channels, one of a single channel, one volume; each whole and cropped."""
    folder = Path(sys.argv[1])
    picture, cells = (read(folder / f, volume=False) for f in PICTURE)
    volume, nuclei = (read(folder / f, volume=True) for f in VOLUME)
    here, there = np.s_[60:190, 250:400], np.s_[5:25, 10:45, 10:45]
    cases = {
        "picture": (picture, numbered(cells)),
        "gray": (picture[..., 1], numbered(cells)),
        "volume": (volume, numbered(nuclei)),
        "picture crop": (picture[here], numbered(cells[here])),
        "gray crop": (picture[here][..., 1], numbered(cells[here])),
        "volume crop": (volume[there], numbered(nuclei[there])),
    }
    arrays = {}
    for case, (image, labels) in cases.items():
        arrays |= {f"{case}/{name}": rows for name, rows in measured(image, labels).items()}
        if case.endswith("crop") and case != "gray crop":
            arrays[f"{case}/image"] = image.astype(np.min_scalar_type(int(image.max())))
            arrays[f"{case}/labels"] = labels.astype(np.uint8)
    np.savez_compressed(FILE, **arrays)


if __name__ == "__main__":
    main()
