/* The filters of a scale on a pre-smoothed volume: all wanted planes leave in one pass.

   in    smooth[s][z][y][x]  volume of step s, over a box of n* voxels that begins at o* of an image of depth x height
                             x width; it holds voxels z0..z1-1, y0..y1-1, x0..x1-1 and 3 around them, within the image
         which[i]            the steps that a launch is for
         planes[s][6]        first plane of each filter in `out`, -1 if not wanted; order of backends/plan.py FILTERS
         taps[s][3][13]      along z, y, x: smooth 0-2, first 3-4, second 5-7, second Gaussian 8-9, gradient 10-12
   out   out[p][z][y][x]     plane p of the voxels z0.., y0.., x0..
   cost  instructions of a warp, counted in sm_90 code with all filters: filters3d 520 for 28 voxels, 60 of them in
         double precision and 50 shuffles and loads; tensor3d 560 for 26, of them 60 and 80. Multiprocessors bound
         both: 512^3 in 2.4 and 2.8 ms on an H200 (reckoned), where device memory would take 1 and 0.5 ms for the 4 B
         that a voxel is read with (9 and 10 from the second-level cache) and the 28 and 12 B that it is answered with
   host  gpuseg/backends/_cuda/deep.py
   A warp answers for a row of a slice and marches along y. What it found across slices at the last five rows stays in
   registers, so the pass along y is free of traffic; the pass along x asks the lanes beside. Operations follow each
   other as on the CPU (backends/_numba/bank3d.py: z, y, x): both give the same bits. */

constexpr int LANES = 32;
constexpr int REACH = 2;   // radius of the filters; the gradient inside the structure tensor adds 1
constexpr int SLICES = 8;  // that a block answers for, a warp each
constexpr int BANK_LANES = LANES - 2 * REACH, TENSOR_LANES = BANK_LANES - 2;  // lanes that answer
constexpr int AXIS_TAPS = 13, TAPS = 3 * AXIS_TAPS, FILTERS = 6;
constexpr int GAUSS = 0, LAPLACE = 1, GRADIENT = 2, DIFFERENCE = 3, TENSOR = 4, HESSIAN = 5;  // columns of `planes`
constexpr int PRODUCTS = 6;  // zz zy zx yy yx xx
constexpr unsigned ALL = 0xffffffffu;

__device__ __forceinline__ bool outside(int i, int n) { return (unsigned)i >= (unsigned)n; }

/* The last five rows of a value. */
struct Window {
    float v[5];

    __device__ __forceinline__ void push(float next) {
#pragma unroll
        for (int i = 0; i < 4; ++i) v[i] = v[i + 1];
        v[4] = next;
    }
    __device__ __forceinline__ float even(const float* k) const {
        return ::even(v[2], v[3] + v[1], v[4] + v[0], k[0], k[1], k[2]);
    }
    __device__ __forceinline__ float odd(const float* d) const {
        return ::odd(v[3] - v[1], v[4] - v[0], d[0], d[1]);
    }
};

/* A value of all lanes, and what stands one and two lanes beside: a window along x. */
__device__ __forceinline__ Window beside(float here) {
    return {{__shfl_up_sync(ALL, here, 2), __shfl_up_sync(ALL, here, 1), here, __shfl_down_sync(ALL, here, 1),
             __shfl_down_sync(ALL, here, 2)}};
}

/* Taps along z, y, x, so placed that four are read at once. */
struct alignas(16) Weights {
    float axis[3][16];

    __device__ __forceinline__ void read(const float* __restrict__ taps) {
        const int i = threadIdx.y, k = threadIdx.x;
        if (i < 3 && k < AXIS_TAPS) axis[i][k] = taps[i * AXIS_TAPS + k];
    }
};

/* All filters but the structure tensor. A warp answers for BANK_LANES columns of a slice, `rows` rows of them.
   block: lanes, slices. grid: columns, rows, slices of all steps. */
__global__ void __launch_bounds__(LANES * SLICES, 3)
filters3d(const float* __restrict__ smooth, const int* __restrict__ which, const int* __restrict__ planes,
          const float* __restrict__ taps, float* __restrict__ out, int oz, int oy, int ox, int nz, int ny, int nx,
          int depth, int height, int width, int z0, int z1, int y0, int y1, int x0, int x1, int rows) {
    __shared__ Weights weights;
    const float *tz = weights.axis[0], *ty = weights.axis[1], *tx = weights.axis[2];
    const int lane = threadIdx.x, slabs = (z1 - z0 + SLICES - 1) / SLICES, step = which[blockIdx.z / slabs];
    const int z = z0 + blockIdx.z % slabs * SLICES + threadIdx.y;
    weights.read(taps + step * TAPS);
    __syncthreads();
    if (z >= z1) return;  // whole warps, which share nothing but the taps
    const int x = x0 + blockIdx.x * BANK_LANES - REACH + lane;
    const int top = y0 + blockIdx.y * rows, bottom = min(top + rows, y1);
    const bool answers = lane >= REACH && lane < LANES - REACH && x < x1;

    const int* __restrict__ first = planes + step * FILTERS;
    const bool gauss = first[GAUSS] >= 0, laplace = first[LAPLACE] >= 0, gradient = first[GRADIENT] >= 0;
    const bool difference = first[DIFFERENCE] >= 0, hessian = first[HESSIAN] >= 0;
    const long long plane = (long long)(z1 - z0) * (y1 - y0) * (x1 - x0);
    float* __restrict__ to = out + ((long long)(z - z0) * (y1 - y0) + top - y0) * (x1 - x0) + x - x0;
    const auto put = [&](int p, float value) {
        if (answers) to[p * plane] = value;
    };

    // Lanes beyond the last column repeat one that the box holds.
    const int column = fold(min(x, x1 + REACH - 1), width) - ox;
    const float* __restrict__ source = smooth + (long long)step * nz * ny * nx + column;
    const float* slice[5];
#pragma unroll
    for (int i = 0; i < 5; ++i) slice[i] = source + (long long)(fold(z + i - REACH, depth) - oz) * ny * nx;

    Window smoothed, derived, curved;  // across slices: smoothed, first and second derivative
    float second[4];                   // and the second Gaussian
    for (int y = top - REACH; y < bottom + REACH; ++y) {
        __syncwarp();  // taps are read anew: 30 of them in registers would leave room for 16 warps, not 24
        const long long row = (long long)(fold(y, height) - oy) * nx;
        Window across;
#pragma unroll
        for (int i = 0; i < 5; ++i) across.v[i] = slice[i][row];
        smoothed.push(across.even(tz));
        if (gradient || hessian) derived.push(across.odd(tz + 3));
        if (laplace || hessian) curved.push(across.even(tz + 5));
#pragma unroll
        for (int i = 0; i < 3; ++i) second[i] = second[i + 1];
        second[3] = fmaf(tz[9], across.v[3] + across.v[1], tz[8] * across.v[2]);
        if (y < top + REACH) continue;

        const Window plain = beside(smoothed.even(ty));
        const float mean = plain.even(tx);
        if (gauss) put(first[GAUSS], mean);
        if (difference) {
            const float g = fmaf(ty[9], second[2] + second[0], ty[8] * second[1]);
            const float near = __shfl_down_sync(ALL, g, 1) + __shfl_up_sync(ALL, g, 1);
            put(first[DIFFERENCE], mean - fmaf(tx[9], near, tx[8] * g));
        }
        Window by_y, by_z;
        if (gradient || hessian) {
            by_y = beside(smoothed.odd(ty + 3));
            by_z = beside(derived.even(ty));
        }
        if (gradient) {
            const float gx = plain.odd(tx + 3), gy = by_y.even(tx), gz = by_z.even(tx);
            put(first[GRADIENT], sqrtf(fmaf(gx, gx, fmaf(gy, gy, gz * gz))));
        }
        if (laplace || hessian) {
            const float xx = plain.even(tx + 5);
            const float yy = beside(smoothed.even(ty + 5)).even(tx), zz = beside(curved.even(ty)).even(tx);
            if (laplace) put(first[LAPLACE], xx + yy + zz);
            if (hessian) {
                const float zy = beside(derived.odd(ty + 3)).even(tx);
                float value[3];
                eigen3({zz, zy, by_z.odd(tx + 3), yy, by_y.odd(tx + 3), xx}, value);
#pragma unroll
                for (int i = 0; i < 3; ++i) put(first[HESSIAN] + i, value[i]);
            }
        }
        to += x1 - x0;
    }
}

/* Eigenvalues of the structure tensor. A warp forms the products of gradients of TENSOR_LANES + 4 columns of a slice,
   row by row; the inner ones average those of five slices. grid: as above; block: lanes, SLICES + 4. */
__global__ void __launch_bounds__(LANES * (SLICES + 2 * REACH), 2)
tensor3d(const float* __restrict__ smooth, const int* __restrict__ which, const int* __restrict__ planes,
         const float* __restrict__ taps, float* __restrict__ out, int oz, int oy, int ox, int nz, int ny, int nx,
         int depth, int height, int width, int z0, int z1, int y0, int y1, int x0, int x1, int rows) {
    __shared__ float products[2][PRODUCTS][SLICES + 2 * REACH][LANES];
    __shared__ Weights weights;
    const float *tz = weights.axis[0], *ty = weights.axis[1], *tx = weights.axis[2];
    const int lane = threadIdx.x, warp = threadIdx.y;
    const int slabs = (z1 - z0 + SLICES - 1) / SLICES, step = which[blockIdx.z / slabs];
    // Lanes and warps beyond the last voxel repeat one that the box holds.
    const int z = min(z0 + (int)(blockIdx.z % slabs) * SLICES - REACH + warp, z1 + REACH - 1);
    const int x = min(x0 + (int)blockIdx.x * TENSOR_LANES - REACH - 1 + lane, x1 + REACH);
    const int top = y0 + blockIdx.y * rows, bottom = min(top + rows, y1);
    const bool inner = warp >= REACH && warp < SLICES + REACH && z < z1;
    const bool answers = lane > REACH && lane < LANES - REACH - 1 && x < x1;

    const long long plane = (long long)(z1 - z0) * (y1 - y0) * (x1 - x0);
    float* __restrict__ to = out + planes[step * FILTERS + TENSOR] * plane +
                             ((long long)(z - z0) * (y1 - y0) + top - y0) * (x1 - x0) + x - x0;
    weights.read(taps + step * TAPS);
    __syncthreads();
    // Outside the image products are those of the mirrored voxel, so a gradient across that border turns its sign.
    const float dz = outside(z, depth) ? -tz[12] : tz[12], dx = outside(x, width) ? -tx[12] : tx[12];
    const float* __restrict__ source = smooth + (long long)step * nz * ny * nx + fold(x, width) - ox;
    const float* slice[3];
#pragma unroll
    for (int i = 0; i < 3; ++i) slice[i] = source + (long long)(fold(z + i - 1, depth) - oz) * ny * nx;

    float smoothed[3], derived[3];  // across slices, at the last three rows
    Window window[PRODUCTS];        // averaged across slices, at the last five
    for (int y = top - REACH - 1; y <= bottom + REACH; ++y) {
        const long long row = (long long)(fold(y, height) - oy) * nx;
        const float up = slice[0][row], down = slice[2][row];
#pragma unroll
        for (int i = 0; i < 2; ++i) {
            smoothed[i] = smoothed[i + 1];
            derived[i] = derived[i + 1];
        }
        smoothed[2] = fmaf(tz[11], down + up, tz[10] * slice[1][row]);
        derived[2] = dz * (down - up);
        if (y <= top - REACH) continue;

        const int middle = y - 1;  // the row of these products
        const float dy = outside(middle, height) ? -ty[12] : ty[12];
        const float a = fmaf(ty[11], smoothed[2] + smoothed[0], ty[10] * smoothed[1]);
        const float b = dy * (smoothed[2] - smoothed[0]);
        const float c = fmaf(ty[11], derived[2] + derived[0], ty[10] * derived[1]);
        const float gx = dx * (__shfl_down_sync(ALL, a, 1) - __shfl_up_sync(ALL, a, 1));
        const float gy = fmaf(tx[11], __shfl_down_sync(ALL, b, 1) + __shfl_up_sync(ALL, b, 1), tx[10] * b);
        const float gz = fmaf(tx[11], __shfl_down_sync(ALL, c, 1) + __shfl_up_sync(ALL, c, 1), tx[10] * c);
        auto& now = products[y & 1];  // two in turn: a barrier a row is enough
        now[0][warp][lane] = gz * gz;
        now[1][warp][lane] = gz * gy;
        now[2][warp][lane] = gz * gx;
        now[3][warp][lane] = gy * gy;
        now[4][warp][lane] = gy * gx;
        now[5][warp][lane] = gx * gx;
        __syncthreads();
        if (!inner) continue;
        float m[PRODUCTS], value[3];
#pragma unroll
        for (int k = 0; k < PRODUCTS; ++k) {
            Window across;
#pragma unroll
            for (int i = 0; i < 5; ++i) across.v[i] = now[k][warp + i - REACH][lane];
            window[k].push(across.even(tz));
            m[k] = beside(window[k].even(ty)).even(tx);
        }
        if (middle < top + REACH) continue;
        __syncwarp();  // else sm_70 spills: nothing of the above is to move below
        eigen3(m, value);
        if (answers)
#pragma unroll
            for (int i = 0; i < 3; ++i) to[i * plane] = value[i];
        to += x1 - x0;
    }
}
