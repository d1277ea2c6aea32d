/* In front of every kernel file: CuPy's disk cache knows a kernel by its text, so nothing is included. */

#ifndef GPUSEG_HOST
#define GPUSEG_DYN_SHARED(T, name) extern __shared__ T name[]
#endif

/* Index of the sample that stands at i, outside 0..n-1: -1 -> 1, n -> n - 2. */
__device__ __forceinline__ int mirror(int i, int n) {
    if (n == 1) return 0;
    const int period = 2 * (n - 1);
    i = (i < 0 ? -i : i) % period;
    return i < n ? i : period - i;
}

/* As mirror, at little cost inside. */
__device__ __forceinline__ int fold(int i, int n) { return (unsigned)i < (unsigned)n ? i : mirror(i, n); }

/* Five symmetric and antisymmetric taps. near, far: what stands one and two samples away, added or subtracted.
   The order of operations is that of the CPU (backends/_numba/bank2d.py): both give the same bits. */
__device__ __forceinline__ float even(float here, float near, float far, float k0, float k1, float k2) {
    return fmaf(k2, far, fmaf(k1, near, k0 * here));
}
__device__ __forceinline__ float odd(float near, float far, float k1, float k2) {
    return fmaf(k2, far, k1 * near);
}
