"""The thread that does a session's work: one request at a time, always the newest."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from threading import Condition, Thread, current_thread
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from gpuseg.axes import SPACE
from gpuseg.backends.base import Backend
from gpuseg.classes import label_classes
from gpuseg.errors import Cancelled, InputError, ShapeError
from gpuseg.features.selection import Selection
from gpuseg.model import PixelModel
from gpuseg.pixel.images import Picture
from gpuseg.pixel.learning import Features, choose_features, teach
from gpuseg.session.painter import Painter
from gpuseg.session.planes import Key, key_of, rest_tiles, viewed_tiles
from gpuseg.session.request import Prediction, Request
from gpuseg.session.strokes import Flat, Strokes
from gpuseg.session.view import View, shown, view_of, window_of
from gpuseg.tiles import Tile

T = TypeVar("T")
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Settings:
    """What a session is told once."""

    features: Features
    forest: str
    trees: int
    seed: int
    threads: int | None
    backend: str
    tile: int  # pixels of a tile at most
    predict_all: bool
    on_result: Callable[[Prediction], None] | None
    on_error: Callable[[Exception], None] | None


class Worker:
    """Images, strokes and the model of them. Its public methods may be called from any thread."""

    def __init__(self, b: Backend, settings: Settings, cache_bytes: int) -> None:
        self.pictures: list[Picture] = []
        self.status = "needs labels"
        self.error: Exception | None = None
        self.model: PixelModel | None = None
        self.view: View | None = None
        self.painter = Painter(b, cache_bytes)
        self._settings = settings
        self._strokes: list[Strokes] = []
        self._names: dict[int, str] = {}
        self._painted = self._learned = 0  # counts changes of strokes: those made, those the model knows
        self._failure: InputError | None = None  # why the strokes could not be learned
        self._pending: Request | None = None
        self._current: Request | None = None
        self._closed = False
        self._fresh: dict[Key, int] = {}  # tile of the view -> round that showed it last
        self._round = 0
        self._selections: dict[tuple[int, ...], Selection] = {}
        self._changed = Condition()
        self._thread = Thread(target=self._run, name="gpuseg session", daemon=True)
        self._thread.start()

    # Called from outside

    def add(self, picture: Picture) -> int:
        with self._changed:
            self._check_open()
            blank = [Strokes().scribbled(p) for p in (*self.pictures, picture)]
            choose_features(self._settings.features, blank)
            if self.model is not None:
                self.model.check_image(picture.sizes, picture.name)
            self.pictures.append(picture)
            self._strokes.append(Strokes())
            return len(self.pictures) - 1

    def look(self, image: int, t: int, region: Sequence[Any] | None) -> Request:
        """View this from now on."""
        with self._changed:
            view = view_of(image, self.pictures[image], t, region)
            self._check_open()
            self.view = view
            return self._ask()

    def paint(self, image: int, at: Flat, labels: NDArray[np.int64]) -> Request:
        """Learn one more stroke on top of the others."""
        with self._changed:
            self._check_open()
            if len(at):
                self._strokes[image] = self._strokes[image].painted(at, labels)
                self._painted += 1
            return self._ask()

    def look_around(self) -> Request:
        """Predict the rest of the viewed frame, too."""
        with self._changed:
            self._check_open()
            if self.view is None:
                raise InputError(
                    "nothing is viewed", hint="call view first: its image and time are predicted"
                )
            return self._ask(rest=True)

    def _ask(self, rest: bool = False) -> Request:
        """Do this next; what waited before is dropped. With the lock held."""
        if self._pending is not None:
            self._pending.cancel()
        self._pending = Request(self.view, rest or self._settings.predict_all)
        self._changed.notify_all()
        return self._pending

    def strokes(self) -> list[Strokes]:
        with self._changed:
            return list(self._strokes)

    def name(self, names: Mapping[int, str]) -> None:
        with self._changed:
            self._names |= names
            if self.model is not None:
                self.model = self._named(self.model)

    def settle(self) -> PixelModel | None:
        """The model of all strokes until now, waited for; None if they are too few. InputError."""
        with self._changed:
            if current_thread() is not self._thread:  # which would wait for itself
                self._check_open()
                self._changed.wait_for(self._settled)
                if self._learned != self._painted and not self._closed:
                    self._ask()
                    self._changed.wait_for(self._settled)
            if self._failure is not None:
                raise self._failure
            return self.model if self._learned == self._painted else None

    def _settled(self) -> bool:
        return self._learned == self._painted or (self._pending is None and self._current is None)

    def close(self, timeout: float) -> None:
        with self._changed:
            self._closed = True
            for request in (self._pending, self._current):
                if request is not None:
                    request.cancel()
            self._changed.notify_all()
        if current_thread() is not self._thread:
            self._thread.join(timeout)

    # Called by the thread

    def _run(self) -> None:
        while (request := self._next()) is not None:
            error: Exception | None = None
            try:
                self._serve(request)
            except Cancelled:
                request.cancel()
                self.status = "stopped"
            except Exception as e:  # whatever it is, the next request may go well; who asked is told
                error = e
            self._finish(request, error)
        self.painter.forget()
        self.status = "closed"

    def _next(self) -> Request | None:
        """The newest request, once there is one; None after `close`."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._pending is not None)
            self._current, self._pending = self._pending, None
            return None if self._closed else self._current

    def _finish(self, request: Request, error: Exception | None) -> None:
        with self._changed:
            self._current = None
            if error is not None:
                self.status = "failed"
            if error is not None or not request.cancelled():
                self.error = error or self._failure
            request.end(error)
            self._changed.notify_all()
        if error is not None:
            _tell(self._settings.on_error, error)

    def _serve(self, request: Request) -> None:
        model = self._learn(request)
        if request.view is not None:
            self._show(request, request.view, model)
        self.status = "ready" if model is not None else self._lacks()

    def _learn(self, request: Request) -> PixelModel | None:
        """The model of all strokes, None where they are too few. Newer strokes wait: a brush never rests."""
        with self._changed:
            if self._learned == self._painted:
                return self.model
            painted, strokes = self._painted, list(self._strokes)
        try:
            model = self._taught(request, strokes)
        except InputError as e:
            self._adopt(None, painted, e)
            raise
        _check_wanted(request)
        return self._adopt(model, painted)

    def _taught(self, request: Request, strokes: Sequence[Strokes]) -> PixelModel | None:
        labelled = [i for i, s in enumerate(strokes) if len(s.at)]
        if len({int(v) for i in labelled for v in np.unique(strokes[i].labels)}) < 2:
            return None
        self.status = "learning"
        images = [strokes[i].scribbled(self.pictures[i]) for i in labelled]
        selection = self._choose(labelled)
        self.painter.use(selection)
        rows = [
            self.painter.rows(i, s.picture, strokes[i], selection, lambda: _check_wanted(request))
            for i, s in zip(labelled, images, strict=True)
        ]
        _check_wanted(request)
        how = self._settings
        return teach(
            images,
            selection,
            np.concatenate(rows),
            forest=how.forest,
            trees=how.trees,
            seed=how.seed,
            threads=how.threads,
            backend=how.backend,
        )

    def _adopt(
        self, model: PixelModel | None, painted: int, failure: InputError | None = None
    ) -> PixelModel | None:
        with self._changed:
            self.model = None if model is None else self._named(model)
            self._learned, self._failure = painted, failure
            self._changed.notify_all()
            return self.model

    def _named(self, model: PixelModel) -> PixelModel:
        return replace(model, classes=label_classes([c.value for c in model.classes], self._names))

    def _show(self, request: Request, view: View, model: PixelModel | None) -> None:
        """Predict the view tile by tile, then the rest if that is asked; without a model prepare the view."""
        frame = view.frame
        selection = self._choose(self._labelled() or [frame.image]) if model is None else model.selection
        _check_fits(selection, frame.picture, model)
        self.painter.use(selection)
        tiles, viewed = self._plan(request, view, selection, model)
        self.status = "computing features" if model is None else "predicting"
        seen = "" if model is None else model.hash
        for n, tile in enumerate(tiles):
            self._check_newest(request, n)
            if model is None:
                self.painter.prepare(frame, tile, selection, self._fresh)
                continue
            proba = self.painter.proba(frame, tile, model, self._fresh)
            _check_wanted(request)
            prediction = Prediction(
                image=frame.image,
                t=frame.t,
                region=window_of(tile.core, frame.picture),
                proba=shown(proba, frame.picture),
                classes=model.classes,
                model=seen,
                complete=n + 1 == len(tiles),
            )
            if n < viewed:
                self._fresh[key_of(frame, tile.core)] = self._round
                request.add(prediction)
            _tell(self._settings.on_result, prediction)

    def _plan(
        self, request: Request, view: View, selection: Selection, model: PixelModel | None
    ) -> tuple[list[Tile], int]:
        """Tiles in the order of their work, and how many of them are in the view.

        Of the view, those come first that the last round did not reach: where strokes come faster than they
        can be shown, each round shows one tile at least, and not always the same.
        """
        sizes = view.frame.picture.sizes
        shape, halo = [sizes[a] for a in SPACE], selection.halo(sizes["z"])
        floats = selection.count(sizes["c"], sizes["z"]) + sizes["c"] + (len(model.classes) if model else 0)
        pixels = min(self._settings.tile, self.painter.b.room(floats))
        viewed = viewed_tiles(shape, view.region, halo, pixels)
        self._round += 1
        shown_last = {key: self._fresh.get(key, 0) for key in (key_of(view.frame, t.core) for t in viewed)}
        self._fresh = shown_last
        viewed.sort(key=lambda tile: shown_last[key_of(view.frame, tile.core)])
        rest = request.rest and model is not None
        return viewed + (rest_tiles(shape, view.region, halo, pixels, viewed) if rest else []), len(viewed)

    def _check_newest(self, request: Request, served: int) -> None:
        """Cancelled if nobody waits for it, or a newer request does; but newer strokes wait for one tile."""
        _check_wanted(request)
        with self._changed:
            newer = self._pending
        if newer is not None and (served or newer.view != request.view):
            raise Cancelled("a newer request took its place")

    def _choose(self, images: Sequence[int]) -> Selection:
        """The features for these images."""
        key = tuple(images)
        if key not in self._selections:
            blank = [Strokes().scribbled(self.pictures[i]) for i in images]
            self._selections[key] = choose_features(self._settings.features, blank)
        return self._selections[key]

    def _labelled(self) -> list[int]:
        return [i for i, s in enumerate(self.strokes()) if len(s.at)]

    def _lacks(self) -> str:
        if self._failure is not None:
            return "failed"
        return "needs two classes" if self._labelled() else "needs labels"

    def _check_open(self) -> None:
        if self._closed:
            raise InputError("the session is closed", hint="make a new one")


def _check_wanted(request: Request) -> None:
    if request.cancelled():
        raise Cancelled("the request was cancelled")


def _check_fits(selection: Selection, picture: Picture, model: PixelModel | None) -> None:
    """ModelMismatchError or ShapeError if the image cannot be predicted."""
    if model is not None:
        model.check_image(picture.sizes, picture.name)
        return
    try:
        selection.check(picture.sizes)
    except ShapeError as e:
        raise e.at(picture.name) from None


def _tell(callback: Callable[[T], None] | None, news: T) -> None:
    """Call what a user gave; its errors are its own, they must not end the session."""
    if callback is None:
        return
    try:
        callback(news)
    except Exception:
        log.exception("%s failed", getattr(callback, "__name__", "the callback"))
