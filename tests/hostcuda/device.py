"""Devices, their memory, streams and events, as CuPy shows them; all of it is this computer's."""

import threading
import time
import weakref
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import numpy as np

from hostcuda.errors import CUDARuntimeError, OutOfMemoryError

GIB = 1 << 30
ATTRIBUTES = {  # of an H100; cudaDevAttr... without that prefix
    "MultiProcessorCount": 132,
    "MaxThreadsPerBlock": 1024,
    "MaxThreadsPerMultiProcessor": 2048,
    "MaxSharedMemoryPerBlock": 48 << 10,
    "MaxSharedMemoryPerBlockOptin": 227 << 10,
    "MaxSharedMemoryPerMultiprocessor": 228 << 10,
    "MaxRegistersPerBlock": 65536,
    "L2CacheSize": 50 << 20,
    "WarpSize": 32,
    "ClockRate": 1980000,
    "ComputeCapabilityMajor": 9,
    "ComputeCapabilityMinor": 0,
    "ConcurrentKernels": 1,
    "AsyncEngineCount": 3,
    "Integrated": 0,
    "UnifiedAddressing": 1,
}
_here = threading.local()


class Machine:
    """What tests may turn, and what they may count."""

    def __init__(self) -> None:
        self._lock = threading.RLock()  # finalizers may run inside an allocation
        self.reset()

    def reset(self) -> None:
        """One device of 80 GiB that refuses nothing."""
        self.devices = 1
        self.total_bytes = 80 * GIB  # of each device
        self.limit_bytes = 0  # one allocation may not exceed this; 0: no limit
        self.pool_bytes = 0  # all together may not; MemoryPool.set_limit
        self.failing: Callable[[int], bool] = lambda size: False  # any other rule: refuses if true
        self.held_bytes = self.peak_bytes = 0
        self.allocations = 0
        self._round = object()  # arrays of earlier rounds are not counted down
        _here.device = 0
        _here.streams = []

    def allocate(self, size: int) -> None:
        """Account for `size` bytes, or refuse them."""
        with self._lock:
            room = min(self.total_bytes, self.pool_bytes or self.total_bytes)
            single = self.limit_bytes and size > self.limit_bytes
            if single or self.held_bytes + size > room or self.failing(size):
                raise OutOfMemoryError(size, self.held_bytes, self.pool_bytes or self.limit_bytes)
            self.held_bytes += size
            self.allocations += 1
            self.peak_bytes = max(self.peak_bytes, self.held_bytes)

    def own(self, host: np.ndarray) -> None:
        """Give the bytes back when `host`, which was accounted for, is gone."""
        weakref.finalize(host, self._release, host.nbytes, self._round)

    def _release(self, size: int, of: object) -> None:
        with self._lock:
            if of is self._round:
                self.held_bytes -= size


machine = Machine()


def current() -> int:
    """Number of the device that this thread uses."""
    return getattr(_here, "device", 0)


def check(device: int) -> None:
    """Raise what CUDA raises for a device that is not there."""
    if not machine.devices:
        raise CUDARuntimeError(100)
    if not 0 <= device < machine.devices:
        raise CUDARuntimeError(101)


class Device:
    """cupy.cuda.Device."""

    def __init__(self, device: "int | Device | None" = None) -> None:
        self.id = current() if device is None else int(getattr(device, "id", device))
        self._before: list[int] = []

    def __int__(self) -> int:
        return self.id

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Device) and other.id == self.id

    def __hash__(self) -> int:
        return hash(("device", self.id))

    def __repr__(self) -> str:
        return f"<CUDA Device {self.id}>"

    def use(self) -> None:
        """Make it this thread's device."""
        check(self.id)
        _here.device = self.id

    def __enter__(self) -> Self:
        self._before.append(current())
        self.use()
        return self

    def __exit__(self, *_: object) -> None:
        _here.device = self._before.pop()

    def synchronize(self) -> None:
        """Nothing: kernels are done when they return."""
        check(self.id)

    @property
    def attributes(self) -> dict[str, int]:
        """Numbers of the device."""
        check(self.id)
        return dict(ATTRIBUTES)

    @property
    def compute_capability(self) -> str:
        """Two digits."""
        check(self.id)
        return "90"

    @property
    def mem_info(self) -> tuple[int, int]:
        """Free and total bytes."""
        check(self.id)
        return machine.total_bytes - machine.held_bytes, machine.total_bytes

    @property
    def pci_bus_id(self) -> str:
        """Where it would be plugged in."""
        check(self.id)
        return f"0000:{self.id:02X}:00.0"


class Event:
    """cupy.cuda.Event."""

    def __init__(self, block: bool = False, disable_timing: bool = False, interprocess: bool = False) -> None:
        self._timed = not disable_timing
        self.time: float | None = None
        self.ptr = id(self)

    def record(self, stream: "Stream | None" = None) -> None:
        """Note the time."""
        self.time = time.perf_counter()

    def synchronize(self) -> None:
        """Nothing: all work is done when it returns."""

    @property
    def done(self) -> bool:
        """Always."""
        return True


def get_elapsed_time(start_event: Event, end_event: Event) -> float:
    """Milliseconds between two events."""
    timed = start_event._timed and end_event._timed
    if not timed or start_event.time is None or end_event.time is None:
        raise CUDARuntimeError(400)
    return 1e3 * (end_event.time - start_event.time)


class Stream:
    """cupy.cuda.Stream; work on it is done when it returns, but for copies that nobody waits for."""

    null: "Stream"
    ptds: "Stream"

    def __init__(self, null=False, non_blocking=False, ptds=False, priority=None) -> None:
        self.is_non_blocking, self.priority = non_blocking, priority or 0
        self.device_id = -1 if null or ptds else current()
        self.ptr = 0 if null else 2 if ptds else id(self)
        self.under_way: list[Callable[[], None]] = []

    def use(self) -> Self:
        """Make it this thread's stream."""
        _here.streams = [self]
        return self

    def __enter__(self) -> Self:
        if self.device_id not in (-1, current()):
            raise RuntimeError(f"stream of device {self.device_id} used on device {current()}")
        _here.streams = [*getattr(_here, "streams", []), self]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _here.streams.pop()

    def synchronize(self) -> None:
        """Copies that were under way have arrived."""
        arrived, self.under_way = self.under_way, []
        for arrive in arrived:
            arrive()

    @property
    def done(self) -> bool:
        """Unless copies are under way."""
        return not self.under_way

    def record(self, event: Event | None = None) -> Event:
        """An event, now."""
        event = event or Event()
        event.record(self)
        return event

    def wait_event(self, event: Event) -> None:
        """Nothing: it has happened."""

    def launch_host_func(self, callback: Callable[[Any], None], arg: Any) -> None:
        """Call it."""
        callback(arg)


Stream.null = Stream(null=True)
Stream.ptds = Stream(ptds=True)


def get_current_stream(device_id: int | None = None) -> Stream:
    """This thread's stream."""
    streams = getattr(_here, "streams", [])
    return streams[-1] if streams else Stream.null


class MemoryPool:
    """cupy.cuda.MemoryPool: every pool is a view of the one memory there is."""

    def __init__(self, allocator: object = None) -> None:
        self._free = 0

    def set_limit(self, size: int | None = None, fraction: float | None = None) -> None:
        """All arrays together may not exceed this; nothing or 0: no limit."""
        if size is not None and fraction is not None:
            raise ValueError("size and fraction cannot be specified at the same time")
        machine.pool_bytes = int(fraction * machine.total_bytes) if fraction else int(size or 0)

    def get_limit(self) -> int:
        """0: no limit."""
        return machine.pool_bytes

    def used_bytes(self) -> int:
        """Of living arrays."""
        return machine.held_bytes

    def free_bytes(self) -> int:
        """None: what is freed goes back at once."""
        return 0

    def total_bytes(self) -> int:
        """Of living arrays."""
        return machine.held_bytes

    def n_free_blocks(self) -> int:
        """None."""
        return 0

    def free_all_blocks(self, stream: Stream | None = None) -> None:
        """Nothing is kept."""

    def malloc(self, size: int) -> None:
        """For set_allocator, which ignores it."""


class PinnedMemoryPool:
    """cupy.cuda.PinnedMemoryPool."""

    def free_all_blocks(self) -> None:
        """Nothing is kept."""

    def n_free_blocks(self) -> int:
        """None."""
        return 0
