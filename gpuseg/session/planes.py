"""Which tiles show a view, and the feature planes of those that were shown lately."""

from collections import OrderedDict
from collections.abc import Collection, Iterator, Sequence
from itertools import product
from math import prod

from gpuseg.backends.base import Array, Backend
from gpuseg.io.faults import free_memory
from gpuseg.session.view import Frame
from gpuseg.tiles import LEAST, Region, Tile, tile_at, tile_size, tiles

Key = tuple[int, ...]  # image, t, then start and stop along z, y, x
MOST_BYTES = 2**31


class PlaneCache:
    """Feature planes by tile, the least recently used dropped first. For one thread."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0  # bytes
        self._kept: OrderedDict[Key, tuple[Array, int]] = OrderedDict()

    def get(self, key: Key) -> Array | None:
        """The planes of a tile, if they are here."""
        if key not in self._kept:
            return None
        self._kept.move_to_end(key)
        return self._kept[key][0]

    def make_room(self, size: int, wanted: Collection[Key]) -> bool:
        """Drop old planes until `size` bytes fit, but none of those `wanted`; whether they fit.

        A view larger than the cache thus keeps as much as fits, where dropping the oldest would keep nothing.
        """
        for key in [k for k in self._kept if k not in wanted]:
            if self.used + size <= self.limit:
                break
            self.used -= self._kept.pop(key)[1]
        return self.used + size <= self.limit

    def put(self, key: Key, planes: Array, size: int) -> None:
        self._kept[key] = planes, size
        self.used += size

    def clear(self) -> None:
        self._kept.clear()
        self.used = 0

    def of(self, image: int, t: int) -> Iterator[tuple[Region, Array]]:
        """Regions (zyx) of an image and time point that are here, with their planes."""
        for key, (planes, _) in self._kept.items():
            if key[:2] == (image, t):
                yield tuple(slice(a, b) for a, b in zip(key[2::2], key[3::2], strict=True)), planes


def key_of(frame: Frame, core: Region) -> Key:
    return frame.image, frame.t, *(i for s in core for i in (s.start, s.stop))


def viewed_tiles(shape: Sequence[int], region: Region, halo: Sequence[int], pixels: int) -> list[Tile]:
    """Tiles of at most `pixels` that cover the region, nearest its centre first.

    They lie on a grid, so that a view that moves finds most of its tiles again. Along an axis of which the
    view shows little, a slice of a volume for one, they are as thin as the view.
    """
    edges = [
        _power(s.stop - s.start if s.stop - s.start < LEAST else n)
        for s, n in zip(region, shape, strict=True)
    ]
    while prod(edges) > pixels and max(edges) > 1:
        edges[edges.index(max(edges))] //= 2
    size = [min(e, n) for e, n in zip(edges, shape, strict=True)]
    touched = [range(s.start // e, -(-s.stop // e)) for s, e in zip(region, size, strict=True)]
    found = [tile_at(place, shape, size, halo) for place in product(*touched)]
    return sorted(found, key=lambda tile: distance(tile.core, region))


def rest_tiles(
    shape: Sequence[int], region: Region, halo: Sequence[int], pixels: int, viewed: Sequence[Tile]
) -> list[Tile]:
    """Tiles that cover what the viewed ones leave of the image, nearest the view first."""
    found = [
        tile
        for tile in tiles(shape, tile_size(shape, halo, pixels), halo)
        if not any(_inside(tile.core, v.core) for v in viewed)
    ]
    return sorted(found, key=lambda tile: distance(tile.core, region))


def distance(a: Region, b: Region) -> int:
    """Squared distance of two centres, in half pixels."""
    return sum((p.start + p.stop - q.start - q.stop) ** 2 for p, q in zip(a, b, strict=True))


def _inside(a: Region, b: Region) -> bool:
    return all(q.start <= p.start and p.stop <= q.stop for p, q in zip(a, b, strict=True))


def _power(n: int) -> int:
    """The least power of two that is at least n."""
    return int(1 << (n - 1).bit_length())


def cache_size(b: Backend) -> int:
    """Bytes of planes to keep where nobody says: a quarter of what is free, in main memory 2 GiB at most."""
    return min(MOST_BYTES, free_memory() // 4) if b.name == "cpu" else b.free() // 4
