"""Every backend that has shortcuts, given and giving NumPy arrays."""

import os
from typing import Any

import numpy as np
import pytest

from gpuseg.backends import get_backend
from gpuseg.errors import BackendUnavailableError

BACKENDS = ["cpu", "cuda on the host", pytest.param("cuda", marks=pytest.mark.gpu)]


class OnHost:
    """A backend whose arrays are NumPy's, whatever it computes with."""

    def __init__(self, b: Any) -> None:
        self.backend = b

    def __getattr__(self, name: str) -> Any:
        given = getattr(self.backend, name)
        if not callable(given) or name in ("rows", "grow", "room", "free", "release"):
            return given

        def call(*arguments: Any, out: Any = None, **more: Any) -> Any:
            b = self.backend
            here = [b.asarray(a) if isinstance(a, np.ndarray) else a for a in arguments]
            if out is not None and name == "bank":
                here.append(None if out is None else b.asarray(out))
            made = given(*here, **more)
            if out is not None and made is not None:
                out[...] = b.to_numpy(made)
                return out
            return b.to_numpy(made) if hasattr(made, "dtype") else made

        return call

    def rows(self, planes: Any, where: Any) -> Any:
        return self.backend.rows(self.backend.asarray(planes), where)

    def bank(self, image: Any, jobs: Any, core: Any, out: Any = None) -> Any:
        return self.__getattr__("bank")(image, jobs, core, out=out)


@pytest.fixture(params=BACKENDS)
def fast(request: pytest.FixtureRequest) -> OnHost:
    """The CPU's fast path; the CUDA path, kernels run on the CPU; the same on a GPU, if there is one."""
    if request.param == "cuda on the host":
        request.getfixturevalue("host_cuda")
    try:
        return OnHost(get_backend(request.param.split()[0]))
    except BackendUnavailableError as e:
        if os.environ.get("GPUSEG_REQUIRE_GPU"):
            raise
        pytest.skip(str(e))
