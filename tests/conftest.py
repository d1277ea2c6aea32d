"""Fixtures that every test may use."""

import os
from collections.abc import Generator, Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from hostcuda import cupy
from hypothesis import settings

from gpuseg import backends

settings.register_profile(
    "suite", deadline=None, derandomize=True
)  # same examples everywhere, slow machines too
settings.load_profile("suite")
ROOT = Path(__file__).parents[1]
SHARED = next((p for p in (ROOT.parent / "shared", ROOT / "shared") if p.is_dir()), ROOT.parent / "shared")
MAY_LACK = {"reference data": SHARED.is_dir, "cuML": lambda: find_spec("cuml")}  # beside a GPU


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of reference data beside the checkout; tests that need it skip where it is absent."""
    if not SHARED.is_dir():
        pytest.skip("reference data is not beside this checkout (../shared)")
    return SHARED


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Where GPUSEG_REQUIRE_GPU is set, a gpu test that skips has failed, unless it lacks something else."""
    report = yield
    required = os.environ.get("GPUSEG_REQUIRE_GPU") and item.get_closest_marker("gpu")
    if required and report.skipped and not hasattr(report, "wasxfail"):
        reason = str(report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr)
        if not any(word in reason and not there() for word, there in MAY_LACK.items()):
            report.outcome, report.longrepr = "failed", f"GPUSEG_REQUIRE_GPU is set, and this is a {reason}"
    return report


@pytest.fixture
def host_cuda(monkeypatch: pytest.MonkeyPatch) -> Iterator[cupy.Stand]:
    """What stands in for `cupy` on a machine without a GPU, its knobs as new: kernels run on the CPU."""
    stand = cupy.install(monkeypatch)
    stand.reset()
    _forget_backends()
    yield stand
    _forget_backends()
    stand.reset()


def _forget_backends() -> None:
    """Open them anew: what was opened on a GPU, or without one, is not what opens on the stand-in."""
    for function in vars(backends).values():
        if hasattr(function, "cache_clear"):
            function.cache_clear()
