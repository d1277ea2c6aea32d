"""The pixels of a skeleton as a graph: longest path, the tree around its centre, what that measures."""

import numpy as np

from gpuseg.backends._numba.simd import apart, inline

SHORTEST = 4.0  # length from which a branch can be salient: shorter ones are steps of the border
LEAST_AREA = 3  # twice the area up to which a cycle encloses no pixel
DIAGONAL = np.sqrt(2.0)
# Neighbours k of a node in scan order; 7 - k leads back.
_DY, _DX = np.array([-1, -1, -1, 0, 0, 1, 1, 1]), np.array([-1, 0, 1, -1, 1, -1, 0, 1])
_LENGTH = np.array([DIAGONAL, 1.0, DIAGONAL, 1.0, 1.0, DIAGONAL, 1.0, DIAGONAL])


@apart
def _connect(marked, width):
    """Nodes in scan order, as (place, links): `links[i, k]` is the neighbour of i in direction k, or -1."""
    place = np.flatnonzero(marked)
    number = np.full(marked.size, -1, np.int32)
    for i in range(place.size):
        number[place[i]] = i
    links = np.empty((place.size, 8), np.int64)
    for i in range(place.size):
        for k in range(8):
            links[i, k] = number[place[i] + _DY[k] * width + _DX[k]]
    return place, links


@inline
def _cut(links, i, k):
    """Remove the edge from node i in direction k, both ways."""
    links[links[i, k], 7 - k] = -1
    links[i, k] = -1


@inline
def _rise(heap, where, far, k):
    while k > 1 and far[heap[k // 2]] > far[heap[k]]:
        heap[k], heap[k // 2] = heap[k // 2], heap[k]
        where[heap[k]], where[heap[k // 2]] = k, k // 2
        k //= 2


@inline
def _sink(heap, where, far, size):
    k = 1
    while 2 * k <= size:
        j = 2 * k
        if j < size and far[heap[j]] > far[heap[j + 1]]:
            j += 1
        if far[heap[k]] <= far[heap[j]]:
            break
        heap[k], heap[j] = heap[j], heap[k]
        where[heap[k]], where[heap[j]] = k, j
        k = j


@apart
def _explore(links, source, target, parent, order):
    """Shortest paths from `source` up to `target` (or all, -1): fills `parent` and `order`, says how many.

    Dijkstra's method on a binary heap; parent is -1 where it did not come, and the source's own is itself.
    """
    n = parent.size
    heap, where = np.empty(n + 1, np.int64), np.zeros(n, np.int64)  # where: 0 outside the heap
    far = np.empty(n)
    parent[:] = -1
    parent[source], far[source] = source, 0.0
    heap[1], where[source] = source, 1
    size, found = 1, 0
    while size:
        i = heap[1]
        heap[1], where[i] = heap[size], 0
        size -= 1
        if size:
            where[heap[1]] = 1
            _sink(heap, where, far, size)
        order[found] = i
        found += 1
        if i == target:
            break
        for k in range(8):
            j = links[i, k]
            if j < 0:
                continue
            d = far[i] + _LENGTH[k]
            if where[j]:
                if d < far[j]:
                    far[j], parent[j] = d, i
                    _rise(heap, where, far, where[j])
            elif parent[j] < 0:
                size += 1
                far[j], parent[j] = d, i
                heap[size], where[j] = j, size
                _rise(heap, where, far, size)
    return found


@inline
def _step(p, q, width):
    """Length of the edge between two neighbours, or from a pixel to itself."""
    if p == q:
        return 0.0
    return 1.0 if p // width == q // width or p % width == q % width else DIAGONAL


@inline
def _true_step(p, q, width, pixel):
    """The same where pixels have a size, along y and x."""
    dy, dx = (p // width - q // width) * pixel[0], (p % width - q % width) * pixel[1]
    return np.sqrt(dy * dy + dx * dx)


@inline
def _wedge(p, q, width):
    """Twice the area of the triangle of p, q and the origin, with its sign."""
    return (p % width) * (q // width) - (p // width) * (q % width)


@inline
def _half_way(place, width, parent, i, half):
    """Node of the path from i whose number is nearest to where `half` of its length lies."""
    walked, position = 0.0, 0.0
    while walked < half:
        reached = walked + _step(place[i], place[parent[i]], width)
        if reached >= half:
            # Rounding of these sums decides between the ends of a middle edge: as in vigra.
            nearest = np.floor(position + (half - walked) / (reached - walked) + 0.5)
            return parent[i] if nearest > position else i
        walked = reached
        position += 1.0
        i = parent[i]
    return i


@apart
def _axis(links, place, width, pixel, parent, order, out):
    """Longest of the shortest paths; gives its centre. Of several parts, that of the last pixel counts."""
    found = _explore(links, place.size - 1, -1, parent, order)
    start = order[found - 1]
    found = _explore(links, start, -1, parent, order)
    end = order[found - 1]
    walked, length, i = 0.0, 0.0, end
    while i != start:
        walked += _step(place[i], place[parent[i]], width)
        length += _true_step(place[i], place[parent[i]], width, pixel)
        i = parent[i]
    centre = _half_way(place, width, parent, end, walked / 2)
    out[2], out[3] = length, _true_step(place[start], place[end], width, pixel)
    for k, node in enumerate((centre, end, start)):
        out[6 + 2 * k], out[7 + 2 * k] = place[node] % width, place[node] // width
    return centre


@apart
def _grow_tree(links, place, width, pixel, distance, parent, order, length, true, salience, child):
    """From the rim inwards: length and salience of the deepest subtree; cut edges that close no cycle."""
    for i in order[::-1]:
        up = parent[i]
        for k in range(8):
            j = links[i, k]
            if j >= 0 and j != up and parent[j] != i and child[i] >= 0 and child[j] >= 0:
                _cut(links, i, k)
        reach = length[i] + _step(place[i], place[up], width)
        if length[up] < reach:
            length[up], child[up] = reach, i
            true[up] = true[i] + _true_step(place[i], place[up], width, pixel)
        if length[i] >= SHORTEST:
            salience[i] = max(salience[i], (length[i] + 0.5) / np.sqrt(np.float64(distance[place[i]])))
            salience[up] = max(salience[up], salience[i])


@apart
def _hand_out(place, width, pixel, parent, order, true, salience, child, area):
    """From the centre outwards: the principal child goes on, others add their own step; areas for cycles."""
    for i in order:
        up = parent[i]
        if child[up] == i:
            true[i], salience[i] = true[up], salience[up]
        else:
            true[i] += _true_step(place[i], place[up], width, pixel)
        area[i] = area[up] + _wedge(place[i], place[up], width)


@apart
def _encloses(mask, width, place, path, source, target):
    """Whether the closed path from `target` back to `source` goes around a pixel that is not the object's."""
    flips = np.zeros(mask.size, np.uint8)
    i, top, bottom = target, mask.size, 0
    while True:
        j = target if i == source else path[i]
        if place[i] // width != place[j] // width:  # a row between two nodes belongs to the upper one
            upper = min(place[i], place[j])
            flips[upper] ^= 1
            top, bottom = min(top, upper), max(bottom, upper)
        if i == source:
            break
        i = j
    for y in range(top // width, bottom // width + 1):
        inside = 0
        for p in range(y * width, (y + 1) * width):
            if inside and mask[p] != 1:
                return True
            inside ^= flips[p]
    return False


@apart
def _close(links, mask, place, width, i, k, true, salience, looped, path, order):
    """Length of the hole that edge k of leaf i closes, whose pixels are protected; 0 if it closes none."""
    j = links[i, k]
    _cut(links, i, k)
    found = _explore(links, i, j, path, order)
    if order[found - 1] != j or not _encloses(mask, width, place, path, i, j):
        return 0.0
    most = max(salience[i], salience[j])
    closed = true[i] + true[j]
    node = j
    while True:
        looped[node] = True
        salience[node] = max(salience[node], most)
        if node == i:
            return closed
        node = path[node]


@apart
def _prune(links, i, parent, child, salience):
    """Remove the branch that ends in leaf i, up to where it leaves a longer one."""
    while True:
        salience[i] = 0.0
        for k in range(8):
            if links[i, k] >= 0:
                _cut(links, i, k)
        if child[parent[i]] != i:
            return
        i = parent[i]


@apart
def measure_tree(mask, width, pixel, distance, marked, threshold, out):
    """Fill `out` with the numbers of one skeleton; coordinates are those of the window.

    Which path is longest and which branches are pruned is decided in pixels, whatever their size.
    """
    place, links = _connect(marked, width)
    n = place.size
    parent, order = np.empty(n, np.int64), np.empty(n, np.int64)
    centre = _axis(links, place, width, pixel, parent, order, out)
    order = order[: _explore(links, centre, -1, parent, order)]
    length, true, salience, child = np.zeros(n), np.zeros(n), np.ones(n), np.full(n, -1, np.int64)
    _grow_tree(links, place, width, pixel, distance, parent, order, length, true, salience, child)
    area = np.zeros(n, np.int64)
    _hand_out(place, width, pixel, parent, order, true, salience, child, area)

    looped, path, visited = np.zeros(n, np.bool_), np.empty(n, np.int64), np.empty(n, np.int64)
    looped[centre] = True
    holes, total = 0, 0.0
    for i in order[::-1]:
        if child[i] < 0:
            for k in range(8):
                j = links[i, k]
                if j < 0 or j == parent[i]:
                    continue
                if abs(area[i] - _wedge(place[i], place[j], width) - area[j]) <= LEAST_AREA:
                    continue
                closed = _close(links, mask, place, width, i, k, true, salience, looped, path, visited)
                holes += closed > 0
                total += closed
            if not looped[i] and distance[place[i]] >= 4:
                _prune(links, i, parent, child, salience)
        if looped[i]:
            looped[parent[i]] = True

    least, branches, summed = threshold * salience[centre], 0, 0.0
    for i in order:
        if child[i] < 0 and not looped[i] and salience[i] >= least:
            branches += 1
            summed += true[i]
    out[0], out[1], out[4] = branches, holes, total + summed
    out[5] = summed / max(branches, 1)
