"""The tools that watch over the tree: size budgets and generated tables."""

import importlib.util
from pathlib import Path

import pytest

TOOLS = Path(__file__).parents[2] / "tools"


def tool(name):
    spec = importlib.util.spec_from_file_location(name, TOOLS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def line_counts():
    return tool("line_counts")


@pytest.fixture(scope="module")
def gen_tables():
    return tool("gen_tables")


def lines(count):
    return "".join(f"    x = {i}\n" for i in range(count))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (f"def f():\n{lines(60)}", r"m.py:1 f: 61 lines, a function has at most 60"),
        ("x = 1\n" * 601, "m.py: 601 lines, a module has at most 600"),
        (f"class C:\n{lines(300)}", "m.py:1 C: 301 lines, a class has at most 300"),
        (f"def f():\n{lines(30)}", "95 % of functions: 31 lines, at most 30"),
    ],
)
def test_an_exceeded_budget_is_named_and_fails(line_counts, tmp_path, capsys, text, complaint):
    (tmp_path / "m.py").write_text(text)
    assert line_counts.main([str(tmp_path)]) == 1
    assert complaint in capsys.readouterr().out


def test_docstrings_comments_and_blank_lines_are_free(line_counts, tmp_path):
    path = tmp_path / "m.py"
    path.write_text('def f():\n    """One.\n\n    Two.\n    """\n    # why\n\n    return 1\n')
    assert [p.lines for p in line_counts.pieces(path, "m.py")] == [8, 2]


def test_the_95th_percentile_leaves_the_longest_twentieth_out(line_counts):
    assert line_counts.percentile(list(range(1, 101)), 0.95) == 95
    assert line_counts.percentile([1] * 19 + [50], 0.95) == 1
    assert line_counts.percentile([], 0.95) == 0


def test_a_table_is_filled_between_its_marks(gen_tables, monkeypatch):
    monkeypatch.setitem(gen_tables.TABLES, "sums", lambda: gen_tables.table(("a", "b"), [(1, "x|y")]))
    page = "before\n<!-- table sums -->\nold\n<!-- end -->\nafter\n"
    filled = gen_tables.filled(page)
    assert filled == (
        "before\n<!-- table sums -->\n| a | b |\n| --- | --- |\n| 1 | x\\|y |\n<!-- end -->\nafter\n"
    )
    assert gen_tables.filled(filled) == filled


def test_a_stale_page_fails_the_check_and_is_left_as_it_is(gen_tables, monkeypatch, tmp_path, capsys):
    page = tmp_path / "page.md"
    page.write_text("<!-- table errors -->\n<!-- end -->\n")
    monkeypatch.setattr(gen_tables, "pages", lambda: [page])
    monkeypatch.setattr(gen_tables, "ROOT", tmp_path)
    assert gen_tables.main(["--check"]) == 1
    assert "page.md: its tables are not what the code says" in capsys.readouterr().out
    assert gen_tables.main([]) == 0
    assert "GpusegError" in page.read_text()
    assert gen_tables.main(["--check"]) == 0
