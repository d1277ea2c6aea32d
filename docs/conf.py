"""How the pages are built: Markdown by MyST, signatures by autodoc, and a warning is an error."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import docstrings

from gpuseg import __version__

project = "gpuseg"
author = "The gpuseg developers"
copyright = "The gpuseg developers, BSD-3-Clause"
release = version = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc"]
myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
exclude_patterns = ["_build"]
nitpicky = False  # types of NumPy and typing are not linked

autodoc_typehints = "none"  # signatures carry them
autodoc_member_order = "bysource"

html_theme = "furo"
html_title = f"gpuseg {version}"
html_static_path = ["pictures"]


def setup(app):
    app.connect("autodoc-process-docstring", docstrings.process)
