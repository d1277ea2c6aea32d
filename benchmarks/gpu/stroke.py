"""From a stroke of the brush to new probabilities of what is on screen, through `gpuseg.Session`."""

import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import images
from benchmarks.gpu import check, stage
from benchmarks.gpu.clock import watched
from benchmarks.gpu.rows import Row
from benchmarks.gpu.size import Size
from gpuseg import Session
from gpuseg.backends.base import Backend

PATIENCE = 60.0  # seconds that one answer may take


def measure(cupy: Any, backend: Backend, size: Size) -> Iterator[Row]:
    s = stage.flat(cupy, backend, "texture", size.view, size)
    pixels, where = s.scene.plain, s.scene.where[:, 1:]
    view = tuple(slice(0, n) for n in pixels.shape)
    wall, device, found = [], [], None
    with (
        Session(pixels, axes="yx", forest="hist", trees=size.trees, backend=backend.name) as session,
        watched(cupy) as watch,
    ):
        session.view(region=view)
        session.update(where, s.scene.labels).result(PATIENCE)  # planes of the view are kept from here on
        for at, label in _strokes(size):
            watch.take()
            start = time.perf_counter()
            found = session.update(at, np.full(len(at), label)).result(PATIENCE)
            wall.append(time.perf_counter() - start)
            device.append(sum(watch.take()[0].values()))
        model = session.model
    if found is None or model is None:
        raise check.WrongAnswer("the session gave no probabilities of the view")
    learned = stage.Stage(cupy, s.scene, s.image, model.forest)
    note = check.proba(learned, backend.asarray(found.proba[None]))
    data = f"{size.stroke} pixels more than {len(where)}, view of {s.data}"
    yield Row("stroke", "stroke to probabilities", data, wall, note=f"until they are on the host; {note}")
    yield Row("stroke", "stroke to probabilities, kernels", data, device, note="sum over all kernels")


def _strokes(size: Size) -> Iterator[tuple[NDArray[np.intp], int]]:
    """One horizontal stroke for each round, in the class of its first pixel."""
    truth = images.texture(size.view)
    length = min(size.stroke, size.view)
    for i in range(1, size.rounds + 1):
        row = i * size.view // (size.rounds + 1)
        columns = np.arange(length)
        yield np.stack([np.full(length, row), columns], 1), int(truth[row, 0])
