"""Random forests: how they are trained, read from projects, and kept as flat arrays."""

from importlib import import_module
from typing import TYPE_CHECKING, cast

from gpuseg.errors import InputError
from gpuseg.plugins import load

if TYPE_CHECKING:
    from gpuseg.forests.training import Trainer

# Name -> "module:function", imported on first use. Other packages add a row from a module of theirs that
# they register under the entry point group `gpuseg.forests`.
TRAINERS: dict[str, str] = {
    "hist": "gpuseg.forests.hist_rf:train",
    "sklearn": "gpuseg.forests.sklearn_rf:train",
    "cuml": "gpuseg.forests.cuml_rf:train",
}


# The fastest of those that are as accurate as scikit-learn's: docs/forests.md has the figures.
DEFAULT = "hist"


def get_trainer(name: str) -> "Trainer":
    """The function that trains forests by this name."""
    if name not in TRAINERS:
        load("forests")
    if name not in TRAINERS:
        raise InputError(f"unknown forest {name!r}", hint=f"one of {', '.join(TRAINERS)}")
    module, function = TRAINERS[name].split(":")
    return cast("Trainer", getattr(import_module(module), function))
