"""Sums of products about the mean of many objects, and their principal axes by Jacobi's rotations."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuseg.backends._numba.simd import inline, kernel
from gpuseg.backends._numba.threads import spread

PART = 4096  # matrices that one thread takes at a time
SWEEPS = 30  # convergence is quadratic: six do for three dimensions
LEVEL = 1 - 1e-9  # parts of a vector this close to its largest count as equally large


def principal(matrices: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Eigenvalues (n, d), largest first, and eigenvectors in the columns of (n, d, d).

    Of each vector the largest part is positive, the first of equally large ones: the sign depends neither on
    rounding nor on the machine. Equal eigenvalues keep the order of the axes.
    """
    work = np.array(matrices, np.float64, order="C")
    values, vectors = np.empty(work.shape[:2]), np.empty_like(work)

    def part(i: int, _: None) -> None:
        some = slice(i * PART, (i + 1) * PART)
        _principal(work[some], values[some], vectors[some])

    spread(-(-len(work) // PART), part, lambda: None)
    return values, vectors


def about_mean(
    n: NDArray[Any], first: NDArray[Any], second: NDArray[Any], low: NDArray[np.int64], ndim: int
) -> NDArray[np.float64]:
    """Sums of products of coordinates about the mean, (n, ndim, ndim), x first; NaN without weight.

    n, first, second: sums of weights, of coordinates z, y, x (n, 3) and of their products (n, 6). They are
    counted from `low`, the corner of the object's box, before anything is subtracted: integers lose nothing
    there, and what is left is no larger than the object.
    """
    out = np.empty((len(n), ndim, ndim))

    def part(i: int, _: None) -> None:
        some = slice(i * PART, (i + 1) * PART)
        _about_mean(n[some], first[some], second[some], low[some], out[some])

    spread(-(-len(n) // PART), part, lambda: None)
    return out


@kernel
def _about_mean(n, first, second, low, out):
    skipped = 3 - out.shape[1]
    for k in range(n.size):
        column = 0
        for i in range(3):
            for j in range(i, 3):
                if i >= skipped:
                    a, b = low[k, i], low[k, j]
                    moved = second[k, column] - a * first[k, j] - b * first[k, i] + a * b * n[k]
                    of_i, of_j = first[k, i] - a * n[k], first[k, j] - b * n[k]
                    found = moved - np.float64(of_i) * (of_j / n[k])
                    out[k, 2 - i, 2 - j] = out[k, 2 - j, 2 - i] = found
                column += 1


@kernel
def _principal(matrices, values, vectors):
    d = matrices.shape[1]
    turned = np.empty((d, d))
    for n in range(matrices.shape[0]):
        m = matrices[n]
        for i in range(d):
            for j in range(d):
                turned[i, j] = 1.0 if i == j else 0.0
        for _ in range(SWEEPS):
            rest, whole = 0.0, 0.0
            for i in range(d):
                whole += abs(m[i, i])
                for j in range(i):
                    rest += abs(m[i, j])
            if not rest > 1e-16 * whole:  # also where there is no number
                break
            for i in range(d):
                for j in range(i):
                    _rotate(m, turned, j, i)
        _sort(m, turned, values[n], vectors[n])


@inline
def _rotate(m, turned, p, q):
    """One rotation in the plane of the axes p and q, after which m[p, q] is 0."""
    if m[p, q] == 0:
        return
    half = (m[q, q] - m[p, p]) / (2 * m[p, q])
    tangent = 1 / (abs(half) + np.sqrt(half * half + 1))
    if half < 0:
        tangent = -tangent
    cosine = 1 / np.sqrt(tangent * tangent + 1)
    sine = tangent * cosine
    step = tangent * m[p, q]
    m[p, p] -= step
    m[q, q] += step
    m[p, q] = m[q, p] = 0.0
    for k in range(m.shape[0]):
        if k != p and k != q:
            a, b = m[k, p], m[k, q]
            m[k, p] = m[p, k] = cosine * a - sine * b
            m[k, q] = m[q, k] = sine * a + cosine * b
        a, b = turned[k, p], turned[k, q]
        turned[k, p], turned[k, q] = cosine * a - sine * b, sine * a + cosine * b


@inline
def _sort(m, turned, values, vectors):
    d = values.size
    for i in range(d):
        values[i] = m[i, i]
        place = 0
        for j in range(d):
            if m[j, j] > m[i, i] or (m[j, j] == m[i, i] and j < i):
                place += 1
        most, sign = 0.0, 1.0
        for k in range(d):
            most = max(most, abs(turned[k, i]))
        for k in range(d - 1, -1, -1):
            if abs(turned[k, i]) >= LEVEL * most:
                sign = -1.0 if turned[k, i] < 0 else 1.0
        for k in range(d):
            vectors[k, place] = sign * turned[k, i]
    for i in range(1, d):
        value, j = values[i], i
        while j > 0 and values[j - 1] < value:
            values[j] = values[j - 1]
            j -= 1
        values[j] = value
