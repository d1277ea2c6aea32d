"""Makes texture_reference.npz again: objects, and what ilastik's own library says of them.

Run as a script by an interpreter that has sphericaltexture (PyPI, MIT); its first run takes four minutes.
Numbers: 20 of the condensed spectrum of the mean projection, then the polarization direction.
"""

from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

FILE = Path(__file__).with_name("texture_reference.npz")


def flat() -> tuple[Any, Any]:
    """Labels and image (y, x): an ellipse, a disc, an L, an ellipse larger than 80 pixels."""
    y, x = np.mgrid[:150, :200]
    labels = np.zeros(y.shape, np.uint8)
    labels[(y - 25) ** 2 / 18**2 + (x - 30) ** 2 / 26**2 < 1] = 1
    labels[(y - 25) ** 2 + (x - 80) ** 2 < 12**2] = 2
    labels[5:38, 110:128] = labels[5:25, 110:150] = 3
    labels[(y - 100) ** 2 / 44**2 + (x - 90) ** 2 / 70**2 < 1] = 4
    image = 110 + 40 * np.sin(x / 4.0 + y / 9.0) * np.cos(y / 5.0 - x / 30.0) + 0.3 * x
    return labels, np.rint(image).astype(np.uint8)


def solid() -> tuple[Any, Any]:
    """Labels and image (z, y, x): an ellipsoid, a ball and a block."""
    z, y, x = np.mgrid[:24, :40, :64]
    labels = np.zeros(z.shape, np.uint8)
    labels[(z - 11) ** 2 / 10**2 + (y - 18) ** 2 / 15**2 + (x - 20) ** 2 / 17**2 < 1] = 1
    labels[(z - 8) ** 2 + (y - 10) ** 2 + (x - 50) ** 2 < 7**2] = 2
    labels[16:23, 25:38, 42:60] = 3
    image = 110 + 60 * np.sin(x / 4.0 + z / 3.0) * np.cos(y / 5.0 - z / 6.0) + 0.5 * x
    return labels, np.rint(image).astype(np.uint8)


def main() -> None:
    """Each object by itself, its box cut tightly."""
    from sphericaltexture import SphericalTextureGenerator

    wanted = ["Condensed Spectrum", "Polarization Direction"]
    arrays = {}
    for name, (labels, image) in {"flat": flat(), "solid": solid()}.items():
        texture, rows = SphericalTextureGenerator(ndim=labels.ndim, output_types=wanted), []
        for i, box in enumerate(ndimage.find_objects(labels)):
            mask, values = (np.atleast_3d(a.T) for a in (labels[box] == i + 1, image[box].astype(float)))
            found = texture.process_image(values, mask)
            rows.append(np.concatenate([np.ravel(found[f"Intensity {w}"]) for w in wanted]))
        arrays |= {f"{name}_labels": labels, f"{name}_image": image, f"{name}_numbers": np.array(rows)}
    np.savez_compressed(FILE, **arrays)


if __name__ == "__main__":
    main()
