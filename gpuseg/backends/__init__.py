"""Where the arithmetic happens: `get_backend("auto" | "cpu")`."""

import logging
import os
from functools import cache

from gpuseg.backends.base import Backend
from gpuseg.errors import InputError

NAMES = ("auto", "cpu")
log = logging.getLogger(__name__)


def get_backend(name: str = "auto") -> Backend:
    """The backend called `name`; "auto" obeys GPUSEG_BACKEND, else takes what the machine has."""
    if name == "auto":
        name = os.environ.get("GPUSEG_BACKEND") or "cpu"
    if name not in NAMES:
        raise InputError(f"unknown backend {name!r}", hint=f"one of {', '.join(NAMES)}")
    return _open("cpu" if name == "auto" else name)


@cache
def _open(name: str) -> Backend:
    from gpuseg.backends.cpu import CpuBackend

    return CpuBackend()
