"""Sets that are joined one after the other: each is a tree, known by its root."""

from gpuseg.backends._numba.simd import inline


@inline
def find(parent, i):
    """The root of all that were joined with i; who looks shortens the way for others."""
    while parent[i] != i:
        parent[i] = parent[parent[i]]
        i = parent[i]
    return i
