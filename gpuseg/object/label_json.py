"""Labels of objects as JSON: classes with names and colours, and a list of labels."""

import json
from typing import Any

from gpuseg.classes import Classes, LabelClass, class_color, default_name
from gpuseg.errors import FileError
from gpuseg.object.given import MOST
from gpuseg.object.labels import ObjectLabels
from gpuseg.object.said import Place, Said, whole
from gpuseg.objects.pixels import LARGEST

FORMAT, VERSION = "gpuseg object labels", 1
KEYS = ("image", "timestep", "id", "position", "bounding_box", "class")  # of a label


def json_text(labels: ObjectLabels) -> str:
    """The text of a file, a label on each line."""
    classes = [{"value": c.value, "name": c.name, "color": list(c.color)} for c in labels.classes]
    rows = []
    for i, image in enumerate(labels.image):
        row: dict[str, Any] = {"image": image, "timestep": int(labels.t[i]), "class": int(labels.value[i])}
        if labels.id[i]:
            row["id"] = int(labels.id[i])
        if labels.position[i, 0] >= 0:
            row["position"] = labels.position[i, ::-1].tolist()
        rows.append(row)
    head = json.dumps({"format": FORMAT, "version": VERSION}, ensure_ascii=False)[:-1]
    return f'{head}, "classes": {_lines(classes)}, "labels": {_lines(rows)}}}\n'


def _lines(items: list[dict[str, Any]]) -> str:
    return "[" + ",".join("\n " + json.dumps(item, ensure_ascii=False) for item in items) + "\n]"


def parse_json(text: str) -> tuple[list[Said], Classes]:
    """Labels and classes of a file."""
    content = json.loads(text, object_pairs_hook=_once)
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise FileError(f"is no file of labels: it has no format {FORMAT!r}")
    if content.get("version") != VERSION:
        raise FileError(f"version {content.get('version')!r}, {VERSION} can be read", hint="update gpuseg")
    classes = tuple(
        _class(item, f"classes[{i}]") for i, item in enumerate(_list(content, "classes", "classes"))
    )
    if len({c.value for c in classes}) < len(classes):
        raise FileError("classes: a value is there twice")
    if "labels" not in content:
        raise FileError(f"has no labels: there are {', '.join(content)}")
    said = (_said(item, f"labels[{i}]", classes) for i, item in enumerate(_list(content, "labels", "labels")))
    return [row for row in said if row], classes


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON; FileError where a name is there twice, which the json module takes no offence at."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise FileError(f"{next(n for n in names if names.count(n) > 1)!r} is there twice in one object")
    return found


def _class(item: Any, where: str) -> LabelClass:
    value = _whole(_dict(item, where), "value", where, 1, MOST)
    color = item.get("color", list(class_color(value)))
    if not isinstance(color, list) or len(color) != 3:
        raise FileError(f"{where}.color: {color!r}; three numbers are needed")
    r, g, b = (_number(c, f"{where}.color", 0, 255) for c in color)
    return LabelClass(value, _text(item, "name", where, default_name(value)), (r, g, b))


def _said(item: Any, where: str, classes: Classes) -> Said | None:
    """A label; None if it has no class."""
    if strange := set(_dict(item, where)) - set(KEYS):
        raise FileError(f"{where}: has an unknown {min(strange)!r}", hint=f"there are {', '.join(KEYS)}")
    if "class" not in item:
        raise FileError(f"{where}: has no class", hint="0 is no class")
    given = item["class"]
    if given is None or (not isinstance(given, bool) and given in (0, "")):
        return None
    named, by_name = {c.value: c.name for c in classes}, {c.name: c.value for c in classes}
    value = by_name.get(given) if isinstance(given, str) else _number(given, f"{where}.class", 1, MOST)
    if classes and value not in named:
        known = ", ".join(f"{v} ({n})" for v, n in named.items())
        raise FileError(f"{where}.class: {given!r} is not among the classes", hint=f"they are {known}")
    return Said(
        where,
        "class",
        _text(item, "image", where, ""),
        _whole(item, "timestep", where, 0) if "timestep" in item else 0,
        _whole(item, "id", where, 1) if "id" in item else 0,
        _position(item, where),
        value,
        given if isinstance(given, str) else named.get(value or 0),
    )


def _position(item: dict[str, Any], where: str) -> Place | None:
    """z, y, x of a position x, y (, z), or of the middle of a box."""
    if "position" in item:
        return _place(item["position"], f"{where}.position")
    if "bounding_box" not in item:
        return None
    box = _dict(item["bounding_box"], f"{where}.bounding_box")
    low, high = (_place(box.get(end), f"{where}.bounding_box.{end}") for end in ("min", "max"))
    if any(a > b for a, b in zip(low, high, strict=True)):
        raise FileError(f"{where}.bounding_box: begins at {box['min']} and ends at {box['max']}")
    z, y, x = (max(a, (a + b - 1) // 2) for a, b in zip(low, high, strict=True))  # its end is exclusive
    return z, y, x


def _place(given: Any, where: str) -> Place:
    if not isinstance(given, list) or len(given) not in (2, 3):
        raise FileError(f"{where}: {given!r}; a list x, y or x, y, z is needed")
    x, y, z = (_number(_nearest(i), where, 0) for i in [*given, 0][:3])
    return z, y, x


def _nearest(given: Any) -> Any:
    """Of a coordinate between two pixels, as centres are, the nearest."""
    return round(given) if isinstance(given, float) and abs(given) < LARGEST else given


def _whole(item: dict[str, Any], key: str, where: str, least: int, *most: int) -> int:
    if key not in item:
        raise FileError(f"{where}: has no {key}")
    return _number(item[key], f"{where}.{key}", least, *most)


def _number(given: Any, where: str, least: int, *most: int) -> int:
    text = str(given) if isinstance(given, int | float) and not isinstance(given, bool) else repr(given)
    return whole(text, where, least, *most)


def _text(item: dict[str, Any], key: str, where: str, default: str) -> str:
    text = item.get(key, default)
    if not isinstance(text, str):
        raise FileError(f"{where}.{key}: {text!r}; a text is needed")
    return text


def _dict(item: Any, where: str) -> dict[str, Any]:
    if not isinstance(item, dict):
        raise FileError(f"{where}: {item!r}; an object with names and values is needed")
    return item


def _list(content: dict[str, Any], key: str, where: str) -> list[Any]:
    found = content.get(key, [])
    if not isinstance(found, list):
        raise FileError(f"{where}: {found!r}; a list is needed")
    return found
