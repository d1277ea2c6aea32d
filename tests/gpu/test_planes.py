"""Planes of the card are those of the CPU, of the stored values, and of any tiling."""

import runpy
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from gpuseg.backends import get_backend
from gpuseg.features.filters import FILTERS
from gpuseg.features.selection import Selection
from gpuseg.features.stack import feature_stack, features_at
from gpuseg.tiles import tiles

pytestmark = pytest.mark.gpu
MADE = runpy.run_path(str(Path(__file__).parents[1] / "golden" / "make_features.py"))
ROUNDING = 2e-6  # of the largest value, in float32 against float64
NEAR, NEAR_3D = 1e-5, 1e-4  # of the CPU's planes; of eigenvalues in 3D
SHAPES = {  # on a card, on the stand-in
    "2D": ((1, 1, 1024, 1100), (1, 1, 90, 130)),
    "2D, channels": ((3, 1, 400, 333), (2, 1, 40, 33)),
    "slices": ((1, 5, 300, 200), (1, 3, 30, 40)),
    "3D": ((1, 96, 110, 130), (1, 12, 20, 34)),
    "3D, thin": ((1, 3, 200, 210), (1, 3, 20, 21)),
}


def all_of(shape, flat=False):
    sizes = dict(zip("czyx", shape, strict=True))
    return (
        Selection.all(sizes)
        if flat is None
        else Selection.table({f: [0.7, 1.6] for f in FILTERS}, in_2d=flat)
    )


@pytest.mark.parametrize("kind", ["2d", "3d"])
def test_planes_have_the_stored_values(cuda, kind):
    image = MADE["picture"]() if kind == "2d" else MADE["volume"]()
    selection = Selection.all(dict(zip("czyx", image.shape, strict=True)))
    with np.load(MADE["FILE"]) as stored:
        where, expected, largest = (stored[f"{n}_{kind}"] for n in ("where", "values", "largest"))

    found = cuda.to_numpy(feature_stack(cuda, cuda.asarray(image), selection))[(slice(None), *where.T)]

    for name, a, e, most in zip(selection.names(*image.shape[:2]), found, expected, largest, strict=True):
        assert_allclose(a, e, rtol=ROUNDING, atol=ROUNDING * max(255.0, float(most)), err_msg=name)


@pytest.mark.parametrize("case", SHAPES)
def test_planes_are_the_cpus(cuda, picture, case, record_property):
    pixels = picture(*SHAPES[case])
    selection = all_of(pixels.shape, flat=case == "slices")
    expected = feature_stack(get_backend("cpu"), pixels, selection)

    found = cuda.to_numpy(feature_stack(cuda, cuda.asarray(pixels), selection))

    record_property("bit-identical", bool((found == expected).all()))
    record_property("largest difference", float(np.abs(found - expected).max()))
    for name, a, e in zip(selection.names(*pixels.shape[:2]), found, expected, strict=True):
        loose = "Eigenvalues" in name and case.startswith("3D")
        assert_allclose(a, e, rtol=0, atol=NEAR_3D if loose else NEAR, err_msg=name)


@pytest.mark.parametrize("case", ["2D", "3D"])
def test_tiled_equals_whole_bit_for_bit(cuda, picture, case):
    pixels = picture(*SHAPES[case])
    shape = pixels.shape[1:]
    selection = all_of(pixels.shape)
    whole = cuda.to_numpy(feature_stack(cuda, cuda.asarray(pixels), selection))
    size = [max(1, -(-n * 3 // 5)) for n in shape]
    for tile in tiles(shape, size, selection.halo(shape[0])):
        part = cuda.asarray(np.ascontiguousarray(pixels[(slice(None), *tile.read)]))
        found = cuda.to_numpy(feature_stack(cuda, part, selection, tile.inside))
        assert_array_equal(found, whole[(slice(None), *tile.core)])


def test_rows_of_painted_pixels_are_those_of_the_stack(cuda, picture):
    pixels = picture(*SHAPES["2D, channels"])
    selection = all_of(pixels.shape)
    rng = np.random.default_rng(2)
    where = np.stack([rng.integers(0, n, 100) for n in pixels.shape[1:]], 1)
    stack = cuda.to_numpy(feature_stack(cuda, cuda.asarray(pixels), selection))
    assert_array_equal(features_at(cuda, pixels, selection, where), stack[(slice(None), *where.T)].T)


def test_planes_are_those_of_fastfilters(cuda, shared):
    ids = {row.ilastik: name for name, row in FILTERS.items() if row.ilastik}
    with np.load(shared / "reference/recipe2d.npz") as reference:
        pixels, expected, names = reference["img"][None, None], reference["ff"][:, None], reference["names"]
    rows = {}
    for name in names.tolist():
        rows.setdefault(ids[name.split()[0]], set()).add(float(name.split()[1]))
    selection = Selection.table({f: sorted(s) for f, s in rows.items()}, in_2d=True)

    found = cuda.to_numpy(feature_stack(cuda, cuda.asarray(pixels), selection))

    for name, a, e in zip(selection.names(1, 1), found, expected, strict=True):
        most = 255 * float(np.abs(e).max()) ** 0.5 if "Structure" in name else 255.0
        assert_allclose(a, e, rtol=0, atol=2e-6 * max(255.0, most), err_msg=name)
