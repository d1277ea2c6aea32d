"""Labels of objects: where they are kept, and which objects of another segmentation have them."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from gpuseg.classes import LabelClass, class_color
from gpuseg.errors import InputError, LabelError, ShapeError
from gpuseg.io import open_image
from gpuseg.object import positions
from gpuseg.object.label_files import read_all_labels, read_labels
from gpuseg.object.labels import ObjectLabels, decide
from gpuseg.objects.pixels import labelled

CELLS = np.array([[7, 7, 7, 0, 0], [0, 0, 0, 0, 9], [3, 0, 0, 9, 9]])
IMAGES = st.integers(1, 3).flatmap(
    lambda z: st.tuples(st.integers(1, 6), st.integers(1, 7)).flatmap(
        lambda yx: arrays(np.int64, (z, *yx), elements=st.integers(0, 4))
    )
)


def rows(labels):
    columns = (labels.t, labels.id, labels.position, labels.value)
    return list(zip(labels.image, *(c.tolist() for c in columns), strict=True))


def nearest(image, id):
    """The pixel of an object nearest to its centroid, the first of equal ones, in whole numbers."""
    places = [tuple(int(i) for i in p) for p in np.argwhere(image == id)]
    n, sums = len(places), np.sum(places, 0).tolist()
    return min(places, key=lambda p: (sum((n * a - s) ** 2 for a, s in zip(p, sums, strict=True)), p))


@pytest.fixture
def small_tiles(monkeypatch):
    monkeypatch.setattr(positions, "TILE", 4)


@pytest.mark.parametrize(
    "classes_of",
    [
        {7: 1, 9: 2},
        {(0, 7): 1, (0, 9): 2},
        [0, 0, 0, 0, 0, 0, 0, 1, 0, 2],
        np.array([0, 0, 0, 0, 0, 0, 0, 1, 0, 2], np.uint8),
        [{7: 1, 9: 2}],
        [[0, 0, 0, 0, 0, 0, 0, 1, 0, 2]],
        {9: "long", 7: "round", 3: 0},
        {7: 1, 9: 2, 3: ""},
        {np.int64(7): np.uint8(1), np.uint16(9): 2, 0: 0},
    ],
)
def test_objects_are_kept_by_a_pixel_inside(classes_of):
    labels = ObjectLabels.of(CELLS, classes_of, names=["round", "long"], image="a.tif")
    assert rows(labels) == [("a.tif", 0, 7, [0, 0, 1], 1), ("a.tif", 0, 9, [0, 2, 4], 2)]
    assert labels.names == {1: "round", 2: "long"}
    assert [c.tolist() for c in labels.resolve_all(CELLS)[0]] == [[0, 0, 1, 2]]


def test_the_pixel_of_a_ring_is_on_the_ring():
    y, x = np.indices((21, 21)) - 10
    ring = np.where(abs(y**2 + x**2 - 64) < 17, 5, 0)
    place = ObjectLabels.of(ring, {5: 1}).position[0]
    assert ring[10, 10] == 0
    assert ring[tuple(place[1:])] == 5
    assert place.tolist() == list(nearest(ring[None], 5))


@given(IMAGES)
def test_the_pixel_is_the_nearest_to_the_centroid(image):
    ids = np.unique(image[image > 0])
    found = positions.inside(labelled(image, "zyx"), 0, ids)
    assert found.tolist() == [list(nearest(image, i)) for i in ids]


@given(IMAGES)
def test_tiles_do_not_change_the_pixel(image):
    pixels, ids = labelled(image, "zyx"), np.array([4, 1, 2, 3, 9])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(positions, "TILE", 4)
        found, there = positions.inside(pixels, 0, ids), positions.ids_at(pixels, 0)
        at = positions.values_at(pixels, 0, np.argwhere(image >= 0))
    np.testing.assert_array_equal(found, positions.inside(pixels, 0, ids))
    np.testing.assert_array_equal(at, image.reshape(-1))
    assert there.tolist() == sorted(set(image[image > 0].tolist()))


def test_an_object_that_is_not_there_has_no_pixel():
    found = positions.inside(labelled(CELLS), 0, np.array([8, 7]))
    assert found.tolist() == [[-1, -1, -1], [0, 0, 1]]


def test_ids_may_exceed_32_bits():
    huge = CELLS.astype(np.uint64) << np.uint64(40)
    labels = ObjectLabels.of(huge, {9 << 40: 2, 7 << 40: 1})
    assert labels.id.tolist() == [7 << 40, 9 << 40]
    assert labels.resolve(huge).classes.tolist() == [0, 0, 1, 2]


def test_time_points_have_objects_of_their_own(small_tiles):
    movie = np.stack([CELLS, 0 * CELLS, CELLS.T.reshape(3, 5) * 2])
    labels = ObjectLabels.of(movie, {(2, 6): 1, (0, 9): 2, (0, 3): 1}, axes="tyx")
    assert labels.t.tolist() == [0, 0, 2]
    found, lost = labels.resolve_all(movie, axes="tyx")
    assert [f.tolist() for f in found] == [[0, 1, 0, 2], [0], [0, 1, 0, 0]]
    assert not lost
    listed = [[0, 0, 0, 1, 0, 0, 0, 0, 0, 2], {}, {6: 1}]
    assert rows(ObjectLabels.of(movie, listed, axes="tyx")) == rows(labels)


@pytest.mark.parametrize("count", [0, 1, 2])
def test_few_objects_are_no_trouble(count):
    image = np.array([[0, 4, 0, 6]]) * ([[0, count > 0, 0, count > 1]])
    given = dict(list({4: 1, 6: 2}.items())[:count])
    labels = ObjectLabels.of(image, given)
    found = labels.resolve(image)
    assert len(labels) == count
    assert found.classes.tolist() == [0, 1, 2][: count + 1]
    assert not found.lost
    assert len(labels.join(labels.restrict("none")).at("", 0)) == count
    assert labels.located(image).position.shape == (count, 3)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({5: 1, 7: 2}, "labels: has no object 5"),
        ({i: 1 for i in range(10, 30)}, "has no object 10, 11, 12, 13, 14 and 15 more"),
        ([0] * 10 + [1], "has no object 10"),
        ({0: 1}, "object 0 has class 1; objects have ids from 1"),
        ({-7: 1}, "object -7 has class 1"),
        ([1, 0], "object 0 has class 1"),
        ({2**63: 1}, "object 9223372036854775808 has class 1"),
        ({7: -1}, "class -1; classes are 1 to 65535"),
        ({7: 65536}, "class 65536; classes are 1 to"),
        ({7: 1.5}, "class 1.5; classes"),
        ({7: True}, "class True; classes"),
        ({7.0: 1}, "object 7.0: keys are ids"),
        ({"7": 1}, "object '7': keys are ids"),
        ({7: "round"}, r"class 'round' is not known\n.*give names"),
        ({7: 1, (0, 7): 2}, "object 7 of time point 0 has two classes, 1 and 2"),
        ({(1, 7): 1}, "object 7 of time point 1: the image has 1, from 0"),
        ([{7: 1}, {7: 1}], "has 1 time points, classes are given for 2"),
        ("7", "classes are of type str"),
        (7, "classes are of type int"),
    ],
)
def test_wrong_classes_are_named(given, message):
    with pytest.raises(LabelError, match=message):
        ObjectLabels.of(CELLS, given)


def test_an_id_of_a_movie_needs_its_time_point():
    with pytest.raises(LabelError, match=r"object 7: its time point is not given, the image has 2"):
        ObjectLabels.of(np.stack([CELLS] * 2), {7: 1}, axes="tyx")
    with pytest.raises(LabelError, match="has no object 5 at time point 1"):
        ObjectLabels.of(np.stack([CELLS] * 2), {(1, 5): 1}, axes="tyx")


def test_an_unknown_name_is_told_with_those_that_are():
    with pytest.raises(LabelError, match=r"class 'log' is not known\n.*named are round, long"):
        ObjectLabels.of(CELLS, {7: "log"}, names=["round", "long"])


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("round", "names 'round'"),
        ({0: "none"}, "names: class 0; classes are 1 to"),
        ({"a": "b"}, "names: class 'a'"),
        (["a", "a"], r"class 2 \(a\): its value or name is that of another class"),
        (["a", ""], "class 2 has the name ''"),
        ([1], "class 1 has the name 1"),
    ],
)
def test_wrong_names_are_refused(names, message):
    with pytest.raises(LabelError, match=message):
        ObjectLabels.of(CELLS, {7: 1}, names=names)


def test_classes_that_nobody_named_get_free_names():
    labels = ObjectLabels.of(CELLS, {7: 4}, names={2: "Label 3"})
    assert labels.names == {1: "Label 1", 2: "Label 3", 3: "Label 4", 4: "Label 5"}
    assert [c.color for c in labels.classes] == [class_color(v) for v in (1, 2, 3, 4)]


def test_a_new_threshold_keeps_the_labels_of_what_is_still_there():
    labels = ObjectLabels.of(CELLS, {7: 1, 9: 2, 3: 2})
    other = np.array([[0, 1, 1, 1, 0], [0, 0, 0, 0, 0], [0, 0, 0, 2, 2]])  # 9 is smaller, 3 is gone
    found = labels.resolve(other)
    assert found.classes.tolist() == [0, 1, 2]
    (lost,) = found.lost
    assert (lost.id, lost.position, lost.value) == (3, (0, 2, 0), 2)
    assert str(lost) == "object 3, z 0, y 2, x 0, class 2: there is no object at its position"


def test_the_position_counts_where_ids_were_given_anew():
    found = ObjectLabels.of(CELLS, {7: 1, 9: 2}).resolve(np.where(CELLS, 10 - CELLS, 0))
    assert found.classes.tolist() == [0, 2, 1, 0]


def test_the_id_counts_where_no_position_is_known():
    unknown = np.full((2, 3), -1)
    labels = ObjectLabels(("", ""), np.zeros(2, int), np.array([9, 5]), unknown, np.array([2, 1]))
    found = labels.resolve(CELLS)
    assert found.classes.tolist() == [0, 0, 0, 2]
    assert [x.reason for x in found.lost] == ["object 5 is not among the objects"]
    assert str(found.lost[0]) == "object 5, class 1: object 5 is not among the objects"


def test_labels_of_two_classes_on_one_object_are_both_lost():
    labels = ObjectLabels.at_positions([[0, 0], [0, 2], [1, 4]], [1, 2, 2], names=["round", "long"])
    found = labels.resolve(CELLS)
    assert found.classes.tolist() == [0, 0, 0, 2]
    assert [x.position for x in found.lost] == [(0, 0, 0), (0, 0, 2)]
    assert {x.reason for x in found.lost} == {"object 7 is labelled 1 (round) and 2 (long)"}


def test_labels_of_one_class_on_one_object_are_one():
    found = ObjectLabels.at_positions([[0, 0], [0, 2]], [2, 2]).resolve(CELLS)
    assert found.classes.tolist() == [0, 0, 2, 0]
    assert not found.lost


def test_a_position_outside_is_lost():
    found = ObjectLabels.at_positions([[0, 5], [9, 0]], [1, 1]).resolve(CELLS)
    assert [x.reason for x in found.lost] == ["its position is outside of the image"] * 2


def test_an_object_that_was_left_out_is_lost_by_its_value():
    labels = ObjectLabels.of(CELLS, {7: 1, 9: 2})
    found = decide(labels, np.array([7, 9], np.uint64), np.array([9]))
    assert found.classes.tolist() == [0, 2]
    assert [x.reason for x in found.lost] == ["object 7 at its position is not among the objects"]


def test_neighbouring_huge_ids_are_told_apart():
    ids = np.array([2**62, 2**62 + 1])
    found = decide(ObjectLabels.at_positions([[0, 0]], [1]), ids[1:].astype(np.uint64), ids)
    assert found.classes.tolist() == [0, 0, 1]


@given(IMAGES, IMAGES, st.data())
def test_every_label_is_of_an_object_or_lost(old, new, data):
    ids = np.unique(old[old > 0]).tolist()
    given = data.draw(st.fixed_dictionaries({}, optional={i: st.integers(1, 3) for i in ids}))
    labels = ObjectLabels.of(old, given, axes="zyx")
    found = labels.resolve(new, axes="zyx")
    lost = {x.id for x in found.lost}
    for _, _, id, place, value in rows(labels):
        inside = all(i < n for i, n in zip(place, new.shape, strict=True))
        there = int(new[tuple(place)]) if inside else 0
        number = np.unique(new[new > 0]).tolist().index(there) + 1 if there else 0
        assert (found.classes[number] == value) if id not in lost else found.classes[number] == 0
    assert (found.classes > 0).sum() <= len(labels) - len(lost)


def test_labels_of_later_time_points_are_not_dropped_in_silence():
    labels = ObjectLabels.at_positions([[0, 0], [0, 0]], [1, 2], t=[0, 3])
    found, lost = labels.resolve_all(CELLS)
    assert len(found) == 1
    assert [(x.t, x.reason) for x in lost] == [(3, "the image has 1 time points")]
    with pytest.raises(InputError, match="labels: time point 3 is not there, it has 1"):
        labels.resolve(CELLS, 3)
    with pytest.raises(InputError, match="labels: time point 3 is not there"):
        labels.located(CELLS)


def test_labels_of_several_images_are_told_apart():
    a, b = (ObjectLabels.of(CELLS, {7: v}, image=name) for v, name in ((1, "a"), (2, "b")))
    both = a.join(b)
    assert both.images == ("a", "b")
    assert rows(both.restrict("b")) == rows(b)
    assert rows(both.at("a", 0)) == rows(a)
    assert len(both.at("a", 1)) == 0
    with pytest.raises(LabelError, match="labels of 2 images, 'a', 'b'"):
        both.resolve(CELLS)


def test_labels_are_joined_by_the_names_that_were_given():
    a = ObjectLabels.of(CELLS, {7: 1}, names=["round"], image="a")
    b = ObjectLabels.of(CELLS, {7: 2}, image="b")
    assert a.join(b).names == b.join(a).names == {1: "round", 2: "Label 2"}
    with pytest.raises(LabelError, match="class 1 is 'round' in some labels and 'long' in others"):
        a.join(ObjectLabels.of(CELLS, {7: 1}, names=["long"], image="b"))


def test_an_object_cannot_be_two_things():
    with pytest.raises(LabelError, match="z 0, y 1, x 2 has two classes, 1 and 2"):
        ObjectLabels.at_positions([[1, 2], [1, 2]], [1, 2])
    a = ObjectLabels.of(CELLS, {7: 1}, image="a")
    with pytest.raises(LabelError, match="a, object 7, z 0, y 0, x 1 has two classes, 1 and 2"):
        a.join(ObjectLabels.of(CELLS, {7: 2}, image="a"))


@pytest.mark.parametrize(
    ("columns", "error", "message"),
    [
        ({"value": [0]}, LabelError, "object 7, z 0, y 0, x 0: class 0; time points count"),
        ({"t": [-1]}, LabelError, "time point -1: class 1"),
        ({"id": [-7]}, LabelError, "ids and classes from 1"),
        ({"id": [0], "position": [[-1, -1, -1]]}, LabelError, "neither an id nor a position"),
        ({"position": [[-1, 3, 3]]}, LabelError, "neither an id nor a position"),
        ({"t": [0, 0]}, ShapeError, r"t: shape \(2,\) for 1 labels, \(1,\) is needed"),
        ({"position": [[0, 0]]}, ShapeError, r"position: shape \(1, 2\) for 1 labels, \(1, 3\)"),
        ({"value": [1.5]}, LabelError, "value: float64; whole numbers"),
        ({"classes": (LabelClass(0, "none", (0, 0, 0)),)}, LabelError, "class 0; classes are 1 to"),
    ],
)
def test_columns_that_cannot_be_are_refused(columns, error, message):
    good = {"image": ("",), "t": [0], "id": [7], "position": [[0, 0, 0]], "value": [1]}
    with pytest.raises(error, match=message):
        ObjectLabels(**(good | columns))


@pytest.mark.parametrize(
    ("where", "classes", "error", "message"),
    [
        ([1, 2], [1], ShapeError, r"position has shape \(2,\)"),
        ([[1, 2]], [1, 2], ShapeError, r"position has shape \(1, 2\)"),
        ([[-1, 2]], [1], LabelError, r"position \[0, -1, 2\]: pixels count from 0"),
        ([[1, 2]], ["long"], LabelError, "class 'long' is not known"),
        ([[1, np.nan]], [1], LabelError, "a position is NaN or larger than any image"),
        ([[1, 1e30]], [1], LabelError, "a position is NaN or larger than any image"),
        ([["1", "2"]], [1], LabelError, "position: <U1; numbers are needed"),
        ([[-0.6, 2]], [1], LabelError, r"position \[0, -1, 2\]"),
    ],
)
def test_positions_that_cannot_be_are_refused(where, classes, error, message):
    with pytest.raises(error, match=message):
        ObjectLabels.at_positions(where, classes)


def test_a_position_between_pixels_is_the_nearest():
    labels = ObjectLabels.at_positions([[1.6, 2.2], [-0.4, 0.0]], [1, 1])
    assert labels.position.tolist() == [[0, 2, 2], [0, 0, 0]]


def test_positions_without_a_class_are_no_labels():
    labels = ObjectLabels.at_positions([[0, 0], [1, 4], [2, 3]], ["", "b", 0], names=["a", "b"], t=[2, 1, 0])
    assert rows(labels) == [("", 1, 0, [0, 1, 4], 2)]
    assert len(ObjectLabels.at_positions([], [])) == 0


def test_located_finds_ids_of_positions_and_positions_of_ids():
    labels = ObjectLabels(
        ("",) * 3,
        np.zeros(3, int),
        np.array([9, 0, 0]),
        np.array([[-1, -1, -1], [0, 0, 2], [0, 1, 1]]),
        np.array([1, 2, 2]),
    )
    found = labels.located(CELLS)
    assert found.id.tolist() == [9, 7, 0]
    assert found.position.tolist() == [[0, 2, 4], [0, 0, 2], [0, 1, 1]]


def test_classes_of_labels_are_cleared_deleted_and_merged():
    labels = ObjectLabels.of(CELLS, {7: 1, 9: 2, 3: 3}, names=["a", "b", "c"])
    assert rows(labels.cleared(2)) == [r for r in rows(labels) if r[-1] != 2]
    assert labels.cleared(2).classes == labels.classes
    deleted = labels.deleted(1)
    assert (deleted.id.tolist(), deleted.value.tolist()) == ([3, 9], [2, 1])
    assert [(c.name, c.color) for c in deleted.classes] == [(c.name, c.color) for c in labels.classes[1:]]
    merged = labels.merged(1, into=3)
    assert dict(zip(merged.id.tolist(), merged.value.tolist(), strict=True)) == {7: 2, 9: 1, 3: 2}
    assert merged.names == {1: "b", 2: "c"}
    for operation in (labels.cleared, labels.deleted, lambda v: labels.merged(v, 1)):
        with pytest.raises(LabelError, match=r"class 4 is not known\n.*1 \(a\), 2 \(b\), 3 \(c\)"):
            operation(4)


def test_a_large_image_is_read_near_the_positions_alone(tmp_path):
    np.save(tmp_path / "cells.npy", np.pad(CELLS, ((0, 61), (0, 59))))
    with open_image(tmp_path / "cells.npy") as image:
        asked = []
        watched = replace(labelled(image), fetch=lambda at: asked.append(at) or image.read(at))
        where = np.array([[0, 0, 1], [0, 2, 4], [0, 99, 0]])
        assert positions.values_at(watched, 0, where).tolist() == [7, 9, -1]
    assert [tuple((s.start, s.stop) for s in at) for at in asked] == [((0, 3), (1, 5))]


def test_labels_of_blood_cells_survive_a_new_segmentation(shared):
    folder = shared / "data/objects2d"
    files = sorted(folder.glob("*_classes.csv"))
    names = {f.name.removesuffix("_classes.csv"): f for f in files}
    labels = read_all_labels(names)
    assert labels.names == {1: "Platelets", 2: "RBC", 3: "WBC"}
    assert np.bincount(labels.value).tolist() == [0, 9, 126, 10]
    for name in names:
        with open_image(folder / f"{name}_labels.tif") as image:
            own = labels.restrict(name).located(image)
            pixels = image.read()
        shuffled = np.where(pixels > 0, 1000 - pixels.astype(int), 0)
        shuffled[:, ::7] = 0  # a tighter segmentation, other ids
        found = own.resolve(shuffled)
        ids = np.unique(shuffled)
        expected = {1000 - i: v for i, v in zip(own.id.tolist(), own.value.tolist(), strict=True)}
        lost = {1000 - x.id for x in found.lost}
        assert {int(i): int(v) for i, v in zip(ids, found.classes, strict=True) if v} == {
            i: v for i, v in expected.items() if i not in lost
        }
        assert {x.reason for x in found.lost} <= {"there is no object at its position"}
        assert len(lost) < len(own) / 2


def test_one_file_of_blood_cells_reads_by_itself(shared):
    labels = read_labels(shared / "data/objects2d/BloodImage_00003_classes.csv")
    assert labels.id.tolist() == list(range(1, 17))
    assert labels.names[int(labels.value[0])] == "WBC"
