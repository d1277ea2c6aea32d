"""What the tests of sessions paint on, and with."""

from threading import Event
from typing import Any

import numpy as np

from gpuseg import Session

FEW = {"gaussian_smoothing": [0.7, 1.6], "hessian_of_gaussian_eigenvalues": [1.6]}
SOON = 60  # seconds that no test waits unless something hangs
SLOW = 5  # a loaded test machine may be that much slower than promised


def scene(shape: tuple[int, ...] = (60, 72), seed: int = 0) -> np.ndarray:
    """Noise, brighter on the right half of the last axis."""
    image = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    image[..., shape[-1] // 2 :] += 4
    return image


def line(*ends: tuple[int, int]) -> np.ndarray:
    """Pixels of a straight stroke that is given by its range along each axis."""
    length = max(b - a for a, b in ends)
    return np.stack([np.linspace(a, b - 1, length).astype(int) for a, b in ends], axis=1)


LEFT, RIGHT = line((5, 40), (3, 30)), line((5, 40), (42, 68))


def two_classes(session: Session) -> Any:
    session.update(LEFT, 1)
    return session.update(RIGHT, 2)


class Gate:
    """A callback that keeps what it is told, and waits after the first until it is let through."""

    def __init__(self) -> None:
        self.told: list[Any] = []
        self.reached, self.open = Event(), Event()

    def __call__(self, news: Any) -> None:
        self.told.append(news)
        self.reached.set()
        assert self.open.wait(SOON)
