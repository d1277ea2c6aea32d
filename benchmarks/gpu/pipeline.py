"""From a raw image to the class of every object and a table: in one pass, verb by verb, on the CPU."""

import os
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import bench_pipeline, cells
from benchmarks.gpu.check import WrongAnswer
from benchmarks.gpu.clock import wall_seconds
from benchmarks.gpu.rows import Row
from benchmarks.gpu.size import Size
from gpuseg.backends.base import Backend

ROUNDS = 5  # at most: the CPU takes its time


def measure(cupy: Any, backend: Backend, size: Size) -> Iterator[Row]:
    made = cells.flat(size.side)
    raw = np.rint(made.image).astype(np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        task = bench_pipeline.Task(raw, made.labels, Path(folder), size.trees, ".npy")
        works = {
            "gpuseg, CPU": ("cpu", partial(task.one_pass, "cpu", "cpu")),
            "gpuseg": ("one", partial(task.one_pass, backend.name)),
            "gpuseg, four verbs": ("four", partial(task.four_verbs, backend.name)),
        }
        for engine, (name, work) in works.items():
            work()
            try:
                note = task.same(name, "cpu") if name != "cpu" else f"{os.cpu_count()} cores"
            except AssertionError as error:
                raise WrongAnswer(f"{engine}: {error}, of those of the CPU") from error
            seconds = wall_seconds(cupy, work, min(size.rounds, ROUNDS))
            yield Row(
                "pipeline", bench_pipeline.CASE, task.data, seconds, engine, raw.size / 1e6, "Mpx", note=note
            )
