"""Third parties are found through entry points, once."""

import sys
from importlib.metadata import EntryPoint, EntryPoints

import pytest

from gpuseg import plugins


@pytest.fixture
def package(tmp_path, monkeypatch):
    """An importable package `kind_of_blue` that registers a filter module."""
    (tmp_path / "kind_of_blue.py").write_text("loaded = []\nloaded.append(1)\n")
    monkeypatch.syspath_prepend(tmp_path)
    points = EntryPoints([EntryPoint("blue", "kind_of_blue", "gpuseg.filters")])
    monkeypatch.setattr(plugins, "entry_points", lambda **wanted: points.select(**wanted))
    plugins.load.cache_clear()
    yield "kind_of_blue"
    plugins.load.cache_clear()
    sys.modules.pop("kind_of_blue", None)


def test_loading_a_group_imports_its_modules(package):
    assert package not in sys.modules
    plugins.load("filters")
    assert package in sys.modules


def test_another_group_imports_nothing(package):
    plugins.load("formats")
    assert package not in sys.modules


def test_a_group_is_loaded_once(package):
    plugins.load("filters")
    del sys.modules[package]
    plugins.load("filters")
    assert package not in sys.modules


def test_a_plugin_that_cannot_be_imported_says_so(package, monkeypatch):
    points = EntryPoints([EntryPoint("gone", "no_such_module", "gpuseg.filters")])
    monkeypatch.setattr(plugins, "entry_points", lambda **wanted: points.select(**wanted))
    with pytest.raises(ModuleNotFoundError, match="no_such_module"):
        plugins.load("filters")
