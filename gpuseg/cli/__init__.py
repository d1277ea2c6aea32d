"""gpuseg on the command line. A command parses, calls one function of `gpuseg.api`, prints what was told.

Exit codes: 0 done, 1 some inputs failed and the others are done, 2 wrong usage, 3 an input or the model is
invalid, 4 memory, disk or device ran out, 130 interrupted.
"""

from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from gpuseg import __version__
from gpuseg.cli import console
from gpuseg.cli.about import doctor, info
from gpuseg.cli.classify import classify, run
from gpuseg.cli.demo import demo
from gpuseg.cli.measure import measure
from gpuseg.cli.predict import predict
from gpuseg.cli.segment import segment
from gpuseg.cli.train import train
from gpuseg.cli.train_objects import train_objects
from gpuseg.errors import GpusegError

__all__ = ["app", "main"]

MODELS = (".gpuseg", ".ilp")
ILASTIK = {  # its word for an option of ours
    "export_source": "export",
    "output_filename_format": "output",
    "output_format": "format",
    "output_axis_order": "axis-order",
    "cutout_subregion": "cutout",
    "input_axes": "axes",
    "export_dtype": "dtype",
}


class FriendlyGroup(TyperGroup):
    """Our own errors are messages and an exit code; anything else is a bug, with its traceback."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except GpusegError as error:
            console.tell_error(error)
            raise typer.Exit(error.exit_code) from error


class Spreading(TyperCommand):
    """`--raw a.tif b.tif` is `--raw a.tif --raw b.tif`: ilastik's way, and that of `--raw *.tif`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        several = {name for p in self.params if getattr(p, "multiple", False) for name in p.opts}
        found: list[str] = []
        option, taken = "", 0  # that takes what comes, and how much it has taken
        for word in args:
            if word.startswith("-") and word != "-":
                option, equals, _ = word.partition("=")
                option, taken = (option if option in several else ""), len(equals)
            elif option and not word.endswith(MODELS):
                found += [option] * (taken > 0)
                taken += 1
            found.append(word)
        parsed: list[str] = super().parse_args(ctx, found)
        return parsed


app = typer.Typer(
    cls=FriendlyGroup,
    context_settings={
        "help_option_names": ["-h", "--help"],
        "token_normalize_func": lambda name: ILASTIK.get(name, name),
    },
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    epilog="New here? [bold]gpuseg demo[/bold] segments an image that comes with the package.",
)
for command, example in (
    (train, "gpuseg train --image cells.tif --labels scribbles.png -o cells.gpuseg"),
    (predict, 'gpuseg predict cells.gpuseg a.tif b.tif -e segmentation -o "{nickname}_{result_type}.png"'),
    (segment, "gpuseg segment cells_Probabilities.h5 --channel 1 --threshold 0.6 -o labels.h5"),
    (measure, "gpuseg measure labels.h5 --raw cells.h5 -o cells.csv"),
    (
        train_objects,
        "gpuseg train-objects --raw a.tif --labels-image a_labels.tif --object-labels a.csv -o cells.gpuseg",
    ),
    (classify, "gpuseg classify cells.gpuseg --raw b.tif --label-image b_labels.tif --table b.csv"),
    (run, 'gpuseg run cells.gpuseg a.tif b.tif -e "object predictions" -e probabilities --table all.parquet'),
    (info, "gpuseg info cells.gpuseg"),
    (doctor, "gpuseg doctor"),
    (demo, "gpuseg demo -o demo"),
):
    app.command(
        epilog=f"Example:\n\n[bold]{example}[/bold]",
        no_args_is_help=command not in (doctor, demo),
        cls=Spreading if command in (train, classify, train_objects) else None,
    )(command)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"gpuseg {__version__}")
        raise typer.Exit()


@app.callback()
def gpuseg(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Pixel and object classification of microscopy images in the manner of ilastik."""


def main() -> None:
    """What the command `gpuseg` runs."""
    app(prog_name="gpuseg")
