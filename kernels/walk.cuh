/* The forest, one thread a pixel, tree after tree. Behind it: walk.cu, classify2d.cu.

   Nodes of a tree are in breadth-first order: neighbouring pixels, who decide alike, ask for the same few nodes, and
   those of the upper levels lie in different banks. Children stand side by side, and one number in front of each tree is
   unused, so that a pair of them begins at an even place: it is fetched in one load, while the feature is looked up. A
   child is counted from the root of its tree. A leaf names a class if all of its rows had that one, else a row of
   `leaves` beyond the classes. */

/* Features as codes, the number of the forest's thresholds that do not exceed them: 4 B a node, exact as long as no
   feature has more than 255 thresholds. Bits: child or answer 16, feature / 4 in 6, code 8, feature % 4 in 2. */
struct Coded {
    typedef unsigned Node;
    typedef uint2 Pair;
    static __device__ __forceinline__ bool leaf(Node n) { return (n & 0xfc03u) == 0xfc03u; }
    static __device__ __forceinline__ int child(Node n) { return n >> 16; }
    static __device__ __forceinline__ Node pick(Pair p, Node n, unsigned v) { return v * 4u > (n & 0x3fcu) ? p.y : p.x; }
    static __device__ __forceinline__ Pair both(const Node* n) { return *(const Pair*)n; }
    static __device__ __forceinline__ Pair far_both(const Node* n) { return __ldg((const Pair*)n); }
};

/* Features as they are. Threshold 32 bits, feature 14, child or answer 18. NaN goes right, as on the CPU. */
struct Narrow {
    typedef uint2 Node;
    typedef uint4 Pair;
    static __device__ __forceinline__ int feature(Node n) { return n.y & 16383u; }
    static __device__ __forceinline__ bool leaf(Node n) { return (n.y & 16383u) == 16383u; }
    static __device__ __forceinline__ int child(Node n) { return n.y >> 14; }
    static __device__ __forceinline__ Node pick(Pair p, Node n, float v) {
        return v < __uint_as_float(n.x) ? make_uint2(p.x, p.y) : make_uint2(p.z, p.w);
    }
    static __device__ __forceinline__ Pair far_both(const Node* n) { return __ldg((const Pair*)n); }
};

/* The same for more than 16382 features or 2^18 nodes a tree: 32 bits for each. */
struct Wide {
    typedef uint4 Node;
    struct Pair {
        uint4 x, y;
    };
    static __device__ __forceinline__ int feature(Node n) { return n.y; }
    static __device__ __forceinline__ bool leaf(Node n) { return n.y == 0xffffffffu; }
    static __device__ __forceinline__ int child(Node n) { return n.z; }
    static __device__ __forceinline__ Node pick(Pair p, Node n, float v) { return v < __uint_as_float(n.x) ? p.x : p.y; }
    static __device__ __forceinline__ Pair far_both(const Node* n) { return {__ldg(n), __ldg(n + 1)}; }
};

/* What every walk needs of a forest. */
template <class Packing>
struct Trees {
    const typename Packing::Node* nodes;
    const int* roots;
    int count;
    const float* leaves;
    int classes;
};

/* Number of the feature's edges that do not exceed v; all of them for NaN, so that it goes right everywhere.
   edges: (features, 256) thresholds, ascending, infinite from the last one on. */
__device__ __forceinline__ unsigned char code_of(float v, const float* __restrict__ edges, int feature) {
    unsigned at = feature * 256u;
#pragma unroll
    for (unsigned half = 128; half; half >>= 1)
        if (!(v < __ldg(edges + (at + half - 1)))) at += half;
    return (unsigned char)at;
}

/* Features of the pixels of a block in shared memory, those of one pixel in banks of its own: a code is byte f % 4 of
   word f / 4. A block has 256 pixels: the bits of feature and pixel in a code's place are those of a node. */
constexpr int PIXELS = 256;
template <class Packing>
struct Values {
    float* numbers;
    __device__ __forceinline__ void put(int f, int i, float v) const { numbers[f * PIXELS + i] = v; }
    __device__ __forceinline__ float at(typename Packing::Node n, int i) const {
        return numbers[Packing::feature(n) * PIXELS + i];
    }
};
template <>
struct Values<Coded> {
    unsigned char* bytes;
    const float* edges;
    __device__ __forceinline__ void put(int f, int i, float v) const {
        bytes[(f / 4 * PIXELS + i) * 4 + f % 4] = code_of(v, edges, f);
    }
    __device__ __forceinline__ unsigned at(unsigned n, int i) const { return bytes[(n & 0xfc03u) | i * 4u]; }
};

/* Where nodes are: in shared memory, or in device memory. */
template <class Packing>
struct Near {
    const typename Packing::Node* nodes;
    __device__ __forceinline__ typename Packing::Node one(int i) const { return nodes[i]; }
    __device__ __forceinline__ typename Packing::Pair both(int i) const { return Packing::both(nodes + i); }
};
template <class Packing>
struct Far {
    const typename Packing::Node* nodes;
    __device__ __forceinline__ typename Packing::Node one(int i) const { return __ldg(nodes + i); }
    __device__ __forceinline__ typename Packing::Pair both(int i) const { return Packing::far_both(nodes + i); }
};

/* Probabilities of one pixel to out[0..classes-1]: every tree's answer is added to sums[class * apart]. */
template <class Packing, class Nodes, class ValueOf>
__device__ __forceinline__ void walk(const Trees<Packing>& trees, Nodes nodes, ValueOf value, float* sums, int apart,
                                     float* __restrict__ out) {
    for (int k = 0; k < trees.classes; ++k) sums[k * apart] = 0.f;
    for (int t = 0; t < trees.count; ++t) {
        const int root = __ldg(trees.roots + t);
        typename Packing::Node n = nodes.one(root);
        while (!Packing::leaf(n)) {
            const typename Packing::Pair children = nodes.both(root + Packing::child(n));
            n = Packing::pick(children, n, value(n));
        }
        const int answer = Packing::child(n);
        if (answer < trees.classes) {
            sums[answer * apart] += 1.f;
        } else {
            const float* __restrict__ shares = trees.leaves + (long long)(answer - trees.classes) * trees.classes;
            for (int k = 0; k < trees.classes; ++k) sums[k * apart] += __ldg(shares + k);
        }
    }
    for (int k = 0; k < trees.classes; ++k) out[k] = sums[k * apart] / (float)trees.count;
}

/* The same: sums in shared memory, or in the answer's own memory where classes are too many. A call for each: one that
   took either would address memory the slow way. */
template <class Packing, class Nodes, class ValueOf>
__device__ __forceinline__ void answer_pixel(const Trees<Packing>& trees, Nodes nodes, ValueOf value, float* sums,
                                             bool summed, float* __restrict__ out) {
    if (summed) walk(trees, nodes, value, sums, PIXELS, out);
    else walk(trees, nodes, value, out, 1, out);
}
