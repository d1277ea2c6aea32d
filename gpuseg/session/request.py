"""What a session is asked for, and what it answers."""

from dataclasses import dataclass, replace
from threading import Event, Lock

import numpy as np
from numpy.typing import NDArray

from gpuseg.classes import LabelClass
from gpuseg.errors import Cancelled
from gpuseg.session.view import View
from gpuseg.tiles import Region


@dataclass(frozen=True, slots=True, eq=False)
class Prediction:
    """Probabilities of a part of an image, as one model sees it."""

    image: int  # its number in the session
    t: int
    region: Region  # the part, along the image's axes without t and c
    proba: NDArray[np.float32]  # (*region, classes): column k is that of classes[k]
    classes: tuple[LabelClass, ...]
    model: str  # hash of the model
    complete: bool  # with this, all that was asked for has arrived


class Request:
    """Something asked of a session: it ends by being done, cancelled, or replaced by a newer one."""

    def __init__(self, view: View | None, rest: bool = False) -> None:
        self.view = view
        self.rest = rest
        self._lock = Lock()
        self._ended = Event()
        self._cancelled = False
        self._error: Exception | None = None
        self._arrived: list[Prediction] = []

    @property
    def arrived(self) -> tuple[Prediction, ...]:
        """The tiles of the view that are there by now, in the order of their coming."""
        with self._lock:
            return tuple(self._arrived)

    def done(self) -> bool:
        """Whether nothing more will come of it: finished, failed or cancelled."""
        return self._ended.is_set()

    def cancelled(self) -> bool:
        """Whether it ended early, by `cancel` or because a newer request took its place."""
        return self._cancelled

    def cancel(self) -> bool:
        """Stop: nothing is delivered from now on, and a model in the making is thrown away.

        Returns at once; the strokes stay, and are learned with the next request. False if it was done.
        """
        with self._lock:
            if not self._ended.is_set():
                self._cancelled = True
                self._ended.set()
            return self._cancelled

    def result(self, timeout: float | None = None) -> Prediction | None:
        """Wait for the probabilities of the view; None where there is no view, or no model to predict it.

        TimeoutError after `timeout` seconds, Cancelled, or what went wrong.
        """
        if not self._ended.wait(timeout):
            raise TimeoutError(f"no result within {timeout} s")
        if self._cancelled:
            raise Cancelled("the request was cancelled, or a newer one took its place")
        if self._error is not None:
            raise self._error
        return _assembled(self._arrived, self.view.window) if self.view and self._arrived else None

    def end(self, error: Exception | None = None) -> None:
        """Nothing more will come; for the session to call, as `add` is."""
        with self._lock:
            self._error = error
            self._ended.set()

    def add(self, prediction: Prediction) -> None:
        """Keep a tile of the view."""
        with self._lock:
            self._arrived.append(prediction)


def _assembled(parts: list[Prediction], window: Region) -> Prediction:
    """One prediction of exactly the window, from tiles that cover it."""
    first = parts[0]
    proba = np.empty((*(s.stop - s.start for s in window), len(first.classes)), np.float32)
    for part in parts:
        common = [
            (max(w.start, r.start), min(w.stop, r.stop)) for w, r in zip(window, part.region, strict=True)
        ]
        to = tuple(slice(a - w.start, b - w.start) for (a, b), w in zip(common, window, strict=True))
        source = tuple(slice(a - r.start, b - r.start) for (a, b), r in zip(common, part.region, strict=True))
        proba[to] = part.proba[source]
    return replace(first, region=window, proba=proba, complete=True)
