"""Write the tables that pages show from what the code says; `--check` only compares.

    python tools/gen_tables.py [--check]

A page holds a table between `<!-- table NAME -->` and `<!-- end -->`.
"""

import re
import sys
from collections.abc import Callable, Iterable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
BLOCK = re.compile(r"(<!-- table (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def pages() -> list[Path]:
    return [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(
        f"| {' | '.join(str(cell).replace('|', chr(92) + '|') for cell in row)} |" for row in lines
    )


def first_sentence(text: str | None) -> str:
    return " ".join((text or "").strip().partition("\n\n")[0].split())


def filters() -> str:
    """THE TABLE of pixel filters."""
    from gpuseg.features.filters import FILTERS

    head = ("filter", "in the dialog of ilastik", "group", "planes in 2D, 3D", "least sigma", "shows")
    return table(
        head,
        (
            (f"`{name}`", f.title, f.group, planes, f.smallest, first_sentence(f.formula.__doc__))
            for name, f in FILTERS.items()
            for planes in [f"{f.planes(2)}, {f.planes(3)}"]
        ),
    )


def objects() -> str:
    """THE TABLE of object features, a table for each plug-in that they come from."""
    from gpuseg.objects.choice import declared

    rows: dict[str, list[Sequence[object]]] = {}
    for name, f in declared().items():
        where = "2D" if f.ndims == (2,) else "3D" if f.ndims == (3,) else ""
        where += {"S": " one channel", "M": " several channels"}.get(f.channels, "")
        group = f"{f.group or '-'}{', advanced' if f.advanced else ''}"
        column = (f"`{name}`", f.title, group, where.strip(), first_sentence(f.formula.__doc__))
        rows.setdefault(f.family, []).append(column)
    head = ("feature", "column", "group", "only", "is")
    return "\n\n".join(f"### {family}\n\n{table(head, found)}" for family, found in rows.items())


def formats() -> str:
    """Every file format with its suffixes and what it can do."""
    from gpuseg.io import FORMATS, image_format

    suffixes: dict[str, list[str]] = {}
    rows = {}
    for suffix in FORMATS:
        row = image_format(f"x{suffix}")
        suffixes.setdefault(row.name, []).append(f"`{suffix}`")
        rows[row.name] = row
    yes = {True: "yes", False: "-"}
    return table(
        ("format", "suffixes", "read", "written", "`file/internal/path`"),
        (
            (name, " ".join(suffixes[name]), "yes", yes[row.create is not None], yes[row.inside])
            for name, row in rows.items()
        ),
    )


def errors() -> str:
    """The tree of errors, as the module shows it."""
    text = (import_module("gpuseg.errors").__doc__ or "").partition("\n\n")[2]
    return f"```text\n{text.strip()}\n```"


def commands() -> str:
    """Every command with its help, arguments and options."""
    import typer

    from gpuseg.cli import app

    group = typer.main.get_command(app)
    return "\n\n".join(command(name, c) for name, c in group.commands.items() if not c.hidden)  # type: ignore[attr-defined]


def command(name: str, c: Any) -> str:
    """One command as a section."""
    arguments = [
        (f"`{p.metavar or p.name}`", p.help or "") for p in c.params if p.param_type_name == "argument"
    ]
    options = [
        (", ".join(f"`{o}`" for o in (*p.opts, *p.secondary_opts)), p.help or "", default(p))
        for p in c.params
        if p.param_type_name == "option" and not p.hidden
    ]
    parts = [f"## gpuseg {name}", (c.help or "").strip()]
    example = re.search(r"\[bold\](.*)\[/bold\]", c.epilog or "")
    parts += [f"```text\n$ {example[1]}\n```"] if example else []
    parts += [table(("argument", ""), arguments)] if arguments else []
    parts += [table(("option", "", "default"), options)] if options else []
    return "\n\n".join(parts)


def default(option: Any) -> str:
    value = option.default
    if value in (None, False, "", (), []) or callable(value):
        return ""
    return ", ".join(f"`{v}`" for v in (value if isinstance(value, list | tuple) else [value]))


TABLES: dict[str, Callable[[], str]] = {f.__name__: f for f in (filters, objects, formats, errors, commands)}


def filled(text: str) -> str:
    """`text` with every table as the code has it now."""
    return BLOCK.sub(lambda m: f"{m[1]}{TABLES[m[2]]()}\n{m[3]}", text)


def main(arguments: list[str]) -> int:
    stale = [p for p in pages() if filled(old := p.read_text(encoding="utf-8")) != old]
    for page in stale:
        if "--check" in arguments:
            print(f"{page.relative_to(ROOT)}: its tables are not what the code says; run make fix")
        else:
            page.write_text(filled(page.read_text(encoding="utf-8")), encoding="utf-8")
            print(f"wrote {page.relative_to(ROOT)}")
    return bool(stale and "--check" in arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
