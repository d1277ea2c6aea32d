"""napari-convpaint#67 (point 5), qupath#1016: the order of strokes and classes changed the classifier."""

import numpy as np
import pytest

import gpuseg as library

FEATURES = {"gaussian_smoothing": [0.7, 1.6], "hessian_of_gaussian_eigenvalues": [1.0]}
TRAINERS = ["hist", "sklearn"]
ORDERS = range(4)


@pytest.fixture
def scene(small_image):
    """Two images and scribbles of three classes on each: coordinates and values."""
    rng = np.random.default_rng(3)
    images = [small_image(40, 50, seed=s) for s in (0, 1)]
    strokes = [(np.argwhere(rng.random((40, 50)) < 0.05), s) for s in (0, 1)]
    return images, [(at, rng.integers(1, 4, len(at))) for at, _ in strokes]


def model(images, strokes, forest):
    return library.PixelClassifier(FEATURES, n_estimators=10, forest=forest).fit(images, strokes).model_


@pytest.mark.parametrize("forest", TRAINERS)
@pytest.mark.parametrize("order", ORDERS)
def test_shuffled_strokes_give_the_same_model_convpaint_67(scene, forest, order):
    images, strokes = scene
    rng = np.random.default_rng(order)
    mixed = [(at[p], values[p]) for at, values in strokes for p in [rng.permutation(len(at))]]
    assert model(images, mixed, forest).hash == model(images, strokes, forest).hash


@pytest.mark.parametrize("forest", TRAINERS)
def test_images_in_another_order_give_the_same_model_convpaint_67(scene, forest):
    images, strokes = scene
    assert model(images[::-1], strokes[::-1], forest).hash == model(images, strokes, forest).hash


@pytest.mark.parametrize("forest", TRAINERS)
def test_the_class_that_was_painted_first_has_no_advantage_qupath_1016(scene, forest):
    """All strokes of one class, then those of the next: in ascending or in descending order."""
    images, strokes = scene
    up, down = (
        [(at[p], values[p]) for at, values in strokes for p in [np.argsort(sign * values, kind="stable")]]
        for sign in (1, -1)
    )
    assert model(images, down, forest).hash == model(images, up, forest).hash


@pytest.mark.parametrize("forest", TRAINERS)
@pytest.mark.parametrize("order", ORDERS)
def test_shuffled_objects_give_the_same_model_convpaint_67(small_image, squares, forest, order):
    table, classes = library.measure(squares(8), small_image(40, 90)), np.array([1, 2, 3, 0, 1, 2, 3, 0])
    mixed = np.random.default_rng(order).permutation(8)
    first = library.ObjectClassifier(n_estimators=10, forest=forest).fit(table, classes)
    again = library.ObjectClassifier(n_estimators=10, forest=forest).fit(table.iloc[mixed], classes[mixed])
    assert again.model_.hash == first.model_.hash
