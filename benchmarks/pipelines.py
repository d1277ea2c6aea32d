"""From raw images to classes to a table, by the command line alone, on real images.

The truth plays the person: it says the class of every object that was found, and of some objects that is what
is learned from.
"""

import csv
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gpuseg.io import open_image

WHOLE, PART = "nucleus", "no nucleus"  # whether an object shares more than half with an instance
Run = Callable[[Sequence[str | Path]], None]
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Task:
    """Images to learn from and images to ask for, by their entries in the manifest."""

    name: str
    learned: list[Row]
    asked: list[Row]
    names: tuple[str, ...]
    features: str = "all-excluding-location"  # what somebody would choose to tell these classes apart
    split: Callable[[pd.DataFrame], NDArray[np.bool_]] | None = (
        None  # rows to learn from, where images are the same
    )


def tasks(items: Sequence[Row]) -> Iterator[Task]:
    """Those of the reference data."""
    by_name = {i["id"]: i for i in items}
    nuclei = [i for i in items if i["kind"] == "nuclei2d" and "gt" in i]
    train, test = ([i for i in nuclei if i["split"] == s] for s in ("train", "test"))
    yield Task("nuclei2d", train, test, (WHOLE, PART))
    cells = [i for i in items if "object_classes" in i]
    train, test = ([i for i in cells if i["split"] == s] for s in ("train", "test"))
    yield Task("objects2d", train, test, ("RBC", "WBC", "Platelets"))
    movie = [by_name["timeseries/fluo_n2dh_sim"]]
    yield Task("timeseries", movie, movie, ("small", "large"), "count,radii,convexity,mean", _early)
    volume = [by_name["volume3d/stardist"]]
    yield Task("volume3d", volume, volume, (WHOLE, PART), split=_odd)


def _early(objects: pd.DataFrame) -> NDArray[np.bool_]:
    return objects["timestep"].to_numpy() < 3


def _odd(objects: pd.DataFrame) -> NDArray[np.bool_]:
    return objects["labelimage_oid"].to_numpy() % 2 == 1


def measure(data: Path, task: Task, folder: Path, run: Run) -> Row:
    """How right the classes are of objects that were not learned from. run: the command, with its words."""
    is_labelled = "object_classes" in task.learned[0]
    images = [data / i["image"] for i in task.learned]
    asked = [data / i["image"] for i in task.asked]
    axes = ["--axes", task.learned[0]["axes"]]
    stages: list[str | Path] = []
    if not is_labelled:
        stages = ["--pixel-model", folder / "pixels.gpuseg", "--segment", f"channel={1}"]
        train_pixels(data, task, folder, run)
    said = folder / "said.csv"
    truth = _label(data, task, folder, run, stages, said)
    sources = _together("--raw", images) + (_label_files(data, task.learned, "--labels-image") or stages)
    if is_labelled:
        sources += ["--raw-axes", task.learned[0]["axes"]]
    else:
        sources += axes
    model, chosen = folder / "all.gpuseg", ["--names", ",".join(task.names), "--features", task.features]
    run(["train-objects", *sources, "--object-labels", said, *chosen, "-o", model, "-q"])
    start = time.perf_counter()
    verb = ["classify", model, *_together("--raw", asked), *_label_files(data, task.asked, "--label-image")]
    words = [*verb, "--raw-axes", task.asked[0]["axes"]] if is_labelled else ["run", model, *asked, *axes]
    run(
        [
            *words,
            "-e",
            "object predictions",
            "-o",
            folder / "{nickname}_classes.h5",
            "--table",
            folder / "t.csv",
            "-q",
        ]
    )
    seconds = time.perf_counter() - start
    table = pd.read_csv(folder / "t.csv", keep_default_na=False)
    return {"task": task.name, "images": len(asked), "seconds": round(seconds, 1)} | _score(
        table, truth, task
    )


def train_pixels(data: Path, task: Task, folder: Path, run: Run) -> None:
    """The first stage."""
    words: list[str | Path] = ["train", "-o", folder / "pixels.gpuseg", "--folds", "0", "-q"]
    for item in task.learned:
        words += ["--image", data / item["image"], "--labels", data / item["scribbles"]]
    axes = task.learned[0]["axes"]
    run([*words, "--axes", axes, "--label-axes", axes.replace("c", "")])


def _together(option: str, paths: Sequence[Path]) -> list[str | Path]:
    return [word for path in paths for word in (option, path)]


def _label_files(data: Path, items: Sequence[Row], option: str) -> list[str | Path]:
    return _together(option, [data / i["labels"] for i in items if "labels" in i])


def _label(
    data: Path, task: Task, folder: Path, run: Run, stages: Sequence[str | Path], said: Path
) -> dict[tuple[str, int, int], str]:
    """Write the labels of objects to learn from; returns the true class of every object asked for."""
    truth: dict[tuple[str, int, int], str] = {}
    rows: list[list[Any]] = []
    for item in {i["id"]: i for i in (*task.learned, *task.asked)}.values():
        of_image = _classes(data, item, task, folder, run, stages)
        learned = of_image if item in task.learned else of_image[:0]
        if task.split is not None:
            chosen = task.split(of_image)
            learned, of_image = of_image[chosen], of_image[~chosen]
        path = str(data / item["image"])
        rows += [[path, t, i, c] for t, i, c in learned.to_numpy().tolist() if c]
        if item in task.asked:
            truth |= {(path, t, i): c for t, i, c in of_image.to_numpy().tolist() if c}
    with said.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["image", "timestep", "id", "class"], *rows])
    return truth


def _classes(
    data: Path, item: Row, task: Task, folder: Path, run: Run, stages: Sequence[str | Path]
) -> pd.DataFrame:
    """timestep, labelimage_oid, class of every object that is found in an image."""
    if "object_classes" in item:
        with (data / item["object_classes"]).open(encoding="utf-8") as file:
            known = [(0, int(r["label"]), r["class"]) for r in csv.DictReader(file)]
        return pd.DataFrame(known, columns=["timestep", "labelimage_oid", "class"])
    path = folder / "ids.npy"
    words = ["run", stages[1], data / item["image"], "--segment", stages[3], "--axes", item["axes"]]
    run([*words, "-e", "object identities", "-o", path, "-q"])
    order = item["axes"].replace("c", "")
    found, true = (_frames(p, order) for p in (path, data / item["gt"]))
    sizes = [np.bincount(g.ravel())[1:] for g in true]
    middle = float(np.median(np.concatenate([n[n > 0] for n in sizes])))
    pairs = enumerate(zip(found, true, strict=True))
    rows = [(t, *r) for t, (f, g) in pairs for r in _judged(f, g, task.names, middle)]
    return pd.DataFrame(rows, columns=["timestep", "labelimage_oid", "class"])


def _frames(path: Path, axes: str) -> NDArray[Any]:
    """Labels by time point."""
    with open_image(path, axes) as image:
        values = image.read()
    return np.moveaxis(values, axes.index("t"), 0) if "t" in axes else values[None]


def _judged(
    found: NDArray[Any], true: NDArray[Any], names: Sequence[str], middle: float
) -> Iterator[tuple[int, str]]:
    """The class of each object: whether it is an instance, or if the instance is larger than most."""
    sizes, instances = np.bincount(found.ravel()), np.bincount(true.ravel())
    for i in range(1, len(sizes)):
        overlap = np.bincount(true[found == i], minlength=len(instances))
        overlap[0] = 0
        best = int(overlap.argmax())
        share = overlap[best] / (sizes[i] + instances[best] - overlap[best]) if best else 0.0
        if WHOLE in names:
            yield i, WHOLE if share > 0.5 else PART
        else:
            yield i, "" if share <= 0.5 else names[int(instances[best] > middle)]


def _score(table: pd.DataFrame, truth: dict[tuple[str, int, int], str], task: Task) -> Row:
    """Accuracy, and that of calling every object what most of them are."""
    images = table["image"] if "image" in table else [next(iter(truth))[0]] * len(table)
    ids = table["original_oid" if "object_classes" in task.asked[0] else "labelimage_oid"]
    keys = zip(images, table["timestep"], ids, strict=True)
    said = dict(zip(keys, table["Predicted Class"], strict=True))
    pairs = [(c, said[key]) for key, c in truth.items()]
    right = np.mean([a == b for a, b in pairs])
    most = max(np.mean([c == n for c, _ in pairs]) for n in task.names)
    return {
        "objects": len(table),
        "scored": len(pairs),
        "accuracy": round(float(right), 4),
        "majority": round(float(most), 4),
    }
