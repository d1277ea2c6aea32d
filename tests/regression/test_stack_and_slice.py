"""Trainable_Segmentation#63: a stack and one of its slices got different maps with the same 2D features."""

import numpy as np
import pytest

import gpuseg as library
from gpuseg.backends import get_backend
from gpuseg.features.selection import Selection
from gpuseg.features.stack import feature_stack

SIZES = {"t": 1, "z": 1, "y": 41, "x": 53, "c": 1}
FLAT = {
    row: [s for s in (0.3, 0.7, 1.0, 1.6, 3.5, 5.0, 10.0) if s >= least]
    for row, least in {
        "gaussian_smoothing": 0.3,
        "laplacian_of_gaussian": 0.7,
        "gaussian_gradient_magnitude": 0.7,
        "difference_of_gaussians": 0.7,
        "structure_tensor_eigenvalues": 0.7,
        "hessian_of_gaussian_eigenvalues": 0.7,
    }.items()
}
SLICES = 5


@pytest.fixture
def stack(small_image):
    return small_image(SLICES, 41, 53)


@pytest.mark.parametrize("name", FLAT)
@pytest.mark.parametrize("device", ["cpu", "cuda on the host"])
def test_a_slice_of_the_stack_is_the_slice_by_itself_weka_63(request, stack, name, device):
    if device != "cpu":
        request.getfixturevalue("host_cuda")
    b, selection = get_backend(device.split()[0]), Selection.table({name: FLAT[name]}, in_2d=True)

    def planes(image):
        return b.to_numpy(feature_stack(b, b.asarray(image[None].astype(np.float32)), selection))

    whole = planes(stack)
    for z in range(SLICES):
        np.testing.assert_array_equal(planes(stack[z : z + 1])[:, 0], whole[:, z])


def test_the_stack_predicts_as_its_slices_do_weka_63(stack):
    """Learned from scribbles on one slice, alone or in its stack: the same forest, the same probabilities."""
    labels = np.zeros(stack.shape, int)
    labels[2, 10, 5:20], labels[2, 30, 30:50] = 1, 2
    flat = library.PixelClassifier(Selection.table(FLAT, in_2d=True), axes="yx", n_estimators=20)
    deep = library.PixelClassifier(Selection.table(FLAT, in_2d=True), axes="zyx", n_estimators=20)
    flat.fit(stack[2], labels[2])
    deep.fit(stack, labels)
    np.testing.assert_array_equal(deep.model_.forest.threshold, flat.model_.forest.threshold)
    whole = deep.predict_proba(stack)
    for z in range(SLICES):
        np.testing.assert_array_equal(flat.predict_proba(stack[z]), whole[z])
