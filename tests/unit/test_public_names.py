"""What `import gpuseg` offers: the promised names, documented, and found on first use."""

import ast
import doctest
import importlib
import inspect
from pathlib import Path

import numpy as np
import pytest

import gpuseg

DOCS = Path(__file__).parents[2] / "docs"
NAMES = [name for name in gpuseg.__all__ if name != "__version__"]


def test_all_lists_what_is_offered():
    assert sorted(gpuseg.__all__) == sorted([*gpuseg._HOMES, "__version__"])
    assert set(gpuseg.__all__) <= set(dir(gpuseg))


@pytest.mark.parametrize("name", NAMES)
def test_a_public_name_is_the_one_of_its_home(name):
    assert getattr(gpuseg, name) is getattr(importlib.import_module(gpuseg._HOMES[name]), name)


@pytest.mark.parametrize("name", NAMES)
def test_a_public_name_explains_itself_and_shows_an_example(name):
    text = inspect.getdoc(getattr(gpuseg, name)) or ""
    first = text.partition("\n")[0]
    assert first.endswith((".", ":"))
    assert len(first) <= 110
    assert doctest.DocTestParser().get_examples(text), f"{name} has no example (a line that starts with >>>)"


def examples(name):
    """The examples of a public name: its own and those of its public methods."""
    public, module = getattr(gpuseg, name), importlib.import_module(gpuseg._HOMES[name])
    finder = doctest.DocTestFinder(exclude_empty=True)
    names = {name: public, "gpuseg": gpuseg, "np": np}
    return [t for t in finder.find(public, name, module=module, globs=names) if t.examples]


@pytest.mark.parametrize("name", NAMES)
def test_the_examples_of_a_public_name_run(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    failed = [test.name for test in examples(name) if runner.run(test, clear_globs=False).failed]
    assert not failed


@pytest.mark.parametrize("name", NAMES)
def test_a_public_name_is_on_the_api_page(name):
    assert f"gpuseg.{name}" in (DOCS / "api.md").read_text(encoding="utf-8")


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'gpuseg' has no attribute 'Pixelclassifier'"):
        gpuseg.Pixelclassifier  # noqa: B018


def test_importing_gpuseg_imports_only_what_is_named_at_its_top():
    tree = ast.parse(Path(gpuseg.__file__).read_text(encoding="utf-8"))
    modules = {n.module for n in tree.body if isinstance(n, ast.ImportFrom)}
    assert modules <= {"importlib", "typing"}
