"""Selections: which filters at which sigmas, and what follows for planes, names, halo and sizes."""

import json
from math import inf, nan, sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuseg.axes import sizes
from gpuseg.backends.cpu import CpuBackend, ReferenceBackend
from gpuseg.errors import InputError, ModelMismatchError, ShapeError
from gpuseg.features.filters import FILTERS
from gpuseg.features.selection import SIGMAS, Scale, Selection, presmooth
from gpuseg.features.stack import feature_stack

LARGE = sizes("yx", (512, 512))
DEEP = sizes("zyx", (64, 64, 64))
GS, LOG, ST = "gaussian_smoothing", "laplacian_of_gaussian", "structure_tensor_eigenvalues"
VECTOR = {name for name, f in FILTERS.items() if f.vector}


def random_selections():
    rows = st.dictionaries(
        st.sampled_from(sorted(FILTERS)),
        st.lists(st.sampled_from([0.7, 1.0, 1.6, 2.5]), min_size=1, max_size=3),
        min_size=1,
    )
    mixed = st.builds(lambda r: Selection.table(r, in_2d=next(iter(r.values()))), rows)
    return mixed | st.builds(lambda r, flat: Selection.table(r, in_2d=flat), rows, st.booleans())


def test_all_is_ilastiks_37_cells_and_49_planes():
    selection = Selection.all(LARGE)
    assert len(selection.cells) == 37
    assert selection.count(1, 1) == 49
    assert [s.sigma for s in selection.scales] == list(SIGMAS)


def test_all_in_a_volume_is_3d_with_61_planes():
    selection = Selection.all(DEEP)
    assert not any(s.in_2d for s in selection.scales)
    assert selection.count(1, 64) == 7 + 3 * 6 + 2 * 6 * 3 == 61


@pytest.mark.parametrize(
    ("smallest", "largest_sigma"), [(3, 0.3), (4, 0.7), (5, 1.0), (7, 1.6), (14, 3.5), (19, 5.0), (36, 10.0)]
)
def test_all_leaves_out_scales_too_large_for_the_image(smallest, largest_sigma):
    wide = {"t": 1, "z": 1, "y": smallest, "x": 1000, "c": 1}
    assert Selection.all(wide).scales[-1] == Scale(largest_sigma, in_2d=True)
    deep = wide | {"y": 1000, "z": smallest}
    assert Selection.all(deep).scales[-1] == Scale(largest_sigma, in_2d=False)


def test_all_refuses_an_image_that_no_scale_fits():
    with pytest.raises(ShapeError, match=r"no scale fits .*2 \(y\) x 9 \(x\): sigma 0.3 needs 3 pixels"):
        Selection.all(sizes("yx", (2, 9)))


@pytest.mark.parametrize(
    ("sigma", "needs"), [(0.3, 3), (0.7, 4), (1.0, 5), (1.6, 7), (3.5, 14), (5.0, 19), (10.0, 36)]
)
def test_a_scale_needs_three_and_a_half_sigmas_and_one(sigma, needs):
    assert Scale(sigma, in_2d=True).needs == needs


def test_presmoothing_leaves_sigma_one_to_the_filter():
    assert presmooth(0.7) == 0.7
    assert presmooth(1.0) == 1.0
    assert Scale(10.0, in_2d=True).presmooth == pytest.approx(sqrt(99))


@pytest.mark.parametrize(
    ("filters", "more", "message"),
    [
        ({}, {}, 'no feature is selected\n  hint: .*"all"'),
        ({GS: []}, {}, "no feature is selected"),
        ({"sobel": [1.0]}, {}, "unknown filter 'sobel'\n  hint: one of gaussian_smoothing"),
        ({GS: [0.2]}, {}, "sigma 0.2: sigmas are finite and at least 0.3"),
        ({GS: [nan]}, {}, "sigma nan"),
        ({GS: [inf]}, {}, "sigma inf"),
        ({LOG: [0.3]}, {}, "Laplacian of Gaussian at sigma 0.3: its least sigma is 0.7"),
        ({GS: [1.0]}, {"spacing": (0.0, 1.0, 1.0)}, r"spacing \(0.0, 1.0, 1.0\): three positive numbers"),
        ({GS: [1.0]}, {"spacing": (1.0, nan, 1.0)}, r"spacing \(1.0, nan, 1.0\): three positive numbers"),
        ({GS: [1.0]}, {"channels": ()}, "no channel is selected"),
        ({GS: [1.0]}, {"in_2d": [2.0]}, "in_2d names sigma 2.0, which no filter uses"),
        ({GS: [1.0]}, {"spacing": (1.0, 1.0)}, "three positive numbers"),
    ],
)
def test_an_impossible_selection_is_refused(filters, more, message):
    with pytest.raises(InputError, match=message):
        Selection.table(filters, **more)


def test_table_orders_cells_filter_by_filter_then_scale_by_scale():
    selection = Selection.table({ST: [5, 1], GS: [0.3, 1]})
    assert [s.sigma for s in selection.scales] == [0.3, 1.0, 5.0]
    assert selection.cells == ((GS, 0), (GS, 1), (ST, 1), (ST, 2))


def test_table_computes_the_named_sigmas_slice_by_slice():
    assert [s.in_2d for s in Selection.table({GS: [1, 5, 10]}, in_2d=[10]).scales] == [False, False, True]
    assert not any(s.in_2d for s in Selection.table({GS: [1, 5]}, in_2d=False).scales)


def test_names_are_ilastiks():
    selection = Selection.table({GS: [0.3, 1.6], ST: [1.6]}, in_2d=[1.6])
    assert selection.names(1, 8) == [
        "Gaussian Smoothing (σ=0.3)",
        "Gaussian Smoothing (σ=1.6) in 2D",
        "Structure Tensor Eigenvalues (σ=1.6) in 2D [0]",
        "Structure Tensor Eigenvalues (σ=1.6) in 2D [1]",
    ]
    assert Selection.table({GS: [1]}, in_2d=False).names(2, 8) == [
        "Gaussian Smoothing (σ=1.0) [0]",
        "Gaussian Smoothing (σ=1.0) [1]",
    ]


@given(random_selections(), st.integers(1, 3), st.sampled_from([1, 9]))
def test_jobs_fill_every_plane_once(selection, channels, depth):
    taken = []
    for job in selection.jobs(channels, depth):
        for name, first in job.planes:
            taken += range(first, first + FILTERS[name].planes(len(job.sigma)))
    assert sorted(taken) == list(range(selection.count(channels, depth)))


def test_planes_of_a_cell_are_ordered_by_channel_then_eigenvalue():
    selection = Selection.table({GS: [1.0], ST: [1.0]})
    jobs = selection.jobs(channels=2, depth=1)
    assert [(j.channel, dict(j.planes)) for j in jobs] == [(0, {GS: 0, ST: 2}), (1, {GS: 1, ST: 4})]


def test_chosen_channels_are_used_in_the_order_given():
    selection = Selection.table({GS: [1.0]}, channels=(2, 0))
    assert [j.channel for j in selection.jobs(3, 1)] == [2, 0]
    assert selection.count(3, 1) == 2


@pytest.mark.parametrize(("channels", "bad"), [((3,), 3), ((0, -1), -1)])
def test_a_channel_the_image_lacks_is_named(channels, bad):
    selection = Selection.table({GS: [1.0]}, channels=channels)
    with pytest.raises(ModelMismatchError, match=f"channel {bad}, the image has 3 channels"):
        selection.used_channels(3)


def test_spacing_shortens_sigma_along_coarse_axes():
    selection = Selection.table({GS: [5.0]}, in_2d=False, spacing=(5.0, 1.0, 1.0))
    (job,) = selection.jobs(1, 30)
    assert job.sigma == (1.0, 1.0, 1.0)
    assert job.smooth == pytest.approx((1.0, sqrt(24), sqrt(24)))
    selection.check(sizes("zyx", (5, 19, 19)))


def test_a_filter_of_another_package_is_looked_for_when_it_is_named(monkeypatch):
    monkeypatch.setattr(
        "gpuseg.features.selection.load", lambda group: monkeypatch.setitem(FILTERS, group, FILTERS[GS])
    )
    assert Selection.table({"filters": [1.0]}).cells == (("filters", 0),)


@pytest.mark.parametrize(
    ("shape", "in_2d", "message"),
    [
        ((30, 13, 20), True, "sigma 3.5 needs 14 pixels along y, the image has 13\n  hint: leave out"),
        ((30, 14, 13), True, "sigma 3.5 needs 14 pixels along x, the image has 13"),
        ((13, 20, 20), False, "sigma 3.5 needs 14 pixels along z, the image has 13\n  hint: .*in 2D"),
    ],
)
def test_an_image_too_small_is_refused_with_axis_and_both_sizes(shape, in_2d, message):
    selection = Selection.table({GS: [0.3, 3.5]}, in_2d=in_2d)
    with pytest.raises(ShapeError, match=message):
        selection.check(sizes("zyx", shape))


@pytest.mark.parametrize(
    ("shape", "in_2d"), [((30, 14, 14), True), ((2, 14, 14), True), ((14, 14, 14), False)]
)
def test_an_image_just_large_enough_passes(shape, in_2d):
    Selection.table({GS: [3.5]}, in_2d=in_2d).check(sizes("zyx", shape))


def test_one_slice_is_filtered_in_2d_whatever_the_switch():
    selection = Selection.table({ST: [1.0]}, in_2d=False)
    assert selection.count(1, 1) == 2
    assert selection.count(1, 2) == 3
    selection.check(sizes("yx", (5, 5)))


def test_the_halo_is_that_of_the_widest_scale():
    assert Selection.all(LARGE).halo(1) == (0, 38, 38)  # 35 of the smoothing, 1 + 2 of the structure tensor
    assert Selection.table({GS: [10.0]}).halo(1) == (0, 37, 37)
    assert Selection.table({GS: [1.0], ST: [3.5]}, in_2d=[3.5]).halo(20) == (6, 15, 15)


@pytest.mark.parametrize("name", sorted(FILTERS))
@pytest.mark.parametrize("sigma", [0.7, 1.6])
@pytest.mark.parametrize("backend", [ReferenceBackend(), CpuBackend()], ids=lambda b: b.name)
def test_the_halo_is_exact(backend, name, sigma):
    """A pixel at the halo's edge changes the plane; one beyond it does not."""
    selection = Selection.table({name: [sigma]}, channels=(0,))
    reach = selection.halo(1)[1]
    flat = np.random.default_rng(5).random((1, 1, 60, 60)).astype(np.float32)

    def changed(distance):
        other = flat.copy()
        other[0, 0, 30, 30] += 1000
        planes = [feature_stack(backend, i, selection)[:, 0, 30, 30 + distance] for i in (flat, other)]
        return not np.array_equal(*planes)

    assert changed(reach)
    assert not changed(reach + 1)


@given(random_selections())
def test_a_selection_survives_json(selection):
    assert Selection.from_dict(json.loads(json.dumps(selection.to_dict()))) == selection


def test_channels_and_spacing_survive_json():
    selection = Selection.table({GS: [1.0]}, channels=(1, 0), spacing=(2.5, 1.0, 1.0))
    assert Selection.from_dict(json.loads(json.dumps(selection.to_dict()))) == selection


@pytest.mark.parametrize(
    "damage",
    [
        {"scales": None},
        {"scales": [[1.0]]},
        {"scales": [["wide", True]]},
        {"cells": [[GS, 7]]},
        {"cells": [[GS, -1]]},
        {"cells": [[GS, "first"]]},
        {"cells": [[GS, 0], [GS, 0]]},
        {"channels": 3},
        {"spacing": [1.0, 1.0]},
        {"spacing": None},
    ],
)
def test_a_damaged_selection_is_refused(damage):
    with pytest.raises(
        InputError, match=r"feature selection is damaged|a scale that does not exist|selected twice"
    ):
        Selection.from_dict(Selection.table({GS: [1.0]}).to_dict() | damage)


def test_a_selection_without_a_part_is_refused():
    with pytest.raises(InputError, match="damaged: 'cells'"):
        Selection.from_dict({"scales": [[1.0, True]]})


def test_a_toml_file_says_it_all(tmp_path):
    path = tmp_path / "features.toml"
    path.write_text(
        "[features]\ngaussian_smoothing = [0.3, 5]\nstructure_tensor_eigenvalues = [5.0]\n"
        "[options]\nin_2d = [5.0]\nchannels = [0, 2]\nspacing = [2.0, 1.0, 1.0]\n"
    )
    expected = Selection.table(
        {GS: [0.3, 5.0], ST: [5.0]}, in_2d=[5.0], channels=(0, 2), spacing=(2.0, 1.0, 1.0)
    )
    assert Selection.from_toml(path) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"no section \[features\]"),
        ("features = 3", r"no section \[features\]"),
        ("[features]\nsobel = [1.0]", "unknown filter 'sobel'"),
        ("[features]\ngaussian_smoothing = 1.0", "features.toml: "),
        ('[features]\ngaussian_smoothing = ["wide"]', "features.toml: .*wide"),
        ("[features]\ngaussian_smoothing = [0.1]", "sigma 0.1: sigmas are finite"),
        ("[features]\ngaussian_smoothing = [1.0]\n[colour]", "unknown entry 'colour'"),
        ("[features]\ngaussian_smoothing = [1.0]\n[options]\nin2d = true", "unknown entry 'in2d'"),
        ("[features]\ngaussian_smoothing = [1.0]\n[options]\nspacing = 1", "features.toml: "),
        ("[features]\ngaussian_smoothing = [1.0]\noptions = 1", "features.toml: "),
        ("options = 1\n[features]\ngaussian_smoothing = [1.0]", "features.toml: "),
        ("[features\n", "features.toml: .*line 1"),
        ("[features]\ngaussian_smoothing = [1.0]\n[options]\nchannels = ['red']", "features.toml: "),
        ("[features]\ngaussian_smoothing = [1.0]\n[options]\nspacing = ['a', 'b', 'c']", "features.toml: "),
        ("[features]\ngaussian_smoothing = [1.0]\n[options]\nin_2d = 'no'", "features.toml: "),
        ("[features]\ngaussian_smoothing = [1.0]\n[options]\nin_2d = [2.0]", "features.toml: .*2.0"),
    ],
)
def test_a_wrong_toml_file_is_refused_by_name(tmp_path, text, message):
    path = tmp_path / "features.toml"
    path.write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        Selection.from_toml(path)
    assert str(caught.value).startswith(str(path))
    assert str(caught.value).count(str(path)) == 1


def test_a_toml_file_that_cannot_be_read_is_refused_by_name(tmp_path):
    with pytest.raises(InputError, match=r"absent\.toml"):
        Selection.from_toml(tmp_path / "absent.toml")
    (tmp_path / "latin.toml").write_bytes(b"# \xe9")
    with pytest.raises(InputError, match=r"latin\.toml"):
        Selection.from_toml(tmp_path / "latin.toml")


def write(folder, text):
    path = folder / "features.toml"
    path.write_text(text)
    return path


def test_a_file_of_options_means_every_feature_that_fits(tmp_path):
    sizes = {"t": 1, "z": 12, "y": 200, "x": 200, "c": 3}
    path = write(tmp_path, '[options]\nchannels = [0]\nspacing = "file"\n')
    selection = Selection.from_toml(path, sizes, {"z": 2.0, "y": 0.5, "x": 0.5})
    assert (selection.channels, selection.steps) == ((0,), (4.0, 1.0, 1.0))
    selection.check(sizes)
    assert max(s.sigma for s in selection.scales) == 10.0, "sigma 10 is 2.5 slices"
    assert not any(s.in_2d for s in selection.scales)
    with pytest.raises(InputError, match="says nothing of its pixel size"):
        Selection.from_toml(path, sizes, {})
    with pytest.raises(InputError, match=r"no section \[features\]"):
        Selection.from_toml(path)


def test_features_of_a_volume_are_3d_unless_said(tmp_path):
    path = write(tmp_path, "[features]\ngaussian_smoothing = [1.0]\n")
    assert not Selection.from_toml(path, {"z": 12, "y": 50, "x": 50}).scales[0].in_2d
    assert Selection.from_toml(path, {"z": 1, "y": 50, "x": 50}).scales[0].in_2d
