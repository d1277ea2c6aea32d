"""Whole tasks on the device: planes, forest, image to probabilities, in 2D and 3D."""

from collections.abc import Iterator
from typing import Any

from benchmarks.gpu import check, stage
from benchmarks.gpu.clock import Task, device_seconds
from benchmarks.gpu.rows import Row
from benchmarks.gpu.size import Size
from gpuseg.backends.base import Backend


def flat(cupy: Any, backend: Backend, size: Size) -> Iterator[Row]:
    """What the targets for images are about."""
    for kind in ("texture", "intensity"):
        s = stage.flat(cupy, backend, kind, size.side, size)
        yield from _tasks(s, size, f", {kind}")


def deep(cupy: Any, backend: Backend, size: Size) -> Iterator[Row]:
    """What the target for volumes is about."""
    yield from _tasks(stage.deep(cupy, backend, size.cube, size), size, "")


def _tasks(s: stage.Stage, size: Size, kind: str) -> Iterator[Row]:
    planes = s.fill(s.empty())
    if kind != ", intensity":  # the planes are the same as under the other scribbles
        yield _row(s, f"{s.plain} planes", lambda: s.fill(planes), size, check.planes(s, planes))
    proba = s.backend.forest_proba(planes, s.forest)
    walk = f"{check.proba(s, proba)}; {len(s.forest.feature)} nodes"
    yield _row(s, f"{s.plain} forest{kind}", lambda: s.backend.forest_proba(planes, s.forest), size, walk)
    planes = None  # before the last task wants its room
    yield _row(s, f"{s.plain} image to probabilities{kind}", s.proba, size, check.proba(s, s.proba()))


def _row(s: stage.Stage, case: str, task: Task, size: Size, note: str) -> Row:
    task()
    seconds = device_seconds(s.cupy, task, size.rounds)
    section = "flat" if s.plain == "2D" else "deep"
    return Row(section, case, s.data, seconds, items=s.scene.pixels / 1e6, unit=s.unit, note=note)
