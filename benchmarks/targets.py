"""What the figures have to reach, declared once; tables and exit code read it from here."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

Rows = Mapping[tuple[str, str], Mapping[str, Any]]  # (case, engine) -> row


@dataclass(frozen=True, slots=True)
class Target:
    section: str
    claim: str
    value: Callable[[Rows], float]  # KeyError: not measured
    bound: float
    sense: Literal["at least", "at most"]
    unit: str

    def verdict(self, rows: Rows) -> tuple[float | None, bool]:
        """The value that was measured, if it was, and whether it is good enough."""
        try:
            value = self.value(rows)
        except KeyError:
            return None, False
        return value, value >= self.bound if self.sense == "at least" else value <= self.bound


def times_faster(section: str, case: str, engine: str, times: float) -> Target:
    def value(rows: Rows) -> float:
        return float(rows[case, engine]["median_s"] / rows[case, "gpuseg"]["median_s"])

    return Target(section, f"{case}: speed beside {engine}", value, times, "at least", "times")


def seconds(case: str, most: float) -> Target:
    def value(rows: Rows) -> float:
        return float(rows[case, "gpuseg"]["median_s"])

    return Target("start", case, value, most, "at most", "s")


def gigabytes(case: str, most: float) -> Target:
    def value(rows: Rows) -> float:
        return float(rows[case, "gpuseg"]["peak_gb"])

    return Target("memory", case, value, most, "at most", "GB")


def growth(small: str, large: str, most: float) -> Target:
    def value(rows: Rows) -> float:
        return float(rows[large, "gpuseg"]["peak_gb"] / rows[small, "gpuseg"]["peak_gb"])

    return Target("memory", f"{large}: over {small}", value, most, "at most", "times")


def cost_of_many(cases: str, most: float) -> Target:
    """Of the largest case whose name begins so: its time per object over the least of all."""

    def value(rows: Rows) -> float:
        rates = [
            row["rate"]
            for (case, engine), row in rows.items()
            if engine == "gpuseg" and case.startswith(cases)
        ]
        if not rates:
            raise KeyError(cases)
        return float(max(rates) / rates[-1])

    return Target(
        "objects", f"{cases}: time per object among most over the least", value, most, "at most", "times"
    )


TARGETS = (
    times_faster("planes", "2D planes", "OpenCV", 3.5),
    times_faster("planes", "2D planes", "scikit-image", 12),
    times_faster("planes", "2D planes", "prototype", 1),
    times_faster("forest", "2D forest, texture", "scikit-learn", 8),
    times_faster("forest", "2D forest, texture", "vigra", 8),
    times_faster("forest", "2D forest, intensity", "scikit-learn", 20),
    times_faster("forest", "2D forest, intensity", "vigra", 20),
    times_faster("image", "2D image to probabilities", "OpenCV + vigra", 9),
    times_faster("image", "2D image to probabilities", "scikit-image + scikit-learn", 12),
    times_faster("image", "2D image to probabilities", "prototype", 1),
    times_faster("volume", "3D image to probabilities", "vigra", 12),
    times_faster("volume", "3D image to probabilities", "prototype", 1),
    times_faster("training", "training", "scikit-learn", 5),
    times_faster("objects", "2D components", "cc3d", 1),
    times_faster("objects", "2D components", "OpenCV", 1),
    times_faster("objects", "2D components", "vigra", 8),
    times_faster("objects", "3D components", "cc3d", 1),
    times_faster("objects", "2D probabilities to objects", "cc3d + fastremap", 2),
    times_faster("objects", "2D standard features", "vigra", 7),
    times_faster("objects", "3D standard features", "vigra", 7),
    times_faster("objects", "2D standard features, part of the image", "scikit-image", 100),
    times_faster("objects", "neighbourhood features", "vigra, one by one", 50),
    times_faster("objects", "convex hull features", "scikit-image", 20),
    times_faster("objects", "skeleton features", "vigra", 1),
    cost_of_many("components and standard features", 1.2),
    seconds("gpuseg predict, second start", 2.5),
    seconds("import gpuseg", 0.2),
    seconds("gpuseg --help", 0.4),
    gigabytes("peak memory", 1.5),
    growth("peak memory", "peak memory, image twice as tall", 1.1),
)


def by_case(rows: Iterable[Mapping[str, Any]]) -> Rows:
    return {(row["case"], row["engine"]): row for row in rows}
