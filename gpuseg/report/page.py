"""The page: what is known of a run, put into the template and written whole or not at all."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gpuseg.classes import LabelClass
from gpuseg.errors import BackendUnavailableError, InputError
from gpuseg.io.places import check_place
from gpuseg.io.whole import write_whole
from gpuseg.objects.columns import ORIGINAL
from gpuseg.report.album import OTHER, PLAIN, Album, numbers_of_classes
from gpuseg.report.figures import Picture, histogram
from gpuseg.tables.columns import IDENTITY, of_class

if TYPE_CHECKING:
    import pandas as pd

SUFFIXES = (".html", ".htm")
FEATURES = 8  # histograms, those of the most important features
ROWS = 1000  # images that the table of images lists
LINES = 200  # files and notices that are listed, each
PLACES = ("Bounding Box M", "Center of the object", "AtlasMapping")  # begin columns that are no features


@dataclass(frozen=True, slots=True, eq=False)
class Facts:
    """What the caller knows of a run; all of it is shown as text, whatever it contains.

    importances: of features, by the names of their columns. confusion: objects, a row for each class they
    were given, a column for each that was predicted; confusion_of: how, such as "out-of-bag".
    """

    title: str
    when: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    importances: Mapping[str, float] | None = None
    confusion: NDArray[Any] | None = None
    confusion_of: str = "out-of-bag"
    files: Sequence[str] = ()
    notices: Sequence[str] = ()


def check_report(path: str | Path) -> Path:
    """`path`, if a report can be written there: an error before anything is computed."""
    file = Path(path)
    if file.suffix.lower() not in SUFFIXES:
        raise InputError(
            f"{file}: no report has the suffix {file.suffix!r}", hint=f"choose one of {' '.join(SUFFIXES)}"
        )
    missing = [name for name in ("jinja2", "matplotlib") if find_spec(name) is None]
    if missing:
        raise BackendUnavailableError(
            f"{file}: a report needs {' and '.join(missing)}, not installed",
            hint="pip install 'gpuseg[report]'",
        )
    check_place(file)
    return file


def write_report(path: str | Path, facts: Facts, album: Album, table: "pd.DataFrame") -> None:
    """Write one HTML file that needs no other; complete, or it does not appear.

    table: the objects of all images, as measured and classified; the same facts give the same bytes.
    """
    file = check_report(path)
    data = _page(facts, album, table).encode("utf-8", "backslashreplace")  # names may hold lone surrogates
    write_whole(file, data)


def _page(facts: Facts, album: Album, table: "pd.DataFrame") -> str:
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"color": _color, "count": _count, "text": _text, "percent": _percent}
    template = environment.from_string(files(__package__).joinpath("page.html.jinja").read_text("utf-8"))
    numbers = numbers_of_classes(table, album.classes)
    return template.render(
        facts=facts,
        album=album,
        objects=len(table),
        bars=_bars(album.classes, numbers),
        distributions=_distributions(facts, album.classes, table, numbers),
        confusion=None if facts.confusion is None else _confusion(facts.confusion, album.classes),
        plain=PLAIN,
        other=OTHER,
        rows=ROWS,
        lines=LINES,
    )


@dataclass(frozen=True, slots=True)
class Bar:
    """How many objects have a class."""

    name: str
    color: tuple[int, int, int]
    count: int
    share: float  # of all objects
    length: float  # of the longest bar


def _bars(classes: Sequence[LabelClass], numbers: NDArray[np.intp]) -> list[Bar]:
    if not classes:
        return []
    counts = [int((numbers == k).sum()) for k in range(len(classes))]
    shown = [(c.name, c.color, n) for c, n in zip(classes, counts, strict=True)]
    if rest := len(numbers) - sum(counts):
        shown.append(("no class", OTHER, rest))
    longest = max(1, *(n for _, _, n in shown))
    return [Bar(name, c, n, n / max(1, len(numbers)), n / longest) for name, c, n in shown]


def _distributions(
    facts: Facts, classes: Sequence[LabelClass], table: "pd.DataFrame", numbers: NDArray[np.intp]
) -> list[tuple[str, float | None, Picture]]:
    """Names of features, their importances if known, and histograms: the most important first."""
    weights = facts.importances or {}
    names = [n for n in table if table[n].dtype.kind in "biuf" and _feature(str(n))]
    if weights:
        names = sorted((n for n in names if n in weights), key=lambda n: -weights[n])
    colors = [c.color for c in classes] or [PLAIN]
    found: list[tuple[str, float | None, Picture]] = []
    for name in names:
        values = table[name].to_numpy(np.float64)
        finite = np.isfinite(values)
        if len(found) < FEATURES and finite.any():
            of_class = numbers[finite] if classes else np.zeros(int(finite.sum()), np.intp)
            found.append((str(name), weights.get(name), histogram(values[finite], of_class, colors)))
    return found


def _feature(column: str) -> bool:
    return not (column in (*IDENTITY, ORIGINAL) or of_class(column) or column.startswith(PLACES))


@dataclass(frozen=True, slots=True)
class Confusion:
    """Rows: class given, its counts as (count, share of the row), share found again."""

    names: list[str]
    rows: list[tuple[str, list[tuple[int, float]], float | None]]
    right: int
    total: int


def _confusion(counts: NDArray[Any], classes: Sequence[LabelClass]) -> Confusion:
    n = len(counts)
    names = [c.name for c in classes] if n == len(classes) else [str(k + 1) for k in range(n)]
    rows: list[tuple[str, list[tuple[int, float]], float | None]] = []
    for k, (name, row) in enumerate(zip(names, counts.tolist(), strict=True)):
        total = sum(row)
        rows.append((name, [(int(v), v / max(1, total)) for v in row], row[k] / total if total else None))
    return Confusion(names, rows, int(np.trace(counts)), int(counts.sum()))


def _color(color: tuple[int, int, int]) -> str:
    return "#{:02x}{:02x}{:02x}".format(*color)


def _count(number: int) -> str:
    return f"{number:,}"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _text(value: Any) -> str:
    """A setting as people write it."""
    if value is None or isinstance(value, bool):
        return {None: "–", True: "yes", False: "no"}[value]
    if isinstance(value, float | np.floating):
        return f"{value:.6g}"
    if isinstance(value, Mapping):
        return "; ".join(f"{k}: {_text(v)}" for k, v in value.items())
    if isinstance(value, Sequence | np.ndarray) and not isinstance(value, str | bytes):
        return ", ".join(_text(v) for v in value)
    return str(value)
