"""Our own trainer: codes that say what values say, one forest everywhere, as good as scikit-learn's."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from benchmarks import accuracy_forests
from gpuseg.backends import _reference_grow
from gpuseg.backends.cpu import ReferenceBackend
from gpuseg.errors import InputError, LabelError
from gpuseg.forests import DEFAULT, get_trainer, hist_rf, sklearn_rf
from gpuseg.forests.hist_rf import coded, train
from gpuseg.forests.training import Trained, canonical_order

FIELDS = ("feature", "threshold", "left", "roots", "leaves")
LARGEST = np.finfo(np.float32).max


def data(count: int = 400, features: int = 9, classes: int = 3, seed: int = 0):
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(count, features)).astype(np.float32)
    return rows, np.digitize(rows[:, 0] + 0.5 * rng.normal(size=count), np.linspace(-1, 1, classes - 1)) + 1


def same(a: Trained, b: Trained) -> None:
    for name in FIELDS:
        assert_array_equal(getattr(a.forest, name), getattr(b.forest, name), err_msg=name)
    assert_array_equal(a.oob_confusion, b.oob_confusion)
    assert_array_equal(a.importances, b.importances)


def column(kind: str, n: int) -> np.ndarray:
    rng = np.random.default_rng(n)
    made = {
        "normal": lambda: rng.normal(size=n),
        "300 values": lambda: rng.integers(-150, 150, n),
        "one value": lambda: np.full(n, 3.7),
        "zeros of both signs": lambda: rng.integers(-1, 2, n) * 0.0,
        "half of them zero": lambda: np.where(rng.random(n) < 0.5, 0, rng.normal(size=n)),
        "neighbouring floats": lambda: np.float32(1) + rng.integers(0, 9, n) * np.float32(2**-23),
        "smallest and largest": lambda: rng.choice([-LARGEST, -1e-45, 0, 1e-45, LARGEST], n),
    }
    return made[kind]().astype(np.float32)


KINDS = (
    *("normal", "300 values", "one value", "zeros of both signs", "half of them zero"),
    *("neighbouring floats", "smallest and largest"),
)


@pytest.mark.parametrize("n", [1, 2, 255, 256, 257, 3000])
@pytest.mark.parametrize("kind", KINDS)
def test_codes_say_what_values_say(kind: str, n: int) -> None:
    values = column(kind, n)
    codes, edges = (part[0] for part in coded(values[:, None]))
    used = edges[np.isfinite(edges)]
    assert (np.diff(used) > 0).all()
    assert_array_equal(codes[:, None] <= np.arange(len(used)), values[:, None] < used)
    assert_array_equal(np.unique(codes), np.arange(len(used) + 1))


@pytest.mark.parametrize("kind", KINDS)
def test_up_to_256_values_have_a_code_each(kind: str) -> None:
    values = column(kind, 256)
    assert len(np.unique(coded(values[:, None]).codes)) == len(np.unique(values))


def test_more_values_share_codes_evenly() -> None:
    rows = np.random.default_rng(0).normal(size=(5100, 3)).astype(np.float32)
    shared = np.array([np.bincount(c, minlength=256) for c in coded(rows).codes])
    assert shared.min() > 0
    assert shared.max() < 2 * 5100 / 255


def test_a_gap_between_classes_has_an_edge_in_its_middle() -> None:
    """Wherever it lies among the ranks, and however many other values there are."""
    rng = np.random.default_rng(0)
    for low in rng.integers(300, 2000, 20):
        values = np.concatenate([rng.normal(size=low), 100 + rng.normal(size=2500 - low)]).astype(np.float32)
        edges = coded(values[:, None]).edges[0]
        middle = (values[:low].max() + values[low:].min()) / 2
        assert np.abs(edges - middle).min() < 1e-3


def test_edges_lie_where_scikit_learn_puts_thresholds() -> None:
    edges = coded(np.float32([[1], [2], [5]])).edges[0]
    assert_array_equal(
        edges[:2], [np.nextafter(np.float32(1.5), np.float32(9)), np.nextafter(np.float32(3.5), 9)]
    )


@pytest.mark.parametrize("digits", [6, 0])
def test_forest_answers_values_as_its_trees_answered_codes(digits: int) -> None:
    """Out of bag: walked by codes while training, here by values; with few digits leaves hold two classes."""
    rows, labels = data(300, 2)
    rows = rows.round(digits)
    trained = train(rows, labels, trees=6, seed=4)
    order = canonical_order(rows, labels)
    total, asked = np.zeros((300, 3)), np.zeros(300)
    for t, root in enumerate(trained.forest.roots):
        key = _reference_grow.draw(_reference_grow.mix(4), t)
        fresh = order[_reference_grow.drawn(key, 300) == 0]
        leaf = trained.forest.descend(rows, fresh, np.full(len(fresh), root))
        total[fresh] += trained.forest.leaves[leaf]
        asked[fresh] += 1
    assert_allclose(trained.oob_proba, total / np.maximum(asked, 1)[:, None], atol=1e-6)
    assert asked.max() > 1
    assert (len(trained.forest.leaves) > 3) == (digits == 0)


@pytest.mark.parametrize("classes", [2, 3, 8])
def test_every_backend_gives_the_same_forest(host_cuda, monkeypatch, classes: int) -> None:
    rows, labels = data(200, 9, classes)
    ours = train(rows, labels, trees=3, seed=classes, backend="cpu")
    same(train(rows, labels, trees=3, seed=classes, backend="cuda"), ours)
    monkeypatch.setattr(hist_rf, "get_backend", lambda name: ReferenceBackend())
    same(train(rows, labels, trees=3, seed=classes), ours)


def test_order_and_threads_change_nothing() -> None:
    rows, labels = data()
    rows = rows.round(1)  # equal values and equal rows
    rows[100:150] = rows[:50]
    first = train(rows, labels, trees=20, threads=1)
    for seed in range(5):
        order = np.random.default_rng(seed).permutation(len(rows))
        again = train(rows[order], labels[order].astype(np.uint8), trees=20, threads=-1 + 3 * (seed % 2))
        same(first, again)


def test_the_seed_changes_the_forest() -> None:
    one, two = (train(*data(), trees=5, seed=s).forest for s in (0, 2**32 - 1))
    assert len(one.feature) != len(two.feature) or (one.threshold != two.threshold).any()


def test_it_is_as_good_as_scikit_learns() -> None:
    rows, labels = data(900, 16)
    ours, theirs = train(rows, labels), sklearn_rf.train(rows, labels)
    assert ours.oob_accuracy == pytest.approx(theirs.oob_accuracy, abs=0.02)
    assert len(ours.forest.feature) == pytest.approx(len(theirs.forest.feature), rel=0.05)
    assert_allclose(ours.importances, theirs.importances, atol=0.02)


def test_out_of_bag_answers_add_to_one_whatever_is_looked_up_at_once(monkeypatch) -> None:
    rows, labels = data(300)
    whole = train(rows, labels, trees=50)
    assert_allclose(whole.oob_proba.sum(axis=1), 1, atol=1e-6)
    monkeypatch.setattr(hist_rf, "TOGETHER", 50 * 7)
    assert_array_equal(train(rows, labels, trees=50).oob_proba, whole.oob_proba)


@pytest.mark.parametrize("trees", [1, 3, 300])
def test_out_of_bag_votes_of_many_classes_are_counted(trees: int) -> None:
    """7, 9 or more of their counts share an integer: each is the number of trees that said so."""
    rows, labels = data(400, 4, 40)
    trained = train(rows, labels, trees=trees)
    total, asked = np.zeros((400, len(trained.classes))), np.zeros(400)
    order = canonical_order(rows, labels)
    for t, root in enumerate(trained.forest.roots):
        key = _reference_grow.draw(_reference_grow.mix(0), t)
        fresh = order[_reference_grow.drawn(key, 400) == 0]
        total[fresh] += trained.forest.leaves[trained.forest.descend(rows, fresh, np.full(len(fresh), root))]
        asked[fresh] += 1
    assert_array_equal(trained.oob_proba, (total / np.maximum(asked, 1)[:, None]).astype(np.float32))


def test_identical_rows_of_two_classes_give_a_mixed_leaf() -> None:
    trained = train(np.ones((10, 4), np.float32), np.array([1] * 5 + [2] * 5), trees=10)
    assert len(trained.forest.feature) == 10
    assert 0.3 < trained.forest.leaves[trained.forest.left].mean(axis=0)[0] < 0.7
    assert trained.importances.sum() == 0


def test_hundreds_of_classes_and_features_are_learned() -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(1020, 300)).astype(np.float32)
    labels = np.repeat(np.arange(1, 256), 4)
    rows[:, :20] += 9 * rng.normal(size=(256, 20))[labels]
    trained = train(rows, labels, trees=8)
    assert trained.classes.tolist() == list(range(1, 256))
    assert trained.oob_accuracy > 0.1  # 255 times as likely as by chance


def test_what_cannot_be_learned_is_refused(monkeypatch) -> None:
    rows, labels = data(20)
    with pytest.raises(InputError, match="0 trees: at least 1"):
        train(rows, labels, trees=0)
    with pytest.raises(LabelError, match="only class 1"):
        train(rows, np.ones(20, int))
    monkeypatch.setattr(hist_rf, "MOST_ROWS", 19)
    with pytest.raises(InputError, match="20 labelled pixels, a forest learns from at most 19"):
        train(rows, labels)


def test_it_is_the_default() -> None:
    assert get_trainer(DEFAULT) is train


def test_documented_accuracy_is_the_newest_that_was_measured() -> None:
    assert accuracy_forests.main(["--check"]) == 0


def test_a_wrong_accuracy_in_the_documentation_is_found() -> None:
    text = accuracy_forests.TEXT.read_text(encoding="utf-8")
    changed = text.replace(" ± ", " ± 9", 1)
    assert changed != text == accuracy_forests.filled(changed, accuracy_forests.RESULTS)
