"""Options that several commands share."""

from collections.abc import Callable
from typing import Annotated, Any

import typer

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


def _backend(value: str) -> str:
    from gpuseg.backends import check_name

    return check_name(value)


def _gpu_memory(value: str) -> str:
    from gpuseg.backends import parse_bytes

    parse_bytes(value)
    return value


def _axes(value: str) -> str:
    if set(value) - set(LETTERS) or len(set(value)) < len(value) or not set("yx") <= set(value):
        raise InputError(
            f"{value!r} are not the axes of an image; each of {LETTERS} at most once, y and x always"
        )
    return value


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
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="Print nothing but errors.")]
