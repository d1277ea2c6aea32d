"""`gpuseg measure`."""

from collections.abc import Callable
from typing import Annotated, Any

import typer

from gpuseg.cli import console
from gpuseg.cli.options import Axes, Backend, Quiet, checked
from gpuseg.errors import InputError
from gpuseg.objects.choice import ALL, NOT_LOCATION

FILE = "file"


def _output(value: str) -> str:
    from gpuseg.tables import check_path

    check_path(value)
    return value


def _numbers(of: Callable[[str], float], least: float, counts: tuple[int, ...]) -> Callable[[str], str]:
    """A check of text like 30,30,1: so many numbers, none below `least`."""

    def check(text: str) -> str:
        try:
            numbers = [of(word) for word in text.split(",")]
        except ValueError:
            numbers = []
        if len(numbers) not in counts or min(numbers) < least:
            raise InputError(f"{text!r}: {' or '.join(map(str, counts))} numbers with commas are needed")
        return text

    return check


def _spacing(text: str) -> str:
    return text if text == FILE else _numbers(float, 1e-9, (1, 2, 3))(text)


def _kind(value: str) -> str:
    from gpuseg.objects.measure import check_kind

    return check_kind(value)


def _split(text: str | None, of: Callable[[str], Any] = str.strip) -> list[Any]:
    return [of(word) for word in text.split(",")] if text else []


def measure(
    labels: Annotated[
        list[str], typer.Argument(metavar="LABELS", help="Label images; also file.h5/dataset.")
    ],
    output: Annotated[
        str,
        typer.Option(
            "-o",
            "--output",
            metavar="TABLE",
            callback=checked(_output),
            help="The table to write: .csv, .h5 or .parquet.",
        ),
    ],
    raw: Annotated[
        list[str] | None,
        typer.Option("--raw", metavar="FILE", help="Image under the labels; one for each label image."),
    ] = None,
    features: Annotated[
        str,
        typer.Option(
            "--features",
            metavar="A,B,...",
            help=f"{ALL}, {NOT_LOCATION.replace(' ', '-')}, or names with commas.",
        ),
    ] = NOT_LOCATION.replace(" ", "-"),
    margin: Annotated[
        str,
        typer.Option(
            "--margin",
            metavar="X,Y[,Z]",
            callback=checked(_numbers(int, 0, (2, 3))),
            help="Width of neighbourhoods, in pixels.",
        ),
    ] = "30,30,1",
    probabilities: Annotated[
        list[str] | None,
        typer.Option("--probabilities", metavar="FILE", help="Map with a channel for each class."),
    ] = None,
    classes: Annotated[
        str, typer.Option("--classes", metavar="A,B,...", help="Names of the channels of probabilities.")
    ] = "",
    kind: Annotated[
        str,
        typer.Option(
            "--kind",
            metavar="KIND",
            callback=checked(_kind),
            help="labels: keep ids; components: number connected parts of equal value.",
        ),
    ] = "labels",
    spacing: Annotated[
        str | None,
        typer.Option(
            "--spacing",
            metavar="S|Z,Y,X|file",
            callback=checked(_spacing),
            help="Size of a pixel, to measure in lengths, not pixels.",
        ),
    ] = None,
    unit: Annotated[str, typer.Option("--unit", help="Unit of the spacing.")] = "µm",
    block: Annotated[
        str | None,
        typer.Option(
            "--block",
            metavar="N|Z,Y,X",
            callback=checked(_numbers(int, 1, (1, 2, 3))),
            help="Size of tiles; default: the whole image, if it fits into memory.",
        ),
    ] = None,
    axes: Axes = None,
    raw_axes: Annotated[str | None, typer.Option("--raw-axes", help="Axes of the raw images.")] = None,
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
