"""Eigenvalues of symmetric matrices on the device."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from gpuseg.backends._kernels import Kernels

THREADS, BLOCKS = 256, 4096


def eigvals_sym(xp: Any, kernels: Kernels, upper: Sequence[Any]) -> list[Any]:
    """Largest first, from the planes of the upper triangle: 3 of them, or 6."""
    n = {3: 2, 6: 3}[len(upper)]
    given = xp.stack([xp.ascontiguousarray(part, np.float32) for part in upper])
    values = xp.empty((n, *given.shape[1:]), np.float32)
    count = given[0].size
    grid = (min(BLOCKS, -(-count // THREADS)),)
    kernels.launch(f"eigenvalues{n}", grid, (THREADS,), (given, values, np.int64(count)))
    return list(values)
