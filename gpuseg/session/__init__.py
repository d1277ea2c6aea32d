"""Paint and see at once: images, strokes, a model and the picture of it, kept up to date by one thread."""

from gpuseg.session.request import Prediction, Request
from gpuseg.session.session import Session

__all__ = ["Prediction", "Request", "Session"]
