"""Connected components: every kernel by itself, on masks of 1 to 8 bytes a pixel."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.gpu import cost, kernels
from benchmarks.gpu.check import WrongAnswer
from benchmarks.gpu.rows import Row
from benchmarks.gpu.size import Size
from gpuseg.backends import get_backend
from gpuseg.backends.base import Backend

BYTES = (1, 2, 4, 8)  # of a pixel: for each there is a kernel
SIGMA, SHARE = 4.2, 0.6  # of noise that is thresholded: some 100,000 objects in 4096 x 4096


def measure(cupy: Any, backend: Backend, size: Size) -> Iterator[Row]:
    for shape in ((1, size.side, size.side), (size.deep[0],) * 3):
        mask = blobs(shape)
        seen: set[str] = set()
        for width in BYTES:
            image = mask.astype(f"u{width}")
            for row in _rows(cupy, backend, image, size):
                if row.engine not in seen:
                    seen.add(row.engine)
                    yield row


def blobs(shape: tuple[int, ...], seed: int = 0) -> NDArray[np.bool_]:
    """Noise, smoothed and thresholded: objects of many sizes, some of which touch."""
    smooth = smooth_noise(shape, seed)
    return np.asarray(smooth > SHARE * smooth.std())


def smooth_noise(shape: tuple[int, ...], seed: int = 0) -> NDArray[np.float32]:
    from gpuseg.backends.cpu import ReferenceBackend

    noise = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
    sigma = tuple(SIGMA if n > 1 else 0.3 for n in shape)
    return np.asarray(ReferenceBackend().gaussian(noise, sigma))


def _rows(cupy: Any, backend: Backend, image: NDArray[Any], size: Size) -> Iterator[Row]:
    task = partial(backend.components, backend.asarray(image), 1)
    labels, count = task()
    expected = get_backend("cpu").components(image, 1)
    if count != expected[1] or not np.array_equal(backend.to_numpy(labels), expected[0]):
        raise WrongAnswer(f"the card found {count} components, the CPU {expected[1]}, or others")
    seconds, launches = kernels.timed(cupy, task, size.rounds)
    sides = " x ".join(str(n) for n in image.shape if n > 1)
    for name, spent in seconds.items():
        yield Row(
            section="components",
            case=f"{name}, {sides}",
            engine=name,
            data=f"{sides} {image.dtype}, {count} components",
            seconds=spent,
            items=image.size / 1e6,
            unit="Mpx" if image.shape[0] == 1 else "Mvox",
            cost=cost.of_components(name, image),
            launches=launches[name],
            note="labels are the CPU's",
        )
