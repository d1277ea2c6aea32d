"""ilastik#1088: an object that blocks cut got another class on each side of the cut."""

import numpy as np
import pytest

import gpuseg as library
from gpuseg import api

BLOCKS = [16, (1, 23, 40), 64]
FEATURES = "all"
EXPORT = ["object predictions", "object probabilities", "object identities"]


@pytest.fixture(scope="module")
def scene():
    """Bars of all lengths, across all blocks, and noise that brightens to the right."""
    labels = np.zeros((120, 150), np.uint16)
    for i in range(16):
        labels[3 + 7 * i : 8 + 7 * i, 4 : 20 + 8 * i] = i + 1
    noise = np.random.default_rng(2).random(labels.shape) * 60
    return labels, (noise + np.arange(150)).astype(np.float32)


@pytest.fixture(scope="module")
def model(scene):
    table = library.measure(*scene, features=FEATURES)
    return library.ObjectClassifier(n_estimators=20).fit(table, np.where(np.arange(16) < 8, 1, 2))


@pytest.fixture
def files(tmp_path, scene, write):
    labels, raw = scene
    write(tmp_path / "labels.h5", labels, "yx", kind="labels")
    write(tmp_path / "raw.h5", raw, "yx")
    return {"labels": tmp_path / "labels.h5", "raw": tmp_path / "raw.h5"}


@pytest.mark.parametrize("block", BLOCKS)
def test_features_of_blocks_are_those_of_the_whole_ilastik_1088(scene, block):
    whole, tiled = (library.measure(*scene, features=FEATURES, block=b) for b in (None, block))
    assert list(tiled) == list(whole)
    np.testing.assert_allclose(tiled.to_numpy(float), whole.to_numpy(float), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("block", BLOCKS)
def test_probabilities_of_blocks_are_those_of_the_whole_ilastik_1088(scene, model, block):
    whole, tiled = (library.measure(*scene, features=FEATURES, block=b) for b in (None, block))
    np.testing.assert_array_equal(model.predict_proba(tiled), model.predict_proba(whole))


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("result", EXPORT)
def test_images_of_blocks_are_those_of_the_whole_ilastik_1088(tmp_path, read, files, model, result, block):
    whole, tiled = (
        api.classify(model, **files, export=[result], block=b, output=f"{tmp_path}/{i}.h5").outcomes[0]
        for i, b in enumerate((None, block))
    )
    np.testing.assert_array_equal(read(tiled.outputs[0]), read(whole.outputs[0]))


@pytest.mark.parametrize("block", BLOCKS)
def test_no_object_has_two_classes_ilastik_1088(tmp_path, read, files, scene, model, block):
    """Also of the results that ilastik computes block by block."""
    (done,) = api.classify(
        model, **files, export=["blockwise object predictions"], block=block, output=f"{tmp_path}/out.h5"
    ).outcomes
    classes = read(done.outputs[0])[..., 0]
    assert [len(np.unique(classes[scene[0] == i])) for i in range(1, 17)] == [1] * 16


def test_the_command_gives_each_object_one_class_ilastik_1088(tmp_path, gpuseg, read, files, scene, model):
    model.save(tmp_path / "m.gpuseg")
    words = ("--raw", files["raw"], "--labels", files["labels"], "--block", 16)
    done = gpuseg("classify", tmp_path / "m.gpuseg", *words, "-o", tmp_path / "shell.h5")
    assert done.exit_code == 0, done.output
    api.classify(model, **files, output=f"{tmp_path}/whole.h5")
    np.testing.assert_array_equal(read(tmp_path / "shell.h5"), read(tmp_path / "whole.h5"))
