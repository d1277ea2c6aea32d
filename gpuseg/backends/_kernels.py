"""Kernels of `kernels/*.cu`: found, compiled at their first launch, launched by name.

A file's text goes to the compiler behind that of `common.cuh`: CuPy's disk cache knows a kernel by its
text, and would not notice a change in an included file.
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gpuseg.errors import KernelError

log = logging.getLogger(__name__)
# Products and sums are fused where the source says so, as on the CPU: so both give the same bits.
OPTIONS = ("--std=c++17", "--fmad=false")
VALUES = ("unsigned char", "unsigned short", "unsigned", "unsigned long long")  # of images, by size
INSTANCES: dict[str, tuple[str, ...]] = {  # file -> what may be launched from it
    "smooth": ("smooth_across", "smooth_along"),
    "filters2d": ("filters2d",),
    "filters3d": ("filters3d", "tensor3d"),
    "eigen": ("eigenvalues2", "eigenvalues3"),
    "walk": tuple(f"walk_planes<{p}>" for p in ("Coded", "Narrow", "Wide")),
    "classify2d": tuple(f"classify2d<{p}>" for p in ("Coded", "Narrow", "Wide")),
    "answers": ("likeliest", "doubt", "stretch8", "stretch16"),
    "grow": ("grow", "gather_trees"),
    "components": (
        *(f"{k}<{t}>" for k in ("join_in_tiles", "join_tiles") for t in VALUES),
        *("find_roots", "sum_up", "number_roots", "spread_numbers"),
    ),
    "flood": ("prepare_flood", "count_basins", "line_up_seeds", "grow_basins", "settle_shores"),
    "regions": tuple(
        f"region_{of}"
        for of in ("whole", "values", "places", "moments", "covariance", "histogram", "weighted", "central")
    ),
    "rings": ("ring_sums",),
}
BEHIND = {  # file -> the headers that stand in front of it
    "filters2d": ("eigen", "tile2d"),
    "filters3d": ("eigen",),
    "eigen": ("eigen",),
    "walk": ("walk",),
    "classify2d": ("eigen", "tile2d", "walk"),
}
FILES = {name: file for file, names in INSTANCES.items() for name in names}


def folder() -> Path:
    """Where the kernels are: in an installed package inside it, in a checkout beside it."""
    package = Path(__file__).parents[1]
    return next(f for f in (package / "kernels", package.parent / "kernels") if f.is_dir())


def source(file: str) -> str:
    """What the compiler is given for `file`."""
    headers = (f"{name}.cuh" for name in ("common", *BEHIND.get(file, ())))
    texts = (folder() / name for name in (*headers, f"{file}.cu"))
    return "\n".join(f'#line 1 "{path.name}"\n{path.read_text(encoding="utf-8")}' for path in texts)


class Kernels:
    """The kernels of one device. `cupy` is the package, or what stands in for it in tests."""

    def __init__(self, cupy: Any) -> None:
        self._cupy = cupy
        self._ready: dict[str, Any] = {}

    def launch(
        self, name: str, grid: Sequence[int], block: Sequence[int], arguments: Sequence[Any], shared: int = 0
    ) -> None:
        """Start a kernel on the current stream.

        arguments: contiguous device arrays and NumPy scalars of the types the kernel declares.
        shared: bytes of dynamic shared memory of a block.
        """
        kernel = self._ready.get(name) or self._compile(name)
        for i, a in enumerate(arguments):
            if hasattr(a, "flags") and a.ndim and not a.flags.c_contiguous:
                raise KernelError(f"{name}: argument {i} is not contiguous, shape {a.shape}")
        if shared > kernel.max_dynamic_shared_size_bytes:
            kernel.max_dynamic_shared_size_bytes = shared
        kernel(tuple(grid), tuple(block), tuple(arguments), shared_mem=shared)

    def _compile(self, name: str) -> Any:
        file = FILES[name]
        log.debug("compiling %s", name)
        try:
            module = self._cupy.RawModule(code=source(file), options=OPTIONS, name_expressions=(name,))
            kernel = self._ready[name] = module.get_function(name)
        except Exception as e:  # CompileException, CUDARuntimeError, CUDADriverError: no common parent
            raise KernelError(
                f"{file}.cu: {name} does not compile or load: {e}",
                hint="CUDA is older than this gpuseg needs? see gpuseg doctor; or use --backend cpu",
            ) from e
        return kernel
