"""Third-party filters, formats and forests, found through entry points."""

from functools import cache
from importlib.metadata import entry_points


@cache
def load(group: str) -> None:
    """Import every module that other packages register under `gpuseg.<group>`; importing declares."""
    for entry in entry_points(group=f"gpuseg.{group}"):
        entry.load()
