"""THE TABLE of object features, each declared once: name, group, what it needs, formula."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from numpy.typing import NDArray

if TYPE_CHECKING:
    from gpuseg.objects.context import Objects

Formula = Callable[["Objects"], NDArray[Any]]  # (n,) or (n, k): a row for each object
Channels = Literal["", "S", "M", "SM"]  # "": needs no intensities; else of one channel, of several, of both
LOCATION, SHAPE, INTENSITY = "Location", "Shape", "Intensity Distribution"


@dataclass(frozen=True, slots=True)
class ObjectFeature:
    """One row: what a person reads, what it needs, how it is computed."""

    title: str  # display name, as ilastik's where it has one
    group: str  # LOCATION, SHAPE, INTENSITY or ""
    family: str  # plug-in it comes from: "Standard Object Features", "2D Convex Hull Features", ...
    ilastik: str  # id inside that plug-in, "" if ilastik has none
    channels: Channels
    ndims: tuple[int, ...]  # of the images it can be measured in
    needs: tuple[str, ...]  # region sums, requested for all features in one pass (backends/base.py)
    unit: int | Literal["d"]  # power of length; "d": that of the image's dimensions
    local: bool  # computed from each object's own bounding box, read back from the image
    advanced: bool  # hidden unless asked for by name
    formula: Formula


OBJECT_FEATURES: dict[str, ObjectFeature] = {}


def object_feature(
    title: str,
    *,
    group: str,
    family: str = "Own",
    ilastik: str = "",
    channels: Channels = "",
    ndims: tuple[int, ...] = (2, 3),
    needs: tuple[str, ...] = (),
    unit: int | Literal["d"] = 0,
    local: bool = False,
    advanced: bool = False,
) -> Callable[[Formula], Formula]:
    """Declare a feature; its function's name is its id in models and on the command line: keep it."""

    def declare(formula: Formula) -> Formula:
        OBJECT_FEATURES[formula.__name__] = ObjectFeature(
            title, group, family, ilastik, channels, ndims, needs, unit, local, advanced, formula
        )
        return formula

    return declare
