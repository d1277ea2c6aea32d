"""CuPy's RawModule over kernels compiled for the CPU; what CuPy or CUDA would refuse is refused here too."""

import ctypes
import mmap
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from hostcuda import build
from hostcuda.array import ndarray
from hostcuda.device import current
from hostcuda.errors import CUDADriverError

MAX_THREADS, MAX_GRID_YZ = 1024, 65535
SHARED_DEFAULT, SHARED_OPTIN = 48 << 10, 227 << 10  # bytes of a block, unasked and at most (sm_90)
SIZES = {"f4": "float", "f8": "double", "i1": "char", "i2": "short", "i4": "int", "i8": "long long"}
libc = ctypes.CDLL(None, use_errno=True)


class KernelFault(RuntimeError):
    """A kernel did what a GPU would punish, or silently get wrong."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How kernels run."""

    reverse: bool = False  # last block, warp and lane first: a changed result is a missing barrier
    guard: str = ""  # "after" or "before": what lies there is unreadable, an index outside an array faults
    threads: int = 1  # CPU threads that share the blocks
    flush: bool = False  # subnormal numbers count as 0, as CuPy compiles with -ftz=true


def _from_environment() -> Settings:
    e = os.environ
    guard = e.get("GPUSEG_HOST_GUARD", "")
    return Settings(
        reverse=e.get("GPUSEG_HOST_REVERSE", "0") not in ("", "0"),
        guard={"0": "", "1": "after"}.get(guard, guard),
        threads=int(e.get("GPUSEG_HOST_THREADS", "1")),
        flush=e.get("GPUSEG_HOST_FLUSH", "0") not in ("", "0"),
    )


settings = _from_environment()


@contextmanager
def running(**changes: Any) -> Iterator[None]:
    """Launch with other settings: `with running(reverse=True): ...`; on every Python thread."""
    global settings
    before = settings
    settings = replace(before, **changes)
    try:
        yield
    finally:
        settings = before


class Launch(ctypes.Structure):
    """As in fibers.h."""

    _fields_ = (
        *(("grid", ctypes.c_uint * 3), ("block", ctypes.c_uint * 3), ("shared", ctypes.c_uint64)),
        *(("reverse", ctypes.c_int), ("threads", ctypes.c_int), ("flush", ctypes.c_int)),
        *(("stacks", ctypes.c_void_p), ("walled", ctypes.POINTER(ctypes.c_uint))),
    )


class Stacks:
    """Memory for the stacks of one launch, lent to whatever library launches.

    Each stack ends at a page of its own that may not be touched. Were every library to keep its own, their
    number would reach what the system allows a process, and the next thing that needs memory would fail.
    """

    SIZE = 1024 * (128 << 10)
    _lock = threading.Lock()
    _idle: ClassVar[list["Stacks"]] = []

    def __init__(self) -> None:
        self._pages = mmap.mmap(-1, self.SIZE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self.address = ctypes.addressof(ctypes.c_char.from_buffer(self._pages))
        self.walled = ctypes.c_uint(0)

    @classmethod
    @contextmanager
    def lent(cls) -> Iterator["Stacks"]:
        """Some that nobody uses."""
        with cls._lock:
            stacks = cls._idle.pop() if cls._idle else cls()
        try:
            yield stacks
        finally:
            with cls._lock:
                cls._idle.append(stacks)


class Library:
    """One build of a module; the settings decide which."""

    def __init__(self, code: str, names: tuple[str, ...], extra: tuple[str, ...]) -> None:
        self._lib = ctypes.CDLL(str(build.library(code, names, extra)))
        for i in range(len(names)):
            self._function("launch", i).restype = ctypes.c_char_p

    def _function(self, what: str, i: int) -> Any:
        return getattr(self._lib, f"gs_{what}_{i}")

    def parameters(self, i: int) -> tuple[str, ...]:
        """Types of a kernel's parameters: "f4*" is a pointer to float, "i8" a long long."""
        text = ctypes.create_string_buffer(16 * 64)
        self._function("describe", i)(text)
        return tuple(text.value.decode().split())

    def launch(self, i: int, how: Launch, pointers: Any) -> str:
        """What went wrong, or nothing."""
        with Stacks.lent() as stacks:
            how.stacks, how.walled = stacks.address, ctypes.pointer(stacks.walled)
            problem = self._function("launch", i)(ctypes.byref(how), pointers)
        return (problem or b"").decode()


class RawModule:
    """Kernels of one text, called as CuPy's are."""

    def __init__(
        self,
        code: str | None = None,
        *,
        path: str | None = None,
        options: tuple[str, ...] = (),
        backend: str = "nvrtc",
        name_expressions: Sequence[str] | None = None,
    ) -> None:
        if path is not None or code is None or backend != "nvrtc":
            raise NotImplementedError("the stand-in compiles text only")
        if not isinstance(options, tuple):
            raise TypeError(
                f"Argument 'options' has incorrect type (expected tuple, got {type(options).__name__})"
            )
        self.code, self.options, self.name_expressions = code, options, name_expressions
        self._libraries: dict[tuple[Any, ...], Library] = {}

    def library(self, names: tuple[str, ...], now: Settings) -> Library:
        """The build for these settings."""
        extra = (build.BOUNDS if now.guard else ()) + (build.THREADS if now.threads > 1 else ())
        if (names, extra) not in self._libraries:
            self._libraries[names, extra] = Library(self.code, names, extra)
        return self._libraries[names, extra]

    def get_function(self, name: str) -> "RawKernel":
        """The kernel called so, compiled."""
        names = tuple(self.name_expressions or (name,))
        kernel = RawKernel(self, names, names.index(name))
        self.library(names, settings)
        return kernel


class RawKernel:
    """One kernel."""

    def __init__(self, module: RawModule, names: tuple[str, ...], index: int) -> None:
        self._module, self._names, self._index = module, names, index
        self.name = names[index]
        self._dynamic = SHARED_DEFAULT

    @property
    def max_dynamic_shared_size_bytes(self) -> int:
        """Dynamic shared memory that a launch may ask for."""
        return self._dynamic

    @max_dynamic_shared_size_bytes.setter
    def max_dynamic_shared_size_bytes(self, size: int) -> None:
        if size > SHARED_OPTIN:
            raise refused(
                "CUDA_ERROR_INVALID_VALUE", f"{size} bytes of shared memory, {SHARED_OPTIN} there are"
            )
        self._dynamic = size

    def __call__(self, grid: tuple, block: tuple, args: tuple, *, shared_mem: int = 0) -> None:
        now = settings
        how = self._shape(grid, block, shared_mem)
        how.reverse, how.threads, how.flush = now.reverse, now.threads, now.flush
        library = self._module.library(self._names, now)
        kinds = library.parameters(self._index)
        if len(args) != len(kinds):
            raise KernelFault(
                f"{self.name} takes {len(kinds)} arguments ({', '.join(kinds)}), not {len(args)}"
            )
        values = [self._argument(i, a, k) for i, (a, k) in enumerate(zip(args, kinds, strict=True))]
        guarded = [Guarded(a._host, now.guard) for a in args if isinstance(a, ndarray)] if now.guard else []
        places = iter(guarded)
        if guarded:
            values = [
                ctypes.c_void_p(next(places).address) if isinstance(a, ndarray) else v
                for a, v in zip(args, values, strict=True)
            ]
        pointers = (ctypes.c_void_p * len(values))(*(ctypes.addressof(v) for v in values))
        if problem := library.launch(self._index, how, pointers):
            raise KernelFault(f"{self.name}: {problem}")
        for g in guarded:
            g.bring_back()

    def _shape(self, grid: tuple, block: tuple, shared: int) -> Launch:
        three = [tuple(int(n) for n in (*size, 1, 1)[:3]) for size in (grid, block)]
        (_, gy, gz), threads = three[0], int(np.prod(three[1]))
        if min(*three[0], *three[1]) < 1 or max(gy, gz) > MAX_GRID_YZ or threads > MAX_THREADS:
            raise refused("CUDA_ERROR_INVALID_VALUE", f"{self.name}: grid {grid}, block {block}")
        if shared > self._dynamic:
            at_most = f"max_dynamic_shared_size_bytes is {self._dynamic}"
            raise refused(
                "CUDA_ERROR_INVALID_VALUE", f"{self.name}: {shared} bytes of shared memory, {at_most}"
            )
        return Launch((ctypes.c_uint * 3)(*three[0]), (ctypes.c_uint * 3)(*three[1]), shared)

    def _argument(self, i: int, a: Any, kind: str) -> Any:
        """The bytes a launch hands over for one argument."""
        here = f"{self.name}: argument {i}"
        if isinstance(a, np.ndarray):
            raise TypeError(f"{here} is a NumPy array: CuPy would hand over its bytes, not a pointer")
        if isinstance(a, ndarray):
            if not kind.endswith("*"):
                raise KernelFault(f"{here} is an array, the kernel takes {kind}")
            if not _alike(a.dtype, kind[:-1]):
                raise KernelFault(f"{here} is an array of {a.dtype}, the kernel takes {kind}")
            if a._device != current():
                raise KernelFault(f"{here} is on device {a._device}, the launch on {current()}")
            if not a.flags.c_contiguous:
                raise KernelFault(f"{here} is not contiguous, shape {a.shape}, strides {a.strides}")
            return ctypes.c_void_p(a._host.ctypes.data)
        if not isinstance(a, np.generic | int | float):
            raise TypeError(f"Unsupported type {type(a)}")
        value = a if isinstance(a, np.generic) else np.int64(a) if isinstance(a, int) else np.float64(a)
        null = kind.endswith("*") and value.dtype.kind in "iu" and value.nbytes == 8 and not value
        if not null and not _alike(value.dtype, kind):
            raise KernelFault(f"{here} is {value.dtype} ({a!r}), the kernel takes {kind}")
        return ctypes.create_string_buffer(value.tobytes(), value.nbytes)


def _alike(dtype: np.dtype, kind: str) -> bool:
    """Whether a kernel reads such numbers as what they are; signed or not is its own affair."""
    letter = "u" if dtype.kind == "b" else dtype.kind
    whole = letter in "iu" and kind[0] in "iu"
    return kind[0] == "?" or ((letter == kind[0] or whole) and dtype.itemsize == int(kind[1:]))


def refused(status: str, detail: str) -> Exception:
    """What CuPy raises when CUDA says no."""
    return CUDADriverError(f"{status}: invalid argument ({detail})")


class Guarded:
    """A copy of an array at the edge of an unreadable page."""

    def __init__(self, original: np.ndarray, where: str) -> None:
        page = mmap.PAGESIZE
        room = -(-max(original.nbytes, 1) // page) * page
        self._pages = mmap.mmap(-1, room + page)
        start = ctypes.addressof(ctypes.c_char.from_buffer(self._pages))
        before = where == "before"
        self.address = start + page if before else start + room - original.nbytes
        self._wall, self._original, self._was = (
            start if before else start + room,
            original,
            original.tobytes(),
        )
        ctypes.memmove(self.address, self._was, original.nbytes)
        self._protect(0)

    def _protect(self, how: int) -> None:
        if libc.mprotect(ctypes.c_void_p(self._wall), mmap.PAGESIZE, how):
            raise OSError(ctypes.get_errno(), "mprotect")

    def bring_back(self) -> None:
        """Write to the original what the kernel changed: two arguments may be views of one array."""
        now = ctypes.string_at(self.address, len(self._was))
        self._protect(mmap.PROT_READ | mmap.PROT_WRITE)
        if now != self._was:
            ctypes.memmove(self._original.ctypes.data, now, len(now))
