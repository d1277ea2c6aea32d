/* A random forest on codes: a block grows a tree, level by level.

   in    codes[f][i]     code of row i, 0 to 255
         target[i]       its class
   out   feature[t][j]   of node j of tree t, breadth-first: feature to test, -1 in a leaf
         code[t][j]      codes up to this one go to node `left`, others to `left` + 1
         left[t][j]
         counts[t][j][k] rows of class k that reached the node, as often as they were drawn
         sizes[t]        nodes of the tree, at most 2 n
         leaf[t][i]      node that a row ends in, -1 where the tree learned from it; zeros on entry
   work  entries[t][2 n], spans[t][2][2 n], keys[t][2 n]; table[t]: of many classes (see `slots`)
   cost  a row of a node is read once for each of `tried` features; its code comes from the first-level cache
         while n * features bytes fit there (2,000 x 49: 98 KB). 2,000 rows: tens of nodes a tree go through the
         table, some 5,000 clocks each, the rest is shared by eight warps: well under a millisecond for all trees,
         which grow at once on as many multiprocessors.
   ref   gpuseg/backends/_reference_grow.py: the same bits, for sums are integers and draws are hashes
   host  gpuseg/backends/_cuda/grow.py

   A node of up to 32 rows is one warp's, a row a lane, without memory in between: an occupied table of 256 codes
   would cost it a hundred times the work. For other nodes warps count codes into a table, `slots` features at a time. */

constexpr unsigned ALL = 0xffffffffu;
constexpr int THREADS = 256, LANES = 32, WARPS = THREADS / LANES;
constexpr int CODES = 256, PART = CODES / LANES;  // codes of a table that a lane looks at
constexpr int PLANE = CODES + LANES;              // words of a class in a table: see `place`
constexpr int NONE = 0x7fffffff;
constexpr unsigned CHILD = 0x5bd1e995u, REST = 0x27d4eb2fu;  // tell apart what a node's key is used for

typedef unsigned long long Entry;  // class | times drawn << 8 | row << 32

struct Tree {
    const unsigned char* __restrict__ codes;
    long long n;
    int features, classes, tried;
    Entry* entries;  // those of a node together
    Entry* spare;
    int* first;      // of a node's entries
    int* last;       // and one beyond
    unsigned* key;   // of a node's draws
    int* feature;
    unsigned char* code;
    int* left;       // until children get their place: how many entries go left
    unsigned* counts;
};

struct Split {
    double quality;  // the larger, the less impurity; negative: none
    int order;       // of the feature among those drawn
    int code;
};

struct Shared {
    unsigned total[CODES];  // of a node, by class
    Split split[WARPS];     // of each slot
    unsigned rank[WARPS];
    int feature[WARPS];
    int moved[2];           // entries that went left and right
    int next;               // code that occurs after that of the split
    int made;               // nodes so far
};

__device__ __forceinline__ unsigned draw(unsigned key, unsigned i) {
    unsigned x = key + (i + 1) * 0x9e3779b9u;
    x = (x ^ x >> 16) * 0x7feb352du;
    x = (x ^ x >> 15) * 0x846ca68bu;
    return x ^ x >> 16;
}

/* The feature that is drawn i-th, none twice: what Fisher's and Yates' exchanges put at the i-th draw, followed back. */
__device__ int drawn_feature(unsigned key, int i, int features) {
    int at = i + (int)__umulhi(draw(key, i), features - i);
    for (int j = i - 1; j >= 0; --j)
        if (at == j + (int)__umulhi(draw(key, j), features - j)) at = j;
    return at;
}

__device__ __forceinline__ int row_of(Entry e) { return (int)(e >> 32); }
__device__ __forceinline__ unsigned times_of(Entry e) { return (unsigned)e >> 8; }
__device__ __forceinline__ int class_of(Entry e) { return (int)(e & 255); }
__device__ __forceinline__ int code_of(const Tree& t, int feature, Entry e) {
    return t.codes[feature * t.n + row_of(e)];
}

/* Among equals the feature drawn first, then the lowest code. */
__device__ __forceinline__ bool better(const Split& a, const Split& b) {
    if (a.quality != b.quality) return a.quality > b.quality;
    return a.order != b.order ? a.order < b.order : a.code < b.code;
}

__device__ Split best_of_warp(Split s) {
    for (int o = LANES / 2; o; o >>= 1) {
        const Split other = {__shfl_xor_sync(ALL, s.quality, o), __shfl_xor_sync(ALL, s.order, o),
                             __shfl_xor_sync(ALL, s.code, o)};
        if (better(other, s)) s = other;
    }
    return s;
}

__device__ int least_of_warp(int v) {
    for (int o = LANES / 2; o; o >>= 1) v = min(v, __shfl_xor_sync(ALL, v, o));
    return v;
}

__device__ __forceinline__ double quality_of(long long squares_low, long long low, long long squares_high, long long high) {
    return (double)squares_low / (double)low + (double)squares_high / (double)high;
}

/* ---- nodes of up to 32 rows: a warp, entry `lane` in each lane of `active` ---- */

/* Quality of the split after this lane's code; negative if no entry lies beyond. */
__device__ double lane_quality(unsigned active, int kind, unsigned times, int code) {
    long long low = 0, high = 0, squares_low = 0, squares_high = 0;
    for (unsigned rest = active; rest;) {
        const int class_here = __shfl_sync(ALL, kind, __ffs(rest) - 1);
        const unsigned same = __ballot_sync(ALL, kind == class_here) & active;
        long long below = 0, beyond = 0;
        for (unsigned bits = same; bits; bits &= bits - 1) {
            const int other = __shfl_sync(ALL, code, __ffs(bits) - 1);
            const unsigned w = __shfl_sync(ALL, times, __ffs(bits) - 1);
            below += other <= code ? w : 0;
            beyond += other <= code ? 0 : w;
        }
        low += below, squares_low += below * below;
        high += beyond, squares_high += beyond * beyond;
        rest &= ~same;
    }
    return high && kind >= 0 ? quality_of(squares_low, low, squares_high, high) : -1.;
}

/* A feature that divides the entries although none of those drawn did: the one whose draw is least. -1: none does. */
__device__ int lanes_other_feature(const Tree& t, unsigned key, Entry entry, bool mine) {
    unsigned least = ALL;
    int found = -1;
    for (int f = 0; f < t.features; ++f) {
        const unsigned rank = draw(key ^ REST, f);
        if (rank >= least && found >= 0) continue;
        const int code = mine ? code_of(t, f, entry) : -1, first = __shfl_sync(ALL, code, 0);
        if (__any_sync(ALL, mine && code != first)) least = rank, found = f;
    }
    return found;
}

__device__ void split_by_warp(const Tree& t, int node, int lane) {
    const int first = t.first[node], m = t.last[node] - first;
    const bool mine = lane < m;
    const unsigned active = __ballot_sync(ALL, mine), key = t.key[node];
    const Entry entry = mine ? t.entries[first + lane] : 0;
    const int kind = mine ? class_of(entry) : -1;
    const unsigned times = times_of(entry);
    unsigned* counts = t.counts + (long long)node * t.classes;
    for (int k = lane; k < t.classes; k += LANES) counts[k] = 0;
    __syncwarp();
    if (mine) atomicAdd(&counts[kind], times);

    int feature = -1, code = 0, left = 0;
    const int kind_of_first = __shfl_sync(ALL, kind, 0);
    if (__any_sync(ALL, mine && kind != kind_of_first)) {
        Split best = {-1., NONE, NONE};
        int drawn = 0;
        for (int i = 0; i < t.tried; ++i) {
            if (i % LANES == 0 && i + lane < t.tried) drawn = drawn_feature(key, i + lane, t.features);
            const int f = __shfl_sync(ALL, drawn, i % LANES), here = mine ? code_of(t, f, entry) : NONE;
            const Split s = {lane_quality(active, kind, times, here), i, here};
            if (s.quality > best.quality) best = s;
        }
        best = best_of_warp(best);
        if (best.quality >= 0) {
            feature = drawn_feature(key, best.order, t.features);
        } else {
            feature = lanes_other_feature(t, key, entry, mine);
            if (feature >= 0) {
                const int here = mine ? code_of(t, feature, entry) : NONE;
                best = best_of_warp({lane_quality(active, kind, times, here), 0, here});
            }
        }
        if (feature >= 0) {
            const int here = mine ? code_of(t, feature, entry) : NONE;
            const bool low = here <= best.code;
            const unsigned lower = __ballot_sync(ALL, low), before = (1u << lane) - 1;
            code = (best.code + least_of_warp(low ? NONE : here)) >> 1;
            left = __popc(lower);
            if (mine) t.entries[first + (low ? __popc(lower & before) : left + __popc(~lower & before))] = entry;
        }
    }
    if (lane == 0) t.feature[node] = feature, t.code[node] = (unsigned char)code, t.left[node] = left;
}

/* ---- other nodes: the block ---- */

/* Where a table keeps the count of a code: a lane looks at PART codes in a row, so that without the gap after each
   PART of them lanes would meet in the same banks. */
__device__ __forceinline__ int place(int kind, int code) { return kind * PLANE + code + code / PART; }

/* Counts by class and code -> counts of codes up to each. */
__device__ void accumulate(unsigned* table, int classes, int lane) {
    for (int k = 0; k < classes; ++k) {
        unsigned sum = 0, mine = 0;
        for (int c = 0; c < PART; ++c) mine += table[place(k, lane * PART + c)];
        unsigned before = mine;
        for (int o = 1; o < LANES; o <<= 1) {
            const unsigned lower = __shfl_up_sync(ALL, before, o);
            if (lane >= o) before += lower;
        }
        sum = before - mine;
        for (int c = 0; c < PART; ++c) table[place(k, lane * PART + c)] = sum += table[place(k, lane * PART + c)];
    }
}

/* Best split of an accumulated table. */
__device__ Split best_of_table(const unsigned* table, const unsigned* total, int classes, int order, int lane) {
    Split best = {-1., order, NONE};
    long long before = 0;
    for (int k = 0; k < classes && lane; ++k) before += table[place(k, lane * PART - 1)];
    for (int code = lane * PART; code < (lane + 1) * PART; ++code) {
        long long low = 0, high = 0, squares_low = 0, squares_high = 0;
        for (int k = 0; k < classes; ++k) {
            const long long below = table[place(k, code)], beyond = total[k] - below;
            low += below, squares_low += below * below;
            high += beyond, squares_high += beyond * beyond;
        }
        if (low > before && high) {
            const double quality = quality_of(squares_low, low, squares_high, high);
            if (quality > best.quality) best.quality = quality, best.code = code;
        }
        before = low;
    }
    return best_of_warp(best);
}

/* Best split of a feature of each slot (-1: none) -> s.split. Warps of a slot count into one table together. */
__device__ void search(const Tree& t, Shared& s, int first, int last, int feature, int order, unsigned* table, int slots) {
    const int team = THREADS / slots, member = threadIdx.x % team, slot = threadIdx.x / team;
    table += (long long)slot * t.classes * PLANE;
    for (int i = member; i < t.classes * PLANE; i += team) table[i] = 0;
    __syncthreads();
    for (int i = first + member; feature >= 0 && i < last; i += team) {
        const Entry e = t.entries[i];
        atomicAdd(&table[place(class_of(e), code_of(t, feature, e))], times_of(e));
    }
    __syncthreads();
    if (member < LANES) {
        if (feature >= 0) accumulate(table, t.classes, member);
        __syncwarp();
        const Split found = feature >= 0 ? best_of_table(table, s.total, t.classes, order, member) : Split{-1., NONE, NONE};
        if (member == 0) s.split[slot] = found;
    }
    __syncthreads();
}

/* As `lanes_other_feature`: each warp looks at every eighth feature. */
__device__ int other_feature(const Tree& t, Shared& s, unsigned key, int first, int last) {
    const int lane = threadIdx.x % LANES, warp = threadIdx.x / LANES;
    unsigned least = ALL;
    int found = -1;
    for (int f = warp; f < t.features; f += WARPS) {
        const unsigned rank = draw(key ^ REST, f);
        if (rank >= least && found >= 0) continue;
        const int code = code_of(t, f, t.entries[first]);
        bool varies = false;
        for (int i = first; i < last && !varies; i += LANES)
            varies = __any_sync(ALL, i + lane < last && code_of(t, f, t.entries[min(i + lane, last - 1)]) != code);
        if (varies) least = rank, found = f;
    }
    if (lane == 0) s.rank[warp] = least, s.feature[warp] = found;
    __syncthreads();
    for (int w = 0; w < WARPS; ++w) {
        const int f = s.feature[w];
        if (f >= 0 && (found < 0 || s.rank[w] < least || (s.rank[w] == least && f < found))) least = s.rank[w], found = f;
    }
    __syncthreads();
    return found;
}

/* Put the entries whose code is beyond `code` behind the others; the next code that occurs -> s.next. */
__device__ void part(const Tree& t, Shared& s, int first, int last, int feature, int code) {
    const int lane = threadIdx.x % LANES;
    int next = NONE;
    for (int start = first + threadIdx.x - lane; start < last; start += THREADS) {
        const bool mine = start + lane < last;
        const Entry e = mine ? t.entries[start + lane] : 0;
        const int here = mine ? code_of(t, feature, e) : NONE;
        const bool low = here <= code;
        const unsigned lower = __ballot_sync(ALL, mine && low), upper = __ballot_sync(ALL, mine && !low);
        int at = 0;
        if (lane < 2) at = atomicAdd(&s.moved[lane], __popc(lane ? upper : lower));
        const int low_at = __shfl_sync(ALL, at, 0), high_at = __shfl_sync(ALL, at, 1);
        const unsigned before = (1u << lane) - 1;
        if (mine && low) t.spare[first + low_at + __popc(lower & before)] = e;
        if (mine && !low) t.spare[last - 1 - high_at - __popc(upper & before)] = e, next = min(next, here);
    }
    next = least_of_warp(next);
    if (lane == 0) atomicMin(&s.next, next);
    __syncthreads();
    for (int i = first + threadIdx.x; i < last; i += THREADS) t.entries[i] = t.spare[i];
}

/* How often each class occurs -> s.total and the node's counts; whether more than one does. */
__device__ bool count_classes(const Tree& t, Shared& s, int node, int first, int last) {
    for (int k = threadIdx.x; k < t.classes; k += THREADS) s.total[k] = 0;
    __syncthreads();
    for (int i = first + threadIdx.x; i < last; i += THREADS)
        atomicAdd(&s.total[class_of(t.entries[i])], times_of(t.entries[i]));
    __syncthreads();
    int kinds = 0;
    for (int k = 0; k < t.classes; ++k) kinds += s.total[k] > 0;
    for (int k = threadIdx.x; k < t.classes; k += THREADS) t.counts[(long long)node * t.classes + k] = s.total[k];
    return kinds > 1;
}

__device__ void split_by_block(const Tree& t, Shared& s, int node, unsigned* table, int slots) {
    const int first = t.first[node], last = t.last[node], slot = threadIdx.x * slots / THREADS;
    const unsigned key = t.key[node];
    int feature = -1;
    Split best = {-1., NONE, NONE};
    if (threadIdx.x == 0) s.moved[0] = s.moved[1] = 0, s.next = NONE;
    if (count_classes(t, s, node, first, last)) {
        for (int i = 0; i < t.tried; i += slots) {
            const int order = i + slot;
            search(t, s, first, last, order < t.tried ? drawn_feature(key, order, t.features) : -1, order, table, slots);
            for (int j = 0; j < slots; ++j)
                if (better(s.split[j], best)) best = s.split[j];
        }
        if (best.quality >= 0) {
            feature = drawn_feature(key, best.order, t.features);
        } else {
            feature = other_feature(t, s, key, first, last);
            search(t, s, first, last, slot == 0 ? feature : -1, 0, table, slots);
            best = s.split[0];
        }
        if (feature >= 0) part(t, s, first, last, feature, best.code);
    }
    __syncthreads();
    if (threadIdx.x == 0) {
        t.feature[node] = feature;
        t.code[node] = (unsigned char)(feature >= 0 ? (best.code + s.next) >> 1 : 0);
        t.left[node] = s.moved[0];
    }
    __syncthreads();
}

/* ---- the tree ---- */

/* Rows drawn with replacement, each an entry with its number of times, which stays in `leaf`; how many there are. */
__device__ int fill_bag(const Tree& t, Shared& s, unsigned key, const unsigned char* __restrict__ target, int* leaf) {
    if (threadIdx.x == 0) s.made = 0;
    for (long long i = threadIdx.x; i < t.n; i += THREADS)
        atomicAdd(&leaf[__umulhi(draw(key, (unsigned)i), (unsigned)t.n)], 1);
    __syncthreads();
    for (long long i = threadIdx.x; i < t.n; i += THREADS)
        if (leaf[i]) t.entries[atomicAdd(&s.made, 1)] = (Entry)i << 32 | (Entry)leaf[i] << 8 | target[i];
    __syncthreads();
    return s.made;
}

/* Number the children of the nodes from `begin` to `end`, in their order. */
__device__ void place_children(const Tree& t, Shared& s, int begin, int end) {
    const int lane = threadIdx.x % LANES, warp = threadIdx.x / LANES;
    for (int start = begin; start < end; start += THREADS) {
        const int node = start + threadIdx.x;
        const bool inner = node < end && t.feature[node] >= 0;
        const unsigned bits = __ballot_sync(ALL, inner);
        if (lane == 0) s.feature[warp] = __popc(bits);
        __syncthreads();
        int child = s.made + 2 * __popc(bits & ((1u << lane) - 1)), total = 0;
        for (int w = 0; w < WARPS; ++w) {
            child += w < warp ? 2 * s.feature[w] : 0;
            total += s.feature[w];
        }
        if (inner) {
            const int first = t.first[node], middle = first + t.left[node];
            t.first[child] = first, t.last[child] = t.first[child + 1] = middle, t.last[child + 1] = t.last[node];
            t.key[child] = draw(t.key[node] ^ CHILD, 0), t.key[child + 1] = draw(t.key[node] ^ CHILD, 1);
            t.left[node] = child;
        }
        __syncthreads();
        if (threadIdx.x == 0) s.made += 2 * total;
        __syncthreads();
    }
}

/* grid: trees; block: THREADS; shared: `slots` tables, unless they are in `table`. */
__global__ void __launch_bounds__(THREADS, 1) grow(
    const unsigned char* __restrict__ codes, const unsigned char* __restrict__ target, long long n, int features,
    int classes, int tried, unsigned seed, int first_tree, int slots, int in_shared, Entry* __restrict__ entries,
    int* __restrict__ spans, unsigned* __restrict__ keys, unsigned* __restrict__ table, int* __restrict__ feature,
    unsigned char* __restrict__ code, int* __restrict__ left, unsigned* __restrict__ counts, int* __restrict__ sizes,
    int* __restrict__ leaf) {
    GPUSEG_DYN_SHARED(unsigned, fast_table);
    __shared__ Shared s;
    const long long tree = blockIdx.x, room = 2 * n;
    const Tree t = {codes, n, features, classes, tried, entries + tree * room, entries + tree * room + n,
                    spans + 2 * tree * room, spans + (2 * tree + 1) * room, keys + tree * room, feature + tree * room,
                    code + tree * room, left + tree * room, counts + tree * room * classes};
    unsigned* counted = in_shared ? fast_table : table + tree * slots * classes * PLANE;
    leaf += tree * n;

    const unsigned key = draw(seed, first_tree + (unsigned)tree);
    const int rows = fill_bag(t, s, draw(key, 0), target, leaf);
    __syncthreads();
    if (threadIdx.x == 0) t.first[0] = 0, t.last[0] = rows, t.key[0] = draw(key, 1), s.made = 1;
    __syncthreads();
    for (int begin = 0, end = 1; begin < end;) {
        for (int node = begin; node < end; ++node)
            if (t.last[node] - t.first[node] > LANES) split_by_block(t, s, node, counted, slots);
        for (int node = begin + threadIdx.x / LANES; node < end; node += WARPS)
            if (t.last[node] - t.first[node] <= LANES) split_by_warp(t, node, threadIdx.x % LANES);
        __syncthreads();
        place_children(t, s, begin, end);
        begin = end, end = s.made;
    }
    if (threadIdx.x == 0) sizes[tree] = s.made;
    for (long long i = threadIdx.x; i < n; i += THREADS) {
        int node = 0;
        if (leaf[i]) node = -1;
        else
            while (t.feature[node] >= 0) node = t.left[node] + (codes[t.feature[node] * n + i] > t.code[node]);
        leaf[i] = node;
    }
}

/* Trees one after the other: those of tree t from start[t] on. grid: trees; block: THREADS. */
__global__ void gather_trees(const long long* __restrict__ start, long long room, int classes,
                             const int* __restrict__ feature, const unsigned char* __restrict__ code,
                             const int* __restrict__ left, const unsigned* __restrict__ counts,
                             int* __restrict__ all_feature, unsigned char* __restrict__ all_code,
                             int* __restrict__ all_left, unsigned* __restrict__ all_counts) {
    const long long from = blockIdx.x * room, to = start[blockIdx.x], size = start[blockIdx.x + 1] - to;
    for (long long i = threadIdx.x; i < size; i += THREADS) {
        const bool inner = feature[from + i] >= 0;
        all_feature[to + i] = feature[from + i];
        all_code[to + i] = code[from + i];
        all_left[to + i] = inner ? left[from + i] : 0;
    }
    for (long long i = threadIdx.x; i < size * classes; i += THREADS)
        all_counts[to * classes + i] = counts[from * classes + i];
}
