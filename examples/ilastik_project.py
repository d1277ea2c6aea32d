"""Predict with a project of ilastik, and train again on its strokes.

    python examples/ilastik_project.py PROJECT.ilp

The project is only read. Its images are looked for where it says, then beside it.
"""

import sys

from gpuseg import PixelClassifier
from gpuseg.ilp.read import open_project


def main(path):
    project = open_project(path)
    print(f"{project.workflow}, made with ilastik {project.version}, {len(project.lanes)} images")

    stored = PixelClassifier.from_model(project.pixel_model())
    image, axes = project.read_image()
    print(f"{project.lanes[0].name}: {image.shape}, axes {axes}")
    segmentation = stored.set_params(axes=axes).predict(image)
    for shown in stored.model_.classes:
        print(f"{shown.name}: {(segmentation == shown.value).mean():.1%} of the pixels")

    images, labels, axes = zip(*project.training_data(), strict=True)
    again = PixelClassifier(stored.model_.selection, axes=axes[0]).fit(list(images), list(labels))
    same = (again.predict(image) == segmentation).mean()
    print(f"trained again on the same strokes: {same:.1%} of the pixels get the same class")


if __name__ == "__main__":
    main(*sys.argv[1:])
