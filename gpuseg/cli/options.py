"""Options that several commands share."""

from collections.abc import Callable
from math import isfinite
from typing import Annotated, Any

import typer

from gpuseg import export as exports
from gpuseg.axes import LETTERS
from gpuseg.errors import InputError


def checked(check: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A callback for an option: an InputError becomes wrong usage (exit 2) that names the option."""

    def callback(value: Any) -> Any:
        try:
            return value if value is None else check(value)
        except InputError as error:
            raise typer.BadParameter(str(error)) from error

    return callback


def numbers(
    text: str, of: type[int] | type[float] = int, counts: tuple[int, ...] = (), least: float | None = None
) -> list[Any]:
    """Of text like 1,2,3: so many, or any number of them; none below `least`, fractions all above it."""
    what = "whole numbers" if of is int else "numbers"
    try:
        found = [of(part) for part in text.split(",")]
    except ValueError:
        found = []
    if not found or not all(map(isfinite, found)):
        raise InputError(f"{text!r}: {what} are needed, with commas between")
    if counts and len(found) not in counts:
        many = " or ".join(map(str, counts))
        raise InputError(f"{text!r}: {many} {what} are needed, with commas between, not {len(found)}")
    if least is not None and not all(n > least if of is float else n >= least for n in found):
        raise InputError(f"{text!r}: {what} {'above' if of is float else 'of at least'} {least:g} are needed")
    return found


def words(text: str) -> list[str]:
    """Names with commas between."""
    found = [word.strip() for word in text.split(",")]
    if not all(found):
        raise InputError(f"{text!r}: a name is missing")
    return found


def block(text: str | None) -> list[int] | None:
    """Pixels along z, y, x."""
    return None if text is None else numbers(text, int, (1, 2, 3), 1)


def spacing(text: str | None) -> Any:
    """Size of a pixel: `file`, or numbers of text like 0.5 or 1,0.5,0.5."""
    return text if text in (None, FILE) else numbers(str(text), float, (1, 2, 3), 0)


def margin(text: str) -> list[int]:
    """Pixels along x, y, z."""
    return numbers(text, int, (2, 3), 0)


def _backend(value: str) -> str:
    from gpuseg.backends import check_name

    return check_name(value)


def _gpu_memory(value: str) -> str:
    from gpuseg.backends import parse_bytes

    parse_bytes(value)
    return value


def _form(value: str) -> str:
    from gpuseg.io import find_form

    find_form(value)
    return value


def valid(check: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A callback that leaves the text as it is: `gpuseg.api` takes it apart."""
    return checked(lambda text: check(text) and text)


def _axes(value: str) -> str:
    if set(value) - set(LETTERS) or len(set(value)) < len(value) or not set("yx") <= set(value):
        raise InputError(
            f"{value!r} are not the axes of an image; each of {LETTERS} at most once, y and x always"
        )
    return value


def block_option(*also: str) -> Any:
    """The option --block, with other names that it has."""
    return typer.Option(
        "--block",
        *also,
        metavar="N|Z,Y,X",
        callback=valid(block),
        help="Pixels to compute at once; default: all that fits into memory. The result is the same.",
    )


FILE = "file"  # says how large a pixel is
Block = Annotated[str | None, block_option()]
Axes = Annotated[
    str | None,
    typer.Option(
        "--axes",
        metavar="AXES",
        callback=checked(_axes),
        help="Axes of the images, e.g. zyx; default: as stored.",
    ),
]
Backend = Annotated[
    str,
    typer.Option(
        "--backend",
        metavar="NAME",
        callback=checked(_backend),
        help="auto, cpu or cuda; cuda:1 for the second GPU, cuda:0,1 for both.",
    ),
]
GpuMemory = Annotated[
    str | None,
    typer.Option(
        "--gpu-memory",
        metavar="SIZE",
        callback=checked(_gpu_memory),
        help="Memory to take of each GPU at most, e.g. 8GB; default: nearly all.",
    ),
]
Output = Annotated[
    str,
    typer.Option(
        "-o",
        "--output",
        metavar="NAME",
        help="Files to write, may hold {dataset_dir} {nickname} {result_type}; the suffix is the format.",
    ),
]
Format = Annotated[
    str | None,
    typer.Option(
        "--format",
        metavar="FORM",
        callback=checked(_form),
        help="Format of the files, e.g. 'png sequence'; default: by the suffix.",
    ),
]
Cutout = Annotated[
    str | None,
    typer.Option(
        "--cutout",
        metavar="A:I:J,...",
        callback=valid(exports.cutout_of),
        help="Part to write, along axes of the image, e.g. x:10:200,y::50.",
    ),
]
Renormalise = Annotated[
    str | None,
    typer.Option(
        "--renormalise",
        metavar="A,B,C,D",
        callback=valid(exports.renormalise_of),
        help="Scale values of A to B to C to D, e.g. 0,1,0,255.",
    ),
]
Dtype = Annotated[
    str | None,
    typer.Option(
        "--dtype",
        metavar="TYPE",
        callback=checked(exports.check_dtype),
        help="Type of the values, e.g. uint8: results of 0 to 1 then fill its range, as with uint16.",
    ),
]
AxisOrder = Annotated[
    str | None,
    typer.Option(
        "--axis-order",
        metavar="AXES",
        callback=checked(exports.axis_order_of),
        help="Axes of the files, e.g. zyxc; default: those of the image.",
    ),
]
InternalPath = Annotated[str | None, typer.Option("--output_internal_path", hidden=True)]
ResultRange = Annotated[str | None, typer.Option("--pipeline_result_drange", hidden=True)]
ExportRange = Annotated[str | None, typer.Option("--export_drange", hidden=True)]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="Print nothing but errors.")]


def export_settings(
    output: str,
    format: str | None,
    cutout: str | None,
    renormalise: str | None,
    dtype: str | None,
    axis_order: str | None,
    *,
    internal_path: str | None,
    result_range: str | None,
    export_range: str | None,
) -> dict[str, Any]:
    """These options as keyword arguments of `gpuseg.api`; what does not go together is wrong usage.

    The last three are ilastik's, for which ours have other words.
    """
    if result_range is not None or export_range is not None:
        renormalise = checked(lambda given: _ilastik_ranges(*given))(
            (renormalise, result_range, export_range)
        )
    if internal_path is not None:
        from gpuseg.io import with_suffix

        output = f"{with_suffix(output, format)}/{internal_path.strip('/')}"
    settings = dict(output=output, format=format, cutout=cutout, renormalise=renormalise)
    settings |= dict(dtype=dtype, axis_order=axis_order)
    checked(lambda given: exports.ExportSettings.of(**given))(settings)
    return settings


def _ilastik_ranges(renormalise: str | None, result_range: str | None, export_range: str | None) -> str:
    """`(0.0,1.0)` and `(0,255)` as the four numbers of --renormalise."""
    if renormalise is not None:
        raise InputError("--renormalise says what --pipeline_result_drange and --export_drange say")
    if result_range is None or export_range is None:
        raise InputError("--pipeline_result_drange and --export_drange need each other")
    numbers = ",".join(text.strip().strip("()[]") for text in (result_range, export_range))
    exports.renormalise_of(numbers)
    return numbers
