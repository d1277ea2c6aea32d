"""The verbs over files: what the command line, notebooks and the GUI call alike.

    from gpuseg import api
    model = api.train("cells.tif", "scribbles.tif", output="cells.gpuseg")
    api.predict(model, ["a.tif", "b.tif"], export=["probabilities", "segmentation"])

What happened is told through `logging` (logger "gpuseg"), how far it is through `progress`.
"""

from gpuseg.api.about import doctor, info
from gpuseg.api.batch import Outcome
from gpuseg.api.classify import Results, classify, run
from gpuseg.api.measure import measure
from gpuseg.api.predict import predict
from gpuseg.api.segment import segment
from gpuseg.api.train import train
from gpuseg.api.train_objects import train_objects

__all__ = [
    "Outcome",
    "Results",
    "classify",
    "doctor",
    "info",
    "measure",
    "predict",
    "run",
    "segment",
    "train",
    "train_objects",
]
