"""`gpuseg demo`: the image that ships, what becomes of it, and the picture that shows it."""

from importlib.resources import files

import numpy as np
import pytest

from gpuseg.classes import label_classes
from gpuseg.cli.picture import picture
from gpuseg.io import open_image
from gpuseg.model import PixelModel


def read(path):
    with open_image(path) as image:
        return image.read()


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    from typer.testing import CliRunner

    from gpuseg.cli import app

    folder = tmp_path_factory.mktemp("demo") / "new folder"
    done = CliRunner().invoke(app, ["demo", "-o", str(folder)])
    assert done.exit_code == 0, done.output
    return folder, done.stdout


def test_the_demo_leaves_all_it_promises(demo):
    folder, text = demo
    assert sorted(p.name for p in folder.iterdir()) == [
        "overview.png",
        "tissue.gpuseg",
        "tissue.png",
        "tissue_Probabilities.h5",
        "tissue_Simple Segmentation.h5",
        "tissue_Simple Segmentation.png",
        "tissue_Simple Segmentation_colors.png",
        "tissue_scribbles.png",
    ]
    assert "gpuseg train --image cells.tif --labels scribbles.png" in text
    assert "{" not in text


def test_the_demo_segments_what_was_painted(demo):
    folder, _ = demo
    scribbles, found = read(folder / "tissue_scribbles.png"), read(folder / "tissue_Simple Segmentation.png")
    painted = scribbles > 0
    assert (found[painted] == scribbles[painted]).mean() > 0.99
    shares = np.bincount(found.ravel(), minlength=4)[1:] / found.size
    assert ((shares > 0.1) & (shares < 0.6)).all()
    model = PixelModel.load(folder / "tissue.gpuseg")
    assert [c.name for c in model.classes] == ["background", "nuclei", "gland"]
    assert model.provenance["training"]["validation"]["accuracy"] > 0.9


def test_the_overview_shows_four_panels(demo):
    folder, _ = demo
    shown = read(folder / "overview.png")
    raw = read(folder / "tissue.png")
    assert shown.shape[0] > 2 * raw.shape[0]
    assert shown.shape[1] > 8 * raw.shape[1]
    panel = shown[92 : 92 + 640, 28 : 28 + 640]
    halved = panel.reshape(320, 2, 320, 2, 3).mean((1, 3))
    assert np.abs(halved - raw).mean() < 5


def test_a_contour_has_the_colour_of_the_rarer_class(tmp_path):
    classes = label_classes([1, 3])
    segmentation = np.full((20, 30), 3, np.uint8)
    segmentation[5:10, 5:10] = 1
    raw = np.full((20, 30, 3), 90, np.uint8)
    picture(
        tmp_path / "p.png",
        raw,
        segmentation,
        np.ones((20, 30, 2), "f4") / 2,
        segmentation,
        classes,
        [("", "")] * 4,
    )
    panel = read(tmp_path / "p.png")[92:132, 28 + 3 * 88 : 28 + 3 * 88 + 60].astype(int)
    rare, common = (np.abs(panel - c.color).max(-1).min() for c in classes)
    assert rare < 30 < common


def test_the_image_that_ships_is_small_and_says_where_it_is_from():
    data = files("gpuseg") / "data"
    assert len((data / "tissue.png").read_bytes()) < 200_000
    text = (data / "README.md").read_text(encoding="utf-8")
    assert "no known copyright restrictions" in text
    labels = read(str(data / "tissue_scribbles.png"))
    assert set(np.unique(labels)) == {0, 1, 2, 3}
