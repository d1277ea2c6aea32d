"""ilastik#2314, #1649: one project gave other probabilities on another platform, up to the first decimal."""

import os
from hashlib import sha256

import numpy as np
import pytest
from unit.ilp.conftest import write_project

from gpuseg.backends import get_backend
from gpuseg.errors import BackendUnavailableError
from gpuseg.ilp.read import open_project
from gpuseg.pixel import PixelClassifier

DEVICES = ["cpu", "cuda on the host", pytest.param("cuda", marks=pytest.mark.gpu)]
SCENES = {"2D": (48, 56), "3D": (12, 30, 34)}
# Of all arrays of the forest and of all probabilities: from code for AVX2, for AVX-512, and from kernels
# run on the CPU. A change of them is a change of every model and every result.
FORESTS = {"2D": "f907782e0c70119e", "3D": "98fe3a57dd8b391e"}
PROBABILITIES = {"2D": "a1d9a0752b4177e4", "3D": "f022b1ed0135ecad"}


@pytest.fixture(params=DEVICES)
def device(request):
    """Name of a backend that is there: on a machine without a GPU its kernels run on the CPU."""
    if request.param == "cuda on the host":
        request.getfixturevalue("host_cuda")
    name = request.param.split()[0]
    try:
        get_backend(name)
    except BackendUnavailableError as e:
        if os.environ.get("GPUSEG_REQUIRE_GPU"):
            raise
        pytest.skip(str(e))
    return name


def scene(kind):
    """Blobs made with whole numbers only, so that they are the same everywhere, and scribbles on them."""
    at = np.indices(SCENES[kind])
    image = sum((7 + 4 * i) * a * a % 61 for i, a in enumerate(at)).astype(np.uint8)
    labels = np.where(image > 60, 2, 1) * (at.sum(0) % 5 == 0)
    return image, labels


def digest(*arrays):
    found = sha256()
    for a in arrays:
        found.update(f"{a.dtype.newbyteorder('<')} {a.shape}".encode())
        found.update(np.ascontiguousarray(a, a.dtype.newbyteorder("<")).tobytes())
    return found.hexdigest()[:16]


@pytest.mark.parametrize("kind", SCENES)
def test_everyone_grows_the_same_forest_ilastik_2314(device, kind):
    image, labels = scene(kind)
    forest = PixelClassifier(n_estimators=10, backend=device).fit(image, labels).model_.forest
    assert digest(forest.feature, forest.threshold, forest.left, forest.roots, forest.leaves) == FORESTS[kind]


@pytest.mark.parametrize("kind", SCENES)
def test_everyone_predicts_the_same_bits_ilastik_2314(device, kind):
    image, labels = scene(kind)
    model = PixelClassifier(n_estimators=10, backend="cpu").fit(image, labels).model_
    proba = PixelClassifier.from_model(model, backend=device).predict_proba(image)
    assert digest(proba) == PROBABILITIES[kind]


def test_a_project_says_everywhere_what_its_trees_say_ilastik_1649(tmp_path, device):
    """Flat bands around the thresholds of two trees made by hand: 50.25 and 99.5."""
    model = open_project(write_project(tmp_path / "cells.ilp")).pixel_model()
    image = np.repeat(np.float32([50, 50.5, 99, 100]), 24)[None].repeat(40, 0)
    proba = PixelClassifier.from_model(model, backend=device).predict_proba(image[..., None])
    np.testing.assert_array_equal(
        proba[20, 12::24], np.float32([[1, 0], [0.875, 0.125], [0.875, 0.125], [0, 1]])
    )


def test_a_real_project_predicts_what_ilastik_did_ilastik_2314(shared, read, device):
    folder = shared / "data/ilp/ilastik-api"
    model = open_project(folder / "PixelClass.ilp").pixel_model()
    classifier = PixelClassifier.from_model(model, backend=device)
    image = read(folder / "Data_1channel.png")
    found = classifier.predict_proba(image.reshape(*image.shape[:2], 1))
    expected = np.load(folder / "res-Data_1channel_pc1xyc.npy").reshape(found.shape)
    np.testing.assert_allclose(found, expected, atol=0.015)  # ilastik's own bound between platforms
