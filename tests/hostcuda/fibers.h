/* The threads of a CUDA block as fibers on one CPU thread: barriers hand over to a scheduler.

   in    Launch (grid, block, shared memory, order of threads), a kernel and its arguments
   out   null, or a sentence that says what went wrong and where
   cost  15 ns a thread, 35 ns a thread and barrier or warp primitive (one core), 30 us a launch
   host  launch.py, Kernel.__call__

   Blocks run one after another, to completion. Whoever finishes starts the next thread on the same stack,
   so kernels without barriers are a plain loop. No C++ library is needed: the `ziglang` wheel, which
   compiles where a machine has no compiler, would spend 40 s on building its own.                        */

#pragma once
#undef _FORTIFY_SOURCE  // its longjmp refuses to leave the stack of a fiber
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#ifdef __x86_64__
#include <immintrin.h>
#else
#include <ucontext.h>
#endif

// Shared arrays are all that is in .bss, so that they can be filled in one go: what is ours lies in .data.
#define GS_OURS __attribute__((section(".data.gs")))
#ifdef GPUSEG_HOST_THREADS
#define GS_SHARED static thread_local
#define GS_STATIC static thread_local
#else
#define GS_SHARED static
#define GS_STATIC GS_OURS static
extern "C" __attribute__((visibility("hidden"))) char __bss_start[], _end[];
#endif

struct uint3 {
    unsigned x, y, z;
};
struct dim3 {
    unsigned x, y, z;
    dim3(unsigned a = 1, unsigned b = 1, unsigned c = 1) : x(a), y(b), z(c) {}
};

namespace gs {

constexpr unsigned MOST = 1024;  // threads of a block, as on every device since 2010
constexpr size_t STACK = 128 << 10, PAGE = 64 << 10;
constexpr uint64_t POISON = 0x7ff4dead7fa4dead;  // a NaN, read as float and as double

struct Launch {
    unsigned grid[3], block[3];
    uint64_t shared;
    int reverse, threads, flush;
    char* stacks;      // for MOST threads, lent for the launch
    unsigned* walled;  // how many of them have an unreadable page at their end
};
enum State : unsigned char { NEW, READY, AT_BLOCK, AT_WARP, DONE };
struct Thread {
    void* stack;  // where it left off
    uint3 index;
    unsigned lane, warp;
    State state;
    unsigned mask, met;  // of the warp barrier it waits at; who met there
    uint64_t put;        // what it shows the others
    const char* file;
    int line;
};

// What one CPU thread knows of the block it runs.
GS_STATIC Thread thread[MOST];
GS_STATIC Thread* cur;
GS_STATIC uint3 block_index;
GS_STATIC dim3 block_size, grid_size;
GS_STATIC unsigned count;       // threads of the block
GS_STATIC bool reverse;         // last thread first: what then changes lacks a barrier
GS_STATIC void* scheduler;      // its stack
GS_STATIC void* parked[MOST];   // stacks that wait for a thread
GS_STATIC unsigned idle, made;  // how many are parked, how many there are
GS_STATIC char* stacks;
GS_STATIC unsigned own_walls, *walled;
GS_STATIC uint64_t shown[MOST / 32][32];  // what the lanes of a warp put
GS_STATIC unsigned votes, voted;          // of the next and of the last barrier
GS_STATIC char *dynamic, *arena;          // dynamic shared memory: its end touches an unreadable page
GS_STATIC sigjmp_buf escape;
GS_STATIC bool inside;
GS_STATIC void (*body)(void**);
GS_STATIC void** arguments;
GS_OURS static char problem[400];

#ifdef __x86_64__
extern "C" __attribute__((visibility("hidden"))) void gs_switch(void** from, void* to);
asm(R"(
    .text
    .globl gs_switch
    .hidden gs_switch
    .type gs_switch, @function
gs_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
    .size gs_switch, .-gs_switch
)");
static void* prepare(char* stack, void (*entry)()) {
    // Equal offsets would compete for the same lines of the cache: four times as slow.
    uint64_t* top = (uint64_t*)(stack + STACK - made % 32 * 320);
    memset(top - 8, 0, 8 * sizeof *top);  // six registers, where to return to, and what aligns the stack
    top[-2] = (uint64_t)entry;
    return top - 8;
}
#else
static void gs_switch(void** from, void* to) {
    ucontext_t here;
    *from = &here;
    swapcontext(&here, (ucontext_t*)to);
}
static void* prepare(char* stack, void (*entry)()) {
    ucontext_t* c = (ucontext_t*)(stack + STACK - 4096);
    getcontext(c);
    c->uc_stack.ss_sp = stack;
    c->uc_stack.ss_size = STACK - 4096;
    c->uc_link = nullptr;
    makecontext(c, entry, 0);
    return c;
}
#endif

static unsigned in_order(unsigned i, unsigned n) { return reverse ? n - 1 - i : i; }
static unsigned lanes(unsigned warp) { return count - warp * 32 < 32 ? count - warp * 32 : 32; }

[[noreturn]] static void fail(const char* what) {
    snprintf(problem, sizeof problem, "block (%u, %u, %u), thread (%u, %u, %u): %s", block_index.x, block_index.y,
             block_index.z, cur->index.x, cur->index.y, cur->index.z, what);
    siglongjmp(escape, 1);
}

// Wait until the scheduler wakes this thread: its registers are saved here, so this is never inlined.
static __attribute__((noinline)) void wait(State state) {
    cur->state = state;
    gs_switch(&cur->stack, scheduler);
}

static Thread* next_new(unsigned warp) {
    for (unsigned i = 0, n = lanes(warp); i < n; ++i) {
        Thread* t = &thread[warp * 32 + in_order(i, n)];
        if (t->state == NEW) return t;
    }
    return nullptr;
}

static void entry() {
    for (;;) {
        for (Thread* t = cur; t; t = next_new(t->warp)) {
            cur = t;
            t->state = READY;
            body(arguments);
            t = cur;
            t->state = DONE;
        }
        gs_switch(&parked[idle++], scheduler);
    }
}

static void resume(Thread* t) {
    cur = t;
    if (t->state == READY) return gs_switch(&scheduler, t->stack);
    if (!idle) {
        char* stack = stacks + made++ * STACK;
        if (made > *walled) {
            mprotect(stack, 4096, PROT_NONE);  // a deep stack faults here, before it reaches its neighbour
            *walled = made;
        }
        parked[idle++] = prepare(stack, entry);
    }
    gs_switch(&scheduler, parked[--idle]);
}

// Wake every group of lanes that is complete: all of its mask that still run have come.
static bool meet(unsigned warp) {
    Thread* first = &thread[warp * 32];
    const unsigned n = lanes(warp);
    bool woken = false;
    for (unsigned l = 0; l < 32; ++l) shown[warp][l] = POISON;
    for (unsigned l = 0; l < n; ++l) {
        if (first[l].state != AT_WARP) continue;
        const unsigned mask = first[l].mask;
        unsigned running = 0, come = 0;
        for (unsigned k = 0; k < n; ++k) {
            running |= (first[k].state != DONE) << k;
            come |= (first[k].state == AT_WARP && first[k].mask == mask) << k;
        }
        if ((come & mask) != (running & mask)) continue;
        woken = true;
        for (unsigned k = 0; k < n; ++k)
            if (come >> k & 1) {
                first[k].state = READY;
                first[k].met = come;
                shown[warp][k] = first[k].put;
            }
    }
    return woken;
}

static void run_warp(unsigned warp) {
    const unsigned n = lanes(warp);
    bool waiting;
    do {
        waiting = false;
        for (unsigned i = 0; i < n; ++i) {
            Thread* t = &thread[warp * 32 + in_order(i, n)];
            if (t->state <= READY) resume(t);
        }
        for (unsigned i = 0; i < n; ++i) waiting |= thread[warp * 32 + i].state == AT_WARP;
    } while (waiting && meet(warp));
}

// All that still run stand at one __syncthreads: let them go on. False: none runs any more.
static bool open_barrier() {
    Thread* here = nullptr;
    for (unsigned i = 0; i < count; ++i) {
        Thread* t = cur = &thread[i];
        if (t->state == DONE) continue;
        if (t->state == AT_WARP) fail("divergent barrier: it waits for lanes of its warp that never come");
        if (here && (t->line != here->line || (t->file != here->file && strcmp(t->file, here->file)))) {
            char text[200];
            snprintf(text, sizeof text, "divergent barrier: it waits at %s:%d, thread (%u, %u, %u) at %s:%d", t->file,
                     t->line, here->index.x, here->index.y, here->index.z, here->file, here->line);
            fail(text);
        }
        if (!here) here = t;
        t->state = READY;
    }
    voted = votes;
    votes = 0;
    return here;
}

// What a block finds in shared memory: were it the last block's, a missing barrier could go unseen.
static uint64_t in_bss;  // if nothing were, it would have no address
static void poison(char* from, char* to) {
    for (; from + 8 <= to; from += 8) memcpy(from, &POISON, 8);
}

static void run_block(const Launch* l, uint64_t b) {
    if (reverse) b = (uint64_t)grid_size.x * grid_size.y * grid_size.z - 1 - b;
    block_index = {unsigned(b % grid_size.x), unsigned(b / grid_size.x % grid_size.y),
                   unsigned(b / ((uint64_t)grid_size.x * grid_size.y))};
    for (unsigned i = 0; i < count; ++i) thread[i].state = NEW;
    poison(dynamic, dynamic + l->shared);
#ifndef GPUSEG_HOST_THREADS
    asm volatile("" ::"r"(&in_bss));
    poison(__bss_start, _end);
#endif
    votes = 0;
    const unsigned warps = (count + 31) / 32;
    do
        for (unsigned i = 0; i < warps; ++i) run_warp(in_order(i, warps));
    while (open_barrier());
}

static void get_ready(const Launch* l) {
    grid_size = {l->grid[0], l->grid[1], l->grid[2]};
    block_size = {l->block[0], l->block[1], l->block[2]};
    count = block_size.x * block_size.y * block_size.z;
    reverse = l->reverse;
    for (unsigned i = 0; i < count; ++i) {
        thread[i].index = {i % block_size.x, i / block_size.x % block_size.y, i / (block_size.x * block_size.y)};
        thread[i].lane = i % 32;
        thread[i].warp = i / 32;
    }
    const int prot = PROT_READ | PROT_WRITE, flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
#ifdef GPUSEG_HOST_THREADS
    stacks = (char*)mmap(nullptr, MOST * STACK, prot, flags, -1, 0);
    walled = &own_walls;
    own_walls = 0;
#else
    stacks = l->stacks;
    walled = l->walled;
#endif
    idle = made = 0;
    if (!arena) {
        arena = (char*)mmap(nullptr, (1 << 18) + PAGE, prot, flags, -1, 0);
        mprotect(arena + (1 << 18), PAGE, PROT_NONE);
    }
    dynamic = arena + (1 << 18) - (l->shared + 15) / 16 * 16;
}

GS_OURS static struct sigaction before[3];
static const int SIGNALS[3] = {SIGSEGV, SIGBUS, SIGILL};  // the last: an index outside a shared or local array
static void on_signal(int signal, siginfo_t*, void*) {
    if (inside) fail(signal == SIGILL ? "index outside a shared or local array" : "reads or writes outside an array");
    for (int i = 0; i < 3; ++i) sigaction(SIGNALS[i], &before[i], nullptr);  // not ours: fault again, for others
}

struct Work {
    const Launch* launch;
    uint64_t next, blocks;
    bool failed;
    void (*body)(void**);
    void** arguments;
};
static void* work(void* p) {
    Work* w = (Work*)p;
    static const size_t SIGNAL_STACK = 64 << 10;
    void* room = mmap(nullptr, SIGNAL_STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    stack_t ours = {}, theirs;
    ours.ss_sp = room;
    ours.ss_size = SIGNAL_STACK;
    sigaltstack(&ours, &theirs);
    get_ready(w->launch);
    body = w->body;
    arguments = w->arguments;
#ifdef __x86_64__
    const unsigned csr = _mm_getcsr();
    if (w->launch->flush) _mm_setcsr(csr | 0x8040);  // subnormal numbers are zero, as with -ftz=true
#endif
    if (!sigsetjmp(escape, 1)) {
        inside = true;
        for (uint64_t b; !w->failed && (b = __atomic_fetch_add(&w->next, 1, __ATOMIC_RELAXED)) < w->blocks;)
            run_block(w->launch, b);
    } else {
        w->failed = true;
        idle = made = 0;  // stacks of threads that never ended start afresh
    }
    inside = false;
#ifdef __x86_64__
    _mm_setcsr(csr);
#endif
    sigaltstack(&theirs, nullptr);
    munmap(room, SIGNAL_STACK);
#ifdef GPUSEG_HOST_THREADS
    munmap(stacks, MOST * STACK);  // this CPU thread ends with the launch
    munmap(arena, (1 << 18) + PAGE);
#endif
    return nullptr;
}

static const char* launch(void (*run)(void**), const Launch* l, void** args) {
    GS_OURS static pthread_mutex_t one_at_a_time = PTHREAD_MUTEX_INITIALIZER;
    pthread_mutex_lock(&one_at_a_time);
    Work w = {l, 0, (uint64_t)l->grid[0] * l->grid[1] * l->grid[2], false, run, args};
    struct sigaction ours = {};
    ours.sa_sigaction = on_signal;
    ours.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
    for (int i = 0; i < 3; ++i) sigaction(SIGNALS[i], &ours, &before[i]);
#ifdef GPUSEG_HOST_THREADS
    pthread_t workers[64];
    const int n = l->threads < 64 ? l->threads : 64;
    for (int i = 0; i < n; ++i) pthread_create(&workers[i], nullptr, work, &w);
    for (int i = 0; i < n; ++i) pthread_join(workers[i], nullptr);
#else
    work(&w);
#endif
    for (int i = 0; i < 3; ++i) sigaction(SIGNALS[i], &before[i], nullptr);
    pthread_mutex_unlock(&one_at_a_time);
    return w.failed ? problem : nullptr;
}

// Every warp primitive is this: each lane shows 8 bytes, all of the mask meet, each reads the others'.
template <typename T>
static const uint64_t* exchange(unsigned mask, T value) {
    static_assert(sizeof(T) <= 8);
    if (!(mask >> cur->lane & 1)) fail("calls a warp primitive with a mask that lacks its own lane");
    cur->put = 0;
    memcpy(&cur->put, &value, sizeof value);
    cur->mask = mask;
    wait(AT_WARP);
    return shown[cur->warp];
}
static void barrier(const char* file, int line) {
    cur->file = file;
    cur->line = line;
    wait(AT_BLOCK);
}

// A kernel's parameters in words: "f4* i4 i8" is (float*, int, long long); ? is a structure.
template <typename T>
struct Kind {
    static constexpr char letter = '?';
};
#define GS_KIND(T, c)                    \
    template <>                          \
    struct Kind<T> {                     \
        static constexpr char letter = c; \
    };
GS_KIND(bool, 'u') GS_KIND(char, 'i') GS_KIND(signed char, 'i') GS_KIND(short, 'i') GS_KIND(int, 'i') GS_KIND(long, 'i')
GS_KIND(long long, 'i') GS_KIND(unsigned char, 'u') GS_KIND(unsigned short, 'u') GS_KIND(unsigned, 'u')
GS_KIND(unsigned long, 'u') GS_KIND(unsigned long long, 'u') GS_KIND(float, 'f') GS_KIND(double, 'f')
template <typename T>
struct Word : Kind<T> {
    static constexpr int size = sizeof(T);
    static constexpr const char* star = "";
};
template <typename T>
struct Word<T*> : Kind<T> {
    static constexpr int size = sizeof(T);
    static constexpr const char* star = "*";
};
template <typename T>
struct Word<const T*> : Word<T*> {};

template <size_t... I>
struct Indices {};
template <size_t N, size_t... I>
struct Upto : Upto<N - 1, N - 1, I...> {};
template <size_t... I>
struct Upto<0, I...> {
    typedef Indices<I...> type;
};
template <typename... P>
struct Parameters {
    template <void (*kernel)(P...), size_t... I>
    static void call(void** a, Indices<I...>) {
        kernel(*(P*)a[I]...);
    }
    template <void (*kernel)(P...)>
    static void run(void** a) {
        call<kernel>(a, typename Upto<sizeof...(P)>::type());
    }
    // Into the caller's own text: what is static here is filled by launches of other threads.
    static void describe(char* text) {
        ((text += sprintf(text, "%c%d%s ", Word<P>::letter, Word<P>::size, Word<P>::star)), ...);
    }
};
template <typename... P>
static Parameters<P...> parameters(void (*)(P...)) {
    return {};
}

}  // namespace gs

#define GPUSEG_EXPORT(i, ...)                                                                        \
    extern "C" void gs_describe_##i(char* text) { decltype(gs::parameters(__VA_ARGS__))::describe(text); } \
    extern "C" const char* gs_launch_##i(const gs::Launch* l, void** a) {                            \
        return gs::launch(decltype(gs::parameters(__VA_ARGS__))::template run<__VA_ARGS__>, l, a);   \
    }
