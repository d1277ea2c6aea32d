/* Pre-smoothing: one pass of a separable Gaussian, of any radius, for all scales at once.

   in    image or the result of the pass before; step s starts at in + which[s] * stride
   out   out[s]: the filtered samples of step s, one array after the other
   taps  half kernels of all steps, centre first; those of step s at taps + begin[s] to begin[s + 1]
   cost  a thread answers for 8 neighbours along the filtered axis: two loads from shared memory and one tap for
         16 operations, so passes are bound by device memory: 8 B a pixel, 4 r operations
   host  gpuseg/backends/_cuda/smoothing.py
   Sums are formed as on the CPU (backends/_numba/rows.py): k0 * here, then each tap times what stands on both sides. */

constexpr int RUN = 8;    // neighbours along the filtered axis that a thread answers for
constexpr int LANES = 32;
constexpr int WARPS = 8;  // of a block

/* RUN filtered samples around sample(0): sample(i) stands i places after the first one. */
template <class Sample>
__device__ __forceinline__ void weigh(Sample sample, const float* __restrict__ taps, int radius, float side,
                                      float* __restrict__ sum) {
    float low[RUN], high[RUN];
#pragma unroll
    for (int v = 0; v < RUN; ++v) {
        low[v] = high[v] = sample(v);
        sum[v] = taps[0] * low[v];
    }
#pragma unroll 8
    for (int t = 1; t <= radius; ++t) {
        const float k = taps[t];
#pragma unroll
        for (int v = RUN - 1; v > 0; --v) low[v] = low[v - 1];
#pragma unroll
        for (int v = 0; v < RUN - 1; ++v) high[v] = high[v + 1];
        low[0] = sample(-t);
        high[RUN - 1] = sample(RUN - 1 + t);
#pragma unroll
        for (int v = 0; v < RUN; ++v) sum[v] = fmaf(k, fmaf(side, low[v], high[v]), sum[v]);
    }
}

/* Filter along an axis that others lie inside of: y, or z. Arrays are (outer, axis, inner).
   `side` is 1 for even kernels and -1 for odd ones; first: place along the axis of the first answer of `count`;
   room: floats of dynamic shared memory, where a step's samples are kept if they fit.
   A block answers for WARPS * RUN places of 32 neighbouring columns. grid: columns of all outer ones, places, steps. */
__global__ void smooth_across(const float* __restrict__ in, const int* __restrict__ which, long long stride,
                              float* __restrict__ out, const float* __restrict__ taps, const int* __restrict__ begin,
                              float side, int outer, int size, long long inner, int first, int count, int room) {
    GPUSEG_DYN_SHARED(float, tile);
    const int lane = threadIdx.x, warp = threadIdx.y;
    const int step = blockIdx.z, across = (int)((inner + LANES - 1) / LANES), o = blockIdx.x / across;
    const long long column = (long long)(blockIdx.x % across) * LANES + lane;
    const int start = blockIdx.y * WARPS * RUN, mine = start + warp * RUN;
    const int radius = begin[step + 1] - begin[step] - 1, rows = WARPS * RUN + 2 * radius;
    const float* __restrict__ source = in + which[step] * stride + (long long)o * size * inner + column;
    const bool staged = rows * LANES <= room;
    if (staged && column < inner)
        for (int i = warp; i < rows; i += WARPS)
            tile[i * LANES + lane] = source[fold(first + start + i - radius, size) * inner];
    __syncthreads();
    if (column >= inner || mine >= count) return;
    float sum[RUN];
    if (staged) {
        const float* __restrict__ here = tile + (warp * RUN + radius) * LANES + lane;
        weigh([=](int i) { return here[i * LANES]; }, taps + begin[step], radius, side, sum);
    } else {
        weigh([=](int i) { return source[fold(first + mine + i, size) * inner]; }, taps + begin[step], radius, side, sum);
    }
    float* __restrict__ to = out + (((long long)step * outer + o) * count + mine) * inner + column;
#pragma unroll
    for (int v = 0; v < RUN; ++v)
        if (mine + v < count) to[v * inner] = sum[v];
}

/* Filter along rows: arrays are (rows, size), answers (rows, count). A warp answers for 32 * RUN places of a row.
   room: floats of dynamic shared memory for each warp. grid: places of all groups of rows, 1, steps. */
__global__ void smooth_along(const float* __restrict__ in, const int* __restrict__ which, long long stride,
                             float* __restrict__ out, const float* __restrict__ taps, const int* __restrict__ begin,
                             float side, int rows, int size, int first, int count, int room) {
    GPUSEG_DYN_SHARED(float, tile);
    const int lane = threadIdx.x, warp = threadIdx.y, step = blockIdx.z;
    const int along = (count + LANES * RUN - 1) / (LANES * RUN);
    const int row = blockIdx.x / along * WARPS + warp, start = blockIdx.x % along * LANES * RUN;
    if (row >= rows) return;  // whole warps; rows of a block share nothing
    const int radius = begin[step + 1] - begin[step] - 1, length = LANES * RUN + 2 * radius;
    const float* __restrict__ source = in + which[step] * stride + (long long)row * size;
    float* own = tile + warp * room;
    const bool staged = length + length / 32 < room;
    // One place is left out after every 32: lanes, RUN places apart, then read from different banks.
    if (staged)
        for (int i = lane; i < length; i += LANES) own[i + i / 32] = source[fold(first + start + i - radius, size)];
    __syncwarp();
    float sum[RUN];
    const int mine = lane * RUN;
    if (staged) {
        weigh([=](int i) { i += mine + radius; return own[i + i / 32]; }, taps + begin[step], radius, side, sum);
    } else {
        weigh([=](int i) { return source[fold(first + start + mine + i, size)]; }, taps + begin[step], radius, side, sum);
    }
    __syncwarp();
#pragma unroll
    for (int v = 0; v < RUN; ++v) own[mine + v + (mine + v) / 32] = sum[v];
    __syncwarp();
    float* __restrict__ to = out + ((long long)step * rows + row) * count;
    for (int i = lane; i < LANES * RUN && start + i < count; i += LANES) to[start + i] = own[i + i / 32];
}
