"""Time several engines on the same task, in turn, on a machine that others may be using."""

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil
from pathlib import Path
from statistics import median
from typing import Any

Run = Callable[[], float]  # does the task once and says how many seconds it took

SAMPLE = 0.2  # seconds: shorter tasks are repeated within a sample, the clock and the scheduler are coarse
FOREIGN = 0.15  # cores: a sample during which other processes used more is taken again


@dataclass(frozen=True, slots=True)
class Sample:
    seconds: float
    foreign: float  # cores that other processes kept busy meanwhile


@dataclass(frozen=True, slots=True)
class Size:
    """How large the inputs are; the defaults are what the targets are about."""

    side: int = 2048  # of the square image
    cube: int = 128  # of the volume
    band: int = 128  # rows taken of each quarter of the image, where engines are slow
    labelled: int = 2000  # pixels under scribbles
    trees: int = 100
    rounds: int = 5
    patience: float = 20.0  # seconds that one race may lose to waiting for a quiet machine
    limit_mb: int = 256  # of each array that the machine's limits are measured with
    prototypes: bool = True  # they take a minute to compile
    file_side: int = 1024  # of the image that the command line reads
    memory_side: int = 4096
    object_side: int = 4096  # of the image of cells
    object_cube: int = 256  # of the volume of blobs
    most_objects: int = 10**6


@dataclass(frozen=True, slots=True)
class Case:
    """One task and what each engine took for it."""

    section: str
    name: str
    data: str
    items: float  # pixels or rows, which the rate counts; 0 where nothing is
    unit: str
    samples: Mapping[str, list[Sample]]
    traffic: float = 0.0  # bytes that gpuseg has to read and write at least once
    flops: float = 0.0  # 2 per filter tap that it cannot do without
    notes: Mapping[str, str] = field(default_factory=dict)  # by engine
    skipped: Mapping[str, str] = field(default_factory=dict)  # engine -> reason
    memory: Mapping[str, float] = field(default_factory=dict)  # engine -> peak, in GB


def clock(task: Callable[[], object]) -> Run:
    """`task` as something that can be raced."""

    def run() -> float:
        start = time.perf_counter()
        task()
        return time.perf_counter() - start

    return run


class Lineup:
    """The engines that do one task, and those that cannot take part, with the reason."""

    def __init__(self, size: Size) -> None:
        self.size = size
        self.others: list[int] = []  # processes that work for us
        self.runs: dict[str, Run] = {}
        self.checks: dict[str, Callable[[], str]] = {}
        self.skipped: dict[str, str] = {}

    def admits(self, engine: str, absent: str) -> bool:
        """Whether `engine` can take part; `absent` says why not."""
        if absent:
            self.skipped[engine] = absent
        return not absent

    def add(self, engine: str, run: Run, check: Callable[[], str] | None = None) -> None:
        """`check` is called after the first run and describes what came out."""
        self.runs[engine] = run
        if check is not None:
            self.checks[engine] = check

    def race(self, section: str, name: str, data: str, items: float, unit: str, **more: Any) -> Case:
        """Warm up, check, time; `more` as in Case."""
        notes = {}
        for engine, run in self.runs.items():
            run()
            notes[engine] = self.checks[engine]() if engine in self.checks else ""
        samples = race(self.runs, self.size.rounds, self.size.patience, self.others)
        return Case(
            section, name, data, items, unit, samples=samples, notes=notes, skipped=self.skipped, **more
        )


def race(
    runs: Mapping[str, Run], rounds: int, patience: float = 0.0, others: Sequence[int] = ()
) -> dict[str, list[Sample]]:
    """`rounds` samples of each run, taken in turn so that a slow minute hits everyone.

    While patience lasts, samples wait for other processes to leave the machine alone, and disturbed ones
    are taken again. The least disturbed are kept: the choice looks at the disturbance, never at the time.
    """
    taken: dict[str, list[Sample]] = {name: [] for name in runs}
    repeats = dict.fromkeys(runs, 1)
    for attempt in range(2 * rounds):
        for name, run in runs.items():
            clean = sum(s.foreign <= FOREIGN for s in taken[name])
            if attempt < rounds or (clean < rounds and patience > 0):
                start = time.monotonic()
                wait_until_quiet(patience)
                waited = time.monotonic()
                taken[name].append(_sample(run, repeats[name], others))
                patience -= (waited if attempt < rounds else time.monotonic()) - start
                repeats[name] = max(1, ceil(SAMPLE / max(taken[name][0].seconds, 1e-6)))
    return {name: sorted(s, key=lambda s: s.foreign)[:rounds] for name, s in taken.items()}


def wait_until_quiet(patience: float) -> None:
    """Return when other processes leave the machine alone, or when patience ends."""
    end = time.monotonic() + patience
    while time.monotonic() < end:
        start, busy = time.perf_counter(), _busy()
        time.sleep(0.1)
        if (_busy() - busy) / (time.perf_counter() - start) < FOREIGN:
            return


def rows(case: Case, limits: Mapping[str, float]) -> Iterator[dict[str, Any]]:
    """One JSON object per engine of `case`."""
    ours = [s.seconds for s in case.samples.get("gpuseg", ())]
    for engine, samples in case.samples.items():
        seconds = [s.seconds for s in samples]
        middle = median(seconds)
        row = {
            "section": case.section,
            "case": case.name,
            "engine": engine,
            "data": case.data,
            "n": len(seconds),
            "median_s": middle,
            "min_s": min(seconds),
            "max_s": max(seconds),
            "spread": (max(seconds) - min(seconds)) / middle,
            "foreign_cores": max(s.foreign for s in samples),
            "rate": case.items / middle if case.items else None,
            "unit": f"{case.unit}/s",
            "gpuseg_is_faster_by": middle / median(ours) if ours else None,
            "of_copy_bandwidth": _share(case.traffic / middle, limits["copy"], engine),
            "of_fma_rate": _share(case.flops / middle, limits["fma"], engine),
            "peak_gb": case.memory.get(engine),
            "note": case.notes.get(engine, ""),
        }
        yield {key: float(f"{v:.5g}") if isinstance(v, float) else v for key, v in row.items()}


def _share(rate: float, limit: float, engine: str) -> float | None:
    """Of gpuseg only: what the others have to read and compute at least is theirs to say."""
    return rate / limit / 1e9 if rate and engine == "gpuseg" else None


def _sample(run: Run, repeats: int, others: Sequence[int]) -> Sample:
    start, busy, own = time.perf_counter(), _busy(), _own(others)
    seconds = sum(run() for _ in range(repeats)) / repeats
    wall = time.perf_counter() - start
    return Sample(seconds, max(0.0, (_busy() - busy) - (_own(others) - own)) / wall)


def _busy() -> float:
    """CPU seconds that all processes of the machine have used since it started."""
    ticks = [int(t) for t in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return (sum(ticks) - ticks[3] - ticks[4]) / os.sysconf("SC_CLK_TCK")  # less idle and iowait


def _own(others: Sequence[int]) -> float:
    """CPU seconds of this process, its finished children, and `others`."""
    t = os.times()
    total = t.user + t.system + t.children_user + t.children_system
    for pid in others:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        total += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return total
