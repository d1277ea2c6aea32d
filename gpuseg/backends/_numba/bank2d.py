"""All filters of one scale on one block of a pre-smoothed plane, in one pass.

The block is read once through its rows: a vertical pass leaves a few lines in the first-level cache,
the horizontal pass combines them in registers and every wanted plane leaves at once.
"""

import numpy as np
from numba.extending import register_jitable

from gpuseg.backends._numba.simd import WIDTH, fma, inline, load, splat, sqrt, store, store_part

REACH = 2  # radius of the widest filter kernel
HALF = np.float32(0.5)
GAUSS, LAPLACE, GRADIENT, DIFFERENCE, TENSOR, HESSIAN = range(6)  # places in `planes`


@register_jitable
def line_length(columns: int) -> int:
    """Numbers in a scratch line for a block of so many columns."""
    return -(-(columns + 2 * REACH) // WIDTH) * WIDTH + WIDTH


def scratch_length(rows: int, columns: int) -> int:
    """Numbers of scratch that `scale_block` needs."""
    length: int = line_length(columns)
    return length * (6 + 3 * (rows + 2 * REACH))


@inline
def put(out, at, value, count):
    """Store a vector of which `count` lanes belong to the image."""
    if count >= WIDTH:
        store(out, at, value)
    else:
        store_part(out, at, value, count)


@inline
def eigen2(xx, xy, yy):
    """Eigenvalues, larger first."""
    half = splat(HALF)
    mean, gap = half * (xx + yy), half * (xx - yy)
    root = sqrt(fma(gap, gap, xy * xy))
    return mean + root, mean - root


@inline
def even(a, p, step, k0, k1, k2):
    """Five symmetric taps."""
    s = fma(k1, load(a, p + step) + load(a, p - step), k0 * load(a, p))
    return fma(k2, load(a, p + 2 * step) + load(a, p - 2 * step), s)


@inline
def odd(a, p, step, k1, k2):
    """Five antisymmetric taps."""
    return fma(
        k2, load(a, p + 2 * step) - load(a, p - 2 * step), k1 * (load(a, p + step) - load(a, p - step))
    )


@inline
def scale_block(plane, rows, y0, height, x0, x1, width, t, planes, out, places, steps, s):
    """Write the wanted planes of one block: rows from y0, columns x0..x1, of a plane of height x width.

    plane: padded; rows[i]: offset in it of column 0 of row y0 - 3 + i, mirrored at the image border
    t: (2, TAPS) taps along y and x; planes: (6,) place of each filter's first plane, or -1
    out: plane p, row i, vector v goes to places[i] + p * steps[0] + v * steps[1];
    steps[2] is 1 where a vector may be written beyond x1
    """
    n = places.size
    length = line_length(x1 - x0)
    if max(planes[GAUSS], planes[LAPLACE], planes[GRADIENT], planes[DIFFERENCE], planes[HESSIAN]) >= 0:
        for i in range(n):
            _vertical(plane, rows, i + REACH + 1, x0 - REACH, length, t[0], s)
            _horizontal(s, length, x1 - x0, t[1], planes, out, places[i], steps)
    if planes[TENSOR] >= 0:
        for i in range(n + 2 * REACH):
            y = y0 - REACH + i
            mirrored = y < 0 or y >= height
            _products(plane, rows, i + 1, mirrored, x0, x1, width, length, t, s, (6 + i) * length, n)
        for i in range(n):
            place = places[i] + planes[TENSOR] * steps[0]
            _tensor(s, length, (6 + i + REACH) * length, n, x1 - x0, t, out, place, steps)


@inline
def _vertical(plane, rows, r, x, length, t, s):
    """Lines 0-3: smoothed, first and second derivative, second Gaussian; all across rows."""
    k0, k1, k2, d1, d2 = splat(t[0]), splat(t[1]), splat(t[2]), splat(t[3]), splat(t[4])
    e0, e1, e2, g0, g1 = splat(t[5]), splat(t[6]), splat(t[7]), splat(t[8]), splat(t[9])
    a, b, c, d, e = rows[r - 2] + x, rows[r - 1] + x, rows[r] + x, rows[r + 1] + x, rows[r + 2] + x
    for v in range(0, length - WIDTH, WIDTH):
        here, up1, up2 = load(plane, c + v), load(plane, b + v), load(plane, a + v)
        down1, down2 = load(plane, d + v), load(plane, e + v)
        near, far = down1 + up1, down2 + up2
        store(s, v, fma(k2, far, fma(k1, near, k0 * here)))
        store(s, length + v, fma(d2, down2 - up2, d1 * (down1 - up1)))
        store(s, 2 * length + v, fma(e2, far, fma(e1, near, e0 * here)))
        store(s, 3 * length + v, fma(g1, near, g0 * here))


@inline
def _horizontal(s, length, columns, t, planes, out, o, steps):
    """From the four lines of one row to its planes, but those of the structure tensor."""
    k0, k1, k2, d1, d2 = splat(t[0]), splat(t[1]), splat(t[2]), splat(t[3]), splat(t[4])
    e0, e1, e2, g0, g1 = splat(t[5]), splat(t[6]), splat(t[7]), splat(t[8]), splat(t[9])
    ps = steps[0]
    for v in range(-(-columns // WIDTH)):
        p = v * WIDTH + REACH
        count = WIDTH if steps[2] == 1 else columns - v * WIDTH
        at = o + v * steps[1]
        here = load(s, p)
        left1, right1, left2, right2 = load(s, p - 1), load(s, p + 1), load(s, p - 2), load(s, p + 2)
        near, far = right1 + left1, right2 + left2
        smooth = fma(k2, far, fma(k1, near, k0 * here))
        if planes[GAUSS] >= 0:
            put(out, at + planes[GAUSS] * ps, smooth, count)
        if planes[DIFFERENCE] >= 0:
            q = p + 3 * length
            second = fma(g1, load(s, q + 1) + load(s, q - 1), g0 * load(s, q))
            put(out, at + planes[DIFFERENCE] * ps, smooth - second, count)
        if planes[GRADIENT] >= 0:
            gx = fma(d2, right2 - left2, d1 * (right1 - left1))
            gy = even(s, p + length, 1, k0, k1, k2)
            put(out, at + planes[GRADIENT] * ps, sqrt(fma(gx, gx, gy * gy)), count)
        if max(planes[LAPLACE], planes[HESSIAN]) >= 0:
            xx = fma(e2, far, fma(e1, near, e0 * here))
            yy = even(s, p + 2 * length, 1, k0, k1, k2)
            if planes[LAPLACE] >= 0:
                put(out, at + planes[LAPLACE] * ps, xx + yy, count)
            if planes[HESSIAN] >= 0:
                larger, smaller = eigen2(xx, odd(s, p + length, 1, d1, d2), yy)
                put(out, at + planes[HESSIAN] * ps, larger, count)
                put(out, at + (planes[HESSIAN] + 1) * ps, smaller, count)


@inline
def _products(plane, rows, r, mirrored, x0, x1, width, length, t, s, at, n):
    """One row of gx*gx, gx*gy, gy*gy, `(n + 4) * length` apart, with 2 columns on each side.

    Outside the image the products are those of the mirrored pixel (the average mirrors products, not the
    image): the gradient across that border comes out with the other sign there, which shows in gx*gy only.
    """
    y0, y1, yd = splat(t[0, 10]), splat(t[0, 11]), splat(-t[0, 12] if mirrored else t[0, 12])
    x_0, x_1, xd = splat(t[1, 10]), splat(t[1, 11]), splat(t[1, 12])
    apart = (n + 2 * REACH) * length
    b, c, d = rows[r - 1] + x0 - REACH, rows[r] + x0 - REACH, rows[r + 1] + x0 - REACH
    lines, lined = 4 * length + 1, 5 * length + 1
    for v in range(-1, length - WIDTH + 1, WIDTH):
        up, down = load(plane, b + v), load(plane, d + v)
        store(s, lines + v, fma(y1, down + up, y0 * load(plane, c + v)))
        store(s, lined + v, yd * (down - up))
    for v in range(0, length - WIDTH, WIDTH):
        p, q = lines + v, lined + v
        gx = xd * (load(s, p + 1) - load(s, p - 1))
        gy = fma(x_1, load(s, q + 1) + load(s, q - 1), x_0 * load(s, q))
        store(s, at + v, gx * gx)
        store(s, at + apart + v, gx * gy)
        store(s, at + 2 * apart + v, gy * gy)
    _turn(s, at + apart, x0, x1, width)


@inline
def _turn(s, at, x0, x1, width):
    """Change the sign of the products that stand outside of the image, beside a row of them."""
    for j in range(REACH):
        if x0 - REACH + j < 0:
            s[at + j] = -s[at + j]
        if x1 + j >= width:
            s[at + x1 - x0 + REACH + j] = -s[at + x1 - x0 + REACH + j]


@inline
def _tensor(s, length, at, n, columns, t, out, o, steps):
    """Average three rows of products, then their eigenvalues."""
    k0, k1, k2 = splat(t[0, 0]), splat(t[0, 1]), splat(t[0, 2])
    apart = (n + 2 * REACH) * length
    for v in range(0, length - WIDTH, WIDTH):
        for k in range(3):
            store(s, k * length + v, even(s, at + k * apart + v, length, k0, k1, k2))
    k0, k1, k2 = splat(t[1, 0]), splat(t[1, 1]), splat(t[1, 2])
    for v in range(-(-columns // WIDTH)):
        p = v * WIDTH + REACH
        count = WIDTH if steps[2] == 1 else columns - v * WIDTH
        xx = even(s, p, 1, k0, k1, k2)
        xy = even(s, p + length, 1, k0, k1, k2)
        yy = even(s, p + 2 * length, 1, k0, k1, k2)
        larger, smaller = eigen2(xx, xy, yy)
        put(out, o + v * steps[1], larger, count)
        put(out, o + v * steps[1] + steps[0], smaller, count)
