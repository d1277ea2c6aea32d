"""Components and floods are those that the plain definitions give, on every backend."""

from typing import Any

import numpy as np
import pytest
from hostcuda import running
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.testing import assert_array_equal
from scipy import ndimage

from gpuseg.backends import _reference_objects, get_backend
from gpuseg.backends._cuda import components as on_card
from gpuseg.backends._numba import components as compiled
from gpuseg.backends._numba import flood as flooding
from gpuseg.backends._numba import threads
from gpuseg.backends.cpu import CpuBackend, ReferenceBackend
from gpuseg.errors import ShapeError

CPU, REFERENCE = CpuBackend(), ReferenceBackend()
DTYPES = ("bool", "uint8", "uint16", "int32", "uint32", "int64")


def spiral(side: int) -> np.ndarray:
    """One line, a pixel wide, wound up with a pixel between its turns."""
    image = np.zeros((side + 4, side + 4), bool)
    image[2:-2, 2:-2] = True
    y, x, dy, dx, wound = 2, 2, 0, 1, np.zeros_like(image)
    wound[y, x] = True
    turns = 0
    while turns < 2:
        ahead = y + 2 * dy, x + 2 * dx
        if image[y + dy, x + dx] and not wound[y + dy, x + dx] and not wound[ahead]:
            y, x, turns = y + dy, x + dx, 0
            wound[y, x] = True
        else:
            dy, dx, turns = dx, -dy, turns + 1
    return wound[None, 2:-2, 2:-2]


def noise(shape: tuple[int, ...], values: int = 2, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, values, shape)


def comb(shape: tuple[int, int]) -> np.ndarray:
    """Teeth that only the last row joins: every one of them is a root until then."""
    image = np.zeros((1, *shape), bool)
    image[:, :, ::2] = image[:, -1] = True
    return image


IMAGES = {
    "noise": noise((1, 70, 100)),
    "a volume of noise": noise((9, 18, 70)),
    "sparse noise": noise((5, 30, 40), 9) == 1,
    "several values": noise((1, 45, 130), 4),
    "a volume of several values": noise((6, 19, 40), 3),
    "empty": np.zeros((1, 40, 50), int),
    "full": np.ones((3, 40, 50), int),
    "a checkerboard": np.indices((5, 33, 66)).sum(0) % 2,
    "a board of two values": np.indices((1, 33, 66)).sum(0) % 2 + 1,
    "a spiral": spiral(75),
    "a spiral on its side": spiral(60).transpose(1, 0, 2).copy(),
    "a comb": comb((70, 99)),
    "combs back to back": np.concatenate([comb((40, 70))[:, ::-1], comb((40, 70))], 1),
    "one pixel": np.ones((1, 1, 1), int),
    "one pixel of nothing": np.zeros((1, 1, 1), int),
    "a row": noise((1, 1, 200), 3),
    "a column": noise((1, 200, 1), 3),
    "along z": noise((90, 1, 1), 3),
    "no pixels": np.zeros((0, 4, 5), int),
    "no columns": np.zeros((2, 4, 0), int),
    "words and parts of words": np.repeat(noise((1, 9, 40)), 13, 2)[:, :, :449],
}


def by_scipy(image: np.ndarray, connectivity: int) -> tuple[np.ndarray, int]:
    """Components of each value by themselves, numbered anew by their first pixels."""
    labels = np.zeros(image.shape, np.int64)
    near = ndimage.generate_binary_structure(3, connectivity)
    for value in np.unique(image[image != 0]):
        found, _ = ndimage.label(image == value, near)
        labels[found > 0] = found[found > 0] + labels.max()
    _, first, which = np.unique(labels[labels > 0], return_index=True, return_inverse=True)
    numbered = np.zeros(image.shape, np.int32)
    numbered[labels > 0] = (np.argsort(np.argsort(first)) + 1)[which] if len(first) else 0
    return numbered, len(first)


def found(b: Any, image: np.ndarray, connectivity: int = 1) -> tuple[np.ndarray, int]:
    labels, count = b.components(image, connectivity)
    return b.to_numpy(labels), count


def same(found: tuple[np.ndarray, int], expected: tuple[np.ndarray, int]) -> None:
    assert found[1] == expected[1]
    assert isinstance(found[1], int)
    assert found[0].dtype == np.int32
    assert_array_equal(found[0], expected[0])


@pytest.mark.parametrize("connectivity", [1, 2, 3])
@pytest.mark.parametrize("image", IMAGES.values(), ids=IMAGES.keys())
def test_components_are_those_of_scipy(fast, image, connectivity) -> None:
    same(found(fast, image, connectivity), by_scipy(image, connectivity))


@pytest.mark.parametrize("connectivity", [1, 2, 3])
@pytest.mark.parametrize("image", IMAGES.values(), ids=IMAGES.keys())
def test_the_definition_says_what_scipy_does(image, connectivity) -> None:
    same(REFERENCE.components(image, connectivity), by_scipy(image, connectivity))


@settings(max_examples=150)
@given(
    hnp.arrays(
        st.sampled_from(DTYPES[1:]),
        hnp.array_shapes(min_dims=3, max_dims=3, min_side=1, max_side=9),
        elements=st.integers(0, 3),
        fill=st.just(1),
    ),
    st.integers(1, 3),
)
def test_components_of_any_small_image(image, connectivity) -> None:
    same(CPU.components(image, connectivity), by_scipy(image, connectivity))


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_integer_type_gives_the_same(fast, dtype) -> None:
    image = noise((4, 17, 140)).astype(dtype)
    same(found(fast, image, 2), by_scipy(image, 2))


def test_values_that_differ_in_high_bits_only_stay_apart(fast) -> None:
    image = np.array([[[1, 1 + 2**40, 2**40, 2**32, 0, -(2**63)]]])
    assert found(fast, image)[0].tolist() == [[[1, 2, 3, 4, 0, 5]]]


def test_views_of_an_image_are_read_where_they_lie(fast) -> None:
    image = noise((7, 30, 40), 3)[::2, 3:, ::-1]
    same(found(fast, image, 1), by_scipy(image, 1))


@pytest.mark.parametrize("setting", ["reverse", "after", "before", "threads"])
def test_the_order_of_gpu_threads_changes_nothing(host_cuda, setting) -> None:
    """Nor do they read outside of arrays."""
    how = {"reverse": True} if setting == "reverse" else {"threads": 4} if setting == "threads" else {}
    b = get_backend("cuda")
    with running(**how, guard="" if how else setting):
        for image in IMAGES.values():
            for connectivity in (1, 3):
                same(found(b, b.asarray(image), connectivity), by_scipy(image, connectivity))


@pytest.mark.parametrize("cores", [1, 2, 7])
def test_threads_change_nothing(monkeypatch, cores) -> None:
    monkeypatch.setattr(threads, "cores", lambda: cores)
    monkeypatch.setattr(compiled, "PART", 500)
    monkeypatch.setattr(flooding, "PART", 500)
    for name in ("noise", "a volume of noise", "a spiral", "combs back to back"):
        same(CPU.components(IMAGES[name], 1), by_scipy(IMAGES[name], 1))
    cost, seeds = costs((1, 40, 60), 0)
    assert_array_equal(CPU.flood(cost, seeds, 0.6), REFERENCE.flood(cost, seeds, 0.6))


@pytest.mark.parametrize("strips", [1, 2, 1000])
def test_the_number_of_strips_changes_nothing(monkeypatch, strips) -> None:
    monkeypatch.setattr(compiled, "STRIPS", strips)
    for image in IMAGES.values():
        same(CPU.components(image, 3), by_scipy(image, 3))


@pytest.mark.parametrize("connectivity", [0, 4])
def test_a_connectivity_that_there_is_not_is_refused(fast, connectivity) -> None:
    with pytest.raises(ShapeError, match=f"connectivity {connectivity}"):
        fast.components(np.ones((1, 2, 2), int), connectivity)


@pytest.mark.parametrize("image", [np.ones((1, 2, 2)), np.ones((2, 2), int)], ids=["float", "plane"])
def test_components_of_what_is_no_volume_of_integers_are_refused(fast, image) -> None:
    with pytest.raises(ShapeError, match=f"array of {image.dtype} with {image.ndim} axes"):
        fast.components(image, 1)


def test_more_pixels_than_a_gpu_can_name_are_refused(host_cuda, monkeypatch) -> None:
    monkeypatch.setattr(on_card, "MOST", 11)
    b = get_backend("cuda")
    with pytest.raises(ShapeError, match="1 x 3 x 4 pixels, the GPU takes 11"):
        b.components(b.asarray(np.ones((1, 3, 4), int)))


def test_more_runs_than_can_be_numbered_are_refused(monkeypatch) -> None:
    monkeypatch.setattr(compiled, "MOST", 3)
    with pytest.raises(ShapeError, match="4 runs of equal pixels, 3 can"):
        CPU.components(np.array([[[1, 0, 1, 0, 1, 2]]]))


def costs(shape: tuple[int, ...], kind: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Costs of few values (1), of many (0) or below 0 too (2); seeds with ids that float32 cannot hold."""
    rng = np.random.default_rng(seed)
    cost = rng.random(shape) if kind == 0 else rng.integers(-3 * (kind == 2), 5, shape) / 4
    ids = rng.integers(1, 9, shape) + 2**24
    seeds = np.where(rng.random(shape) < 0.06, ids, 0)
    return cost.astype(np.float32), seeds.astype(np.int32)


SHAPES = ((1, 30, 50), (5, 9, 14), (1, 1, 60), (40, 1, 1), (1, 1, 1), (7, 1, 9), (2, 2, 2))


@pytest.mark.parametrize("limit", [-0.5, 0.0, 0.3, 0.5, 2.0, np.inf])
@pytest.mark.parametrize("kind", [0, 1, 2], ids=["many values", "few values", "values below 0"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_floods_are_those_of_one_queue(fast, shape, kind, limit) -> None:
    for seed in range(3):
        cost, seeds = costs(shape, kind, seed)
        flooded = fast.flood(cost, seeds, limit)
        assert flooded.dtype == np.int32
        assert_array_equal(flooded, REFERENCE.flood(cost, seeds, limit))


@settings(max_examples=150)
@given(
    st.tuples(st.integers(1, 4), st.integers(1, 9), st.integers(1, 9)),
    st.integers(2, 4),
    st.integers(0, 2**32 - 1),
    st.sampled_from([0.0, 0.25, 0.5, 0.75]),
)
def test_floods_of_any_small_image(shape, values, seed, limit) -> None:
    rng = np.random.default_rng(seed)
    cost = (rng.integers(0, values, shape) / 4).astype(np.float32)
    seeds = (rng.integers(0, 9, shape) == 0) * rng.integers(1, 4, shape)
    assert_array_equal(CPU.flood(cost, seeds, limit), REFERENCE.flood(cost, seeds, limit))


def test_what_is_not_a_number_is_flooded_last(fast) -> None:
    cost = np.array([[[0, np.nan, 0.5, -0.0, np.inf]]], np.float32)
    seeds = np.array([[[7, 0, 0, 0, 0]]], np.int32)
    assert fast.flood(cost, seeds, 1)[0, 0].tolist() == [7, 7, 0, 0, 0]
    assert fast.flood(cost, seeds, np.inf)[0, 0].tolist() == [7, 7, 7, 7, 7]


def test_growth_ends_one_pixel_beyond_the_limit(fast) -> None:
    cost = np.array([[[0, 0.1, 0.9, 0.1, 0.9, 0.9, 0]]], np.float32)
    seeds = np.array([[[3, 0, 0, 0, 0, 0, 2**30]]], np.int32)
    assert fast.flood(cost, seeds, 0.5)[0, 0].tolist() == [3, 3, 3, 0, 0, 2**30, 2**30]


def test_without_seeds_nothing_grows(fast) -> None:
    assert not fast.flood(np.zeros((2, 9, 9), np.float32), np.zeros((2, 9, 9), np.int32), 1.0).any()
    assert fast.flood(np.zeros((0, 9, 9), np.float32), np.zeros((0, 9, 9), np.int32), 1.0).size == 0


def test_seeds_keep_their_ids_beyond_the_limit_too(fast) -> None:
    seeds = np.array([[[0, 5, 0]]], np.int32)
    assert fast.flood(np.full((1, 1, 3), 9, np.float32), seeds, 1.0).tolist() == seeds.tolist()


def test_costs_and_seeds_of_different_shapes_are_refused(fast) -> None:
    with pytest.raises(ShapeError, match=r"shape \(1, 2, 3\) from seeds of int32, shape \(1, 3, 2\)"):
        fast.flood(np.zeros((1, 2, 3), np.float32), np.zeros((1, 3, 2), np.int32), 1.0)


def test_more_pixels_than_cells_can_be_numbered_are_refused(monkeypatch) -> None:
    monkeypatch.setattr(flooding, "MOST", 29)
    with pytest.raises(ShapeError, match="1 x 3 x 4 pixels, 29 can"):
        CPU.flood(np.zeros((1, 3, 4), np.float32), np.zeros((1, 3, 4), np.int32), 1.0)


def test_neighbours_are_those_that_connectivity_says() -> None:
    assert [len(_reference_objects.neighbours(c)) for c in (1, 2, 3)] == [6, 18, 26]
