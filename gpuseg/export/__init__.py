"""What results can be written as, in ilastik's terms: names, cutouts, types, axes; and the writing itself."""

from gpuseg.export.cutout import Cutout, cutout_of
from gpuseg.export.files import axes_text, check_collisions, check_name, check_space
from gpuseg.export.names import (
    DEFAULT_NAME,
    NAMES,
    PLACEHOLDERS,
    check_template,
    nickname,
    output_path,
)
from gpuseg.export.results import (
    RESULTS,
    Result,
    Source,
    doubt,
    find,
    find_pixel_result,
    label_dtype,
    pixel_results,
)
from gpuseg.export.settings import (
    ExportSettings,
    Made,
    axis_order_of,
    check_dtype,
    output_axes,
    renormalise_of,
)
from gpuseg.export.target import Sink, Target
from gpuseg.export.values import DTYPES, INTEGERS

__all__ = [
    "DEFAULT_NAME",
    "DTYPES",
    "INTEGERS",
    "NAMES",
    "PLACEHOLDERS",
    "RESULTS",
    "Cutout",
    "ExportSettings",
    "Made",
    "Result",
    "Sink",
    "Source",
    "Target",
    "axes_text",
    "axis_order_of",
    "check_collisions",
    "check_dtype",
    "check_name",
    "check_space",
    "check_template",
    "cutout_of",
    "doubt",
    "find",
    "find_pixel_result",
    "label_dtype",
    "nickname",
    "output_axes",
    "output_path",
    "pixel_results",
    "renormalise_of",
]
