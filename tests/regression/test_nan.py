"""ilastik#1477: features were NaN, and so were probabilities, here and there."""

import numpy as np
import pytest

import gpuseg as library
from gpuseg import api
from gpuseg.backends import get_backend
from gpuseg.errors import InputError
from gpuseg.features.selection import Selection
from gpuseg.features.stack import feature_stack

BAD = [np.nan, np.inf, -np.inf, 1e39]  # the last is beyond float32
HARD = {  # where eigenvalues and quotients run into 0 / 0, overflow and underflow
    "flat": np.zeros((1, 40, 48)),
    "flat and bright": np.full((1, 40, 48), 65535.0),
    "one pixel": np.eye(1, 40 * 48, 900).reshape(1, 40, 48),
    "chequerboard": np.indices((1, 40, 48)).sum(0) % 2 * 255.0,
    "nearly nothing": np.random.default_rng(0).random((1, 40, 48)) * 1e-38,
    "as bright as 32 bits": np.random.default_rng(0).random((1, 40, 48)) * 2.0**32,
    "flat volume": np.full((36, 37, 38), 7.0),
    "planes of a volume": np.indices((36, 37, 38))[0] % 2 * 255.0,
}


@pytest.fixture(params=["cpu", "cuda on the host"])
def backend(request):
    if request.param != "cpu":
        request.getfixturevalue("host_cuda")
    return get_backend(request.param.split()[0])


@pytest.mark.parametrize("image", HARD.values(), ids=HARD.keys())
def test_features_of_finite_images_are_finite_ilastik_1477(backend, image):
    depth, height, width = image.shape
    selection = Selection.all({"t": 1, "z": depth, "y": height, "x": width, "c": 1})
    planes = feature_stack(backend, backend.asarray(image[None].astype(np.float32)), selection)
    assert np.isfinite(backend.to_numpy(planes)).all()


def with_bad(small_image, value, dtype=np.float64):
    image = small_image(30, 40).astype(dtype)
    image[20, 3] = value
    return image


@pytest.mark.parametrize("value", BAD)
def test_a_bad_pixel_near_scribbles_is_named_ilastik_1477(small_image, value):
    labels = np.zeros((30, 40), int)
    labels[20, 4:8], labels[20, 30:34] = 1, 2
    with pytest.raises(InputError, match=r"1 of 1200 pixels are NaN, infinite or beyond float32.* y 20, x 3"):
        library.PixelClassifier({"gaussian_smoothing": [1.0]}).fit(with_bad(small_image, value), labels)


@pytest.mark.parametrize("value", BAD)
def test_a_bad_pixel_is_named_when_predicting_ilastik_1477(small_image, small_model, value):
    classifier = library.PixelClassifier.from_model(small_model())
    with pytest.raises(InputError, match=r"1 of 1200 pixels are NaN, infinite or beyond float32.* y 20, x 3"):
        classifier.predict_proba(with_bad(small_image, value))


@pytest.mark.parametrize("value", BAD)
def test_the_command_names_it_and_writes_nothing_ilastik_1477(
    tmp_path, gpuseg, small_image, small_model, value
):
    np.save(tmp_path / "a.npy", with_bad(small_image, value))
    small_model().save(tmp_path / "m.gpuseg")
    done = gpuseg("predict", tmp_path / "m.gpuseg", tmp_path / "a.npy")
    assert done.exit_code == 3, done.output
    assert "a.npy: 1 pixels are NaN, infinite or beyond float32" in " ".join(done.stderr.split())
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.npy", "m.gpuseg"]


def test_nan_probabilities_are_no_background_ilastik_1477(tmp_path, write):
    proba = np.full((30, 40), 0.9, np.float32)
    proba[20, 3] = np.nan
    with pytest.raises(InputError, match="has NaN"):
        library.segment(proba)
    with pytest.raises(InputError, match=r"map\.h5.*has NaN"):
        api.segment(write(tmp_path / "map.h5", proba, "yx"), output=f"{tmp_path}/labels.tif")
    assert not (tmp_path / "labels.tif").exists()


def test_nan_intensities_are_not_measured_ilastik_1477(small_image, squares):
    raw = small_image(40, 90).astype(np.float32)
    raw[6, 3] = np.nan
    with pytest.raises(InputError, match=r"1 pixels are NaN, infinite or beyond float32.* y 6, x 3"):
        library.measure(squares(2), raw)


def test_an_undefined_feature_is_told_and_hides_no_class_ilastik_1477():
    """A line of one pixel has no eccentricity: its object is ambiguous, and still gets probabilities."""
    labels = np.zeros((20, 60), int)
    for i in range(6):
        labels[4 : 5 + i % 2 * 8, 2 + 9 * i : 3 + 9 * i + i % 2 * 5] = i + 1
    table = library.measure(labels, features=["size_in_pixels", "eccentricity"])
    model = library.ObjectClassifier(n_estimators=10).fit(table, [1, 2, 1, 2, 0, 0])
    assert np.isnan(table["Eccentricity"]).tolist() == [True, False] * 3
    assert np.isfinite(model.predict_proba(table)).all()
    assert [bool(reason) for reason in model.ambiguous(table)] == [True, False] * 3
