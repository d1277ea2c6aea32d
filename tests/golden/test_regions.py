"""Every Standard feature equals vigra's, on crops that are stored here and on the files they come from."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

from gpuseg.backends import get_backend
from gpuseg.io import open_image
from gpuseg.objects import advanced, standard, weighted  # noqa: F401 - they declare the rows
from gpuseg.objects.context import Objects
from gpuseg.objects.table import OBJECT_FEATURES

FAMILY = "Standard Object Features"
WHOLE = [f for f in OBJECT_FEATURES.values() if f.family == FAMILY and "neighborhood" not in f.title]
ROWS = {f.ilastik: f for f in WHOLE}  # of objects; those of neighbourhoods have a test of their own
CLOSE = {"rtol": 1e-5}  # vigra's numbers are stored as float32
SIGNED = {  # features that change with the sign of eigenvectors -> these
    **dict.fromkeys(
        ("RegionAxes", "Coord<Principal<PowerSum<3>>>", "Coord<Principal<Skewness>>"), "RegionAxes"
    ),
    **dict.fromkeys(
        (
            "Weighted<RegionAxes>",
            "Weighted<Coord<Principal<PowerSum<3>>>>",
            "Weighted<Coord<Principal<Skewness>>>",
        ),
        "Weighted<RegionAxes>",
    ),
    **dict.fromkeys(("PrincipalAxes", "Principal<PowerSum<3>>", "Principal<Skewness>"), "PrincipalAxes"),
}


@cache
def stored() -> dict[str, Any]:
    with np.load(Path(__file__).with_name("regions_vigra.npz")) as file:
        return dict(file)


def of_vigra(case: str) -> dict[str, Any]:
    """Id -> (n, k), eigenvectors turned so that their largest part is positive."""
    found = {name.removeprefix(f"{case}/"): v for name, v in stored().items() if name.startswith(f"{case}/")}
    for name in ("image", "labels"):
        found.pop(name, None)
    turned = {axes: _signs(found[axes]) for axes in set(SIGNED.values()) & set(found)}
    if "PrincipalAxes" in found:
        low, high = found["Principal<Minimum>"], found["Principal<Maximum>"]
        up = turned["PrincipalAxes"] > 0
        found["Principal<Minimum>"], found["Principal<Maximum>"] = (
            np.where(up, low, -high),
            np.where(up, high, -low),
        )
    for name in set(SIGNED) & set(found):
        signs = turned[SIGNED[name]]
        found[name] = found[name] * np.tile(signs, found[name].shape[1] // signs.shape[1])
    return found


def _signs(axes: Any) -> Any:
    d = round(axes.shape[1] ** 0.5)
    matrix = axes.reshape(-1, d, d)
    largest = np.abs(matrix).argmax(1, keepdims=True)
    return np.sign(np.take_along_axis(matrix, largest, 1))[:, 0]


def objects(image: Any, labels: Any) -> Objects:
    """Objects of a picture (y, x), (y, x, c) or a volume (z, y, x)."""
    b = get_backend("cpu")
    raw = np.moveaxis(image, -1, 0)[:, None] if image.ndim > labels.ndim else image[None]
    ids = np.ascontiguousarray(labels, np.int32).reshape((1,) * (3 - labels.ndim) + labels.shape)
    raw = np.ascontiguousarray(raw, np.float32).reshape(-1, *ids.shape)
    return Objects(b, ids, int(ids.max()), raw)


def compare(case: str, o: Objects) -> None:
    channels = "M" if o.channels > 1 else "S"
    expected = of_vigra(case)
    ours = {name for name, row in ROWS.items() if not row.channels or channels in row.channels}
    assert ours == set(expected)
    for name, e in expected.items():
        found = ROWS[name].formula(o).reshape(o.count, -1)
        scale = 1e-6 * np.nanmax(np.abs(e), initial=0)  # odd moments are differences of large numbers
        assert_allclose(found, e, **CLOSE, atol=scale, err_msg=f"{case} {name}")


CROPS: dict[str, Callable[[], tuple[Any, Any]]] = {
    "picture crop": lambda: (stored()["picture crop/image"], stored()["picture crop/labels"]),
    "gray crop": lambda: (stored()["picture crop/image"][..., 1], stored()["picture crop/labels"]),
    "volume crop": lambda: (stored()["volume crop/image"], stored()["volume crop/labels"]),
}


@pytest.mark.parametrize("case", CROPS)
def test_crops_are_measured_as_by_vigra(case):
    compare(case, objects(*CROPS[case]()))


@pytest.mark.parametrize("case", ["picture", "gray", "volume"])
def test_whole_files_are_measured_as_by_vigra(case, shared):
    names = (
        ("volume3d/stardist_img3d.tif", "volume3d/stardist_mask3d.tif")
        if case == "volume"
        else ("objects2d/BloodImage_00003.jpg", "objects2d/BloodImage_00003_labels.tif")
    )
    image, labels = (_pixels(shared / "data" / name) for name in names)
    compare(case, objects(image[..., 1] if case == "gray" else image, _numbered(labels)))


def _pixels(path: Path) -> Any:
    with open_image(path) as image:
        return np.asarray(image.read()).squeeze()


def _numbered(labels: Any) -> Any:
    """As make_regions.py does: objects of 30 pixels and more, numbered from 1."""
    ids, inverse, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    keep = (ids > 0) & (sizes >= 30)
    return (np.cumsum(keep) * keep)[inverse].reshape(labels.shape)


def test_each_feature_of_the_table_has_a_name_of_ilastik_and_one_of_its_own():
    rows = WHOLE
    assert len({f.ilastik for f in rows} - {""}) == len(rows) == len({f.title for f in rows})
    assert {f.ilastik for f in rows if f.advanced} == {
        f.ilastik for f in rows if "<" in f.ilastik and not f.ilastik.startswith(("Coord<M",))
    }
