"""Fill the tables of figures in README.md, docs and benchmarks/README.md from the newest results.

python benchmarks/tables.py [--check]; a text asks for a table between two markers:

    <!-- benchmarks: summary -->      or targets, details, machine; gpu targets, gpu kernels, ... of a card
    <!-- benchmarks: end -->

Each section's figures come from the newest file in `results/` that measured it; those of a card are apart.
"""

import json
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.gpu import tables as gpu
from benchmarks.targets import TARGETS, by_case

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
BLOCK = re.compile(r"(<!-- benchmarks: (?P<name>[a-z ]+) -->\n).*?(<!-- benchmarks: end -->)", re.DOTALL)
NOTHING = "No results yet: run `make bench`.\n"
NOT_PEERS = (
    "prototype",
    "Python alone",
    "gpuseg, whole image",
    "gpuseg, as a table",
)  # yardsticks: not in the summary

Results = dict[str, dict[str, Any]]  # section -> the run that measured it last


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the tables; with --check, 1 and the names of the files whose tables are out of date."""
    check = "--check" in (sys.argv[1:] if arguments is None else arguments)
    results, on_card, stale = newest(RESULTS), newest(RESULTS, on_card=True), []
    for path in texts(ROOT):
        old = path.read_text(encoding="utf-8")
        new = filled(old, results, on_card)
        if new != old:
            stale.append(path.relative_to(ROOT).as_posix())
            if not check:
                path.write_text(new, encoding="utf-8")
    for name in stale:
        print(f"{name}: {'out of date; run python benchmarks/tables.py' if check else 'tables filled'}")
    return 1 if check and stale else 0


def texts(root: Path) -> list[Path]:
    ours = [root / "benchmarks" / "README.md", root / "benchmarks" / "results" / "README.md"]
    return [root / "README.md", *ours, *sorted((root / "docs").glob("*.md"))]


def newest(folder: Path, on_card: bool = False) -> Results:
    """File names begin with the date, so the last one that has a section is its newest."""
    found: Results = {}
    for path in sorted(folder.glob("*.json")):
        run = json.loads(path.read_text(encoding="utf-8"))
        if ("card" in run) != on_card or run.get("quick"):
            continue
        found |= dict.fromkeys(run["sections"], run)
    return found


def filled(text: str, results: Results, on_card: Results | None = None) -> str:
    """`text` with the table between each pair of markers made anew."""

    def table(block: re.Match[str]) -> str:
        if block["name"] in gpu.TABLES:
            body = "".join(gpu.TABLES[block["name"]](on_card or {}))
        else:
            body = "".join(TABLES[block["name"]](results)) if results else NOTHING
        return f"{block[1]}\n{body}\n{block[3]}"

    return BLOCK.sub(table, text)


def summary(results: Results) -> Iterator[str]:
    """Task, what gpuseg takes, how many times longer the others take."""
    run = max(results.values(), key=lambda r: r["date"])
    machine = f"{run['cores']} cores, {run['cpu']}"
    yield f"Measured {run['date'][:10]} on {machine}; engines side by side in one run.\n\n"
    yield from _header("task", "data", "gpuseg", "the others take")
    for rows in _cases(results):
        ours = next(r for r in rows if r["engine"] == "gpuseg")
        peers = [r for r in rows if r["engine"] not in ("gpuseg", *NOT_PEERS)]
        times = ", ".join(f"{r['engine']} {r['gpuseg_is_faster_by']:.1f} ×" for r in peers)
        shown = f"{ours['peak_gb']:.2f} GB" if ours["peak_gb"] else _time(ours["median_s"])
        yield _line(ours["case"], ours["data"], shown, times)


def targets(results: Results) -> Iterator[str]:
    """Each target with what was measured."""
    yield from _header("what", "measured", "target", "")
    for target in TARGETS:
        run = results.get(target.section)
        value, reached = target.verdict(by_case(run["rows"])) if run else (None, False)
        shown = "not measured" if value is None else f"{value:.3g} {target.unit}"
        verdict = "pass" if reached else "**missed**" if value is not None else ""
        yield _line(target.claim, shown, f"{target.sense} {target.bound:.3g} {target.unit}", verdict)


def details(results: Results) -> Iterator[str]:
    """One table per task: every engine with its spread, gpuseg with its share of the machine's limits."""
    for rows in _cases(results):
        yield f"**{rows[0]['case']}** ({rows[0]['data']})\n\n"
        columns = {name: [cell(r) for r in rows] for name, cell in COLUMNS.items()}
        columns = {name: cells for name, cells in columns.items() if any(cells)}
        yield from _header(*columns)
        yield from (_line(*cells) for cells in zip(*columns.values(), strict=True))
        yield "\n"
    for skip in _skipped(results):
        yield f"- {skip['case']}, {skip['engine']}: not measured, {skip['reason']}\n"


def machine(results: Results) -> Iterator[str]:
    """Which run each section is from, and the limits that were measured in it."""
    columns = ("sections", "date", "commit", "processor", "cores", "copy", "triad", "first touch", "FMA")
    yield from _header(*columns)
    for run in _runs(results):
        sections = ", ".join(s for s, r in results.items() if r is run)
        speeds = [f"{run['limits'][k]} GB/s" for k in ("copy", "triad", "first touch")]
        fma = f"{run['limits']['fma']} GFLOP/s"
        yield _line(sections, run["date"], run["commit"], run["cpu"], run["cores"], *speeds, fma)
    versions = ", ".join(f"{k} {v}" for k, v in _runs(results)[-1]["versions"].items())
    yield f"\nVersions: {versions}. Environment: {_runs(results)[-1]['environment']}.\n"


TABLES: dict[str, Callable[[Results], Iterator[str]]] = {
    "summary": summary,
    "targets": targets,
    "details": details,
    "machine": machine,
}


COLUMNS: dict[str, Callable[[dict[str, Any]], str]] = {
    "engine": lambda r: str(r["engine"]),
    "median": lambda r: _time(r["median_s"]),
    "range": lambda r: f"{_time(r['min_s'])} to {_time(r['max_s'])}" if r["n"] > 1 else "",
    "n": lambda r: str(r["n"]),
    "rate": lambda r: f"{r['rate']:.3g} {r['unit']}" if r["rate"] else "",
    "times gpuseg's": lambda r: f"{r['gpuseg_is_faster_by']:.2f}" if r["engine"] != "gpuseg" else "",
    "of copy bandwidth": lambda r: _percent(r["of_copy_bandwidth"]),
    "of FMA rate": lambda r: _percent(r["of_fma_rate"]),
    "peak memory": lambda r: f"{r['peak_gb']:.2f} GB" if r["peak_gb"] else "",
    "note": lambda r: str(r["note"]),
}


def _runs(results: Results) -> list[dict[str, Any]]:
    """The distinct runs, oldest first."""
    return sorted({id(r): r for r in results.values()}.values(), key=lambda r: str(r["date"]))


def _cases(results: Results) -> Iterator[list[dict[str, Any]]]:
    for section, run in results.items():
        rows = [r for r in run["rows"] if r["section"] == section]
        for case in dict.fromkeys(r["case"] for r in rows):
            yield [r for r in rows if r["case"] == case]


def _skipped(results: Results) -> Iterator[dict[str, Any]]:
    for section, run in results.items():
        yield from (s for s in run["skipped"] if s["section"] == section)


def _header(*names: str) -> Iterator[str]:
    yield _line(*names)
    yield _line(*["---"] * len(names))


def _line(*cells: object) -> str:
    return f"| {' | '.join(str(c) for c in cells)} |\n"


def _percent(share: float | None) -> str:
    return f"{share:.1%}" if share else ""


def _time(seconds: float) -> str:
    return f"{seconds:.3g} s" if seconds >= 1 else f"{seconds * 1e3:.3g} ms"


if __name__ == "__main__":
    sys.exit(main())
