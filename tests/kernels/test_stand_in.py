"""What stands in for CuPy behaves as CuPy 14 does where our code could tell the difference."""

import gc
import sys
import threading

import numpy as np
import pytest
from hostcuda import cupy
from numpy.testing import assert_array_equal

from gpuseg.backends import _kernels
from gpuseg.errors import KernelError


def test_imports_find_the_stand_in(host_cuda):
    import cupy as found
    import cupyx
    from cupy.cuda.memory import OutOfMemoryError
    from cupy.cuda.runtime import CUDARuntimeError

    assert found is host_cuda
    assert found.is_available()
    assert found.__version__ == "14.2.0"
    assert issubclass(OutOfMemoryError, MemoryError)
    assert issubclass(CUDARuntimeError, RuntimeError)
    assert type(cupyx.empty_pinned((2, 3), np.uint8)) is np.ndarray


def test_the_stand_in_is_gone_after_the_test(monkeypatch):
    before = {n for n in sys.modules if n.startswith("cupy")}
    with monkeypatch.context() as patch:
        assert cupy.install(patch) is sys.modules["cupy"]
    assert {n for n in sys.modules if n.startswith("cupy")} == before


@pytest.mark.parametrize(
    "mixed",
    [
        lambda cp, a: np.asarray(a),
        lambda cp, a: np.array(a),
        lambda cp, a: a + np.ones(3, np.float32),
        lambda cp, a: np.ones(3, np.float32) + a,
        lambda cp, a: cp.sqrt(np.ones(3, np.float32)),
        lambda cp, a: cp.stack([a, np.ones(3, np.float32)]),
        lambda cp, a: a.__setitem__(slice(None), np.ones(3, np.float32)),
        lambda cp, a: a.get(out=cp.empty(3, np.float32)),
    ],
)
def test_arrays_of_numpy_and_of_the_device_never_meet_unasked(host_cuda, mixed):
    with pytest.raises(TypeError):
        mixed(host_cuda, host_cuda.ones(3, np.float32))


def test_what_comes_of_device_arrays_is_a_device_array(host_cuda):
    cp, a = host_cuda, host_cuda.arange(6, dtype=np.float32).reshape(2, 3)
    answers = [
        *(
            a[0],
            a[:, 1],
            a[0, 0],
            a.T,
            a + 1,
            2 * a,
            -a,
            a > 1,
            a.sum(),
            a.max(axis=0),
            a.astype(np.uint8),
            a.ravel(),
        ),
        *(cp.sqrt(a), cp.stack([a, a]), cp.concatenate((a, a)), np.sqrt(a), np.concatenate([a, a]), a.copy()),
        *(
            cp.ascontiguousarray(a.T),
            cp.empty_like(a),
            cp.zeros(2),
            cp.array(a),
            cp.moveaxis(a, 0, 1),
            *list(a),
        ),
        *(cp.float32(1) * a, cp.where(a > 1, a, 0), a.view(np.int32), cp.asarray(np.ones(2)), a[a > 2]),
    ]
    assert {type(x) for x in answers} == {cp.ndarray}


def test_values_are_those_of_numpy(host_cuda):
    cp, a = host_cuda, np.arange(6, dtype=np.float32).reshape(2, 3)
    d = cp.asarray(a)
    d[1] += 1
    d[0, 0], d[:, 2] = 9, d[:, 1]
    a[1] += 1
    a[0, 0], a[:, 2] = 9, a[:, 1]
    out = np.empty((2, 3), np.float32)
    assert d.get(out=out) is out
    assert_array_equal(out, a)
    assert_array_equal(cp.asnumpy(cp.sqrt(d)), np.sqrt(a))
    assert float(d.sum()) == a.sum()
    assert (d.shape, d.dtype, d.ndim, d.size, d.nbytes, len(d)) == ((2, 3), np.float32, 2, 6, 24, 2)
    d.set(a * 2)
    assert_array_equal(d.get(), a * 2)


def test_asarray_copies_from_the_host_and_not_on_the_device(host_cuda):
    a = np.zeros(3, np.float32)
    d = host_cuda.asarray(a)
    a[:] = 1
    assert not d.get().any()
    assert host_cuda.asarray(d) is d
    assert host_cuda.asarray(d, np.float64).dtype == np.float64
    assert host_cuda.array(d) is not d
    assert host_cuda.ascontiguousarray(d) is d


def test_new_memory_holds_nothing_to_rely_on(host_cuda):
    assert np.isnan(host_cuda.empty(5, np.float32).get()).all()
    assert host_cuda.empty(5, np.int32).get().all()


@pytest.mark.parametrize("name", ["random", "linalg", "block", "geomspace", "no_such_thing"])
def test_what_cupy_lacks_or_we_must_not_use_is_absent(host_cuda, name):
    assert not hasattr(host_cuda, name)


def test_memory_is_counted_and_given_back(host_cuda):
    pool = host_cuda.get_default_memory_pool()
    a = host_cuda.empty((1000, 4), np.float32)
    part = a[10:20]
    assert pool.used_bytes() == host_cuda.held_bytes == 16000
    free, total = host_cuda.cuda.Device().mem_info
    assert total - free == 16000
    del a
    gc.collect()
    assert host_cuda.held_bytes == 16000, "a view keeps its array"
    del part
    gc.collect()
    assert host_cuda.held_bytes == 0
    assert host_cuda.peak_bytes == 16000


def limit_each(cp):
    cp.limit_bytes = 4000


def limit_pool(cp):
    cp.get_default_memory_pool().set_limit(size=4000)


def limit_device(cp):
    cp.total_bytes = 4000


def limit_by_rule(cp):
    cp.failing = lambda size: size > 4000


@pytest.mark.parametrize("limit", [limit_each, limit_pool, limit_device, limit_by_rule])
@pytest.mark.parametrize(
    "make", [lambda cp, n: cp.empty(n, np.uint8), lambda cp, n: cp.asarray(np.ones(n, np.uint8))]
)
def test_memory_runs_out_where_it_is_told_to(host_cuda, limit, make):
    limit(host_cuda)
    with pytest.raises(host_cuda.cuda.memory.OutOfMemoryError, match="Out of memory allocating 4,001 bytes"):
        make(host_cuda, 4001)
    assert host_cuda.held_bytes == 0
    assert make(host_cuda, 4000).size == 4000


def test_results_of_arithmetic_run_out_of_memory_too(host_cuda):
    a = host_cuda.zeros(1000, np.float32)
    host_cuda.limit_bytes = 4000
    with pytest.raises(host_cuda.cuda.memory.OutOfMemoryError):
        a.astype(np.float64)


def test_devices_are_as_many_as_told_and_each_thread_uses_its_own(host_cuda):
    cuda, seen = host_cuda.cuda, []
    host_cuda.devices = 2
    assert cuda.runtime.getDeviceCount() == 2
    with cuda.Device(1):
        assert cuda.Device().id == cuda.runtime.getDevice() == 1
        assert host_cuda.zeros(1).device == cuda.Device(1)
        thread = threading.Thread(target=lambda: seen.append(cuda.Device().id))
        thread.start()
        thread.join()
    assert seen == [0]
    assert cuda.Device().id == 0
    assert cuda.Device(1).compute_capability == "90"
    assert cuda.Device(1).attributes["MaxSharedMemoryPerBlockOptin"] == 232448
    assert cuda.runtime.getDeviceProperties(1)["name"] == b"Host shim"
    with pytest.raises(cuda.runtime.CUDARuntimeError, match="cudaErrorInvalidDevice: invalid device ordinal"):
        cuda.Device(2).use()


def test_a_machine_without_devices_says_so_as_cuda_does(host_cuda):
    host_cuda.devices = 0
    assert not host_cuda.is_available()
    for use in (
        host_cuda.cuda.runtime.getDeviceCount,
        lambda: host_cuda.zeros(3),
        host_cuda.cuda.Device(0).use,
    ):
        with pytest.raises(host_cuda.cuda.runtime.CUDARuntimeError, match="cudaErrorNoDevice"):
            use()


def test_a_kernel_refuses_an_array_of_another_device(host_cuda):
    host_cuda.devices = 2
    a = host_cuda.zeros(4, np.float32)
    k = host_cuda.RawModule(
        "__global__ void k(float* a) { a[0] = 1; }", name_expressions=("k",)
    ).get_function("k")
    with (
        host_cuda.cuda.Device(1),
        pytest.raises(RuntimeError, match="argument 0 is on device 0, the launch on 1"),
    ):
        k((1,), (1,), (a,))


def test_streams_and_events_pass_for_real_ones(host_cuda):
    cuda = host_cuda.cuda
    start, end = cuda.Event(), cuda.Event()
    with cuda.Stream(non_blocking=True) as stream:
        assert cuda.get_current_stream() is stream
        start.record()
        end.record(stream)
        stream.wait_event(start)
    assert cuda.get_current_stream() is cuda.Stream.null
    stream.synchronize()
    end.synchronize()
    assert cuda.get_elapsed_time(start, end) >= 0


@pytest.mark.parametrize("shape", [(), (3, 4)])
def test_a_copy_that_is_not_waited_for_has_not_arrived(host_cuda, shape):
    a, out = host_cuda.ones(shape, np.float32), np.zeros(shape, np.float32)
    with host_cuda.cuda.Stream() as stream:
        a.get(out=out, blocking=False)
        a[...] = 2
        assert (out != 1).all()
        assert not stream.done
        stream.synchronize()
    assert (out == 1).all()
    assert stream.done


def test_what_was_turned_is_turned_back(host_cuda):
    host_cuda.devices, host_cuda.limit_bytes = 3, 5
    host_cuda.reset()
    assert (host_cuda.devices, host_cuda.limit_bytes, host_cuda.held_bytes) == (1, 0, 0)


def test_our_launcher_works_on_it_and_names_what_does_not_compile(host_cuda, monkeypatch):
    text = "__global__ void fill(float* a, int n) { if (threadIdx.x < n) a[threadIdx.x] = 3; }"
    monkeypatch.setattr(_kernels, "FILES", {"fill": "fill", "gone": "fill"})
    monkeypatch.setattr(_kernels, "source", lambda file: text)
    kernels, a = _kernels.Kernels(host_cuda), host_cuda.zeros(8, np.float32)
    kernels.launch("fill", (1,), (32,), (a, np.int32(5)))
    assert_array_equal(a.get(), [3] * 5 + [0] * 3)
    with pytest.raises(KernelError, match=r"fill\.cu: gone does not compile or load"):
        kernels.launch("gone", (1,), (32,), (a, np.int32(5)))
