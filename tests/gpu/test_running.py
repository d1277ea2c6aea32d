"""Whole images on the card: tiles, too little memory, several threads, a session."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from gpuseg import PixelClassifier, Session, api
from gpuseg.backends import get_backend
from gpuseg.backends._kernels import FILES
from gpuseg.backends.cuda import CudaBackend
from gpuseg.features import tiled
from gpuseg.features.selection import Selection
from gpuseg.features.stack import feature_stack, probabilities

pytestmark = pytest.mark.gpu


@pytest.fixture
def trained(picture):
    """An image and a model of it."""
    pixels = picture((1, 1, 2000, 2100), (1, 1, 80, 90))[0, 0].astype(np.uint8)
    scribbles = np.zeros(pixels.shape, np.uint8)
    scribbles[5, 5:60], scribbles[40, 5:60] = 1, 2
    return pixels, PixelClassifier(n_estimators=10, backend="cpu").fit(pixels, scribbles).model_


def predicted(model, pixels, folder, backend, **more):
    np.save(folder / "image.npy", pixels)
    target = folder / f"{backend}.npy"
    [outcome] = api.predict(
        model, folder / "image.npy", output=str(target), dtype="uint8", backend=backend, **more
    )
    assert outcome.error is None
    return np.load(target)


def test_every_kernel_is_launched_by_the_script_that_the_sanitizer_watches(cuda, every_kernel):
    assert every_kernel["launch_all"](cuda) == set(FILES)


def test_a_file_is_predicted_as_on_the_cpu(cuda, trained, tmp_path):
    pixels, model = trained
    expected = predicted(model, pixels, tmp_path, "cpu")
    found = predicted(model, pixels, tmp_path, "cuda")
    assert (found != expected).any(-1).mean() <= 1e-4


def test_with_little_memory_tiles_are_small_and_the_answer_is_the_same(cuda, trained, tmp_path):
    pixels, model = trained
    expected = predicted(model, pixels, tmp_path, "cuda")
    tiles = []
    found = predicted(
        model, pixels, tmp_path, "cuda", gpu_memory=4 * pixels.size, progress=lambda *at: tiles.append(at)
    )
    assert_array_equal(found, expected)
    assert tiles[-1][2] > 1


def test_a_tile_that_does_not_fit_is_halved(cuda, trained, tmp_path, monkeypatch, caplog):
    """As if the room that was there had been taken by another program meanwhile."""
    pixels, model = trained
    expected = predicted(model, pixels, tmp_path, "cuda")
    monkeypatch.setattr(CudaBackend, "room", lambda self, floats: 2**26)
    monkeypatch.setattr(tiled, "LEAST", 64)
    found = predicted(model, pixels, tmp_path, "cuda", gpu_memory=8 * pixels.size)
    assert_array_equal(found, expected)
    assert "going on in smaller tiles" in caplog.text


def test_two_threads_get_the_answers_of_one(cuda, picture, forest_of):
    pixels = [picture((1, 1, 500, 600), (1, 1, 40, 50), seed=i) for i in range(4)]
    selection = Selection.all({"z": 1, "y": pixels[0].shape[2], "x": pixels[0].shape[3]})
    forest = forest_of(selection.count(1, 1), (6, 5))

    def answer(image):
        return cuda.to_numpy(probabilities(cuda, cuda.asarray(image), selection, forest))

    expected = [answer(image) for image in pixels]
    with ThreadPoolExecutor(2) as pool:
        for a, e in zip(pool.map(answer, pixels), expected, strict=True):
            assert_array_equal(a, e)


def test_a_session_on_the_card_shows_what_the_cpu_shows(cuda, trained):
    pixels, _ = trained
    where = np.array([(5, x) for x in range(5, 60)] + [(40, x) for x in range(5, 60)])
    labels = np.repeat([1, 2], 55)
    shown = []
    for backend in ("cuda", "cpu"):
        with Session(pixels, axes="yx", forest="hist", trees=10, backend=backend) as session:
            session.view(region=tuple(slice(0, min(n, 512)) for n in pixels.shape))
            shown.append(session.update(where, labels).result(120))
    assert shown[0].model == shown[1].model
    assert (shown[0].proba != shown[1].proba).any(-1).mean() <= 1e-4


def test_memory_is_given_back(cuda, picture):
    import cupy  # or what stands in for it

    pixels = picture((1, 1, 2000, 2000), (1, 1, 40, 40))
    selection = Selection.all({"z": 1, "y": pixels.shape[2], "x": pixels.shape[3]})
    image = cuda.asarray(pixels)
    feature_stack(cuda, image, selection)  # once: what the backend keeps of a selection stays
    cuda.release()
    before = cupy.cuda.Device().mem_info[0]
    planes = feature_stack(cuda, image, selection)
    assert cupy.cuda.Device().mem_info[0] < before
    del planes
    cuda.release()
    assert cupy.cuda.Device().mem_info[0] >= before
    assert get_backend("cuda") is cuda
