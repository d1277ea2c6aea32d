"""The CPU runs kernels as a GPU would, and finds what a GPU would punish or silently get wrong."""

import os
import platform
import subprocess
import sys

import numpy as np
import pytest
from hostcuda import KernelFault, build, running
from numpy.testing import assert_array_equal

REVERSED_ROW = """
__global__ void k(const float* in, float* out) {
    __shared__ float row[64];
    row[threadIdx.x] = in[threadIdx.x];
    BARRIER
    out[threadIdx.x] = row[63 - threadIdx.x];
}"""


@pytest.fixture
def kernel(host_cuda):
    """Compile the kernel `k` of a text."""

    def compiled(body, name="k"):
        return host_cuda.RawModule(body, name_expressions=(name,)).get_function(name)

    return compiled


def one(body, parameters="float* a"):
    """A kernel of one statement or a few."""
    return f"__global__ void k({parameters}) {{ const int t = threadIdx.x; {body} }}"


def test_threads_of_a_block_meet_at_barriers(host_cuda, kernel):
    row, out = host_cuda.arange(64, dtype=np.float32), host_cuda.zeros(64, np.float32)
    for reverse in (False, True):
        with running(reverse=reverse):
            kernel(REVERSED_ROW.replace("BARRIER", "__syncthreads();"))((1,), (64,), (row, out))
        assert_array_equal(out.get(), np.arange(64)[::-1])


def test_a_missing_barrier_shows_as_a_result_that_depends_on_the_order(host_cuda, kernel):
    row, found = host_cuda.arange(64, dtype=np.float32), []
    for reverse in (False, False, True):
        out = host_cuda.zeros(64, np.float32)
        with running(reverse=reverse):
            kernel(REVERSED_ROW.replace("BARRIER", ""))((1,), (64,), (row, out))
        found.append(out.get())
    assert_array_equal(found[0], found[1])  # nothing is left of the launch before
    assert_array_equal(np.isnan(found[0]), np.arange(64) < 32)
    assert_array_equal(np.isnan(found[2]), np.arange(64) >= 32)


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        (
            "if (t < 7) __syncthreads();\n __syncthreads();",
            r"thread \(7, 0, 0\): divergent.*at kernel:2.*kernel:1",
        ),
        ("if (t < 7) __syncwarp(); else __syncthreads();", "lanes of its warp that never come"),
        ("if (t < 7) __shfl_sync(0xffffffff, t, 0);\n else __syncthreads();", "lanes of its warp that never"),
        ("__syncwarp(1u << (t + 1) % 32);", "mask that lacks its own lane"),
        ("if (t == 9) __trap();", r"block \(1, 0, 0\), thread \(9, 0, 0\): __trap"),
    ],
)
def test_a_divergent_barrier_is_named_and_the_next_launch_works(host_cuda, kernel, body, complaint):
    a = host_cuda.zeros(64, np.float32)
    with running(reverse=True), pytest.raises(KernelFault, match=complaint):
        kernel(one(body))((2,), (64,), (a,))
    kernel(one("a[t] = 1;"))((1,), (64,), (a,))
    assert a.get().all()


def test_faults_leave_nothing_behind(host_cuda, kernel):
    a, k = host_cuda.zeros(64, np.float32), kernel(one("if (t == 63) __trap(); __syncthreads();"))
    for _ in range(40):  # 64 threads each that never end; a library has room for 1024
        with pytest.raises(KernelFault):
            k((1,), (64,), (a,))


@pytest.mark.parametrize(
    ("guard", "index", "shared"),
    [
        ("after", "a[63 + n]", 0),
        ("before", "a[-n]", 0),
        ("after", "s[63 + n]", 0),
        ("", "d[4095 + n]", 16384),
    ],
    ids=["past the end", "before the start", "of a shared array", "of dynamic shared memory"],
)
def test_an_index_outside_an_array_faults(host_cuda, kernel, guard, index, shared):
    a = host_cuda.zeros(64, np.float32)
    text = f"__shared__ float s[64]; GPUSEG_DYN_SHARED(float, d); s[t] = d ? 1 : 0; a[t] = {index};"
    run = kernel(one(text, "float* a, int n"))
    with running(guard=guard):
        run((1,), (1,), (a, np.int32(0)), shared_mem=shared)
        with pytest.raises(KernelFault, match="outside a"):
            run((1,), (1,), (a, np.int32(1)), shared_mem=shared)


def test_guarded_arrays_come_back_though_one_is_a_view_of_the_other(host_cuda, kernel):
    a = host_cuda.zeros((2, 8), np.float32)
    with running(guard="after"):
        kernel(one("b[t] = a[t] + 1;", "float* b, const float* a"))((1,), (8,), (a[1], a))
    assert_array_equal(a.get(), [[0] * 8, [1] * 8])


@pytest.mark.parametrize(
    ("arguments", "kind", "complaint"),
    [
        (lambda cp: (np.zeros(4, np.float32), np.int32(1)), TypeError, "NumPy array"),
        (lambda cp: (cp.zeros(4, np.float64), np.int32(1)), KernelFault, r"argument 0.*float64.*f4\*"),
        (lambda cp: (cp.zeros(4, np.int32), np.int32(1)), KernelFault, r"argument 0.*int32.*f4\*"),
        (lambda cp: (cp.zeros((4, 2), np.float32)[:, 0], np.int32(1)), KernelFault, "not contiguous"),
        (lambda cp: (cp.zeros(4, np.float32), np.int64(1)), KernelFault, "argument 1 is int64.*takes i4"),
        (
            lambda cp: (cp.zeros(4, np.float32), 1),
            KernelFault,
            "argument 1 is int64",
        ),  # as CuPy passes an int
        (lambda cp: (cp.zeros(4, np.float32), 1.0), KernelFault, "argument 1 is float64"),
        (lambda cp: (cp.zeros(4, np.float32), np.float32(1)), KernelFault, "argument 1 is float32"),
        (lambda cp: (cp.zeros(4, np.float32), None), TypeError, "Unsupported type"),
        (lambda cp: (cp.zeros(4, np.float32),), KernelFault, "takes 2 arguments.*not 1"),
    ],
)
def test_arguments_that_a_kernel_does_not_take_are_refused(host_cuda, kernel, arguments, kind, complaint):
    with pytest.raises(kind, match=complaint):
        kernel(one("a[t] = n;", "float* a, int n"))((1,), (4,), arguments(host_cuda))


@pytest.mark.parametrize(
    ("grid", "block", "shared"),
    [
        ((0,), (32,), 0),
        ((1, 65536), (32,), 0),
        ((1,), (1025,), 0),
        ((1,), (32, 32, 2), 0),
        ((1,), (1,), 49153),
    ],
)
def test_a_launch_that_cuda_refuses_is_refused(host_cuda, kernel, grid, block, shared):
    with pytest.raises(host_cuda.cuda.driver.CUDADriverError, match="CUDA_ERROR_INVALID_VALUE"):
        kernel(one(""))(grid, block, (host_cuda.zeros(1, np.float32),), shared_mem=shared)


def test_more_shared_memory_is_there_for_those_who_ask_up_to_what_a_device_has(host_cuda, kernel):
    a, k = host_cuda.zeros(1, np.float32), kernel(one("GPUSEG_DYN_SHARED(float, d); a[0] = d[58111];"))
    k.max_dynamic_shared_size_bytes = 232448
    k((1,), (1,), (a,), shared_mem=232448)
    assert np.isnan(a.get()).all(), "shared memory starts with nothing that could be used"
    with pytest.raises(host_cuda.cuda.driver.CUDADriverError, match="232449 bytes"):
        k.max_dynamic_shared_size_bytes = 232449


WARP = {
    "__shfl_sync(~0u, t, 5)": lambda t: t // 32 * 32 + 5,
    "__shfl_sync(~0u, t, t + 1, 8)": lambda t: t // 8 * 8 + (t + 1) % 8,
    "__shfl_xor_sync(~0u, t, 3)": lambda t: t ^ 3,
    "__shfl_up_sync(~0u, t, 2)": lambda t: np.where(t % 32 < 2, t, t - 2),
    "__shfl_up_sync(~0u, t, 2, 8)": lambda t: np.where(t % 8 < 2, t, t - 2),
    "__shfl_down_sync(~0u, t, 2, 16)": lambda t: np.where(t % 16 > 13, t, t + 2),
    "__popc(__ballot_sync(~0u, t % 3 == 0))": lambda t: np.where(t < 32, 11, 11),
    "__any_sync(~0u, t == 40)": lambda t: t // 32,
    "__all_sync(~0u, t < 40)": lambda t: 1 - t // 32,
    "__popc(__match_any_sync(~0u, t / 8))": lambda t: t * 0 + 8,
    "__reduce_add_sync(~0u, t)": lambda t: np.where(t < 32, 496, 1520),
    "__reduce_max_sync(~0u, t)": lambda t: t // 32 * 32 + 31,
    "__syncthreads_count(t % 5 == 0)": lambda t: t * 0 + 13,
    "__syncthreads_or(t == 63) + 2 * __syncthreads_and(t < 63)": lambda t: t * 0 + 1,
    "t < 16 ? __shfl_xor_sync(0xffff, t, 1) : -1": lambda t: np.where(t < 16, t ^ 1, -1),
}


@pytest.mark.parametrize("reverse", [False, True])
def test_lanes_exchange_what_cuda_says(host_cuda, kernel, reverse):
    a = host_cuda.zeros((len(WARP), 64), np.int32)
    body = "".join(f"a[{64 * i} + t] = {expression};\n" for i, expression in enumerate(WARP))
    with running(reverse=reverse):
        kernel(one(body, "int* a"))((1,), (64,), (a,))
    for row, (expression, expected) in zip(a.get(), WARP.items(), strict=True):
        assert_array_equal(row, expected(np.arange(64)), err_msg=expression)


def test_threads_that_have_ended_hold_nobody_up(host_cuda, kernel):
    a = host_cuda.zeros(96, np.int32)
    body = "if (t % 2 || t >= 64) return; a[t] = __shfl_xor_sync(~0u, t, 2); __syncthreads(); a[t] += 1000;"
    kernel(one(body, "int* a"))((1,), (96,), (a,))
    assert_array_equal(a.get()[:64:2], (np.arange(0, 64, 2) ^ 2) + 1000)


@pytest.mark.parametrize("threads", [1, 2])
def test_atomics_of_all_blocks_add_up(host_cuda, kernel, threads):
    body = """
    __shared__ unsigned here;
    if (t == 0) here = 0;
    __syncthreads();
    atomicAdd(&here, 1u);
    __syncthreads();
    if (t == 0) { atomicAdd(&n[0], here); atomicMax(&n[1], blockIdx.x); atomicAdd(f, 0.5); }
    atomicCAS(&n[2], 0u, 7u);"""
    n, f = host_cuda.zeros(3, np.uint32), host_cuda.zeros(1, np.float64)
    with running(threads=threads):
        kernel(one(body, "unsigned* n, double* f"))((200,), (64,), (n, f))
    assert_array_equal(n.get(), [200 * 64, 199, 7])
    assert f.get() == [100]


NUMBERS = {
    "x * x - 1.f": 2.0**-11,  # not fused: x * x was rounded; fused, it is 2^-11 + 2^-24
    "fmaf(x, x, -1.f)": 2.0**-11 + 2.0**-24,
    "sqrt(2.f) == sqrtf(2.f)": 1,
    "sizeof(sqrt(2.f))": 4,
    "sizeof(fma(1., 2., 3.))": 8,
    "max(1, 2.5f) + min(3u, 2u) + max(-1, (long long)-3)": 3.5,
    'max(0.f, nanf(""))': 0,
    "__float2int_rn(2.5f) + 10 * __float2int_rz(-1.7f) + 100 * __float2int_ru(0.1f)": 92,
    "__float2int_rn(x * 3e9f) == 2147483647": 1,
    '__float2uint_rz(-1.f) + __float2int_rn(nanf(""))': 0,
    "__umulhi(1u << 31, 6u) + __mulhi(-1, 1)": 2,
    "__brev(1u) >> 31": 1,
    "__clz(1) + __ffs(8) + __popcll(255ull)": 43,
    "__byte_perm(0x03020100u, 0x07060504u, 0x7531u) == 0x07050301u": 1,
    "__float_as_int(1.f) == 0x3f800000": 1,
    "make_float4(1, 2, 3, 4).w + make_int2(5, 6).y": 10,
    "sizeof(float4) + alignof(float4) + sizeof(uint3) + alignof(uchar4)": 48,
    "__ldg(a) + __ldcs(a + 1) < 1": 1,
}


def test_arithmetic_is_that_of_cuda(host_cuda, kernel):
    a, x = host_cuda.zeros(len(NUMBERS), np.float64), np.float32(1 + 2.0**-12)
    body = "".join(f"a[{i}] = {expression};\n" for i, expression in enumerate(NUMBERS))
    kernel(one(body, "double* a, float x"))((1,), (1,), (a, x))
    assert dict(zip(NUMBERS, a.get().tolist(), strict=True)) == NUMBERS


@pytest.mark.skipif(platform.machine() != "x86_64", reason="only there the shim knows the switch")
def test_subnormal_numbers_vanish_where_cupy_makes_them_vanish(host_cuda, kernel):
    a = host_cuda.zeros(2, np.float32)
    tiny = np.float32(1e-39)
    k = kernel(one("a[t] = x * 2.f;", "float* a, float x"))
    with running(flush=True):
        k((1,), (1,), (a, tiny))
    k((1,), (1,), (a[1:], tiny))
    assert_array_equal(a.get(), [0, tiny * 2])


def test_a_text_that_does_not_compile_raises_what_cupy_raises(host_cuda, kernel):
    with pytest.raises(host_cuda.cuda.compiler.CompileException, match="nowhere"):
        kernel(one("a[t] = nowhere;"))


def test_kernels_are_built_once_for_each_text(tmp_path, monkeypatch):
    monkeypatch.setenv("GPUSEG_HOST_CACHE", str(tmp_path))
    first = build.library(one("a[t] = 1;"), ("k",))
    written = first.stat().st_mtime_ns
    assert build.library(one("a[t] = 1;"), ("k",)) == first
    assert build.library(one("a[t] = 2;"), ("k",)) != first
    assert first.stat().st_mtime_ns == written


def test_without_a_system_compiler_the_ziglang_package_gives_the_same_bits(host_cuda, kernel, monkeypatch):
    text = one("a[t] = sqrtf(fmaf(x, t, 0.1f)) / (x * t + 0.1f);", "float* a, float x")
    found = []
    for path in (os.environ["PATH"], ""):
        monkeypatch.setenv("PATH", path)
        build.compiler.cache_clear()
        a = host_cuda.zeros(64, np.float32)
        kernel(text)((1,), (64,), (a, np.float32(0.3)))
        found.append(a.get())
    assert "ziglang" in build.compiler()
    build.compiler.cache_clear()
    assert_array_equal(found[0], found[1])


def test_settings_come_from_the_environment():
    code = "from hostcuda.launch import settings; print(settings)"
    here = str(build.HERE.parent)
    said = {"GPUSEG_HOST_REVERSE": "1", "GPUSEG_HOST_GUARD": "1", "GPUSEG_HOST_THREADS": "3"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **said, "PYTHONPATH": here},
        capture_output=True,
        text=True,
    )
    assert "reverse=True, guard='after', threads=3, flush=False" in done.stdout
