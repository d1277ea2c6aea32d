"""Probabilities in, objects out: `gpuseg.segment`."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from gpuseg.axes import reorder
from gpuseg.backends import get_backend
from gpuseg.errors import InputError
from gpuseg.objects.maps import Map, Range
from gpuseg.objects.settings import FinalInput, GrowLimit, Method, Settings
from gpuseg.objects.thresholds import STEPS, Labelled, objects, see


@dataclass(frozen=True, slots=True, eq=False)
class Segmentation:
    """Objects of an image, numbered from 1 in scan order at each time point."""

    labels: NDArray[np.int32]  # axes of the probabilities, without c
    count: NDArray[np.int64]  # (time points,)
    axes: str  # of labels
    classes: tuple[NDArray[np.int64], ...] = ()  # of each time point: (objects,), the class of each
    steps: Mapping[str, NDArray[Any]] = field(default_factory=dict)  # those asked for, axes of labels


def segment(
    proba: Any,
    *,
    axes: str | None = None,
    range: Range | None = None,
    channel: int | None = None,
    core_channel: int | None = None,
    method: Method = "simple",
    threshold: float | None = None,
    low: float | None = None,
    high: float | None = None,
    sigma: float | Sequence[float] = 1.0,
    min_size: int = 10,
    max_size: int = 1_000_000,
    keep_apart: bool = False,
    grow_limit: GrowLimit | None = None,
    final_input: FinalInput | None = None,
    connectivity: int = 1,
    split: float | None = None,
    drop_border: bool = False,
    classes: Sequence[int] = (),
    compat: Literal["ilastik"] | None = None,
    steps: Collection[str] = (),
    backend: str = "auto",
) -> Segmentation:
    """Objects of a probability map: smoothed, thresholded, connected, filtered by size.

    Parameters
    ----------
    proba : floats of 0 to 1, or uint8 or uint16 of 0 to the largest value; time points are independent.
    axes : one letter of tzyxc each; by default guessed from the shape, which is logged.
    range : values that stand for 0 and 1.
    channel, core_channel : from 0, the default; the core's is that of the objects unless another is named.
    method : "simple": all that reaches `threshold` (0.5). "hysteresis": all that reaches `low` (0.5) and
        contains a core, a part of the right size that reaches `high` (0.8).
    sigma : of the smoothing, in pixels, one number or those along x, y(, z); 0 does not smooth.
    min_size, max_size : pixels of an object, and of a core, both inclusive.
    keep_apart : hysteresis, but cores that hang together stay objects of their own ("Don't merge objects").
    grow_limit : where these end: "strict" at `low`, "shell" one pixel beyond, as ilastik's do.
    final_input : with two channels `low` is applied to their "sum", as in ilastik, or to `channel` alone.
    connectivity : pixels hang together by faces (1), also edges (2), also corners (3, in volumes).
    split : part objects where they are thin: at necks `split` pixels narrower than what they join.
    drop_border : without the objects at the border of the image.
    classes : channels of several classes in one go: each pixel goes to its likeliest class, touching objects
        of different classes stay apart; `threshold`, by default 0, is what the winner needs.
    compat : "ilastik" for exactly what it does.
    steps : intermediate images to return: "smoothed", "final" (above the low threshold), "cores",
        "cores_after_size_filter", "before_size_filter".

    >>> proba = np.zeros((32, 32), "float32")
    >>> proba[2:8, 2:8] = proba[20:30, 20:30] = 0.9
    >>> found = segment(proba, sigma=0)
    >>> found.count, found.labels[4, 4], found.labels[25, 25]
    (array([2]), np.int32(1), np.int32(2))
    """
    s = Settings.of(
        method=method,
        channel=channel,
        core_channel=core_channel,
        threshold=threshold,
        low=low,
        high=high,
        sigma=sigma,
        min_size=min_size,
        max_size=max_size,
        keep_apart=keep_apart,
        grow_limit=grow_limit,
        final_input=final_input,
        connectivity=connectivity,
        split=split,
        drop_border=drop_border,
        classes=classes,
        compat=compat,
    )
    return segment_map(Map.of(proba, axes, range), s, steps, backend)


def segment_map(image: Map, s: Settings, steps: Collection[str] = (), backend: str = "auto") -> Segmentation:
    """Objects of every time point of a checked map."""
    _check_steps(steps, s)
    channels = s.channels(image.sizes["c"], image.axes if image.guessed else "")
    sigma = s.smoothing(image.shape)
    b = get_backend(backend)
    found = []
    for t in range(image.sizes["t"]):
        seen = see(b, image.at(b, t, channels), s, sigma)
        one = objects(b, seen, s, wanted=steps)
        found.append(Labelled(b.to_numpy(one.labels), one.count, one.classes, one.steps))
        del seen, one
    axes = image.axes.replace("c", "")

    def together(parts: list[NDArray[Any]]) -> NDArray[Any]:
        stacked = parts[0][None] if len(parts) == 1 else np.stack(parts)
        return np.ascontiguousarray(reorder(stacked, "tzyx", axes))

    return Segmentation(
        together([f.labels for f in found]),
        np.array([f.count for f in found], np.int64),
        axes,
        tuple(f.classes for f in found if f.classes is not None),
        {name: together([f.steps[name] for f in found]) for name in steps},
    )


def _check_steps(steps: Collection[str], s: Settings) -> None:
    without_cores = [n for n in STEPS if s.method == "hysteresis" or "cores" not in n]
    for name in steps:
        if name not in STEPS:
            raise InputError(f"unknown step {name!r}", hint=f"one of {', '.join(STEPS)}")
        if name not in without_cores:
            raise InputError(f"step {name!r}: method {s.method!r} has no cores")
