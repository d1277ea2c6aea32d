"""Size budgets: print a table of every module and fail where one is exceeded.

    python tools/line_counts.py [folder ...]

A function's lines are those of its body without docstring, comments and blank lines.
"""

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FUNCTION_P95, FUNCTION_MAX = 30, 60
CLASS_MAX = 300
MODULE_SOFT, MODULE_MAX = 400, 600  # from the soft one on, the table marks the module


@dataclass(frozen=True, slots=True)
class Piece:
    """A module, class or function and its length."""

    kind: str
    name: str
    lines: int


def pieces(path: Path, name: str) -> Iterator[Piece]:
    """The module, its classes and functions, those inside others too."""
    text = path.read_text(encoding="utf-8")
    yield Piece("module", name, len(text.splitlines()))
    blank = {i for i, line in enumerate(text.splitlines(), 1) if not line.strip() or line.strip()[0] == "#"}
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ClassDef):
            yield Piece("class", f"{name}:{node.lineno} {node.name}", _lines(node, blank))
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield Piece("function", f"{name}:{node.lineno} {node.name}", _lines(node, blank))


def _lines(node: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef, blank: set[int]) -> int:
    counted = set(range(node.lineno, (node.end_lineno or node.lineno) + 1)) - blank
    if ast.get_docstring(node, clean=False) is not None:
        counted -= set(range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1))
    return len(counted)


def percentile(values: list[int], share: float) -> int:
    """The smallest value that at least `share` of all do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, -(-len(ordered) * round(share * 100) // 100) - 1)] if ordered else 0


def broken(found: list[Piece]) -> list[str]:
    """Every budget that is exceeded, in words."""
    most = {"function": FUNCTION_MAX, "class": CLASS_MAX, "module": MODULE_MAX}
    over = [
        f"{p.name}: {p.lines} lines, a {p.kind} has at most {most[p.kind]}"
        for p in found
        if p.lines > most[p.kind]
    ]
    p95 = percentile([p.lines for p in found if p.kind == "function"], 0.95)
    return [
        *over,
        *([f"95 % of functions: {p95} lines, at most {FUNCTION_P95}"] if p95 > FUNCTION_P95 else []),
    ]


def main(folders: list[str]) -> int:
    roots = [Path(f) for f in folders] or [ROOT / "gpuseg"]
    found = []
    print(f"{'lines':>6} {'functions':>9} {'longest':>7}  module")
    for root in roots:
        for path in sorted(root.rglob("*.py")):
            here = list(pieces(path, path.relative_to(root.parent).as_posix()))
            lengths = [p.lines for p in here if p.kind == "function"]
            mark = "  above the soft limit: make it a folder" if here[0].lines > MODULE_SOFT else ""
            print(f"{here[0].lines:>6} {len(lengths):>9} {max(lengths, default=0):>7}  {here[0].name}{mark}")
            found += here
    lengths = [p.lines for p in found if p.kind == "function"]
    total = sum(p.lines for p in found if p.kind == "module")
    tail = f"all; 95 % of functions <= {percentile(lengths, 0.95)}"
    print(f"{total:>6} {len(lengths):>9} {max(lengths, default=0):>7}  {tail}")
    problems = broken(found)
    print("\n".join(problems) or "within budget")
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
