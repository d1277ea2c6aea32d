"""Classes: names, colours, and what clearing, deleting and merging does to the values that have them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuseg.classes import (
    COLORS,
    LabelClass,
    class_color,
    cleared,
    deleted,
    label_classes,
    merged,
)
from gpuseg.errors import LabelError

NAMES = {1: "nuclei", 2: "stroma", 3: "vessel", 4: "glass"}
FOUR = label_classes([1, 2, 3, 4], NAMES)
VALUES = np.array([[0, 1, 2, 3], [4, 3, 2, 2]], np.uint8)


def shown(classes, values):
    """Pixels by what a person sees of their class."""
    seen = {c.value: (c.name, c.color) for c in classes} | {0: None}
    return [seen[v] for v in values.reshape(-1).tolist()]


def test_colours_go_on_after_those_of_ilastik():
    assert class_color(1) == (255, 225, 25)
    later = [class_color(v) for v in range(1, 60)]
    assert len(set(later)) == len(later)
    assert later[: len(COLORS)] == list(COLORS)


def test_cleared_values_are_unlabelled_and_all_else_stays():
    found = cleared(VALUES, 2)
    assert found.tolist() == [[0, 1, 0, 3], [4, 3, 0, 0]]
    assert found.dtype == np.uint8
    assert VALUES[0, 2] == 2


def test_a_deleted_class_takes_its_name_and_colour_with_it():
    classes, values = deleted(FOUR, VALUES, 2)
    assert values.tolist() == [[0, 1, 0, 2], [3, 2, 0, 0]]
    assert values.dtype == np.uint8
    assert classes == (
        FOUR[0],
        LabelClass(2, "vessel", FOUR[2].color),
        LabelClass(3, "glass", FOUR[3].color),
    )


@pytest.mark.parametrize(
    ("a", "into", "expected"),
    [
        (1, 2, [[0, 1, 1, 2], [3, 2, 1, 1]]),
        (2, 1, [[0, 1, 1, 2], [3, 2, 1, 1]]),
        (1, 4, [[0, 3, 1, 2], [3, 2, 1, 1]]),
        (3, 1, [[0, 1, 2, 1], [3, 1, 2, 2]]),
        (4, 3, [[0, 1, 2, 3], [3, 3, 2, 2]]),
    ],
)
def test_merging_joins_the_pair_that_was_named(a, into, expected):  # ilastik#1196: it was another pair
    classes, values = merged(FOUR, VALUES, a, into)
    assert values.tolist() == expected
    assert [c.value for c in classes] == [1, 2, 3]
    before = [
        (NAMES[into], FOUR[into - 1].color) if s == (NAMES[a], FOUR[a - 1].color) else s
        for s in shown(FOUR, VALUES)
    ]
    assert shown(classes, values) == before


@given(st.data(), st.integers(2, 8))
def test_merging_keeps_counts_names_and_colours(data, n):
    classes = label_classes(range(1, n + 1), {v: f"class {v * v}" for v in range(1, n + 1)})
    values = np.array(data.draw(st.lists(st.integers(0, n), max_size=30)), np.int64)
    a, into = data.draw(st.lists(st.integers(1, n), min_size=2, max_size=2, unique=True))
    after, made = merged(classes, values, a, into)
    was, now = shown(classes, values), shown(after, made)
    one, other = ((classes[v - 1].name, classes[v - 1].color) for v in (a, into))
    assert now == [other if s == one else s for s in was]
    assert [c.value for c in after] == list(range(1, n))


@given(st.data(), st.integers(1, 8))
def test_deleting_keeps_all_others(data, n):
    classes = label_classes(range(1, n + 1), {v: f"class {v * v}" for v in range(1, n + 1)})
    values = np.array(data.draw(st.lists(st.integers(0, n), max_size=30)), np.int64)
    v = data.draw(st.integers(1, n))
    after, made = deleted(classes, values, v)
    gone = (classes[v - 1].name, classes[v - 1].color)
    assert shown(after, made) == [None if s == gone else s for s in shown(classes, values)]


@pytest.mark.parametrize("kind", ["u1", "i1", "u2", "i4", "u4", "i8", "u8", ">u2"])
def test_any_type_of_integers_keeps_its_type(kind):
    values = VALUES.astype(kind)
    assert merged(FOUR, values, 1, 4)[1].dtype == deleted(FOUR, values, 1)[1].dtype == values.dtype
    assert merged(FOUR, values, 1, 4)[1].tolist() == [[0, 3, 1, 2], [3, 2, 1, 1]]


def test_classes_may_leave_values_out():
    classes, values = deleted(label_classes([1, 5]), np.array([5, 1, 0]), 1)
    assert ([c.value for c in classes], values.tolist()) == ([4], [4, 0, 0])


def test_no_values_are_no_trouble():
    assert merged(FOUR, np.zeros((0, 3), np.uint8), 1, 2)[1].shape == (0, 3)


@pytest.mark.parametrize(
    ("operation", "message"),
    [
        (lambda: deleted(FOUR, VALUES, 5), r"class 5 is not known\n.*classes are 1 \(nuclei\), 2 \(stroma\)"),
        (lambda: merged(FOUR, VALUES, 0, 1), "class 0 is not known"),
        (lambda: merged(FOUR, VALUES, 1, 7), "class 7 is not known"),
        (lambda: merged(FOUR, VALUES, 3, 3), "class 3 cannot be merged into itself"),
        (lambda: deleted(FOUR[:2], VALUES, 1), "class 4 is not known"),
        (lambda: deleted((FOUR[0], FOUR[3]), VALUES, 1), "class 2 is not known"),
        (lambda: deleted(FOUR, np.array([-2]), 1), "class -2 is not known"),
        (lambda: deleted((), VALUES, 1), r"class 1 is not known\n.*classes are none"),
        (lambda: cleared(VALUES, 0), "class 0: classes are 1, 2"),
        (lambda: cleared(VALUES * 0.5, 1), "label values are float64; they must be integers"),
        (lambda: merged(FOUR, VALUES > 0, 1, 2), "label values are bool; they must be integers"),
    ],
)
def test_what_cannot_be_is_named(operation, message):
    with pytest.raises(LabelError, match=message):
        operation()
