"""What the figures of a card have to reach; they are meant for an H200."""

from benchmarks.targets import Rows, Target

LONG = 1e-4  # seconds: shorter kernels are their own start more than anything else
MS = 1e3
IMAGE, VIEW = "4096 x 4096", "view of 2048 x 2048"


def milliseconds(section: str, case: str, most: float, data: str) -> Target:
    """Of rows on such data; on others, in a rehearsal, it counts as not measured."""

    def value(rows: Rows) -> float:
        row = rows[case, "gpuseg"]
        if data not in row["data"]:
            raise KeyError(data)
        return float(row["median_s"]) * MS

    return Target(section, f"{case}, {data}", value, most, "at most", "ms")


def times_faster(case: str, engine: str, times: float) -> Target:
    def value(rows: Rows) -> float:
        return float(rows[case, engine]["median_s"] / rows[case, "gpuseg"]["median_s"])

    return Target("peers", f"{case}: speed beside {engine}", value, times, "at least", "times")


def times_the_slower(case: str, most: float) -> Target:
    """Of reading and writing alone."""

    def value(rows: Rows) -> float:
        slower = max(rows[case, f"{work} alone"]["median_s"] for work in ("reading", "writing"))
        return float(rows[case, "gpuseg"]["median_s"] / slower)

    return Target("files", f"{case}: over the slower of reading and writing", value, most, "at most", "times")


def least_share(least: float) -> Target:
    """Of the limit that bounds it, by the kernel that reaches least; KeyError if none is long enough."""

    def value(rows: Rows) -> float:
        long = [r for r in rows.values() if r["launches"] and r["median_s"] > LONG]
        if not long:
            raise KeyError("kernels")
        return 100 * min(float(r["of_limit"] or 0) for r in long)

    claim = "every kernel above 0.1 ms: share of the limit that bounds it"
    return Target("kernels", claim, value, 100 * least, "at least", "%")


TARGETS = (
    milliseconds("flat", "2D planes", 2, IMAGE),
    milliseconds("flat", "2D forest, texture", 8, IMAGE),
    milliseconds("flat", "2D forest, intensity", 8, IMAGE),
    milliseconds("flat", "2D image to probabilities, texture", 12, IMAGE),
    milliseconds("flat", "2D image to probabilities, intensity", 12, IMAGE),
    milliseconds("deep", "3D image to probabilities", 120, "512 x 512 x 512"),
    milliseconds("training", "retraining", 5, "49 planes, 100 trees"),
    milliseconds("stroke", "stroke to probabilities, kernels", 20, VIEW),
    milliseconds("stroke", "stroke to probabilities", 50, VIEW),
    times_faster("2D image to probabilities, texture", "cuCIM + nvForest", 10),
    times_faster("2D image to probabilities, texture", "cuCIM + cuML", 10),
    least_share(0.5),
    times_the_slower("file to file, OME-Zarr", 1.5),
    times_the_slower("file to file, NPY", 1.5),
)
