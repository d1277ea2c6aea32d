"""One figure: what was done, how long it took, and how much of the card that is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any


@dataclass(frozen=True, slots=True)
class Cost:
    """What a kernel cannot do without, by the formulas of `cost.py`."""

    bytes: float = 0.0  # read from and written to device memory
    operations: float = 0.0  # one for a product, one for a sum
    shared: float = 0.0  # bytes read and written in shared memory

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(self.bytes + other.bytes, self.operations + other.operations, self.shared + other.shared)


@dataclass(frozen=True, slots=True)
class Skip:
    """What could not be measured, and why."""

    section: str
    case: str
    engine: str
    reason: str


@dataclass(frozen=True, slots=True)
class Row:
    section: str
    case: str
    data: str
    seconds: Sequence[float]  # one per round
    engine: str = "gpuseg"
    items: float = 0.0  # pixels or rows in millions, which the rate counts
    unit: str = ""
    cost: Cost = Cost()
    launches: int = 0  # of the kernel, in one round
    note: str = ""

    def as_json(self, limits: Mapping[str, float]) -> dict[str, Any]:
        """Medians, rate, and the share of the limit that bounds the kernel: the one it uses most of."""
        middle = median(self.seconds)
        shares = {
            "copy": _share(self.cost.bytes, middle, limits.get("copy")),
            "fma": _share(self.cost.operations, middle, limits.get("fma")),
            "shared": _share(self.cost.shared, middle, limits.get("shared")),
        }
        bound = max(shares, key=lambda name: shares[name] or 0)
        row = {
            "section": self.section,
            "case": self.case,
            "engine": self.engine,
            "data": self.data,
            "n": len(self.seconds),
            "median_s": middle,
            "min_s": min(self.seconds),
            "max_s": max(self.seconds),
            "rate": self.items / middle if self.items else None,
            "unit": f"{self.unit}/s" if self.unit else "",
            "launches": self.launches or None,
            "bytes": self.cost.bytes or None,
            "operations": self.cost.operations or None,
            "shared_bytes": self.cost.shared or None,
            "of_copy_bandwidth": shares["copy"],
            "of_fma_rate": shares["fma"],
            "of_shared_bandwidth": shares["shared"],
            "bound": bound if shares[bound] else None,
            "of_limit": shares[bound],
            "note": self.note,
        }
        return {key: float(f"{v:.5g}") if isinstance(v, float) else v for key, v in row.items()}


def _share(amount: float, seconds: float, limit: float | None) -> float | None:
    return amount / seconds / limit / 1e9 if amount and limit else None
