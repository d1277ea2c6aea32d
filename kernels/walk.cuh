/* The forest, one thread a pixel, some trees at a time. Behind it: walk.cu, classify2d.cu.

   Nodes of a tree are in breadth-first order: neighbouring pixels, who decide alike, ask for the same few nodes. Children
   stand side by side, a pair that is fetched in one load while the feature is looked up. The number of a node is that of
   its pair of children, counted from the first of its tree. In front of that one, beside an empty place, stands the root;
   in front of the root a pair for each answer that the tree gives: twice a leaf that says it. A leaf's number is that of
   its own pair, negative, and its feature 0: asked for its children it stays where it is, and so trees that are done
   cost neither a branch nor a comparison of their own. An answer names a class if all rows of the leaf had that one,
   else a row of `leaves` beyond the classes. */

/* Features as codes, the number of the forest's thresholds that do not exceed them: 4 B a node, exact as long as no
   feature has more than 255 thresholds. Bits: number 16, feature / 4 in 6, code 8, feature % 4 in 2. The code of a leaf
   is its answer, or MORE: the answer is then at the leaf's pair in `answers`. */
struct Coded {
    typedef int Node;
    typedef int2 Pair;
    static constexpr int AT_ONCE = 4;  // trees
    static constexpr int MORE = 255;
    static __device__ __forceinline__ int number(Node n) { return n >> 16; }
    static __device__ __forceinline__ Node pick(Pair p, Node n, unsigned v) { return v * 4u > (n & 0x3fcu) ? p.y : p.x; }
    static __device__ __forceinline__ Pair both(const Pair* p) { return __ldg(p); }
    static __device__ __forceinline__ int answer(Node n, const int* at) {
        const int code = n >> 2 & 255;
        return code < MORE ? code : __ldg(at);
    }
};

/* Features as they are. Threshold 32 bits, number 18, feature 14. The threshold of a leaf is its answer. NaN goes right,
   as on the CPU. */
struct Narrow {
    typedef int2 Node;
    typedef int4 Pair;
    static constexpr int AT_ONCE = 4;
    static __device__ __forceinline__ int feature(Node n) { return n.y & 16383; }
    static __device__ __forceinline__ int number(Node n) { return n.y >> 14; }
    static __device__ __forceinline__ Node pick(Pair p, Node n, float v) {
        return v < __int_as_float(n.x) ? make_int2(p.x, p.y) : make_int2(p.z, p.w);
    }
    static __device__ __forceinline__ Pair both(const Pair* p) { return __ldg(p); }
    static __device__ __forceinline__ int answer(Node n, const int*) { return n.x; }
};

/* The same for more than 16384 features or 2^18 nodes a tree: 32 bits for each. */
struct Wide {
    typedef int4 Node;
    struct Pair {
        int4 x, y;
    };
    static constexpr int AT_ONCE = 1;
    static __device__ __forceinline__ int feature(Node n) { return n.y; }
    static __device__ __forceinline__ int number(Node n) { return n.z; }
    static __device__ __forceinline__ Node pick(Pair p, Node n, float v) { return v < __int_as_float(n.x) ? p.x : p.y; }
    static __device__ __forceinline__ Pair both(const Pair* p) { return {__ldg(&p->x), __ldg(&p->y)}; }
    static __device__ __forceinline__ int answer(Node n, const int*) { return n.x; }
};

/* What every walk needs of a forest. firsts: the first pair of each tree. */
template <class Packing>
struct Trees {
    const typename Packing::Node* nodes;
    const int* answers;
    const int* firsts;
    int count;
    const float* leaves;
    int classes;
};

/* How many of a feature's edges do not exceed v; all of them for NaN, so that it goes right everywhere.
   edges: thresholds in shared memory, ascending, infinite from the last one on.
   A place is counted and no pointer moved: of a pointer that moves, ptxas (seen in 12.9 to 13.5, on a card too) takes
   the last two loads for neighbours and fetches them at once, before it is known where the second one is. */
constexpr int EDGES = 256;
__device__ __forceinline__ unsigned code_of(float v, const float* edges) {
    unsigned at = 0;
#pragma unroll
    for (unsigned half = EDGES / 2; half; half /= 2)
        if (!(v < edges[at + half - 1])) at += half;
    return at;
}

/* Features of the pixels of a block in shared memory, those of one pixel in banks of its own: a code is byte f % 4 of
   word f / 4. A block has 256 pixels: the bits of feature and pixel in a code's place are those of a node. */
constexpr int PIXELS = 256;
template <class Packing>
struct Values {
    float* all;
    __device__ __forceinline__ void put(int f, int i, float v, const float*) const { all[f * PIXELS + i] = v; }
    __device__ __forceinline__ float at(typename Packing::Node n, int i) const { return all[Packing::feature(n) * PIXELS + i]; }
};
template <>
struct Values<Coded> {
    unsigned char* all;
    __device__ __forceinline__ void put(int f, int i, float v, const float* edges) const {
        all[(f / 4 * PIXELS + i) * 4 + f % 4] = (unsigned char)code_of(v, edges);
    }
    __device__ __forceinline__ unsigned at(int n, int i) const { return all[(n & 0xfc03u) | i * 4u]; }
};

/* Adds the answers of `SOME` trees, t and the following ones, to sums[class * apart]. They are asked in turn, so that
   one is computed while another waits for its nodes. */
template <int SOME, class Packing, class ValueOf>
__device__ __forceinline__ void ask(const Trees<Packing>& trees, int t, ValueOf value, float* sums, int apart) {
    typedef typename Packing::Pair Pair;
    const Pair* pairs = (const Pair*)trees.nodes;
    int first[SOME];
    typename Packing::Node n[SOME];
#pragma unroll
    for (int j = 0; j < SOME; ++j) first[j] = __ldg(trees.firsts + t + j);
#pragma unroll
    for (int j = 0; j < SOME; ++j) n[j] = __ldg(trees.nodes + (2ll * first[j] - 1));
    for (;;) {
        int all = -1;
#pragma unroll
        for (int j = 0; j < SOME; ++j) all &= Packing::number(n[j]);
        if (all < 0) break;  // every number is negative
#pragma unroll
        for (int j = 0; j < SOME; ++j)
            n[j] = Packing::pick(Packing::both(pairs + (first[j] + Packing::number(n[j]))), n[j], value(n[j]));
    }
#pragma unroll
    for (int j = 0; j < SOME; ++j) {
        const int answer = Packing::answer(n[j], trees.answers + (first[j] + Packing::number(n[j])));
        if (answer < trees.classes) {
            sums[answer * apart] += 1.f;
        } else {
            const float* __restrict__ shares = trees.leaves + (long long)(answer - trees.classes) * trees.classes;
            for (int k = 0; k < trees.classes; ++k) sums[k * apart] += __ldg(shares + k);
        }
    }
}

/* Probabilities of one pixel to out[0..classes-1]: every tree's answer is added to sums[class * apart]. */
template <class Packing, class ValueOf>
__device__ __forceinline__ void walk(const Trees<Packing>& trees, ValueOf value, float* sums, int apart, float* __restrict__ out) {
    for (int k = 0; k < trees.classes; ++k) sums[k * apart] = 0.f;
    int t = 0;
#pragma unroll 1
    for (; t + Packing::AT_ONCE <= trees.count; t += Packing::AT_ONCE)
        ask<Packing::AT_ONCE>(trees, t, value, sums, apart);
    if constexpr (Packing::AT_ONCE > 1)
#pragma unroll 1
        for (; t < trees.count; ++t) ask<1>(trees, t, value, sums, apart);
    for (int k = 0; k < trees.classes; ++k) out[k] = sums[k * apart] / (float)trees.count;
}

/* The same: sums in shared memory, or in the answer's own memory where classes are too many. A call for each: one that
   took either would address memory the slow way. */
template <class Packing, class ValueOf>
__device__ __forceinline__ void answer_pixel(const Trees<Packing>& trees, ValueOf value, float* sums, bool summed,
                                             float* __restrict__ out) {
    if (summed) walk(trees, value, sums, PIXELS, out);
    else walk(trees, value, out, 1, out);
}
