"""ilastik#3158: of three classes, channels of object probabilities were wrong and did not add to 1."""

import numpy as np
import pytest

import gpuseg as library
from gpuseg import api

COUNTS = range(2, 9)  # of classes
EXPORT = ["object probabilities", "object predictions"]


@pytest.fixture
def scene(tmp_path):
    """`scene(k)`: files of 64 squares in shades of k classes that overlap a little, and the class of each."""

    def files(k):
        rng = np.random.default_rng(k)
        classes = np.arange(64) % k + 1
        labels = np.kron(np.arange(1, 65).reshape(8, 8), np.ones((6, 6), int))
        labels[::6] = labels[:, ::6] = 0
        shade = np.r_[0, classes * 10][labels] + rng.normal(0, 4, labels.shape)
        np.save(tmp_path / "labels.npy", labels.astype(np.uint16))
        np.save(tmp_path / "raw.npy", shade.astype(np.float32))
        return labels, classes

    return files


def trained(folder, classes, k):
    table = api.measure(folder / "labels.npy", raw=folder / "raw.npy", features=["mean_intensity"])
    known = np.where(np.arange(64) < 5 * k, classes, 0)
    model = library.ObjectClassifier(classes=[f"class {i + 1}" for i in range(k)], n_estimators=30)
    return model.fit(table, known), table


def check(proba, predicted, labels, model, table):
    """Channels of each object are its probabilities, in the order of classes; 0 in the background."""
    expected = model.predict_proba(table)
    np.testing.assert_array_equal(proba[labels > 0], expected[labels[labels > 0] - 1])
    np.testing.assert_array_equal(predicted[labels > 0], expected.argmax(1)[labels[labels > 0] - 1] + 1)
    np.testing.assert_allclose(proba[labels > 0].sum(-1), 1, atol=1e-6)
    assert not proba[labels == 0].any()
    assert not predicted[labels == 0].any()


@pytest.mark.parametrize("k", COUNTS)
def test_probabilities_add_to_1_and_name_the_class_ilastik_3158(tmp_path, scene, k):
    _, classes = scene(k)
    model, table = trained(tmp_path, classes, k)
    proba = model.predict_proba(table)
    assert proba.shape == (64, k)
    np.testing.assert_allclose(proba.sum(1), 1, atol=1e-6)
    np.testing.assert_array_equal(model.classes_[proba.argmax(1)], model.predict(table))
    assert (proba[np.arange(64), classes - 1] > 0.5).mean() > 0.6  # columns are in the order of classes


@pytest.mark.parametrize("k", COUNTS)
@pytest.mark.parametrize("suffix", ["h5", "tif", "zarr"])
def test_exported_channels_are_those_of_the_classes_ilastik_3158(tmp_path, scene, read, suffix, k):
    labels, classes = scene(k)
    model, table = trained(tmp_path, classes, k)
    (done,) = api.classify(
        model,
        raw=tmp_path / "raw.npy",
        labels=tmp_path / "labels.npy",
        export=EXPORT,
        output=f"{tmp_path}/{{result_type}}.{suffix}",
    ).outcomes
    proba, predicted = (read(p, "yxc") for p in done.outputs)
    check(proba, predicted[..., 0], labels, model, table)


@pytest.mark.parametrize("k", [2, 3, 8])
def test_so_they_are_in_the_shell_ilastik_3158(tmp_path, gpuseg, scene, read, k):
    labels, classes = scene(k)
    model, table = trained(tmp_path, classes, k)
    model.save(tmp_path / "m.gpuseg")
    words = [w for result in EXPORT for w in ("-e", result)]
    done = gpuseg(
        *("classify", tmp_path / "m.gpuseg", "--raw", tmp_path / "raw.npy"),
        *("--labels", tmp_path / "labels.npy", *words, "-o", tmp_path / "{result_type}.h5"),
    )
    assert done.exit_code == 0, done.output
    proba, predicted = (read(tmp_path / f"Object {what}.h5") for what in ("Probabilities", "Predictions"))
    check(proba, predicted[..., 0], labels, model, table)


@pytest.mark.parametrize("k", [3, 8])
def test_the_table_says_the_same_ilastik_3158(tmp_path, scene, k):
    _, classes = scene(k)
    model, table = trained(tmp_path, classes, k)
    found = api.classify(
        model, raw=tmp_path / "raw.npy", labels=tmp_path / "labels.npy", table=tmp_path / "t.csv"
    ).table
    columns = [f"Probability of class {i + 1}" for i in range(k)]
    np.testing.assert_array_equal(found[columns].to_numpy(np.float32), model.predict_proba(table))
    assert found["Predicted Class"].tolist() == [f"class {v}" for v in model.predict(table)]


@pytest.mark.parametrize("k", COUNTS)
def test_probabilities_of_pixels_add_to_1_too_ilastik_3158(tmp_path, read, k):
    rng = np.random.default_rng(k)
    shade = np.kron(np.arange(64).reshape(8, 8) % k, np.ones((8, 8)))
    image = (shade * 20 + rng.normal(0, 12, shade.shape)).astype(np.float32)
    scribbles = ((shade + 1) * (rng.random(shade.shape) < 0.2)).astype(np.uint8)
    model = library.PixelClassifier({"gaussian_smoothing": [0.7, 1.6]}, axes="yx").fit(image, scribbles)
    np.save(tmp_path / "a.npy", image)
    words = {"export": ["probabilities", "segmentation"], "output": f"{tmp_path}/{{result_type}}.h5"}
    (done,) = api.predict(model.model_, tmp_path / "a.npy", axes="yx", **words)
    proba, classes = (read(p, "yxc") for p in done.outputs)
    assert proba.shape == (64, 64, k)
    np.testing.assert_allclose(proba.sum(-1, dtype=np.float64), 1, atol=1e-6)
    np.testing.assert_array_equal(classes[..., 0], proba.argmax(-1) + 1)
