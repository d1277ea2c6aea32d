"""The model is that of PixelClassifier, whatever the order of strokes, and nothing is computed twice."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from unit.session.scene import FEW, LEFT, RIGHT, SOON, scene, two_classes

from gpuseg import PixelClassifier
from gpuseg.errors import DeviceMemoryError
from gpuseg.session import painter as painting
from gpuseg.session import worker as working


def whole(shape: tuple[int, ...], axes: str, labels: dict[int, Any]) -> Any:
    """Label image of the sparse labels of image 0."""
    dense = np.zeros([n for n, a in zip(shape, axes, strict=True) if a != "c"], np.int64)
    where, values = labels[0]
    dense[tuple(where.T)] = values
    return dense


@pytest.mark.parametrize(
    ("shape", "axes"),
    [
        ((60, 72), "yx"),
        ((60, 72, 3), "yxc"),
        ((20, 24, 28), "zyx"),
        ((3, 40, 44), "tyx"),
        ((2, 9, 30, 34, 2), "tzyxc"),
        ((2, 40, 44), "cxy"),
    ],
)
def test_strokes_in_any_order_teach_what_the_classifier_learns(
    start: Any, shape: tuple[int, ...], axes: str
) -> None:
    rng = np.random.default_rng(0)
    image = scene(shape)
    places = [n for n, a in zip(shape, axes, strict=True) if a != "c"]
    session = start(image, axes)
    session.view()
    painted = np.zeros(places, np.int64)
    for label in (3, 7, 3, 0, 5, 7):
        where = np.stack([rng.integers(0, n, 60) for n in places], axis=1)
        session.update(where, label)
        painted[tuple(where.T)] = label
    final = session.update(np.zeros((0, len(places)), int), [])
    final.result(SOON)
    expected = PixelClassifier(FEW, axes=axes, n_estimators=10, backend="cpu").fit(image, painted)
    assert session.model.hash == expected.model_.hash
    assert_array_equal(whole(shape, axes, session.labels), painted)


def test_training_has_the_settings_of_the_session(start: Any, monkeypatch: Any, backend: str) -> None:
    told: list[Any] = []
    teach = working.teach
    monkeypatch.setattr(working, "teach", lambda *a, **k: [told.append(k), teach(*a, **k)][1])
    settings = {"forest": "sklearn", "trees": 3, "seed": 5, "threads": 1, "backend": backend}
    session = start(scene(), **settings)
    two_classes(session).result(SOON)
    assert told == [settings]
    assert session.model.provenance["training"]["forest"] == "sklearn"


def test_images_of_several_sizes_and_an_unlabelled_one_teach_the_same(start: Any) -> None:
    images = [scene((60, 72)), scene((48, 30), 1), scene((20, 20), 2)]
    session = start(images[0], features="all")
    assert [session.add_image(i) for i in images[1:]] == [1, 2]
    session.view(image=1)
    session.update(LEFT, 1, image=0)
    session.update([[3, 4], [9, 20]], [2, 1])
    assert session.update(RIGHT, 2, image=0).result(SOON).image == 1
    expected = PixelClassifier(n_estimators=10, backend="cpu").fit(images, session.labels)
    assert session.model.hash == expected.model_.hash
    assert sorted(session.labels) == [0, 1]


def test_features_that_fit_fewer_images_are_computed_anew(start: Any) -> None:
    images = [scene((60, 72)), scene((24, 30), 1)]
    session = start(images[0], features="all")
    session.add_image(images[1])
    session.view()
    before = two_classes(session).result(SOON).model
    features = session.model.forest.n_features
    session.update([[3, 4], [9, 20]], [1, 2], image=1).result(SOON)
    assert session.model.forest.n_features < features
    expected = PixelClassifier(n_estimators=10, backend="cpu").fit(images, session.labels)
    assert session.model.hash == expected.model_.hash != before


def test_of_equal_pixels_in_a_stroke_the_last_counts(start: Any) -> None:
    session = start(scene())
    session.update([[1, 2], [3, 4], [1, 2], [3, 4]], [1, 2, 5, 0])
    where, values = session.labels[0]
    assert (where.tolist(), values.tolist()) == ([[1, 2]], [5])


def test_probabilities_are_those_of_the_classifier_in_the_axes_of_the_image(start: Any) -> None:
    image = scene((2, 2, 50, 40, 30))
    session = start(image, "tcxyz", tile=2**8)
    session.view((slice(10, 30), 5, slice(4, None)), t=1)
    session.update([[0, 3, 4, 5], [1, 40, 30, 2]], 1)
    answer = session.update([[1, 3, 4, 25], [1, 40, 30, 28]], 2).result(SOON)
    fitted = PixelClassifier.from_model(session.model, axes="tcxyz", backend="cpu")
    expected = fitted.predict_proba(image)[1, 10:30, 5:6, 4:]
    assert_array_equal(answer.proba, expected)
    assert (answer.t, answer.model, answer.complete) == (1, session.model.hash, True)
    assert answer.region == (slice(10, 30), slice(5, 6), slice(4, 30))
    assert [c.value for c in answer.classes] == [1, 2]


# Nothing is computed twice


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """What was asked of the feature code: pixels computed by themselves, and cores of tiles."""
    seen = SimpleNamespace(pixels=[], tiles=[])
    at, stack = painting.features_at, painting.feature_stack

    def watched_at(b: Any, image: Any, selection: Any, where: Any) -> Any:
        seen.pixels += [tuple(w) for w in where.tolist()]
        return at(b, image, selection, where)

    def watched_stack(b: Any, image: Any, selection: Any, core: Any) -> Any:
        seen.tiles.append(core)
        return stack(b, image, selection, core)

    monkeypatch.setattr(painting, "features_at", watched_at)
    monkeypatch.setattr(painting, "feature_stack", watched_stack)
    return seen


def test_only_new_pixels_are_computed(start: Any, asked: SimpleNamespace) -> None:
    session = start(scene())
    two_classes(session).result(SOON)
    assert len(asked.pixels) == len(LEFT) + len(RIGHT)
    session.update(LEFT[:5], 2).result(SOON)
    session.update(RIGHT[:5], 0).result(SOON)
    session.update([[50, 60]], 2).result(SOON)
    assert asked.pixels[len(LEFT) + len(RIGHT) :] == [(0, 50, 60)]
    session.update(RIGHT[:1], 2).result(SOON)
    assert asked.pixels[-1] == (0, *RIGHT[0])  # erased pixels were forgotten


def test_pixels_in_view_come_from_its_planes(start: Any, asked: SimpleNamespace) -> None:
    session = start(scene((100, 90)), tile=2**11)
    session.view((slice(0, 20), slice(0, 90))).result(SOON)
    tiles = len(asked.tiles)
    session.update([[3, 4], [80, 4]], 1)
    session.update([[3, 80]], 2).result(SOON)
    session.update([[9, 70]], 2).result(SOON)
    assert asked.pixels == [(0, 80, 4)]
    assert len(asked.tiles) == tiles > 1


def test_a_view_that_moves_finds_its_tiles_again(start: Any, asked: SimpleNamespace) -> None:
    session = start(scene((128, 128)), tile=2**10)
    session.view((slice(0, 64), slice(0, 64))).result(SOON)
    assert len(asked.tiles) == 4
    session.view((slice(10, 50), slice(40, 90))).result(SOON)
    assert len(asked.tiles) == 6


def test_planes_stay_within_their_memory_and_the_answer_is_the_same(start: Any) -> None:
    image = scene((96, 96))
    tile_bytes = 4 * 4 * 32 * 32
    session, roomy = start(image, tile=2**10, cache_bytes=3 * tile_bytes), start(image, tile=2**10)
    for s in (session, roomy):
        s.view()
    answer = two_classes(session).result(SOON)
    assert_array_equal(answer.proba, two_classes(roomy).result(SOON).proba)
    assert session.cached_bytes == 3 * tile_bytes
    assert roomy.cached_bytes == 9 * tile_bytes
    session.view((slice(64, 96), slice(64, 96))).result(SOON)
    assert session.cached_bytes == 3 * tile_bytes


@pytest.mark.parametrize("error", [MemoryError(), DeviceMemoryError("the memory of the GPU does not do")])
@pytest.mark.parametrize("owner", ["feature_stack", "features_at", "forest_proba"])
def test_planes_make_room_where_memory_ends(start: Any, owner: str, error: Exception) -> None:
    """The first call finds no memory; the answer is the same."""
    expected = start(scene())
    expected.view()
    right = two_classes(expected).result(SOON)
    session = start(scene())
    session.view().result(SOON)
    painter, kept = session._worker.painter, []

    def once(work: Any) -> Any:
        def ended(*args: Any) -> Any:
            kept.append(session.cached_bytes)
            if len(kept) == 1:
                raise error
            return work(*args)

        return ended

    home = painter.b if owner == "forest_proba" else painting
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(home, owner, once(getattr(home, owner)))
        if owner != "forest_proba":
            painter.cache.clear()  # so that they are made again
        got = two_classes(session).result(SOON)
    assert got.model == right.model
    assert_array_equal(got.proba, right.proba)
    assert session.error is None
    assert kept
