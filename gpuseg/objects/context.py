"""What object features are computed from: the objects of one time point, their image, their sums."""

from collections.abc import Callable, Collection
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends.base import Array, Backend
from gpuseg.errors import InputError

# Of the pixels of an object in its bounding box, and of the image there or None.
Single = Callable[[NDArray[np.bool_], NDArray[np.float32] | None], Any]


class Objects:
    """Labelled objects of one time point, numbered 1 to `count`; row i of every answer is object i + 1.

    labels: int32 (z, y, x) on the backend; raw: float32 (c, z, y, x) on the backend, or None.
    spacing: size of a pixel along z, y, x, 1 where unknown. margin: pixels along z, y, x of neighbourhoods.
    """

    def __init__(
        self,
        b: Backend,
        labels: Array,
        count: int,
        raw: Array | None = None,
        *,
        spacing: tuple[float, float, float] = (1.0, 1.0, 1.0),
        margin: tuple[int, int, int] = (1, 30, 30),
    ) -> None:
        self.backend, self.labels, self.count, self.raw = b, labels, count, raw
        self.spacing, self.margin = spacing, margin
        self.shape = tuple(int(n) for n in labels.shape)
        self.channels = 0 if raw is None else int(raw.shape[0])
        self.cache: dict[str, Any] = {}  # of what several features are made from
        self._sums: dict[str, NDArray[Any]] = {}

    @property
    def ndim(self) -> int:
        """2 where there is one slice, else 3."""
        return 2 if self.shape[0] == 1 else 3

    def request(self, wants: Collection[str]) -> None:
        """Compute these region sums now, those not known yet, in one pass."""
        missing = [w for w in wants if w not in self._sums]
        if missing:
            self._sums |= self.backend.region_sums(self.labels, self.count, self.raw, missing)

    def sums(self, name: str) -> NDArray[Any]:
        """Region sums by their name in the contract of backends."""
        self.request([name])
        return self._sums[name]

    @cached_property
    def host_labels(self) -> NDArray[np.int32]:
        """The labels on the host, (z, y, x)."""
        return self.backend.to_numpy(self.labels)

    @cached_property
    def host_raw(self) -> NDArray[np.float32] | None:
        """The image on the host, (c, z, y, x)."""
        return None if self.raw is None else self.backend.to_numpy(self.raw)

    def in_order(self, zyx: NDArray[Any]) -> NDArray[Any]:
        """Columns z, y, x (last axis) as tables have them: x, y in 2D; x, y, z in 3D."""
        return zyx[..., ::-1][..., : self.ndim]

    def each(self, single: Single) -> NDArray[np.float64]:
        """What `single(mask, image)` says of every object by itself: (n, k), k numbers for each.

        mask: bool (y, x) or (z, y, x), the object in its bounding box; image: float32 (c, y, x) or
        (c, z, y, x), all pixels there, or None without intensities.
        """
        rows = [np.ravel(single(*self._cut(i))) for i in range(self.count)]
        if len(counts := sorted({len(row) for row in rows})) > 1:
            raise InputError(
                f"{counts[0]} numbers for one object, {counts[-1]} for another",
                hint="give as many for every object, numpy.nan where there is none",
            )
        if any(row.dtype.kind not in "biuf" for row in rows):
            raise InputError("what was given for each object are no numbers")
        return np.array(rows, np.float64) if rows else np.empty((0, 1))

    def _cut(self, i: int) -> tuple[NDArray[np.bool_], NDArray[np.float32] | None]:
        box = tuple(slice(low, high + 1) for low, high in self.sums("box")[i].tolist())
        flat = (0,) if self.ndim == 2 else ()
        mask = (self.host_labels[box] == i + 1)[flat]
        return mask, None if self.host_raw is None else self.host_raw[(slice(None), *box)][
            (slice(None), *flat)
        ]
