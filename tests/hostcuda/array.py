"""An array that NumPy may not touch: `cupy.ndarray` over memory of this computer."""

from typing import Any, Self

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from hostcuda.device import Device, check, current, get_current_stream, machine

IMPLICIT = (
    "Implicit conversion to a NumPy array is not allowed. "
    "Please use `.get()` to construct a NumPy array explicitly."
)
PLAIN = {
    "shape",
    "dtype",
    "ndim",
    "size",
    "nbytes",
    "itemsize",
    "strides",
    "flags",
    "item",
    "tolist",
    "tobytes",
}
ABSENT = {"ctypes", "resize", "getfield", "setfield", "setflags", "to_device"}  # from cupy.ndarray


def unwrap(x: Any, arrays: bool = False) -> Any:
    """What NumPy computes with; a NumPy array in its place is refused, unless `arrays`."""
    if isinstance(x, ndarray):
        return x._host
    if isinstance(x, np.ndarray) and not arrays:
        raise TypeError(f"Unsupported type {type(x)}: a NumPy array where CuPy takes its own")
    if isinstance(x, list | tuple) and type(x) in (list, tuple):
        return type(x)(unwrap(v, arrays) for v in x)
    if isinstance(x, dict):
        return {k: unwrap(v, arrays) for k, v in x.items()}
    return x


def wrap(x: Any) -> Any:
    """An answer of NumPy's as CuPy gives it: scalars are arrays without axes."""
    if isinstance(x, np.ndarray | np.generic):
        return ndarray._of(np.asarray(x))
    if type(x) in (list, tuple):
        return type(x)(wrap(v) for v in x)
    return x


class Pointer:
    """cupy.cuda.MemoryPointer, as much of it as a pointer is."""

    def __init__(self, ptr: int, device: int) -> None:
        self.ptr, self.device_id = ptr, device


class ndarray(NDArrayOperatorsMixin):  # noqa: N801 - CuPy's name
    """cupy.ndarray."""

    __slots__ = ("__weakref__", "_device", "_host")
    __array_priority__ = 100

    def __init__(self, shape: Any, dtype: Any = float, memptr: None = None, strides: None = None, order="C"):
        self._host, self._device = allocated(shape, dtype, order), current()

    @classmethod
    def _of(cls, host: np.ndarray, device: int | None = None) -> Self:
        """Around memory that NumPy answered; new memory is accounted for."""
        if host.base is None:
            check(current())
            machine.allocate(host.nbytes)
            machine.own(host)
        made = cls.__new__(cls)
        made._host, made._device = host, current() if device is None else device
        return made

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        raise TypeError(IMPLICIT)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        out = kwargs.get("out")
        answer = getattr(ufunc, method)(*unwrap(inputs), **unwrap(kwargs))
        return wrap(answer) if out is None else out[0] if len(out) == 1 else out

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        return wrap(function(*unwrap(args), **unwrap(kwargs)))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name in ABSENT:
            raise AttributeError(f"cupy.ndarray has no attribute {name!r}")
        found = getattr(self._host, name)
        if name in PLAIN:
            return found
        if not callable(found):
            return self._like(found)
        return lambda *args, **kwargs: self._call(found, *args, **kwargs)

    def _like(self, found: Any) -> Any:
        return ndarray._of(found, self._device) if isinstance(found, np.ndarray) else wrap(found)

    def _call(self, method: Any, *args: Any, out: "ndarray | None" = None, **kwargs: Any) -> Any:
        if out is not None:
            method(*unwrap(args), out=unwrap(out), **unwrap(kwargs))
            return out
        return self._like(method(*unwrap(args), **unwrap(kwargs)))

    @property
    def shape(self) -> tuple[int, ...]:
        """Length of every axis."""
        return self._host.shape

    @shape.setter
    def shape(self, shape: Any) -> None:
        self._host = self._host.reshape(shape, copy=False)

    @property
    def data(self) -> Pointer:
        """Where it is."""
        return Pointer(self._host.ctypes.data, self._device)

    @property
    def base(self) -> "ndarray | None":
        """The array whose memory this one shows."""
        base = self._host.base
        return None if base is None else ndarray._of(base[...], self._device)

    @property
    def device(self) -> Device:
        """The device it is on."""
        return Device(self._device)

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return {**self._host.__array_interface__, "version": 3, "stream": 1}

    def get(self, stream: Any = None, order: str = "C", out: Any = None, blocking: bool = True) -> Any:
        """A copy as NumPy array, in `out` if given; without `blocking` it holds anything until waited for."""
        if out is None:
            return np.array(self._host, order=order)
        if not isinstance(out, np.ndarray):
            raise TypeError("Only numpy.ndarray can be obtained from cupy.ndarray")
        if out.dtype != self.dtype or out.shape != self.shape:
            raise ValueError(f"out is {out.dtype} {out.shape}, the array {self.dtype} {self.shape}")
        if not (out.flags.c_contiguous or out.flags.f_contiguous):
            raise RuntimeError("Cannot copy to non-contiguous array")
        stream = stream or get_current_stream()
        now = self._host.copy()
        stream.under_way.append(lambda: np.copyto(out, now))
        if blocking:
            stream.synchronize()
        else:
            out.ravel(order="K").view(np.uint8)[...] = 0x55
        return out

    def set(self, arr: np.ndarray, stream: Any = None) -> None:
        """Take the values of a NumPy array."""
        if not isinstance(arr, np.ndarray):
            raise TypeError("Only numpy.ndarray can be set to cupy.ndarray")
        if arr.dtype != self.dtype or arr.shape != self.shape:
            raise TypeError(f"cannot set {arr.dtype} {arr.shape} to {self.dtype} {self.shape}")
        self._host[...] = arr

    def __getitem__(self, key: Any) -> Any:
        return self._like(self._host[unwrap(key, arrays=True)])

    def __setitem__(self, key: Any, value: Any) -> None:
        self._host[unwrap(key, arrays=True)] = unwrap(value)

    def __len__(self) -> int:
        return len(self._host)

    def __iter__(self) -> Any:
        return (self[i] for i in range(len(self)))

    def __bool__(self) -> bool:
        return bool(self._host)

    def __int__(self) -> int:
        return int(self._host)

    def __float__(self) -> float:
        return float(self._host)

    def __repr__(self) -> str:
        return repr(self._host)


def allocated(shape: Any, dtype: Any = float, order: str = "C") -> np.ndarray:
    """New memory, accounted for before there is any, full of what was there: NaN or large numbers."""
    check(current())
    dtype, shape = np.dtype(dtype), (shape,) if np.ndim(shape) == 0 else tuple(shape)
    machine.allocate(int(np.prod(shape, dtype=object)) * dtype.itemsize)
    host = np.empty(shape, dtype, order)
    host.reshape(-1, order="A").view(np.uint8)[...] = 0x7F if dtype.kind != "f" else 0xFF
    machine.own(host)
    return host
