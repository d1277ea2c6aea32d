"""From a few strokes to a segmentation, in memory.

    python examples/pixel_classification.py [image labels]

Without arguments it takes the stained tissue that comes with gpuseg. It prints what was learned and writes
`segmentation.png`, a picture in the colours of the classes, and `tissue.gpuseg`, the model.
"""

import sys
from pathlib import Path

import numpy as np

from gpuseg import PixelClassifier, open_image
from gpuseg.io import Output, create_image

DATA = Path(sys.modules["gpuseg"].__file__).parent / "data"


def read(path):
    with open_image(path) as image:
        return image.read()


def write_picture(path, pixels):
    with create_image(path, Output(pixels.shape, pixels.dtype, "yxc")) as writer:
        writer.write(tuple(slice(0, n) for n in pixels.shape), pixels)


def main(image=DATA / "tissue.png", labels=DATA / "tissue_scribbles.png"):
    pixels, strokes = read(image), read(labels)

    classifier = PixelClassifier(random_state=0).fit(pixels, strokes)
    print(f"{(strokes > 0).sum()} labelled pixels, {len(classifier.feature_names_)} features")
    print(f"right on pixels that a tree did not learn from: {classifier.oob_score_:.1%}")
    best = np.argsort(classifier.feature_importances_)[::-1][:3]
    print("most useful:", "; ".join(classifier.feature_names_[i] for i in best))

    segmentation = classifier.predict(pixels)
    for shown in classifier.model_.classes:
        print(f"{shown.name}: {(segmentation == shown.value).mean():.1%} of the image")

    colors = np.zeros((segmentation.max() + 1, 3), np.uint8)
    for shown in classifier.model_.classes:
        colors[shown.value] = shown.color
    write_picture("segmentation.png", colors[segmentation])
    classifier.save("tissue.gpuseg")


if __name__ == "__main__":
    main(*sys.argv[1:])
