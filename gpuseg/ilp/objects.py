"""The object classifier of a project: its forest, the features it uses, and how its objects are found."""

import logging
import re
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from gpuseg.backends import get_backend
from gpuseg.classes import LabelClass
from gpuseg.errors import InputError, ModelError
from gpuseg.forests.vigra_rf import from_vigra
from gpuseg.ilp.classifier import FORESTS, read_forests
from gpuseg.ilp.parts import Part
from gpuseg.model import Measured, ObjectModel
from gpuseg.objects.choice import declared, identity, obstacle
from gpuseg.objects.columns import Plan, empty
from gpuseg.objects.settings import Settings
from gpuseg.objects.table import ObjectFeature

log = logging.getLogger(__name__)
GROUP = "ObjectClassification"
AXES = ("RegionAxes", "PrincipalAxes")  # features that are directions
_THRESHOLDS = "ThresholdTwoLevels"
_SIMPLE, _HYSTERESIS, _APART = 0, 1, 3  # how thresholds are applied; 2 is a graph cut
_NUMBER = re.compile(r"_\d+$")  # at the end of the names of columns that belong together
MANY = 33  # channels are not tried
_RETRAIN = "train it here: gpuseg train-objects"


def has_objects(root: Part) -> bool:
    """Whether a trained object classifier is stored."""
    return f"{GROUP}/{FORESTS}" in root


def read_objects(
    root: Part, classes: Sequence[LabelClass], ndim: int, channels: int | None, provenance: dict[str, Any]
) -> ObjectModel:
    """The object classifier, for images like the first raw one; ModelError says what it lacks.

    Columns are those of the plug-ins by name, in each those of its features by id (SPEC 6.2). channels: None
    where an old project does not say how many there are; the columns of the forest do.
    """
    part = root.part(GROUP)
    forest = from_vigra(read_forests(part), [c.value for c in classes])
    names, margin = _ticked(part.part("SelectedFeatures"))
    if channels is None:
        channels = _channels(names, ndim, forest.n_features)
    rows = [_row(plugin, name, ndim, channels) for plugin, name in names]
    columns = [name for row in rows for name in _columns(row, ndim, channels)]
    if len(columns) != forest.n_features:
        raise ModelError(
            f"{part.where}{FORESTS} uses {forest.n_features} columns, its features have {len(columns)} in a"
            f" {ndim}D image of {channels} channels",
            hint=f"the features changed after training: train again in ilastik and save, or {_RETRAIN}",
        )
    if signed := [row.title for row in rows if row.ilastik in AXES]:
        log.warning(
            "the forest of the project also looks at %s, whose signs are arbitrary and not those of ilastik:"
            " a few objects may get another class than there",
            " and ".join(signed),
        )
    used = {identity(row) for row in rows}
    ids = tuple(key for key in declared() if key in used)
    measured = Measured(ids, ids, ndim, channels, margin)
    return ObjectModel(tuple(columns), forest, tuple(classes), measured, provenance)


def read_thresholds(root: Part) -> Settings:
    """How probabilities become objects (SPEC 4.1); where nobody looked at the step, ilastik's defaults."""
    if _THRESHOLDS not in root:
        return Settings.of(compat="ilastik")
    part = root.part(_THRESHOLDS)
    way = int(_one(part, "CurOperator", _SIMPLE))
    if way not in (_SIMPLE, _HYSTERESIS, _APART):
        raise ModelError(f"{part.where}CurOperator is {way}, a graph cut", hint="choose another method there")
    channel, old = int(_one(part, "Channel", 0)), "SingleThreshold"
    low = _one(part, "LowThreshold", _one(part, old, 0.5))
    how: dict[str, Any] = {"threshold": low}
    if way != _SIMPLE:
        how = {"method": "hysteresis", "low": low, "high": _one(part, "HighThreshold", 0.8)}
        how |= {"core_channel": int(_one(part, "CoreChannel", channel)), "keep_apart": way == _APART}
    smoother = part.part("SmootherSigma") if part.has_part("SmootherSigma") else None
    sigma = [1.0 if smoother is None else _one(smoother, axis, 1.0) for axis in "xyz"]
    how |= {"min_size": int(_one(part, "MinSize", 10)), "max_size": int(_one(part, "MaxSize", 1_000_000))}
    try:
        return Settings.of(channel=channel, sigma=sigma, compat="ilastik", **how)
    except InputError as error:
        raise ModelError(f"{part.where[:-1]}: {error.problem}", hint=error.hint) from error


def _one(part: Part, name: str, default: float) -> float:
    """A number, the default where it is not stored."""
    if name not in part:
        return default
    stored = part.array(name)
    if stored.size != 1:
        raise ModelError(f"{part.where}{name} is {stored.shape}, one number is expected")
    return float(stored.ravel()[0])


def _channels(names: Sequence[tuple[str, str]], ndim: int, n_features: int) -> int:
    """So many that the features have as many columns as the forest uses, or the first that has more."""
    for count in range(1, MANY):
        with suppress(ModelError):  # some need one channel, some need several
            rows = [_row(plugin, name, ndim, count) for plugin, name in names]
            if sum(len(_columns(row, ndim, count)) for row in rows) >= n_features:
                return count
    return 1


def _ticked(selected: Part) -> tuple[list[tuple[str, str]], tuple[int, ...]]:
    """Plug-in and id of each feature in the order of ilastik's columns; margin along x, y, z."""
    names, margins = [], [(0, 0, 0)]
    for plugin in selected.names():
        features = selected.part(plugin)
        for name in features.names():
            names.append((plugin, name))
            if "margin" in (facts := features.part(name)):
                x, y, *z = facts.array("margin", "iu").ravel().tolist()
                margins.append((x, y, *(z or [0])))
    return names, tuple(max(m[i] for m in margins) for i in range(3))


def _row(plugin: str, name: str, ndim: int, channels: int) -> ObjectFeature:
    """A feature by plug-in and id, the one of those that such an image offers."""
    known = [r for r in declared().values() if r.ilastik == name and plugin.endswith(r.family)]
    fitting = [row for row in known if not obstacle(row, ndim, channels)[0]]
    if not fitting:
        why = obstacle(known[0], ndim, channels)[0] if known else "is not known here"
        raise ModelError(f"the object feature {name!r} of {plugin} {why}", hint=_RETRAIN)
    return fitting[0]


def _columns(row: ObjectFeature, ndim: int, channels: int) -> list[str]:
    """Names of the columns of a feature."""
    plan = Plan(get_backend("cpu"), (row,), (), (1.0, 1.0, 1.0), "", (2, 2, 2))
    return [name for name in empty(plan, ndim, channels) if row.title in (name, _NUMBER.sub("", name))]
