/* What CUDA C++ offers to a kernel, for the CPU: words, vectors, mathematics, warps and atomics.

   cost  each function is one or two machine instructions, but warp primitives (a switch of fibers)
   host  build.py puts it in front of a kernel's text

   Not here: __activemask (it depends on the order of threads), cooperative groups, textures, half, inline PTX,
   <<<>>>. Products and sums are fused by fmaf alone.                                                        */

#pragma once
#define GPUSEG_HOST 1
#include "fibers.h"

#define __global__
#define __device__
#define __host__
#define __constant__ static
#define __forceinline__ inline
#define __noinline__ __attribute__((noinline))
#define __launch_bounds__(...)
#define __grid_constant__
#define __shared__ GS_SHARED
#define GPUSEG_DYN_SHARED(T, name) T* name = reinterpret_cast<T*>(gs::dynamic)
#define threadIdx (gs::cur->index)
#define blockIdx gs::block_index
#define blockDim gs::block_size
#define gridDim gs::grid_size
#define warpSize 32

typedef unsigned char gs_uchar;
typedef unsigned short gs_ushort;
typedef unsigned gs_uint;
typedef long long gs_longlong;
typedef unsigned long long gs_ulonglong;
#define GS_VECTOR(T, N)                                                             \
    struct N##1 { T x; };                                                           \
    struct alignas(2 * sizeof(T)) N##2 { T x, y; };                                 \
    struct alignas(4 * sizeof(T) > 16 ? 16 : 4 * sizeof(T)) N##4 { T x, y, z, w; }; \
    inline N##1 make_##N##1(T x) { return {x}; }                                    \
    inline N##2 make_##N##2(T x, T y) { return {x, y}; }                            \
    inline N##4 make_##N##4(T x, T y, T z, T w) { return {x, y, z, w}; }
#define GS_TRIPLE(T, N)    \
    struct N##3 { T x, y, z; };
#define GS_MAKE_TRIPLE(T, N) \
    inline N##3 make_##N##3(T x, T y, T z) { return {x, y, z}; }
#define GS_EVERY_INTEGER(M)                                                                                  \
    M(signed char, char) M(gs_uchar, uchar) M(short, short) M(gs_ushort, ushort) M(int, int) M(gs_longlong, longlong) \
    M(gs_ulonglong, ulonglong)
#define GS_EVERY(M) GS_EVERY_INTEGER(M) M(float, float) M(double, double)
GS_EVERY(GS_VECTOR) GS_VECTOR(gs_uint, uint)
GS_EVERY(GS_TRIPLE)  // uint3 is that of fibers.h
GS_EVERY(GS_MAKE_TRIPLE) GS_MAKE_TRIPLE(gs_uint, uint)

// C has double only: here each function takes what it is given.
#define GS_BOTH1(name) inline float name(float x) { return name##f(x); }
#define GS_BOTH2(name) inline float name(float x, float y) { return name##f(x, y); }
GS_BOTH1(sqrt) GS_BOTH1(cbrt) GS_BOTH1(exp) GS_BOTH1(exp2) GS_BOTH1(expm1) GS_BOTH1(log) GS_BOTH1(log2) GS_BOTH1(log10)
GS_BOTH1(log1p) GS_BOTH1(sin) GS_BOTH1(cos) GS_BOTH1(tan) GS_BOTH1(asin) GS_BOTH1(acos) GS_BOTH1(atan) GS_BOTH1(sinh)
GS_BOTH1(cosh) GS_BOTH1(tanh) GS_BOTH1(erf) GS_BOTH1(floor) GS_BOTH1(ceil) GS_BOTH1(trunc) GS_BOTH1(round) GS_BOTH1(rint)
GS_BOTH1(fabs) GS_BOTH2(pow) GS_BOTH2(fmod) GS_BOTH2(atan2) GS_BOTH2(hypot) GS_BOTH2(fmax) GS_BOTH2(fmin)
GS_BOTH2(copysign) GS_BOTH2(fdim) GS_BOTH2(remainder)
inline float fma(float x, float y, float z) { return fmaf(x, y, z); }
inline float abs(float x) { return fabsf(x); }
inline double abs(double x) { return fabs(x); }
inline long long abs(long long x) { return x < 0 ? -x : x; }
inline float rsqrtf(float x) { return 1.f / sqrtf(x); }
inline double rsqrt(double x) { return 1. / sqrt(x); }
inline float rsqrt(float x) { return rsqrtf(x); }
inline float __saturatef(float x) { return x > 0.f ? x < 1.f ? x : 1.f : 0.f; }
inline float __fdividef(float x, float y) { return x / y; }
inline float __expf(float x) { return expf(x); }
inline float __logf(float x) { return logf(x); }
inline float __fadd_rn(float x, float y) { return x + y; }
inline float __fsub_rn(float x, float y) { return x - y; }
inline float __fmul_rn(float x, float y) { return x * y; }
inline float __fdiv_rn(float x, float y) { return x / y; }
inline float __fmaf_rn(float x, float y, float z) { return fmaf(x, y, z); }
inline float __fsqrt_rn(float x) { return sqrtf(x); }
inline float __frcp_rn(float x) { return 1.f / x; }
inline double __dadd_rn(double x, double y) { return x + y; }
inline double __dsub_rn(double x, double y) { return x - y; }
inline double __dmul_rn(double x, double y) { return x * y; }
inline double __ddiv_rn(double x, double y) { return x / y; }
inline double __fma_rn(double x, double y, double z) { return fma(x, y, z); }
inline double __dsqrt_rn(double x) { return sqrt(x); }

// max and min of two numbers, of the type their sum would have; a NaN loses, as in fmaxf.
inline float gs_max(float a, float b) { return fmaxf(a, b); }
inline double gs_max(double a, double b) { return fmax(a, b); }
inline float gs_min(float a, float b) { return fminf(a, b); }
inline double gs_min(double a, double b) { return fmin(a, b); }
template <typename T> inline T gs_max(T a, T b) { return a < b ? b : a; }
template <typename T> inline T gs_min(T a, T b) { return b < a ? b : a; }
template <typename A, typename B> inline auto max(A a, B b) { typedef decltype(a + b) T; return gs_max((T)a, (T)b); }
template <typename A, typename B> inline auto min(A a, B b) { typedef decltype(a + b) T; return gs_min((T)a, (T)b); }

// Conversions saturate and take a NaN for 0. A plain cast does so on a GPU, and on a CPU it does not.
template <typename I, typename F>
inline I gs_saturated(F x, I least, I most) {
    if (!(x == x)) return 0;
    return x <= (F)least ? least : x >= (F)most ? most : (I)x;
}
#define GS_TO(from, F, to, I, least, most)                                                             \
    inline I __##from##2##to##_rn(F x) { return gs_saturated<I>(rint(x), (I)least, (I)most); }          \
    inline I __##from##2##to##_rz(F x) { return gs_saturated<I>(trunc(x), (I)least, (I)most); }         \
    inline I __##from##2##to##_rd(F x) { return gs_saturated<I>(floor(x), (I)least, (I)most); }         \
    inline I __##from##2##to##_ru(F x) { return gs_saturated<I>(ceil(x), (I)least, (I)most); }
#define GS_TO_INTEGERS(from, F)                                                                          \
    GS_TO(from, F, int, int, INT32_MIN, INT32_MAX) GS_TO(from, F, uint, unsigned, 0, UINT32_MAX)         \
    GS_TO(from, F, ll, long long, INT64_MIN, INT64_MAX) GS_TO(from, F, ull, unsigned long long, 0, UINT64_MAX)
GS_TO_INTEGERS(float, float) GS_TO_INTEGERS(double, double)
inline float __double2float_rn(double x) { return (float)x; }
#define GS_FROM(from, I) \
    inline float __##from##2float_rn(I x) { return (float)x; } inline double __##from##2double_rn(I x) { return (double)x; }
GS_FROM(int, int) GS_FROM(uint, unsigned) GS_FROM(ll, long long) GS_FROM(ull, unsigned long long)
template <typename T, typename F>
inline T gs_bits(F x) {
    static_assert(sizeof(T) == sizeof(F));
    T y;
    memcpy(&y, &x, sizeof y);
    return y;
}
inline int __float_as_int(float x) { return gs_bits<int>(x); }
inline unsigned __float_as_uint(float x) { return gs_bits<unsigned>(x); }
inline float __int_as_float(int x) { return gs_bits<float>(x); }
inline float __uint_as_float(unsigned x) { return gs_bits<float>(x); }
inline long long __double_as_longlong(double x) { return gs_bits<long long>(x); }
inline double __longlong_as_double(long long x) { return gs_bits<double>(x); }

inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
inline int __clz(int x) { return x ? __builtin_clz(x) : 32; }
inline int __clzll(long long x) { return x ? __builtin_clzll(x) : 64; }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline int __ffsll(long long x) { return __builtin_ffsll(x); }
inline int __mulhi(int a, int b) { return (long long)a * b >> 32; }
inline unsigned __umulhi(unsigned a, unsigned b) { return (unsigned long long)a * b >> 32; }
inline long long __mul64hi(long long a, long long b) { return (__int128)a * b >> 64; }
inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) { return (unsigned __int128)a * b >> 64; }
inline unsigned __brev(unsigned x) {
    unsigned r = 0;
    for (int i = 0; i < 32; ++i) r |= (x >> i & 1) << (31 - i);
    return r;
}
inline unsigned __byte_perm(unsigned a, unsigned b, unsigned s) {
    const unsigned long long both = (unsigned long long)b << 32 | a;
    unsigned r = 0;
    for (int i = 0; i < 4; ++i) {
        const unsigned byte = both >> 8 * (s >> 4 * i & 7) & 255;
        r |= ((s >> 4 * i & 8) ? (byte & 128 ? 255u : 0u) : byte) << 8 * i;
    }
    return r;
}
inline unsigned __funnelshift_l(unsigned lo, unsigned hi, unsigned s) {
    return ((unsigned long long)hi << 32 | lo) << (s & 31) >> 32;
}
inline unsigned __funnelshift_r(unsigned lo, unsigned hi, unsigned s) {
    return ((unsigned long long)hi << 32 | lo) >> (s & 31);
}

template <typename T> inline T __ldg(const T* p) { return *p; }
template <typename T> inline T __ldcs(const T* p) { return *p; }
template <typename T> inline T __ldcg(const T* p) { return *p; }
template <typename T> inline void __stcs(T* p, T x) { *p = x; }
template <typename T> inline void __stcg(T* p, T x) { *p = x; }
inline void __threadfence() {}
inline void __threadfence_block() {}
inline void __trap() { gs::fail("__trap()"); }

// Blocks meet by line: copies that a compiler makes of one barrier count as one.
#define GS_HERE const char *file = __builtin_FILE(), int line = __builtin_LINE()
inline void __syncthreads(GS_HERE) { gs::barrier(file, line); }
inline int __syncthreads_count(int p, GS_HERE) {
    gs::votes += p != 0;
    gs::barrier(file, line);
    return gs::voted;
}
inline int __syncthreads_or(int p, GS_HERE) { return __syncthreads_count(p, file, line) > 0; }
inline int __syncthreads_and(int p, GS_HERE) { return !__syncthreads_or(!p, file, line); }

// Warps. The value of a lane that has not come is a NaN; on a GPU it would be anything.
inline void __syncwarp(unsigned mask = ~0u) { gs::exchange(mask, 0); }
template <typename T>
inline T gs_from(unsigned mask, T x, unsigned lane) {
    T y;
    memcpy(&y, gs::exchange(mask, x) + lane, sizeof y);
    return y;
}
template <typename T>
inline T __shfl_sync(unsigned mask, T x, int from, int width = 32) {
    return gs_from(mask, x, (gs::cur->lane & ~(width - 1)) | (from & (width - 1)));
}
template <typename T>
inline T __shfl_xor_sync(unsigned mask, T x, int with, int width = 32) {
    const unsigned i = gs::cur->lane, j = i ^ with;
    return gs_from(mask, x, j / width > i / width ? i : j);
}
template <typename T>
inline T __shfl_down_sync(unsigned mask, T x, unsigned by, int width = 32) {
    const unsigned i = gs::cur->lane;
    return gs_from(mask, x, i % width + by < (unsigned)width ? i + by : i);
}
template <typename T>
inline T __shfl_up_sync(unsigned mask, T x, unsigned by, int width = 32) {
    const unsigned i = gs::cur->lane;
    return gs_from(mask, x, i % width >= by ? i - by : i);
}
template <typename T, typename F>
inline unsigned gs_lanes_where(unsigned mask, T x, F holds) {
    const uint64_t* all = gs::exchange(mask, x);
    unsigned found = 0;
    for (unsigned l = 0; l < 32; ++l)
        if (gs::cur->met >> l & 1) found |= (unsigned)holds(all[l]) << l;
    return found;
}
inline unsigned __ballot_sync(unsigned mask, int p) {
    return gs_lanes_where(mask, p != 0, [](uint64_t x) { return x != 0; });
}
inline int __any_sync(unsigned mask, int p) { return __ballot_sync(mask, p) != 0; }
inline int __all_sync(unsigned mask, int p) { return __ballot_sync(mask, !p) == 0; }
template <typename T>
inline unsigned __match_any_sync(unsigned mask, T x) {
    uint64_t mine = 0;
    memcpy(&mine, &x, sizeof x);
    return gs_lanes_where(mask, x, [mine](uint64_t other) { return other == mine; });
}
template <typename T, typename F>
inline T gs_reduce(unsigned mask, T x, F join) {
    const uint64_t* all = gs::exchange(mask, x);
    bool first = true;
    for (unsigned l = 0; l < 32; ++l) {
        if (!(gs::cur->met >> l & 1)) continue;
        T y;
        memcpy(&y, all + l, sizeof y);
        x = first ? y : join(x, y);
        first = false;
    }
    return x;
}
#define GS_REDUCE(T)                                                                                               \
    inline T __reduce_add_sync(unsigned m, T x) { return gs_reduce(m, x, [](T a, T b) { return (T)(a + b); }); }   \
    inline T __reduce_min_sync(unsigned m, T x) { return gs_reduce(m, x, [](T a, T b) { return b < a ? b : a; }); } \
    inline T __reduce_max_sync(unsigned m, T x) { return gs_reduce(m, x, [](T a, T b) { return a < b ? b : a; }); }
GS_REDUCE(int) GS_REDUCE(unsigned)
inline unsigned __reduce_and_sync(unsigned m, unsigned x) { return gs_reduce(m, x, [](unsigned a, unsigned b) { return a & b; }); }
inline unsigned __reduce_or_sync(unsigned m, unsigned x) { return gs_reduce(m, x, [](unsigned a, unsigned b) { return a | b; }); }
inline unsigned __reduce_xor_sync(unsigned m, unsigned x) { return gs_reduce(m, x, [](unsigned a, unsigned b) { return a ^ b; }); }

// Atomics answer what stood there before. The value's type is that of the pointer.
template <typename T>
struct gs_same {
    typedef T type;
};
template <typename T>
using gs_value = typename gs_same<T>::type;
template <typename T, typename F>
inline T gs_change(T* p, F to) {
    T old, now;
    __atomic_load(p, &old, __ATOMIC_SEQ_CST);
    do now = to(old);
    while (!__atomic_compare_exchange(p, &old, &now, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST));
    return old;
}
#define GS_ATOMIC(name, now) \
    template <typename T> inline T name(T* p, gs_value<T> v) { return gs_change(p, [v](T old) { return (T)(now); }); }
GS_ATOMIC(atomicAdd, old + v) GS_ATOMIC(atomicSub, old - v) GS_ATOMIC(atomicMin, v < old ? v : old)
GS_ATOMIC(atomicMax, old < v ? v : old) GS_ATOMIC(atomicAnd, old & v) GS_ATOMIC(atomicOr, old | v)
GS_ATOMIC(atomicXor, old ^ v) GS_ATOMIC(atomicExch, v)
GS_ATOMIC(atomicInc, old >= v ? 0 : old + 1) GS_ATOMIC(atomicDec, old == 0 || old > v ? v : old - 1)
template <typename T>
inline T atomicCAS(T* p, gs_value<T> expected, gs_value<T> now) {
    return gs_change(p, [=](T old) { return old == expected ? now : old; });
}
