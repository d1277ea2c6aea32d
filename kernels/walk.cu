/* Probabilities of pixels whose planes are stored.

   in    planes (features, count);  nodes, roots, leaves, edges: the forest, see walk.cuh
         kept: features to keep in shared memory, all or 0;  staged: likewise nodes;  summed: whether the sums of all
         classes are kept there too
   out   out (count, classes): mean answer of the trees
   cost  reads each plane once, or where nodes ask for it; then about 14 instructions a node visited
   host  gpuseg/backends/_cuda/forest.py */

template <class Packing>
__global__ void __launch_bounds__(PIXELS, 4)  // 64 registers: the compiler's own choice, 32, spills some
    walk_planes(const float* __restrict__ planes, long long count, int kept, const typename Packing::Node* __restrict__ nodes,
                int staged, const int* __restrict__ roots, int trees, const float* __restrict__ leaves, int classes,
                const float* __restrict__ edges, int summed, float* __restrict__ out) {
    GPUSEG_DYN_SHARED(unsigned, memory);
    constexpr bool CODED = sizeof(typename Packing::Node) == 4;
    const int tid = threadIdx.x;
    const Trees<Packing> forest = {nodes, roots, trees, leaves, classes};
    unsigned* numbers = memory;
    float* sums = (float*)(memory + (CODED ? (kept + 3) / 4 : kept) * PIXELS) + tid;
    unsigned* near = memory + ((CODED ? (kept + 3) / 4 : kept) + summed * classes) * PIXELS;
    if constexpr (CODED) {
        for (int i = tid; i < staged; i += PIXELS) near[i] = nodes[i];
        __syncthreads();
    }
    for (long long i = (long long)blockIdx.x * PIXELS + tid; i < count; i += (long long)gridDim.x * PIXELS) {
        float* to = out + i * classes;
        if constexpr (CODED) {
            const Values<Coded> values = {(unsigned char*)numbers, edges};
            for (int f = 0; f < kept; ++f) values.put(f, tid, planes[f * count + i]);
            const auto value = [=](unsigned n) { return values.at(n, tid); };
            if (staged) answer_pixel(forest, Near<Packing>{near}, value, sums, summed, to);
            else answer_pixel(forest, Far<Packing>{nodes}, value, sums, summed, to);
        } else if (kept) {
            const Values<Packing> values = {(float*)numbers};
            for (int f = 0; f < kept; ++f) values.put(f, tid, planes[f * count + i]);
            answer_pixel(forest, Far<Packing>{nodes}, [=](typename Packing::Node n) { return values.at(n, tid); }, sums, summed, to);
        } else {
            answer_pixel(forest, Far<Packing>{nodes},
                         [=](typename Packing::Node n) { return __ldg(planes + Packing::feature(n) * count + i); }, sums, summed, to);
        }
    }
}
