"""Every row of the table of object features passes the exam that plug-ins inherit."""

import re
from pathlib import Path

import pytest

from gpuseg.errors import InputError
from gpuseg.objects.choice import declared, obstacle
from gpuseg.objects.table import INTENSITY, LOCATION, OBJECT_FEATURES, SHAPE, object_feature
from gpuseg.testing import ObjectFeatureExam

PAGE = Path(__file__).parents[2] / "docs/own_object_feature.md"
TABLES = {}


@pytest.mark.parametrize("feature", list(declared()))
class TestEveryFeature(ObjectFeatureExam):
    @pytest.fixture(autouse=True)
    def _choose(self, feature):
        self.feature = feature

    def table(self, labels, raw, **how):
        """Of all features at once: a scene is measured once for all of them."""
        key = labels.tobytes(), None if raw is None else raw.tobytes(), str(how)
        if key not in TABLES:
            channels = 0 if raw is None else raw.shape[-1]
            rows = declared().items()
            names = [name for name, row in rows if not any(obstacle(row, labels.ndim, channels))]
            TABLES[key] = super().table(labels, raw, features=names, **how)
        return TABLES[key]

    def test_it_is_described(self):
        assert self.row.title.strip() == self.row.title != ""
        assert self.row.group in (LOCATION, SHAPE, INTENSITY, "")
        assert (self.row.formula.__doc__ or "").strip().partition("\n\n")[0].endswith(".")


@pytest.fixture
def table():
    """The table of object features, put back afterwards."""
    kept = dict(declared()) and dict(OBJECT_FEATURES)
    yield OBJECT_FEATURES
    OBJECT_FEATURES.clear()
    OBJECT_FEATURES.update(kept)


def exam(feature):
    """An exam and what it asks, one after the other."""
    mine = type("TestMine", (ObjectFeatureExam,), {"feature": feature})()
    return [getattr(mine, name) for name in dir(mine) if name.startswith("test_")]


def test_the_feature_of_the_page_passes_its_exam(table):
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    names = {"__name__": "page"}
    for block in blocks:
        exec(compile(block, str(PAGE), "exec"), names)
    assert names["TestVariation"].feature in table
    for ask in exam(names["TestVariation"].feature):
        ask()


def _where(o):
    """Says where objects are, and is not in the group of location."""
    return o.sums("box")[:, 0, 0] + o.sums("box")[:, 2, 0]


def _numbers(o):
    """Says which number objects have."""
    return o.sums("count") * range(o.count)


def _pixels(o):
    """Lengths in pixels, whatever the size of a pixel."""
    return o.sums("box")[:, 2, 1] - o.sums("box")[:, 2, 0]


def _everything(o):
    """Reads all pixels and does not say so."""
    return o.each(lambda mask, image: mask.sum())


@pytest.mark.parametrize(
    ("formula", "how", "fails"),
    [
        (_where, {}, "test_where_an_object_is_changes_nothing_but_its_location"),
        (_numbers, {}, "test_ids_change_nothing"),
        (_pixels, {"unit": 1}, "test_lengths_follow_the_size_of_pixels"),
        (_everything, {}, "test_tiles_give_what_the_whole_image_gives"),
        (lambda o: o.sums("count")[:2], {}, "test_every_object_has_its_row_of_numbers"),
        (_pixels, {"ndims": (4,)}, "test_it_can_be_measured_somewhere"),
    ],
)
def test_a_wrong_feature_fails_its_exam(table, formula, how, fails):
    formula.__name__ = "wrong"
    object_feature("Wrong", group=SHAPE, **how)(formula)
    failed = []
    for ask in exam("wrong"):
        try:
            ask()
        except (AssertionError, InputError):
            failed.append(ask.__name__)
    assert fails in failed
