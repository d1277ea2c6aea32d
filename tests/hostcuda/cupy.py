"""What stands in for the packages `cupy` and `cupyx` (14.2): `install` puts it where imports find it."""

import sys
from contextlib import nullcontext
from types import ModuleType
from typing import Any

import numpy as np

from hostcuda import device, errors
from hostcuda.array import ndarray, unwrap, wrap
from hostcuda.build import CompileError
from hostcuda.device import Device, Event, MemoryPool, PinnedMemoryPool, Stream, machine
from hostcuda.launch import RawKernel
from hostcuda.launch import RawModule as HostModule

VERSION = "14.2.0"
CUDA = 12090
ABSENT = """
    block bmat bytes_ char datetime64 einsum_path emath errstate frompyfunc geomspace
    histogram_bin_edges insert isnat longdouble ma matrix matvec memmap nanpercentile
    nanquantile ndenumerate nditer object_ rec recarray seterr spacing str_ strings
    timedelta64 unstack vecdot vecmat void random fft linalg
"""  # in NumPy 2, not in CuPy 14.2; the last three are, and would load large libraries


class RawModule(HostModule):
    """cupy.RawModule."""

    def get_function(self, name: str) -> RawKernel:
        """As CuPy's; a text that does not compile raises its exception."""
        try:
            return super().get_function(name)
        except CompileError as e:
            raise errors.CompileException(str(e), self.code, "", self.options) from e


class Stand(ModuleType):
    """The module `cupy`: what is not written here NumPy computes, on arrays that stay apart from its own."""

    def __init__(self) -> None:
        super().__init__("cupy")
        self.__dict__.update(__version__=VERSION, __path__=[], ndarray=ndarray, RawModule=RawModule)
        for function in (empty, zeros, empty_like, array, asarray, ascontiguousarray, asnumpy, is_available):
            self.__dict__[function.__name__] = function
        self.get_array_module = lambda *args: self if any(isinstance(a, ndarray) for a in args) else np

    def __getattr__(self, name: str) -> Any:
        if name in KNOBS:
            return getattr(machine, name)
        found = np if name.startswith("_") or name in ABSENT.split() else getattr(np, name, np)
        if isinstance(found, ModuleType):
            raise AttributeError(f"module 'cupy' has no attribute {name!r}")
        if isinstance(found, type) or not callable(found):
            return found
        return lambda *args, **kwargs: _computed(found, args, kwargs)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in KNOBS:
            setattr(machine, name, value)
        else:
            super().__setattr__(name, value)

    def reset(self) -> None:
        """Every knob as it was."""
        machine.reset()


KNOBS = {"devices", "total_bytes", "limit_bytes", "failing", "held_bytes", "peak_bytes", "allocations"}


def _computed(function: Any, args: Any, kwargs: Any) -> Any:
    out = kwargs.get("out")
    answer = function(*unwrap(args), **unwrap(kwargs))
    return wrap(answer) if out is None else out


def empty(shape: Any, dtype: Any = float, order: str = "C") -> ndarray:
    """New memory with what was in it."""
    return ndarray(shape, dtype, order=order)


def zeros(shape: Any, dtype: Any = float, order: str = "C") -> ndarray:
    """New memory, cleared."""
    made = ndarray(shape, dtype, order=order)
    made._host[...] = 0
    return made


def empty_like(
    prototype: ndarray, dtype: Any = None, order: str = "K", subok: Any = None, shape: Any = None
) -> ndarray:
    """New memory shaped as another array."""
    return empty(prototype.shape if shape is None else shape, dtype or prototype.dtype)


def array(
    obj: Any,
    dtype: Any = None,
    copy: bool | None = True,
    order: str = "K",
    subok=False,
    ndmin=0,
    *,
    blocking=False,
):
    """A copy on the device, from the host or from there."""
    host = np.array(unwrap(obj, arrays=True), dtype=dtype, order=order, ndmin=ndmin, copy=None)
    if host.dtype.kind not in "biufc":
        raise ValueError(f"Unsupported dtype {host.dtype}")
    if isinstance(obj, ndarray) and not copy and host is obj._host:
        return obj
    columns = host.flags.f_contiguous and not host.flags.c_contiguous
    made = ndarray(host.shape, host.dtype, order="F" if columns else "C")
    made._host[...] = host
    return made


def asarray(
    a: Any, dtype: Any = None, order: Any = None, *, copy: bool | None = None, blocking: bool = False
) -> ndarray:
    """The array itself if it is on the device, else a copy."""
    return array(a, dtype, copy=bool(copy), order=order or "K", blocking=blocking)


def ascontiguousarray(a: Any, dtype: Any = None) -> ndarray:
    """The array itself if it is on the device and lies row by row."""
    return array(a, dtype, copy=False, order="C")


def asnumpy(a: Any, stream: Any = None, order: str = "C", out: Any = None, *, blocking: bool = True) -> Any:
    """A copy on the host."""
    if isinstance(a, ndarray):
        return a.get(stream=stream, order=order, out=out, blocking=blocking)
    return np.asarray(a, order=order)


def is_available() -> bool:
    """Whether there is a device."""
    return machine.devices > 0


def empty_pinned(shape: Any, dtype: Any = float, order: str = "C") -> np.ndarray:
    """Memory of the host."""
    return np.full(shape, 127, np.dtype(dtype), order)


def _module(name: str, **content: Any) -> ModuleType:
    made = ModuleType(name)
    made.__dict__.update(content, __path__=[])
    return made


def _device_count() -> int:
    if not machine.devices:
        raise errors.CUDARuntimeError(100)
    return machine.devices


def _device_properties(i: int) -> dict[str, Any]:
    device.check(i)
    return {
        "name": b"Host shim",
        "major": 9,
        "minor": 0,
        "totalGlobalMem": machine.total_bytes,
        "multiProcessorCount": device.ATTRIBUTES["MultiProcessorCount"],
        "sharedMemPerBlock": device.ATTRIBUTES["MaxSharedMemoryPerBlock"],
        "sharedMemPerBlockOptin": device.ATTRIBUTES["MaxSharedMemoryPerBlockOptin"],
        "l2CacheSize": device.ATTRIBUTES["L2CacheSize"],
        "warpSize": 32,
        "maxThreadsPerBlock": 1024,
    }


def _packages() -> dict[str, ModuleType]:
    """Name -> module, `cupy` itself first."""
    pool, pinned = MemoryPool(), PinnedMemoryPool()
    runtime = _module(
        "cupy.cuda.runtime",
        CUDARuntimeError=errors.CUDARuntimeError,
        is_hip=False,
        getDeviceCount=_device_count,
        getDevice=device.current,
        setDevice=lambda i: Device(i).use(),
        getDeviceProperties=_device_properties,
        driverGetVersion=lambda: CUDA,
        runtimeGetVersion=lambda: CUDA,
        memGetInfo=lambda: Device().mem_info,
        deviceSynchronize=lambda: Device().synchronize(),
    )
    memory = _module("cupy.cuda.memory", OutOfMemoryError=errors.OutOfMemoryError, MemoryPool=MemoryPool)
    parts = {
        "runtime": runtime,
        "memory": memory,
        "driver": _module("cupy.cuda.driver", CUDADriverError=errors.CUDADriverError),
        "compiler": _module("cupy.cuda.compiler", CompileException=errors.CompileException),
        "device": _module("cupy.cuda.device", Device=Device),
        "stream": _module("cupy.cuda.stream", Stream=Stream, Event=Event),
        "pinned_memory": _module("cupy.cuda.pinned_memory", PinnedMemoryPool=PinnedMemoryPool),
    }
    cuda = _module(
        "cupy.cuda",
        **parts,
        Device=Device,
        Event=Event,
        Stream=Stream,
        MemoryPool=MemoryPool,
        PinnedMemoryPool=PinnedMemoryPool,
        get_elapsed_time=device.get_elapsed_time,
        get_current_stream=device.get_current_stream,
        get_device_id=device.current,
        is_available=is_available,
        set_allocator=lambda allocator=None: None,
        using_allocator=lambda allocator=None: nullcontext(),
        set_pinned_memory_allocator=lambda allocator=None: None,
    )
    cupy = Stand()
    cupy.cuda = cuda
    cupy.get_default_memory_pool = lambda: pool
    cupy.get_default_pinned_memory_pool = lambda: pinned
    inside = {module.__name__: module for module in parts.values()}
    return {"cupy": cupy, "cupy.cuda": cuda, **inside, "cupyx": _module("cupyx", empty_pinned=empty_pinned)}


PACKAGES = _packages()


def install(monkeypatch: Any) -> Stand:
    """Let `import cupy` find the stand-in, until the test ends."""
    for name in [n for n in sys.modules if n.split(".")[0] in ("cupy", "cupyx", "cupy_backends")]:
        monkeypatch.delitem(sys.modules, name)
    for name, module in PACKAGES.items():
        monkeypatch.setitem(sys.modules, name, module)
    return PACKAGES["cupy"]
