"""The images of a project: what they are, and where they are now."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from gpuseg.axes import sizes
from gpuseg.errors import FileError, ModelError
from gpuseg.ilp.parts import Part, axes_of

RAW = "Raw Data"
_CONTAINER = re.compile(r"(?P<file>.*?\.(?:h5|hdf5|hdf|ilp|n5|zarr))(?:/(?P<inside>.*))?", re.IGNORECASE)
_DRIVE = re.compile(r"[A-Za-z]:[\\/]")


@dataclass(frozen=True, slots=True)
class Source:
    """One image of a lane, as the project describes it."""

    role: str  # "Raw Data", "Prediction Mask", ...
    file: str  # path as stored, with the dataset inside the file if there is one
    nickname: str
    axes: str | None
    shape: tuple[int, ...] | None
    embedded: str = ""  # path of the pixels inside the project, where they were copied into it

    def sizes(self) -> Mapping[str, int] | None:
        """Size of every axis, None if the project is too old to say."""
        return None if self.axes is None or self.shape is None else sizes(self.axes, self.shape)

    @property
    def stated_axes(self) -> str:
        """`axes`; ModelError where the project does not store them."""
        if self.axes is None:
            raise ModelError(f"the axes of {self.role} {self.file!r} are not stored")
        return self.axes

    @property
    def label_axes(self) -> str:
        """`stated_axes` without the channel."""
        return self.stated_axes.replace("c", "")


@dataclass(frozen=True, slots=True)
class Lane:
    """Images that belong together: the raw one and those that go with it."""

    name: str
    sources: Mapping[str, Source]  # by role

    def __getitem__(self, role: str) -> Source:
        """The image of a role; ModelError if the lane has none."""
        if role not in self.sources:
            raise ModelError(f"{self.name} has no {role}", hint="add the image in ilastik and save")
        return self.sources[role]

    @property
    def raw(self) -> Source:
        """The image that is segmented."""
        return self[RAW]


def read_lanes(root: Part) -> tuple[Lane, ...]:
    """All lanes of a project, in order; roles without an image are left out."""
    if "Input Data" not in root or "infos" not in (data := root.part("Input Data")):
        return ()
    lanes = []
    for lane in data.part("infos").parts("lane"):
        parts = {role: lane.part(role) for role in lane.names()}
        sources = {role: _source(role, part) for role, part in parts.items() if part.names()}
        lanes.append(Lane(lane.where.rstrip("/").rsplit("/", 1)[-1], sources))
    return tuple(lanes)


def _source(role: str, part: Part) -> Source:
    axes = axes_of(part.text("axistags"), f"{part.where}axistags") if "axistags" in part else None
    shape = None
    if "shape" in part:
        stored = part.array("shape", "iu")
        if stored.ndim != 1 or (stored < 1).any():
            raise ModelError(f"{part.where}shape is {stored.tolist()}, positive sizes are expected")
        shape = tuple(int(n) for n in stored)
        if axes is not None and len(axes) != len(shape):
            raise ModelError(f"{part.where[:-1]}: axes {axes!r} do not fit its shape {shape}")
    return Source(
        role,
        part.text("filePath"),
        part.text("nickname") if "nickname" in part else "",
        axes,
        shape,
        _embedded(part),
    )


def _embedded(part: Part) -> str:
    if "location" not in part or part.text("location") != "ProjectInternal":
        return ""
    if "inner_path" in part:
        return part.text("inner_path").strip("/")
    return f"Input Data/local_data/{part.text('datasetId')}"


def find(source: Source, project: Path) -> str:
    """Path of an image today, to be opened with `open_image`; FileError that says what was tried.

    Looked for where the project says, relative to the project's folder, and by its name beside the project:
    projects travel, and many were made on another disk.
    """
    if source.embedded:
        return f"{project}/{source.embedded}"
    stored = source.file.replace("\\", "/") if _DRIVE.match(source.file) else source.file
    if "://" in stored:
        raise FileError(f"{stored} is on a server", hint="download the image and give its path")
    match = _CONTAINER.fullmatch(stored)
    file, inside = (match["file"], match["inside"]) if match else (stored, None)
    tried = dict.fromkeys([project.parent / file, project.parent / Path(file).name])
    for path in tried:
        if path.exists():
            return str(path) if not inside else f"{path}/{inside}"
    if "*" in stored or any(s in _DRIVE.sub("", stored) for s in {os.pathsep, ";"}):
        raise FileError(f"{stored!r} is a stack of files", hint="join them into one file, for example a TIFF")
    raise FileError(
        f"the {source.role} is not at {' nor at '.join(str(p) for p in tried)}",
        hint="copy the image beside the project, or give its path",
    )


def is_flat(source: Source) -> bool:
    """Whether an image has one z slice; where its size is not stored, a z axis counts as several."""
    known = source.sizes()
    return known["z"] == 1 if known is not None else "z" not in source.label_axes
