/* Probabilities of pixels whose planes are stored.

   in    planes (features, count);  nodes, answers, firsts, leaves: the forest, see walk.cuh;  edges (features, EDGES)
         kept: features to keep in shared memory, all or 0;  summed: whether the sums of all classes are kept there too
   out   out (count, classes): mean answer of the trees
   cost  reads each plane once, or where nodes ask for it; then about 11 instructions a node visited
   host  gpuseg/backends/_cuda/forest.py */

constexpr int SOME = 8;  // features coded at a time: their planes are read, and their edges searched, side by side

/* Codes of the block's pixels, of which this thread's is i (or none, beyond the last). */
__device__ __forceinline__ void code_planes(const float* __restrict__ planes, long long count, int kept,
                                            const float* __restrict__ edges, long long i, unsigned* words) {
    __shared__ float near[SOME * EDGES];
    for (int f = 0; f < kept; f += SOME) {
        const int some = min(SOME, kept - f);
        float v[SOME];
#pragma unroll
        for (int j = 0; j < SOME; ++j) v[j] = j < some && i < count ? planes[(f + j) * count + i] : 0.f;
        __syncthreads();  // all are done with the edges before
        for (int e = threadIdx.x; e < some * EDGES; e += PIXELS) near[e] = edges[f * EDGES + e];
        __syncthreads();
#pragma unroll
        for (int j = 0; j < SOME; j += 4) {
            unsigned word = 0;
#pragma unroll
            for (int k = 0; k < 4; ++k) word |= code_of(v[j + k], near + min(j + k, some - 1) * EDGES) << 8 * k;
            if (j < some) words[(f + j) / 4 * PIXELS] = word;
        }
    }
}

template <class Packing>
__global__ void __launch_bounds__(PIXELS, 4)  // 64 registers: the compiler's own choice, 32, spills some
    walk_planes(const float* __restrict__ planes, long long count, int kept, const typename Packing::Node* __restrict__ nodes,
                const int* __restrict__ answers, const int* __restrict__ firsts, int trees,
                const float* __restrict__ leaves, int classes,
                const float* __restrict__ edges, int summed, float* __restrict__ out) {
    GPUSEG_DYN_SHARED(unsigned, memory);
    constexpr bool CODED = sizeof(typename Packing::Node) == 4;
    const int tid = threadIdx.x;
    const Trees<Packing> forest = {nodes, answers, firsts, trees, leaves, classes};
    float* sums = (float*)(memory + (CODED ? (kept + 3) / 4 : kept) * PIXELS) + tid;
    for (long long at = (long long)blockIdx.x * PIXELS; at < count; at += (long long)gridDim.x * PIXELS) {
        const long long i = at + tid;
        float* to = out + i * classes;
        if constexpr (CODED) {
            code_planes(planes, count, kept, edges, i, memory + tid);
            const Values<Coded> values = {(unsigned char*)memory};
            if (i < count) answer_pixel(forest, [=](int n) { return values.at(n, tid); }, sums, summed, to);
        } else if (i >= count) {
            return;
        } else if (kept) {
            const Values<Packing> values = {(float*)memory};
            for (int f = 0; f < kept; ++f) values.put(f, tid, planes[f * count + i], nullptr);
            answer_pixel(forest, [=](typename Packing::Node n) { return values.at(n, tid); }, sums, summed, to);
        } else {
            answer_pixel(forest, [=](typename Packing::Node n) { return __ldg(planes + Packing::feature(n) * count + i); },
                         sums, summed, to);
        }
    }
}
