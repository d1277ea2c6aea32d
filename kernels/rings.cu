/* Sums over the ring around each labelled object, and over the object with its ring.

   in    labels[i]            object of pixel i, 1 to n; 0 is background. i = (z * ny + y) * nx + x
         values[c][i]         channel c of pixel i
         boxes[l][3][2]       least and largest z, y, x of each object
         margin_z, _y, _x     the ring lies nearer than the largest of them, in steps of floor(largest / margin),
                              and no farther from the box than these
         order[k]             objects less 1, those with the largest crops first
         start[b]             where the room of block b begins in `room`
   out   counts[2][l]         pixels; first of the ring, then of both, as below
         total[2][l][c]       sum of values
         extremes[2][l][c][2] least and largest value; those of infinity, in the wrong order, where no pixel is
         moments[2][l][c][3]  powers 2, 3, 4 of the difference to the mean
         covariance[2][l][c][c], of several channels; histogram[2][l][BINS] between the extremes, of one
   cost  a block for an object at a time, blocks take every gridDim.x-th. Distances axis by axis, in `room`:
         2 * reach labels a pixel of box rows, then as many numbers along y, along z. Every crop is read once
         for each sum; the first time comes from memory, the rest from caches.
   ref   gpuseg/backends/_numba/rings.py. Squares of distances are integers, so pixels are the same, and all but
         sums of floats are. These are added in one fixed order: they differ from the CPU's, not from run to run.
   host  gpuseg/backends/_cuda/rings.py */

constexpr int THREADS = 128, LANES = 32, BINS = 64;
constexpr unsigned ALL = 0xffffffffu;
constexpr int FAR = 1 << 30;                       // beyond all squares: margins are below 2^15
enum Role : unsigned char { OUTSIDE, RING, OWN };  // of a pixel, for one object

struct Axis {
    int low, size;     // of the crop
    int first, count;  // of the object's box
    int pitch;         // length of a step
    int reach;         // steps that are shorter than the largest margin
};
struct Crop {
    Axis z, y, x;
    int nearer;  // square of the largest margin
    __device__ int size() const { return z.size * y.size * x.size; }
};

/* A step along an axis without margin is as long as the largest: nothing is reached. */
__device__ Axis axis_of(const long long* __restrict__ box, int n, int margin, int most) {
    const int first = (int)box[0], last = (int)box[1];
    Axis a;
    a.low = max(first - margin, 0);
    a.size = min(last + margin + 1, n) - a.low;
    a.first = first;
    a.count = last + 1 - first;
    a.pitch = margin ? most / margin : most;
    a.reach = (most - 1) / a.pitch;
    return a;
}
__device__ __forceinline__ int squared(const Axis& a, int steps) { return steps * a.pitch * (steps * a.pitch); }

/* near[z][y][x], rows of the box: square of the way along x to the object. */
__device__ void look_along_x(const int* __restrict__ labels, int label, const Crop& c, int ny, int nx, int* near) {
    const int size = c.z.count * c.y.count * c.x.size, last = c.x.first + c.x.count - 1;
    for (int i = threadIdx.x; i < size; i += THREADS) {
        const int row = i / c.x.size, z = row / c.y.count, y = row - z * c.y.count;
        const int x = c.x.low + i - row * c.x.size;
        const int* line = labels + ((long long)(c.z.first + z) * ny + c.y.first + y) * nx;
        int found = FAR;
        for (int d = max(max(c.x.first - x, x - last), 0); d <= c.x.reach && found == FAR; ++d)
            if ((x - d >= c.x.first && line[x - d] == label) || (x + d <= last && line[x + d] == label))
                found = squared(c.x, d);
        near[i] = found;
    }
}

/* Least of numbers[(p - first) * apart] and the square of the way along `a` from p to `at`, over all of the box. */
__device__ int least_along(const Axis& a, int at, const int* numbers, int apart) {
    const int from = max(at - a.reach, a.first), to = min(at + a.reach, a.first + a.count - 1);
    int least = FAR;
    for (int p = from; p <= to; ++p) least = min(least, numbers[(p - a.first) * apart] + squared(a, p - at));
    return least;
}

/* nearer[z][y][x], slices of the box: square of the way to the object in the slice. */
__device__ void look_along_y(const Crop& c, const int* near, int* nearer) {
    const int size = c.z.count * c.y.size * c.x.size;
    for (int i = threadIdx.x; i < size; i += THREADS) {
        const int row = i / c.x.size, z = row / c.y.size, y = row - z * c.y.size, x = i - row * c.x.size;
        nearer[i] = least_along(c.y, c.y.low + y, near + z * c.y.count * c.x.size + x, c.x.size);
    }
}

/* roles[z][y][x]: what each pixel of the crop is to the object. */
__device__ void name_roles(const Crop& c, const int* nearer, Role* roles) {
    const int slice = c.y.size * c.x.size;
    for (int i = threadIdx.x; i < c.size(); i += THREADS) {
        const int z = i / slice, square = least_along(c.z, c.z.low + z, nearer + (i - z * slice), slice);
        roles[i] = square == 0 ? OWN : square < c.nearer ? RING : OUTSIDE;
    }
}

/* What all threads of the block have, joined in a fixed order; every thread gets it. */
template <typename T, typename Join>
__device__ T joined(T value, Join join) {
    __shared__ T warps[THREADS / LANES];
    for (int o = LANES / 2; o; o >>= 1) value = join(value, __shfl_xor_sync(ALL, value, o));
    __syncthreads();  // what was joined before has been read
    if (threadIdx.x % LANES == 0) warps[threadIdx.x / LANES] = value;
    __syncthreads();
    value = warps[0];
    for (int w = 1; w < THREADS / LANES; ++w) value = join(value, warps[w]);
    return value;
}
__device__ double sum_of(double value) {
    return joined(value, [](double a, double b) { return a + b; });
}
__device__ float most_of(float value) {
    return joined(value, [](float a, float b) { return fmaxf(a, b); });
}

/* An object, and where its pixels and those around it are. */
struct Object {
    Crop crop;
    const Role* roles;
    int ny, nx;
    double pixels[2];  // of the ring; of both

    /* Call `add` with the role and image index of every pixel of this thread that is not outside. */
    template <typename Add>
    __device__ __forceinline__ void for_each(Add add) const {
        const int rows = crop.y.size, size = crop.x.size;
        for (int i = threadIdx.x; i < crop.size(); i += THREADS) {
            if (roles[i] == OUTSIDE) continue;
            const int row = i / size, z = row / rows, y = row - z * rows, x = i - row * size;
            add(roles[i], ((long long)(crop.z.low + z) * ny + crop.y.low + y) * nx + crop.x.low + x);
        }
    }
};

/* Values of one channel of the ring, and of both. */
struct Spread {
    double total[2];
    float least[2], most[2];
};
__device__ Spread spread_of(const Object& o, const float* __restrict__ image) {
    const float none = __int_as_float(0x7f800000);
    double ring = 0, own = 0;
    float least[2] = {none, none}, most[2] = {-none, -none};
    o.for_each([&](Role role, long long i) {
        const float v = image[i];
        (role == RING ? ring : own) += v;
        least[1] = fminf(least[1], v);
        most[1] = fmaxf(most[1], v);
        if (role != RING) return;
        least[0] = fminf(least[0], v);
        most[0] = fmaxf(most[0], v);
    });
    Spread s;
    s.total[0] = sum_of(ring);
    s.total[1] = s.total[0] + sum_of(own);
    for (int r = 0; r < 2; ++r) s.least[r] = -most_of(-least[r]), s.most[r] = most_of(most[r]);
    return s;
}

/* Sums of powers about a mean. */
struct Powers {
    double two, three, four;
    __device__ void add(double away) {
        const double square = away * away;
        two += square;
        three += square * away;
        four += square * square;
    }
    __device__ void store(double* out) const {
        const double sums[3] = {sum_of(two), sum_of(three), sum_of(four)};
        if (threadIdx.x == 0)
            for (int k = 0; k < 3; ++k) out[k] = sums[k];
    }
};
__device__ void sum_powers(
    const Object& o, const float* __restrict__ image, const Spread& s, double* ring, double* both) {
    const double mean = s.total[0] / o.pixels[0], mean_both = s.total[1] / o.pixels[1];
    Powers near = {0, 0, 0}, all = {0, 0, 0};
    o.for_each([&](Role role, long long i) {
        if (role == RING) near.add(image[i] - mean);
        all.add(image[i] - mean_both);
    });
    near.store(ring);
    all.store(both);
}

/* Sixty-four equal bins, the largest value in the last. */
struct Bins {
    double low, scale;
    __device__ Bins(float least, float most) : low(least), scale(0) {
        const double width = most - low;
        if (width > 0) scale = BINS / width;
    }
    __device__ int of(float value) const { return (int)max(min((long long)((value - low) * scale), BINS - 1ll), 0ll); }
};
__device__ void count_bins(const Object& o, const float* __restrict__ image, const Spread& s, int* ring, int* both) {
    __shared__ int bins[2 * BINS];
    const int b = threadIdx.x;
    if (b < 2 * BINS) bins[b] = 0;
    __syncthreads();
    const Bins near(s.least[0], s.most[0]), all(s.least[1], s.most[1]);
    o.for_each([&](Role role, long long i) {
        if (role == RING) atomicAdd(&bins[near.of(image[i])], 1);
        atomicAdd(&bins[BINS + all.of(image[i])], 1);
    });
    __syncthreads();
    if (b < 2 * BINS) (b < BINS ? ring : both)[b % BINS] = bins[b];
}

/* Products of the differences of two channels; total: of all channels. */
__device__ void sum_products(
    const Object& o, const float* __restrict__ values, long long size, int channels, const double* total_ring,
    const double* total_both, double* ring, double* both) {
    for (int a = 0; a < channels; ++a)
        for (int b = 0; b <= a; ++b) {
            const float *one = values + a * size, *other = values + b * size;
            const double mean = total_ring[a] / o.pixels[0], mean_both = total_both[a] / o.pixels[1];
            const double mate = total_ring[b] / o.pixels[0], mate_both = total_both[b] / o.pixels[1];
            double near = 0, all = 0;
            o.for_each([&](Role role, long long i) {
                if (role == RING) near += (one[i] - mean) * (other[i] - mate);
                all += (one[i] - mean_both) * (other[i] - mate_both);
            });
            near = sum_of(near);
            all = sum_of(all);
            if (threadIdx.x) continue;
            ring[a * channels + b] = ring[b * channels + a] = near;
            both[a * channels + b] = both[b * channels + a] = all;
        }
}

__global__ void __launch_bounds__(THREADS, 6)  // 80 registers: without a word some are spilled
ring_sums(
    const int* __restrict__ labels, int nz, int ny, int nx, const float* __restrict__ values, int channels,
    const long long* __restrict__ boxes, int margin_z, int margin_y, int margin_x, const int* __restrict__ order,
    int objects, const long long* __restrict__ start, int* room, long long* counts, double* total, float* extremes,
    double* moments, double* covariance, int* histogram) {
    const long long size = (long long)nz * ny * nx;
    const int most = max(margin_z, max(margin_y, margin_x));
    for (int k = blockIdx.x; k < objects; k += gridDim.x) {
        const int object = order[k];
        const long long* box = boxes + 6ll * object;
        const Crop c = {axis_of(box, nz, margin_z, most), axis_of(box + 2, ny, margin_y, most),
                        axis_of(box + 4, nx, margin_x, most), most * most};
        int* near = room + start[blockIdx.x];
        int* nearer = near + c.z.count * c.y.count * c.x.size;
        Role* roles = (Role*)(nearer + c.z.count * c.y.size * c.x.size);
        look_along_x(labels, object + 1, c, ny, nx, near);
        __syncthreads();
        look_along_y(c, near, nearer);
        __syncthreads();
        name_roles(c, nearer, roles);  // each thread reads those that it writes: no barrier

        Object o = {c, roles, ny, nx, {0, 0}};
        o.for_each([&](Role role, long long) { o.pixels[0] += role == RING, ++o.pixels[1]; });
        const long long at[2] = {object, (long long)objects + object};
        for (int r = 0; r < 2; ++r) o.pixels[r] = sum_of(o.pixels[r]);
        if (threadIdx.x < 2) counts[at[threadIdx.x]] = (long long)o.pixels[threadIdx.x];
        for (int ch = 0; ch < channels; ++ch) {
            const float* image = values + ch * size;
            const Spread s = spread_of(o, image);
            const long long row[2] = {at[0] * channels + ch, at[1] * channels + ch};
            if (threadIdx.x == 0)
                for (int r = 0; r < 2; ++r) {
                    total[row[r]] = s.total[r];
                    extremes[2 * row[r]] = s.least[r];
                    extremes[2 * row[r] + 1] = s.most[r];
                }
            sum_powers(o, image, s, moments + 3 * row[0], moments + 3 * row[1]);
            if (channels == 1) count_bins(o, image, s, histogram + at[0] * BINS, histogram + at[1] * BINS);
        }
        __syncthreads();  // what thread 0 stored can be read
        if (channels > 1)
            sum_products(o, values, size, channels, total + at[0] * channels, total + at[1] * channels,
                         covariance + at[0] * channels * channels, covariance + at[1] * channels * channels);
    }  // the last sum was joined when all had read `room`: it is free
}
