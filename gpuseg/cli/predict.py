"""`gpuseg predict`."""

from typing import Annotated

import typer

from gpuseg import export as exports
from gpuseg.cli import console
from gpuseg.cli.options import (
    Axes,
    AxisOrder,
    Backend,
    Cutout,
    Dtype,
    ExportRange,
    Format,
    GpuMemory,
    InternalPath,
    Output,
    Quiet,
    Renormalise,
    ResultRange,
    checked,
    export_settings,
)
from gpuseg.export import DEFAULT_NAME


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
            callback=checked(lambda words: [exports.find_pixel_result(w) for w in words]),
            help=f"{', '.join(exports.pixel_results())}; may be repeated.",
        ),
    ] = ["probabilities"],  # noqa: B006  typer copies it
    output: Output = DEFAULT_NAME,
    format: Format = None,
    cutout: Cutout = None,
    renormalise: Renormalise = None,
    dtype: Dtype = None,
    axis_order: AxisOrder = None,
    internal_path: InternalPath = None,
    result_range: ResultRange = None,
    export_range: ExportRange = None,
    axes: Axes = None,
    backend: Backend = "auto",
    gpu_memory: GpuMemory = None,
    quiet: Quiet = False,
) -> None:
    """Apply MODEL to IMAGES and write the results."""
    from gpuseg import api

    settings = export_settings(
        *(output, format, cutout, renormalise, dtype, axis_order),
        internal_path=internal_path,
        result_range=result_range,
        export_range=export_range,
    )
    with console.telling(quiet), console.stoppable() as cancel, console.progress(quiet) as progress:
        outcomes = api.predict(
            model,
            images,
            export=export,
            axes=axes,
            backend=backend,
            gpu_memory=gpu_memory,
            progress=progress,
            cancel=cancel,
            on_error="skip",
            **settings,
        )
    console.end(outcomes)
