"""Which features are measured: the order of the table, and features of other packages."""

import sys
from importlib.metadata import EntryPoint, EntryPoints

import numpy as np
import pytest

from gpuseg import measure, plugins
from gpuseg.objects import choice
from gpuseg.objects.table import LOCATION, OBJECT_FEATURES

MODULE = """
from gpuseg.objects.table import SHAPE, object_feature

@object_feature("Half of the Size", group=SHAPE, needs=("count",), unit="d")
def half_size(o):
    "Half of the pixels."
    return o.sums("count") / 2
"""


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package that registers an object feature, installed after gpuseg was used."""
    kept = dict(choice.declared()) and dict(OBJECT_FEATURES)
    (tmp_path / "kind_of_green.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    points = EntryPoints([EntryPoint("green", "kind_of_green", "gpuseg.object_features")])
    monkeypatch.setattr(plugins, "entry_points", lambda **wanted: points.select(**wanted))
    for cached in (plugins.load, choice._load):
        cached.cache_clear()
    yield
    for cached in (plugins.load, choice._load):
        cached.cache_clear()
    sys.modules.pop("kind_of_green")
    OBJECT_FEATURES.clear()
    OBJECT_FEATURES.update(kept)


def test_a_feature_of_another_package_is_found_and_comes_last(package):
    labels = np.kron(np.eye(3, dtype=int), np.ones((4, 4), int))
    assert measure(labels, features="half_size", backend="cpu")["Half of the Size"].tolist() == [24]
    assert list(measure(labels, backend="cpu"))[-1] == "Half of the Size"


def test_ours_come_family_by_family():
    modules = [row.formula.__module__.rpartition(".")[2] for row in choice.declared().values()]
    assert list(dict.fromkeys(modules)) == list(choice.FAMILIES)


@pytest.mark.parametrize("word", ["all-excluding-location", "ALL_EXCLUDING_LOCATION"])
def test_words_may_be_written_with_dashes(word):
    rows = choice.choose(word, 2, 1)
    assert rows == choice.choose(choice.NOT_LOCATION, 2, 1)
    assert {row.group for row in rows} & {LOCATION} == set()


def test_advanced_features_are_measured_only_if_named():
    assert not any(row.advanced for row in choice.choose("all", 3, 2))
    assert [row.title for row in choice.choose("weighted_radii", 3, 1)] == ["Weighted radii"]


def test_each_feature_is_measured_once():
    assert len(choice.choose(["mean", "Mean Intensity", "all"], 2, 1)) == len(choice.choose("all", 2, 1))
