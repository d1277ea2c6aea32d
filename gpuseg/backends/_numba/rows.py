"""Pre-smoothing: separable Gaussians of any radius, and what happens at borders.

A padded row has numbers beyond both its ends, mirrored as far as taps reach. So no loop over columns
asks where the border is, and rows are read and written in whole vectors.
"""

from gpuseg.backends._numba.simd import WIDTH, fma, inline, load, splat, store

BLOCK = 4 * WIDTH  # columns whose sums stay in registers while the taps go by
LEFT = WIDTH  # numbers before a row of a smoothed plane
RIGHT = 2 * WIDTH  # and after it, beyond its last block
REACH = 3  # rows or columns beyond a pixel that filters read


def padded(width: int) -> int:
    """Numbers from one row of a smoothed plane to the next.

    An odd number of cache lines: rows 4096 bytes apart would all compete for the same few of them.
    """
    lines = (LEFT + -(-width // BLOCK) * BLOCK + RIGHT) // WIDTH
    return (lines | 1) * WIDTH


def line_size(width: int, radius: int) -> int:
    """Numbers of scratch that `along` needs for a row."""
    return -(-width // BLOCK) * BLOCK + 2 * (-(-radius // WIDTH) * WIDTH + BLOCK)


@inline
def mirror(i, n):
    """Index of the sample that stands at i, outside 0..n-1: -1 -> 1, n -> n - 2."""
    if n == 1:
        return 0
    i = abs(i) % (2 * (n - 1))
    return min(i, 2 * (n - 1) - i)


@inline
def pad_row(a, start, width, reach):
    """Continue the row of `width` numbers at `start` by `reach` mirrored numbers on each side."""
    for j in range(1, reach + 1):
        a[start - j] = a[start + mirror(-j, width)]
        a[start + width - 1 + j] = a[start + mirror(width - 1 + j, width)]


@inline
def gather(source, origin, step, size, first, count, column, block):
    """BLOCK columns of `count` rows from `first` on, mirrored in 0..size-1, one after the other in `block`.

    Next to each other they fill the first-level cache; in their image, rows a power of two apart would
    push each other out of it.
    """
    for i in range(count):
        row = origin + mirror(first + i, size) * step + column
        for v in range(0, BLOCK, WIDTH):
            store(block, i * BLOCK + v, load(source, row + v))


@inline
def across(block, centre, taps, out, start):
    """One row of BLOCK columns at `out` from `start`: the rows around `centre`, weighed."""
    k = splat(taps[0])
    p = centre * BLOCK
    s0 = k * load(block, p)
    s1 = k * load(block, p + WIDTH)
    s2 = k * load(block, p + 2 * WIDTH)
    s3 = k * load(block, p + 3 * WIDTH)
    u = d = p
    for tap in taps[1:]:
        k = splat(tap)
        u += BLOCK
        d -= BLOCK
        s0 = fma(k, load(block, u) + load(block, d), s0)
        s1 = fma(k, load(block, u + WIDTH) + load(block, d + WIDTH), s1)
        s2 = fma(k, load(block, u + 2 * WIDTH) + load(block, d + 2 * WIDTH), s2)
        s3 = fma(k, load(block, u + 3 * WIDTH) + load(block, d + 3 * WIDTH), s3)
    store(out, start, s0)
    store(out, start + WIDTH, s1)
    store(out, start + 2 * WIDTH, s2)
    store(out, start + 3 * WIDTH, s3)


@inline
def along(a, start, width, taps, line):
    """Smooth the row of `a` at `start` in place, and continue it by REACH."""
    r = taps.size - 1
    first = BLOCK + -(-r // WIDTH) * WIDTH
    for x in range(0, width, WIDTH):
        store(line, first + x, load(a, start + x))
    pad_row(line, first, width, r)
    for x in range(0, width, BLOCK):
        k = splat(taps[0])
        p = first + x
        s0 = k * load(line, p)
        s1 = k * load(line, p + WIDTH)
        s2 = k * load(line, p + 2 * WIDTH)
        s3 = k * load(line, p + 3 * WIDTH)
        u = d = p
        for tap in taps[1:]:
            k = splat(tap)
            u += 1
            d -= 1
            s0 = fma(k, load(line, u) + load(line, d), s0)
            s1 = fma(k, load(line, u + WIDTH) + load(line, d + WIDTH), s1)
            s2 = fma(k, load(line, u + 2 * WIDTH) + load(line, d + 2 * WIDTH), s2)
            s3 = fma(k, load(line, u + 3 * WIDTH) + load(line, d + 3 * WIDTH), s3)
        p = start + x
        store(a, p, s0)
        store(a, p + WIDTH, s1)
        store(a, p + 2 * WIDTH, s2)
        store(a, p + 3 * WIDTH, s3)
    pad_row(a, start, width, REACH)
