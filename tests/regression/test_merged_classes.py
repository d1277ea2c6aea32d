"""ilastik#1196: merging a class merged another pair; names and colours went to the wrong class."""

from itertools import permutations

import numpy as np
import pytest

from gpuseg.classes import LabelClass, deleted, merged

CLASSES = tuple(
    LabelClass(i, name, (10 * i, 20 * i, 30 * i))
    for i, name in enumerate(("sky", "wall", "nucleus", "debris"), 1)
)
VALUES = np.array([[1, 4, 2, 0, 3], [3, 3, 4, 0, 1]], np.uint8)
PAIRS = list(permutations((1, 2, 3, 4), 2))


def meaning(classes, values):
    """Name and colour of the class of each pixel, None where it has none."""
    known = {c.value: (c.name, c.color) for c in classes}
    return [known.get(v) for v in values.ravel().tolist()]


def of(value):
    return next((c.name, c.color) for c in CLASSES if c.value == value)


@pytest.mark.parametrize(("a", "into"), PAIRS)
def test_merging_changes_what_belongs_to_one_class_only_ilastik_1196(a, into):
    classes, values = merged(CLASSES, VALUES, a, into)
    expected = [of(into) if was == of(a) else was for was in meaning(CLASSES, VALUES)]
    assert meaning(classes, values) == expected


@pytest.mark.parametrize("v", [1, 2, 3, 4])
def test_deleting_unlabels_what_belongs_to_that_class_only_ilastik_1196(v):
    classes, values = deleted(CLASSES, VALUES, v)
    assert meaning(classes, values) == [None if was == of(v) else was for was in meaning(CLASSES, VALUES)]


@pytest.mark.parametrize(("a", "into"), PAIRS)
def test_counts_of_all_other_classes_stay_ilastik_1196(a, into):
    classes, values = merged(CLASSES, VALUES, a, into)
    counts = {c.name: int((values == c.value).sum()) for c in classes}
    before = {c.name: int((c.value == VALUES).sum()) for c in CLASSES}
    before[of(into)[0]] += before.pop(of(a)[0])
    assert counts == before


@pytest.mark.parametrize(("a", "into"), PAIRS)
def test_classes_stay_numbered_from_1_in_their_order_ilastik_1196(a, into):
    classes, _ = merged(CLASSES, VALUES, a, into)
    assert [c.value for c in classes] == [1, 2, 3]
    assert [c.name for c in classes] == [c.name for c in CLASSES if c.value != a]
