"""What a file is, and what this machine has."""

import os
import platform
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from gpuseg import __version__
from gpuseg.api.models import MODEL, PROJECT
from gpuseg.backends import NAMES, get_backend
from gpuseg.errors import GpusegError
from gpuseg.features.selection import Selection
from gpuseg.io import image_format, open_image
from gpuseg.io.faults import size
from gpuseg.model import ObjectModel, Pipeline, PixelModel

MOST = 10  # features named of a model
LIBRARIES = (
    *("numpy", "scipy", "numba", "scikit-learn", "safetensors", "h5py", "tifffile", "imagecodecs"),
    *("zarr", "pillow", "cupy-cuda12x", "cupy-cuda13x", "cuml-cu12", "cuml-cu13", "treelite", "napari"),
)


def info(path: str | Path, axes: str | None = None) -> dict[str, Any]:
    """What an image, model or project holds, as plain JSON values; key "kind" says which it is.

    info("cells.gpuseg")["classes"]
    """
    suffix = Path(path).suffix.lower()
    if suffix == MODEL:
        return _models(Pipeline.load(path), str(path))
    return _project(path) if suffix == PROJECT else _image(path, axes)


def _image(path: str | Path, axes: str | None) -> dict[str, Any]:
    with open_image(path, axes) as image:
        voxel = {a: f"{s:g} {image.voxel.unit.get(a, 'micrometer')}" for a, s in image.voxel.size.items()}
        return {
            "kind": "image",
            "path": image.path,
            "format": image_format(path).name,
            "shape": list(image.shape),
            "axes": image.axes,
            "axes from": image.axes_from,
            "type": str(image.dtype),
            "pixel size": voxel,
        }


def _models(pipeline: Pipeline, path: str) -> dict[str, Any]:
    """A file of one classifier as itself, of several stages as all of them."""
    pixel, s, objects = pipeline.pixel, pipeline.segmentation, pipeline.objects
    if pixel is not None and s is None and objects is None:
        return _model(pixel, path)
    stages: dict[str, Any] = {} if pixel is None else {"pixels": _model(pixel, path)}
    if s is not None:
        stages["segmentation"] = {k: str(v) for k, v in s.arguments().items()}
    if objects is not None:
        stages["objects"] = _objects(objects)
    for stage in stages.values():
        for key in ("kind", "path"):
            stage.pop(key, None)
    return {"kind": "pipeline", "path": path, **stages, "hash": pipeline.hash}


def _objects(model: ObjectModel) -> dict[str, Any]:
    how = model.measured
    training = dict(model.provenance.get("training", {}))
    if weights := training.pop("importances", None):
        training["most important"] = _ranked(weights, model.columns)
    return {
        "classes": _classes(model),
        "objects": f"{how.ndim}D, raw channels: {how.channels}" if how.ndim else "of tables",
        "trees": len(model.forest.roots),
        "nodes": len(model.forest.feature),
        "columns": len(model.columns),
        "features": list(how.used),
        "lengths in": how.unit or "pixels",
        "hash": model.hash,
        "provenance": model.provenance | {"training": training},
    }


def _ranked(weights: Sequence[float], names: Sequence[str]) -> dict[str, str]:
    """The largest of them."""
    ranked = sorted(zip(weights, names, strict=True), reverse=True)[:MOST]
    return {name: f"{weight:.1%}" for weight, name in ranked}


def _model(model: PixelModel, path: str) -> dict[str, Any]:
    return {
        "kind": "model",
        "path": path,
        "classes": _classes(model),
        "images": f"{model.ndim}D, channels: {model.channels}, trained on axes {model.axes}",
        "trees": len(model.forest.roots),
        "nodes": len(model.forest.feature),
        "planes": model.forest.n_features,
        "features": _features(model.selection),
        "channels": list(model.selection.used_channels(model.channels)),
        "spacing": list(model.selection.steps),
        "hash": model.hash,
        "provenance": _provenance(model),
    }


def _provenance(model: PixelModel) -> dict[str, Any]:
    """What training told; of the importances the largest, by name."""
    training = dict(model.provenance.get("training", {}))
    if weights := training.pop("importances", None):
        training["most important"] = _ranked(weights, model.feature_names)
    return model.provenance | {"training": training} if training else model.provenance


def _classes(model: Any) -> dict[str, str]:
    return {str(c.value): c.name for c in model.classes}


def _features(selection: Selection) -> dict[str, str]:
    """Sigmas by filter; those of 2D filters on volumes are marked."""
    rows: dict[str, list[str]] = {}
    for name, i in selection.cells:
        scale = selection.scales[i]
        rows.setdefault(name, []).append(f"{scale.sigma}{' in 2D' if scale.in_2d else ''}")
    return {name: ", ".join(sigmas) for name, sigmas in rows.items()}


def _project(path: str | Path) -> dict[str, Any]:
    from gpuseg.ilp.read import open_project

    project = open_project(path)
    lanes = {
        lane.name: {role: f"{s.file} ({s.axes}, {s.shape})" for role, s in lane.sources.items()}
        for lane in project.lanes
    }
    return {
        "kind": "project",
        "path": str(path),
        "workflow": project.workflow,
        "ilastik": project.version,
        "classes": {str(c.value): c.name for c in project.classes},
        "object classes": {str(c.value): c.name for c in project.object_classes},
        "images": lanes,
        "features": {} if project.selection is None else _features(project.selection),
        "trained": project.has_forest,
        "objects trained": project.has_objects,
    }


def doctor() -> dict[str, Any]:
    """What gpuseg finds on this machine: versions, processors, memory, backends and why not others."""
    return {
        "gpuseg": __version__,
        "python": f"{platform.python_version()} ({sys.executable})",
        "system": platform.platform(),
        "processors": _processors(),
        "memory": _memory(),
        "backends": {name: _backend(name) for name in NAMES},
        "gpus": _gpus(),
        "libraries": {name: _version(name) for name in LIBRARIES},
    }


def _processors() -> str:
    from gpuseg.backends._numba.threads import cores

    return f"{cores()} used of {os.cpu_count()}"


def _memory() -> str:
    free, every = (os.sysconf(f"SC_{kind}_PAGES") * os.sysconf("SC_PAGE_SIZE") for kind in ("AVPHYS", "PHYS"))
    return f"{size(free)} free of {size(every)}"


def _backend(name: str) -> str:
    """Whether it is ready, what "auto" takes, and why."""
    try:
        found = get_backend(name).name
    except GpusegError as error:
        return error.problem
    if name != "auto":
        return f"{found}, ready"
    if os.environ.get("GPUSEG_BACKEND"):
        return f"{found}, as GPUSEG_BACKEND says"
    return f"{found}, because {_backend('cuda')}" if found == "cpu" else f"{found}, because a GPU answers"


def _gpus() -> dict[str, Any] | str:
    """What each device is, or why there is none."""
    from gpuseg.backends import devices

    try:
        return {f"cuda:{i}": facts for i, facts in enumerate(devices())}
    except GpusegError as error:
        return error.problem


def _version(library: str) -> str:
    try:
        return version(library)
    except PackageNotFoundError:
        return "not installed"
