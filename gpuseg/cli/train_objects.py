"""`gpuseg train-objects`."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from gpuseg.cli import console, options
from gpuseg.cli.classify import (
    LabelImage,
    Probabilities,
    Raw,
    Report,
    Segment,
    Segmentation,
    Table,
    segment_settings,
)
from gpuseg.cli.measure import DEFAULT as FEATURES
from gpuseg.cli.measure import Features, Margin, RawAxes, Spacing, Unit
from gpuseg.cli.options import Axes, Backend, GpuMemory, Quiet, valid
from gpuseg.cli.segment import ValueRange, as_range
from gpuseg.cli.train import MOST, Forest, confusion_table
from gpuseg.forests import DEFAULT

if TYPE_CHECKING:
    from gpuseg.model import Pipeline

Said = Annotated[
    list[str],
    typer.Option(
        "--object-labels",
        metavar="FILE",
        help="CSV or JSON of labelled objects: one for all images, or one for each.",
    ),
]
Model = Annotated[str, typer.Option("-o", "--output", metavar="MODEL.gpuseg", help="The model to write.")]
PixelModel = Annotated[
    str | None,
    typer.Option("--pixel-model", metavar="MODEL", help="First stage: pixels of the raw images alone."),
]
Use = Annotated[
    str | None,
    typer.Option(
        "--use",
        metavar="A,B,...",
        callback=valid(options.words),
        help="Features to learn from; default: all measured.",
    ),
]
Names = Annotated[str, typer.Option("--names", metavar="A,B,...", help="Names of the classes 1, 2, ...")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Same seed and data, same model.")]
Trees = Annotated[int, typer.Option("--trees", min=1, help="Trees of the forest.")]
Folds = Annotated[
    int, typer.Option("--folds", min=0, help="Parts of the labels to keep out and ask for, in turn; 0: none.")
]


def train_objects(
    object_labels: Said,
    output: Model,
    raw: Raw = None,
    labels: LabelImage = None,
    segmentation: Segmentation = None,
    probabilities: Probabilities = None,
    pixel_model: PixelModel = None,
    segment: Segment = None,
    value_range: ValueRange = None,
    features: Features = FEATURES,
    use: Use = None,
    names: Names = "",
    margin: Margin = "30,30,1",
    spacing: Spacing = None,
    unit: Unit = "µm",
    table: Table = None,
    report: Report = None,
    axes: Axes = None,
    raw_axes: RawAxes = None,
    seed: Seed = 0,
    forest: Forest = DEFAULT,
    trees: Trees = 100,
    folds: Folds = 5,
    backend: Backend = "auto",
    gpu_memory: GpuMemory = None,
    quiet: Quiet = False,
) -> None:
    """Learn to classify objects from a few that are labelled."""
    from gpuseg import api

    given = {name: value for name, value in locals().items() if name not in ("api", "quiet", "value_range")}
    for name in ("raw", "labels", "segmentation", "probabilities"):
        given[name] = given[name] or None
    given |= {
        "segment": segment_settings(segment),
        "range": as_range(value_range),
        "features": options.words(features),
        "use": None if use is None else options.words(use),
        "names": [word.strip() for word in names.split(",")] if names else (),
        "margin": options.margin(margin),
        "spacing": options.spacing(spacing),
    }
    with console.telling(quiet), console.stoppable() as cancel, console.progress(quiet) as progress:
        pipeline = api.train_objects(**given, progress=progress, cancel=cancel)
    for line in () if quiet else lines(pipeline):
        typer.echo(line)


def lines(pipeline: "Pipeline") -> Iterator[str]:
    """What training told, line by line: labels, held-out objects, confusions, features that mattered."""
    model = pipeline.objects
    assert model is not None
    told = model.provenance["training"]
    names = [c.name for c in model.classes]
    yield "labelled objects: " + ", ".join(
        f"{n} {told['labels'][str(c.value)]}" for n, c in zip(names, model.classes, strict=True)
    )
    if told["ambiguous"]:
        yield f"ambiguous: {len(told['ambiguous'])}, a feature is no number and counts as 0"
    if told["oob_accuracy"] is not None:
        yield f"right on objects kept out (out of bag): {told['oob_accuracy']:.1%}"
    if (found := told.get("validation")) and found["accuracy"] is not None:
        yield f"right on objects kept out, in {found['folds']} parts: {found['accuracy']:.1%}"
        yield from confusion_table(names, found["confusion"], "labelled as")
    if found and found["notice"]:
        yield f"note: {found['notice']}"
    yield "features that mattered most:"
    ranked = sorted(zip(told["importances"], model.columns, strict=True), reverse=True)
    yield from (f"  {weight:5.1%}  {name}" for weight, name in ranked[:MOST])
