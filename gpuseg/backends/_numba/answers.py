"""What is made of probabilities: the likeliest class, the doubt, integers."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends._numba.simd import kernel
from gpuseg.backends._numba.threads import spread

PART = 2**16  # pixels that one thread takes at a time


@kernel
def _likeliest(proba, out):
    for i in range(out.size):
        best, most = 0, proba[i, 0]
        for k in range(1, proba.shape[1]):
            if proba[i, k] > most:
                best, most = k, proba[i, k]
        out[i] = best


@kernel
def _doubt(proba, out):
    for i in range(out.size):
        first, second = proba[i, 0], np.float32(-np.inf)
        for k in range(1, proba.shape[1]):
            p = proba[i, k]
            if p > first:
                first, second = p, first
            elif p > second:
                second = p
        out[i] = np.float32(1) - (first - second)


@kernel
def _integers(values, most, out):
    for i in range(out.size):
        out[i] = np.rint(most * values[i])


def likeliest(proba: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Column of the largest probability of each pixel, the first of equals."""
    return _by_parts(_likeliest, proba, np.empty(proba.shape[:-1], np.uint8))


def doubt(proba: NDArray[np.float32]) -> NDArray[np.float32]:
    """1 less the lead of the largest probability over the next; 0 if there is one class."""
    if proba.shape[-1] == 1:
        return np.zeros(proba.shape[:-1], np.float32)
    return _by_parts(_doubt, proba, np.empty(proba.shape[:-1], np.float32))


def integers(values: NDArray[np.float32], dtype: np.dtype[Any]) -> NDArray[Any]:
    """0..1 over the whole range of an unsigned integer type, rounded half to even."""
    out = np.empty(values.shape, dtype)
    most, given, flat = np.float32(np.iinfo(dtype).max), _flat(values), out.reshape(-1)

    def work(i: int, _: None) -> None:
        part = slice(i * PART, (i + 1) * PART)
        _integers(given[part], most, flat[part])

    spread(-(-flat.size // PART), work, lambda: None)
    return out


def _by_parts(kernel: Any, proba: NDArray[np.float32], out: NDArray[Any]) -> NDArray[Any]:
    rows, flat = _flat(proba).reshape(-1, proba.shape[-1]), out.reshape(-1)

    def work(i: int, _: None) -> None:
        part = slice(i * PART, (i + 1) * PART)
        kernel(rows[part], flat[part])

    spread(-(-flat.size // PART), work, lambda: None)
    return out


def _flat(values: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.ascontiguousarray(values, np.float32).reshape(-1)
