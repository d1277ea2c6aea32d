"""How right objects are on real images: python benchmarks/accuracy_objects.py DATA [--parts found]

DATA is the folder of the reference data. `found`: pixels are learned from scribbles, made into objects, and
these compared with the true ones; beside what BASELINES.md says of others, and vigra's forest on our planes
where there is a vigra. `classified`: objects of some images teach those of others. `pipelines`: from raw
images to classes to a table by the command line. Adds a file to `results/` and fills the tables of
docs/accuracy.md. Without DATA it only fills the tables; --check fills nothing and fails if they are out of
date.
"""

import argparse
import csv
import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import mean, stdev
from tempfile import TemporaryDirectory
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

import gpuseg
from benchmarks import machine, pipelines
from benchmarks.accuracy_forests import _image, _lessons, _script
from benchmarks.peers import Vigra
from benchmarks.tables import RESULTS, ROOT
from gpuseg.backends import get_backend
from gpuseg.features.stack import feature_stack
from gpuseg.pixel.images import scribbled
from gpuseg.pixel.learning import choose_features, feature_rows

SEEDS = range(5)
TEXT = ROOT / "docs" / "accuracy.md"
BLOCK = re.compile(r"(<!-- objects: (?P<name>[a-z ]+) -->\n).*?(<!-- objects: end -->)", re.DOTALL)
PROTOCOLS = {  # heading of BASELINES.md -> protocol
    "## Train on the scribbles of an image": "self",
    "## Train on the scribbles of a group": "cross",
}
OBJECT = 2  # the class of pixels in objects
WAYS: dict[str, dict[str, Any]] = {"segment": {}, "segment, hysteresis": {"method": "hysteresis"}}
COMPONENTS = "components"  # of the pixels whose likeliest class is OBJECT: how BASELINES.md scores
VIGRA = "vigra's forest"
COLUMNS = (  # engine, way
    *(("skimage + sklearn", COMPONENTS), ("ilastik", COMPONENTS), (VIGRA, COMPONENTS)),
    *(("gpuseg", way) for way in (COMPONENTS, *WAYS)),
)

SPLITS = ("train", "test")
CHOICES = {  # of features to classify objects by
    "as in the baseline": (
        *("count", "eccentricity", "solidity", "extent", "major_axis", "minor_axis", "perimeter"),
        *("mean", "variance", "minimum", "maximum"),  # of every channel
    ),
    "all": None,
}

Row = dict[str, Any]
Mask = NDArray[np.bool_]


def main(arguments: Sequence[str] | None = None) -> int:
    """0, or 1 where --check finds a table out of date."""
    parser = argparse.ArgumentParser(prog="benchmarks/accuracy_objects.py", description="objects, scored")
    parser.add_argument("data", type=Path, nargs="?")
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args(arguments)
    if options.data is not None:
        stamp = time.strftime("%Y-%m-%dT%H%M%SZ", time.gmtime())
        run = machine.facts() | {"sections": []} | {p: list(PARTS[p](options.data)) for p in options.parts}
        (RESULTS / f"{stamp}.json").write_text(json.dumps(run, indent=1) + "\n", encoding="utf-8")
    old = TEXT.read_text(encoding="utf-8")
    new = filled(old, RESULTS)
    if new != old and not options.check:
        TEXT.write_text(new, encoding="utf-8")
    return int(new != old and options.check)


def found(data: Path, only: str = "", seeds: Sequence[int] = SEEDS, *, vigra: bool = True) -> Iterator[Row]:
    """A row for each protocol, image, engine and way: F1 of objects at an overlap above half, by seed."""
    evaluate = _script(data / "evaluate.py")
    items = [i for i in _items(data) if i.get("gt_type") == "instances" and i["id"].startswith(only)]
    images = {i["id"]: _image(evaluate, data, i) for i in items}
    truth = {i["id"]: evaluate.load_truth(str(data), i) for i in items}
    scores = {k: [v] for k, v in baselines(data).items() if k[1] in images}
    for protocol, learned, asked in _lessons(items):
        X, y = [images[i["id"]] for i in learned], [truth[i["id"]][2] for i in learned]
        for engine, model in _forests(X, y, learned[0]["axes"], seeds, vigra):
            for item in asked:
                places = item["axes"].replace("c", "")
                for way, mask in _objects(engine, model, images[item["id"]], places):
                    score = f1(evaluate, mask, truth[item["id"]][0], places)
                    scores.setdefault((protocol, item["id"], engine, way), []).append(round(score, 4))
        print(protocol, ", ".join(i["id"] for i in asked), flush=True)
    for (protocol, item_id, engine, way), found in scores.items():
        yield {"protocol": protocol, "item": item_id, "engine": engine, "way": way, "object_f1": found}


def _items(data: Path) -> list[Row]:
    items: list[Row] = json.loads((data / "manifest.json").read_text("utf-8"))["items"]
    return items


def _forests(X: Any, y: Any, axes: str, seeds: Sequence[int], vigra: bool) -> Iterator[tuple[str, Any]]:
    """Trained pixel classifiers: ours by seed, and as many of vigra, which has none."""
    for seed in seeds:
        yield "gpuseg", gpuseg.PixelClassifier(axes=axes, random_state=seed).fit(X, y)
    if vigra and axes == "yxc" and not Vigra.absent():
        with Vigra() as process:
            forest = VigraForest(process, X, y)
            for _ in seeds:
                yield VIGRA, forest.grow()


class VigraForest:
    """The forest that ilastik grows, on our planes."""

    def __init__(self, process: Vigra, X: Any, y: Any) -> None:
        self._process, self._planes = process, 0
        pictures = scribbled(X, y, "yxc")
        self._selection = choose_features("all", pictures)
        rows, labels = feature_rows(pictures, self._selection, get_backend("cpu"))
        self.classes_ = np.unique(labels)
        process.share("rows", rows.shape)[...] = rows
        process.share("labels", labels.shape)[...] = labels

    def grow(self) -> Self:
        """Another one."""
        self._process.do("train", rows="rows", labels="labels", trees=100)
        return self

    def predict_proba(self, image: NDArray[Any]) -> NDArray[np.float32]:
        pixels = np.ascontiguousarray(np.moveaxis(image, -1, 0)[:, None], np.float32)
        planes = feature_stack(get_backend("cpu"), pixels, self._selection)[:, 0]
        self._planes += 1
        name = f"planes {self._planes}"  # one name is one shape
        self._process.share(name, planes.shape)[...] = planes
        self._process.do("proba", planes=name)
        return self._process.last().reshape(*image.shape[:2], -1)


def _objects(engine: str, model: Any, image: NDArray[Any], places: str) -> Iterator[tuple[str, Mask]]:
    """Pixels of objects by the way they were made of probabilities."""
    proba, column = model.predict_proba(image), int(np.flatnonzero(model.classes_ == OBJECT)[0])
    yield COMPONENTS, proba.argmax(-1) == column
    for way, how in WAYS.items() if engine == "gpuseg" else ():
        yield way, gpuseg.segment(proba, axes=places + "c", channel=column, **how).labels > 0


def f1(evaluate: Any, mask: Mask, truth: NDArray[Any], places: str) -> float:
    """As evaluate.py has it; of a time series the mean of its frames."""
    at = places.find("t")
    frames = zip(*(np.moveaxis(a, at, 0) if at >= 0 else a[None] for a in (mask, truth)), strict=True)
    return mean(evaluate.object_f1(*frame) for frame in frames)


def baselines(data: Path) -> dict[tuple[str, str, str, str], float]:
    """F1 of objects in BASELINES.md, by protocol, image, engine and way."""
    scores, protocol = {}, ""
    for line in (data / "BASELINES.md").read_text(encoding="utf-8").splitlines():
        if line.startswith("## "):
            protocol = next((p for heading, p in PROTOCOLS.items() if line.startswith(heading)), "")
        cells = [c.strip() for c in line.split("|")]
        if protocol and len(cells) == 10 and re.fullmatch(r"[\d.]+", cells[8]):
            scores[protocol, cells[1], cells[2], COMPONENTS] = float(cells[8])
    return scores


def classified(data: Path, seeds: Sequence[int] = SEEDS) -> Iterator[Row]:
    """A row for each choice of features and seed: scores on images that the classifier did not learn from."""
    evaluate = _script(data / "evaluate.py")
    items = [i for i in _items(data) if "object_classes" in i]
    known = {split: [_known(evaluate, data, i) for i in items if i["split"] == split] for split in SPLITS}
    table = pd.concat([t for t, _ in known["train"]], ignore_index=True)
    names = [name for _, names in known["train"] for name in names]
    for choice, features in CHOICES.items():
        for seed in seeds:
            model = gpuseg.ObjectClassifier(features, random_state=seed).fit(table, names)
            called = {c.value: c.name for c in model.model_.classes}
            pairs = [
                (name, called[value])
                for asked, truth in known["test"]
                for name, value in zip(truth, model.predict(asked), strict=True)
                if name
            ]
            scores = evaluate.class_scores(*zip(*pairs, strict=True), sorted({name for name, _ in pairs}))
            learned = {"choice": choice, "columns": model.n_features_in_, "trained": sum(map(bool, names))}
            yield learned | {"seed": seed} | scores


def _known(evaluate: Any, data: Path, item: Row) -> tuple[Any, list[str]]:
    """Table of the objects of an image, and the class of each, "" where nobody says it."""
    labels = evaluate.read_array(str(data / item["labels"]))
    with (data / item["object_classes"]).open(encoding="utf-8") as file:
        classes = {int(row["label"]): row["class"] for row in csv.DictReader(file)}
    table = gpuseg.measure(labels, _image(evaluate, data, item), raw_axes=item["axes"])
    return table, [classes.get(int(i), "") for i in table["original_oid"]]


def commanded(data: Path) -> Iterator[Row]:
    """A row for each task of benchmarks/pipelines.py, its commands run one after the other."""

    def run(words: Sequence[str | Path]) -> None:
        subprocess.run([sys.executable, "-m", "gpuseg", *map(str, words)], check=True)

    for task in pipelines.tasks(_items(data)):
        with TemporaryDirectory() as folder:
            yield pipelines.measure(data, task, Path(folder), run)


PARTS = {"found": found, "classified": classified, "pipelines": commanded}


def filled(text: str, results: Path) -> str:
    """`text` with the tables of the newest run that has each."""
    runs = [json.loads(p.read_text("utf-8")) for p in sorted(results.glob("*.json"))]

    def body(block: re.Match[str]) -> str:
        part, _, protocol = block["name"].partition(" ")
        run = next((r for r in reversed(runs) if r.get(part)), None)
        lines = ["Not measured yet.\n"] if run is None else TABLES[part](run, protocol)
        return f"{block[1]}\n{''.join(lines)}\n{block[3]}"

    return BLOCK.sub(body, text)


def found_table(run: Row, protocol: str) -> Iterator[str]:
    """Every image, and below those of a folder their mean."""
    rows = [r for r in run["found"] if r["protocol"] == protocol]
    columns = [c for c in COLUMNS if any((r["engine"], r["way"]) == c for r in rows)]
    scores = {(r["item"], r["engine"], r["way"]): r["object_f1"] for r in rows}
    runs = max(len(found) for found in scores.values())
    yield f"Measured {run['date'][:10]}; mean ± standard deviation of {runs} forests, in percent.\n\n"
    yield from _lines(["image", *(f"{e}, {w}" for e, w in columns)])
    items = list(dict.fromkeys(r["item"] for r in rows))
    for folder in dict.fromkeys(i.split("/")[0] for i in items):
        here = [i for i in items if i.startswith(f"{folder}/")]
        for item in here:
            yield _line([item, *(_score(scores.get((item, *c), [])) for c in columns)])
        if len(here) > 1:
            each = [[scores.get((i, *c), []) for i in here] for c in columns]
            yield _line([f"**{folder}**", *(_score([mean(s) for s in zip(*e, strict=True)]) for e in each)])


def classified_table(run: Row, _: str) -> Iterator[str]:
    """A line for each choice of features: what was learned from, what asked for, how right it was."""
    rows = run["classified"]
    what = ["accuracy", "macro_f1", *(k for k in rows[0] if k.startswith("f1_"))]
    runs = len({r["seed"] for r in rows})
    yield f"Measured {run['date'][:10]}; mean ± standard deviation of {runs} forests, in percent.\n\n"
    heads = ["accuracy", "macro F1", *(f"F1 {k[3:]}" for k in what[2:])]
    yield from _lines(["features", "columns", "learned from", "asked for", *heads])
    for choice in dict.fromkeys(r["choice"] for r in rows):
        here = [r for r in rows if r["choice"] == choice]
        counts = (here[0][k] for k in ("columns", "trained", "objects"))
        yield _line([choice, *counts, *(_score([r[k] for r in here]) for k in what)])


def pipelines_table(run: Row, _: str) -> Iterator[str]:
    """A line for each task."""
    yield f"Measured {run['date'][:10]}.\n\n"
    heads = ["images", "objects", "asked for", "right", "if all were of one class", "seconds"]
    yield from _lines(["task", *heads])
    for r in run["pipelines"]:
        shares = (f"{100 * r[k]:.1f} %" for k in ("accuracy", "majority"))
        yield _line([r["task"], r["images"], r["objects"], r["scored"], *shares, r["seconds"]])


TABLES = {"found": found_table, "classified": classified_table, "pipelines": pipelines_table}


def _score(scores: Sequence[float]) -> str:
    """In percent, with the spread if there are several."""
    if len(scores) < 2:
        return "".join(f"{100 * s:.1f}" for s in scores)
    return f"{100 * mean(scores):.1f} ± {100 * stdev(scores):.1f}"


def _lines(names: Sequence[str]) -> Iterator[str]:
    yield _line(names)
    yield _line(["---"] * len(names))


def _line(cells: Sequence[object]) -> str:
    return f"| {' | '.join(map(str, cells))} |\n"


if __name__ == "__main__":
    sys.exit(main())
