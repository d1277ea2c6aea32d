"""Pixel classification: paint a few pixels, get a probability for every pixel."""

from gpuseg.pixel.classifier import PixelClassifier
from gpuseg.pixel.images import Picture, Scribbled
from gpuseg.pixel.learning import choose_features, held_out, learn

__all__ = ["Picture", "PixelClassifier", "Scribbled", "choose_features", "held_out", "learn"]
