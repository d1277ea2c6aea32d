/* From pre-smoothed planes to probabilities: the feature planes of a tile live and die in shared memory.

   in    smooth, taps, planes, frame, slices, y0, x0, height, width: as filters2d.cu; the forest: as walk.cu
         kept: planes that the forest may ask for, the first ones of the stack
   out   out (slices, height, width, classes)
   cost  reads 4 B a pixel and scale, writes 4 B a class; filters about 1000 operations a pixel (49 planes, halo
         included), coding 8 steps a plane, then about 11 instructions a node visited, which is most of the time
   host  gpuseg/backends/_cuda/flat.py */

constexpr int TX = 32, TY = PIXELS / TX;  // a thread answers for the pixel whose features it computes
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 750
constexpr int RESIDENT = 2;  // blocks on a multiprocessor
#else
constexpr int RESIDENT = 4;  // 64 registers, which Volta spills
#endif

template <class Packing>
__global__ void __launch_bounds__(PIXELS, RESIDENT)
    classify2d(const float* __restrict__ smooth, int steps, const float* __restrict__ taps, const int* __restrict__ planes,
               const int* __restrict__ frame, int slices, int y0, int x0, int height, int width, int kept,
               const typename Packing::Node* __restrict__ nodes, const int* __restrict__ answers, const int* __restrict__ firsts,
               int trees, const float* __restrict__ leaves, int classes, const float* __restrict__ edges, int summed,
               float* __restrict__ out) {
    GPUSEG_DYN_SHARED(unsigned, memory);
    __shared__ Tile<TX, TY> tile;
    constexpr bool CODED = sizeof(typename Packing::Node) == 4;
    __shared__ float near[CODED ? PLANES * EDGES : 1];  // edges of the step's planes
    const int tid = threadIdx.x;
    const Trees<Packing> forest = {nodes, answers, firsts, trees, leaves, classes};
    const Frame f = framed(frame);
    float* sums = (float*)(memory + (CODED ? (kept + 3) / 4 : kept) * PIXELS) + tid;
    const Values<Packing> values = {(decltype(Values<Packing>::all))memory};

    const int beside = (width + TX - 1) / TX, down = (height + TY - 1) / TY;
    for (long long at = blockIdx.x; at < (long long)slices * down * beside; at += gridDim.x) {
        const int z = (int)(at / beside / down), y = (int)(at / beside % down) * TY, x = (int)(at % beside) * TX;
        for (int step = 0; step < steps; ++step) {
            const int* __restrict__ wanted = planes + step * 6;
            const float* __restrict__ plane = smooth + ((long long)step * slices + z) * f.rows * f.columns;
            const auto fetch = [=]() {
                for (int e = tid; e < (CODED ? PLANES * EDGES : 0); e += PIXELS) {
                    const int p = plane_at(wanted, e / EDGES);
                    if (p >= 0 && p < kept) near[e] = edges[p * EDGES + e % EDGES];
                }
            };
            const auto emit = [=](int k, int p, int r, int c, float value) {
                if (p < kept) values.put(p, r * TX + c, value, near + k * EDGES);
            };
            filter_tile(tile, plane, f, y0 + y, x0 + x, taps + step * 3 * TAPS, wanted, fetch, emit);
        }
        const int row = y + tid / TX, column = x + tid % TX;
        if (row >= height || column >= width) continue;
        float* to = out + (((long long)z * height + row) * width + column) * classes;
        answer_pixel(forest, [=](typename Packing::Node n) { return values.at(n, tid); }, sums, summed, to);
    }
}
