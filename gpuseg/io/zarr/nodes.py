"""Folders of a zarr store: which is a group, which an array, and what each says about itself.

Metadata are plain JSON and read as such, before the zarr package touches anything: version 3 keeps them
in `zarr.json`, version 2 in `.zgroup`, `.zarray` and `.zattrs`.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpuseg.errors import FileError
from gpuseg.io.faults import reading

OME = {3: "0.5", 2: "0.4"}  # the version of OME-Zarr that is written with one of zarr
METADATA = {"zarr.json", ".zgroup", ".zarray", ".zattrs", ".zmetadata"}


@dataclass(frozen=True, slots=True)
class Node:
    """A group or an array. meta: its own JSON; attributes: what OME-Zarr and others add."""

    path: Path
    version: int
    is_array: bool
    meta: dict[str, Any]
    attributes: dict[str, Any]

    @property
    def ome(self) -> dict[str, Any]:
        """OME-Zarr metadata: under `ome` since 0.5, at the top before."""
        found = self.attributes.get("ome", self.attributes)
        return found if isinstance(found, dict) else {}


def read_node(path: Path) -> Node:
    """The group or array at `path`; FileError where there is neither."""
    if not path.is_dir():
        raise FileError(f"{path}: no such folder", hint=_siblings(path))
    if (path / "zarr.json").is_file():
        meta = _json(path / "zarr.json")
        return Node(path, 3, meta.get("node_type") == "array", meta, _dict(meta.get("attributes")))
    for name in (".zarray", ".zgroup"):
        if (path / name).is_file():
            extra = _json(path / ".zattrs") if (path / ".zattrs").is_file() else {}
            return Node(path, 2, name == ".zarray", _json(path / name), extra)
    raise FileError(f"{path}: is not part of a zarr store: no zarr.json, .zarray or .zgroup in it")


def write_group(path: Path, version: int, ome: dict[str, Any] | None, ours: dict[str, Any] | None) -> None:
    """Make a group: what OME-Zarr says, where its version has it, and what gpuseg says of its own work."""
    ours = {"gpuseg": ours} if ours else {}
    if version == 3:
        named = {"ome": {"version": OME[3], **ome}} if ome else {}
        _write(path / "zarr.json", {"zarr_format": 3, "node_type": "group", "attributes": named | ours})
        return
    _write(path / ".zgroup", {"zarr_format": 2})
    _write(path / ".zattrs", {key: _versioned(value) for key, value in (ome or {}).items()} | ours)


def _versioned(block: Any) -> Any:
    """A block of OME-Zarr 0.4, which has the version in each of its parts."""
    if isinstance(block, dict):
        return {"version": OME[2], **block}
    return [_versioned(b) if isinstance(b, dict) else b for b in block]


def _write(file: Path, meta: dict[str, Any]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.unlink(missing_ok=True)  # it may be a link to the old store's
    file.write_text(json.dumps(meta, indent=2), encoding="utf-8")


def descend(root: Path, inside: str) -> Path:
    """Folder `inside` the store at `root`; a FileError for paths that lead out of it."""
    parts = [p for p in inside.split("/") if p not in ("", ".")]
    target = root.joinpath(*parts)
    if ".." in parts or not target.resolve().is_relative_to(root.resolve()):
        raise FileError(f"{root}: {inside!r} leads out of the store")
    return target


def children(path: Path) -> tuple[list[str], list[str]]:
    """Names of the arrays and of the groups in a group."""
    nodes = [read_node(p) for p in sorted(path.iterdir()) if p.is_dir() and has_metadata(p)]
    return [n.path.name for n in nodes if n.is_array], [n.path.name for n in nodes if not n.is_array]


def has_metadata(path: Path) -> bool:
    return any((path / name).is_file() for name in METADATA)


def chunk_files(path: Path) -> int:
    """Number of chunks stored at and below `path`."""
    return sum(1 for _ in _chunks(path))


def _chunks(path: Path) -> Iterator[Path]:
    for found in path.iterdir():
        if found.is_dir():
            yield from _chunks(found)
        elif found.name not in METADATA:
            yield found


def _json(path: Path) -> dict[str, Any]:
    with reading(path):
        found = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(found, dict):
        raise FileError(f"{path}: zarr metadata must be a JSON object, is a {type(found).__name__}")
    return found


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _siblings(path: Path) -> str:
    if not path.parent.is_dir() or not has_metadata(path.parent):
        return "check the path"
    arrays, groups = children(path.parent)
    return f"{path.parent.name} has: {', '.join([*arrays, *groups][:10]) or 'nothing'}"
