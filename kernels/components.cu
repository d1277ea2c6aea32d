/* Connected components: pixels of equal value that are not 0, numbered from 1 in scan order of their first pixels.

   in    image[z][y][x]   any integers: only whether two are equal, or 0, counts
         connectivity     neighbours share a face (1), also an edge (2), also a corner (3)
   mid   parent[i]        an earlier pixel of the component of pixel i, i itself if there is none; -1: background
   out   label[i], and how many components there are behind the `before` of sum_up
   cost  reads the image once and parents four times, writes parents twice and labels once: bound by memory
   ref   union-find, the smaller index on top: D. P. Playne, K. Hawick, IEEE TPDS 29(6), 2018
   host  gpuseg/backends/_cuda/components.py

   Order: join_in_tiles, join_tiles, find_roots, sum_up, number_roots, spread_numbers. A root is the least index of
   its component, whoever came first: so the answer does not depend on the order of threads.                      */

constexpr unsigned ALL = 0xffffffffu;
constexpr int LANES = 32, WARPS = 8, THREADS = LANES * WARPS;
constexpr int ROWS = 32;  // of a tile, each a warp wide
constexpr int SPAN = 16 * THREADS;  // pixels of a block in kernels that go by pixels

/* The image and its tiles: `deep` slices times ROWS / deep rows times LANES columns. */
struct Grid {
    int depth, height, width, deep, connectivity;
    __device__ int tall() const { return ROWS / deep; }
    __device__ long long at(int z, int y, int x) const { return ((long long)z * height + y) * width + x; }
};

struct Tile {
    int z, y, x;  // first pixel
};

__device__ __forceinline__ Tile tile_at(const Grid& g, long long tile) {
    const long long across = (g.width + LANES - 1LL) / LANES, down = (g.height + g.tall() - 1LL) / g.tall();
    return {(int)(tile / (across * down)) * g.deep, (int)(tile / across % down) * g.tall(), (int)(tile % across) * LANES};
}

__device__ __forceinline__ bool inside(const Grid& g, int z, int y, int x) {
    return z < g.depth && y < g.height && x < g.width;
}

/* Bits of the earlier neighbours, 0 to 12 in scan order, to join a pixel with. Left out are those that it is joined
   with anyhow: along x, and by what its left and right neighbours are joined with. */
template <typename T>
__device__ unsigned earlier(const T* __restrict__ image, const Grid& g, int z, int y, int x) {
    const T* here = image + g.at(z, y, x);
    const T value = *here;
    const bool left = x > 0 && here[-1] == value, right = x + 1 < g.width && here[1] == value;
    unsigned found = left ? 1u << 12 : 0u;
    for (int row = 0; row < 4; ++row) {
        const int dz = row < 3 ? -1 : 0, dy = row < 3 ? row - 1 : -1, apart = (dz != 0) + (dy != 0);
        if (apart > g.connectivity || z + dz < 0 || y + dy < 0 || y + dy >= g.height) continue;
        const T* there = here + ((long long)dz * g.height + dy) * g.width;
        if (there[0] == value) {
            if (!left || there[-1] != value) found |= 2u << 3 * row;
        } else if (g.connectivity > apart) {
            if (x > 0 && !left && there[-1] == value) found |= 1u << 3 * row;
            if (x + 1 < g.width && !right && there[1] == value) found |= 4u << 3 * row;
        }
    }
    return found;
}

/* ---- union-find: in shared memory, and in device memory ---- */

/* Reads are atomic: what is least stays. Others may change it at the same time. */
__device__ __forceinline__ int root_in_tile(int* root, int i) {
    for (int above; (above = atomicMin(&root[i], i)) != i;) i = above;
    return i;
}

/* Not from a stale cache: ways would only be longer. */
__device__ __forceinline__ int root_of(const volatile int* parent, int i) {
    for (int above; (above = parent[i]) != i;) i = above;
    return i;
}

template <typename Root>
__device__ __forceinline__ void join(int* parent, int a, int b, Root find) {
    for (;;) {
        a = find(parent, a), b = find(parent, b);
        if (a == b) return;
        const int lower = min(a, b), upper = max(a, b), old = atomicMin(&parent[upper], lower);
        if (old == upper) return;
        a = lower, b = old;  // someone else joined `upper` with `old`
    }
}

/* Pixels of a tile, one by one: row by row for a warp, `each(z, y, x, place in the tile)`. */
template <typename Each>
__device__ __forceinline__ void for_pixels(const Grid& g, const Tile& t, Each each) {
    for (int row = threadIdx.x / LANES; row < ROWS; row += WARPS) {
        const int lane = threadIdx.x % LANES;
        each(t.z + row / g.tall(), t.y + row % g.tall(), t.x + lane, row * LANES + lane);
    }
}

/* parent: the least pixel of what is joined inside a tile. grid: any; block: THREADS; shared: an int a pixel. */
template <typename T>
__global__ void join_in_tiles(const T* __restrict__ image, int depth, int height, int width, int deep, int connectivity,
                              long long tiles, int* __restrict__ parent) {
    GPUSEG_DYN_SHARED(int, root);
    const Grid g = {depth, height, width, deep, connectivity};
    for (long long tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
        const Tile t = tile_at(g, tile);
        for_pixels(g, t, [&](int z, int y, int x, int place) {
            const int lane = place % LANES;
            const bool in = inside(g, z, y, x);
            const T* here = image + g.at(z, y, x);
            const bool object = in && *here != 0;
            const unsigned starts = __ballot_sync(ALL, object && (lane == 0 || here[-1] != *here));
            root[place] = object ? place - lane + LANES - 1 - __clz(starts & ((2u << lane) - 1u)) : -1;
        });
        __syncthreads();
        for_pixels(g, t, [&](int z, int y, int x, int place) {
            if (!inside(g, z, y, x) || image[g.at(z, y, x)] == 0) return;
            for (unsigned bits = earlier(image, g, z, y, x) & 0xfffu; bits; bits &= bits - 1) {
                const int k = __ffs(bits) - 1, dz = k / 9 - 1, dy = k / 3 % 3 - 1, dx = k % 3 - 1;
                const bool in = z + dz >= t.z && y + dy >= t.y && y + dy < t.y + g.tall() && x + dx >= t.x && x + dx < t.x + LANES;
                if (in) join(root, place, place + (dz * g.tall() + dy) * LANES + dx, root_in_tile);
            }
        });
        __syncthreads();
        for_pixels(g, t, [&](int z, int y, int x, int place) {
            if (!inside(g, z, y, x)) return;
            int above = root[place];
            while (above >= 0 && root[above] != above) above = root[above];
            const int row = above / LANES;
            const long long least = g.at(t.z + row / g.tall(), t.y + row % g.tall(), t.x + above % LANES);
            parent[g.at(z, y, x)] = above < 0 ? -1 : (int)least;
        });
        __syncthreads();
    }
}

/* Join across the faces of tiles. grid: any; block: THREADS. */
template <typename T>
__global__ void join_tiles(const T* __restrict__ image, int depth, int height, int width, int deep, int connectivity,
                           long long tiles, int* parent) {
    const Grid g = {depth, height, width, deep, connectivity};
    for (long long tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
        const Tile t = tile_at(g, tile);
        for_pixels(g, t, [&](int z, int y, int x, int place) {
            const int lane = place % LANES;
            const bool face = lane == 0 || lane == LANES - 1 || z == t.z || y == t.y || y == t.y + g.tall() - 1;
            if (!face || !inside(g, z, y, x) || image[g.at(z, y, x)] == 0) return;
            for (unsigned bits = earlier(image, g, z, y, x); bits; bits &= bits - 1) {
                const int k = __ffs(bits) - 1, dz = k / 9 - 1, dy = k / 3 % 3 - 1, dx = k % 3 - 1;
                const bool in = z + dz >= t.z && y + dy >= t.y && y + dy < t.y + g.tall() && x + dx >= t.x && x + dx < t.x + LANES;
                if (!in) join(parent, (int)g.at(z, y, x), (int)g.at(z + dz, y + dy, x + dx), root_of);
            }
        });
    }
}

/* ---- numbers ---- */

/* parent: the root of each pixel; roots in each block's SPAN pixels. grid: n / SPAN, rounded up; block: THREADS. */
__global__ void find_roots(int* parent, long long n, int* __restrict__ roots) {
    __shared__ int sum;
    if (threadIdx.x == 0) sum = 0;
    __syncthreads();
    const long long first = (long long)blockIdx.x * SPAN;
    int mine = 0;
    for (long long i = first + threadIdx.x; i < min(n, first + SPAN); i += THREADS) {
        if (parent[i] < 0) continue;
        const int root = root_of(parent, (int)i);
        parent[i] = root;
        mine += root == i;
    }
    if (mine) atomicAdd(&sum, mine);
    __syncthreads();
    if (threadIdx.x == 0) roots[blockIdx.x] = sum;
}

/* How many of the threads before this one say yes, and of all. Every thread of the block comes. */
__device__ int yes_before(bool yes, int* warps, int& all) {
    const int lane = threadIdx.x % LANES, warp = threadIdx.x / LANES;
    const unsigned bits = __ballot_sync(ALL, yes);
    if (lane == 0) warps[warp] = __popc(bits);
    __syncthreads();
    int before = __popc(bits & ((1u << lane) - 1u));
    all = 0;
    for (int w = 0; w < WARPS; ++w) {
        before += w < warp ? warps[w] : 0;
        all += warps[w];
    }
    __syncthreads();
    return before;
}

/* Counts -> sums of those before each, and of all behind the last. grid: 1; block: THREADS. */
__global__ void sum_up(int* counts, long long n) {
    __shared__ int warps[WARPS];
    const int lane = threadIdx.x % LANES, warp = threadIdx.x / LANES;
    int carried = 0;
    for (long long first = 0; first < n; first += THREADS) {
        const long long i = first + threadIdx.x;
        const int mine = i < n ? counts[i] : 0;
        int sum = mine;
        for (int o = 1; o < LANES; o <<= 1) {
            const int lower = __shfl_up_sync(ALL, sum, o);
            if (lane >= o) sum += lower;
        }
        if (lane == LANES - 1) warps[warp] = sum;
        __syncthreads();
        int before = carried + sum - mine;
        for (int w = 0; w < WARPS; ++w) {
            before += w < warp ? warps[w] : 0;
            carried += warps[w];
        }
        __syncthreads();
        if (i < n) counts[i] = before;
    }
    if (threadIdx.x == 0) counts[n] = carried;
}

/* label of roots, in scan order. grid: as find_roots; block: THREADS. */
__global__ void number_roots(const int* __restrict__ parent, long long n, const int* __restrict__ before,
                             int* __restrict__ label) {
    __shared__ int warps[WARPS];
    int number = before[blockIdx.x] + 1;
    for (long long first = (long long)blockIdx.x * SPAN; first < min(n, (blockIdx.x + 1LL) * SPAN); first += THREADS) {
        const long long i = first + threadIdx.x;
        const bool root = i < n && parent[i] == i;
        int all;
        const int rank = yes_before(root, warps, all);
        if (root) label[i] = number + rank;
        number += all;
    }
}

/* label of all other pixels. grid: any; block: any. */
__global__ void spread_numbers(const int* __restrict__ parent, long long n, int* label) {
    const long long stride = (long long)gridDim.x * blockDim.x;
    for (long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x; i < n; i += stride) {
        const int root = parent[i];
        if (root != i) label[i] = root < 0 ? 0 : label[root];
    }
}
