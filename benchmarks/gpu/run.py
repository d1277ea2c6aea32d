"""A run on the card: which sections, at what size, saved and shown where."""

import argparse
import json
import re
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.gpu import (
    card,
    components,
    files,
    flood,
    kernels,
    peers,
    pipeline,
    regions,
    rings,
    stroke,
    tables,
    tasks,
    training,
)
from benchmarks.gpu.rows import Row, Skip
from benchmarks.gpu.size import QUICK, Size
from benchmarks.gpu.targets import TARGETS
from benchmarks.targets import by_case
from gpuseg.backends import get_backend
from gpuseg.backends.base import Backend

Section = Callable[[Any, Backend, Size], Iterator[Row | Skip]]
SECTIONS: dict[str, Section] = {
    "flat": tasks.flat,
    "training": training.measure,
    "stroke": stroke.measure,
    "kernels": kernels.measure,
    "components": components.measure,
    "flood": flood.measure,
    "regions": regions.measure,
    "rings": rings.measure,
    "deep": tasks.deep,
    "files": files.measure,
    "pipeline": pipeline.measure,
    "peers": peers.measure,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """1 if a section failed; a target that is missed is a figure like any other and fails nothing."""
    import cupy

    options = _options(arguments)
    size = QUICK if options.quick else Size()
    result = measure(cupy, options.only, size, options.out)
    result["quick"] = options.quick
    _save(result, options.out)
    report(result)
    return 1 if result["failed"] else 0


def measure(cupy: Any, sections: Sequence[str], size: Size, folder: Path) -> dict[str, Any]:
    """Facts, limits and rows of the sections; saved after each, so that a failure loses one section."""
    backend = get_backend("cuda")
    result: dict[str, Any] = card.facts(cupy) | {"sections": [], "skipped": [], "failed": [], "rows": []}
    result["limits"] = limits = card.limits(cupy, size)
    print(f"{result['card']}, limits {limits}", flush=True)
    cupy.get_default_memory_pool().free_all_blocks()
    for section in sections:
        start = time.monotonic()
        try:
            for made in SECTIONS[section](cupy, backend, size):
                _add(result, made, limits)
            result["sections"].append(section)
        except Exception as error:  # whatever it is, the next section can be measured
            traceback.print_exc()
            result["failed"].append({"section": section, "error": f"{type(error).__name__}: {error}"})
        backend.release()
        cupy.get_default_memory_pool().free_all_blocks()
        _save(result, folder)
        print(f"-- {section}: {time.monotonic() - start:.0f} s", flush=True)
    return result


def report(result: dict[str, Any]) -> None:
    """Print each target of the measured sections, and what failed."""
    found = by_case(result["rows"])
    for target in TARGETS:
        value, reached = target.verdict(found)
        shown = "not measured" if value is None else f"{value:.3g} {target.unit}"
        verdict = "    " if value is None else "pass" if reached else "MISS"
        print(f"{verdict}  {target.claim}: {shown}, {target.sense} {target.bound:.3g} {target.unit}")
    for failed in result["failed"]:
        print(f"FAIL  {failed['section']}: {failed['error'].splitlines()[0]}")


def _add(result: dict[str, Any], made: Row | Skip, limits: dict[str, float]) -> None:
    if isinstance(made, Skip):
        result["skipped"].append(
            {"section": made.section, "case": made.case, "engine": made.engine, "reason": made.reason}
        )
        print(f"  {made.case}, {made.engine}: skipped, {made.reason}", flush=True)
        return
    row = made.as_json(limits)
    result["rows"].append(row)
    share = f"{row['of_limit']:6.1%} of {row['bound']}" if row["bound"] else ""
    print(
        f"  {made.case:50s}{made.engine:20s}{row['median_s'] * 1e3:10.3f} ms {share}  {made.note}", flush=True
    )


def _save(result: dict[str, Any], folder: Path) -> None:
    """DATE-CARD.json and the same as a readable table."""
    name = re.sub(r"[^A-Za-z0-9]+", "-", result["card"]).strip("-")
    stamp = re.sub(r"[^0-9-]", "", result["date"].replace(" ", "T"))
    path = folder / f"{stamp}-{name}.json"
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    (folder / "table.md").write_text(tables.page(result), encoding="utf-8")


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python3 -m benchmarks.gpu", description="gpuseg on a card, timed")
    parser.add_argument(
        "--only", nargs="+", choices=SECTIONS, default=list(SECTIONS), metavar="SECTION",
        help=f"of {', '.join(SECTIONS)}",
    )  # fmt: skip
    parser.add_argument("--quick", action="store_true", help="small inputs; a rehearsal, not a result")
    parser.add_argument("--out", type=Path, default=Path(), help="folder for DATE-CARD.json and table.md")
    return parser.parse_args(arguments)
