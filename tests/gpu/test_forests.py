"""Probabilities of the card are those of the CPU, and one seed grows one forest on both."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from gpuseg import PixelClassifier
from gpuseg.backends import get_backend
from gpuseg.backends.base import Growth
from gpuseg.features.selection import Selection
from gpuseg.features.stack import feature_stack, probabilities

pytestmark = pytest.mark.gpu
ODD = 1e-4  # share of pixels that may differ: where a feature lies at a threshold
ROUNDING = 1e-6  # leaves of several classes are summed over the trees in an order of each backend's own
SHAPES = {
    "2D": ((1, 1, 1024, 1100), (1, 1, 60, 77)),
    "2D, channels": ((2, 1, 400, 333), (2, 1, 30, 33)),
    "3D": ((1, 64, 90, 100), (1, 10, 18, 20)),
}
DEPTHS = {"codes": (6,) * 20, "floats": (9, 6, 6), "a large tree": (18, 3)}


@pytest.mark.parametrize("depths", DEPTHS.values(), ids=DEPTHS.keys())
@pytest.mark.parametrize("case", SHAPES)
def test_probabilities_are_the_cpus(cuda, picture, forest_of, case, depths, record_property):
    pixels = picture(*SHAPES[case])
    selection = Selection.all(dict(zip("czyx", pixels.shape, strict=True)))
    forest = forest_of(selection.count(*pixels.shape[:2]), depths)
    expected = probabilities(get_backend("cpu"), pixels, selection, forest)

    found = cuda.to_numpy(probabilities(cuda, cuda.asarray(pixels), selection, forest))

    different = int((abs(found - expected) > ROUNDING).any(-1).sum())
    record_property("bit-identical", bool((found == expected).all()))
    record_property("pixels that differ", f"{different} of {found[..., 0].size}")
    assert found.shape == expected.shape
    assert different <= ODD * found[..., 0].size


@pytest.mark.parametrize("classes", [2, 3, 40])
def test_the_fused_way_and_the_stored_planes_give_the_same_bits(cuda, picture, forest_of, classes):
    pixels = picture(*SHAPES["2D"])
    selection = Selection.all({"z": 1, "y": pixels.shape[2], "x": pixels.shape[3]})
    forest = forest_of(selection.count(1, 1), (7, 6, 5), classes)
    image = cuda.asarray(pixels)
    stored = cuda.forest_proba(feature_stack(cuda, image, selection), forest)
    assert_array_equal(cuda.to_numpy(probabilities(cuda, image, selection, forest)), cuda.to_numpy(stored))


@pytest.mark.parametrize("classes", [2, 5])
def test_one_seed_grows_the_same_trees_as_on_the_cpu(cuda, on_card, classes):
    rng = np.random.default_rng(8)
    rows = 5000 if on_card else 300
    codes = rng.integers(0, 256, (49, rows)).astype(np.uint8)
    target = ((codes[3] > 100).astype(np.uint8) + (rng.random(rows) < 0.1) * (classes - 2)).astype(np.uint8)
    how = Growth(classes, trees=100 if on_card else 5, tried=7, seed=11)

    found, expected = cuda.grow(codes, target, how), get_backend("cpu").grow(codes, target, how)

    for name in expected._fields:
        assert_array_equal(getattr(found, name), getattr(expected, name), err_msg=name)


def test_one_seed_gives_one_model_on_card_and_cpu(cuda, picture):
    pixels = picture((1, 1, 600, 700), (1, 1, 60, 70))[0, 0]
    scribbles = np.zeros(pixels.shape, np.uint8)
    scribbles[5, 5:50], scribbles[30, 5:50], scribbles[50, 10:30] = 1, 2, 3
    models = [
        PixelClassifier(n_estimators=20, forest="hist", backend=name).fit(pixels, scribbles).model_
        for name in ("cuda", "cpu")
    ]
    assert models[0].hash == models[1].hash
