"""The session as its users see it."""

import weakref
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends import get_backend
from gpuseg.errors import InputError
from gpuseg.forests import DEFAULT, get_trainer
from gpuseg.forests.training import check_labels
from gpuseg.model import PixelModel
from gpuseg.pixel.images import Picture
from gpuseg.pixel.learning import Features, check_seed
from gpuseg.session.planes import cache_size
from gpuseg.session.request import Prediction, Request
from gpuseg.session.strokes import flat
from gpuseg.session.worker import Settings, Worker

TILE = {"cpu": 2**18}  # pixels computed between two looks for newer strokes: 512 x 512, or 64 x 64 x 64
TILE_ELSEWHERE = 2**22  # a view in one piece: a device computes it sooner than several are launched
PATIENCE = 10.0  # seconds that `close` waits for a tile or forest in the making


class Session:
    """Interactive training: strokes go in, and the picture follows the brush.

    Parameters
    ----------
    image, axes, voxel : the first image, as for `PixelClassifier`; voxel is its size of a pixel by axis.
    features, forest, trees, seed, threads, backend : as for `PixelClassifier`, where three have the names
        n_estimators, random_state and n_jobs. The same settings and strokes give the same model, in
        whatever order they are painted.
    on_result : called with each `Prediction`, tile by tile, from the session's thread.
    on_error : called with what went wrong in a request, from that thread too; the session goes on.
    predict_all : predict the rest of the image, at the viewed time, once the view is up to date.
    cache_bytes : feature planes of viewed tiles to keep; None for a quarter of what is free, but of main
        memory 2 GiB at most.
    tile : pixels computed at once, at most. A newer request waits for one tile.

    Methods return at once but `save` and `close`, and may be called from any thread. One thread of the
    session does the work, all of it; of the requests that wait, only the newest is served.

    >>> image = np.random.default_rng(0).normal(size=(64, 64)).astype("float32")
    >>> image[:, 32:] += 5
    >>> with gpuseg.Session(image, trees=10) as session:
    ...     _ = session.view(region=(slice(0, 64), slice(20, 44)))
    ...     _ = session.update([[10, 8], [10, 9]], 1)
    ...     answer = session.update([[10, 50], [10, 51]], 2).result()
    >>> answer.proba.shape, [c.name for c in answer.classes]
    ((64, 24, 2), ['Label 1', 'Label 2'])
    """

    def __init__(
        self,
        image: Any,
        axes: str | None = None,
        *,
        features: Features = "all",
        forest: str = DEFAULT,
        trees: int = 100,
        seed: int = 0,
        threads: int | None = None,
        backend: str = "auto",
        on_result: Callable[[Prediction], None] | None = None,
        on_error: Callable[[Exception], None] | None = None,
        predict_all: bool = False,
        cache_bytes: int | None = None,
        tile: int | None = None,
        voxel: Mapping[str, float] | None = None,
    ) -> None:
        picture = Picture.of(image, axes, "image", voxel=voxel)
        b = get_backend(backend)
        check_seed(seed, "seed")
        get_trainer(forest)
        tile = TILE.get(b.name, TILE_ELSEWHERE) if tile is None else tile
        for name, value in (("trees", trees), ("tile", tile)):
            if value < 1:
                raise InputError(f"{name} = {value}: at least 1 is needed")
        settings = Settings(
            features, forest, trees, seed, threads, backend, tile, predict_all, on_result, on_error
        )
        self._worker = Worker(b, settings, cache_size(b) if cache_bytes is None else cache_bytes)
        self._close = weakref.finalize(self, self._worker.close, PATIENCE)  # at exit, too
        try:
            self._worker.add(picture)
        except BaseException:
            self.close()
            raise

    def add_image(
        self, image: Any, axes: str | None = None, *, voxel: Mapping[str, float] | None = None
    ) -> int:
        """Number of one more image to paint on and to view; axes None means those of the first, if possible.

        ModelMismatchError, ShapeError where it cannot be learned from together with the others.
        """
        first, number = self._worker.pictures[0], len(self._worker.pictures)
        return self._worker.add(Picture.of(image, axes, f"image {number}", like=first.axes, voxel=voxel))

    def view(self, region: Sequence[Any] | None = None, *, t: int = 0, image: int | None = None) -> Request:
        """Show this region, a slice or index for each axis but t and c, from now on; None for all of it.

        Its planes are computed and kept, and it is predicted, now if there is a model and with each update.
        The viewed image is the one that `update` means.
        """
        return self._worker.look(self._number(image), t, region)

    def update(self, where: Any, values: Any, *, image: int | None = None) -> Request:
        """Paint pixels: coordinates (n, axes without c) and a class for each, or one for all; 0 erases.

        Then all strokes are learned and the view is predicted. Painting over paint is fine, twice in one
        call too: the last counts.
        """
        number = self._number(image)
        return self._worker.paint(number, *flat(where, values, self._worker.pictures[number]))

    def predict_rest(self) -> Request:
        """Predict the view, and then the rest of its image and time point, which goes to `on_result` only."""
        return self._worker.look_around()

    def set_names(self, names: Mapping[int, str]) -> None:
        """Name classes, by label value; the model has the names at once and without learning again."""
        self._worker.name({int(value): str(name) for value, name in names.items()})

    def save(self, path: Path | str) -> None:
        """Write the model of all strokes as a `.gpuseg` file, waiting for it. LabelError if there is none."""
        model = self._worker.settle()
        if model is None:
            check_labels(np.concatenate([s.labels for s in self._worker.strokes()]))
            raise InputError("the strokes are not learned yet", hint="wait for the result of the update")
        model.save(path)

    def close(self) -> None:
        """Cancel what is asked for and end the thread: after its tile or forest, waited for 10 s at most."""
        self._close()

    @property
    def model(self) -> PixelModel | None:
        """The newest model; None until there are strokes of two classes, and after what cannot be learned."""
        return self._worker.model

    @property
    def labels(self) -> dict[int, tuple[NDArray[np.intp], NDArray[np.int64]]]:
        """Copy of all painted pixels: {image: (coordinates, classes)}, as `PixelClassifier.fit` takes it."""
        strokes = enumerate(self._worker.strokes())
        return {i: s.sparse(self._worker.pictures[i]) for i, s in strokes if len(s.at)}

    @property
    def status(self) -> str:
        """What the session does: "needs labels", "needs two classes", "learning", "computing features",
        "predicting", "ready", "stopped", "failed" or "closed"."""
        return self._worker.status

    @property
    def error(self) -> Exception | None:
        """What went wrong in the last request that was not cancelled."""
        return self._worker.error

    @property
    def cached_bytes(self) -> int:
        """What the kept feature planes take."""
        return self._worker.painter.cache.used

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _number(self, image: int | None) -> int:
        """Which image is meant, by default the viewed one."""
        view = self._worker.view
        number = (view.frame.image if view else 0) if image is None else image
        if not 0 <= number < len(self._worker.pictures):
            raise InputError(
                f"image = {image}: the session has {len(self._worker.pictures)}, numbered from 0"
            )
        return number
