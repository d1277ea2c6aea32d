"""Interactive machine-learning segmentation of microscopy images, at speed.

    import gpuseg
    model = gpuseg.PixelClassifier().fit(image, scribbles)
    objects = gpuseg.segment(model.predict_proba(image), channel=1)
    table = gpuseg.measure(objects, image)
    classes = gpuseg.ObjectClassifier().fit(table, labels).predict(table)

Names load on first use, so that `import gpuseg` costs nothing and touches no GPU.
"""

from importlib import import_module
from typing import Any

__version__ = "0.3.0"

_HOMES = {
    "ObjectClassifier": "gpuseg.object.classifier",
    "ObjectLabels": "gpuseg.object.labels",
    "ObjectModel": "gpuseg.model",
    "Pipeline": "gpuseg.model",
    "PixelClassifier": "gpuseg.pixel",
    "PixelModel": "gpuseg.model",
    "Selection": "gpuseg.features.selection",
    "Session": "gpuseg.session",
    "measure": "gpuseg.objects.measure",
    "open_image": "gpuseg.io",
    "segment": "gpuseg.objects.segment",
}
__all__ = [
    *("ObjectClassifier", "ObjectLabels", "ObjectModel", "Pipeline"),
    *("PixelClassifier", "PixelModel", "Selection", "Session"),
    *("__version__", "measure", "open_image", "segment"),
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'gpuseg' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
