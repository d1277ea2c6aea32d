"""Time on the device: events around a task, and around every kernel that a task launches."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from gpuseg.backends._kernels import Kernels

Task = Callable[[], object]


def device_seconds(cupy: Any, task: Task, rounds: int) -> list[float]:
    """Seconds between two events around `task`, `rounds` times: the device's work and its gaps."""
    taken = []
    for _ in range(rounds):
        start = _mark(cupy)
        task()
        end = _mark(cupy)
        end.synchronize()
        taken.append(cupy.cuda.get_elapsed_time(start, end) / 1e3)
    return taken


def wall_seconds(cupy: Any, task: Task, rounds: int) -> list[float]:
    """Seconds by the host's clock until `task` and all it started on the device are done."""
    taken = []
    for _ in range(rounds):
        cupy.cuda.Device().synchronize()
        start = time.perf_counter()
        task()
        cupy.cuda.Device().synchronize()
        taken.append(time.perf_counter() - start)
    return taken


@dataclass(slots=True)
class Watch:
    """Every kernel launched while it watched."""

    cupy: Any
    marks: list[tuple[str, Any, Any]] = field(default_factory=list)  # kernel, event before, event after

    def take(self) -> tuple[dict[str, float], dict[str, int]]:
        """Seconds and launches by kernel since the last call."""
        marks, self.marks = self.marks, []
        seconds: dict[str, float] = {}
        launches: dict[str, int] = {}
        for name, start, end in marks:
            end.synchronize()
            seconds[name] = seconds.get(name, 0.0) + self.cupy.cuda.get_elapsed_time(start, end) / 1e3
            launches[name] = launches.get(name, 0) + 1
        return seconds, launches


@contextmanager
def watched(cupy: Any) -> Iterator[Watch]:
    """Events around each launch, of any backend and thread, until the end of the block."""
    watch, launch = Watch(cupy), Kernels.launch

    def timed(self: Kernels, name: str, *arguments: Any, **more: Any) -> None:
        start = _mark(cupy)
        launch(self, name, *arguments, **more)
        watch.marks.append((name, start, _mark(cupy)))

    Kernels.launch = timed  # type: ignore[method-assign]  # only here, only while somebody looks
    try:
        yield watch
    finally:
        Kernels.launch = launch  # type: ignore[method-assign]


def _mark(cupy: Any) -> Any:
    """An event in this thread's stream, after all that was started there."""
    event = cupy.cuda.Event()
    event.record(cupy.cuda.get_current_stream())
    return event
