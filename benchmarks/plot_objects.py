"""What an object costs among many, drawn from the newest results: python benchmarks/plot_objects.py"""

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks import tables
from benchmarks.bench_objects import SCALING

PICTURE = tables.ROOT / "docs" / "pictures" / "objects_scaling.png"


def main(picture: Path = PICTURE) -> int:
    """Draw the picture; 1 if there is nothing to draw it from, or with."""
    run = tables.newest(tables.RESULTS).get("objects")
    if run is None or not find_spec("matplotlib"):
        print(f"{picture.name}: not drawn, {'matplotlib is not installed' if run else 'no results yet'}")
        return 1
    draw(points(run["rows"]), f"{run['cpu']}, {run['cores']} cores, {run['date'][:10]}", picture)
    return 0


def points(rows: list[dict[str, Any]]) -> list[tuple[float, float, float, float]]:
    """Objects; microseconds per object: median, least, most."""
    found = []
    for row in rows:
        if row["case"].startswith(SCALING):
            n = row["rate"] * row["median_s"] * 1e3  # rates are in thousands of rows
            found.append((n, *(1e6 * row[key] / n for key in ("median_s", "min_s", "max_s"))))
    return sorted(found)


def draw(found: list[tuple[float, float, float, float]], machine: str, picture: Path) -> None:
    from matplotlib.figure import Figure

    n, median, least, most = zip(*found, strict=True)
    figure = Figure(figsize=(6, 3.2), layout="constrained")
    axes = figure.subplots()
    below = [m - a for m, a in zip(median, least, strict=True)]
    above = [b - m for m, b in zip(median, most, strict=True)]
    axes.errorbar(n, median, (below, above), marker="o", capsize=3, color="#1f5fa8")
    axes.set(xscale="log", ylim=(0, None), xlabel="objects", ylabel="µs per object")
    axes.set_title(f"Components and standard features, one table\n{machine}", fontsize=9)
    axes.grid(alpha=0.3)
    figure.savefig(picture, dpi=120, metadata={"Software": None})


if __name__ == "__main__":
    sys.exit(main())
