"""What is made of probabilities before they leave the device."""

from typing import Any

import numpy as np

from gpuseg.backends._kernels import Kernels

THREADS, BLOCKS = 256, 4096


def of_classes(xp: Any, kernels: Kernels, name: str, proba: Any, dtype: Any) -> Any:
    """One number for each pixel from its probabilities, by the kernel of this name."""
    out = xp.empty(proba.shape[:-1], dtype)
    given = (xp.ascontiguousarray(proba, np.float32), np.int64(out.size), np.int32(proba.shape[-1]), out)
    kernels.launch(name, _grid(out.size), (THREADS,), given)
    return out


def integers(xp: Any, kernels: Kernels, values: Any, dtype: np.dtype[Any]) -> Any:
    """0..1 over the whole range of uint8 or uint16, rounded half to even."""
    out = xp.empty(values.shape, dtype)
    most = np.float32(np.iinfo(dtype).max)
    given = (xp.ascontiguousarray(values, np.float32), np.int64(out.size), most, out)
    kernels.launch(f"stretch{8 * dtype.itemsize}", _grid(out.size), (THREADS,), given)
    return out


def _grid(count: int) -> tuple[int]:
    return (max(1, min(BLOCKS, -(-count // THREADS))),)
