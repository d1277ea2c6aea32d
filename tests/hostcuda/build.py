"""Shared libraries of kernels, compiled for the CPU once and kept by what went into them."""

import fcntl
import hashlib
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

HERE = Path(__file__).parent
HEADERS = ("device.h", "fibers.h")
FLAGS = (  # -ffp-contract: only fmaf fuses, as with CUDA's --fmad=false
    *("-std=c++17", "-O2", "-shared", "-fPIC", "-ffp-contract=off", "-w", "-pthread", "-nostdinc++"),
    *("-fno-exceptions", "-fno-rtti", "-fno-threadsafe-statics"),
)
BOUNDS = ("-fsanitize=bounds", "-fsanitize-undefined-trap-on-error")
THREADS = ("-DGPUSEG_HOST_THREADS",)


class CompileError(Exception):
    """What the compiler said."""


@cache
def compiler() -> tuple[str, ...]:
    """The first of g++, clang++ and the `ziglang` wheel; GPUSEG_HOST_CXX names another."""
    if named := os.environ.get("GPUSEG_HOST_CXX"):
        return tuple(named.split())
    if shutil.which("g++"):
        return ("g++",)
    if shutil.which("clang++"):
        return ("clang++", "-nostdlib++")
    if importlib.util.find_spec("ziglang"):
        return (sys.executable, "-m", "ziglang", "c++", "-nostdlib++")
    raise CompileError(
        "no C++ compiler: neither g++ nor clang++ nor the ziglang package (pip install ziglang)"
    )


@cache
def machine() -> tuple[str, ...]:
    """Flags that make fmaf one instruction where the processor has it: 20 times as fast."""
    cpu = Path("/proc/cpuinfo")
    if platform.machine() != "x86_64" or not cpu.exists() or " fma " not in cpu.read_text():
        return ()
    return ("-mfma", "-mavx2")


def folder() -> Path:
    """Where built libraries stay: GPUSEG_HOST_CACHE, or in the checkout beside pytest's own."""
    named = os.environ.get("GPUSEG_HOST_CACHE")
    path = Path(named) if named else HERE.parents[1] / ".pytest_cache" / "hostcuda"
    path.mkdir(parents=True, exist_ok=True)
    return path


def library(code: str, names: tuple[str, ...], extra: tuple[str, ...] = ()) -> Path:
    """The library that launches `names` of `code`; processes that want the same one wait for each other."""
    exports = "".join(f"GPUSEG_EXPORT({i}, {name})\n" for i, name in enumerate(names))
    text = f'#include "device.h"\n#line 1 "kernel"\n{code}\n{exports}'
    command = (*compiler(), *FLAGS, *machine(), *extra, f"-I{HERE}")
    headers = "".join((HERE / h).read_text(encoding="utf-8") for h in HEADERS)
    key = hashlib.sha256("\0".join((text, *command, headers)).encode()).hexdigest()[:20]
    built = folder() / f"{key}.so"
    if not built.exists():
        with (folder() / f"{key}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not built.exists():
                _compile(text, command, built)
    return built


def _compile(text: str, command: tuple[str, ...], built: Path) -> None:
    source, fresh = built.with_suffix(".cpp"), built.with_suffix(".new")
    source.write_text(text, encoding="utf-8")
    environment = {**os.environ, "ZIG_GLOBAL_CACHE_DIR": str(folder() / "zig")}
    done = subprocess.run(
        [*command, "-o", fresh, source, "-lm"], capture_output=True, text=True, env=environment, check=False
    )
    if done.returncode:
        raise CompileError(done.stderr)
    fresh.replace(built)
