"""Labels carried over to a new segmentation: to the object that shares most, and none lost in silence."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from gpuseg.errors import LabelError, ShapeError
from gpuseg.io import open_image
from gpuseg.object import positions
from gpuseg.object.carry import carry
from gpuseg.object.labels import ObjectLabels

ROW = np.array([[5, 5, 5, 5, 0, 8, 8, 0]])


def carried(classes, new, old=ROW, **more):
    """Class by new id, lost ones by old id, repeated ones by old id."""
    found = carry(ObjectLabels.of(old, classes, **more), old, np.array(new))
    return (
        dict(zip(found.labels.id.tolist(), found.labels.value.tolist(), strict=True)),
        {x.id: x.reason for x in found.lost},
        {x.id: x.reason for x in found.repeated},
    )


@pytest.mark.parametrize(
    ("new", "expected"),
    [
        ([[5, 5, 5, 5, 0, 8, 8, 0]], {5: 1, 8: 2}),
        ([[1, 1, 1, 1, 0, 2, 2, 0]], {1: 1, 2: 2}),
        ([[1, 2, 2, 2, 0, 3, 3, 3]], {2: 1, 3: 2}),  # in two: the larger part
        ([[2, 2, 1, 1, 0, 8, 8, 0]], {1: 1, 8: 2}),  # in halves: the lower id
        ([[0, 0, 0, 9, 0, 0, 7, 7]], {9: 1, 7: 2}),  # most of it is background
        ([[8, 8, 8, 8, 0, 5, 5, 0]], {8: 1, 5: 2}),  # ids mean nothing
    ],
)
def test_a_label_goes_to_the_object_that_shares_most(new, expected):
    assert carried({5: 1, 8: 2}, new) == (expected, {}, {})


def test_what_is_gone_is_listed():
    assert carried({5: 1, 8: 2}, [[0, 0, 0, 0, 4, 8, 8, 8]]) == (
        {8: 2},
        {5: "no object is there any more"},
        {},
    )


def test_two_classes_on_one_new_object_are_both_lost():
    reason = "new object 3 is labelled 1 (round) and 2 (long)"
    found = carried({5: 1, 8: 2}, [[3] * 8], names=["round", "long"])
    assert found == ({}, {5: reason, 8: reason}, {})


def test_two_labels_of_a_class_on_one_new_object_are_one():
    found = carried({5: 2, 8: 2}, [[3, 0, 0, 0, 0, 3, 3, 3]])
    assert found == ({3: 2}, {}, {5: "same class as another label of new object 3"})


def test_labels_on_one_old_object_are_one_or_lost():
    labels = ObjectLabels.at_positions([[0, 0], [0, 2], [0, 5], [0, 6], [0, 7]], [1, 1, 1, 2, 1])
    found = carry(labels, ROW, ROW)
    assert found.labels.id.tolist() == [5]
    assert [(x.position[2], x.reason) for x in found.repeated] == [
        (2, "same class as another label of object 5")
    ]
    conflict = "object 8 is labelled 1 (Label 1) and 2 (Label 2)"
    assert [(x.position[2], x.reason) for x in found.lost] == [
        (5, conflict),
        (6, conflict),
        (7, "there is no object at its position"),
    ]


def test_overlap_is_intersection_over_union():
    labels = ObjectLabels.of(ROW, {5: 1, 8: 2})
    found = carry(labels, ROW, np.array([[1, 1, 1, 0, 0, 0, 4, 4]]))
    assert found.overlap.tolist() == [3 / 4, 1 / 3]
    assert found.labels.position.tolist() == [[0, 0, 1], [0, 0, 6]]


def test_names_and_colours_go_along():
    labels = ObjectLabels.of(ROW, {5: 2}, names=["a", "b", "c"], image="cells.tif")
    found = carry(labels, ROW, ROW * 2).labels
    assert (found.classes, found.image) == (labels.classes, ("cells.tif",))


def test_an_id_without_object_is_listed():
    labels = ObjectLabels(("", ""), [0, 0], [4, 8], np.full((2, 3), -1), [1, 1])
    found = carry(labels, ROW, ROW)
    assert [(x.id, x.reason) for x in found.lost] == [(4, "is not in the old image")]
    assert found.labels.id.tolist() == [8]


def test_time_points_are_carried_each_by_itself():
    old, new = np.stack([ROW, ROW, 0 * ROW]), np.stack([ROW + 20, 0 * ROW, ROW])
    labels = ObjectLabels.of(old, {(0, 5): 1, (0, 8): 1, (1, 5): 2}, axes="tyx")
    later = labels.join(ObjectLabels.at_positions([[0, 0]], [1], t=7))
    found = carry(later, old, new, axes="tyx")
    assert [(x.t, x.reason) for x in found.lost] == [
        (1, "no object is there any more"),
        (7, "the image has 3 time points"),
    ]
    assert found.labels.id.tolist() == [25, 28]


def test_huge_ids_are_carried():
    old, new = ROW.astype(np.uint64) << np.uint64(58), ROW.astype(np.int64) << 50
    found = carry(ObjectLabels.of(old, {5 << 58: 1, 8 << 58: 2}), old, new)
    assert found.labels.id.tolist() == [5 << 50, 8 << 50]


def test_images_of_other_sizes_are_refused():
    with pytest.raises(ShapeError, match=r"labels is .*'x': 9.*labels is .*'x': 8"):
        carry(ObjectLabels.of(ROW, {5: 1}), ROW, np.zeros((1, 9), int))


def test_labels_of_several_images_are_refused():
    a, b = (ObjectLabels.of(ROW, {5: 1}, image=name) for name in "ab")
    with pytest.raises(LabelError, match="labels of 2 images"):
        carry(a.join(b), ROW, ROW)


@pytest.mark.parametrize("count", [0, 1, 2])
def test_few_labels_are_carried(count):
    labels = ObjectLabels.of(ROW, dict([(5, 1), (8, 2)][:count]))
    assert len(carry(labels, ROW, ROW).labels) == count
    assert len(carry(labels, ROW, 0 * ROW).lost) == count


PAIRS = st.tuples(st.integers(1, 2), st.integers(1, 2), st.integers(1, 4), st.integers(1, 6)).flatmap(
    lambda shape: st.tuples(*(arrays(np.int64, shape, elements=st.integers(0, 4)) for _ in range(2)))
)


def by_hand(labels, old, new):
    """The new id of every label that ends up with one, each pixel counted in the plainest way."""
    target = {}
    for i in range(len(labels)):
        t, id = int(labels.t[i]), int(labels.id[i])
        under = new[t][(old[t] == id) & (new[t] > 0)].tolist()
        if under:
            target[i] = (t, min(sorted(set(under)), key=lambda k: (-under.count(k), k)), under)
    return {
        i: (t, id, under.count(id) / ((old[t] == labels.id[i]) | (new[t] == id)).sum())
        for i, (t, id, under) in target.items()
        if len({int(labels.value[j]) for j in target if target[j][:2] == (t, id)}) == 1
    }


@given(PAIRS, st.data(), st.sampled_from([1, 4, 1000]))
def test_no_label_is_lost_in_silence(pair, data, tile):
    old, new = pair
    objects = [(t, i) for t in range(len(old)) for i in np.unique(old[t][old[t] > 0]).tolist()]
    given = data.draw(st.fixed_dictionaries({}, optional={o: st.integers(1, 2) for o in objects}))
    labels = ObjectLabels.of(old, given, axes="tzyx")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(positions, "TILE", tile)
        found = carry(labels, old, new, axes="tzyx")
    assert len(found.labels) + len(found.lost) + len(found.repeated) == len(labels)
    said = [(x.t, x.id) for x in (*found.lost, *found.repeated)]
    assert len(set(said)) == len(said)
    expected = by_hand(labels, old, new)
    kept = {(t, id) for t, id, _ in expected.values()}
    assert set(zip(found.labels.t.tolist(), found.labels.id.tolist(), strict=True)) == kept
    lost = {(x.t, x.id) for x in found.lost}
    assert lost == {(int(labels.t[i]), int(labels.id[i])) for i in range(len(labels)) if i not in expected}
    for t, id, place, value, overlap in zip(
        found.labels.t, found.labels.id, found.labels.position, found.labels.value, found.overlap, strict=True
    ):
        assert new[(t, *place)] == id
        rows = [i for i, (s, other, _) in expected.items() if (s, other) == (t, id)]
        assert value == labels.value[rows[0]]
        assert overlap in [expected[i][2] for i in rows]


@given(PAIRS)
def test_carrying_to_the_same_image_changes_nothing(pair):
    old, _ = pair
    objects = {(t, i): 1 + i % 2 for t in range(len(old)) for i in np.unique(old[t][old[t] > 0]).tolist()}
    labels = ObjectLabels.of(old, objects, axes="tzyx")
    found = carry(labels, old, old, axes="tzyx")
    for name in ("t", "id", "position", "value"):
        np.testing.assert_array_equal(getattr(found.labels, name), getattr(labels, name))
    assert (found.overlap == 1).all()


def test_files_are_carried_tile_by_tile(tmp_path, monkeypatch):
    monkeypatch.setattr(positions, "TILE", 64)
    rng = np.random.default_rng(0)
    old = np.kron(rng.permutation(48).reshape(6, 8), np.ones((5, 7), int))
    new = np.roll(old, 2, 1) * 3
    np.save(tmp_path / "old.npy", old)
    np.save(tmp_path / "new.npy", new)
    with open_image(tmp_path / "old.npy") as before, open_image(tmp_path / "new.npy") as after:
        labels = ObjectLabels.of(before, {i: 1 + i % 3 for i in range(1, 48)})
        found = carry(labels, before, after)
    assert found.labels.id.tolist() == [3 * i for i in range(1, 48)]
    assert not found.lost
    inside = new[tuple(found.labels.position[:, 1:].T)]
    assert inside.tolist() == found.labels.id.tolist()
