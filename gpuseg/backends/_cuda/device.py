"""Devices: finding one, and bringing arrays back from it."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpuseg.errors import BackendUnavailableError

PINNED = 2**30  # bytes that may come back through page-locked memory: locking more takes longer than it saves
INSTALL = "pip install 'gpuseg[cuda13]', or cuda12 for older drivers; or use --backend cpu"


def open_cupy(index: int = 0) -> Any:
    """CuPy, if it is installed and the device of this number answers."""
    try:
        import cupy
    except ImportError as e:
        reason = "CuPy is not installed" if getattr(e, "name", "") == "cupy" else f"CuPy does not load: {e}"
        raise BackendUnavailableError(reason, hint=INSTALL) from e
    try:  # the import succeeds without a GPU: only asking for a device tells
        count = cupy.cuda.runtime.getDeviceCount()
    except Exception as e:  # CUDARuntimeError, or an ImportError of a library it opens late
        raise BackendUnavailableError(
            f"CuPy is installed but finds no usable GPU: {e}", hint="see nvidia-smi, or use --backend cpu"
        ) from e
    if not count:
        raise BackendUnavailableError(
            "CuPy is installed but finds no GPU", hint="see nvidia-smi and CUDA_VISIBLE_DEVICES"
        )
    if index >= count:
        raise BackendUnavailableError(
            f"there is no GPU {index}: {count} found, numbered from 0", hint="see gpuseg doctor"
        )
    return cupy


def facts() -> list[dict[str, str]]:
    """What each device is; BackendUnavailableError if there is none."""
    cupy = open_cupy()
    runtime = cupy.cuda.runtime
    found = []
    for i in range(runtime.getDeviceCount()):
        properties = runtime.getDeviceProperties(i)
        with cupy.cuda.Device(i) as device:
            free, total = device.mem_info
        found.append(
            {
                "name": properties["name"].decode(),
                "compute capability": f"{properties['major']}.{properties['minor']}",
                "multiprocessors": str(properties["multiProcessorCount"]),
                "memory": f"{free / 2**30:.1f} GiB free of {total / 2**30:.1f} GiB",
                "driver": _version(runtime.driverGetVersion()),
                "CUDA": _version(runtime.runtimeGetVersion()),
            }
        )
    return found


def _version(number: int) -> str:
    return f"{number // 1000}.{number % 1000 // 10}"


def download(xp: Any, array: Any) -> NDArray[Any]:
    """A device array on the host, through page-locked memory if it is not huge.

    A transposed array comes as it lies and is turned on the host: there may be no room to turn it there.
    """
    axes = sorted(range(array.ndim), key=lambda axis: -array.strides[axis])
    if not array.flags.c_contiguous and (plain := array.transpose(axes)).flags.c_contiguous:
        return download(xp, plain).transpose(np.argsort(axes))
    [out] = download_all(xp, [array])
    return out


def download_all(xp: Any, arrays: Sequence[Any]) -> list[NDArray[Any]]:
    """Several device arrays on the host, waited for once."""
    found = []
    for array in arrays:
        if not array.flags.c_contiguous:
            array = xp.ascontiguousarray(array)
        out = _locked(array) if 0 < array.nbytes <= PINNED else None
        found.append(np.asarray(array.get()) if out is None else array.get(out=out, blocking=False))
    xp.cuda.get_current_stream().synchronize()
    return found


def _locked(array: Any) -> NDArray[Any] | None:
    """Page-locked memory for an array; None where the system gives none."""
    import cupy
    import cupyx

    try:
        locked: NDArray[Any] = cupyx.empty_pinned(array.shape, array.dtype)
    except cupy.cuda.runtime.CUDARuntimeError:
        return None
    return locked
