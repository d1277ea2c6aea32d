/* All filters of one scale on one tile of a pre-smoothed plane, in shared memory. Behind it: filters2d.cu, classify2d.cu.

   The tile is read once with three pixels around it. Four lines per pixel go across rows (smoothed, first and second
   derivative, second Gaussian) and are combined along them; the tensor's three products are averaged likewise.
   Order and fusing of operations are those of backends/_numba/bank2d.py. */

constexpr int REACH = 3;      // pixels around a tile that filters see
constexpr int BLOCKED = 4;    // rows that a thread takes together when it goes across them: 2 loads a row instead of 5
constexpr int TAPS = 13;      // smooth 0-2, first 3-4, second 5-7, second Gaussian 8-9, tensor: smooth 10-11, first 12
constexpr int GAUSS = 0, LAPLACE = 1, GRADIENT = 2, DIFFERENCE = 3, TENSOR = 4, HESSIAN = 5;  // places in `planes`
constexpr int PLANES = 8;     // of a step: two of the tensor, two of the Hessian

/* Where plane k of a step goes, counted as the filters are and the second one of tensor and Hessian behind its first;
   negative if it is not wanted. */
__device__ __forceinline__ int plane_at(const int* __restrict__ planes, int k) {
    if (k < TENSOR) return planes[k];
    const int first = planes[TENSOR + (k - TENSOR) / 2];
    return first < 0 ? first : first + (k - TENSOR) % 2;
}

/* Where the pre-smoothed plane and the tile lie in the image. */
struct Frame {
    int height, width;          // of the image
    int top, left, rows, columns;  // of the plane: its first pixel in the image, its size
};

__device__ __forceinline__ Frame framed(const int* __restrict__ f) {
    const Frame frame = {f[0], f[1], f[2], f[3], f[4], f[5]};
    return frame;
}

template <int TX, int TY>
struct Tile {
    float plane[TY + 6][TX + 6];
    union {
        float lines[4][TY][TX + 4];
        struct {
            float products[3][TY + 4][TX + 4];
            float averaged[3][TY][TX + 4];
        };
    };
};

/* The tile whose first pixel is (y, x) of the image. What no wanted pixel sees may be beyond the plane: anything goes. */
template <int TX, int TY>
__device__ void load_tile(Tile<TX, TY>& s, const float* __restrict__ plane, const Frame& f, int y, int x) {
    const int top = y - REACH - f.top, left = x - REACH - f.left;  // of the tile, in the plane
    const bool inside = top >= 0 && left >= 0 && top + TY + 6 <= f.rows && left + TX + 6 <= f.columns &&
                        y >= REACH && x >= REACH && y + TY + REACH <= f.height && x + TX + REACH <= f.width;
    if (inside) {  // most tiles: no mirror, and several loads under way at once
        const float* __restrict__ from = plane + (long long)top * f.columns + left;
#pragma unroll 6
        for (int i = threadIdx.x; i < (TY + 6) * (TX + 6); i += blockDim.x) {
            const int r = i / (TX + 6), c = i % (TX + 6);
            s.plane[r][c] = from[r * f.columns + c];
        }
        return;
    }
    for (int i = threadIdx.x; i < (TY + 6) * (TX + 6); i += blockDim.x) {
        const int r = i / (TX + 6), c = i % (TX + 6);
        const int row = min(max(mirror(y - REACH + r, f.height) - f.top, 0), f.rows - 1);
        const int column = min(max(mirror(x - REACH + c, f.width) - f.left, 0), f.columns - 1);
        s.plane[r][c] = plane[(long long)row * f.columns + column];
    }
}

template <int TX, int TY>
__device__ void across_rows(Tile<TX, TY>& s, const float* __restrict__ t) {
    for (int i = threadIdx.x; i < (TX + 4) * (TY / BLOCKED); i += blockDim.x) {
        const int c = i % (TX + 4), first = i / (TX + 4) * BLOCKED;
        float v[BLOCKED + 4];
#pragma unroll
        for (int k = 0; k < BLOCKED + 4; ++k) v[k] = s.plane[first + 1 + k][c + 1];
#pragma unroll
        for (int k = 0; k < BLOCKED; ++k) {
            const float here = v[k + 2], near = v[k + 3] + v[k + 1], far = v[k + 4] + v[k];
            s.lines[0][first + k][c] = even(here, near, far, t[0], t[1], t[2]);
            s.lines[1][first + k][c] = odd(v[k + 3] - v[k + 1], v[k + 4] - v[k], t[3], t[4]);
            s.lines[2][first + k][c] = even(here, near, far, t[5], t[6], t[7]);
            s.lines[3][first + k][c] = fmaf(t[9], near, t[8] * here);
        }
    }
}

__device__ __forceinline__ float even_at(const float* __restrict__ p, const float* __restrict__ k) {
    return even(p[0], p[1] + p[-1], p[2] + p[-2], k[0], k[1], k[2]);
}
__device__ __forceinline__ float odd_at(const float* __restrict__ p, const float* __restrict__ k) {
    return odd(p[1] - p[-1], p[2] - p[-2], k[0], k[1]);
}

/* From the lines to the planes of every pixel but those of the tensor: emit(k, plane_at k, row, column, value). A loop
   for each group of filters: the taps of one stay in registers, those of all would not. */
template <int TX, int TY, class Emit>
__device__ void along_rows(const Tile<TX, TY>& s, const float* __restrict__ t, const int* __restrict__ planes, Emit emit) {
    const int gauss = planes[GAUSS], difference = planes[DIFFERENCE], gradient = planes[GRADIENT];
    const int laplace = planes[LAPLACE], hessian = planes[HESSIAN];
    if (gauss >= 0 || difference >= 0)
        for (int i = threadIdx.x; i < TX * TY; i += blockDim.x) {
            const int r = i / TX, c = i % TX;
            const float smooth = even_at(&s.lines[0][r][c + 2], t);
            if (gauss >= 0) emit(GAUSS, gauss, r, c, smooth);
            if (difference >= 0) {
                const float* p = &s.lines[3][r][c + 2];
                emit(DIFFERENCE, difference, r, c, smooth - fmaf(t[9], p[1] + p[-1], t[8] * p[0]));
            }
        }
    if (gradient >= 0)
        for (int i = threadIdx.x; i < TX * TY; i += blockDim.x) {
            const int r = i / TX, c = i % TX;
            const float gx = odd_at(&s.lines[0][r][c + 2], t + 3), gy = even_at(&s.lines[1][r][c + 2], t);
            emit(GRADIENT, gradient, r, c, sqrtf(fmaf(gx, gx, gy * gy)));
        }
    if (laplace >= 0 || hessian >= 0)
        for (int i = threadIdx.x; i < TX * TY; i += blockDim.x) {
            const int r = i / TX, c = i % TX;
            const float xx = even_at(&s.lines[0][r][c + 2], t + 5), yy = even_at(&s.lines[2][r][c + 2], t);
            if (laplace >= 0) emit(LAPLACE, laplace, r, c, xx + yy);
            if (hessian >= 0) {
                const float2 e = eigen2(xx, odd_at(&s.lines[1][r][c + 2], t + 3), yy);
                emit(TENSOR + 2, hessian, r, c, e.x);
                emit(TENSOR + 3, hessian + 1, r, c, e.y);
            }
        }
}

/* gx*gx, gx*gy, gy*gy with two pixels around the tile. Outside of the image they are those of the mirrored pixel: the
   gradient across that border comes out with the other sign there, so its tap gets the other sign too. */
template <int TX, int TY>
__device__ void products(Tile<TX, TY>& s, const float* __restrict__ ty, const float* __restrict__ tx, const Frame& f, int y, int x) {
    for (int i = threadIdx.x; i < (TX + 4) * ((TY + 4) / BLOCKED); i += blockDim.x) {
        const int c = i % (TX + 4), first = i / (TX + 4) * BLOCKED;
        float v[3][BLOCKED + 2];
#pragma unroll
        for (int k = 0; k < BLOCKED + 2; ++k)
#pragma unroll
            for (int j = 0; j < 3; ++j) v[j][k] = s.plane[first + k][c + j];
        const bool beside = x - 2 + c < 0 || x - 2 + c >= f.width;
        const float xd = beside ? -tx[12] : tx[12];
#pragma unroll
        for (int k = 0; k < BLOCKED; ++k) {
            const int row = y - 2 + first + k;
            const float yd = row < 0 || row >= f.height ? -ty[12] : ty[12];
            float smooth[3], derived[3];
#pragma unroll
            for (int j = 0; j < 3; ++j) {
                smooth[j] = fmaf(ty[11], v[j][k + 2] + v[j][k], ty[10] * v[j][k + 1]);
                derived[j] = yd * (v[j][k + 2] - v[j][k]);
            }
            const float gx = xd * (smooth[2] - smooth[0]);
            const float gy = fmaf(tx[11], derived[2] + derived[0], tx[10] * derived[1]);
            s.products[0][first + k][c] = gx * gx;
            s.products[1][first + k][c] = gx * gy;
            s.products[2][first + k][c] = gy * gy;
        }
    }
}

template <int TX, int TY>
__device__ void average_rows(Tile<TX, TY>& s, const float* __restrict__ t) {
    for (int i = threadIdx.x; i < 3 * (TX + 4) * (TY / BLOCKED); i += blockDim.x) {
        const int k = i / ((TX + 4) * (TY / BLOCKED)), rest = i % ((TX + 4) * (TY / BLOCKED));
        const int c = rest % (TX + 4), first = rest / (TX + 4) * BLOCKED;
        float v[BLOCKED + 4];
#pragma unroll
        for (int j = 0; j < BLOCKED + 4; ++j) v[j] = s.products[k][first + j][c];
#pragma unroll
        for (int j = 0; j < BLOCKED; ++j)
            s.averaged[k][first + j][c] = even(v[j + 2], v[j + 3] + v[j + 1], v[j + 4] + v[j], t[0], t[1], t[2]);
    }
}

/* All wanted planes of a tile, through emit. taps: (3, TAPS) along z, y, x.
   fetch(): called when no thread emits any more from the tile before, and some time before one emits again. */
template <int TX, int TY, class Fetch, class Emit>
__device__ void filter_tile(Tile<TX, TY>& s, const float* __restrict__ plane, const Frame& f, int y, int x,
                            const float* __restrict__ taps, const int* __restrict__ planes, Fetch fetch, Emit emit) {
    const float *ty = taps + TAPS, *tx = taps + 2 * TAPS;
    load_tile(s, plane, f, y, x);
    __syncthreads();
    fetch();
    if (planes[GAUSS] >= 0 || planes[LAPLACE] >= 0 || planes[GRADIENT] >= 0 || planes[DIFFERENCE] >= 0 || planes[HESSIAN] >= 0) {
        across_rows(s, ty);
        __syncthreads();
        along_rows(s, tx, planes, emit);
        __syncthreads();
    }
    if (planes[TENSOR] < 0) return;
    products(s, ty, tx, f, y, x);
    __syncthreads();
    average_rows(s, ty);
    __syncthreads();
    for (int i = threadIdx.x; i < TX * TY; i += blockDim.x) {
        const int r = i / TX, c = i % TX;
        const float2 e = eigen2(even_at(&s.averaged[0][r][c + 2], tx), even_at(&s.averaged[1][r][c + 2], tx),
                                even_at(&s.averaged[2][r][c + 2], tx));
        emit(TENSOR, planes[TENSOR], r, c, e.x);
        emit(TENSOR + 1, planes[TENSOR] + 1, r, c, e.y);
    }
}
