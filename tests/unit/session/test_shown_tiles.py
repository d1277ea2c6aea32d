"""Which tiles show a view, in which order, and which planes are kept."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from gpuseg.session.planes import PlaneCache, rest_tiles, viewed_tiles


def test_the_oldest_planes_go_first() -> None:
    cache = PlaneCache(20)
    keys = [(0, 0, i, i + 1, 0, 1, 0, 1) for i in range(4)]
    for key in keys[:2]:
        cache.put(key, "planes", 10)
    assert cache.get(keys[0])
    assert not cache.make_room(10, keys)
    assert cache.make_room(10, keys[2:])
    cache.put(keys[2], "planes", 10)
    assert [bool(cache.get(k)) for k in keys] == [True, False, True, False]
    assert cache.used == 20


def test_viewed_tiles_cover_the_view_from_its_centre() -> None:
    region = (slice(0, 1), slice(30, 200), slice(40, 250))
    found = viewed_tiles((1, 300, 300), region, (0, 5, 5), 2**10)
    seen = np.zeros((300, 300), int)
    for tile in found:
        seen[tile.core[1:]] += 1
    assert seen.max() == 1
    assert seen[30:200, 40:250].all()
    away = [
        np.hypot(*((t.core[a].start + t.core[a].stop - region[a].start - region[a].stop) for a in (1, 2)))
        for t in found
    ]
    assert all(a <= b for a, b in pairwise(away))


@pytest.mark.parametrize(
    ("shape", "region", "size"),
    [
        ((1, 4096, 4096), (slice(0, 1), slice(0, 2000), slice(0, 2000)), (1, 512, 512)),
        ((512, 512, 512), (slice(0, 200), slice(0, 200), slice(0, 200)), (64, 64, 64)),
        ((512, 512, 512), (slice(7, 8), slice(0, 512), slice(0, 512)), (1, 512, 512)),
        ((512, 512, 512), (slice(0, 512), slice(9, 10), slice(0, 512)), (512, 1, 512)),
        ((1, 300, 200), (slice(0, 1), slice(5, 6), slice(0, 100)), (1, 1, 200)),
    ],
)
def test_tiles_are_as_thin_as_the_view(shape: Any, region: Any, size: Any) -> None:
    found = viewed_tiles(shape, region, (38, 38, 38), 2**18)
    assert tuple(s.stop - s.start for s in found[0].core) == size


def test_the_rest_covers_what_the_view_leaves() -> None:
    shape, region = (1, 200, 200), (slice(0, 1), slice(64, 128), slice(64, 128))
    viewed = viewed_tiles(shape, region, (0, 5, 5), 2**10)
    seen = np.zeros(shape, int)
    for tile in viewed + rest_tiles(shape, region, (0, 5, 5), 2**10, viewed):
        seen[tile.core] += 1
    assert (seen == 1).all()
