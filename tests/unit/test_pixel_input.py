"""What users give by mistake: every kind has a stated result or an error that names it."""

import re
import tracemalloc
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import coo_array

from gpuseg import PixelClassifier
from gpuseg.errors import GpusegError, InputError, LabelError, ModelMismatchError, ShapeError
from gpuseg.pixel import Picture, Scribbled

FEW = {"gaussian_smoothing": [0.7], "gaussian_gradient_magnitude": [0.7]}


def quick(**settings: Any) -> PixelClassifier:
    return PixelClassifier(**({"features": FEW, "n_estimators": 5} | settings))


def scene(height: int = 40, width: int = 50) -> tuple[np.ndarray, np.ndarray]:
    image = np.random.default_rng(0).integers(0, 40, (height, width)).astype(np.uint8)
    image[:, width // 2 :] += 120
    labels = np.zeros((height, width), np.uint8)
    labels[3, 2 : width // 2 - 3], labels[3, width // 2 + 3 : -2] = 1, 2
    return image, labels


# Pixel types


@pytest.mark.parametrize(
    "dtype", ["bool", "i1", "u2", ">u2", "<i4", ">i8", "u8", "f2", ">f4", "<f8", ">f8", "f4", "longdouble"]
)
def test_types_are_taken_as_float32_without_scaling(dtype: str) -> None:
    image, labels = scene()
    image = (image > 80).astype(np.uint8) if dtype == "bool" else image // 2
    expected = quick().fit(image.astype(np.float32), labels)
    found = quick().fit(image.astype(dtype), labels)
    assert found.model_.hash == expected.model_.hash
    assert_array_equal(found.predict_proba(image.astype(dtype)), expected.predict_proba(image))


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.ones((40, 50), complex), "X: pixels are complex numbers.*(\n.*)numpy.abs"),
        (np.full((40, 50), None), "X: pixels are type object"),
        (np.full((40, 50), "a"), "X: pixels are type <U1"),
        (np.zeros((40, 50), "M8[s]"), "X: pixels are type datetime64"),
        (np.ma.masked_array(np.ones((40, 50))), "X: is a masked array(\n.*)filled"),
        ([[1, 2], [3]], "X: is no array"),
        (coo_array((40, 50)), "X: is a sparse matrix.*(\n.*)toarray"),
        ([], r"X: an array of 1 axes, shape \(0,\)"),
    ],
)
def test_pixels_that_are_no_real_numbers_are_refused(image: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        quick().fit(image, scene()[1])
    with pytest.raises(InputError, match=message):
        quick().fit(*scene()).predict(image)


# Values


def test_bad_pixels_are_counted_and_the_first_is_named() -> None:
    image, labels = scene()
    image = image.astype(np.float64)
    model = quick().fit(image, labels)
    image[3, 7], image[9, 9], image[30, 1] = np.nan, np.inf, 1e39
    message = r"X: 3 of 2000 pixels are NaN, infinite or beyond float32, the first at y 3, x 7"
    for call in (lambda: quick().fit(image, labels), lambda: model.predict(image)):
        with pytest.raises(InputError, match=message):
            call()


def test_bad_pixels_far_from_the_labels_do_not_matter_to_training() -> None:
    image, labels = scene(300, 300)
    bad = image.astype(np.float32)
    bad[290, 290] = np.nan
    assert quick().fit(bad, labels).model_.hash == quick().fit(image, labels).model_.hash


def test_the_first_bad_pixel_is_named_along_the_axes_of_the_array() -> None:
    movie = np.zeros((2, 3, 40, 50), np.float32)
    movie[1, 2, 5, 6] = -np.inf
    labels = np.zeros((2, 40, 50), int)
    labels[1, 5, 6:9] = [1, 2, 2]
    with pytest.raises(InputError, match=r"1 of 12000 pixels.*first at t 1, c 2, y 5, x 6"):
        quick(axes="tcyx").fit(movie, labels)


def test_features_beyond_float32_are_named() -> None:
    image, labels = scene()
    with pytest.raises(InputError, match=r"X: features of labelled pixels are beyond float32(\n.*)divide"):
        quick().fit(image.astype(np.float32) * 1e36, labels)


def test_a_constant_image_is_fine() -> None:
    image, labels = np.full((40, 50), 7, np.uint8), scene()[1]
    model = quick().fit(image, labels)
    proba = model.predict_proba(image)
    assert_allclose(proba, np.broadcast_to(proba[0, 0], proba.shape))
    assert_allclose(proba.sum(axis=-1), 1, atol=1e-6)


# Shapes


@pytest.mark.parametrize(
    ("shape", "axes", "message"),
    [
        ((1, 1), None, "no scale fits an image of"),
        ((1, 50), None, "no scale fits an image of"),
        ((0, 50), None, r"X: axis y has size 0, shape \(0, 50\)"),
        ((40, 50, 0), "yxc", r"X: axis c has size 0"),
        ((0, 40, 50), "tyx", r"X: axis t has size 0"),
        ((40,), None, "X: an array of 1 axes"),
        ((2,) * 6, None, "X: an array of 6 axes"),
        ((40, 50), "yxc", "X: axes 'yxc' name 3 axes, the array has 2"),
        ((40, 50), "yy", "X: axes 'yy': a letter twice"),
        ((40, 50), "tx", "X: axes 'tx' lack y"),
    ],
)
def test_shapes_without_features_are_refused(shape: tuple[int, ...], axes: str | None, message: str) -> None:
    labels = np.ones(shape[:2], int)
    labels.flat[0:1] = 2
    with pytest.raises(ShapeError, match=message):
        PixelClassifier(axes=axes).fit(np.ones(shape), labels)


def test_a_scale_that_does_not_fit_names_the_image() -> None:
    image, labels = scene()
    with pytest.raises(ShapeError, match=r"X: sigma 20.0 needs 71 pixels along y, the image has 40"):
        quick(features={"gaussian_smoothing": [20]}).fit(image, labels)
    model = quick(features={"gaussian_smoothing": [5]}).fit(image, labels)
    with pytest.raises(ShapeError, match=r"X: sigma 5.0 needs 19 pixels along y, the image has 1"):
        model.predict(np.ones((1, 50)))


def test_images_unlike_the_training_image_are_refused() -> None:
    model = quick().fit(*scene())
    with pytest.raises(ModelMismatchError, match="X: image has 3 channels, model was trained on 1"):
        model.predict(np.zeros((40, 50, 3)))
    with pytest.raises(ModelMismatchError, match=r"X: image is 3D \(9 z slices\), model was trained on 2D"):
        model.predict(np.zeros((9, 40, 50)))


def test_images_to_predict_have_the_axes_of_the_training_image() -> None:
    volume = np.random.default_rng(0).normal(size=(20, 20, 3))  # by its shape it would be yxc
    labels = np.zeros((20, 20, 3), int)
    labels[:3, :3] = 1
    labels[9:12, :3] = 2
    model = quick(axes="zyx", features={"gaussian_smoothing": [0.3]}).fit(volume, labels[..., :3])
    model.set_params(axes=None)
    assert model.predict(volume).shape == (20, 20, 3)


def test_one_axis_of_one_pixel_is_fine_where_features_fit() -> None:
    image, labels = scene()
    thin = quick(axes="zyx").fit(image[None], labels[None])
    assert thin.model_.ndim == 2
    assert thin.predict(image[None]).shape == (1, 40, 50)
    assert_array_equal(thin.predict(image[None])[0], quick().fit(image, labels).predict(image))


# Labels

LABELS = scene()[1]


@pytest.mark.parametrize(
    ("labels", "error", "message"),
    [
        (LABELS[:, :-1], ShapeError, r"y: the label image has shape \(40, 49\), X has \(40, 50\) along yx"),
        (LABELS.T, ShapeError, r"shape \(50, 40\), X has \(40, 50\)"),
        (np.stack([LABELS] * 3, axis=-1), ShapeError, r"shape \(40, 50, 3\), X has \(40, 50\)"),
        (LABELS * 0, LabelError, "no labelled pixel"),
        (np.minimum(LABELS, 1), LabelError, r"only class 1 is labelled \(40 pixels\)"),
        (LABELS > 0, LabelError, "y: labels are bool"),
        (LABELS - np.int16(1), LabelError, r"y: label -1 at \(0, 0\)"),
        (LABELS * 0.5, LabelError, r"y: label 0.5 at \(3, 2\); labels are whole"),
        (np.where(LABELS, np.nan, 0), LabelError, r"y: label nan at \(3, 2\)"),
        (LABELS * 2.0**40, LabelError, "y: label 1099511627776.0"),
        (np.arange(2000).reshape(40, 50), LabelError, "1999 different values, at most 255 classes"),
        (LABELS.astype(str), LabelError, "y: labels are <U"),
        (None, LabelError, "requires y to be passed, but the target y is None"),
        (LABELS.astype(complex), LabelError, "y: labels are complex128"),
    ],
)
def test_labels_that_cannot_be_are_refused(labels: Any, error: type[GpusegError], message: str) -> None:
    with pytest.raises(error, match=message):
        quick().fit(scene()[0], labels)


@pytest.mark.parametrize(
    ("at", "classes", "error", "message"),
    [
        (
            [[1, 2, 3]],
            [1],
            ShapeError,
            r"\(1, 3\) and classes of shape \(1,\); for X they must be \(n, 2\), along yx",
        ),
        ([[1, 2], [3, 4]], [1], ShapeError, "must be"),
        (
            [[1, 2], [40, 4]],
            [1, 2],
            LabelError,
            r"scribble at \(40, 4\) is outside of X, \(40, 50\) along yx",
        ),
        ([[1, 2], [-1, 4]], [1, 2], LabelError, r"scribble at \(-1, 4\) is outside"),
        ([[1, 2], [1, 2]], [1, 2], LabelError, "two scribbles are at the same pixel"),
        ([[1.5, 2], [1, 2]], [1, 2], LabelError, "coordinates are float64"),
        ([[1, 2], [1, 3]], [1, -2], LabelError, r"label -2 at \(1,\)"),
        (np.zeros((0, 2)), np.zeros(0, int), LabelError, "no labelled pixel"),
    ],
)
def test_sparse_labels_that_cannot_be_are_refused(
    at: Any, classes: Any, error: type[GpusegError], message: str
) -> None:
    with pytest.raises(error, match=message):
        quick().fit(scene()[0], (np.array(at), np.array(classes)))


def test_lists_that_do_not_match_are_refused() -> None:
    image, labels = scene()
    with pytest.raises(ShapeError, match="X has 2 images, y has 1 label images"):
        quick().fit([image, image], [labels])
    with pytest.raises(ShapeError, match="scribbles for image 2, X has 2 images, numbered from 0"):
        quick().fit([image, image], {2: labels})
    with pytest.raises(ShapeError, match="scribbles for image 'a'"):
        quick().fit([image, image], {"a": labels})
    with pytest.raises(
        ShapeError, match=re.escape("y[1]: the label image has shape (40, 49), X[1] has (40, 50)")
    ):
        quick().fit([image, image], [labels, labels[:, :-1]])
    with pytest.raises(LabelError, match="no labelled pixel"):
        quick().fit([image, image], [labels * 0, None])


def test_a_large_label_image_is_not_copied() -> None:
    labels = np.zeros((1500, 1000), np.uint8)
    labels[3, 4:900], labels[9, 4:900] = 1, 2
    picture = Picture.of(np.zeros(labels.shape, np.uint8))
    tracemalloc.start()
    try:
        painted = Scribbled.of(picture, labels)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (painted.labels.dtype, painted.where.shape) == (np.int64, (2 * 896, 4))
    assert peak < labels.nbytes


@pytest.mark.parametrize("dtype", ["u1", "i1", ">u2", "i8", "u8", "f2", "f4"])
def test_labels_of_any_type_are_checked_as_they_are(dtype: str) -> None:
    picture, labels = Picture.of(scene()[0]), LABELS.astype(dtype)
    painted = Scribbled.of(picture, labels)
    assert_array_equal(painted.labels, LABELS[LABELS > 0])
    if dtype in ("i8", "u8", "f4"):
        labels[7, 8] = 2**33
        with pytest.raises(LabelError, match=r"y: label 8589934592(\.0)? at \(7, 8\)"):
            Scribbled.of(picture, labels)


def test_large_label_values_are_kept() -> None:
    image, labels = scene()
    model = quick().fit(image, np.where(labels == 2, 70_000, labels.astype(int)))
    assert model.predict(image).dtype == np.uint32
    assert set(np.unique(model.predict(image))) == {1, 70_000}


# Settings


@pytest.mark.parametrize("seed", [None, -1, 2**32, 0.5, np.random.RandomState(0)], ids=str)
def test_seeds_that_are_none_are_refused_before_training(seed: Any) -> None:
    message = r"random_state = .*: an integer from 0 to 4294967295 is needed(\n.*)same model"
    with pytest.raises(InputError, match=message):
        quick(random_state=seed, features="nothing is read yet").fit(*scene())
    with pytest.raises(InputError, match=message):
        quick(random_state=seed).cross_validate(*scene())


@pytest.mark.parametrize("seed", [np.int64(3), np.uint32(3)])
def test_seeds_of_numpy_are_integers(seed: Any) -> None:
    expected = quick(random_state=3).fit(*scene()).model_.hash
    assert quick(random_state=seed).fit(*scene()).model_.hash == expected


# One image at a time


@pytest.mark.parametrize("method", ["predict", "predict_proba", "uncertainty"])
def test_lists_of_images_are_not_predicted(method: str) -> None:
    image, labels = scene()
    call = getattr(quick().fit(image, labels), method)
    with pytest.raises(InputError, match=r"X is a list of 2 images, predict takes one(\n.*)loop over them"):
        call([image, image])
    with pytest.raises(InputError, match="X is a list of 1 image, predict takes one"):
        call((image,))
    assert_array_equal(call(image.tolist()), call(image))


def test_pictures_know_their_sizes() -> None:
    picture = Picture.of(np.zeros((3, 40, 50, 2)), "tyxc", "a.tif")
    assert picture.sizes == {"t": 3, "c": 2, "z": 1, "y": 40, "x": 50}
    assert (picture.places, picture.pixels.shape) == ("tyx", (3, 2, 1, 40, 50))
