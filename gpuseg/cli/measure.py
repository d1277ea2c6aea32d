"""`gpuseg measure`."""

from typing import Annotated

import typer

from gpuseg.cli import console, options
from gpuseg.cli.options import Axes, Backend, Block, Quiet, checked, valid
from gpuseg.objects.choice import ALL, NOT_LOCATION

DEFAULT = NOT_LOCATION.replace(" ", "-")


def _output(value: str) -> str:
    from gpuseg.tables import check_path

    check_path(value)
    return value


def _kind(value: str) -> str:
    from gpuseg.objects.measure import check_kind

    return check_kind(value)


Labels = Annotated[list[str], typer.Argument(metavar="LABELS", help="Label images; also file.h5/dataset.")]
Output = Annotated[
    str,
    typer.Option(
        "-o",
        "--output",
        metavar="TABLE",
        callback=checked(_output),
        help="The table to write: .csv, .h5, .parquet or .h5ad.",
    ),
]
Raw = Annotated[
    list[str] | None,
    typer.Option("--raw", metavar="FILE", help="Image under the labels; one for each label image."),
]
RawAxes = Annotated[str | None, typer.Option("--raw-axes", help="Axes of the raw images.")]
Features = Annotated[
    str,
    typer.Option(
        "--features",
        metavar="A,B,...",
        callback=valid(options.words),
        help=f"{ALL}, {DEFAULT}, or names with commas.",
    ),
]
Margin = Annotated[
    str,
    typer.Option(
        "--margin",
        metavar="X,Y[,Z]",
        callback=valid(options.margin),
        help="Width of neighbourhoods, in pixels.",
    ),
]
Probabilities = Annotated[
    list[str] | None,
    typer.Option("--probabilities", metavar="FILE", help="Map with a channel for each class."),
]
Classes = Annotated[
    str, typer.Option("--classes", metavar="A,B,...", help="Names of the channels of probabilities.")
]
Kind = Annotated[
    str,
    typer.Option(
        "--kind",
        metavar="KIND",
        callback=checked(_kind),
        help="labels: keep ids; components: number connected parts of equal value.",
    ),
]
Spacing = Annotated[
    str | None,
    typer.Option(
        "--spacing",
        metavar="S|Z,Y,X|file",
        callback=valid(options.spacing),
        help="Size of a pixel, to measure in lengths, not pixels.",
    ),
]
Unit = Annotated[str, typer.Option("--unit", help="Unit of the spacing.")]
Pictures = Annotated[
    bool,
    typer.Option("--pictures", "--images", help="Put a picture of each object into an .h5 table."),
]
PictureMargin = Annotated[
    int,
    typer.Option(
        "--picture-margin",
        "--image-margin",
        metavar="N",
        min=0,
        help="Pixels around an object.",
    ),
]
WholeImage = Annotated[
    bool, typer.Option("--whole-image", help="Store the raw image once, at full size, not with each object.")
]


def measure(
    labels: Labels,
    output: Output,
    raw: Raw = None,
    features: Features = DEFAULT,
    margin: Margin = "30,30,1",
    probabilities: Probabilities = None,
    classes: Classes = "",
    kind: Kind = "labels",
    spacing: Spacing = None,
    unit: Unit = "µm",
    block: Block = None,
    pictures: Pictures = False,
    picture_margin: PictureMargin = 0,
    whole_image: WholeImage = False,
    axes: Axes = None,
    raw_axes: RawAxes = None,
    backend: Backend = "auto",
    quiet: Quiet = False,
) -> None:
    """Measure the objects of LABELS and write a table, a row for each."""
    from gpuseg import api

    with console.telling(quiet), console.stoppable() as cancel, console.progress(quiet) as progress:
        table = api.measure(
            labels,
            raw=raw,
            probabilities=probabilities,
            output=output,
            pictures=pictures,
            picture_margin=picture_margin,
            whole_image=whole_image,
            axes=axes,
            raw_axes=raw_axes,
            progress=progress,
            cancel=cancel,
            on_error="skip",
            features=options.words(features),
            classes=options.words(classes) if classes else [],
            kind=kind,
            margin=options.margin(margin),
            spacing=options.spacing(spacing),
            unit=unit,
            block=options.block(block),
            backend=backend,
        )
    if failed := table.attrs["failed"]:
        typer.echo(f"{len(failed)} of {len(labels)} images failed: {', '.join(failed)}", err=True)
        raise typer.Exit(1)
