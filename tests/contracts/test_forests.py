"""Every trainer in the table passes the exam that third parties inherit."""

import re
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import gpuseg
from gpuseg import PixelClassifier, api
from gpuseg.cli import app
from gpuseg.errors import InputError
from gpuseg.forests import TRAINERS, sklearn_rf
from gpuseg.model import PixelModel
from gpuseg.testing import ForestExam


class TestHist(ForestExam):
    forest = "hist"


class TestSklearn(ForestExam):
    forest = "sklearn"


def test_every_trainer_is_examined() -> None:
    """Here, or in tests/gpu if it needs a device."""
    files = [Path(__file__), *(Path(__file__).parents[1] / "gpu").glob("test_*.py")]
    exams = re.findall(
        r'\(ForestExam\):\n    forest = "(\w+)"', "\n".join(f.read_text("utf-8") for f in files)
    )
    assert set(exams) >= set(TRAINERS)


def test_the_command_line_names_every_trainer(monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    shown = CliRunner().invoke(app, ["train", "--help"]).output
    assert f"Who trains the forest: {', '.join(TRAINERS)}." in shown


def test_an_unknown_trainer_is_refused_before_anything_is_read() -> None:
    command = ["train", "-i", "no.tif", "-l", "no.png", "-o", "no.gpuseg", "--forest", "oak"]
    outcome = CliRunner().invoke(app, command)
    assert outcome.exit_code == 2
    assert "unknown forest 'oak'" in outcome.output
    with pytest.raises(InputError, match="unknown forest 'oak'"):
        api.train("no.tif", "no.png", forest="oak")


def test_models_tell_who_trained_them(tmp_path) -> None:
    data = Path(gpuseg.__file__).parent / "data"
    files = str(data / "tissue.png"), str(data / "tissue_scribbles.png")
    ours = api.train(*files, trees=2, folds=0, backend="cpu")
    command = ["train", "-i", files[0], "-l", files[1], "-o", str(tmp_path / "m.gpuseg"), "--backend", "cpu"]
    outcome = CliRunner().invoke(app, [*command, "--trees", "2", "--folds", "0", "--forest", "sklearn"])
    assert outcome.exit_code == 0, outcome.output
    theirs = PixelModel.load(tmp_path / "m.gpuseg")
    assert [m.provenance["training"]["forest"] for m in (ours, theirs)] == ["hist", "sklearn"]
    assert ours.hash != theirs.hash


def test_trainers_are_told_where_to_grow_trees(monkeypatch) -> None:
    told = []

    def train(*rows_and_labels, backend, **settings):
        told.append(backend)
        return sklearn_rf.train(*rows_and_labels, **settings)

    monkeypatch.setitem(TRAINERS, "mine", "gpuseg.forests.sklearn_rf:mine")
    monkeypatch.setattr(sklearn_rf, "mine", train, raising=False)
    image, scribbles = np.eye(40, dtype=np.float32), np.zeros((40, 40), np.uint8)
    scribbles[::8, ::3], scribbles[4::8, ::3] = 1, 2
    classifier = PixelClassifier(n_estimators=2, forest="mine", backend="cpu")
    classifier.fit(image, scribbles).cross_validate(image, scribbles, folds=2)
    assert told == ["cpu"] * 3
