"""Every result that can be exported, declared once: ilastik's name, what it is made from, and how."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Literal

import numpy as np

from gpuseg.backends.base import Array, Backend
from gpuseg.errors import InputError
from gpuseg.io import Kind

Source = Literal["proba", "planes", "labels", "objects"]


@dataclass(frozen=True, slots=True)
class Result:
    """One row: the name ilastik gives it, what it is made from, how, and whether it lies in 0..1."""

    title: str  # {result_type} in file names
    kind: Kind
    source: Source
    make: Callable[[Backend, Array], Array]  # from a tile of the source, channels last: (z, y, x, n)
    unit: bool = False


def as_it_is(b: Backend, source: Array) -> Array:
    return source


def winners(b: Backend, proba: Array) -> Array:
    """Column of the most probable class, the first of equals: uint8 (z, y, x, 1)."""
    return b.likeliest(proba)[..., None]


def doubt(b: Backend, proba: Array) -> Array:
    """1 less the lead of the likeliest class over the next: float32 (z, y, x, 1) (SPEC 3)."""
    return b.doubt(proba)[..., None]


RESULTS: dict[str, Result] = {
    "probabilities": Result("Probabilities", "image", "proba", as_it_is, unit=True),
    "segmentation": Result("Simple Segmentation", "labels", "proba", winners),
    "uncertainty": Result("Uncertainty", "image", "proba", doubt, unit=True),
    "features": Result("Features", "image", "planes", as_it_is),
    "labels": Result("Labels", "labels", "labels", as_it_is),
    "object predictions": Result("Object Predictions", "labels", "objects", as_it_is),
    "object probabilities": Result("Object Probabilities", "image", "objects", as_it_is, unit=True),
    "object uncertainty": Result("Object Uncertainty", "image", "objects", as_it_is, unit=True),
    "object identities": Result("Object Identities", "labels", "objects", as_it_is),
    "blockwise object predictions": Result("Blockwise Object Predictions", "labels", "objects", as_it_is),
    "blockwise object probabilities": Result(
        "Blockwise Object Probabilities", "image", "objects", as_it_is, unit=True
    ),
}
ALIASES = {"pixel probabilities": "probabilities"}  # ilastik's name where objects have probabilities too


def find(word: str) -> str:
    """The key of `RESULTS` for a word of ours or ilastik's display name, in any case, with - or _ for blanks.

    >>> find("Simple_Segmentation"), find("object-predictions")
    ('segmentation', 'object predictions')
    """
    plain = word.strip().casefold().replace("-", " ").replace("_", " ")
    names = ALIASES | {result.title.casefold(): key for key, result in RESULTS.items()}
    if (key := names.get(plain, plain)) in RESULTS:
        return key
    near = get_close_matches(plain, [*RESULTS, *names], 1, 0.7)
    hint = f"do you mean {names.get(near[0], near[0])!r}?" if near else f"one of {', '.join(RESULTS)}"
    raise InputError(f"unknown export {word!r}", hint=hint)


def pixel_results() -> list[str]:
    """What a pixel classifier makes of an image."""
    return [key for key, result in RESULTS.items() if result.source != "objects"]


def find_pixel_result(word: str) -> str:
    """As `find`, of the results that need no objects."""
    if (key := find(word)) not in pixel_results():
        raise InputError(
            f"{key!r} is a result of objects, predict makes those of pixels: {', '.join(pixel_results())}",
            hint="gpuseg classify makes it from labels or probabilities, gpuseg run from images",
        )
    return key


def label_dtype(values: Iterable[int]) -> np.dtype[Any]:
    """uint8, or the least unsigned type that holds the label values."""
    return np.min_scalar_type(max(values, default=0))
