"""A card, or where there is none what stands in for it: the same tests, on smaller images."""

import os
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from gpuseg.backends import get_backend
from gpuseg.backends.base import Backend
from gpuseg.errors import BackendUnavailableError
from gpuseg.forests.arrays import Forest

HERE = Path(__file__).parent


@pytest.fixture
def on_card() -> bool:
    """Whether a real device does the work."""
    try:
        get_backend("cuda")
    except BackendUnavailableError:
        if os.environ.get("GPUSEG_REQUIRE_GPU"):
            raise
        return False
    return True


@pytest.fixture
def cuda(request: pytest.FixtureRequest, on_card: bool) -> Backend:
    """The CUDA backend. Without a card it runs on the stand-in; where GPUSEG_REQUIRE_GPU is set it fails."""
    if not on_card:
        request.getfixturevalue("host_cuda")
    return get_backend("cuda")


@pytest.fixture(scope="session")
def every_kernel() -> dict[str, Any]:
    """The names in the script that launches them all."""
    return runpy.run_path(str(HERE / "every_kernel.py"))


@pytest.fixture(scope="session")
def forest_of(every_kernel: dict[str, Any]) -> Callable[..., Forest]:
    """Complete trees of random tests on so many features, of these depths."""
    made: Callable[..., Forest] = every_kernel["forest"]
    return made


@pytest.fixture
def picture(on_card: bool) -> Callable[..., NDArray[np.float32]]:
    """Random smooth texture of 0 to 255, (c, z, y, x): of the first size on a card, else of the second."""

    def make(large: tuple[int, ...], small: tuple[int, ...], seed: int = 0) -> NDArray[np.float32]:
        shape = large if on_card else small
        rng = np.random.default_rng(seed)
        z, y, x = np.ogrid[tuple(slice(0, n) for n in shape[1:])]
        wave = np.sin(x / 7) * np.cos(y / 9 + z / 4) * 80 + 128
        noisy = wave + rng.normal(0, 25, shape)
        return np.ascontiguousarray(np.clip(np.rint(noisy), 0, 255), np.float32)

    return make
