"""All filters of one scale on one block of a pre-smoothed volume, in one pass.

As `bank2d`, with a pass across slices before. The 19 passes that ten derivatives need are shared:
three across slices, six across rows, ten along rows; and the six products of the structure tensor
never leave the second-level cache.
"""

from gpuseg.backends._numba.bank2d import (
    DIFFERENCE,
    GAUSS,
    GRADIENT,
    HESSIAN,
    LAPLACE,
    REACH,
    TENSOR,
    _turn,
    even,
    line_length,
    odd,
    put,
)
from gpuseg.backends._numba.eigen3 import eigen3
from gpuseg.backends._numba.simd import WIDTH, fma, inline, load, splat, sqrt, store

PRODUCTS = 6


def scratch_length(slices: int, rows: int, columns: int) -> int:
    """Numbers of scratch that `volume_block` needs."""
    length: int = line_length(columns)
    return length * (10 + (PRODUCTS * (slices + 2 * REACH) + PRODUCTS) * (rows + 2 * REACH + 2))


@inline
def volume_block(volume, zs, ys, z0, depth, y0, height, x0, x1, width, t, planes, out, places, steps, s):
    """Write the wanted planes of one block: slices from z0, rows from y0, columns x0..x1.

    volume: padded; zs[i] + ys[j]: offset in it of column 0 of slice z0 - 3 + i, row y0 - 3 + j,
    mirrored at the border; t: (3, TAPS) along z, y, x; places: of row j of slice i at i * rows + j;
    else as `bank2d.scale_block`
    """
    slices, rows = zs.size - 6, ys.size - 6
    length = line_length(x1 - x0)
    if max(planes[GAUSS], planes[LAPLACE], planes[GRADIENT], planes[DIFFERENCE], planes[HESSIAN]) >= 0:
        for i in range(slices):
            _across_slices(volume, zs, ys, i + 3, x0 - REACH, length, t[0], s)
            for j in range(rows):
                lines = 4 * (rows + 2 * REACH) * length
                _across_rows(s, (j + REACH) * length, (rows + 2 * REACH) * length, length, t[1], lines)
                _along_rows(s, lines, length, x1 - x0, t[2], planes, out, places[i * rows + j], steps)
    if planes[TENSOR] >= 0:
        first = 6 * (rows + 2 * REACH + 2) * length + 10 * length
        size = (rows + 2 * REACH) * length
        for i in range(slices + 2 * REACH):
            z = z0 - REACH + i
            _products(
                volume,
                zs,
                ys,
                i + 1,
                z < 0 or z >= depth,
                y0,
                height,
                x0,
                x1,
                width,
                length,
                t,
                s,
                first + i * PRODUCTS * size,
            )
        for i in range(slices):
            _average_slices(s, first + (i + REACH) * PRODUCTS * size, PRODUCTS * size, t[0])
            for j in range(rows):
                place = places[i * rows + j] + planes[TENSOR] * steps[0]
                _tensor(s, (j + REACH) * length, size, length, x1 - x0, t, out, place, steps)


@inline
def _across_slices(volume, zs, ys, i, x, length, t, s):
    """Four groups of rows: smoothed, first and second derivative, second Gaussian; across slices."""
    k0, k1, k2, d1, d2 = splat(t[0]), splat(t[1]), splat(t[2]), splat(t[3]), splat(t[4])
    e0, e1, e2, g0, g1 = splat(t[5]), splat(t[6]), splat(t[7]), splat(t[8]), splat(t[9])
    count = ys.size - 2
    group = count * length
    for j in range(count):
        o = ys[j + 1] + x
        a, b, c, d, e = zs[i - 2] + o, zs[i - 1] + o, zs[i] + o, zs[i + 1] + o, zs[i + 2] + o
        for v in range(0, length - WIDTH, WIDTH):
            here, up1, up2 = load(volume, c + v), load(volume, b + v), load(volume, a + v)
            down1, down2 = load(volume, d + v), load(volume, e + v)
            near, far = down1 + up1, down2 + up2
            at = j * length + v
            store(s, at, fma(k2, far, fma(k1, near, k0 * here)))
            store(s, at + group, fma(d2, down2 - up2, d1 * (down1 - up1)))
            store(s, at + 2 * group, fma(e2, far, fma(e1, near, e0 * here)))
            store(s, at + 3 * group, fma(g1, near, g0 * here))


@inline
def _across_rows(s, at, group, length, t, to):
    """Seven lines, by derivatives in (z, y): 00 01 02 10 11 20, and the second Gaussian."""
    k0, k1, k2, d1, d2 = splat(t[0]), splat(t[1]), splat(t[2]), splat(t[3]), splat(t[4])
    e0, e1, e2, g0, g1 = splat(t[5]), splat(t[6]), splat(t[7]), splat(t[8]), splat(t[9])
    for v in range(0, length - WIDTH, WIDTH):
        p, q, o = at + v, at + group + v, to + v
        store(s, o, even(s, p, length, k0, k1, k2))
        store(s, o + length, odd(s, p, length, d1, d2))
        store(s, o + 2 * length, even(s, p, length, e0, e1, e2))
        store(s, o + 3 * length, even(s, q, length, k0, k1, k2))
        store(s, o + 4 * length, odd(s, q, length, d1, d2))
        store(s, o + 5 * length, even(s, q + group, length, k0, k1, k2))
        r = q + 2 * group
        store(s, o + 6 * length, fma(g1, load(s, r + length) + load(s, r - length), g0 * load(s, r)))


@inline
def _along_rows(s, lines, length, columns, t, planes, out, o, steps):
    """From the seven lines of one row to its planes, but those of the structure tensor."""
    k0, k1, k2, d1, d2 = splat(t[0]), splat(t[1]), splat(t[2]), splat(t[3]), splat(t[4])
    e0, e1, e2, g0, g1 = splat(t[5]), splat(t[6]), splat(t[7]), splat(t[8]), splat(t[9])
    ps = steps[0]
    for v in range(-(-columns // WIDTH)):
        p = lines + v * WIDTH + REACH
        count = WIDTH if steps[2] == 1 else columns - v * WIDTH
        at = o + v * steps[1]
        smooth = even(s, p, 1, k0, k1, k2)
        if planes[GAUSS] >= 0:
            put(out, at + planes[GAUSS] * ps, smooth, count)
        if planes[DIFFERENCE] >= 0:
            q = p + 6 * length
            second = fma(g1, load(s, q + 1) + load(s, q - 1), g0 * load(s, q))
            put(out, at + planes[DIFFERENCE] * ps, smooth - second, count)
        if planes[GRADIENT] >= 0:
            gx = odd(s, p, 1, d1, d2)
            gy = even(s, p + length, 1, k0, k1, k2)
            gz = even(s, p + 3 * length, 1, k0, k1, k2)
            put(out, at + planes[GRADIENT] * ps, sqrt(fma(gx, gx, fma(gy, gy, gz * gz))), count)
        if max(planes[LAPLACE], planes[HESSIAN]) >= 0:
            xx = even(s, p, 1, e0, e1, e2)
            yy = even(s, p + 2 * length, 1, k0, k1, k2)
            zz = even(s, p + 5 * length, 1, k0, k1, k2)
            if planes[LAPLACE] >= 0:
                put(out, at + planes[LAPLACE] * ps, xx + yy + zz, count)
            if planes[HESSIAN] >= 0:
                zy = even(s, p + 4 * length, 1, k0, k1, k2)
                zx, yx = odd(s, p + 3 * length, 1, d1, d2), odd(s, p + length, 1, d1, d2)
                _put3(out, at + planes[HESSIAN] * ps, ps, eigen3(zz, zy, zx, yy, yx, xx), count)


@inline
def _put3(out, at, step, values, count):
    put(out, at, values[0], count)
    put(out, at + step, values[1], count)
    put(out, at + 2 * step, values[2], count)


@inline
def _products(volume, zs, ys, i, mirrored, y0, height, x0, x1, width, length, t, s, at):
    """One slice of the products zz zy zx yy yx xx, with 2 rows and columns on each side.

    Outside the image they are those of the mirrored voxel; see `bank2d._products`.
    """
    k0, k1, kd = splat(t[0, 10]), splat(t[0, 11]), splat(-t[0, 12] if mirrored else t[0, 12])
    count = ys.size
    lined, rows = 10 * length + 1, count - 2
    linez = lined + count * length
    for j in range(count):
        o = ys[j] + x0 - REACH
        b, c, d = zs[i - 1] + o, zs[i] + o, zs[i + 1] + o
        for v in range(-1, length - WIDTH + 1, WIDTH):
            up, down = load(volume, b + v), load(volume, d + v)
            store(s, lined + j * length + v, fma(k1, down + up, k0 * load(volume, c + v)))
            store(s, linez + j * length + v, kd * (down - up))
    for j in range(rows):
        y = y0 - REACH + j
        outside = y < 0 or y >= height
        _product_row(
            s,
            lined + (j + 1) * length,
            linez + (j + 1) * length,
            length,
            outside,
            t,
            at + j * length,
            rows * length,
        )
        for k in (2, 4):
            _turn(s, at + (k * rows + j) * length, x0, x1, width)


@inline
def _product_row(s, smooth, derived, length, mirrored, t, at, group):
    """Products of one row, from rows smoothed and derived across slices."""
    y0, y1, yd = splat(t[1, 10]), splat(t[1, 11]), splat(-t[1, 12] if mirrored else t[1, 12])
    x_0, x_1, xd = splat(t[2, 10]), splat(t[2, 11]), splat(t[2, 12])
    one, two, three = 1, length + 1, 2 * length + 1
    for v in range(-1, length - WIDTH + 1, WIDTH):
        up, down = load(s, smooth - length + v), load(s, smooth + length + v)
        store(s, one + v, fma(y1, down + up, y0 * load(s, smooth + v)))
        store(s, two + v, yd * (down - up))
        p = derived + v
        store(s, three + v, fma(y1, load(s, p + length) + load(s, p - length), y0 * load(s, p)))
    for v in range(0, length - WIDTH, WIDTH):
        p, q, r = one + v, two + v, three + v
        gx = xd * (load(s, p + 1) - load(s, p - 1))
        gy = fma(x_1, load(s, q + 1) + load(s, q - 1), x_0 * load(s, q))
        gz = fma(x_1, load(s, r + 1) + load(s, r - 1), x_0 * load(s, r))
        store(s, at + v, gz * gz)
        store(s, at + group + v, gz * gy)
        store(s, at + 2 * group + v, gz * gx)
        store(s, at + 3 * group + v, gy * gy)
        store(s, at + 4 * group + v, gy * gx)
        store(s, at + 5 * group + v, gx * gx)


@inline
def _average_slices(s, at, step, t):
    """Average five slices of products; the result replaces the start of the scratch."""
    k0, k1, k2 = splat(t[0]), splat(t[1]), splat(t[2])
    for v in range(0, step, WIDTH):
        store(s, v, even(s, at + v, step, k0, k1, k2))


@inline
def _tensor(s, at, group, length, columns, t, out, o, steps):
    """Average one row of products across rows and along it, then its eigenvalues."""
    k0, k1, k2 = splat(t[1, 0]), splat(t[1, 1]), splat(t[1, 2])
    lines = PRODUCTS * group
    for k in range(PRODUCTS):
        for v in range(0, length - WIDTH, WIDTH):
            store(s, lines + k * length + v, even(s, at + k * group + v, length, k0, k1, k2))
    k0, k1, k2 = splat(t[2, 0]), splat(t[2, 1]), splat(t[2, 2])
    for v in range(-(-columns // WIDTH)):
        p = lines + v * WIDTH + REACH
        count = WIDTH if steps[2] == 1 else columns - v * WIDTH
        values = eigen3(
            even(s, p, 1, k0, k1, k2),
            even(s, p + length, 1, k0, k1, k2),
            even(s, p + 2 * length, 1, k0, k1, k2),
            even(s, p + 3 * length, 1, k0, k1, k2),
            even(s, p + 4 * length, 1, k0, k1, k2),
            even(s, p + 5 * length, 1, k0, k1, k2),
        )
        _put3(out, o + v * steps[1], steps[0], values, count)
