"""Export settings: what of a result is written, as which values, in which order of axes, and where."""

import logging

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpuseg.axes import LETTERS, Voxel, reorder
from gpuseg.errors import InputError, ShapeError
from gpuseg.export import ExportSettings, Made, Sink, cutout_of
from gpuseg.export.values import renormalised
from gpuseg.tiles import tiles

SIZES = {"t": 3, "z": 4, "y": 6, "x": 7, "c": 1}
FLOAT = np.dtype(np.float32)


class Memory:
    """A writer that keeps everything, and how often each pixel was written."""

    def __init__(self, target):
        output = target.output
        self.values, self.count = np.zeros(output.shape, output.dtype), np.zeros(output.shape, int)

    def write(self, region, values):
        assert values.dtype == self.values.dtype
        assert values.shape == self.values[region].shape
        self.values[region] = values
        self.count[region] += 1


def target_of(made=None, axes="tzyxc", sizes=SIZES, image="in/a.tif", voxel=None, **asked):
    made = made or Made("features", FLOAT, channels=2)
    return ExportSettings.of(**asked).target(image, axes, sizes, voxel or Voxel(), made)


def stored(values, made, size=None, **asked):
    """What becomes of (t, z, y, x, n) values, put in tiles of `size`: the file's, and the sink."""
    sizes = dict(zip("tzyx", values.shape[:4], strict=True)) | {"c": 1}
    target = target_of(made, sizes=sizes, **asked)
    sink = Sink(target, memory := Memory(target))
    for t, volume in enumerate(values):
        for tile in tiles(volume.shape[:3], size or volume.shape[:3], (0, 0, 0)):
            sink.put(t, tile.core, volume[tile.core])
    assert (memory.count == 1).all()
    return memory.values, sink


def row(*values, dtype="f4"):
    """An image of one row."""
    return np.array(values, dtype).reshape(1, 1, 1, -1, 1)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("x:10:200,y::50, z:3: ", (("x", 10, 200), ("y", None, 50), ("z", 3, None))),
        ("c:0:1", (("c", 0, 1),)),
        ({"x": (10, 200), "y": slice(50)}, (("x", 10, 200), ("y", None, 50))),
        ({"x": (np.int64(1), None)}, (("x", 1, None),)),
        ([("x", 1, 2)], (("x", 1, 2),)),
        ("[(0,0),(50,None)]", (("", 0, 50), ("", 0, None))),
        ("((None, 1, 0), (2, 3, 1))", (("", None, 2), ("", 1, 3), ("", 0, 1))),
        (None, ()),
    ],
)
def test_a_cutout_is_written_in_several_ways(given, expected):
    assert cutout_of(given) == expected
    assert cutout_of(expected) == expected


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("x", "'x' is not AXIS:START:STOP"),
        ("x:1", "'x:1' is not AXIS"),
        ("x:-:2", "is not AXIS"),
        ("x:a:2", "is not AXIS"),
        ("", "'' is not AXIS"),
        ("w:1:2", "'w' is no axis"),
        ("zy:1:2", "'zy' is no axis"),
        ("x:1:2,x:3:4", "'x' is there twice"),
        ("x:5:5", "5 to 5 is empty"),
        ({"x": 3}, "3 is not a start and a stop"),
        ({"x": (1, 2, 3)}, "is not a start and a stop"),
        ({"x": slice(1, 9, 2)}, "is not a start and a stop"),
        ({"x": (0.5, 2)}, "is not a start and a stop"),
        ([("x", 1)], "is not an axis, a start and a stop"),
        ("[(0,0),(1,)]", "two tuples"),
        ("[(0,0)]", "two tuples"),
        ("[(0,b),(1,1)]", "two tuples"),
    ],
)
def test_a_cutout_that_makes_no_sense_is_refused(given, told):
    with pytest.raises(InputError, match=told):
        cutout_of(given)


@pytest.mark.parametrize("axis", LETTERS)
def test_each_axis_can_be_cut(axis):
    values = np.random.default_rng(0).random((3, 4, 6, 7, 2), np.float32)
    made, _ = stored(values, Made("features", FLOAT, channels=2), cutout={axis: (1, 2)})
    np.testing.assert_array_equal(made, values.take([1], LETTERS.index(axis)))


@pytest.mark.parametrize(
    ("axes", "corners"),
    [
        ("tzyxc", "[(1,0,2,0,0),(2,None,5,7,1)]"),
        ("xyzt", "[(0,2,0,1),(7,5,None,2)]"),
        ("xyzt", "[(0,2,0,1,0),(7,5,None,2,1)]"),  # ilastik lets an image without channels end with one
    ],
)
def test_corners_are_in_the_order_of_the_image(axes, corners):
    target = target_of(axes=axes, cutout=corners)
    assert [target.region[a] for a in "tzyx"] == [slice(1, 2), slice(0, 4), slice(2, 5), slice(0, 7)]


def test_corners_for_other_axes_than_those_of_the_image_are_refused():
    with pytest.raises(ShapeError, match=r"in/a.tif: cutout of 5 axes of an image with axes yxc"):
        target_of(axes="yx", cutout="[(0,0,0,0,0),(1,1,1,1,1)]")


def test_what_lies_beyond_the_image_is_cut_off_with_a_warning(tmp_path, caplog):
    target = target_of(cutout="x:2:900,t:-4:2,y::3", output=f"{tmp_path}/a.npy")
    assert target.output.shape == (2, 4, 3, 5, 2)
    with pytest.raises(ShapeError, match="pixels were written"), target.open():
        pass
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert (
        "a.npy: the cutout goes beyond the image: t:-4:2 is t:0:2 here, x:2:900 is x:2:7 here" in caplog.text
    )


@pytest.mark.parametrize("cutout", ["x:7:9", "t:3:", "y:-3:0", "c:2:"])
def test_a_cutout_that_leaves_nothing_is_refused(cutout):
    with pytest.raises(ShapeError, match=f"in/a.tif: cutout {cutout} leaves nothing of {cutout[0]} 0 to "):
        target_of(cutout=cutout)


@pytest.mark.parametrize(
    ("values", "expected"),
    [([0, 0.5, 1], [10, 60, 110]), ([-1, 2], [-90, 210])],
    ids=["within", "beyond"],
)
def test_renormalising_maps_one_range_to_the_other_without_an_end(values, expected):
    made, _ = stored(row(*values), Made("probabilities", FLOAT), renormalise=(0, 1, 10, 110))
    assert made.dtype == np.float32
    assert made.ravel().tolist() == expected


def test_renormalising_is_done_in_float32():
    values = np.random.default_rng(1).random(1000, np.float32)
    expected = np.float32(3) + (values - np.float32(0.1)) * np.float32(97) / np.float32(
        np.float32(0.7) - np.float32(0.1)
    )
    assert renormalised(values, (0.1, 0.7, 3, 100)).tolist() == expected.tolist()


def test_renormalised_values_are_rounded_half_to_even(caplog):
    values = row(0.5, 1.5, 2.5, 2.6, -0.5)
    made, sink = stored(values, Made("features", FLOAT), renormalise="0,1,0,1", dtype="int16")
    assert made.ravel().tolist() == [0, 2, 2, 3, 0]
    sink.tell()
    assert not caplog.records


def test_labels_can_be_renormalised_and_are_labels_no_more():
    made = Made("segmentation", np.dtype("u1"), colors=((1, 2, 3),))
    target = target_of(made, renormalise="1,2,0,255", dtype="uint8")
    assert (target.output.kind, target.output.colors, target.output.drange) == ("image", (), (0, 255))
    values, _ = stored(row(1, 2, dtype="u1"), made, renormalise="1,2,0,255")
    assert values.ravel().tolist() == [0, 255]


@pytest.mark.parametrize(
    "given", ["0,1,0", "0,1,0,a", (0, 1, 0), 5, "1,0,0,255", "1,1,0,255", "0,nan,0,1", "0,1,0,inf"]
)
def test_numbers_that_are_no_ranges_are_refused(given):
    with pytest.raises(InputError, match=r"renormalise .*: (four numbers|IN_MAX must be above)"):
        ExportSettings.of(renormalise=given)


def test_a_plain_cast_cuts_fractions_off_and_says_so_once(caplog):
    values = row(-1.7, 0.9, 1.2, 3)
    made, sink = stored(values, Made("features", FLOAT), size=(1, 1, 2), dtype="int32", output="a.h5")
    assert made.ravel().tolist() == [-1, 0, 1, 3]
    assert not caplog.records
    sink.tell()
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert record.getMessage().startswith("a.h5: 3 values lost their fraction, as int32 has none")


@pytest.mark.parametrize(
    ("dtype", "values", "expected", "count"),
    [
        ("uint8", [-3, 255, 256, 1e9], [0, 255, 255, 255], 3),
        ("int8", [-129, -128, 128], [-128, -128, 127], 2),
        ("int32", [-3e9, 3e9, 2**31], [-(2**31), 2**31 - 1, 2**31 - 1], 3),
        ("uint64", [-1, 2.0**64, 2.0**40], [0, 2**64 - 1, 2**40], 2),
        ("int64", [2.0**63, -(2.0**63)], [2**63 - 1, -(2**63)], 1),
        ("uint16", [np.nan, np.inf, -np.inf], [0, 65535, 0], 3),
    ],
)
@pytest.mark.parametrize("more", [{}, {"renormalise": "0,1,0,1"}], ids=["cast", "renormalised"])
def test_values_beyond_the_type_are_set_to_its_ends_and_told_once(
    dtype, values, expected, count, more, caplog
):
    made, sink = stored(row(*values), Made("features", FLOAT), dtype=dtype, **more)
    assert made.ravel().tolist() == expected
    sink.tell()
    (told,) = (r.getMessage() for r in caplog.records if "set to the nearest in it" in r.getMessage())
    assert f": {count} values beyond" in told


def test_whole_numbers_are_clipped_too():
    values, _ = stored(row(-5, 300, 7, dtype="i4"), Made("features", np.dtype("i4")), dtype="uint8")
    assert values.ravel().tolist() == [0, 255, 7]


@pytest.mark.parametrize("result", ["probabilities", "uncertainty", "object probabilities"])
def test_results_of_0_to_1_fill_small_integers(result, caplog):
    made = Made(result, FLOAT, drange=(0, 1))
    values, sink = stored(row(0, 0.5 / 255, 1.5 / 255, 1), made, dtype="uint8")
    assert values.ravel().tolist() == [0, 0, 2, 255]
    assert sink.target.output.drange == (0, 255)
    sink.tell()
    assert not caplog.records
    kept, _ = stored(row(0, 3, 255, dtype="u1"), made, dtype="uint8")  # scaled on the backend already
    assert kept.ravel().tolist() == [0, 3, 255]


def test_other_integers_cut_probabilities_to_0_and_1():
    values, sink = stored(row(0, 0.9, 1), Made("probabilities", FLOAT, drange=(0, 1)), dtype="int16")
    assert values.ravel().tolist() == [0, 0, 1]
    assert sink.target.scaled is None
    assert sink.target.output.drange == (0, 1)


@pytest.mark.parametrize(("dtype", "most"), [("uint8", 255), ("float32", 2**24), ("int16", 2**15 - 1)])
def test_labels_that_would_become_others_are_refused(dtype, most):
    made = Made("object identities", np.dtype("u4"))
    values, _ = stored(row(most, dtype="u4"), made, dtype=dtype)
    assert values.ravel().tolist() == [most]
    with pytest.raises(InputError, match=f"Identities.h5: label {most + 1} .* no label above {most}"):
        stored(row(0, most + 1, dtype="u4"), made, dtype=dtype)


@pytest.mark.parametrize("axes", ["tzyxc", "xyzct", "yx"])
@pytest.mark.parametrize("order", ["cxyzt", "tyxzc"])
def test_axes_are_reordered_and_missing_ones_inserted(axes, order):
    values = np.random.default_rng(0).random((1, 1, 4, 5, 2), np.float32)
    made, sink = stored(values, Made("features", FLOAT, channels=2), axes=axes, axis_order=order)
    assert sink.target.output.axes == order
    np.testing.assert_array_equal(made, reorder(values, "tzyxc", order))


def test_an_axis_with_more_than_one_place_is_not_dropped():
    with pytest.raises(ShapeError, match=r"in/a.tif: axis order 'zyx' has no t, of which features have 3"):
        target_of(axis_order="zyx")
    with pytest.raises(ShapeError, match=r"has no c, of which features have 2\n.*c:0:1"):
        target_of(axis_order="tzyx")
    assert target_of(axis_order="yx", cutout="t:1:2,z:0:1,c:1:").output.shape == (6, 7)


@pytest.mark.parametrize("order", ["zy", "yxx", "yxw", ""])
def test_an_order_that_no_image_has_is_refused(order):
    with pytest.raises(InputError, match=f"axis order '{order}': each of tzyxc at most once"):
        ExportSettings.of(axis_order=order)


def test_channel_names_and_pixel_sizes_go_with_what_is_cut_out():
    made = Made("probabilities", FLOAT, channels=3, channel_names=("a", "b", "c"), provenance="{}")
    voxel = Voxel({"x": 0.5})
    output = target_of(made, cutout="c:1:", voxel=voxel).output
    assert (output.channel_names, output.voxel, output.provenance) == (("b", "c"), voxel, "{}")


@pytest.mark.parametrize(
    ("placeholder", "expected"),
    [
        ("{dataset_dir}", "in"),
        ("{nickname}", "a"),
        ("{result_type}", "Features"),
        ("{roi}", "t0-3_z0-4_y1-6_x2-5_c0-2"),
        ("{t_start}", "0"),
        ("{t_stop}", "3"),
        ("{z_start}", "0"),
        ("{z_stop}", "4"),
        ("{y_start}", "1"),
        ("{y_stop}", "6"),
        ("{x_start}", "2"),
        ("{x_stop}", "5"),
        ("{c_start}", "0"),
        ("{c_stop}", "2"),
    ],
)
def test_every_placeholder_is_filled_in(placeholder, expected):
    target = target_of(cutout="x:2:5,y:1:900", output=f"o_{placeholder}.h5")
    assert target.path == f"o_{expected}.h5"


def test_the_roi_has_the_axes_of_the_image():
    assert target_of(axes="xyzt", output="{roi}.h5").path == "x0-7_y0-6_z0-4_t0-3_c0-2.h5"


def test_axes_that_an_image_lacks_have_one_place():
    made = Made("uncertainty", FLOAT)
    assert target_of(made, axes="yx", sizes={"y": 6, "x": 7}, output="{z_stop}{c_stop}.h5").path == "11.h5"


def test_png_takes_the_widest_labels_it_can():
    made = Made("object identities", np.dtype("u4"))
    flat = {"y": 6, "x": 7}
    assert target_of(made, axes="yx", sizes=flat, output="a.png").output.dtype == np.uint16
    assert target_of(made, axes="yx", sizes=flat, output="a.tif").output.dtype == np.uint32


def test_what_a_format_cannot_hold_is_refused_before_anything_is_computed():
    flat = {"y": 6, "x": 7}
    with pytest.raises(InputError, match=r"a\.png: PNG holds uint8 or uint16"):
        target_of(axes="yx", sizes=flat, output="a.png")
    with pytest.raises(InputError, match=r"a\.jpeg: JPEG changes pixel values a little"):
        target_of(Made("labels", np.dtype("u1")), axes="yx", sizes=flat, output="a", format="jpeg")
    with pytest.raises(InputError, match=r"its name has 2\d\d bytes, at most 255"):
        target_of(output=f"{'n' * 240}_{{slice_index}}_{{x_stop}}{{roi}}", format="multipage tiff sequence")


def test_a_sequence_has_a_file_for_each_place_of_the_first_axis():
    made = Made("segmentation", np.dtype("u1"))
    target = target_of(made, format="multipage tiff sequence", output="s{slice_index}_{x_stop}.tif")
    assert target.files == ("s0000_7.tif", "s0001_7.tif", "s0002_7.tif")
    assert target.path == "s{slice_index}_7.tif"
    default = target_of(made, format="PNG sequence", cutout="t:0:1")
    assert default.files[-1] == "in/a_Simple Segmentation_0003.png"


@st.composite
def requests(draw):
    """Sizes, a tile, a cutout and an order of axes."""
    n = {a: draw(st.integers(1, 5)) for a in LETTERS}
    tile = tuple(draw(st.integers(1, n[a])) for a in "zyx")
    ends = {a: sorted(draw(st.tuples(st.integers(0, n[a]), st.integers(0, n[a])))) for a in LETTERS}
    cutout = {a: e for a, e in ends.items() if e[0] < e[1] and draw(st.booleans())}
    return n, tile, cutout, "".join(draw(st.permutations(LETTERS)))


@settings(max_examples=150)
@given(requests())
def test_tiles_change_nothing(request):
    n, tile, cutout, order = request
    values = np.random.default_rng(0).normal(0, 100, [n[a] for a in "tzyxc"]).astype(np.float32)
    made, _ = stored(
        *(values, Made("features", FLOAT, channels=n["c"]), tile),
        cutout=cutout,
        renormalise="-100,100,0,255",
        dtype="uint8",
        axis_order=order,
    )
    part = values[tuple(slice(*cutout.get(a, (0, n[a]))) for a in "tzyxc")]
    rounded = np.clip(np.rint((part + np.float32(100)) * np.float32(255) / np.float32(200)), 0, 255)
    np.testing.assert_array_equal(made, reorder(rounded.astype(np.uint8), "tzyxc", order))


def test_what_is_asked_twice_is_told_once_per_file(tmp_path, caplog):
    made = Made("features", FLOAT)
    with caplog.at_level(logging.WARNING):
        target = target_of(made, axes="yx", sizes={"y": 2, "x": 2}, output=f"{tmp_path}/a.npy", dtype="uint8")
        with target.open() as sink:
            for x in (0, 1):
                sink.put(0, (slice(0, 1), slice(0, 2), slice(x, x + 1)), np.full((1, 2, 1, 1), 300.5, "f4"))
    assert [r.getMessage().split(":")[1].split()[:4] for r in caplog.records] == [
        ["4", "values", "lost", "their"],
        ["4", "values", "beyond", "0"],
    ]
    assert np.load(tmp_path / "a.npy").tolist() == [[255, 255], [255, 255]]
