"""How right each trainer is on real images: python benchmarks/accuracy_forests.py DATA [--trainers A B]

DATA is the folder of the reference data, with its manifest and the script that scores. Trains on scribbles
with several seeds, adds a file to `results/` and fills the table in docs/forests.md. Without DATA it only
fills the table; --check fills nothing and fails if the table is out of date.
"""

import argparse
import json
import re
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np

from benchmarks import machine
from benchmarks.tables import RESULTS, ROOT
from gpuseg import PixelClassifier

SEEDS = range(5)
TEXT = ROOT / "docs" / "forests.md"
BLOCK = re.compile(r"(<!-- accuracy: begin -->\n).*?(<!-- accuracy: end -->)", re.DOTALL)
PROTOCOLS = {"self": "the image itself", "cross": "other images"}


def main(arguments: Sequence[str] | None = None) -> int:
    """0, or 1 where --check finds the table out of date."""
    parser = argparse.ArgumentParser(prog="benchmarks/accuracy_forests.py", description="trainers, scored")
    parser.add_argument("data", type=Path, nargs="?")
    parser.add_argument("--trainers", nargs="+", default=["sklearn", "hist"])
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args(arguments)
    if options.data is not None:
        stamp = time.strftime("%Y-%m-%dT%H%M%SZ", time.gmtime())
        run = machine.facts() | {"sections": [], "accuracy": list(measure(options.data, options.trainers))}
        (RESULTS / f"{stamp}.json").write_text(json.dumps(run, indent=1) + "\n", encoding="utf-8")
    old = TEXT.read_text(encoding="utf-8")
    new = filled(old, RESULTS)
    if new != old and not options.check:
        TEXT.write_text(new, encoding="utf-8")
    return int(new != old and options.check)


def measure(data: Path, trainers: Sequence[str]) -> Iterator[dict[str, Any]]:
    """One row per protocol, folder, trainer and seed: means over the folder's images."""
    evaluate = _script(data / "evaluate.py")
    items = [
        i for i in json.loads((data / "manifest.json").read_text("utf-8"))["items"] if i.get("scribbles")
    ]
    images = {i["id"]: _image(evaluate, data, i) for i in items}
    truth = {i["id"]: evaluate.load_truth(str(data), i) for i in items}
    for trainer in trainers:
        for seed in SEEDS:
            scores: dict[tuple[str, str], list[dict[str, float]]] = defaultdict(list)
            for protocol, learned, asked in _lessons(items):
                model = PixelClassifier(axes=learned[0]["axes"], forest=trainer, random_state=seed)
                model.fit([images[i["id"]] for i in learned], [truth[i["id"]][2] for i in learned])
                for item in asked:
                    predicted = model.predict(images[item["id"]])
                    found = evaluate.score(item, predicted, *truth[item["id"]], protocol)
                    scores[protocol, item["id"].split("/")[0]].append(found)
            print(f"{trainer}, seed {seed}", flush=True)
            for (protocol, folder), found in scores.items():
                yield {
                    "protocol": protocol,
                    "folder": folder,
                    "trainer": trainer,
                    "seed": seed,
                    "accuracy": round(mean(f["accuracy"] for f in found), 6),
                    "macro_f1": round(mean(f["macro_f1"] for f in found), 6),
                }


def _lessons(items: Sequence[dict[str, Any]]) -> Iterator[tuple[str, list[Any], list[Any]]]:
    """Protocol, images to learn from, images to ask for."""
    groups: dict[str, dict[str, list[Any]]] = defaultdict(lambda: {"train": [], "test": []})
    for item in items:
        yield "self", [item], [item]
        if item.get("split"):
            groups[item["group"]][item["split"]].append(item)
    for group in groups.values():
        yield "cross", group["train"], group["test"]


def _script(path: Path) -> Any:
    spec = spec_from_file_location("evaluate", path)
    if spec is None or spec.loader is None:
        raise FileNotFoundError(path)
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _image(evaluate: Any, data: Path, item: dict[str, Any]) -> Any:
    pixels = evaluate.read_array(str(data / item["image"]))
    opaque = item["axes"] == "yxc" and pixels.shape[-1] == 4
    return np.ascontiguousarray(pixels[..., :3] if opaque else pixels)


def filled(text: str, results: Path) -> str:
    """`text` with the table of the newest run that has one."""
    runs = [json.loads(p.read_text("utf-8")) for p in sorted(results.glob("*.json"))]
    runs = [r for r in runs if r.get("accuracy")]
    body = "".join(table(runs[-1])) if runs else "Not measured yet.\n"
    return BLOCK.sub(lambda found: f"{found[1]}\n{body}\n{found[2]}", text)


def table(run: dict[str, Any]) -> Iterator[str]:
    """Mean and standard deviation over seeds."""
    rows, trainers = run["accuracy"], list(dict.fromkeys(r["trainer"] for r in run["accuracy"]))
    seeds = len({r["seed"] for r in rows})
    yield f"Measured {run['date'][:10]}, {seeds} seeds each: mean ± standard deviation, in percent.\n\n"
    heads = [f"{what}, {t}" for what in ("accuracy", "macro F1") for t in trainers]
    yield f"| images | asked for | {' | '.join(heads)} |\n| --- | --- |{' --- |' * len(heads)}\n"
    for protocol, folder in dict.fromkeys((r["protocol"], r["folder"]) for r in rows):
        cells = []
        for what in ("accuracy", "macro_f1"):
            for trainer in trainers:
                key = protocol, folder, trainer
                found = [r[what] for r in rows if (r["protocol"], r["folder"], r["trainer"]) == key]
                cells.append(f"{100 * mean(found):.2f} ± {100 * stdev(found):.2f}")
        yield f"| {folder} | {PROTOCOLS[protocol]} | {' | '.join(cells)} |\n"


if __name__ == "__main__":
    sys.exit(main())
