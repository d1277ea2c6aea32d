"""Whole processes: what a person at a shell waits for."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from PIL import Image

from benchmarks import images, scene
from benchmarks.machine import ROOT
from benchmarks.measure import Case, Lineup, Sample, Size, wait_until_quiet
from gpuseg.classes import LabelClass
from gpuseg.forests.sklearn_rf import train
from gpuseg.model import PixelModel

GPUSEG = str(Path(sys.executable).with_name("gpuseg"))


def measure(size: Size) -> Iterator[Case]:
    lineup = Lineup(size)
    lineup.add("gpuseg", _timed(sys.executable, "-c", "import gpuseg"))
    lineup.add("Python alone", _timed(sys.executable, "-c", "pass"))
    yield lineup.race("start", "import gpuseg", "whole process", 0, "")

    lineup = Lineup(size)
    lineup.add("gpuseg", _timed(GPUSEG, "--help"))
    yield lineup.race("start", "gpuseg --help", "whole process", 0, "")

    with tempfile.TemporaryDirectory() as folder:
        yield from _predict(Path(folder), size)


def _predict(folder: Path, size: Size) -> Iterator[Case]:
    side = size.file_side
    Image.fromarray(images.mosaic(side)).save(folder / "image.png")
    command = predict(save_model(folder, size), folder / "image.png", folder)
    data = f"{scene.shape_text((side, side))} PNG to HDF5, whole process"
    compiled = {"NUMBA_CACHE_DIR": str(folder / "compiled")}
    wait_until_quiet(size.patience)
    first = launch(*command, **compiled)
    samples = {"gpuseg": [Sample(first["seconds"], 0.0)]}
    yield Case("start", "gpuseg predict, first start", data, side * side / 1e6, "Mpx", samples,
               notes={"gpuseg": "compiles; once per machine"})  # fmt: skip
    lineup = Lineup(size)
    lineup.add("gpuseg", _timed(*command, **compiled))
    yield lineup.race("start", "gpuseg predict, second start", data, side * side / 1e6, "Mpx")


def save_model(folder: Path, size: Size) -> Path:
    """A model file of all features, trained under the scribbles of the texture task."""
    s = scene.flat("texture", size)
    trained = train(s.rows(), s.labels, trees=size.trees)
    colors = ((255, 0, 0), (0, 255, 0), (0, 0, 255))
    classes = tuple(LabelClass(i, f"class {i}", c) for i, c in enumerate(colors, 1))
    model = PixelModel(s.selection, trained.forest, classes, channels=1, ndim=2, axes="yx", provenance={})
    model.save(folder / "model.gpuseg")
    return folder / "model.gpuseg"


def predict(model: Path, image: Path, folder: Path) -> tuple[str, ...]:
    """The command that writes probabilities of `image` into `folder`."""
    output = str(folder / "{nickname}_{result_type}.h5")
    return (GPUSEG, "predict", str(model), str(image), "--export", "probabilities", "-o", output)


def launch(*command: str, **environment: str) -> dict[str, Any]:
    """Seconds and peak memory of a command; RuntimeError with what it said if it failed."""
    report = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / "launch.py"), *command],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | environment,
    )
    result: dict[str, Any] = json.loads(report.stdout)
    if result["code"]:
        raise RuntimeError(f"{' '.join(command)}: exit code {result['code']}\n{result['error']}")
    return result


def _timed(*command: str, **environment: str) -> Callable[[], float]:
    return lambda: float(launch(*command, **environment)["seconds"])
