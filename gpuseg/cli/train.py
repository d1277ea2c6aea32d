"""`gpuseg train`."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from gpuseg.cli import console
from gpuseg.cli.options import Axes, Backend, Quiet, checked
from gpuseg.forests import DEFAULT, TRAINERS, get_trainer

if TYPE_CHECKING:
    from gpuseg.model import PixelModel

MOST = 5  # features listed


def _trainer(name: str) -> str:
    if name not in TRAINERS:  # perhaps another package's: looking for it takes a while
        get_trainer(name)
    return name


Forest = Annotated[
    str,
    typer.Option(
        "--forest",
        metavar="NAME",
        callback=checked(_trainer),
        help=f"Who trains the forest: {', '.join(TRAINERS)}.",
    ),
]


def train(
    images: Annotated[
        list[str], typer.Option("-i", "--image", metavar="FILE", help="Image to learn from; may be repeated.")
    ],
    labels: Annotated[
        list[str],
        typer.Option(
            "-l",
            "--labels",
            metavar="FILE",
            help="Scribbles on the image at the same place: 0 unlabelled; 1, 2, ... classes.",
        ),
    ],
    output: Annotated[
        str, typer.Option("-o", "--output", metavar="MODEL.gpuseg", help="The model to write.")
    ],
    features: Annotated[
        str, typer.Option("--features", metavar="all|FILE.toml", help="All that fit the image, or a choice.")
    ] = "all",
    names: Annotated[
        str, typer.Option("--names", metavar="A,B,...", help="Names of the classes 1, 2, ...")
    ] = "",
    axes: Axes = None,
    label_axes: Annotated[str | None, typer.Option("--label-axes", help="Axes of the label files.")] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Same seed and data, same model.")] = 0,
    forest: Forest = DEFAULT,
    trees: Annotated[int, typer.Option("--trees", min=1, help="Trees of the forest.")] = 100,
    folds: Annotated[
        int,
        typer.Option(
            "--folds", min=0, help="Parts of the strokes to keep out and ask for, in turn; 0: none."
        ),
    ] = 5,
    backend: Backend = "auto",
    quiet: Quiet = False,
) -> None:
    """Learn a model from images and scribbles."""
    from gpuseg import api

    with console.telling(quiet), console.interruptible():
        model = api.train(
            images,
            labels,
            features=features,
            names=[n.strip() for n in names.split(",")] if names else (),
            axes=axes,
            label_axes=label_axes,
            forest=forest,
            seed=seed,
            trees=trees,
            folds=folds,
            output=output,
            backend=backend,
        )
    if not quiet:
        for line in report(model):
            typer.echo(line)


def report(model: "PixelModel") -> Iterator[str]:
    """What training told, line by line: labels, held-out strokes, confusions, features that mattered."""
    told = model.provenance["training"]
    names = [c.name for c in model.classes]
    counts = ", ".join(
        f"{n} {told['labels'][str(c.value)]}" for n, c in zip(names, model.classes, strict=True)
    )
    yield f"painted pixels: {counts}"
    if told["oob_accuracy"] is not None:
        yield f"right on pixels kept out (out of bag): {told['oob_accuracy']:.1%}"
    if found := told.get("validation"):
        if found["accuracy"] is not None:
            yield f"right on whole strokes kept out, in {found['folds']} parts: {found['accuracy']:.1%}"
            yield from confusion_table(names, found["confusion"])
        if found["notice"]:
            yield f"note: {found['notice']}"
    yield "features that mattered most:"
    ranked = sorted(zip(told["importances"], model.feature_names, strict=True), reverse=True)
    yield from (f"  {weight:5.1%}  {name}" for weight, name in ranked[:MOST])


def confusion_table(
    names: Sequence[str], counts: Sequence[Sequence[int]], said: str = "painted as"
) -> Iterator[str]:
    """Rows are the classes that people gave, columns what was taken for them."""
    width = max(len(said), *(len(n) for n in names))
    columns = [max(len(n), 7) for n in names]
    yield f"  {said:<{width}}  taken for " + "  ".join(
        f"{n:>{w}}" for n, w in zip(names, columns, strict=True)
    )
    for name, row in zip(names, counts, strict=True):
        cells = "  ".join(f"{n:>{w}}" for n, w in zip(row, columns, strict=True))
        yield f"  {name:<{width}}            {cells}"
