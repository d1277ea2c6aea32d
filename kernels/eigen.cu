/* Eigenvalues of a symmetric matrix at every pixel, largest first.

   in    upper (3 or 6, count): the upper triangle, row by row
   out   values (2 or 3, count)
   cost  reads and writes each plane once: bound by memory
   host  gpuseg/backends/_cuda/eigen.py */

__global__ void eigenvalues2(const float* __restrict__ upper, float* __restrict__ values, long long count) {
    const long long stride = (long long)gridDim.x * blockDim.x;
    for (long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x; i < count; i += stride) {
        const float2 e = eigen2(upper[i], upper[count + i], upper[2 * count + i]);
        values[i] = e.x;
        values[count + i] = e.y;
    }
}

__global__ void eigenvalues3(const float* __restrict__ upper, float* __restrict__ values, long long count) {
    const long long stride = (long long)gridDim.x * blockDim.x;
    for (long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x; i < count; i += stride) {
        float m[6], value[3];
#pragma unroll
        for (int k = 0; k < 6; ++k) m[k] = upper[k * count + i];
        eigen3(m, value);
#pragma unroll
        for (int k = 0; k < 3; ++k) values[k * count + i] = value[k];
    }
}
