"""What is known of the objects of one image, collected time point by time point, as a table at last."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from os.path import realpath
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gpuseg.api.batch import Paths, named
from gpuseg.api.objects import Files, Scale
from gpuseg.errors import InputError, LabelError
from gpuseg.export import nickname
from gpuseg.model import ObjectModel
from gpuseg.object.label_files import read_all_labels, read_labels
from gpuseg.object.labels import Lost, ObjectLabels, decide
from gpuseg.objects.columns import CENTER, HIGH, LOW, SIZE, Columns, Plan, empty
from gpuseg.objects.measure import ATTRS, described, table_of
from gpuseg.run.objects import Classified, Frame
from gpuseg.tables import classified

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Findings:
    """Rows of one image. labels: what people said of its objects; lost: what of that no object has."""

    plan: Plan | None  # None where nothing is measured
    ndim: int
    channels: int
    scale: Scale
    labels: ObjectLabels | None = None
    shown: set[str] | None = None  # ids of the features in the table, None for all
    lost: list[Lost] = field(default_factory=list)
    _columns: list[Columns | None] = field(default_factory=list)
    _said: list[Classified] = field(default_factory=list)
    _values: list[NDArray[np.int64]] = field(default_factory=list)

    def add(self, frame: Frame, said: Classified | None) -> None:
        """Another time point, in order."""
        self._columns.append(frame.columns)
        self._values.append(self._user_values(frame))
        if said is not None:
            self._said.append(said)

    @property
    def user_values(self) -> NDArray[np.int64]:
        """(objects,) the class that somebody gave each, 0 for none."""
        return np.concatenate([np.zeros(0, np.int64), *self._values])

    def table(self, model: ObjectModel | None = None, last: int | None = None) -> "pd.DataFrame":
        """All rows, with what a model said of them; last: only those of that time point, which came last."""
        assert self.plan is not None
        plan, scale = self.plan, self.scale
        frames = self._columns if last is None else [*[None] * last, *self._columns[-1:]]
        table = table_of(frames, lambda: empty(plan, self.ndim, self.channels))
        told = described(plan, list(table), self.ndim, self.channels, scale.margin, scale.spacing)
        table.attrs[ATTRS] = told
        if self.shown is not None:
            hidden = [c for c, key in told["columns"].items() if key not in self.shown and not always(c)]
            table = table.drop(columns=hidden)
        if model is None:
            return table
        said = self._said if last is None else self._said[-1:]
        values = self.user_values if last is None else self._values[-1]
        proba = np.concatenate([s.proba for s in said])
        names = {c.value: c.name for c in model.classes}
        given = {} if self.labels is None else self.labels.names  # their numbers may be others
        return classified(
            table,
            [given.get(v, "0") for v in values.tolist()],
            [names[v] for s in said for v in s.values.tolist()],
            proba,
            [c.name for c in model.classes],
            np.concatenate([s.uncertainty for s in said]),
            [reason for s in said for reason in s.ambiguous],
        )

    def told(self, model: ObjectModel | None) -> str:
        """How many objects there are, of each class if they were classified."""
        count, times = sum(map(len, self._values)), len(self._values)
        text = f"{count} object{'s' * (count != 1)}" + (f" at {times} time points" if times > 1 else "")
        if model is None or not self._said:
            return text
        values = np.concatenate([said.values for said in self._said])
        text += ": " + ", ".join(f"{c.name} {int((values == c.value).sum())}" for c in model.classes)
        doubtful = [reason for said in self._said for reason in said.ambiguous if reason]
        if not doubtful:
            return text
        some = sorted({cause.partition(" is ")[0] for reason in doubtful for cause in reason.split("; ")})
        more = f" and {len(some) - 3} more" if len(some) > 3 else ""
        return f"{text}; {len(doubtful)} ambiguous: no number is their {', '.join(some[:3])}{more}"

    def finish(self, *, tell: bool = True) -> None:
        """After the last time point: if all labels are of the first, perhaps nobody said of which."""
        if (
            tell
            and self.labels is not None
            and len(self._values) > 1
            and len(self.labels)
            and not self.labels.t.any()
        ):
            log.warning(
                "all object labels are of time point 0, the image has %d; a column `timestep` says of which",
                len(self._values),
            )

    def _user_values(self, frame: Frame) -> NDArray[np.int64]:
        if self.labels is None:
            return np.zeros(frame.count, np.int64)
        own = self.labels.pick(self.labels.t == frame.t)
        found = decide(own, _names_at(frame, own.position), frame.found.names)
        self.lost += found.lost
        return found.classes[1:]


def always(column: str) -> bool:
    """Whether every table has this column."""
    return column == SIZE or column.startswith(tuple(f"{title}_" for title in (LOW, HIGH, CENTER)))


def _names_at(frame: Frame, position: NDArray[np.int64]) -> NDArray[np.int64]:
    """What objects at single pixels z, y, x are called: 0 for the background, -1 outside of the image."""
    ids = np.concatenate([[0], frame.found.names])
    found = np.full(len(position), -1, np.int64)
    for i, place in enumerate(position.tolist()):
        if all(0 <= p < n for p, n in zip(place, frame.labels.shape, strict=True)):
            found[i] = ids[frame.labels.read(tuple(slice(p, p + 1) for p in place)).item()]
    return found


def labels_given(
    given: Paths | ObjectLabels, files: Sequence[Files], names: Sequence[str] = ()
) -> tuple[ObjectLabels, list[str]]:
    """All object labels: as they are, of one file for all images, or of one for each; and these files."""
    numbers = files[0].kind != "labels"
    if isinstance(given, ObjectLabels):
        if names:
            raise InputError("the ObjectLabels have names of classes already", hint="leave names out")
        return given, []
    if isinstance(given, Mapping):
        raise InputError(
            "object labels are a dictionary; which image are they of?",
            hint="ObjectLabels.of(label_image, {...})",
        )
    if len(paths := named(given)) == 1:
        labels = read_labels(paths[0], names=names, numbers=numbers)
    elif len(paths) == len(files):
        each = {f.name: p for f, p in zip(files, paths, strict=True)}
        owners = partial(_owners, images=list(each))
        labels = read_all_labels(each, names=names, numbers=numbers, owners=owners)
    else:
        raise InputError(
            f"{len(paths)} files of object labels for {len(files)} images",
            hint="give one with a column `image` for all, or one for each image in their order",
        )
    if files[0].kind in ("pixels", "probabilities") and (labels.position[:, 0] < 0).any():
        log.warning(
            "%s: names objects by number alone; numbers hold for the segmentation that they were read from,"
            " x and y hold for any",
            ", ".join(paths),
        )
    return labels, paths


def tell_lost(name: str, findings: "Findings", *, tell: bool = True) -> list[str]:
    """Warn of every label that no object has; returns what there is to say."""
    lost, total = findings.lost, 0 if findings.labels is None else len(findings.labels)
    notices = []
    if len(lost) > 1 and len(lost) >= total / 2:
        notices.append(f"{name}: {len(lost)} of {total} labels name no object: are they of another image?")
    notices += [f"{name}: a label is not used: {one}" for one in lost]
    for notice in notices if tell else ():
        log.warning("%s", notice)
    return notices


def by_image(
    labels: ObjectLabels | None, images: Sequence[str], *, tell: bool = True
) -> dict[str, ObjectLabels]:
    """The labels of each image, which they may call by its path, its file name, its nickname or its stem.

    Those without the name of an image are of the only one. LabelError where a name means several images; a
    warning names the images that are not given, so that nothing is dropped without a word.
    """
    if labels is None:
        return {}
    owner = {name: _owner(name, images) for name in labels.images}
    if tell and (strange := [name for name, image in owner.items() if image is None]):
        log.warning(
            "object labels of images that are not given are not used: %s; the images are %s",
            *(", ".join(strange), ", ".join(images[:5]) + (", ..." if len(images) > 5 else "")),
        )
    mine = np.array([owner[name] or "" for name in labels.image], object)
    return {image: labels.pick(mine == image) for image in images}


def _owner(name: str, images: Sequence[str]) -> str | None:
    """The image that labels call by this name, None if there is none."""
    found = _owners(name, images) if name else list(images)
    if len(found) > 1:
        raise LabelError(
            f"object labels of {name!r} may be of {len(found)} images: {', '.join(found[:3])}"
            if name
            else f"object labels do not say of which of {len(found)} images they are",
            hint="name the images in a column `image`, by their paths if file names are equal",
        )
    return found[0] if found else None


def _owners(name: str, images: Sequence[str]) -> list[str]:
    """The images that may be called so: by path, file name, nickname, or file name without suffix."""
    place = realpath(name)
    ways = (str, lambda p: Path(p).name, nickname, lambda p: Path(p).stem)
    exact = [i for i in images if realpath(i) == place]
    return exact or next((f for way in ways if (f := [i for i in images if way(i) == name])), [])
