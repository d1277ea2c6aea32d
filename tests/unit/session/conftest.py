"""Sessions on every backend, closed at the end of their test."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from unit.session.scene import FEW

from gpuseg import Session


@pytest.fixture(params=["cpu", "cuda"])
def backend(request: pytest.FixtureRequest) -> str:
    """The CPU, and CUDA on what stands in for a GPU."""
    if request.param == "cuda":
        request.getfixturevalue("host_cuda")
    return request.param


@pytest.fixture
def start(backend: str) -> Iterator[Any]:
    """A function that opens a session with quick settings; all of them are closed at the end."""
    opened = []

    def start(image: np.ndarray, *args: Any, **settings: Any) -> Session:
        quick = {"features": FEW, "trees": 10, "backend": backend}
        opened.append(Session(image, *args, **(quick | settings)))
        return opened[-1]

    yield start
    for session in opened:
        session.close()
