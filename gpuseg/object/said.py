"""One label as a file says it."""

import re
from dataclasses import dataclass

from gpuseg.errors import FileError
from gpuseg.objects.pixels import LARGEST

Place = tuple[int, int, int]
WHOLE = re.compile(r"[+-]?\d{1,19}(\.0*)?", re.ASCII)  # tables write 3 as 3.0

SHOWN = 40  # characters of what is no number


@dataclass(frozen=True, slots=True)
class Said:
    """Who labelled what; `value` or `name` of the class may be unknown, not both."""

    where: str  # in the file, for errors
    column: str  # of the class
    image: str
    t: int
    id: int  # 0 if unknown
    position: Place | None  # z, y, x
    value: int | None
    name: str | None


def whole(text: str, where: str, least: int, most: int = LARGEST) -> int:
    """A whole number that is in this range."""
    number = int(text.partition(".")[0]) if WHOLE.fullmatch(text) else None
    if number is None or not least <= number <= most:
        shown = text if len(text) <= SHOWN else f"{text[:SHOWN]}..."
        raise FileError(f"{where}: {shown!r}; whole numbers from {least} to {most} are possible")
    return number
