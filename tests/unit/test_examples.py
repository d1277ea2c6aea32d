"""The examples run, print what they say, and stay short."""

import importlib.util
from pathlib import Path

import pytest

from gpuseg.features.filters import FILTERS

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.py"))


@pytest.fixture
def example(tmp_path, monkeypatch):
    """A function that imports an example; what it declares is forgotten afterwards."""

    def load(name):
        path = next(p for p in EXAMPLES if p.stem == name)
        spec = importlib.util.spec_from_file_location(name, path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    monkeypatch.chdir(tmp_path)
    kept = dict(FILTERS)
    yield load
    FILTERS.clear()
    FILTERS.update(kept)


@pytest.mark.parametrize("path", EXAMPLES, ids=[p.stem for p in EXAMPLES])
def test_an_example_is_short_and_says_how_to_run_it(path):
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) < 60
    assert f"python examples/{path.name}" in text


def test_pixel_classification_learns_and_draws(example, tmp_path, capsys):
    example("pixel_classification").main()
    printed = capsys.readouterr().out
    assert "labelled pixels" in printed
    assert "Label 3: " in printed
    assert (tmp_path / "segmentation.png").stat().st_size > 1000
    assert (tmp_path / "tissue.gpuseg").is_file()


def test_a_brush_without_a_window_paints_the_whole_picture(example, tmp_path, capsys):
    example("interactive").main(trees=10)
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 7
    assert all("pixels painted" in line and "ready: " in line for line in printed[:6])
    assert (tmp_path / "tissue.gpuseg").is_file()


def test_a_filter_of_ones_own_helps(example, capsys):
    example("own_filter").main(size=96)
    plain, own = capsys.readouterr().out.splitlines()
    assert plain.startswith("smoothing alone")
    assert float(own.split()[3].rstrip("%")) > float(plain.split()[2].rstrip("%"))


def test_an_ilastik_project_predicts_and_trains_again(example, shared, capsys):
    example("ilastik_project").main(shared / "data/ilp/ilastik-runs/nuclei2d__dsb_00071198.ilp")
    printed = capsys.readouterr().out
    assert "Pixel Classification, made with ilastik" in printed
    agreement = float(printed.rsplit(": ", 1)[1].split("%")[0])
    assert agreement > 90


def test_every_example_has_a_test():
    tested = Path(__file__).read_text(encoding="utf-8")
    assert all(f'example("{p.stem}")' in tested for p in EXAMPLES)
