"""Fixtures that every test may use."""

from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile(
    "suite", deadline=None, derandomize=True
)  # same examples everywhere, slow machines too
settings.load_profile("suite")
SHARED = Path(__file__).parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of reference data beside the checkout; tests that need it skip where it is absent."""
    if not SHARED.is_dir():
        pytest.skip("reference data is not beside this checkout (../shared)")
    return SHARED
