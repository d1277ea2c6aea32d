"""A brush without a window: strokes go in one by one, and the picture follows.

    python examples/interactive.py [image labels]

It plays a person who paints the strokes that come with the stained tissue, from top to bottom, bit by bit,
and prints what the picture looks like after each.
"""

import sys
from pathlib import Path
from threading import Lock
from time import perf_counter

import numpy as np

from gpuseg import Session, open_image

DATA = Path(sys.modules["gpuseg"].__file__).parent / "data"


def read(path):
    with open_image(path) as image:
        return image.read()


class Screen:
    """What a viewer would draw: the likeliest class of each pixel, tile by tile as they arrive."""

    def __init__(self, shape):
        self.pixels, self.tiles, self.lock = np.zeros(shape, np.uint8), 0, Lock()

    def draw(self, prediction):  # called from the session's thread
        values = np.array([c.value for c in prediction.classes], np.uint8)
        with self.lock:
            self.pixels[prediction.region] = values[prediction.proba.argmax(axis=-1)]
            self.tiles += 1


def main(image=DATA / "tissue.png", labels=DATA / "tissue_scribbles.png", trees=100):
    pixels, strokes = read(image), read(labels)
    screen = Screen(strokes.shape)
    with Session(pixels, trees=trees, on_result=screen.draw) as session:
        session.view()
        for stroke in np.array_split(np.argwhere(strokes), 6):
            began = perf_counter()
            session.update(stroke, strokes[tuple(stroke.T)]).result()
            shares = np.bincount(screen.pixels.ravel(), minlength=strokes.max() + 1)[1:] / screen.pixels.size
            print(
                f"{len(stroke)} pixels painted, {1e3 * (perf_counter() - began):.0f} ms, {session.status}: "
                + ", ".join(f"{s:.0%}" for s in shares)
            )
        print(f"{screen.tiles} tiles drawn")
        session.save("tissue.gpuseg")


if __name__ == "__main__":
    main(*sys.argv[1:])
