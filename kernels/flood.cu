/* Seeded growth, as by one queue for the whole image, yet basin by basin: a thread floods one from end to end.

   in    cost[i], limit   pixel i = (z * height + y) * width + x, n of them; the greatest key that is flooded
         seeds[i]         ids, 0: none
         basin[i]         number, from 1, of the pixels within the limit that faces join with pixel i; 0 beyond it
   mid   key[i]           an integer that orders as the cost does; of a pixel that grew, the priority it had
         who[i]           which neighbour pushed it, 0 to 5 in scan order; SEED: none
         pixels, grown    of each basin: pixels that its queue may meet, seeds among them that have room to grow
         first[b]         where the room of basin b begins, in `queue` and `places`
   out   label[i]         id of the seed that reached the pixel, 0: none did
   cost  a pixel that is popped costs some 4 reads of a heap for each level of 4 children, one behind the other, and
         reads of label and key of 6 neighbours, all at once: bound by their latency, so by the largest basin, unless
         there are thousands. Settling and the other kernels read each array once: bound by memory.
   ref   gpuseg/backends/_reference_objects.py: the same labels. Basins and shores: gpuseg/backends/_numba/flood.py
   host  gpuseg/backends/_cuda/flood.py

   Order: prepare_flood, components.cu, count_basins, line_up_seeds, grow_basins, settle_shores.
   What a queue pops is told by key and age, which no two entries share: the order of threads changes nothing.     */

constexpr unsigned ALL = 0xffffffffu;
constexpr int LANES = 32;
constexpr int SIDES = 6, SEED = 6;
constexpr int INFINITE = 0x7f800000, BEYOND = 0x7fffffff;  // keys: of what is not a number too; of what is not flooded
constexpr int CHILDREN = 4;                                // of a place in a heap: half as many levels as with 2
constexpr unsigned YOUNG = 0x80000000u;                    // ages from here on: of pixels that were pushed by others

typedef unsigned long long Entry;  // key, then age: place of a seed, or YOUNG + how many pixels were pushed before

struct Volume {
    int depth, height, width;
};

/* Places of the neighbours in scan order, -z to +z; -1 outside of the image. */
__device__ __forceinline__ void around(const Volume& v, int p, int* next) {
    const int row = p / v.width, x = p - row * v.width, z = row / v.height, y = row - z * v.height;
    const int slice = v.height * v.width;
    next[0] = z > 0 ? p - slice : -1;
    next[1] = y > 0 ? p - v.width : -1;
    next[2] = x > 0 ? p - 1 : -1;
    next[3] = x + 1 < v.width ? p + 1 : -1;
    next[4] = y + 1 < v.height ? p + v.width : -1;
    next[5] = z + 1 < v.depth ? p + slice : -1;
}

/* The neighbour at this side, which there is. */
__device__ __forceinline__ int beside(const Volume& v, int p, int side) {
    const int lower = side < SIDES / 2 ? side : SIDES - 1 - side;
    const int step = lower == 0 ? v.height * v.width : lower == 1 ? v.width : 1;
    return side == lower ? p - step : p + step;
}

/* Keys of neighbours without a label; BEYOND for others. */
__device__ __forceinline__ void free_keys(const int* next, const int* key, const int* label, int* found) {
#pragma unroll
    for (int side = 0; side < SIDES; ++side) {
        const int k = next[side] < 0 ? BEYOND : key[next[side]], id = next[side] < 0 ? 0 : label[next[side]];
        found[side] = id == 0 ? k : BEYOND;
    }
}

__device__ __forceinline__ Entry entry_of(int key, unsigned age) {
    return (Entry)((unsigned)key ^ 0x80000000u) << 32 | age;
}

/* ---- a heap, the least entry on top ---- */

/* Put an entry at `i`, or below it where others are less. */
__device__ void sink(Entry* heap, int size, int i, Entry entry) {
    for (int child; (child = CHILDREN * i + 1) < size;) {
        int least = child;
        Entry lowest = heap[child];
        for (int c = child + 1; c < min(child + CHILDREN, size); ++c) {
            const Entry other = heap[c];
            if (other < lowest) least = c, lowest = other;
        }
        if (entry < lowest) break;
        heap[i] = lowest;
        i = least;
    }
    heap[i] = entry;
}

/* Put an entry at `i`, or above it where others are greater. */
__device__ void rise(Entry* heap, int i, Entry entry) {
    for (int above; i > 0 && entry < heap[above = (i - 1) / CHILDREN]; i = above) heap[i] = heap[above];
    heap[i] = entry;
}

/* ---- before the growth ---- */

/* key, label and who of every pixel, and whether it is `within` the limit. grid: any; block: any. */
__global__ void prepare_flood(const float* __restrict__ cost, const int* __restrict__ seeds, int limit, long long n,
                              int* __restrict__ key, int* __restrict__ label, unsigned char* __restrict__ who,
                              unsigned char* __restrict__ within) {
    const long long stride = (long long)gridDim.x * blockDim.x;
    for (long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x; i < n; i += stride) {
        const int bits = __float_as_int(cost[i]), size = bits & 0x7fffffff;
        const int k = size > INFINITE ? INFINITE : bits < 0 ? -size : size;
        key[i] = k;
        label[i] = seeds[i];
        who[i] = SEED;
        within[i] = k <= limit;
    }
}

/* Whether a seed of a basin has a neighbour to grow into. Others would be popped to no effect. */
__device__ bool has_room(const Volume& v, int p, int limit, const int* key, const int* label) {
    int next[SIDES], keys[SIDES];
    around(v, p, next);
    free_keys(next, key, label, keys);
    bool any = false;
    for (int side = 0; side < SIDES; ++side) any |= keys[side] <= limit;
    return any;
}

/* Added to pixels and grown: those of each basin. grid: any; block: whole warps. */
__global__ void count_basins(int depth, int height, int width, int limit, const int* __restrict__ basin,
                             const int* __restrict__ key, const int* __restrict__ label, int* pixels, int* grown) {
    const Volume v = {depth, height, width};
    const long long n = (long long)depth * height * width, stride = (long long)gridDim.x * blockDim.x;
    for (long long start = (long long)blockIdx.x * blockDim.x; start < n; start += stride) {
        const long long i = start + threadIdx.x;
        int b = i < n ? basin[i] : 0;
        if (b > 0 && label[i] != 0) {
            if (has_room(v, (int)i, limit, key, label)) atomicAdd(&grown[b], 1);
            else b = 0;
        }
        const unsigned same = __match_any_sync(ALL, b);
        if (b > 0 && threadIdx.x % LANES == __ffs(same) - 1) atomicAdd(&pixels[b], __popc(same));
    }
}

/* Seeds into the queues of their basins, in any order. lined: how many are in each, zeros. grid: any; block: any. */
__global__ void line_up_seeds(int depth, int height, int width, int limit, const int* __restrict__ basin,
                              const int* __restrict__ key, const int* __restrict__ label,
                              const long long* __restrict__ first, int* lined, Entry* __restrict__ queue) {
    const Volume v = {depth, height, width};
    const long long n = (long long)depth * height * width, stride = (long long)gridDim.x * blockDim.x;
    for (long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x; i < n; i += stride) {
        const int b = basin[i];
        if (b == 0 || label[i] == 0 || !has_room(v, (int)i, limit, key, label)) continue;
        queue[first[b] + atomicAdd(&lined[b], 1)] = entry_of(key[i], (unsigned)i);
    }
}

/* ---- the growth ---- */

/* Label basins 1 to `basins`. lined: seeds in each queue. grid: any; block: any. */
__global__ void grow_basins(int depth, int height, int width, int limit, long long basins,
                            const long long* __restrict__ first, const int* __restrict__ lined, int* key, int* label,
                            unsigned char* __restrict__ who, Entry* __restrict__ queue, int* __restrict__ places) {
    const Volume v = {depth, height, width};
    const long long stride = (long long)gridDim.x * blockDim.x;
    for (long long b = (long long)blockIdx.x * blockDim.x + threadIdx.x + 1; b <= basins; b += stride) {
        Entry* heap = queue + first[b];
        int* place = places + first[b];
        int size = lined[b], pushed = 0;
        for (int i = size / CHILDREN; i >= 0 && size > 0; --i) sink(heap, size, i, heap[i]);
        while (size > 0) {
            const unsigned age = (unsigned)heap[0];
            if (--size > 0) sink(heap, size, 0, heap[size]);
            const int p = age < YOUNG ? (int)age : place[age - YOUNG], own = key[p], id = label[p];
            int next[SIDES], keys[SIDES];
            around(v, p, next);
            free_keys(next, key, label, keys);
            for (int side = 0; side < SIDES; ++side) {
                if (keys[side] > limit) continue;
                const int q = next[side], k = max(keys[side], own);
                key[q] = k;
                label[q] = id;
                who[q] = (unsigned char)(SIDES - 1 - side);
                place[pushed] = q;
                rise(heap, size++, entry_of(k, YOUNG + (unsigned)pushed++));
            }
        }
    }
}

/* Whether p was popped before q; false where one pixel pushed both: they have its label. */
__device__ bool popped_before(const Volume& v, int p, int q, const int* key, const unsigned char* who) {
    while (p != q && key[p] == key[q]) {
        const int by_p = who[p], by_q = who[q];
        if (by_p == SEED || by_q == SEED) return by_p == SEED && (by_q != SEED || p < q);
        p = beside(v, p, by_p), q = beside(v, q, by_q);
    }
    return key[p] < key[q];
}

/* Label pixels beyond the limit that lie beside basins: no label of theirs is read. grid: any; block: any. */
__global__ void settle_shores(int depth, int height, int width, int limit, const int* __restrict__ key,
                              const unsigned char* __restrict__ who, int* label) {
    const Volume v = {depth, height, width};
    const long long n = (long long)depth * height * width, stride = (long long)gridDim.x * blockDim.x;
    for (long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x; i < n; i += stride) {
        if (key[i] <= limit || label[i] != 0) continue;
        int next[SIDES], earliest = -1;
        around(v, (int)i, next);
        for (int side = 0; side < SIDES; ++side) {
            const int q = next[side];
            if (q < 0 || key[q] > limit || label[q] == 0) continue;
            if (earliest < 0 || popped_before(v, q, earliest, key, who)) earliest = q;
        }
        if (earliest >= 0) label[i] = label[earliest];
    }
}
