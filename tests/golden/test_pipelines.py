"""From raw images to classes to a table by the command line, on real images of four kinds."""

import json

import pytest
from typer.testing import CliRunner

from benchmarks import pipelines
from gpuseg.cli import app

# What was measured, less about two standard errors of so few objects: objects asked for, share of right ones.
LEAST = {"nuclei2d": (249, 0.83), "objects2d": (68, 0.95), "timeseries": (113, 0.87), "volume3d": (7, 0.7)}


def run(words):
    done = CliRunner().invoke(app, [str(w) for w in words])
    assert done.exit_code == 0, done.output


@pytest.mark.parametrize("name", LEAST)
def test_the_command_line_tells_classes_apart(shared, tmp_path, name):
    items = json.loads((shared / "data/manifest.json").read_text("utf-8"))["items"]
    (task,) = (t for t in pipelines.tasks(items) if t.name == name)
    found = pipelines.measure(shared / "data", task, tmp_path, run)
    scored, least = LEAST[name]
    assert found["scored"] == scored
    assert found["accuracy"] >= max(least, found["majority"])
