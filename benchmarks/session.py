"""A run: which sections, measured how, saved and shown where."""

import argparse
import json
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks import (
    bench_forest,
    bench_image,
    bench_memory,
    bench_objects,
    bench_pipeline,
    bench_planes,
    bench_start,
    bench_training,
    bench_volume,
    machine,
    plot_objects,
    tables,
)
from benchmarks.measure import Case, Size, rows
from benchmarks.targets import TARGETS, by_case

SECTIONS: dict[str, Callable[[Size], Iterator[Case]]] = {
    "planes": bench_planes.measure,
    "forest": bench_forest.measure,
    "image": bench_image.measure,
    "volume": bench_volume.measure,
    "training": bench_training.measure,
    "objects": bench_objects.measure,
    "pipeline": bench_pipeline.measure,
    "start": bench_start.measure,
    "memory": bench_memory.measure,
}
QUICK = Size(
    512,
    64,
    32,
    rounds=3,
    prototypes=False,
    file_side=256,
    memory_side=1024,
    object_side=512,
    object_cube=64,
    most_objects=10**4,
    patience=0,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """0 if every target that was measured at full size is reached, else 1."""
    options = _options(arguments)
    machine.pin()
    stamp = time.strftime("%Y-%m-%dT%H%M%SZ", time.gmtime())
    out = options.out or (None if options.quick else tables.RESULTS / f"{stamp}.json")
    result = measure(options.only, QUICK if options.quick else Size(), out)
    missed = report(result)
    if out is not None and out.parent == tables.RESULTS:
        tables.main([])
        if "objects" in options.only:
            plot_objects.main()
    return 1 if missed and not options.quick else 0


def measure(sections: Sequence[str], size: Size, out: Path | None) -> dict[str, Any]:
    """Facts, limits and rows of the sections; saved after each, so that a failure loses one section."""
    result: dict[str, Any] = machine.facts() | {"sections": [], "skipped": [], "rows": []}
    result["limits"] = limits = machine.limits(rounds=size.rounds, megabytes=size.limit_mb)
    print(f"{result['cpu']}, {result['cores']} cores, limits {limits}", flush=True)
    for section in sections:
        start = time.monotonic()
        for case in SECTIONS[section](size):
            result["rows"] += (new := list(rows(case, limits)))
            result["skipped"] += [
                {"section": section, "case": case.name, "engine": engine, "reason": reason}
                for engine, reason in case.skipped.items()
            ]
            print_case(case, new)
        result["sections"].append(section)
        if out is not None:
            out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        print(f"-- {section}: {time.monotonic() - start:.0f} s", flush=True)
    return result


def print_case(case: Case, new: list[dict[str, Any]]) -> None:
    print(f"\n{case.name}: {case.data}")
    for row in new:
        beside = row["gpuseg_is_faster_by"]
        ratio = f"{beside:6.2f} x" if beside and row["engine"] != "gpuseg" else " " * 8
        peak = f"  {row['peak_gb']:.2f} GB" if row["peak_gb"] else ""
        print(
            f"  {row['engine']:28s}{row['median_s'] * 1e3:10.1f} ms {ratio}"
            f"  ±{row['spread'] / 2:.0%}{peak}  {row['note']}",
            flush=True,
        )
    for engine, reason in case.skipped.items():
        print(f"  {engine:28s}skipped: {reason}", flush=True)


def report(result: dict[str, Any]) -> int:
    """Print each target of the measured sections; how many were missed."""
    found, missed = by_case(result["rows"]), 0
    print("\ntargets")
    for target in TARGETS:
        if target.section in result["sections"]:
            value, reached = target.verdict(found)
            missed += not reached
            shown = "not measured" if value is None else f"{value:.3g}"
            verdict = "pass" if reached else "FAIL"
            print(f"  {verdict}  {target.claim}: {shown}, {target.sense} {target.bound:.3g} {target.unit}")
    return missed


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="benchmarks/run.py", description="gpuseg beside other programs, timed"
    )
    parser.add_argument(
        "--only", nargs="+", choices=SECTIONS, default=list(SECTIONS), metavar="SECTION",
        help=f"of {', '.join(SECTIONS)}",
    )  # fmt: skip
    parser.add_argument("--quick", action="store_true", help="small inputs; a rehearsal, not a result")
    parser.add_argument("--out", type=Path, help="write the JSON here instead of results/")
    return parser.parse_args(arguments)
