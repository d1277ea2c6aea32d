"""The 3D filters on the device: two kernels for all steps, from pre-smoothed volumes to planes."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from gpuseg.backends._kernels import Kernels
from gpuseg.backends.base import Array
from gpuseg.backends.plan import FILTERS, Step
from gpuseg.tiles import Region

LANES, SLICES, REACH = 32, 8, 2  # as in filters3d.cu
ROWS = 32  # that a block marches through: it looks at 4 to 6 more, with small cores it leaves none idle
TENSOR = FILTERS.index("structure_tensor_eigenvalues")


class Tables(NamedTuple):
    """What the kernels look up, on the device."""

    planes: Array  # int32 (steps, filters): first plane of each filter, -1 if not wanted
    taps: Array  # float32 (steps, 3, TAPS) along z, y, x
    bank: Array  # int32: steps that want any filter but the structure tensor
    tensor: Array  # int32: steps that want it

    @classmethod
    def of(cls, xp: Any, steps: Sequence[Step]) -> "Tables":
        planes = np.stack([step.planes for step in steps]).astype(np.int32)
        wanted = planes >= 0
        return cls(
            xp.asarray(planes),
            xp.asarray(np.stack([step.taps for step in steps])),
            xp.asarray(np.flatnonzero(np.delete(wanted, TENSOR, 1).any(1)).astype(np.int32)),
            xp.asarray(np.flatnonzero(wanted[:, TENSOR]).astype(np.int32)),
        )


def filters(
    kernels: Kernels,
    smooth: Array,
    tables: Tables,
    box: Sequence[int],
    shape: Sequence[int],
    core: Region,
    out: Array,
) -> None:
    """Write the planes of `core` into `out`: float32 (features, z, y, x), of the core's size.

    smooth: float32 (steps, z, y, x): the volumes from `box` (z, y, x) on, that hold the core
    and 3 voxels on each side of it but where the image, of `shape`, ends
    """
    depth, height, width = (s.stop - s.start for s in core)
    sizes = (*box, *smooth.shape[1:], *shape, *(n for s in core for n in (s.start, s.stop)), ROWS)
    numbers = [np.int32(n) for n in sizes]
    for name, which, slices, columns in (
        ("filters3d", tables.bank, SLICES, LANES - 2 * REACH),
        ("tensor3d", tables.tensor, SLICES + 2 * REACH, LANES - 2 * REACH - 2),
    ):
        if which.size:
            grid = (-(-width // columns), -(-height // ROWS), -(-depth // SLICES) * which.size)
            kernels.launch(
                name, grid, (LANES, slices), (smooth, which, tables.planes, tables.taps, out, *numbers)
            )
