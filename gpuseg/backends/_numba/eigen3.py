"""Eigenvalues of symmetric 3 x 3 matrices, 16 at a time.

O. K. Smith, "Eigenvalues of a symmetric 3x3 matrix", CACM 4(4), 1961, with the angle taken from the
side where it is well conditioned: near equal eigenvalues the arc cosine of the textbook loses half of
its digits, so the determinant is formed in float64 and 1 - |cos| enters a polynomial for the sine.
"""

import numpy as np

from gpuseg.backends._numba.simd import absolute, choose, fma, inline, larger, narrow, splat, sqrt, widen

# cos and sin/s of 2/3 asin(s) as polynomials of s**2 on 0..1/2, by Chebyshev fit: errors 1e-8 and 6e-9
COS = np.array(
    [1.0, -0.22222427, -0.06576121, -0.035390735, -0.012547846, -0.050373368, 0.058481388, -0.07087102],
    np.float32,
)
SIN = np.array(
    [0.6666667, 0.061729494, 0.026361724, 0.016110037, 0.005507605, 0.02644689, -0.03165306, 0.037768725],
    np.float32,
)
TINY = 1e-300  # keeps 0/0 out of matrices that are a multiple of the identity
ROOT3 = np.float32(np.sqrt(3))


@inline
def _polynomial(c, u):
    s = splat(c[7])
    for i in range(6, -1, -1):
        s = fma(s, u, splat(c[i]))
    return s


@inline
def eigen3(zz, zy, zx, yy, yx, xx):
    """The three eigenvalues, largest first."""
    third, half = splat(np.float64(1 / 3)), splat(np.float64(0.5))
    a, b, c = widen(zz), widen(yy), widen(xx)
    d, e, f = widen(zy), widen(zx), widen(yx)
    mean = (a + b + c) * third
    a, b, c = a - mean, b - mean, c - mean
    squares = fma(a, a, fma(b, b, c * c))
    spread = (half * squares + fma(d, d, fma(e, e, f * f))) * third  # p**2
    det = a * (b * c - f * f) - d * (d * c - f * e) + e * (d * f - b * e)
    p = sqrt(spread)
    cosine = half * det / (spread * p + splat(TINY))
    u = narrow(larger(half - half * absolute(cosine), half - half))  # sin**2 of half the angle
    s = sqrt(u)
    middle, size = narrow(mean), narrow(p)
    cos, sin = size * _polynomial(COS, u), size * s * _polynomial(SIN, u)
    twice, far, near = cos + cos, fma(splat(ROOT3), sin, cos), fma(splat(-ROOT3), sin, cos)
    nothing = twice - twice
    first = middle + choose(cosine, twice, far)
    second = middle + choose(cosine, nothing - near, near)
    return first, second, middle - choose(cosine, far, twice)
