"""Tiles cover an image once and see exactly their halo."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuseg.tiles import LEAST, Tile, tile_size, tiles

axis = st.tuples(st.integers(1, 40), st.integers(1, 50), st.integers(0, 60))


@given(st.lists(axis, min_size=1, max_size=3))
def test_cores_cover_every_pixel_once(layout):
    shape, size, halo = zip(*layout, strict=True)
    seen = np.zeros(shape, int)
    for tile in tiles(shape, size, halo):
        seen[tile.core] += 1
        assert all(c.stop - c.start <= s for c, s in zip(tile.core, size, strict=True))
    assert (seen == 1).all()


@given(st.lists(axis, min_size=1, max_size=3))
def test_a_tile_reads_its_halo_and_no_further_than_the_image(layout):
    shape, size, halo = zip(*layout, strict=True)
    for tile in tiles(shape, size, halo):
        for core, read, n, h in zip(tile.core, tile.read, shape, halo, strict=True):
            assert (read.start, read.stop) == (max(core.start - h, 0), min(core.stop + h, n))


@given(st.lists(axis, min_size=2, max_size=2))
def test_inside_is_the_core_of_what_was_read(layout):
    shape, size, halo = zip(*layout, strict=True)
    image = np.arange(shape[0] * shape[1]).reshape(shape)
    for tile in tiles(shape, size, halo):
        assert np.array_equal(image[tile.read][tile.inside], image[tile.core])


def test_tiles_come_row_by_row():
    assert [t.core for t in tiles((3, 4), (2, 3), (0, 0))] == [
        (slice(0, 2), slice(0, 3)),
        (slice(0, 2), slice(3, 4)),
        (slice(2, 3), slice(0, 3)),
        (slice(2, 3), slice(3, 4)),
    ]


def test_an_empty_image_has_no_tiles():
    assert list(tiles((0, 5), (2, 2), (1, 1))) == []


def test_lengths_must_agree():
    with pytest.raises(ValueError, match="shorter"):
        list(tiles((4, 4), (2, 2), (1,)))


def test_a_tile_is_a_value():
    region = (slice(0, 1),)
    assert Tile(region, region) == Tile(region, region)


@given(st.lists(st.tuples(st.integers(1, 5000), st.integers(0, 60)), min_size=3, max_size=3))
def test_a_tile_is_no_larger_than_allowed_nor_than_the_image(layout):
    shape, halo = zip(*layout, strict=True)
    size = tile_size(shape, halo, pixels=2**18)
    assert np.prod(size) <= 2**18
    assert all(s <= n for s, n in zip(size, shape, strict=True))


@given(st.lists(st.tuples(st.integers(1, 5000), st.integers(0, 60)), min_size=3, max_size=3))
def test_edges_of_a_tile_fall_on_chunks(layout):
    """Powers of two, or the whole axis."""
    shape, halo = zip(*layout, strict=True)
    for s, n in zip(tile_size(shape, halo, 2**18), shape, strict=True):
        assert s == n or s & (s - 1) == 0


def test_an_image_that_fits_is_one_tile():
    assert tile_size((1, 700, 900), (0, 38, 38), 2**20) == (1, 700, 900)


def test_slices_without_a_halo_between_them_come_one_by_one():
    assert tile_size((50, 512, 512), (0, 38, 38), 512 * 512) == (1, 512, 512)


def test_what_is_read_beyond_the_tile_is_least():
    """A square reads less around itself than a strip of the same area."""
    assert tile_size((1, 4096, 4096), (0, 38, 38), 2**20) == (1, 1024, 1024)
    assert tile_size((512, 512, 512), (8, 8, 8), 2**21) == (128, 128, 128)


def test_where_little_is_allowed_a_tile_still_has_an_edge():
    assert tile_size((1, 4096, 4096), (0, 38, 38), 1) == (1, LEAST, LEAST)


def test_tiles_are_no_larger_than_they_need_be():
    assert tile_size((1, 8192, 8192), (0, 38, 38), 2**26) == (1, 2048, 2048)
    assert tile_size((1, 8192, 8192), (0, 0, 0), 2**26) == tile_size((1, 8192, 8192), (0, 0, 0), 2**22)


def test_tiles_of_volumes_are_large_where_halos_are():
    halo = (38, 38, 38)
    assert np.prod(tile_size((512, 512, 512), halo, 2**26)) == 2**26
    assert np.prod(tile_size((512, 512, 512), (2, 2, 2), 2**26)) <= 2**22
