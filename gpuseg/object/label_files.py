"""Labels of objects as files: CSV tables, also those that other programs make, and JSON, which keeps all."""

import csv
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np

from gpuseg.classes import Classes, LabelClass, class_color
from gpuseg.errors import FileError, InputError, LabelError
from gpuseg.io.faults import reading
from gpuseg.io.whole import write_whole
from gpuseg.object.given import MOST, Names, named_classes
from gpuseg.object.label_json import json_text, parse_json
from gpuseg.object.labels import ObjectLabels, described, joined
from gpuseg.object.said import WHOLE, Place, Said, whole

log = logging.getLogger(__name__)
WRITTEN = ("image", "timestep", "id", "x", "y", "z", "class", "class_name")
IDS = ("id", "label", "original_oid", "labelimage_oid")  # the first that there is
NUMBERS = ("id", "label", "labelimage_oid", "original_oid")  # where objects are known by their number
CLASSES = ("class", "user label")
FRACTION = re.compile(r"\d{1,18}[.,]\d+", re.ASCII)
TIMES = ("timestep", "time", "frame", "t")  # the first that there is
LIKE = 0.8  # names of columns that may be meant
UNLABELLED = ("", "0", "0.0")
_NUMBERED = re.compile(r"Label ([1-9]\d{0,4})", re.ASCII)


def read_labels(path: str | Path, *, names: Names = (), numbers: bool = False) -> ObjectLabels:
    """Labels of objects from a .csv or .json file.

    names: of the classes 1, 2, ...; by default those that the file has numbers for, else its names in
    alphabetical order. numbers: of a table that has both, ids are the numbers of objects (`labelimage_oid`),
    not their values in a label image (`original_oid`). Errors name file, line, column and value.

    >>> _ = Path("cells.csv").write_text("label,class\\n4,round\\n7,long\\n")
    >>> labels = read_labels("cells.csv")
    >>> labels.id.tolist(), labels.value.tolist(), labels.names
    ([4, 7], [2, 1], {1: 'long', 2: 'round'})
    """
    rows, declared = _read(Path(path), numbers)
    try:
        return _labels(rows, declared, named_classes(names))
    except InputError as error:
        raise error.at(str(path)) from None


def read_all_labels(
    paths: Mapping[str, str | Path],
    *,
    names: Names = (),
    numbers: bool = False,
    owners: Callable[[str], Sequence[str]] | None = None,
) -> ObjectLabels:
    """Labels of several images, a file for each by the name of the image.

    Names of classes without numbers are numbered over all files, so that one file may lack a class.
    owners: which of the images a file may mean by a name; FileError where that is another than its own.
    """
    rows: list[Said] = []
    declared: list[Classes] = []
    for image, path in paths.items():
        own, classes = _read(Path(path), numbers)
        if len(several := {row.image for row in own}) > 1:
            raise FileError(f"{path}: has labels of {len(several)} images, {', '.join(sorted(several))}")
        meant = owners(name) if owners and (name := "".join(several)) else []
        if meant and image not in meant:
            raise FileError(
                f"{path}: has labels of {name}, and is given for {image}",
                hint="give files of labels in the order of the images",
            )
        rows += [replace(row, where=f"{path}: {row.where}", image=image) for row in own]
        declared.append(classes)
    return _labels(rows, joined(declared), named_classes(names))


def _read(file: Path, numbers: bool) -> tuple[list[Said], Classes]:
    """What a file says, and the classes that it lists."""
    parse = _format(file, {".csv": partial(_parse_csv, ids=NUMBERS if numbers else IDS), ".json": parse_json})
    with reading(file):
        if not file.is_file():
            raise FileError(f"{file}: {'is a folder' if file.is_dir() else 'no such file'}")
        data = file.read_bytes()
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise FileError(
                f"{file}: is not UTF-8: byte {error.start} is {data[error.start]}", hint="save it as UTF-8"
            ) from error
        try:
            found: tuple[list[Said], Classes] = parse(text)
        except InputError as error:
            raise error.at(str(file)) from None
    return found


def write_labels(labels: ObjectLabels, path: str | Path) -> None:
    """Write labels to a .csv or .json file that is complete or does not appear.

    .json keeps colours and classes without labels too.
    """
    file = Path(path)
    text = _format(file, {".csv": _csv, ".json": json_text})(labels)
    try:
        data = text.encode()
    except UnicodeEncodeError as error:
        raise LabelError(
            f"{file}: {error.object[error.start]!a} of a name cannot be written as UTF-8", hint="rename it"
        ) from error
    write_whole(file, data)


def _format(file: Path, by_suffix: Mapping[str, Callable[..., Any]]) -> Callable[..., Any]:
    if file.suffix.lower() not in by_suffix:
        raise FileError(f"{file}: no file of labels has the suffix {file.suffix!r}", hint="use .csv or .json")
    return by_suffix[file.suffix.lower()]


def _csv(labels: ObjectLabels) -> str:
    stream, names = StringIO(newline=""), labels.names
    writer = csv.writer(stream, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)  # a name may hold \r
    writer.writerow(WRITTEN)
    for i, image in enumerate(labels.image):
        z, y, x = ("" if p < 0 else p for p in labels.position[i].tolist())
        id, value = int(labels.id[i]), int(labels.value[i])
        writer.writerow([image, int(labels.t[i]), id or "", x, y, z, value, names[value]])
    return stream.getvalue()


def _parse_csv(text: str, ids: Sequence[str] = IDS) -> tuple[list[Said], Classes]:
    head = text.partition("\n")[0]
    delimiter = max(",;\t", key=head.count)  # office programs write ; where , is the decimal point
    lines = csv.reader(StringIO(text, newline=""), delimiter=delimiter, strict=True)
    records: list[tuple[int, list[str]]] = []
    begin = 1
    try:
        for record in lines:
            records.append((begin, record))
            begin = lines.line_num + 1
    except csv.Error as error:
        raise FileError(f"line {begin}: is no CSV: {error}") from error
    if not records:
        raise FileError("is empty", hint="the first line has the names of columns")
    table = _Table(records[0][1], records[1:], ids)
    return table.rows(), ()


class _Table:
    """Records of a CSV file, asked by the names of columns; a warning where one may be misspelt."""

    def __init__(
        self, header: Sequence[str], records: Sequence[tuple[int, list[str]]], ids: Sequence[str]
    ) -> None:
        self._ids = ids
        self._columns: dict[str, int] = {}
        for i, title in enumerate(header):
            if self._columns.setdefault(title.strip().lower(), i) != i and title.strip():
                raise FileError(f"line 1: column {title.strip()!r} is there twice")
        for wanted in (TIMES, ("image",)):
            near = [n for w in wanted for n in get_close_matches(w, self._columns, 1, LIKE)]
            if near and self._first(wanted) is None:
                log.warning("column %r is not used; did you mean %r?", near[0], wanted[0])
        self._records = [(n, r) for n, r in records if any(cell.strip() for cell in r)]
        for line, record in self._records:
            if len(record) != len(header):
                raise FileError(f"line {line}: has {len(record)} columns, line 1 has {len(header)}")

    def rows(self) -> list[Said]:
        """All rows that have a class."""
        klass, id = self._first(CLASSES), self._id()
        if klass is None or (id is None and not {"x", "y"} <= set(self._columns)):
            raise FileError(
                f"columns are {', '.join(self._columns)}; those of the class and of the object are needed",
                hint=f"name them {' or '.join(CLASSES)}, and {' or '.join(IDS)}, or x and y",
            )
        labelled = [(n, r) for n, r in self._records if self._cell(r, klass) not in UNLABELLED]
        numbers = all(WHOLE.fullmatch(self._cell(r, klass)) for _, r in labelled)
        return [self._said(n, r, klass, id, numbers) for n, r in labelled]

    def _said(self, line: int, record: list[str], klass: str, id: str | None, numbers: bool) -> Said:
        where = f"line {line}"
        text = self._cell(record, klass)
        t = self._number(where, record, self._first(TIMES) or TIMES[0], 0)
        number = None if id is None else self._number(where, record, id, 1)
        place = [self._place(where, record, a) for a in "zyx"]
        if (place[1] is None) != (place[2] is None):
            raise FileError(
                f"{where}: has {'x' if place[1] is None else 'y'} alone", hint="x and y are needed"
            )
        position: Place | None = None
        if place[1] is not None and place[2] is not None:
            position = (place[0] or 0, place[1], place[2])
        return Said(
            where,
            klass,
            self._cell(record, "image", strip=False),
            t or 0,
            number or 0,
            position,
            whole(text, f"{where}, column {klass}", 1, MOST) if numbers else None,
            (self._cell(record, "class_name", strip=False) or None) if numbers else text,
        )

    def _place(self, where: str, record: list[str], axis: str) -> int | None:
        """A coordinate; of one between two pixels, as centres are, the nearest."""
        text = self._cell(record, axis)
        if FRACTION.fullmatch(text):
            return whole(str(round(float(text.replace(",", ".")))), f"{where}, column {axis}", 0)
        return self._number(where, record, axis, 0)

    def _number(self, where: str, record: list[str], column: str, least: int) -> int | None:
        text = self._cell(record, column)
        return whole(text, f"{where}, column {column}", least) if text else None

    def _cell(self, record: list[str], column: str, *, strip: bool = True) -> str:
        """Text of a cell; none where there is no such column."""
        text = record[self._columns[column]] if column in self._columns else ""
        return text.strip() if strip else text

    def _first(self, titles: Sequence[str]) -> str | None:
        return next((title for title in titles if title in self._columns), None)

    def _id(self) -> str | None:
        """The column of ids. Components of a mask all have its value as original_oid: it names no object."""
        found = self._first(self._ids)
        if found == "original_oid" and "labelimage_oid" in self._columns:
            keys = [[self._cell(r, c) for c in ("image", "timestep", found)] for _, r in self._records]
            if len(set(map(tuple, keys))) < len(keys):
                return "labelimage_oid"
        return found


def _labels(rows: Sequence[Said], declared: Classes, named: Classes) -> ObjectLabels:
    """Rows with the values of their classes."""
    classes, values = _named(rows, declared, named) if named else _valued(rows, declared)
    said: dict[tuple[Any, ...], tuple[str, int]] = {}
    for row, value in zip(rows, values, strict=True):
        if not row.id and row.position is None:
            raise FileError(f"{row.where}: has neither the id of an object nor a position")
        first, other = said.setdefault((row.image, row.t, row.position or row.id), (row.where, value))
        if other != value:
            what = described(row.image, row.t, row.id, row.position)
            raise FileError(f"{row.where}: {what} has class {value}, and {other} at {first}")
    place = [(-1, -1, -1) if r.position is None else r.position for r in rows]
    return ObjectLabels(
        tuple(r.image for r in rows),
        np.array([r.t for r in rows], np.int64),
        np.array([r.id for r in rows], np.int64),
        np.array(place, np.int64).reshape(-1, 3),
        np.array(values, np.int64),
        classes,
    )


def _named(rows: Sequence[Said], declared: Classes, named: Classes) -> tuple[Classes, list[int]]:
    """Classes as the caller numbers them, with the colours of the file."""
    by_name, known = {c.name: c.value for c in named}, {c.value for c in named}
    colors = {c.name: c.color for c in declared}
    values = [by_name.get(row.name, 0) if row.name is not None else row.value or 0 for row in rows]
    for row, value in zip(rows, values, strict=True):
        if value not in known:
            what = repr(row.value if row.name is None else row.name)
            raise FileError(
                f"{row.where}, column {row.column}: class {what} is not among the names",
                hint=f"names are {', '.join(by_name)}",
            )
    return tuple(replace(c, color=colors.get(c.name, c.color)) for c in named), values


def _valued(rows: Sequence[Said], declared: Classes) -> tuple[Classes, list[int]]:
    """Classes as the file numbers them; where it has only names, by these."""
    names = {c.value: c.name for c in declared}
    for row in rows:
        if (
            row.value is not None
            and row.name is not None
            and names.setdefault(row.value, row.name) != row.name
        ):
            raise FileError(
                f"{row.where}: class {row.value} has the name {row.name!r}, and {names[row.value]!r}"
            )
    if not names and all(row.value is None for row in rows):
        names = _numbers({row.name or "" for row in rows})
    by_name = {name: value for value, name in names.items()}
    values = [by_name.get(row.name or "", 0) if row.value is None else row.value for row in rows]
    for row, value in zip(rows, values, strict=True):
        if not value:
            raise FileError(
                f"{row.where}, column {row.column}: class {row.name!r} has no number, and others have",
                hint="give all classes as numbers, or all as names",
            )
    colors = {c.value: c.color for c in declared}
    return tuple(LabelClass(v, names[v], colors.get(v, class_color(v))) for v in sorted(names)), values


def _numbers(names: set[str]) -> dict[int, str]:
    """Values of names: 2 of `Label 2` if all are so, else by the alphabet, whatever the order of rows."""
    found = {name: _NUMBERED.fullmatch(name) for name in names}
    if all(found.values()):
        return {int(m[1]): name for name, m in found.items() if m}
    return dict(enumerate(sorted(names), 1))
