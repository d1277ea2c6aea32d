"""`gpuseg.measure`: its rows and columns, what it takes and what it refuses."""

import numpy as np
import pytest

from gpuseg import measure, open_image
from gpuseg.axes import Voxel
from gpuseg.errors import InputError, LabelError, ShapeError
from gpuseg.objects import columns, context
from gpuseg.objects.choice import NOT_LOCATION, declared, obstacle

RNG = np.random.default_rng(3)
FIRST = ["object_id", "timestep", "labelimage_oid", "Size in pixels"]


@pytest.fixture
def labels():
    """Three objects, ids 2, 9 and 2**31, on 20 x 30 pixels."""
    image = np.zeros((20, 30), np.int64)
    image[2:6, 3:8], image[2:6, 8:10], image[15:, 20:] = 9, 2, 2**31
    return image


@pytest.fixture
def raw(labels):
    return RNG.normal(100, 10, labels.shape).astype(np.float32)


def table(labels, raw=None, features=(), **how):
    return measure(labels, raw, features=features, backend="cpu", **how)


def test_a_row_for_each_object_by_ascending_id(labels):
    found = table(labels)
    assert found["original_oid"].tolist() == [2, 9, 2**31]
    assert found["labelimage_oid"].tolist() == [1, 2, 3]
    assert found["object_id"].tolist() == [0, 1, 2]
    assert found["Size in pixels"].tolist() == [8, 20, 50]


def test_the_columns_of_every_table_are_ilastiks_with_x_first(labels):
    found = table(labels)
    assert list(found) == [
        *FIRST,
        *(f"Bounding Box {end}_{k}" for end in ("Minimum", "Maximum") for k in range(2)),
        *("Center of the object_0", "Center of the object_1", "original_oid"),
    ]
    assert found.iloc[1, 4:-1].tolist() == [3, 2, 8, 6, 5, 3.5]
    assert found["Size in pixels"].dtype == found["Bounding Box Minimum_0"].dtype == np.int64


def test_features_follow_in_the_order_of_their_table_whatever_the_order_asked(labels, raw):
    found = table(labels, raw, ["kurtosis", "variance", "mean"])
    assert list(found)[-3:] == ["Mean Intensity", "Variance of Intensity", "Kurtosis of Intensity"]
    inside = raw[labels == 9]
    assert found.iloc[1, -3:-1].tolist() == pytest.approx([inside.mean(), inside.var()], rel=1e-5)


def test_several_channels_are_numbered_channel_by_channel(labels, raw):
    two = np.stack([raw, 2 * raw], -1)
    found = table(labels, two, ["mean_intensity"])
    assert list(found)[-2:] == ["Mean Intensity_0", "Mean Intensity_1"]
    np.testing.assert_allclose(found["Mean Intensity_1"], 2 * found["Mean Intensity_0"], 1e-12)


@pytest.mark.parametrize(
    ("shape", "axes", "said"),
    [
        ((20, 30), None, "yx"),
        ((20, 30, 2), None, "yxc"),
        ((2, 20, 30), None, "cyx"),
        ((30, 20), "xy", "xy"),
        ((20, 30, 1), "yxz", "yxz"),
    ],
)
def test_the_image_under_labels_may_have_channels_anywhere(labels, shape, axes, said):
    image = RNG.normal(size=shape).astype(np.float32)
    found = table(labels, image, ["mean_intensity"], raw_axes=axes)
    pixels = image.transpose([said.index(a) for a in "czyx" if a in said]).reshape(-1, 20, 30)
    assert found.iloc[1, 11:].tolist() == pytest.approx(pixels[:, labels == 9].mean(1), rel=1e-5)


def test_time_points_are_measured_one_by_one(labels, raw):
    movie = np.stack([labels, 0 * labels, labels[::-1]])
    found = table(movie, np.stack([raw, raw, raw]), ["mean_intensity"], axes="tyx")
    assert found["timestep"].tolist() == [0, 0, 0, 2, 2, 2]
    assert found["object_id"].tolist() == [0, 1, 2, 3, 4, 5]
    assert found["labelimage_oid"].tolist() == [1, 2, 3, 1, 2, 3]
    assert found["original_oid"].tolist() == [2, 9, 2**31] * 2


def test_volumes_have_three_coordinates(labels):
    found = table(np.stack([labels, labels, 0 * labels]))
    assert found.loc[1, [f"Bounding Box Maximum_{k}" for k in range(3)]].tolist() == [8, 6, 2]
    assert found["Center of the object_2"].tolist() == [0.5] * 3


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int16", "uint32", "uint64", ">i4"])
def test_labels_may_be_of_any_whole_type(dtype):
    image = np.zeros((6, 7))
    image[2:4, 2:5] = 1
    assert table(image.astype(dtype))["Size in pixels"].tolist() == [6]


@pytest.mark.parametrize("top", [7, 2**24 + 3, 2**40, 2**63 - 1])
def test_large_ids_are_kept(top):
    image = np.zeros((6, 7), np.uint64)
    image[1, 1], image[3:5, 3] = top, top - 1
    found = table(image)
    assert found["original_oid"].tolist() == [top - 1, top]
    assert found["Size in pixels"].tolist() == [2, 1]


def test_components_are_the_connected_parts_of_equal_value(labels):
    labels[4, 3:8] = 0
    found = table(labels, kind="components")
    assert found["Size in pixels"].tolist() == [10, 8, 5, 50]
    assert found["original_oid"].tolist() == [9, 2, 9, 2**31]


def test_an_image_without_objects_has_all_columns_and_no_row(labels, raw):
    full, none = table(labels, raw, "all"), table(0 * labels, raw, "all")
    assert list(none) == list(full)
    assert len(none) == 0
    assert [none[c].dtype.kind for c in none] == [full[c].dtype.kind for c in full]


def test_one_object_may_fill_the_image(raw):
    found = table(np.ones(raw.shape, np.uint8), raw, NOT_LOCATION)
    assert found["Size in pixels"].tolist() == [600]


def test_what_objects_offer_without_intensities_is_measured(labels):
    offered = {row.title for row in declared().values() if not row.advanced and not any(obstacle(row, 2, 0))}
    named = {c.rpartition("_")[0] if c[-1].isdigit() else c for c in table(labels, None, "all")}
    assert offered <= named
    assert not [c for c in table(labels, None, "all") if "ntensity" in c]


@pytest.mark.parametrize("word", ["mean_intensity", "Mean Intensity", "mean intensity", "Mean"])
def test_a_feature_is_found_by_id_title_and_name_in_ilastik(labels, raw, word):
    assert list(table(labels, raw, word))[-1] == "Mean Intensity"


def test_location_is_left_out_by_default(labels, raw):
    groups = {row.title: row.group for row in declared().values()}
    extra = [c for c in measure(labels, raw, backend="cpu") if groups.get(c.rpartition("_")[0]) == "Location"]
    assert {c.rpartition("_")[0] for c in extra} == {columns.LOW, columns.HIGH, columns.CENTER}


@pytest.mark.parametrize("margin", [(2, 3), (2, 3, 4)])
def test_margins_are_given_x_first(labels, raw, margin):
    seen = []

    def look(o):
        seen.append(o.margin)
        return o.sums("count")

    table(labels, raw, look, margin=margin)
    assert seen == [(4 if len(margin) == 3 else 1, 3, 2)]


def test_a_function_is_a_feature(labels, raw):
    def brightest(o):
        return o.each(lambda mask, image: image[0][mask].max())

    found = table(labels, raw, ["mean_intensity", brightest])
    assert found["brightest"].tolist() == [raw[labels == i].max() for i in (2, 9, 2**31)]


def test_a_function_may_give_several_numbers(labels, raw):
    def extent(o):
        return o.each(lambda mask, image: mask.shape)

    found = table(labels, None, [extent])
    assert found[["extent_0", "extent_1"]].to_numpy().tolist() == [[4, 2], [4, 5], [5, 10]]


@pytest.mark.parametrize("answer", [np.zeros(2), np.zeros((3, 2, 2)), np.array(["a", "b", "c"]), 5])
def test_a_function_that_gives_no_row_for_each_object_is_named(labels, answer):
    def mine(o):
        return answer

    with pytest.raises(InputError, match=r"'mine' gave .* for 3 objects"):
        table(labels, None, mine)


def test_two_features_of_one_name_are_refused(labels, raw):
    def twin(o):
        return o.sums("count")

    twin.__name__ = "Mean Intensity"
    with pytest.raises(InputError, match="two object features are called 'Mean Intensity'"):
        table(labels, raw, ["mean_intensity", twin])


def test_probabilities_have_columns_named_by_class(labels):
    proba = RNG.random((20, 30, 2)).astype(np.float32)
    found = table(labels, probabilities=proba, classes=["ground", "cell"])
    inside = proba[labels == 9]
    row = found.iloc[1]
    for i, name in enumerate(("ground", "cell")):
        assert row[f"Mean probability of {name}"] == pytest.approx(inside[:, i].mean(), rel=1e-5)
        assert row[f"Variance of probability of {name}"] == pytest.approx(inside[:, i].var(), rel=1e-4)
        assert row[f"Minimum probability of {name}"] == inside[:, i].min()
        assert row[f"Maximum probability of {name}"] == inside[:, i].max()
        assert row[f"Total probability of {name}"] == pytest.approx(inside[:, i].sum(), rel=1e-5)
    assert "Mean probability of Label 2" in table(labels, probabilities=proba)
    assert list(table(0 * labels, probabilities=proba)) == list(table(labels, probabilities=proba))


@pytest.mark.parametrize("block", [None, 16])
def test_probabilities_are_scaled_as_segment_does(labels, tmp_path, block):
    from gpuseg.io import Output, create_image

    stored = RNG.integers(0, 256, (20, 30, 2), np.uint8)
    expected = table(labels, probabilities=stored / np.float32(255), block=block)
    np.testing.assert_array_equal(table(labels, probabilities=stored, block=block), expected)
    with create_image(
        tmp_path / "p.h5", Output(stored.shape, stored.dtype, "yxc", drange=(0, 200))
    ) as writer:
        writer.write(tuple(map(slice, stored.shape)), stored.clip(0, 200))
    with open_image(tmp_path / "p.h5") as image:
        found = table(labels, probabilities=image, block=block)
    expected = table(labels, probabilities=stored.clip(0, 200) / np.float32(200), block=block)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("block", [None, 8])
def test_integers_that_float32_rounds_are_told_once(labels, caplog, block):
    large = np.full((20, 30), 2**24 + 1, np.uint32)
    table(labels, large, ["mean"], block=block)
    assert caplog.text.count("raw: has integers of 2^24 and more") == 1
    caplog.clear()
    table(labels, large // 2, ["mean"], block=block)
    assert not caplog.records


@pytest.mark.parametrize("how", [{"block": np.int64(16)}, {"block": 16.0}, {"margin": np.array([3.0, 2.0])}])
def test_numbers_may_be_of_any_type(labels, how):
    assert table(labels, **how).equals(table(labels))


def test_what_each_gets_must_be_as_many_numbers_for_every_object(labels):
    def ragged(o):
        return o.each(lambda mask, image: np.zeros(mask.shape[1]))

    def words(o):
        return o.each(lambda mask, image: "round")

    with pytest.raises(InputError, match=r"'ragged': 2 numbers for one object, 10 for another"):
        table(labels, None, ragged)
    with pytest.raises(InputError, match=r"'words': .* no numbers"):
        table(labels, None, words)


def test_lengths_have_their_unit_in_the_name(labels):
    found = table(labels, None, ["count", "radii"], spacing=(0.5, 0.25))
    plain = table(labels, None, ["count", "radii"])
    assert found["Size in pixels"].tolist() == [8, 20, 50]
    assert found["Size (µm²)"].tolist() == [1, 2.5, 6.25]
    assert plain["Radii of the object_0"][0] == pytest.approx(1.25**0.5)
    assert found["Radii of the object (µm)_0"][0] == pytest.approx(1.25**0.5 / 2)
    volume = table(np.stack([labels] * 2), None, "count", spacing=2.0, unit="nm")
    assert volume["Size (nm³)"].tolist() == [128, 320, 800]


def test_spacing_may_be_that_of_a_file(labels, tmp_path):
    from gpuseg.io import Output, create_image

    voxel = Voxel({"y": 0.5, "x": 0.5}, {"y": "micrometer", "x": "micrometer"})
    values = labels.clip(0, 9).astype(np.uint8)
    with create_image(tmp_path / "a.h5", Output((20, 30), values.dtype, "yx", voxel)) as writer:
        writer.write((slice(0, 20), slice(0, 30)), values)
    with open_image(tmp_path / "a.h5") as image:
        found = measure(image, features="count", spacing="file", backend="cpu")
    assert found["Size (µm²)"].tolist() == [2, 17.5]


def test_what_segment_gives_can_be_measured(raw):
    from gpuseg import segment

    proba = np.zeros((20, 30), np.float32)
    proba[4:12, 5:15] = 1
    found = measure(segment(proba, sigma=0.0, axes="yx"), raw, features=[], backend="cpu")
    assert found["Size in pixels"].tolist() == [80]


def test_progress_is_told(labels):
    told = []
    table(np.stack([labels] * 2), axes="tyx", progress=lambda *n: told.append(n))
    assert told == [(0, 2), (1, 2), (2, 2)]


def bad(**how):
    return {"labels": np.eye(20, 30, dtype=int), "raw": np.ones((20, 30), np.float32)} | how


@pytest.mark.parametrize(
    ("how", "error", "message"),
    [
        (
            bad(raw=np.ones((20, 31))),
            ShapeError,
            r"raw: has 20 \(y\) x 31 \(x\) pixels, labels has 20 .* x 30",
        ),
        (bad(raw=np.ones((4, 5, 20, 30))), ShapeError, "raw: has"),
        (bad(labels=np.eye(20, 30)), LabelError, "labels: pixels are float64, .* has integers"),
        (bad(labels=-np.eye(20, 30, dtype=int)), LabelError, "labels: label -1 at y 0, x 0"),
        (bad(labels=np.full((20, 30), 2**63, np.uint64)), LabelError, "label 9223372036854775808"),
        (bad(labels=np.eye(20, 30, dtype=complex)), InputError, "labels: is of type complex128"),
        (bad(labels=np.ma.array(np.eye(20, 30, dtype=int))), InputError, "labels: is a masked array"),
        (bad(labels=np.zeros((0, 30), int)), ShapeError, "labels: axis y has size 0"),
        (bad(labels=np.zeros(30, int)), ShapeError, "labels: an array of 1 axes"),
        (bad(labels=np.ones((20, 30, 3), int), axes="yxc"), ShapeError, "has 3 channels, .* has one"),
        (bad(labels=np.ones((20, 30, 3), int), axes="yx"), ShapeError, "labels: axes 'yx' name 2 axes"),
        (bad(raw=np.full((20, 30), np.nan)), InputError, "raw: 600 pixels are NaN.* first at y 0, x 0"),
        (bad(raw=np.full((20, 30), 1e300)), InputError, "raw: 600 pixels"),
        (
            bad(features="mean_intensty"),
            InputError,
            "unknown object feature 'mean_intensty'(.|\n)*'Mean Intensity'",
        ),
        (bad(features=""), InputError, "unknown object feature ''"),
        (
            bad(features="mean_intensity", raw=None),
            InputError,
            "needs intensities, and there is no raw image",
        ),
        (bad(features="histogram", raw=np.ones((20, 30, 2))), InputError, "one channel, the raw image has 2"),
        (bad(features="covariance"), InputError, "several channels, the raw image has 1"),
        (bad(features="Number of Branches", labels=np.ones((9, 20, 30), int), raw=None), InputError, "in 2D"),
        (bad(margin=(30,)), InputError, r"margin \(30,\)"),
        (bad(margin=(30, -1)), InputError, "margin"),
        (bad(margin=5), InputError, "margin 5"),
        (bad(margin=(np.inf, 1)), InputError, "margin"),
        (bad(features=[3]), InputError, "object feature 3"),
        (bad(features=None), InputError, "features None"),
        (bad(spacing=["a"]), InputError, r"spacing \['a'\]"),
        (bad(spacing=[[1], [2, 3]]), InputError, "spacing"),
        (bad(spacing=1.0, unit=2), InputError, "in unit 2"),
        (bad(block="8"), InputError, "block '8'"),
        (bad(block=[[8], [8, 8]]), InputError, "block"),
        (bad(block=True), InputError, "block True"),
        (bad(classes="ab", probabilities=np.ones((20, 30, 2))), InputError, "classes 'ab'"),
        (bad(classes=[1, 2], probabilities=np.ones((20, 30, 2))), InputError, r"classes \[1, 2\]"),
        (bad(classes=2, probabilities=np.ones((20, 30, 2))), InputError, "classes 2"),
        (bad(spacing=0), InputError, "spacing 0"),
        (bad(spacing="micro"), InputError, "spacing 'micro'"),
        (bad(spacing="file"), InputError, "does not say how large a pixel is along y, x"),
        (bad(margin=(10**12, 5)), InputError, "two or three whole numbers of pixels"),
        (bad(spacing=Voxel({"y": 1, "x": 1}, {"y": "nm", "x": "mm"})), InputError, "measured in mm and nm"),
        (bad(block=0), InputError, "block 0"),
        (bad(block=8, kind="components"), InputError, "components cannot be numbered tile by tile"),
        (bad(kind="islands"), InputError, "kind 'islands'"),
        (bad(classes=["a"]), InputError, "1 names of classes for 0 channels"),
        (bad(probabilities=np.ones((20, 30, 2)), classes=["a", "a"]), InputError, "names of classes for 2"),
        (bad(probabilities=np.ones((21, 30, 2))), ShapeError, "probabilities: has 21"),
        (bad(probabilities=np.full((20, 30), 7.0)), InputError, "probabilities: has values from 7 to 7"),
        (bad(probabilities=np.full((20, 30), np.nan)), InputError, "probabilities: 600 pixels are NaN"),
        (bad(probabilities=np.ones((20, 30), np.uint32)), InputError, "probabilities: pixels are uint32"),
        (bad(probabilities=np.ones((20, 30), np.int8)), InputError, "probabilities: pixels are int8"),
    ],
)
def test_bad_input_is_named(how, error, message):
    with pytest.raises(error, match=message):
        measure(how.pop("labels"), how.pop("raw"), backend="cpu", **{"features": "mean_intensity"} | how)


def test_each_sees_an_object_in_its_box(labels, raw):
    seen = []
    inside = np.int32(labels == 9)
    inside[3, 4] = 2
    o = context.Objects(_cpu(), inside[None], 2, np.stack([raw, -raw])[:, None])
    o.each(lambda mask, image: seen.append((mask, image)) or 0)
    mask, image = seen[0]
    np.testing.assert_array_equal(mask, (inside == 1)[2:6, 3:8])
    np.testing.assert_array_equal(image, np.stack([raw, -raw])[:, 2:6, 3:8])
    assert seen[1][0].shape == (1, 1)


def _cpu():
    from gpuseg.backends import get_backend

    return get_backend("cpu")


@pytest.mark.parametrize("shape", [(40, 50), (9, 20, 24)])
def test_the_gpu_measures_what_the_cpu_does(host_cuda, shape):
    """Every feature: integers are the same, others equal to rounding."""
    ids = RNG.integers(0, 6, [-(-n // 8) for n in shape])
    image = np.kron(ids, np.ones([8] * len(shape), int))[tuple(map(slice, shape))]
    names = [name for name, row in declared().items() if not any(obstacle(row, len(shape), 1))]
    under = RNG.normal(100, 10, shape).astype(np.float32)
    axes = "zyx"[-len(shape) :]
    cpu, gpu = (measure(image, under, features=names, axes=axes, backend=b) for b in ("cpu", "cuda"))
    whole = [name for name in cpu if cpu[name].dtype.kind == "i"]
    assert len(whole) > 64
    np.testing.assert_array_equal(gpu[whole], cpu[whole])
    np.testing.assert_allclose(gpu, cpu, 1e-9, 1e-12)


def test_what_is_measured_is_left_untouched(labels, raw):
    labels[:, 0] = 700  # not all ids up to the largest are there
    for dtype in (np.int32, np.int64):
        given, under = (labels % 2**20).astype(dtype), raw.copy()
        measure(given, under, features="mean", backend="cpu", kind="components")
        np.testing.assert_array_equal(given, labels % 2**20)
        np.testing.assert_array_equal(under, raw)
