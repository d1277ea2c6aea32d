"""A filter of one's own, beside those of ilastik: is this pixel brighter than the ring around it?

    python examples/own_filter.py

It draws bright and hollow spots, marks three of each, and compares both selections on the rest.
"""

import numpy as np

from gpuseg import PixelClassifier, Selection
from gpuseg.features.filters import pixel_filter


@pixel_filter("Centre against Surround", group="Texture", reach=(2.0,))
def centre_against_surround(b, image, sigma):
    """The image at this scale less the image at twice the scale."""
    return [b.gaussian(image, sigma) - b.gaussian(image, tuple(2 * s for s in sigma))]


def spots(rng, size, kind):
    """A noisy image of one kind of spot, and where the spots are."""
    image, where = rng.normal(0, 4, (size, size)), np.zeros((size, size), bool)
    y, x = np.mgrid[:size, :size]
    for cy in range(16, size - 8, 32):
        for cx in range(16, size - 8, 32):
            far = np.hypot(y - cy, x - cx)
            where |= far < 6
            image += 40 * (far < 6 if kind == "full" else (far > 3) & (far < 6))
    return image.astype(np.float32), where


def main(size=256):
    rng = np.random.default_rng(0)
    full, where = spots(rng, size, "full")
    hollow, _ = spots(rng, size, "hollow")
    truth = np.hstack([where * 2 + ~where, where * 3 + ~where]).astype(np.uint8)
    image = np.hstack([full, hollow])
    strokes = truth * (np.arange(2 * size) % 64 < 32) * (np.arange(size) < 32)[:, None]

    plain = {"gaussian_smoothing": [1.0, 3.5]}
    for name, filters in {
        "smoothing alone": plain,
        "with our filter": plain | {"centre_against_surround": [1.0, 1.6, 3.5]},
    }.items():
        classifier = PixelClassifier(Selection.table(filters)).fit(image, strokes)
        print(f"{name}: {(classifier.predict(image) == truth).mean():.1%} of the pixels are right")


if __name__ == "__main__":
    main()
