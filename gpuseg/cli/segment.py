"""`gpuseg segment`."""

from typing import Annotated, Any

import typer

from gpuseg.cli import console, options
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
    valid,
)
from gpuseg.errors import InputError
from gpuseg.export import DEFAULT_NAME


def _sigma(text: str) -> list[float]:
    return options.numbers(text, float, (1, 2, 3))


def _classes(text: str) -> list[int]:
    return options.numbers(text)


def as_range(text: str | None) -> tuple[float, float] | None:
    """`0,255` as numbers."""
    if text is None:
        return None
    low, high = options.numbers(text, float, (2,))
    if low >= high:
        raise InputError(f"{text!r}: what stands for 0 is below what stands for 1")
    return low, high


def _text(name: str, metavar: str, check: Any, text: str) -> Any:
    """An option whose text `check` takes apart."""
    return typer.Option(name, metavar=metavar, callback=valid(check), help=text)


Images = Annotated[
    list[str], typer.Argument(metavar="PROBABILITIES", help="Probability maps; also file.h5/dataset.")
]
MethodName = Annotated[
    str, typer.Option(metavar="NAME", help="simple: one threshold; hysteresis: a low and a high one.")
]
Channel = Annotated[int | None, typer.Option(metavar="N", help="Channel of the objects, from 0; default: 0.")]
CoreChannel = Annotated[
    int | None, typer.Option(metavar="N", help="Channel of the high threshold, if another.")
]
Classes = Annotated[
    str | None,
    _text("--classes", "N,N", _classes, "Channels of several classes in one go: the likeliest wins."),
]
Threshold = Annotated[
    float | None, typer.Option(metavar="T", help="Least probability of an object; default: 0.5.")
]
Low = Annotated[float | None, typer.Option(metavar="T", help="Hysteresis: least probability; default: 0.5.")]
High = Annotated[float | None, typer.Option(metavar="T", help="Hysteresis: of a core in it; default: 0.8.")]
Sigma = Annotated[str, _text("--sigma", "S[,S,S]", _sigma, "Smoothing in pixels, along x, y, z; 0 for none.")]
MinSize = Annotated[int, typer.Option(metavar="N", help="Least pixels of an object.")]
MaxSize = Annotated[int, typer.Option(metavar="N", help="Most pixels of an object.")]
KeepApart = Annotated[bool, typer.Option("--keep-apart", help="Hysteresis: cores stay objects of their own.")]
Connectivity = Annotated[
    int, typer.Option(metavar="N", help="Neighbours by faces (1), edges (2), corners (3).")
]
Split = Annotated[
    float | None,
    typer.Option(metavar="P", help="Part objects at necks P pixels narrower than what they join."),
]
DropBorder = Annotated[bool, typer.Option("--drop-border", help="Without objects at the border.")]
Compat = Annotated[str | None, typer.Option(metavar="ilastik", help="Exactly as ilastik does it.")]
ValueRange = Annotated[
    str | None,
    _text(
        "--range", "LOW,HIGH", as_range, "What stands for probabilities 0 and 1; default: by file or type."
    ),
]
Block = Annotated[str | None, options.block_option("--tile")]


def segment(
    images: Images,
    output: Output = DEFAULT_NAME,
    method: MethodName = "simple",
    channel: Channel = None,
    core_channel: CoreChannel = None,
    classes: Classes = None,
    threshold: Threshold = None,
    low: Low = None,
    high: High = None,
    sigma: Sigma = "1",
    min_size: MinSize = 10,
    max_size: MaxSize = 1_000_000,
    keep_apart: KeepApart = False,
    connectivity: Connectivity = 1,
    split: Split = None,
    drop_border: DropBorder = False,
    compat: Compat = None,
    value_range: ValueRange = None,
    block: Block = None,
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
    """Find the objects in PROBABILITIES and write label images."""
    from gpuseg import api
    from gpuseg.objects.settings import Settings

    settings: dict[str, Any] = dict(method=method, channel=channel, core_channel=core_channel)
    settings |= dict(classes=() if classes is None else _classes(classes), sigma=_sigma(sigma), compat=compat)
    settings |= dict(threshold=threshold, low=low, high=high, split=split, connectivity=connectivity)
    settings |= dict(min_size=min_size, max_size=max_size, drop_border=drop_border, keep_apart=keep_apart)
    checked(lambda given: Settings.of(**given))(settings)
    settings |= export_settings(
        *(output, format, cutout, renormalise, dtype, axis_order),
        internal_path=internal_path,
        result_range=result_range,
        export_range=export_range,
    )
    with console.telling(quiet), console.stoppable() as cancel, console.progress(quiet) as progress:
        outcomes = api.segment(
            images,
            axes=axes,
            range=as_range(value_range),
            backend=backend,
            gpu_memory=gpu_memory,
            block=options.block(block),
            progress=progress,
            cancel=cancel,
            on_error="skip",
            **settings,
        )
    console.end(outcomes)
