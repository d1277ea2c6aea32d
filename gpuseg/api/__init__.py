"""The verbs over files: what the command line, notebooks and the GUI call alike.

    from gpuseg import api
    model = api.train("cells.tif", "scribbles.tif", output="cells.gpuseg")
    api.predict(model, ["a.tif", "b.tif"], export=["probabilities", "segmentation"])

What happened is told through `logging` (logger "gpuseg"), how far it is through `progress`.
"""

from gpuseg.api.about import doctor, info
from gpuseg.api.batch import Outcome
from gpuseg.api.measure import measure
from gpuseg.api.predict import predict
from gpuseg.api.segment import segment
from gpuseg.api.train import train

__all__ = ["Outcome", "doctor", "info", "measure", "predict", "segment", "train"]
