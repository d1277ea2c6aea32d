"""`gpuseg measure`."""

from collections.abc import Callable
from typing import Annotated, Any

import typer

from gpuseg.cli import console
from gpuseg.cli.options import Axes, Backend, Quiet, checked
from gpuseg.errors import InputError
from gpuseg.objects.choice import ALL, NOT_LOCATION

FILE = "file"
DEFAULT = NOT_LOCATION.replace(" ", "-")


def _output(value: str) -> str:
    from gpuseg.tables import check_path

    check_path(value)
    return value


def _features(text: str) -> str:
    if not all(word.strip() for word in text.split(",")):
        raise InputError(f"{text!r}: a name is missing", hint=f"{ALL}, {DEFAULT}, or names with commas")
    return text


def check_numbers(of: Callable[[str], float], least: float, counts: tuple[int, ...]) -> Callable[[str], str]:
    """A check of text like 30,30,1: so many numbers, none below `least`; of fractions, all above it."""

    def check(text: str) -> str:
        try:
            numbers = [of(word) for word in text.split(",")]
        except ValueError:
            numbers = []
        if len(numbers) not in counts:
            raise InputError(f"{text!r}: {' or '.join(map(str, counts))} numbers with commas are needed")
        if not all(n > least if of is float else n >= least for n in numbers):
            raise InputError(
                f"{text!r}: numbers {'above' if of is float else 'of at least'} {least} are needed"
            )
        return text

    return check


def check_spacing(text: str) -> str:
    return text if text == FILE else check_numbers(float, 0, (1, 2, 3))(text)


def _kind(value: str) -> str:
    from gpuseg.objects.measure import check_kind

    return check_kind(value)


def _split(text: str | None, of: Callable[[str], Any] = str.strip) -> list[Any]:
    return [of(word) for word in text.split(",")] if text else []


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
        callback=checked(_features),
        help=f"{ALL}, {DEFAULT}, or names with commas.",
    ),
]
Margin = Annotated[
    str,
    typer.Option(
        "--margin",
        metavar="X,Y[,Z]",
        callback=checked(check_numbers(int, 0, (2, 3))),
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
        callback=checked(check_spacing),
        help="Size of a pixel, to measure in lengths, not pixels.",
    ),
]
Unit = Annotated[str, typer.Option("--unit", help="Unit of the spacing.")]
Block = Annotated[
    str | None,
    typer.Option(
        "--block",
        metavar="N|Z,Y,X",
        callback=checked(check_numbers(int, 1, (1, 2, 3))),
        help="Size of tiles; default: the whole image, if it fits into memory.",
    ),
]

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

    sizes = _split(block, int)
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
            features=_split(features),
            classes=_split(classes),
            kind=kind,
            margin=_split(margin, int),
            spacing=spacing if spacing in (None, FILE) else _split(spacing, float),
            unit=unit,
            block=sizes[0] if len(sizes) == 1 else sizes or None,
            backend=backend,
        )
    if failed := table.attrs["failed"]:
        typer.echo(f"{len(failed)} of {len(labels)} images failed: {', '.join(failed)}", err=True)
        raise typer.Exit(1)
