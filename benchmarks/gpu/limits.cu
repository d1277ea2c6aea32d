/* The most a card can do: copy memory, multiply and add, read shared memory.

   in    from: n times 16 bytes to copy; steps: how often each thread repeats its work
   out   to: the copy; out: one sum a thread, so that no work can be left out
   cost  limit_copy 32 B an element; limit_fma 2 * CHAINS operations a step; limit_shared 16 B a step
   host  benchmarks/gpu/card.py                                                                    */

constexpr int CHAINS = 8;     // independent sums of a thread: an fma answers after 4 cycles
constexpr int THREADS = 256;  // of a block

__global__ void limit_copy(const float4* __restrict__ from, float4* __restrict__ to, long long n) {
    const long long stride = (long long)gridDim.x * blockDim.x;
    for (long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x; i < n; i += stride) to[i] = from[i];
}

__global__ void limit_fma(float* __restrict__ out, float factor, float term, int steps) {
    float sum[CHAINS];
    for (int k = 0; k < CHAINS; ++k) sum[k] = threadIdx.x + k;
    for (int s = 0; s < steps; ++s)
        for (int k = 0; k < CHAINS; ++k) sum[k] = fmaf(sum[k], factor, term);
    float all = 0;
    for (int k = 0; k < CHAINS; ++k) all += sum[k];
    out[(long long)blockIdx.x * blockDim.x + threadIdx.x] = all;
}

/* Neighbouring threads read neighbouring 16 bytes: no two of a warp wait for the same bank. */
__global__ void limit_shared(float* __restrict__ out, int steps) {
    __shared__ float4 tile[THREADS];
    tile[threadIdx.x] = make_float4(threadIdx.x, 1, 2, 3);
    __syncthreads();
    float x = 0, y = 0, z = 0, w = 0;
    for (int s = 0; s < steps; ++s) {
        const float4 v = tile[(threadIdx.x + s) % THREADS];
        x += v.x;
        y += v.y;
        z += v.z;
        w += v.w;
    }
    out[(long long)blockIdx.x * blockDim.x + threadIdx.x] = x + y + z + w;
}
