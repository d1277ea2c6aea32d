"""PixelClassifier: the same answers in any axis order, tile, thread count and stroke order."""

from dataclasses import replace
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from gpuseg import PixelClassifier, Selection
from gpuseg.axes import reorder
from gpuseg.backends import cpu
from gpuseg.errors import InputError, LabelError, ModelMismatchError
from gpuseg.features import tiled
from gpuseg.features.stack import features_at
from gpuseg.pixel import learning

FEW = {"gaussian_smoothing": [0.7, 1.6], "hessian_of_gaussian_eigenvalues": [1.6]}


def scene(shape: tuple[int, ...] = (60, 72), seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Noise on the left, brighter noise on the right of the last axis; two strokes of each on slices."""
    rng = np.random.default_rng(seed)
    image = rng.normal(size=shape).astype(np.float32)
    half = shape[-1] // 2
    image[..., half:] += 4
    labels = np.zeros(shape, np.uint8)
    labels[..., 5:7, 3 : half - 6] = labels[..., 15, 3 : half - 6] = 2
    labels[..., 5:7, half + 6 : -3] = labels[..., 15, half + 6 : -3] = 7
    return image, labels


def quick(**settings) -> PixelClassifier:
    return PixelClassifier(**({"features": FEW, "n_estimators": 10} | settings))


@pytest.fixture(scope="module")
def fitted() -> PixelClassifier:
    return quick().fit(*scene())


def test_it_tells_the_classes_apart(fitted: PixelClassifier) -> None:
    image, _ = scene(seed=1)
    predicted = fitted.predict(image)
    assert (predicted.dtype, predicted.shape) == (np.uint8, image.shape)
    assert (predicted[:, :30] == 2).mean() > 0.99
    assert (predicted[:, 42:] == 7).mean() > 0.99


def test_fitted_attributes_tell_what_was_learned(fitted: PixelClassifier) -> None:
    assert fitted.classes_.tolist() == [2, 7]
    assert fitted.n_features_in_ == len(fitted.feature_names_) == len(fitted.feature_importances_) == 4
    assert fitted.feature_names_[0] == "Gaussian Smoothing (σ=0.7) in 2D"
    assert fitted.feature_importances_.sum() == pytest.approx(1)
    assert 0.9 < fitted.oob_score_ <= 1
    assert fitted.oob_confusion_.shape == (2, 2)
    told = fitted.model_.provenance["training"]
    assert told["labels"] == {"2": 81, "7": 81}
    assert (told["trees"], told["seed"], told["images"], told["forest"]) == (10, 0, 1, "hist")


def test_probabilities_segmentation_and_uncertainty_agree(fitted: PixelClassifier) -> None:
    image, _ = scene(seed=2)
    proba = fitted.predict_proba(image)
    assert (proba.dtype, proba.shape) == (np.float32, (*image.shape, 2))
    assert_allclose(proba.sum(axis=-1), 1, atol=1e-6)
    assert_array_equal(fitted.predict(image), fitted.classes_[proba.argmax(axis=-1)])
    assert_allclose(fitted.uncertainty(image), 1 - abs(proba[..., 0] - proba[..., 1]), atol=1e-6)


def test_only_features_at_scribbles_are_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def watched(b, image, selection, where):
        asked.append(len(where))
        return features_at(b, image, selection, where)

    monkeypatch.setattr(learning, "features_at", watched)
    image, labels = scene((200, 300))
    quick().fit(image, labels)
    assert asked == [np.count_nonzero(labels)]


def test_a_saved_classifier_predicts_the_same(fitted: PixelClassifier, tmp_path: Path) -> None:
    fitted.save(tmp_path / "a.gpuseg")
    back = PixelClassifier.load(tmp_path / "a.gpuseg", backend="cpu")
    image, _ = scene(seed=3)
    assert_array_equal(back.predict_proba(image), fitted.predict_proba(image))
    assert back.backend == "cpu"
    assert back.oob_score_ == fitted.oob_score_
    assert_array_equal(back.feature_importances_, fitted.feature_importances_)
    again = back.set_params(n_estimators=10).fit(*scene())
    assert again.model_.hash == fitted.model_.hash


def test_a_model_without_a_training_report_has_no_score(fitted: PixelClassifier) -> None:
    found = PixelClassifier.from_model(replace(fitted.model_, provenance={"project": "a.ilp"}))
    assert found.classes_.tolist() == [2, 7]
    assert not hasattr(found, "oob_score_")
    with pytest.raises(AttributeError, match="does not know its importances"):
        _ = found.feature_importances_


# The same whatever the form


def test_order_of_images_and_threads_change_nothing() -> None:
    images, labels = zip(*(scene(seed=s) for s in range(3)), strict=True)
    first = quick(n_jobs=1).fit(list(images), list(labels)).model_
    for order in permutations(range(3)):
        again = quick(n_jobs=2).fit([images[i] for i in order], [labels[i] for i in order]).model_
        assert again.hash == first.hash
    assert quick(random_state=1).fit(list(images), list(labels)).model_.hash != first.hash


def test_dense_sparse_and_mapped_labels_teach_the_same(fitted: PixelClassifier) -> None:
    image, labels = scene()
    where = np.argwhere(labels)
    values = labels[tuple(where.T)]
    shuffled = np.random.default_rng(0).permutation(len(where))
    blank, nothing = np.zeros_like(image), np.zeros_like(labels)
    for X, y in (
        (image, (where[shuffled], values[shuffled])),
        (image, labels[..., None]),
        (image, labels.astype(float)),
        (image, labels.astype(">i8")),
        (image.tolist(), labels.tolist()),
        ([image], [labels]),
        ([blank, image], {1: labels}),
        ([blank, image], [None, (where, values)]),
        ([image, blank], (labels, nothing)),
    ):
        assert quick().fit(X, y).model_.hash == fitted.model_.hash


def test_labels_with_a_channel_axis_of_their_image(fitted: PixelClassifier) -> None:
    image, labels = scene()
    assert quick(axes="cyx").fit(image[None], labels[None]).model_.hash == fitted.model_.hash
    assert quick(axes="cyx").fit(image[None], labels).model_.hash == fitted.model_.hash


@pytest.mark.parametrize("axes", ["txyc", "ctyx", "xtcy", "yxct", "tyxc"])
def test_any_order_of_axes_gives_the_same(axes: str) -> None:
    image = np.stack([scene(seed=s)[0] for s in range(3)])[..., None]
    image = np.concatenate([image, image[:, ::-1]], axis=-1)  # tyxc, two channels
    labels = np.zeros(image.shape[:3], np.uint8)
    labels[1] = scene()[1]
    expected = quick(axes="tyxc").fit(image, labels)

    places = axes.replace("c", "")
    turned = reorder(image, "tyxc", axes)
    found = quick(axes=axes).fit(turned, reorder(labels, "tyx", places))

    assert found.model_.hash == expected.model_.hash
    proba = found.predict_proba(turned)
    assert_array_equal(reorder(proba, places + "c", "tyxc"), expected.predict_proba(image))
    assert_array_equal(reorder(found.predict(turned), places, "tyx"), expected.predict(image))
    assert found.uncertainty(turned).shape == tuple(image.shape["tyxc".index(a)] for a in places)


def test_sparse_labels_may_be_in_any_order_of_time() -> None:
    movie = np.zeros((2, 40, 40), np.float32)
    movie[1] = 100
    at, classes = np.array([[1, 5, 5], [0, 5, 5], [1, 6, 6], [0, 9, 9]]), np.array([2, 1, 2, 1])
    model = quick(axes="tyx").fit(movie, (at, classes))
    assert_array_equal(model.predict(movie), np.ones_like(movie) + (movie > 0))
    in_time = at[:, 0].argsort(kind="stable")
    assert model.model_.hash == quick(axes="tyx").fit(movie, (at[in_time], classes[in_time])).model_.hash


def test_held_out_strokes_are_told_by_their_own_rows() -> None:
    movie = np.zeros((2, 40, 40), np.float32)
    movie[1] = 100
    at = np.array([[t, y, 5] for y in range(3, 38, 4) for t in (1, 0)])  # t is 1, 0, 1, 0, ...
    found = quick(axes="tyx").cross_validate(movie, (at, at[:, 0] + 1), folds=3)
    assert found.strokes.tolist() == [9, 9]
    assert found.confusion.tolist() == [[9, 0], [0, 9]]


def test_time_points_are_independent(fitted: PixelClassifier) -> None:
    frames = np.stack([scene(seed=s)[0] for s in (4, 5)])
    movie = PixelClassifier.from_model(fitted.model_, axes="tyx").predict_proba(frames)
    assert_array_equal(movie, np.stack([fitted.predict_proba(f) for f in frames]))


def test_volumes_are_filtered_in_3d_and_slices_of_2d_features_alone() -> None:
    image, labels = scene((16, 40, 48))
    labels[:8] = 0
    volume = quick().fit(image, labels)
    assert volume.model_.ndim == 3
    assert volume.n_features_in_ == 5  # three Hessian eigenvalues
    assert volume.predict_proba(image).shape == (16, 40, 48, 2)
    assert volume.score(image, labels) == 1

    flat = quick(features=Selection.table(FEW, in_2d=True)).fit(image, labels)
    single = quick().fit(list(image[8:]), list(labels[8:]))
    assert_array_equal(flat.predict_proba(image)[3], single.predict_proba(image[3]))


@pytest.mark.parametrize(
    ("shape", "axes"),
    [
        ((150, 170), "yx"),
        ((2, 90, 100), "tyx"),
        ((14, 50, 60), "zyx"),
        ((90, 80, 2), "yxc"),
        ((90, 80, 12), "yxc"),
    ],
)
def test_tiled_equals_whole(shape: tuple[int, ...], axes: str, monkeypatch: pytest.MonkeyPatch) -> None:
    image = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    places = tuple(n for n, a in zip(shape, axes, strict=True) if a != "c")
    labels = np.random.default_rng(1).integers(0, 40, places) % 13 % 4  # three classes, some pixels
    features = {f: [0.7, 1.0, 3.5] for f in (*FEW, "structure_tensor_eigenvalues")}
    model = quick(features=features, axes=axes, n_estimators=5).fit(image, labels)
    whole = model.predict_proba(image)
    monkeypatch.setattr(cpu, "TILE", 2000)
    assert_array_equal(model.predict_proba(image), whole)


def test_memory_does_not_grow_with_the_tiles(
    fitted: PixelClassifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def watched(b, image, selection, forest, core):
        seen.append(image.nbytes)
        return np.zeros((1, *(s.stop - s.start for s in core[1:]), 2), np.float32)

    monkeypatch.setattr(tiled, "probabilities", watched)
    monkeypatch.setattr(cpu, "TILE", 2**14)
    fitted.predict(np.zeros((1000, 900), np.uint8))
    assert sum(seen) > 4 * 1000 * 900
    assert max(seen) < 4 * 2 * 2**14


def test_memory_does_not_grow_with_channels(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def watched(b, image, selection, forest, core):
        shape = tuple(s.stop - s.start for s in core)
        seen.append(np.prod(shape) * (len(image) + 2))
        return np.zeros((*shape, 2), np.float32)

    image, labels = scene()
    image = np.repeat(image[..., None], 20, axis=-1)
    model = quick(features={"gaussian_smoothing": [0.7]}, axes="yxc", n_estimators=2).fit(image, labels)
    monkeypatch.setattr(tiled, "probabilities", watched)
    monkeypatch.setattr(cpu, "TILE_BYTES", 32 * 2**14)
    model.predict(np.zeros((400, 500, 20), np.uint8))
    assert sum(seen) == 400 * 500 * 22
    assert max(seen) <= 8 * 2**14


# Scores


def test_score_counts_labelled_pixels_only(fitted: PixelClassifier) -> None:
    image, labels = scene()
    wrong = np.where(labels == 2, 7, labels)
    assert fitted.score(image, labels) == 1
    assert fitted.score([image, image], {0: labels, 1: wrong}) == 0.75
    with pytest.raises(LabelError, match="no labelled pixel to score"):
        fitted.score(image, np.zeros_like(labels))


def test_a_loaded_classifier_scores_what_it_predicts(tmp_path: Path) -> None:
    image, labels = scene()
    movie = np.stack([image] * 5)  # by its shape it would be a volume
    seen = np.stack([labels] * 5)
    quick(axes="tyx").fit(movie, seen).save(tmp_path / "a.gpuseg")
    back = PixelClassifier.load(tmp_path / "a.gpuseg")
    assert back.predict(movie).shape == movie.shape
    assert back.score(movie, seen) == 1
    assert back.score([movie, movie], [None, seen]) == 1


def test_cross_validation_counts_strokes() -> None:
    found = quick().cross_validate(*scene(), folds=3)
    assert found.strokes.tolist() == [2, 2]
    assert found.folds == 2
    assert found.confusion.sum() == 162
    assert found.accuracy > 0.9


# Features


def test_all_leaves_out_scales_that_fit_no_image() -> None:
    image, labels = scene((60, 72))
    small = scene((30, 32))
    assert quick(features="all").fit(image, labels).n_features_in_ == 49
    assert quick(features="all").fit([image, small[0]], [labels, small[1]]).n_features_in_ == 41


def test_features_come_from_a_file_too(tmp_path: Path, fitted: PixelClassifier) -> None:
    lines = [f"{name} = {sigmas}" for name, sigmas in FEW.items()]
    (tmp_path / "few.toml").write_text("\n".join(["[features]", *lines]), encoding="utf-8")
    for path in (tmp_path / "few.toml", str(tmp_path / "few.toml")):
        assert quick(features=path).fit(*scene()).model_.hash == fitted.model_.hash


def test_features_that_are_none_are_refused() -> None:
    with pytest.raises(InputError, match="features = 7"):
        quick(features=7).fit(*scene())
    with pytest.raises(InputError, match="everything"):
        quick(features="everything").fit(*scene())


def test_images_must_be_alike() -> None:
    image, labels = scene()
    with pytest.raises(ModelMismatchError, match=r"X\[1\]: image has 2 channels, X\[0\] has 1"):
        quick(features=FEW).fit([image, np.stack([image, image], axis=-1)], [labels, labels])
    with pytest.raises(ModelMismatchError, match=r"X\[1\]: image is 3D, X\[0\] is 2D"):
        quick().fit([image, np.stack([image] * 20)], [labels, np.stack([labels] * 20)])


def test_sixty_five_channels_are_fine() -> None:
    image, labels = scene()
    image = np.repeat(image[..., None], 65, axis=-1)
    model = quick(features={"gaussian_smoothing": [0.7]}, axes="yxc").fit(image, labels)
    assert model.n_features_in_ == 65
    assert model.score(image, labels) == 1
