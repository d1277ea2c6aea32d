"""Tables of what was measured on cards; without a measurement, tables that say so."""

from collections.abc import Iterator, Mapping
from typing import Any

from benchmarks.gpu.targets import TARGETS
from benchmarks.targets import by_case

NOT_YET = "not yet measured on a GPU"  # at this size, in a table of a rehearsal
Results = Mapping[str, Mapping[str, Any]]  # section -> the run on a card that measured it last


def targets(results: Results) -> Iterator[str]:
    """Each target with what was measured, and on which card."""
    yield from header("what", "measured", "target", "", "card")
    for target in TARGETS:
        run = results.get(target.section)
        value, reached = target.verdict(by_case(run["rows"])) if run else (None, False)
        shown = NOT_YET if value is None else f"{value:.3g} {target.unit}"
        verdict = "" if value is None else "pass" if reached else "**missed**"
        named = run["card"] if run and value is not None else ""
        yield line(target.claim, shown, f"{target.sense} {target.bound:.3g} {target.unit}", verdict, named)


def kernels(results: Results) -> Iterator[str]:
    """Every kernel at every size: what it moves, how long it takes, and its share of the card's limits."""
    rows = [r for run in distinct(results) for r in run["rows"] if r["launches"]]
    if not rows:
        yield f"No kernel was {NOT_YET.removeprefix('not yet ')} yet.\n"
        return
    yield from header(
        "kernel", "data", "median", "launches", "GB", "Gop", "shared GB", "of copy", "of FMA", "of shared",
        "bound by", "checked",
    )  # fmt: skip
    for r in rows:
        amounts = [f"{r[k] / 1e9:.3g}" if r[k] else "" for k in ("bytes", "operations", "shared_bytes")]
        shares = [percent(r[f"of_{k}"]) for k in ("copy_bandwidth", "fma_rate", "shared_bandwidth")]
        yield line(
            r["case"], r["data"], duration(r["median_s"]), r["launches"], *amounts, *shares,
            r["bound"] or "", r["note"],
        )  # fmt: skip


def tasks(results: Results) -> Iterator[str]:
    """Whole tasks, with what was skipped."""
    rows = [r for run in distinct(results) for r in run["rows"] if not r["launches"]]
    if not rows:
        yield f"No task was {NOT_YET.removeprefix('not yet ')} yet.\n"
        return
    yield from header("task", "data", "engine", "median", "range", "n", "rate", "note")
    for r in rows:
        span = f"{duration(r['min_s'])} to {duration(r['max_s'])}"
        rate = f"{r['rate']:.3g} {r['unit']}" if r["rate"] else ""
        yield line(r["case"], r["data"], r["engine"], duration(r["median_s"]), span, r["n"], rate, r["note"])
    for skip in (s for run in distinct(results) for s in run["skipped"]):
        yield f"\n- {skip['case']}, {skip['engine']}: not measured, {skip['reason']}\n"


def cards(results: Results) -> Iterator[str]:
    """Which run each section is from, and the limits that were measured in it."""
    if not results:
        yield f"No card was {NOT_YET.removeprefix('not yet ').removesuffix(' on a GPU')} yet.\n"
        return
    names = ("copy", "fma", "shared", "to the device", "to the host")
    yield from header("sections", "date", "commit", "card", "driver, CUDA, CuPy", *names)
    for run in distinct(results):
        sections = ", ".join(s for s, r in results.items() if r is run)
        software = f"{run['driver']}, {run['cuda']}, {run['versions']['cupy']}"
        units = [f"{run['limits'][k]:.5g} {'GFLOP/s' if k == 'fma' else 'GB/s'}" for k in names]
        yield line(sections, run["date"], run["commit"], run["card"], software, *units)


def page(run: Mapping[str, Any]) -> str:
    """One run as a page of its own."""
    results = dict.fromkeys(run["sections"], run)
    failed = "".join(f"- {f['section']} failed: {f['error'].splitlines()[0]}\n" for f in run["failed"])
    quick = "Small inputs: a rehearsal, not a result.\n\n" if run.get("quick") else ""
    parts = {"Card": cards, "Targets": targets, "Kernels": kernels, "Tasks": tasks}
    text = "".join(f"## {title}\n\n{''.join(table(results))}\n" for title, table in parts.items())
    return f"# {run['card']}, {run['date']}\n\n{quick}{failed}\n{text}"


TABLES = {"gpu targets": targets, "gpu kernels": kernels, "gpu tasks": tasks, "gpu cards": cards}


def distinct(results: Results) -> list[Mapping[str, Any]]:
    """The runs, oldest first."""
    return sorted({id(r): r for r in results.values()}.values(), key=lambda r: str(r["date"]))


def header(*names: str) -> Iterator[str]:
    yield line(*names)
    yield line(*["---"] * len(names))


def line(*cells: object) -> str:
    return f"| {' | '.join(str(c) for c in cells)} |\n"


def percent(share: float | None) -> str:
    return f"{share:.1%}" if share else ""


def duration(seconds: float) -> str:
    return f"{seconds:.3g} s" if seconds >= 1 else f"{seconds * 1e3:.3g} ms"
