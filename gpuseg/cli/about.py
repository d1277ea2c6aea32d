"""`gpuseg info` and `gpuseg doctor`."""

import json
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import typer

from gpuseg.cli.options import Axes

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


def info(
    path: Annotated[str, typer.Argument(metavar="FILE", help="An image, a model or an ilastik project.")],
    axes: Axes = None,
    as_json: AsJson = False,
) -> None:
    """Say what FILE holds."""
    from gpuseg import api

    _show(api.info(path, axes), as_json)


def doctor(as_json: AsJson = False) -> None:
    """Say what gpuseg finds on this machine."""
    from gpuseg import api

    _show(api.doctor(), as_json)


def _show(facts: Mapping[str, Any], as_json: bool) -> None:
    typer.echo(json.dumps(facts, indent=2) if as_json else "\n".join(lines(facts)))


def lines(facts: Mapping[str, Any], indent: str = "") -> Iterator[str]:
    """Facts as aligned lines for people."""
    width = max((len(str(key)) for key in facts), default=0)
    for key, value in facts.items():
        head = f"{indent}{key!s:<{width}}  "
        if isinstance(value, Mapping) and value:
            yield head.rstrip()
            yield from lines(value, indent + "  ")
        elif isinstance(value, list) and value and not isinstance(value[0], int):
            yield f"{head}{len(value)}"
            yield from (f"{indent}  {item}" for item in value)
        else:
            text = " x ".join(map(str, value)) if isinstance(value, list) else value
            yield f"{head}{text if value or value == 0 else 'none'}"
