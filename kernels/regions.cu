/* Sums over the pixels of each labelled object.

   in    labels[i]          object of pixel i, 1 to n; 0 is background. i = (z * ny + y) * nx + x, there are `size`
         values[c][i]       channel c of pixel i
         mean[l][c]         of an object's values;  centroid[l][3]: of its coordinates z, y, x
         edges[m][c][3]     where a histogram begins and ends, bins per unit; m: one for all objects, or one each
   out   whole[l][16]       count, box (least and largest z, y, x), sums of z, y, x, of zz zy zx yy yx xx
         total[l][c]        sum of values
         extremes[l][c][2]  least and largest value, as `ordered` integers
         places[l][c][2]    the first pixel that is as extreme
         table              see each kernel; all of it is added to what stands there, so it comes as zeros
   cost  each kernel reads labels and values once; then one atomic operation for each sum and run of equal labels,
         of 16 pixels at most. One object over all of the image is the worst: all atomics meet at one address.
   ref   gpuseg/backends/_reference_regions.py. Integers are the same; sums of floats are added in whatever order
         threads arrive: rounding, some 1e-12 of the largest, differs from run to run.
   host  gpuseg/backends/_cuda/regions.py */

constexpr int RUN = 16;   // pixels of a thread: as many labels as a 64-byte line holds
constexpr int WHOLE = 16, BINS = 64;

typedef unsigned long long Count;

struct Image {
    const int* __restrict__ labels;
    long long size;
    int ny, nx;
};

/* A run of equal labels in one row of the image: pixels `start` to `end`, the first at z, y, x. */
struct Run {
    long long start, end;
    long long object;  // less 1; negative: background
    int z, y, x;
};

/* The run that begins at pixel i and ends before `stop`. */
__device__ __forceinline__ Run run_at(const Image& image, long long i, long long stop) {
    const long long row = i / image.nx, behind = (row + 1) * image.nx;
    const int label = image.labels[i];
    Run run;
    run.start = i;
    run.object = (long long)label - 1;
    run.z = (int)(row / image.ny);
    run.y = (int)(row - (long long)run.z * image.ny);
    run.x = (int)(i - row * image.nx);
    for (++i; i < stop && i < behind && image.labels[i] == label; ++i) {}
    run.end = i;
    return run;
}

/* Call `add` for every run of an object among the pixels of this thread. */
template <typename Add>
__device__ __forceinline__ void for_each_run(const Image& image, Add add) {
    const long long stride = (long long)gridDim.x * blockDim.x * RUN;
    for (long long first = ((long long)blockIdx.x * blockDim.x + threadIdx.x) * RUN; first < image.size; first += stride) {
        const long long stop = first + RUN < image.size ? first + RUN : image.size;
        for (long long i = first; i < stop;) {
            const Run run = run_at(image, i, stop);
            if (run.object >= 0) add(run);
            i = run.end;
        }
    }
}

/* Two's complement: adding the bits of negative numbers is adding them. */
__device__ __forceinline__ void add_to(long long* sum, long long part) {
    atomicAdd((Count*)sum, (Count)part);
}

// Most runs leave extremes as they are: a look is cheaper than an atomic, and a stale one only costs that.
template <typename T>
__device__ __forceinline__ void lower(T* least, T value) {
    if (value < *least) atomicMin(least, value);
}
template <typename T>
__device__ __forceinline__ void raise(T* most, T value) {
    if (value > *most) atomicMax(most, value);
}

/* An integer for each float, in their order. -0 is 0. */
__device__ __forceinline__ int ordered(float value) {
    const int bits = __float_as_int(value + 0.f);
    return bits >= 0 ? bits : bits ^ 0x7fffffff;
}

/* whole: largest integers where least coordinates come, -1 where largest ones come, else zeros. */
__global__ void region_whole(const int* __restrict__ labels, long long size, int ny, int nx, long long* whole) {
    for_each_run(Image{labels, size, ny, nx}, [=](const Run& run) {
        long long* w = whole + run.object * WHOLE;
        const long long n = run.end - run.start, z = run.z, y = run.y, x = run.x, end = x + n;
        const long long along = n * (x + end - 1) / 2;
        const long long squares = ((end - 1) * end * (2 * end - 1) - (x - 1) * x * (2 * x - 1)) / 6;
        add_to(w, n);
        lower(w + 1, z);
        raise(w + 2, z);
        lower(w + 3, y);
        raise(w + 4, y);
        lower(w + 5, x);
        raise(w + 6, end - 1);
        add_to(w + 7, n * z);
        add_to(w + 8, n * y);
        add_to(w + 9, along);
        add_to(w + 10, n * z * z);
        add_to(w + 11, n * z * y);
        add_to(w + 12, z * along);
        add_to(w + 13, n * y * y);
        add_to(w + 14, y * along);
        add_to(w + 15, squares);
    });
}

/* extremes: those of infinity, in the wrong order. A value that is not a number is no extreme. */
__global__ void region_values(
    const int* __restrict__ labels, long long size, int ny, int nx, const float* __restrict__ values, int channels,
    double* total, int* extremes) {
    for_each_run(Image{labels, size, ny, nx}, [=](const Run& run) {
        for (int c = 0; c < channels; ++c) {
            const long long at = run.object * channels + c;
            double sum = 0;
            int least = 0x7fffffff, most = -0x7fffffff;
            for (long long i = run.start; i < run.end; ++i) {
                const float v = values[c * size + i];
                sum += v;
                if (v == v) {
                    const int key = ordered(v);
                    least = min(least, key);
                    most = max(most, key);
                }
            }
            atomicAdd(total + at, sum);
            lower(extremes + 2 * at, least);
            raise(extremes + 2 * at + 1, most);
        }
    });
}

/* places: largest integers. */
__global__ void region_places(
    const int* __restrict__ labels, long long size, int ny, int nx, const float* __restrict__ values, int channels,
    const int* __restrict__ extremes, long long* places) {
    for_each_run(Image{labels, size, ny, nx}, [=](const Run& run) {
        for (int c = 0; c < channels; ++c) {
            const long long at = 2 * (run.object * channels + c);
            const int least = extremes[at], most = extremes[at + 1];
            for (long long i = run.end - 1; i >= run.start; --i) {
                const int key = ordered(values[c * size + i]);
                if (key == least) lower(places + at, i);
                if (key == most) lower(places + at + 1, i);
            }
        }
    });
}

/* table[l][c][3]: powers 2, 3, 4 of the difference to the mean. */
__global__ void region_moments(
    const int* __restrict__ labels, long long size, int ny, int nx, const float* __restrict__ values, int channels,
    const double* __restrict__ mean, double* table) {
    for_each_run(Image{labels, size, ny, nx}, [=](const Run& run) {
        for (int c = 0; c < channels; ++c) {
            const long long at = run.object * channels + c;
            const double m = mean[at];
            double s2 = 0, s3 = 0, s4 = 0;
            for (long long i = run.start; i < run.end; ++i) {
                const double d = values[c * size + i] - m;
                s2 += d * d;
                s3 += d * d * d;
                s4 += d * d * (d * d);
            }
            atomicAdd(table + 3 * at, s2);
            atomicAdd(table + 3 * at + 1, s3);
            atomicAdd(table + 3 * at + 2, s4);
        }
    });
}

/* table[l][c][d]: products of the differences of two channels. */
__global__ void region_covariance(
    const int* __restrict__ labels, long long size, int ny, int nx, const float* __restrict__ values, int channels,
    const double* __restrict__ mean, double* table) {
    for_each_run(Image{labels, size, ny, nx}, [=](const Run& run) {
        for (int c = 0; c < channels; ++c)
            for (int d = c; d < channels; ++d) {
                const long long at = run.object * channels;
                const double m = mean[at + c], k = mean[at + d];
                double sum = 0;
                for (long long i = run.start; i < run.end; ++i)
                    sum += (values[c * size + i] - m) * (values[d * size + i] - k);
                atomicAdd(table + (at + c) * channels + d, sum);
                if (d > c) atomicAdd(table + (at + d) * channels + c, sum);
            }
    });
}

/* table[l][c][BINS]: values from `low` to `high`, that one in the last bin. Equal bins in a row cost one atomic. */
__global__ void region_histogram(
    const int* __restrict__ labels, long long size, int ny, int nx, const float* __restrict__ values, int channels,
    const double* __restrict__ edges, int each, long long* table) {
    for_each_run(Image{labels, size, ny, nx}, [=](const Run& run) {
        for (int c = 0; c < channels; ++c) {
            const double* e = edges + 3 * ((each ? run.object : 0) * channels + c);
            const double low = e[0], high = e[1], per = e[2];
            long long* bins = table + (run.object * channels + c) * BINS;
            int last = 0, times = 0;
            for (long long i = run.start; i < run.end; ++i) {
                const double v = values[c * size + i];
                if (!(low <= v && v <= high)) continue;
                const double b = per * (v - low);
                const int bin = b < BINS - 1 ? (int)b : BINS - 1;
                if (bin != last && times) {
                    add_to(bins + last, times);
                    times = 0;
                }
                last = bin;
                ++times;
            }
            if (times) add_to(bins + last, times);
        }
    });
}

/* table[l][c][9]: values times z, y, x, zz, zy, zx, yy, yx, xx. */
__global__ void region_weighted(
    const int* __restrict__ labels, long long size, int ny, int nx, const float* __restrict__ values, int channels,
    double* table) {
    for_each_run(Image{labels, size, ny, nx}, [=](const Run& run) {
        for (int c = 0; c < channels; ++c) {
            double sum = 0, along = 0, squares = 0;
            for (long long i = run.start; i < run.end; ++i) {
                const double v = values[c * size + i], x = (double)(run.x + (i - run.start));
                sum += v;
                along += v * x;
                squares += v * x * x;
            }
            const double z = run.z, y = run.y;
            double* t = table + (run.object * channels + c) * 9;
            atomicAdd(t, sum * z);
            atomicAdd(t + 1, sum * y);
            atomicAdd(t + 2, along);
            atomicAdd(t + 3, sum * z * z);
            atomicAdd(t + 4, sum * z * y);
            atomicAdd(t + 5, along * z);
            atomicAdd(t + 6, sum * y * y);
            atomicAdd(t + 7, along * y);
            atomicAdd(t + 8, squares);
        }
    });
}

/* table[l][25]: products of three and of four coordinates about the centroid, in the order of
   zzz zzy zzx zyy zyx zxx yyy yyx yxx xxx. */
__global__ void region_central(
    const int* __restrict__ labels, long long size, int ny, int nx, const double* __restrict__ centroid, double* table) {
    for_each_run(Image{labels, size, ny, nx}, [=](const Run& run) {
        const double* c = centroid + 3 * run.object;
        const double z = run.z - c[0], y = run.y - c[1];
        double powers[5] = {0, 0, 0, 0, 0};  // sums of powers of x
        for (long long i = run.start; i < run.end; ++i) {
            const double x = (double)(run.x + (i - run.start)) - c[2];
            double power = 1;
            for (int k = 0; k < 5; ++k) {
                powers[k] += power;
                power *= x;
            }
        }
        double* t = table + 25 * run.object;
        double of_z[5] = {1, z, z * z, z * z * z, z * z * z * z};
        double of_y[5] = {1, y, y * y, y * y * y, y * y * y * y};
        int at = 0;
#pragma unroll
        for (int order = 3; order < 5; ++order)
#pragma unroll
            for (int a = order; a >= 0; --a)
#pragma unroll
                for (int b = order - a; b >= 0; --b) atomicAdd(t + at++, of_z[a] * of_y[b] * powers[order - a - b]);
    });
}
