"""napari-convpaint#67, #69: what came out of tiles was not what comes out of the whole image."""

import numpy as np
import pytest

import gpuseg as library
from gpuseg import api
from gpuseg.backends import get_backend
from gpuseg.features.filters import FILTERS
from gpuseg.features.selection import SIGMAS, Selection
from gpuseg.features.stack import feature_stack
from gpuseg.tiles import tiles

IMAGES = {"2D": (1, 97, 83), "3D": (40, 47, 43)}
FITTING = {"2D": 10.0, "3D": 5.0}  # the largest sigma
DEVICES = ["cpu", "cuda on the host"]


def scene(kind):
    """Noise on a slope with a bright corner: what padding, scaling and centring by tile would show."""
    shape = IMAGES[kind]
    image = np.random.default_rng(5).random(shape).astype(np.float32) * 50
    image += np.arange(shape[2], dtype=np.float32)
    image[..., :9, :9] += 1000
    return image


def backend(request, device):
    if device != "cpu":
        request.getfixturevalue("host_cuda")
    return get_backend(device.split()[0])


@pytest.mark.parametrize("name", [n for n in sorted(FILTERS) if FILTERS[n].ilastik])
@pytest.mark.parametrize("kind", IMAGES)
@pytest.mark.parametrize("device", DEVICES)
def test_planes_of_random_tiles_are_those_of_the_whole_convpaint_67(request, name, kind, device):
    b, image = backend(request, device), scene(kind)
    sigmas = [s for s in SIGMAS if FILTERS[name].smallest <= s <= FITTING[kind]]
    selection = Selection.table({name: sigmas}, in_2d=kind == "2D")
    whole = b.to_numpy(feature_stack(b, b.asarray(image[None]), selection))
    rng = np.random.default_rng(len(name))
    size = [min(n, int(s)) for n, s in zip(image.shape, rng.integers(32, 60, 3), strict=True)]
    for tile in tiles(image.shape, size, selection.halo(image.shape[0])):
        part = b.asarray(np.ascontiguousarray(image[tile.read])[None])
        found = b.to_numpy(feature_stack(b, part, selection, tile.inside))
        np.testing.assert_array_equal(found, whole[(slice(None), *tile.core)])


@pytest.fixture
def little_room(monkeypatch):
    """Memory for tiles of the least size."""
    from gpuseg.backends.cpu import CpuBackend

    monkeypatch.setattr(CpuBackend, "room", lambda self, values: 1)


def test_a_tiled_prediction_is_that_of_the_whole_image_convpaint_69(
    tmp_path, read, small_image, small_model, request
):
    image, model = small_image(90, 110), small_model()
    whole = library.PixelClassifier.from_model(model, backend="cpu").predict_proba(image)
    np.save(tmp_path / "a.npy", image)
    request.getfixturevalue("little_room")
    tiled = library.PixelClassifier.from_model(model, backend="cpu").predict_proba(image)
    api.predict(model, tmp_path / "a.npy", output=f"{tmp_path}/p.h5", backend="cpu")
    np.testing.assert_array_equal(tiled, whole)
    np.testing.assert_array_equal(read(tmp_path / "p.h5"), whole)


@pytest.mark.parametrize("seed", range(6))
def test_objects_of_random_tiles_are_those_of_the_whole_convpaint_67(tmp_path, read, write, seed):
    rng = np.random.default_rng(seed)
    path = write(tmp_path / "map.h5", rng.random((70, 80)).astype(np.float32), "yx")
    tile = (1, *(int(n) for n in rng.integers(7, 60, 2)))
    how = {"sigma": 1.3, "threshold": 0.5, "min_size": 4}
    api.segment(path, output=f"{tmp_path}/whole.tif", **how)
    api.segment(path, output=f"{tmp_path}/tiled.tif", block=tile, **how)
    np.testing.assert_array_equal(read(tmp_path / "tiled.tif"), read(tmp_path / "whole.tif"))
