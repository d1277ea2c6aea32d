"""`gpuseg predict`."""

from typing import Annotated

import typer

from gpuseg import export as exports
from gpuseg.cli import console
from gpuseg.cli.options import Axes, Backend, GpuMemory, Quiet, checked
from gpuseg.export import DEFAULT_NAME, INTEGERS, RESULTS


def _output(value: str) -> str:
    from gpuseg.io import image_format

    exports.check_template(value)
    image_format(value)
    return value


def predict(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="A .gpuseg model or an ilastik project (.ilp).")
    ],
    images: Annotated[list[str], typer.Argument(metavar="IMAGES", help="Image files; also file.h5/dataset.")],
    export: Annotated[
        list[str],
        typer.Option(
            "-e",
            "--export",
            metavar="RESULT",
            callback=checked(lambda words: [exports.find(w) for w in words]),
            help=f"{', '.join(RESULTS)}; may be repeated.",
        ),
    ] = ["probabilities"],  # noqa: B006  typer copies it
    output: Annotated[
        str,
        typer.Option(
            "-o",
            "--output",
            metavar="NAME",
            callback=checked(_output),
            help="Files to write; the suffix is the format.",
        ),
    ] = DEFAULT_NAME,
    axes: Axes = None,
    dtype: Annotated[
        str | None,
        typer.Option(
            "--dtype",
            metavar="TYPE",
            callback=checked(exports.check_dtype),
            help=f"{' or '.join(INTEGERS)}: scale probabilities and uncertainty to its full range.",
        ),
    ] = None,
    backend: Backend = "auto",
    gpu_memory: GpuMemory = None,
    quiet: Quiet = False,
) -> None:
    """Apply MODEL to IMAGES and write the results."""
    from gpuseg import api

    with console.telling(quiet), console.stoppable() as cancel, console.progress(quiet) as progress:
        outcomes = api.predict(
            model,
            images,
            export=export,
            output=output,
            axes=axes,
            dtype=dtype,
            backend=backend,
            gpu_memory=gpu_memory,
            progress=progress,
            cancel=cancel,
            on_error="skip",
        )
    console.end(outcomes)
