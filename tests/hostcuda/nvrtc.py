"""NVIDIA's run-time compiler without a GPU: machine code and what it needs, for any architecture."""

import ctypes
import importlib.util
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

# What CuPy 14 adds to the options it is given.
CUPY_OPTIONS = ("-ftz=true", "--device-as-default-execution-space")
REPORT = "--ptxas-options=-v"


class NvrtcError(Exception):
    """What the compiler said."""


@dataclass(frozen=True, slots=True)
class Compiled:
    """What became of a kernel."""

    name: str  # mangled
    registers: int
    spilled: int  # bytes that found no register
    stack: int  # bytes of local memory: arrays indexed at run time
    shared: int  # bytes of static shared memory


@cache
def library() -> ctypes.CDLL:
    """libnvrtc of the package `nvidia-cuda-nvrtc-cu12`."""
    found = importlib.util.find_spec("nvidia")
    roots = found.submodule_search_locations or () if found else ()
    paths = [p for root in roots for p in Path(root).glob("cuda_nvrtc/lib/libnvrtc.so.12")]
    if not paths:
        raise NvrtcError("no libnvrtc: pip install nvidia-cuda-nvrtc-cu12")
    lib = ctypes.CDLL(str(paths[0]))
    lib.nvrtcGetErrorString.restype = ctypes.c_char_p
    return lib


def _check(status: int, log: str = "") -> None:
    if status:
        raise NvrtcError(log or library().nvrtcGetErrorString(status).decode())


def architectures() -> tuple[int, ...]:
    """What this NVRTC compiles for: 75 is sm_75."""
    n = ctypes.c_int()
    _check(library().nvrtcGetNumSupportedArchs(ctypes.byref(n)))
    found = (ctypes.c_int * n.value)()
    _check(library().nvrtcGetSupportedArchs(found))
    return tuple(found)


@contextmanager
def _program(source: str) -> Iterator[ctypes.c_void_p]:
    program = ctypes.c_void_p()
    _check(library().nvrtcCreateProgram(ctypes.byref(program), source.encode(), b"kernels", 0, None, None))
    try:
        yield program
    finally:
        library().nvrtcDestroyProgram(ctypes.byref(program))


def _log(program: ctypes.c_void_p) -> str:
    size = ctypes.c_size_t()
    _check(library().nvrtcGetProgramLogSize(program, ctypes.byref(size)))
    text = ctypes.create_string_buffer(size.value)
    _check(library().nvrtcGetProgramLog(program, text))
    return text.value.decode()


def compile_for(
    architecture: int, source: str, names: Iterable[str], options: Iterable[str]
) -> tuple[dict[str, Compiled], str]:
    """Each of `names` compiled, and what the compiler said beside that."""
    with _program(source) as program:
        for name in names:
            _check(library().nvrtcAddNameExpression(program, name.encode()))
        given = [*options, *CUPY_OPTIONS, f"-arch=sm_{architecture}", REPORT]
        argv = (ctypes.c_char_p * len(given))(*(o.encode() for o in given))
        status = library().nvrtcCompileProgram(program, len(given), argv)
        log = _log(program)
        _check(status, log)
        made = {c.name: c for c in reported(log)}
        return {name: made[_lowered(program, name)] for name in names}, remarks(log)


def _lowered(program: ctypes.c_void_p, name: str) -> str:
    mangled = ctypes.c_char_p()
    _check(library().nvrtcGetLoweredName(program, name.encode(), ctypes.byref(mangled)))
    return (mangled.value or b"").decode()


def reported(log: str) -> Iterator[Compiled]:
    """What ptxas says of every kernel."""
    for part in log.split("Compiling entry function '")[1:]:
        numbers = (
            r"Used (\d+) registers",
            r"(\d+) bytes spill stores",
            r"(\d+) bytes stack",
            r"(\d+) bytes smem",
        )
        found = [re.search(pattern, part) for pattern in numbers]
        yield Compiled(part.split("'")[0], *(int(m[1]) if m else 0 for m in found))


def remarks(log: str) -> str:
    """The log without ptxas's report and without what it says of the architecture alone."""
    usual = re.compile(r"ptxas (info)?\s*[.:]|nvrtc: warning: Architectures prior to|\s*$")
    return "\n".join(line for line in log.splitlines() if not usual.match(line))
