"""Trained models as values and as `.gpuseg` files."""

from gpuseg.model.objects import Measured, ObjectModel
from gpuseg.model.pipeline import Pipeline
from gpuseg.model.pixel import PixelModel

__all__ = ["Measured", "ObjectModel", "Pipeline", "PixelModel"]
