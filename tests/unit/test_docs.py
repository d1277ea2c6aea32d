"""Every block of code in README, CONTRIBUTING and the pages runs, or says beside it why it does not.

In front of a block may stand `<!-- not run: REASON -->`, or `<!-- exits N -->` for a command that is to fail.
"""

import doctest
import re
import shlex
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import gpuseg
from gpuseg import backends
from gpuseg.features.filters import FILTERS
from gpuseg.features.selection import Selection
from gpuseg.forests import TRAINERS
from gpuseg.io import FORMATS
from gpuseg.objects.choice import declared
from gpuseg.objects.table import OBJECT_FEATURES

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
PAGES = [p for p in PAGES if "_build" not in p.parts]
BLOCK = re.compile(r"(?:^<!-- ([^\n]*) -->\n)?^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
TABLES = (FILTERS, FORMATS, TRAINERS, OBJECT_FEATURES)
RUN = ("python", "console", "toml")
SHOWN = ("text", "mermaid", "bibtex")  # nothing to run
SAME = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block: what it is, where it stands, what its note says."""

    kind: str
    text: str
    note: str
    line: int


def blocks(page: Path) -> Iterator[Block]:
    text = page.read_text(encoding="utf-8")
    for m in BLOCK.finditer(text):
        yield Block(m[2], m[3], m[1] or "", text.count("\n", 0, m.start()) + 1)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """What the pages work on: an image, scribbles, and tables that are put back afterwards."""
    data = Path(gpuseg.__file__).parent / "data"
    shutil.copy(data / "tissue.png", tmp_path / "tissue.png")
    shutil.copy(data / "tissue_scribbles.png", tmp_path / "scribbles.png")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("NO_COLOR", "1")
    declared()
    kept = {id(t): dict(t) for t in TABLES}
    yield tmp_path
    for tables in TABLES:
        tables.clear()
        tables.update(kept[id(tables)])


def run_python(block: Block, page: Path, names: dict[str, object]) -> None:
    if ">>>" in block.text:
        test = doctest.DocTestParser().get_doctest(block.text, names, page.name, str(page), block.line)
        assert not doctest.DocTestRunner(optionflags=SAME).run(test, clear_globs=False).failed
        names.update(test.globs)
    else:
        exec(compile("\n" * block.line + block.text, str(page), "exec"), names)


def run_console(block: Block, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands behind `$ `, each followed by the output it is to print, if that is shown."""
    from gpuseg.cli import main

    text = block.text.replace("\\\n", " ")
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command, _, expected = part.partition("\n")
        program, *arguments = shlex.split(command, comments=True)
        assert program == "gpuseg", f"{command}: only gpuseg is run here; say `not run: ...` above the block"
        monkeypatch.setattr(sys, "argv", ["gpuseg", *arguments])
        backends._auto.cache_clear()  # each command is a process of its own, which says what it computes on
        capsys.readouterr()
        code = 0
        try:
            code = main() or 0
        except SystemExit as stop:
            code = stop.code or 0
        shown = "".join(capsys.readouterr())
        exits = re.fullmatch(r"exits (\d+)", block.note)
        assert code == (int(exits[1]) if exits else 0), f"$ {command}\n{shown}"
        if expected.strip():
            assert doctest.OutputChecker().check_output(expected, shown, SAME), f"$ {command}\n{shown}"


@pytest.mark.parametrize("page", PAGES, ids=[p.relative_to(ROOT).as_posix() for p in PAGES])
def test_the_blocks_of_a_page_run(page, folder, capsys, monkeypatch):
    names: dict[str, object] = {"__name__": page.stem}
    for block in blocks(page):
        if block.note.startswith("not run: ") or block.kind in SHOWN:
            continue
        if block.kind == "python":
            run_python(block, page, names)
        elif block.kind == "toml":
            (folder / "features.toml").write_text(block.text, encoding="utf-8")
            Selection.from_toml(folder / "features.toml")
        else:
            run_console(block, capsys, monkeypatch)


@pytest.mark.parametrize("page", PAGES, ids=[p.relative_to(ROOT).as_posix() for p in PAGES])
def test_a_block_runs_or_says_why_not(page):
    silent = [
        f"{page.name}:{b.line} {b.kind}"
        for b in blocks(page)
        if b.kind not in RUN + SHOWN and not re.match(r"not run: \S", b.note)
    ]
    assert not silent


@pytest.mark.parametrize("page", PAGES, ids=[p.relative_to(ROOT).as_posix() for p in PAGES])
def test_links_to_files_lead_somewhere(page):
    targets = re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8"))
    local = [t for t in targets if not re.match(r"\w+:", t)]
    assert [t for t in local if not (page.parent / t).exists()] == []
