"""Docstrings as the source has them, plain text with a few habits, as reStructuredText.

`name` is code; an indented paragraph is an example; `Title` over `-----` is a heading; a line
`name : what` begins an entry. All else is text, whatever signs it holds.
"""

import re
from collections.abc import Iterator
from itertools import groupby

ENTRY = re.compile(r"^([\w, ]+) : (.*)$")
CODE = re.compile(r"`([^`]+)`")
SOURCE = re.compile(r" \(SPEC [^)]*\)")  # sections of the specification that only developers have
SPECIAL = re.compile(r"([*_|\\])")


def as_rst(lines: list[str]) -> list[str]:
    """The same docstring for Sphinx."""
    paragraphs = [list(group) for filled, group in groupby(lines, key=lambda s: bool(s.strip())) if filled]
    return [line for p in paragraphs for line in (*_paragraph(p), "")]


def _paragraph(lines: list[str]) -> Iterator[str]:
    if lines[0].startswith(">>>"):
        yield from lines
    elif lines[0].startswith("    "):
        yield from (".. code-block:: python", "", *lines)
    elif len(lines) > 1 and set(lines[1]) == {"-"}:
        yield from (f".. rubric:: {lines[0]}", "")
        yield from _paragraph(lines[2:]) if lines[2:] else ()
    elif ENTRY.match(lines[0]):
        entries = re.sub(r"\n +", " ", "\n".join(lines)).split("\n")
        for entry in map(ENTRY.match, entries):
            yield f"* ``{entry[1]}``: {_text(entry[2])}" if entry else ""
    else:
        yield _text(" ".join(line.strip() for line in lines))


def _text(line: str) -> str:
    parts = CODE.split(SOURCE.sub("", line))  # text, code, text, ...
    return "".join(f"``{p}``" if i % 2 else SPECIAL.sub(r"\\\1", p) for i, p in enumerate(parts))


def process(app: object, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """What Sphinx calls for every docstring."""
    lines[:] = as_rst(lines)
