"""Where the arithmetic happens: `get_backend("auto" | "cpu" | "cuda")`."""

import logging
import os
import re
from functools import cache

from gpuseg.backends.base import Backend
from gpuseg.errors import BackendUnavailableError, InputError

NAMES = ("auto", "cpu", "cuda")
log = logging.getLogger(__name__)
_NAME = re.compile(r"cuda(:\d+(,\d+)*)?")


def check_name(name: str) -> str:
    """`name`, if there can be such a backend: auto, cpu, cuda, cuda:1 for a device, cuda:0,1 for several."""
    if name not in NAMES and not _NAME.fullmatch(name):
        raise InputError(
            f"unknown backend {name!r}",
            hint=f"one of {', '.join(NAMES)}; cuda:1 for the second GPU, cuda:0,1 for both",
        )
    return name


def get_backend(name: str = "auto", memory: int | str | None = None) -> Backend:
    """The backend called `name`; "auto" obeys GPUSEG_BACKEND, else takes a GPU if one answers.

    "auto" says in one line what it took, and why no GPU. A named backend works or raises
    BackendUnavailableError. Of several devices the first.
    """
    return get_backends(name, memory)[0]


def get_backends(name: str = "auto", memory: int | str | None = None) -> tuple[Backend, ...]:
    """One backend for each device that `name` lists: what tiles are spread over.

    memory: bytes that may be taken of each GPU, as a number or text; else GPUSEG_GPU_MEMORY, else nearly all.
    """
    if name == "auto":
        name = os.environ.get("GPUSEG_BACKEND") or "auto"
    check_name(name)
    most = memory or os.environ.get("GPUSEG_GPU_MEMORY") or None
    limit = parse_bytes(most) if isinstance(most, str) else most
    if name == "auto":
        return (_auto(limit),)
    kind, _, devices = name.partition(":")
    numbers = list(dict.fromkeys(int(d) for d in devices.split(","))) if devices else [0]
    return tuple(_open(kind, number, limit if kind == "cuda" else None) for number in numbers)


def devices() -> list[dict[str, str]]:
    """What each GPU is, from the first on; BackendUnavailableError if there is none."""
    from gpuseg.backends._cuda.device import facts

    return facts()


def parse_bytes(text: str) -> int:
    """Bytes that a person means: 8GB, 512MB, 2.5G, 1000000.

    >>> parse_bytes("1.5GB")
    1500000000
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)B?", text.strip(), re.IGNORECASE)
    size = round(float(match[1]) * 1000 ** " KMGT".index(match[2].upper() or " ")) if match else 0
    if not size:
        raise InputError(f"{text!r} is no amount of memory", hint="write for example 8GB or 500MB")
    return size


@cache
def _auto(memory: int | None) -> Backend:
    try:
        backend = _open("cuda", 0, memory)
    except BackendUnavailableError as e:
        log.info("computing on the CPU: %s", e.problem)
        return _open("cpu", 0, None)
    log.info("computing on the GPU")
    return backend


@cache
def _open(kind: str, device: int, memory: int | None) -> Backend:
    if kind == "cuda":
        from gpuseg.backends.cuda import CudaBackend

        return CudaBackend(device, memory)
    from gpuseg.backends.cpu import CpuBackend

    return CpuBackend()
