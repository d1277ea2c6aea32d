"""Every kernel by itself, inside the calls that launch it."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

from benchmarks.gpu import check, cost, stage
from benchmarks.gpu.clock import Task, watched
from benchmarks.gpu.rows import Cost, Row, Skip
from benchmarks.gpu.size import Size
from benchmarks.scene import shape_text
from gpuseg.backends.base import Array, Backend

MANY = 5  # times as many labelled pixels: more than 255 thresholds a feature, too many for codes
Calls = dict[str, tuple[Task, Callable[[Any], str]]]  # name -> what is called, what looks at its answer


def measure(cupy: Any, backend: Backend, size: Size) -> Iterator[Row | Skip]:
    for side in size.flat:
        yield from _image(stage.flat(cupy, backend, "texture", side, size), size)
        _release(cupy, backend)
    many = replace(size, labelled=MANY * size.labelled)
    yield from _walks(stage.flat(cupy, backend, "texture", size.flat[0], many, exact=True), size)
    for packing in ("walk_planes<Wide>", "classify2d<Wide>"):
        yield Skip("kernels", packing, packing, "for trees of more than 131,000 leaves; scribbles grow none")
    for side in size.deep:
        yield from _image(stage.deep(cupy, backend, side, size), size)
        _release(cupy, backend)


def timed(cupy: Any, task: Task, rounds: int) -> tuple[dict[str, list[float]], dict[str, int]]:
    """Seconds of every kernel in each round, and how often a round launches it."""
    task()  # compiles
    seconds: dict[str, list[float]] = {}
    launches: dict[str, int] = {}
    with watched(cupy) as watch:
        for _ in range(rounds):
            task()
            taken, launches = watch.take()
            for name, spent in taken.items():
                seconds.setdefault(name, []).append(spent)
    return seconds, launches


def _image(s: stage.Stage, size: Size) -> Iterator[Row]:
    """Kernels of planes, of a walk over stored planes, and of both at once."""
    planes = s.fill(s.empty())
    met = s.visits(planes)
    upper = [s.image[0]] * (3 if s.plain == "2D" else 6)
    proba = s.proba()
    calls: Calls = {
        "planes": (lambda: s.fill(planes), partial(check.planes, s)),
        **_forest(s, planes),
        "answers": (lambda: check.made_of(s.backend, proba), partial(check.answers, s, proba)),
        "eigenvalues": (lambda: s.backend.eigvals_sym(upper), partial(check.eigenvalues, s, upper)),
    }
    yield from _rows(s, calls, met, size, "")


def _walks(s: stage.Stage, size: Size) -> Iterator[Row]:
    """The walks alone, through a forest that many labels made."""
    planes = s.fill(s.empty())
    yield from _rows(s, _forest(s, planes), s.visits(planes), size, f", {len(s.scene.labels)} labels")


def _forest(s: stage.Stage, planes: Array) -> Calls:
    return {
        "forest": (lambda: s.backend.forest_proba(planes, s.forest), partial(check.proba, s)),
        "image": (s.proba, partial(check.proba, s)),
    }


def _rows(s: stage.Stage, calls: Calls, met: float, size: Size, more: str) -> Iterator[Row]:
    """A row for each kernel, from the first call that launches it."""
    seen: set[str] = set()
    for call, (task, look) in calls.items():
        note = look(task())
        seconds, launches = timed(s.cupy, task, size.rounds)
        for name in [n for n in seconds if n not in seen]:
            seen.add(name)
            yield Row(
                section="kernels",
                case=f"{name}, {shape_text(s.scene.plain.shape)}{more}",
                engine=name,
                data=f"{call}: {s.data}",
                seconds=seconds[name],
                items=s.scene.pixels / 1e6,
                unit=s.unit,
                cost=cost.of(name, s, met) or Cost(),
                launches=launches[name],
                note=note,
            )


def _release(cupy: Any, backend: Backend) -> None:
    """Tens of gigabytes go back before the next size needs them."""
    backend.release()
    cupy.get_default_memory_pool().free_all_blocks()
