"""`gpuseg run` and `gpuseg classify`."""

import json
from contextlib import ExitStack
from typing import Annotated, Any

import typer

from gpuseg import export as exports
from gpuseg.cli import console, options
from gpuseg.cli.measure import PictureMargin, Pictures, RawAxes, WholeImage
from gpuseg.cli.options import (
    Axes,
    AxisOrder,
    Backend,
    Block,
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
from gpuseg.cli.segment import ValueRange, as_range
from gpuseg.errors import InputError
from gpuseg.export import DEFAULT_NAME, RESULTS


def _results(of_pixels: bool) -> list[str]:
    return [k for k, r in RESULTS.items() if r.source == "objects" or (of_pixels and k != "labels")]


def _export(of_pixels: bool) -> Any:
    return typer.Option(
        "-e",
        "--export",
        metavar="RESULT",
        callback=checked(lambda words: [exports.find(w) for w in words]),
        help=f"{', '.join(_results(of_pixels))}; may be repeated. Default: object predictions.",
    )


def _table(value: str) -> str:
    from gpuseg.tables import check_path

    check_path(value)
    return value


def _report(value: str) -> str:
    from gpuseg.report import check_report

    check_report(value)
    return value


def segment_settings(pairs: list[str] | None) -> dict[str, Any] | None:
    """Settings of `gpuseg.segment` from texts like `channel=1`, `sigma=2,2,1`, `keep-apart`; None of none."""
    if not pairs:
        return None
    from gpuseg.objects.settings import Settings

    settings = dict(_setting(pair) for pair in pairs)
    try:
        Settings.of(**settings)
    except TypeError:
        known = ", ".join(sorted(Settings.of.__kwdefaults__ or ()))
        raise InputError(
            f"{', '.join(pairs)}: an unknown setting", hint=f"write channel=1; there are {known}"
        ) from None
    return settings


def _setting(pair: str) -> tuple[str, Any]:
    """`low=0.4` as ("low", 0.4); a word alone is True; numbers with commas are a list."""
    key, _, text = pair.partition("=")
    key = key.strip().lstrip("-").replace("-", "_")
    if not key or ("=" in pair and not text.strip()):
        raise InputError(f"{pair!r}: a setting looks like channel=1")
    if "=" not in pair:
        return key, True
    try:
        values = [json.loads(word) for word in text.split(",")]
    except ValueError:
        return key, text.strip()
    return key, values if len(values) > 1 or key == "classes" else values[0]


def _halo(text: str | None) -> list[int] | None:
    return None if text is None else options.numbers(text, int, (1, 2, 3), 0)


def _blockwise(value: str) -> str:
    if value not in ("exact", "ilastik"):
        raise InputError(f"{value!r} is no way to treat blocks", hint="exact or ilastik")
    return value


Model = Annotated[str, typer.Argument(metavar="MODEL", help="A .gpuseg model or an ilastik project (.ilp).")]
Raw = Annotated[
    list[str] | None,
    typer.Option("--raw", "--raw_data", "--raw-data", metavar="FILE", help="Raw image; may be repeated."),
]
Probabilities = Annotated[
    list[str] | None,
    typer.Option(
        "--probabilities",
        "--prediction_maps",
        "--prediction-maps",
        metavar="FILE",
        help="Objects by thresholds.",
    ),
]
Segmentation = Annotated[
    list[str] | None,
    typer.Option(
        "--segmentation",
        "--segmentation_image",
        "--segmentation-image",
        metavar="FILE",
        help="Connected parts of equal value are objects.",
    ),
]
LabelImage = Annotated[
    list[str] | None,
    typer.Option(
        *("--label-image", "--labels-image", "--labels", "--label_image"),
        metavar="FILE",
        help="Objects by their ids.",
    ),
]
Table = Annotated[
    str | None,
    typer.Option(
        "--table",
        "--table_filename",
        metavar="TABLE",
        callback=checked(_table),
        help="One table of the objects of all images: .csv, .h5, .parquet or .h5ad.",
    ),
]
TableOnly = Annotated[
    bool, typer.Option("--table-only", "--table_only", help="Write no images; the default beside --table.")
]
Report = Annotated[
    str | None,
    typer.Option(
        "--report", metavar="PAGE.html", callback=checked(_report), help="A page that shows what was done."
    ),
]
Segment = Annotated[
    list[str] | None,
    typer.Option(
        "--segment",
        metavar="KEY=VALUE",
        callback=checked(lambda pairs: segment_settings(pairs) and pairs),
        help="A setting of gpuseg segment, e.g. channel=1; may be repeated.",
    ),
]
ObjectLabels = Annotated[
    list[str] | None,
    typer.Option(
        "--object-labels",
        metavar="FILE",
        help="What people said of objects: a file for all images, or each.",
    ),
]
Features = Annotated[
    str | None,
    typer.Option(
        "--features",
        metavar="A,B,...",
        callback=valid(options.words),
        help="Features in the table; default: as in training.",
    ),
]
Spacing = Annotated[
    str | None,
    typer.Option(
        "--spacing",
        metavar="S|Z,Y,X|file",
        callback=valid(options.spacing),
        help="Size of a pixel, where lengths are measured; default: as in training.",
    ),
]
Halo = Annotated[
    str | None,
    typer.Option(
        "--halo",
        metavar="N|Z,Y,X",
        callback=valid(_halo),
        help="Around a block, with --blockwise ilastik; exact results need none.",
    ),
]
Blockwise = Annotated[
    str,
    typer.Option(
        "--blockwise",
        metavar="MODE",
        callback=checked(_blockwise),
        help="exact: blocks change nothing; ilastik: the blockwise results are those of each block alone.",
    ),
]


def run(
    model: Model,
    images: Annotated[
        list[str], typer.Argument(metavar="IMAGES", help="Raw image files; also file.h5/dataset.")
    ],
    export: Annotated[list[str] | None, _export(True)] = None,
    table: Table = None,
    table_only: TableOnly = False,
    report: Report = None,
    segment: Segment = None,
    features: Features = None,
    object_labels: ObjectLabels = None,
    output: Output = DEFAULT_NAME,
    format: Format = None,
    cutout: Cutout = None,
    renormalise: Renormalise = None,
    dtype: Dtype = None,
    axis_order: AxisOrder = None,
    internal_path: InternalPath = None,
    result_range: ResultRange = None,
    export_range: ExportRange = None,
    pictures: Pictures = False,
    picture_margin: PictureMargin = 0,
    whole_image: WholeImage = False,
    block: Block = None,
    halo: Halo = None,
    blockwise: Blockwise = "exact",
    spacing: Spacing = None,
    axes: Axes = None,
    backend: Backend = "auto",
    gpu_memory: GpuMemory = None,
    quiet: Quiet = False,
) -> None:
    """From raw IMAGES to classified objects and a table of them, in one pass."""
    from gpuseg import api

    how = _how(locals())
    _go(lambda more: api.run(model, images, **how, **more), quiet)


def classify(
    model: Model,
    raw: Raw = None,
    probabilities: Probabilities = None,
    segmentation: Segmentation = None,
    labels: LabelImage = None,
    export: Annotated[list[str] | None, _export(False)] = None,
    table: Table = None,
    table_only: TableOnly = False,
    report: Report = None,
    segment: Segment = None,
    value_range: ValueRange = None,
    features: Features = None,
    object_labels: ObjectLabels = None,
    output: Output = DEFAULT_NAME,
    format: Format = None,
    cutout: Cutout = None,
    renormalise: Renormalise = None,
    dtype: Dtype = None,
    axis_order: AxisOrder = None,
    internal_path: InternalPath = None,
    result_range: ResultRange = None,
    export_range: ExportRange = None,
    pictures: Pictures = False,
    picture_margin: PictureMargin = 0,
    whole_image: WholeImage = False,
    block: Block = None,
    halo: Halo = None,
    blockwise: Blockwise = "exact",
    spacing: Spacing = None,
    axes: Axes = None,
    raw_axes: RawAxes = None,
    backend: Backend = "auto",
    gpu_memory: GpuMemory = None,
    quiet: Quiet = False,
) -> None:
    """Classify the objects of probability maps, segmentations or label images."""
    from gpuseg import api

    how = _how(locals()) | {"raw_axes": raw_axes, "range": as_range(value_range)}
    sources = {"raw": raw, "probabilities": probabilities, "segmentation": segmentation, "labels": labels}
    given: dict[str, Any] = {name: paths or None for name, paths in sources.items()}
    _go(lambda more: api.classify(model, **given, **how, **more), quiet)


AS_THEY_ARE = (
    *("report", "pictures", "picture_margin", "whole_image", "blockwise"),
    *("axes", "backend", "gpu_memory"),
)
WRITTEN = ("output", "format", "cutout", "renormalise", "dtype", "axis_order")


def _how(given: dict[str, Any]) -> dict[str, Any]:
    """Options that both commands have as keyword arguments of `gpuseg.api`."""
    if given["table_only"] and given["table"] is None:
        raise typer.BadParameter("--table-only writes a table: name it with --table")
    if given["table_only"] and given["export"]:
        raise typer.BadParameter("--table-only writes no images: leave out --export")
    if (given["picture_margin"] or given["whole_image"]) and not given["pictures"]:
        raise typer.BadParameter("--picture-margin and --whole-image are about --pictures: give it too")
    if given["pictures"] and not str(given["table"]).lower().endswith((".h5", ".hdf5")):
        raise typer.BadParameter("--pictures go into a table that is .h5: name it with --table")
    found = {name: given[name] for name in AS_THEY_ARE}
    found |= export_settings(
        *(given[name] for name in WRITTEN),
        internal_path=given["internal_path"],
        result_range=given["result_range"],
        export_range=given["export_range"],
    )
    features = given["features"]
    return found | {
        "export": given["export"] or None,
        "table": given["table"] or False,
        "segment": checked(segment_settings)(given["segment"]),
        "features": None if features is None else options.words(features),
        "block": options.block(given["block"]),
        "halo": _halo(given["halo"]),
        "spacing": options.spacing(given["spacing"]),
        "object_labels": given["object_labels"] or None,
        "on_error": "skip",
    }


def _go(work: Any, quiet: bool) -> None:
    """Call the verb, with a progress bar and a way to stop it."""
    with ExitStack() as stack:
        stack.enter_context(console.telling(quiet))
        cancel = stack.enter_context(console.stoppable())
        progress = stack.enter_context(console.progress(quiet))
        found = work({"cancel": cancel, "progress": progress})
    console.end(found.outcomes)
