"""NVIDIA's run-time compiler without a GPU: machine code and what it needs, for any architecture."""

import ctypes
import importlib.util
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Self

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


@cache
def library(cuda: int) -> ctypes.CDLL:
    """libnvrtc of CUDA 12 or 13, from the packages `nvidia-cuda-nvrtc-cu12` and `nvidia-cuda-nvrtc`."""
    place = {12: "cuda_nvrtc", 13: "cu13"}[cuda]
    found = importlib.util.find_spec("nvidia")
    roots = (found and found.submodule_search_locations) or ()
    paths = [p for root in roots for p in Path(root).glob(f"{place}/lib/libnvrtc.so.{cuda}")]
    if not paths:
        raise NvrtcError(
            f"no libnvrtc.so.{cuda}: pip install nvidia-cuda-nvrtc{'-cu12' if cuda == 12 else ''}"
        )
    lib = ctypes.CDLL(str(paths[0]))
    lib.nvrtcGetErrorString.restype = ctypes.c_char_p
    return lib


class Program:
    """A source on its way."""

    def __init__(self, cuda: int, source: str) -> None:
        self._lib, self._handle = library(cuda), ctypes.c_void_p()
        self._call("CreateProgram", ctypes.byref(self._handle), source.encode(), b"kernels", 0, None, None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._lib.nvrtcDestroyProgram(ctypes.byref(self._handle))

    def _call(self, name: str, *arguments: Any) -> None:
        if status := getattr(self._lib, f"nvrtc{name}")(*arguments):
            raise NvrtcError(self._lib.nvrtcGetErrorString(status).decode())

    def ask_for(self, name: str) -> None:
        """Compile this kernel, a template's instance too."""
        self._call("AddNameExpression", self._handle, name.encode())

    def compile(self, options: Sequence[str]) -> str:
        """What the compiler says."""
        argv = (ctypes.c_char_p * len(options))(*(o.encode() for o in options))
        failed = self._lib.nvrtcCompileProgram(self._handle, len(options), argv)
        size = ctypes.c_size_t()
        self._call("GetProgramLogSize", self._handle, ctypes.byref(size))
        text = ctypes.create_string_buffer(size.value)
        self._call("GetProgramLog", self._handle, text)
        if failed:
            raise NvrtcError(text.value.decode())
        return text.value.decode()

    def mangled(self, name: str) -> str:
        """What the machine code calls a kernel."""
        found = ctypes.c_char_p()
        self._call("GetLoweredName", self._handle, name.encode(), ctypes.byref(found))
        return (found.value or b"").decode()


def compile_for(
    cuda: int, architecture: int, source: str, names: Iterable[str], options: Iterable[str]
) -> tuple[dict[str, Compiled], str]:
    """Each of `names` compiled by CUDA 12 or 13 for an architecture, 75 is sm_75; and other remarks."""
    with Program(cuda, source) as program:
        for name in names:
            program.ask_for(name)
        log = program.compile([*options, *CUPY_OPTIONS, f"-arch=sm_{architecture}", REPORT])
        made = {c.name: c for c in reported(log)}
        return {name: made[program.mangled(name)] for name in names}, remarks(log)


def reported(log: str) -> Iterator[Compiled]:
    """What ptxas says of every kernel."""
    for part in log.split("Compiling entry function '")[1:]:
        numbers = (r"Used (\d+) registers", r"(\d+) bytes spill stores")
        found = [re.search(pattern, part) for pattern in numbers]
        yield Compiled(part.split("'")[0], *(int(m[1]) if m else 0 for m in found))


def remarks(log: str) -> str:
    """The log without ptxas's report and without what it says of the architecture alone."""
    usual = re.compile(r"ptxas (info)?\s*[.:]|nvrtc: warning: Architectures prior to|\s*$")
    return "\n".join(line for line in log.splitlines() if not usual.match(line))
