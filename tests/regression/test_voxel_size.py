"""napari-apoc#37: results came back without the size of a pixel."""

import numpy as np
import pytest

import gpuseg as library
from gpuseg import api
from gpuseg.axes import Voxel
from gpuseg.errors import InputError
from gpuseg.export import RESULTS
from gpuseg.io import open_image
from gpuseg.model import Pipeline

FORMATS = ["h5", "tif", "zarr"]
VOXEL = Voxel({"y": 0.25, "x": 0.5}, {"y": "micrometer", "x": "micrometer"})
DEEP = Voxel(VOXEL.size | {"z": 2.0}, VOXEL.unit | {"z": "micrometer"})
PIXELS = [name for name, row in RESULTS.items() if row.source in ("proba", "planes")]
OBJECTS = [name for name, row in RESULTS.items() if row.source == "objects"]


def voxel(path):
    with open_image(path) as image:
        return dict(image.voxel.size), {a: image.voxel.unit.get(a, "micrometer") for a in image.voxel.size}


def kept(outcome, expected=VOXEL):
    assert outcome.error is None
    assert [voxel(p) for p in outcome.outputs] == [(expected.size, expected.unit)] * len(outcome.outputs)


@pytest.mark.parametrize("source", FORMATS)
@pytest.mark.parametrize("suffix", FORMATS)
def test_every_prediction_keeps_it_in_every_format_apoc_37(
    tmp_path, small_image, small_model, write, source, suffix
):
    image = write(tmp_path / f"in.{source}", small_image(30, 40), "yx", VOXEL)
    (done,) = api.predict(small_model(), image, export=PIXELS, output=f"{tmp_path}/{{result_type}}.{suffix}")
    assert len(done.outputs) == len(PIXELS)
    kept(done)


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_volume_keeps_all_three_apoc_37(tmp_path, small_image, small_model, write, suffix):
    image = write(tmp_path / f"in.{suffix}", small_image(8, 30, 40), "zyx", DEEP)
    (done,) = api.predict(small_model("zyx"), image, output=f"{tmp_path}/{{result_type}}.{suffix}")
    kept(done, DEEP)


@pytest.mark.parametrize("suffix", FORMATS)
def test_label_images_keep_it_apoc_37(tmp_path, small_image, write, suffix):
    image = write(tmp_path / f"map.{suffix}", small_image(30, 40), "yx", VOXEL)
    (done,) = api.segment(image, output=f"{tmp_path}/labels.{suffix}")
    kept(done)


COMMANDS = {
    "predict": ["predict", "m.gpuseg", "in"],
    "segment": ["segment", "in"],
    "run": ["run", "m.gpuseg", "in", "-e", "object identities"],
    "classify": ["classify", "m.gpuseg", "--probabilities", "in", "-e", "object identities"],
}


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("command", COMMANDS)
def test_the_commands_keep_it_apoc_37(
    tmp_path, monkeypatch, gpuseg, small_image, small_model, write, command, suffix
):
    pixel = small_model()
    model = pixel if command == "predict" else Pipeline(pixel, {"channel": 0})
    model.save(tmp_path / "m.gpuseg")
    write(tmp_path / f"in.{suffix}", small_image(30, 40), "yx", VOXEL)
    monkeypatch.chdir(tmp_path)
    words = [f"in.{suffix}" if word == "in" else word for word in COMMANDS[command]]
    done = gpuseg(*words, "-o", f"out.{suffix}")
    assert done.exit_code == 0, done.output
    assert voxel(f"out.{suffix}") == (VOXEL.size, VOXEL.unit)


@pytest.mark.parametrize("suffix", FORMATS)
def test_tables_measure_in_it_apoc_37(tmp_path, write, squares, suffix):
    """Labels that were written with a size of pixels are measured by it: 6 x 7 pixels of 0.25 x 0.5."""
    labels = write(tmp_path / f"labels.{suffix}", squares(1), "yx", VOXEL, kind="labels")
    table = api.measure(labels, spacing="file", features=["size_in_pixels", "equivalent_diameter"])
    (diameter,) = table["Equivalent Diameter (µm)"]
    assert diameter == pytest.approx(np.sqrt(4 / np.pi * 6 * 7 * 0.25 * 0.5))


def test_a_size_that_is_not_there_is_not_made_up_apoc_37(tmp_path, write, squares):
    labels = write(tmp_path / "labels.tif", squares(1), "yx", kind="labels")
    with pytest.raises(InputError, match="does not say how large a pixel is along y, x"):
        api.measure(labels, spacing="file")


@pytest.mark.parametrize("suffix", FORMATS)
def test_images_of_classified_objects_keep_it_apoc_37(tmp_path, small_image, write, squares, suffix):
    raw = write(tmp_path / f"raw.{suffix}", small_image(40, 90), "yx", VOXEL)
    labels = write(tmp_path / f"labels.{suffix}", squares(6), "yx", VOXEL, kind="labels")
    table = api.measure(labels, raw=raw)
    model = library.ObjectClassifier(n_estimators=5).fit(table, [1, 2, 1, 2, 0, 0])
    (done,) = api.classify(
        model, raw=raw, labels=labels, export=OBJECTS, output=f"{tmp_path}/{{result_type}}.{suffix}"
    ).outcomes
    assert len(done.outputs) == len(OBJECTS)
    kept(done)


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_whole_run_keeps_it_apoc_37(tmp_path, small_image, small_model, write, suffix):
    image = write(tmp_path / f"in.{suffix}", small_image(30, 40), "yx", VOXEL)
    pipeline = Pipeline(pixel=small_model(), segmentation={"channel": 1})
    (done,) = api.run(
        pipeline, image, export=["object identities"], output=f"{tmp_path}/{{result_type}}.{suffix}"
    ).outcomes
    kept(done)
