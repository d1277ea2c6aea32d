"""Which object features are measured: all that an image offers, or those that somebody names."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from difflib import get_close_matches
from functools import cache
from importlib import import_module

from gpuseg import plugins
from gpuseg.errors import InputError
from gpuseg.objects.table import LOCATION, OBJECT_FEATURES, Formula, ObjectFeature

Feature = str | Formula
Features = Feature | Sequence[Feature]
# Modules that declare rows, in the order of columns.
FAMILIES = ("standard", "advanced", "weighted", "hull", "skeleton", "texture", "neighbourhood", "shape")
ALL, NOT_LOCATION = "all", "all excluding location"


@cache
def _load() -> None:
    for name in FAMILIES:
        import_module(f"gpuseg.objects.{name}")
    plugins.load("object_features")


def declared() -> dict[str, ObjectFeature]:
    """THE TABLE by id, whole and in the order of columns: ours, then those of other packages."""
    _load()
    places = {f"gpuseg.objects.{name}": i for i, name in enumerate(FAMILIES)}

    def place(row: ObjectFeature) -> int:
        return places.get(row.formula.__module__, len(places))

    return dict(sorted(OBJECT_FEATURES.items(), key=lambda item: place(item[1])))


def identity(row: ObjectFeature) -> str:
    """The id of a row of THE TABLE; "" for a function that somebody gave as it is."""
    name = getattr(row.formula, "__name__", "")
    return name if OBJECT_FEATURES.get(name) is row else ""


def obstacle(row: ObjectFeature, ndim: int, channels: int) -> tuple[str, str]:
    """Why a feature cannot be measured in such an image, and what to do; empty if it can."""
    if ndim not in row.ndims:
        return f"is measured in {row.ndims[0]}D images, the labels are {ndim}D", "leave it out"
    if row.channels and not channels:
        return "needs intensities, and there is no raw image", "give the raw image too"
    if row.channels == "S" and channels > 1:
        return f"needs an image of one channel, the raw image has {channels}", "measure one channel by itself"
    if row.channels == "M" and channels == 1:
        return "needs an image of several channels, the raw image has 1", "leave it out"
    return "", ""


def choose(features: Features, ndim: int, channels: int) -> list[ObjectFeature]:
    """The rows to be measured, each once, in the order of columns.

    features: "all", "all excluding location", ids, titles, ids of ilastik, functions, or several of these.
    "all" leaves out what the image does not offer and what is advanced; a name that is not offered is an
    InputError that says why.
    """
    asked = listed(features)
    table = declared()
    own = [_own(f) for f in asked if callable(f) and not _is_declared(f, table)]
    words: dict[str, list[str]] = {}
    for key, row in table.items():
        for word in {plain(name) for name in (key, row.title, row.ilastik) if name}:
            words.setdefault(word, []).append(key)
    wanted = {key for f in asked for key in _keys(f, table, words, ndim, channels)}
    return [row for key, row in table.items() if key in wanted] + own


def listed(features: Features) -> list[Feature]:
    """The features that are named, each by itself; InputError for what can be none."""
    if isinstance(features, str) or callable(features):
        return [features]
    hint = f'"{ALL}", "{NOT_LOCATION}", a name, a function, or a list of these'
    if not isinstance(features, Iterable):
        raise InputError(f"features {features!r}", hint=hint)
    asked = list(features)
    if wrong := [f for f in asked if not (isinstance(f, str) or callable(f))]:
        raise InputError(f"object feature {wrong[0]!r}", hint=hint)
    return asked


def _is_declared(feature: Callable[..., object], table: dict[str, ObjectFeature]) -> bool:
    row = table.get(getattr(feature, "__name__", ""))
    return row is not None and row.formula is feature


def _own(formula: Formula) -> ObjectFeature:
    """A function that was given as it is; local, since what it looks at is not known."""
    title = getattr(formula, "__name__", type(formula).__name__)
    return ObjectFeature(title, "", "Own", "", "", (2, 3), (), 0, True, False, formula)


def _keys(
    feature: Feature,
    table: dict[str, ObjectFeature],
    words: dict[str, list[str]],
    ndim: int,
    channels: int,
) -> Iterator[str]:
    """Ids of a feature that is asked for, or of all; words: ids by what they may be called."""
    if callable(feature):
        if _is_declared(feature, table):
            yield feature.__name__
        return
    word = plain(feature)
    if word in (ALL, NOT_LOCATION):
        yield from offered(table, ndim, channels, location=word == ALL)
        return
    found = words.get(word, [])
    fitting = [key for key in found if not any(obstacle(table[key], ndim, channels))]
    if not found:
        known = [k for row in table.items() for k in (row[0], row[1].title)]
        near = get_close_matches(feature, known, 3, 0.5)
        raise InputError(
            f"unknown object feature {feature!r}",
            hint=f"do you mean {' or '.join(map(repr, near))}?" if near else f'or "{ALL}", "{NOT_LOCATION}"',
        )
    if not fitting:
        problem, hint = obstacle(table[found[0]], ndim, channels)
        raise InputError(f"feature {feature!r} {problem}", hint=hint)
    yield from fitting


def offered(table: dict[str, ObjectFeature], ndim: int, channels: int, *, location: bool) -> Iterable[str]:
    """What "all" means for an image."""
    for key, row in table.items():
        if not row.advanced and (location or row.group != LOCATION) and not obstacle(row, ndim, channels)[0]:
            yield key


def plain(name: str) -> str:
    """A name as it is compared: without case, hyphens and underscores."""
    return " ".join(name.casefold().replace("-", " ").replace("_", " ").split())
