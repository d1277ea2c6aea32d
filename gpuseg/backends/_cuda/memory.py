"""Memory and streams of one device, and what an error there means."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import local
from typing import Any

from gpuseg.errors import BackendError, DeviceMemoryError

OUT_OF_MEMORY = 2  # cudaErrorMemoryAllocation: page-locked memory and streams run out too


class Memory:
    """A pool of its own for one device, of `limit` bytes at most, and a stream for each thread.

    What stays for long, tables and forests, has a second pool: blocks that small arrays were cut from are not
    given back while one of those lives.
    """

    def __init__(self, xp: Any, index: int, limit: int | None) -> None:
        self._xp, self._index, self._limit = xp, index, limit
        self._pool, self._tables = xp.cuda.MemoryPool(), xp.cuda.MemoryPool()
        self._own = local()
        if limit is not None:
            with self.device():
                self._pool.set_limit(size=limit)

    def device(self) -> Any:
        return self._xp.cuda.Device(self._index)

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """On this device, in this thread's stream, in this memory; at the end all is finished."""
        xp = self._xp
        failed = (xp.cuda.runtime.CUDARuntimeError, xp.cuda.driver.CUDADriverError)
        try:
            with self.device(), xp.cuda.using_allocator(self._allocate), self._stream() as stream:
                yield
                stream.synchronize()
        except xp.cuda.memory.OutOfMemoryError as e:
            raise self._too_little(e) from e
        except failed as e:
            if getattr(e, "status", 0) == OUT_OF_MEMORY:
                raise self._too_little(e) from e
            raise BackendError(
                f"the GPU failed: {e}",
                hint="see gpuseg doctor; a forked process cannot use it, spawn it; or use --backend cpu",
            ) from e

    @contextmanager
    def lasting(self) -> Iterator[None]:
        """Inside `at_work`: for arrays that are kept; finished, and so ready for any thread, at the end."""
        with self._xp.cuda.using_allocator(self._tables.malloc):
            yield
            self._stream().synchronize()

    def free(self) -> int:
        """Bytes there are for more arrays."""
        with self.device() as device:
            free = int(device.mem_info[0]) + int(self._pool.free_bytes())
            return free if self._limit is None else min(free, self._limit - int(self._pool.used_bytes()))

    def release(self) -> None:
        """Give back what is kept for later arrays, page-locked memory of the host too."""
        with self.device():
            self._pool.free_all_blocks()
        self._xp.get_default_pinned_memory_pool().free_all_blocks()

    def _allocate(self, size: int) -> Any:
        """As the pool, which refuses at its limit without giving up blocks that other threads left there."""
        try:
            return self._pool.malloc(size)
        except self._xp.cuda.memory.OutOfMemoryError:
            self._pool.free_all_blocks()
            return self._pool.malloc(size)

    def _stream(self) -> Any:
        if not hasattr(self._own, "stream"):
            self._own.stream = self._xp.cuda.Stream()
        return self._own.stream

    def _too_little(self, error: Exception) -> DeviceMemoryError:
        self.release()
        return DeviceMemoryError(
            f"the memory of the GPU does not do: {error}",
            hint="smaller tiles, fewer features, a larger --gpu-memory, or --backend cpu",
        )
