"""Many files through one verb: who fails is told and, if asked for, left behind."""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import IOBase
from os.path import realpath
from pathlib import Path
from time import perf_counter
from typing import Any, Literal

import numpy as np

from gpuseg.backends.base import Backend
from gpuseg.errors import GpusegError, InputError
from gpuseg.io import locate

log = logging.getLogger(__name__)
Paths = str | Path | Sequence[str | Path]
NO_PATHS = (str, bytes, Path, Mapping, np.ndarray, IOBase)  # these are one, if they are a path at all
OnError = Literal["stop", "skip"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one image: the files written, or the error that ended it."""

    image: str
    outputs: tuple[str, ...] = ()
    error: GpusegError | None = None
    seconds: float = 0.0


class Failures(dict[str, GpusegError]):
    """Errors by image."""

    def __init__(self, on_error: OnError) -> None:
        super().__init__()
        self._stop = on_error == "stop"

    @contextmanager
    def of(self, image: str, kind: type[GpusegError] = GpusegError) -> Iterator[None]:
        """Inside, an error of this kind ends all with "stop", else only what is done for this image."""
        try:
            yield
        except kind as error:
            if self._stop:
                raise
            log.error("%s", error)
            log.debug("%s", image, exc_info=error)
            _let_go(error)
            self[image] = error


def _let_go(error: BaseException) -> None:
    """Errors are kept; the images and temporary files of the calls that failed are not."""
    chain: BaseException | None = error
    while chain is not None:
        chain.__traceback__ = None
        chain = chain.__cause__ or chain.__context__


def named(paths: Paths) -> list[str]:
    """One path or several, as text."""
    several: Iterable[Any] = [paths]
    if isinstance(paths, Iterable) and not isinstance(paths, NO_PATHS):
        several = paths
    found = []
    for path in several:
        if not isinstance(path, str | Path):
            raise InputError(
                f"{type(path).__name__} is given where the path of a file is needed",
                hint="arrays go to PixelClassifier, gpuseg.segment, gpuseg.measure and ObjectClassifier",
            )
        if "\0" in str(path):
            raise InputError(f"{str(path)!r}: a name cannot hold the character NUL")
        found.append(str(path))
    return found


def place(path: str) -> tuple[str, str]:
    """What several names of a file have in common, and the path inside of it."""
    file, inside = locate(path)
    return realpath(file), inside


def check_once(images: Sequence[str]) -> None:
    """InputError where an image is given twice, also by two names."""
    seen: dict[tuple[str, str], str] = {}
    for name in images:
        if (key := place(name)) in seen:
            also = f", also as {seen[key]}" if seen[key] != name else ""
            raise InputError(f"{name}: is named twice{also}", hint="name every image once")
        seen[key] = name


def each(
    images: Sequence[str],
    failed: Failures,
    backends: Sequence[Backend],
    work: Callable[[str], tuple[str, ...]],
) -> list[Outcome]:
    """`work` makes the files of an image, of all that have not `failed` yet; backends give memory back."""
    outcomes = []
    for image in images:
        if image in failed:
            outcomes.append(Outcome(image, error=failed[image]))
            continue
        start = perf_counter()
        outputs: tuple[str, ...] = ()
        try:
            with failed.of(image, InputError):
                outputs = work(image)
            outcomes.append(Outcome(image, outputs, failed.get(image), perf_counter() - start))
        finally:
            for b in backends:
                b.release()
    return outcomes
