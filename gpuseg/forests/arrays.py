"""A trained forest as flat arrays: what is saved, and what every backend predicts from."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Forest:
    """Decision trees on float32 features.

    A value below the threshold goes to `left`, any other (NaN too) to `left + 1`. Thresholds are
    rounded so that comparing float32 gives the answer the trainer's float64 comparison gave.
    """

    feature: NDArray[np.int32]  # (nodes,) column to test, -1 in a leaf
    threshold: NDArray[np.float32]  # (nodes,)
    left: NDArray[np.int32]  # (nodes,) first child; in a leaf its row of `leaves`
    roots: NDArray[np.int32]  # (trees,)
    leaves: NDArray[np.float32]  # (rows, classes) class probabilities
    n_features: int
