/* Probabilities of pixels whose planes are stored.

   in    planes (features, count);  nodes, roots, leaves, edges: the forest, see walk.cuh
         staged: nodes to keep in shared memory, 0 where they do not fit;  summed: whether the sums of all classes do
   out   out (count, classes): mean answer of the trees
   cost  reads each plane once (codes), or where nodes ask for it (floats); then about 14 instructions a node visited
   host  gpuseg/backends/_cuda/forest.py */

constexpr int THREADS = 256;

/* Codes of the block's pixels go to shared memory first; floats are read where they lie. */
template <class Packing>
__global__ void __launch_bounds__(THREADS, 4)  // 64 registers: the compiler's own choice, 32, spills some
    walk_planes(const float* __restrict__ planes, long long count, int features, const typename Packing::Node* __restrict__ nodes,
                int staged, const int* __restrict__ roots, int trees, const float* __restrict__ leaves, int classes,
                const float* __restrict__ edges, int summed, float* __restrict__ out) {
    GPUSEG_DYN_SHARED(unsigned, memory);
    constexpr bool CODED = sizeof(typename Packing::Value) == 1;
    typedef typename Packing::Node Node;
    const int tid = threadIdx.x;
    const Trees<Packing> forest = {nodes, roots, trees, leaves, classes, edges};
    Node* kept = (Node*)memory;
    for (int i = tid; i < staged; i += THREADS) kept[i] = nodes[i];
    unsigned* codes = memory + staged * (sizeof(Node) / 4);
    float* sums = (float*)(codes + (CODED ? (features + 3) / 4 * THREADS : 0)) + tid;
    __syncthreads();
    for (long long i = (long long)blockIdx.x * THREADS + tid; i < count; i += (long long)gridDim.x * THREADS) {
        float* to = out + i * classes;
        if constexpr (CODED) {
            const Values<Coded> values = {(unsigned char*)codes, edges, THREADS};
            for (int f = 0; f < features; ++f) values.put(f, tid, planes[f * count + i]);
            answer_pixel(forest, staged ? kept : nullptr, [=](int f) { return values.at(f, tid); }, summed ? sums : nullptr, THREADS, to);
        } else {
            answer_pixel(forest, staged ? kept : nullptr, [=](int f) { return __ldg(planes + f * count + i); }, summed ? sums : nullptr, THREADS, to);
        }
    }
}
