"""cucim#847: perimeters were wrong where labels touch, unless one knew a switch."""

import csv

import numpy as np
import pytest
from scipy.spatial import KDTree
from skimage.measure import regionprops

import gpuseg as library
from gpuseg.backends import get_backend

DEVICES = ["cpu", "cuda on the host"]


@pytest.fixture(scope="module")
def mosaic():
    """Every pixel belongs to one of 60 cells, nearest to its seed; numbered at random, up to 999."""
    rng = np.random.default_rng(11)
    seeds = rng.random((60, 2)) * (120, 140)
    nearest = KDTree(seeds).query(np.indices((120, 140)).reshape(2, -1).T)[1]
    return rng.permutation(999)[nearest].reshape(120, 140).astype(np.uint16) + 1


def perimeters(labels, **how):
    table = library.measure(labels, features=["perimeter"], **how)
    return dict(zip(table["original_oid"].astype(int), table["Perimeter"], strict=True))


@pytest.mark.parametrize("device", DEVICES)
def test_cells_of_a_dense_mosaic_measure_as_in_scikit_image_cucim_847(request, mosaic, device):
    if device != "cpu":
        request.getfixturevalue("host_cuda")
        get_backend("cuda")
    expected = {r.label: r.perimeter_crofton for r in regionprops(mosaic)}
    found = perimeters(mosaic, backend=device.split()[0])
    assert found.keys() == expected.keys()
    np.testing.assert_allclose([found[i] for i in expected], list(expected.values()), rtol=1e-9)


def test_a_cell_measures_the_same_alone_and_among_others_cucim_847(mosaic):
    together = perimeters(mosaic)
    for label in list(together)[::6]:
        alone = perimeters(np.where(mosaic == label, mosaic, 0))
        assert alone == pytest.approx({label: together[label]}, rel=1e-12)


@pytest.mark.parametrize("block", [7, 32])
def test_tiles_do_not_cut_it_cucim_847(mosaic, block):
    whole, tiled = perimeters(mosaic), perimeters(mosaic, block=block)
    np.testing.assert_allclose([tiled[i] for i in whole], list(whole.values()), rtol=1e-12)


def test_the_table_of_the_command_has_the_same_numbers_cucim_847(tmp_path, gpuseg, write, mosaic):
    path = write(tmp_path / "mosaic.tif", mosaic, "yx")
    done = gpuseg("measure", path, "--features", "perimeter", "-o", tmp_path / "table.csv")
    assert done.exit_code == 0, done.output
    with (tmp_path / "table.csv").open(encoding="utf-8") as file:
        rows = {int(float(r["original_oid"])): float(r["Perimeter"]) for r in csv.DictReader(file)}
    assert rows == perimeters(mosaic)
