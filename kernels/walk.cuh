/* The forest, one thread a pixel, tree after tree. Behind it: walk.cu, classify2d.cu.

   Nodes of a tree are in breadth-first order, children side by side: neighbouring pixels, who decide alike, ask for the
   same few nodes, and those of the upper levels lie in different banks. A child is counted from the root of its tree.
   A leaf names a class if all of its rows had that one, else a row of `leaves` beyond the classes. */

/* Features as codes, the number of the forest's thresholds that do not exceed them: 4 B a node, exact as long as no
   feature has more than 255 thresholds. Feature 8 bits, code 8, child 16; in a leaf 255 and what it says, 24. */
struct Coded {
    typedef unsigned Node;
    typedef unsigned char Value;
    static __device__ __forceinline__ int feature(Node n) { return n & 255u; }
    static __device__ __forceinline__ bool leaf(Node n) { return (n & 255u) == 255u; }
    static __device__ __forceinline__ int right(Node n, unsigned v) { return v > (n >> 8 & 255u); }
    static __device__ __forceinline__ int child(Node n) { return n >> 16; }
    static __device__ __forceinline__ int answer(Node n) { return n >> 8; }
};

/* Features as they are. Threshold 32 bits, feature 14, child or what a leaf says 18. NaN goes right, as on the CPU. */
struct Narrow {
    typedef uint2 Node;
    typedef float Value;
    static __device__ __forceinline__ int feature(Node n) { return n.y & 16383u; }
    static __device__ __forceinline__ bool leaf(Node n) { return (n.y & 16383u) == 16383u; }
    static __device__ __forceinline__ int right(Node n, float v) { return !(v < __uint_as_float(n.x)); }
    static __device__ __forceinline__ int child(Node n) { return n.y >> 14; }
    static __device__ __forceinline__ int answer(Node n) { return n.y >> 14; }
};

/* The same for more than 16382 features or 2^18 nodes a tree: 32 bits for each. */
struct Wide {
    typedef uint4 Node;
    typedef float Value;
    static __device__ __forceinline__ int feature(Node n) { return n.y; }
    static __device__ __forceinline__ bool leaf(Node n) { return n.y == 0xffffffffu; }
    static __device__ __forceinline__ int right(Node n, float v) { return !(v < __uint_as_float(n.x)); }
    static __device__ __forceinline__ int child(Node n) { return n.z; }
    static __device__ __forceinline__ int answer(Node n) { return n.z; }
};

/* What every walk needs of a forest. edges: (features, 256) thresholds, ascending, infinite from the last one on. */
template <class Packing>
struct Trees {
    const typename Packing::Node* nodes;
    const int* roots;
    int count;
    const float* leaves;
    int classes;
    const float* edges;
};

/* Number of edges that do not exceed v; all of them for NaN, so that it goes right everywhere. */
__device__ __forceinline__ int code_of(float v, const float* __restrict__ edges) {
    int at = 0;
#pragma unroll
    for (int half = 128; half; half >>= 1)
        if (!(v < __ldg(edges + at + half - 1))) at += half;
    return at;
}

/* Values of the pixels of a block in shared memory, each in a bank of its own: code f of a pixel is byte f % 4 of
   word f / 4. */
template <class Packing>
struct Values;

template <>
struct Values<Coded> {
    unsigned char* bytes;
    const float* edges;
    int pixels;
    __device__ __forceinline__ int place(int f, int i) const { return (f / 4 * pixels + i) * 4 + f % 4; }
    __device__ __forceinline__ void put(int f, int i, float v) const { bytes[place(f, i)] = code_of(v, edges + f * 256); }
    __device__ __forceinline__ unsigned at(int f, int i) const { return bytes[place(f, i)]; }
};

struct Floats {
    float* numbers;
    const float* edges;
    int pixels;
    __device__ __forceinline__ void put(int f, int i, float v) const { numbers[f * pixels + i] = v; }
    __device__ __forceinline__ float at(int f, int i) const { return numbers[f * pixels + i]; }
};
template <>
struct Values<Narrow> : Floats {};
template <>
struct Values<Wide> : Floats {};

/* Add every tree's answer for one pixel to sums[class * apart]. node(i), value(f): where they are kept. */
template <class Packing, class NodeAt, class ValueAt>
__device__ __forceinline__ void walk(const Trees<Packing>& trees, NodeAt node, ValueAt value, float* sums, int apart) {
    for (int t = 0; t < trees.count; ++t) {
        const int root = __ldg(trees.roots + t);
        typename Packing::Node n = node(root);
        while (!Packing::leaf(n)) n = node(root + Packing::child(n) + Packing::right(n, value(Packing::feature(n))));
        const int answer = Packing::answer(n);
        if (answer < trees.classes) {
            sums[answer * apart] += 1.f;
        } else {
            const float* __restrict__ shares = trees.leaves + (long long)(answer - trees.classes) * trees.classes;
            for (int k = 0; k < trees.classes; ++k) sums[k * apart] += __ldg(shares + k);
        }
    }
}

/* Probabilities of one pixel, to out[0..classes-1]. staged: nodes in shared memory, or null; sums: of this thread in
   shared memory, `apart` from class to class, or null where classes are too many: then the answer's own memory. */
template <class Packing, class ValueAt>
__device__ __forceinline__ void answer_pixel(const Trees<Packing>& trees, const typename Packing::Node* staged,
                                             ValueAt value, float* sums, int apart, float* __restrict__ out) {
    float* own = sums ? sums : out;
    const int step = sums ? apart : 1;
    for (int k = 0; k < trees.classes; ++k) own[k * step] = 0.f;
    if (staged)
        walk(trees, [=](int i) { return staged[i]; }, value, own, step);
    else
        walk(trees, [&](int i) { return __ldg(trees.nodes + i); }, value, own, step);
    for (int k = 0; k < trees.classes; ++k) out[k] = own[k * step] / (float)trees.count;
}
