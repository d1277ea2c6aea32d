"""Names of files that are written: ilastik's placeholders filled in."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from gpuseg.axes import LETTERS
from gpuseg.errors import InputError
from gpuseg.export.results import RESULTS
from gpuseg.io import locate, sequence_paths
from gpuseg.io.forms import SLICE, check_one_file

DEFAULT_NAME = "{dataset_dir}/{nickname}_{result_type}.h5"
DEFAULT_SEQUENCE = "{dataset_dir}/{nickname}_{result_type}_{slice_index}.png"
NAMES = ("{dataset_dir}", "{nickname}", "{result_type}")
BOUNDS = tuple(f"{{{a}_{end}}}" for a in LETTERS for end in ("start", "stop"))
PLACEHOLDERS = (*NAMES, "{roi}", *BOUNDS)
_ANY = re.compile(r"\{[^}]*\}?")


def nickname(image: str) -> str:
    """Name of an input in output names: `cells.h5/raw/a` becomes `cells-raw-a` (SPEC 1.11)."""
    file, inside = locate(image)
    return "-".join([file.stem, *inside.split("/")] if inside else [file.stem])


def output_path(template: str, image: str, result: str, more: Mapping[str, str] | None = None) -> str:
    """Where a result of an image goes, by its key or title: `template` with its placeholders filled in.

    more: texts for other placeholders than `NAMES`; what is in neither stays.
    """
    title = RESULTS[result].title if result in RESULTS else result
    values = (str(locate(image)[0].parent), nickname(image), title)
    known = dict(zip(NAMES, values, strict=True)) | dict(more or {})
    return str(Path(_ANY.sub(lambda m: known.get(m[0], m[0]), template)))


def region_texts(axes: str, region: Mapping[str, slice]) -> dict[str, str]:
    """Texts for {roi} and {x_start} ... {c_stop}, of an image with `axes`.

    {roi} is `y0-512_x10-200_c0-2`, not ilastik's list of tuples, whose brackets, commas and blanks need
    quotes in every shell.
    """
    ends = {f"{{{a}_{end}}}": str(getattr(s, end)) for a, s in region.items() for end in ("start", "stop")}
    return ends | {"{roi}": "_".join(f"{a}{region[a].start}-{region[a].stop}" for a in axes)}


def check_template(template: str, known: Sequence[str] = PLACEHOLDERS, *, sequence: bool = False) -> None:
    """InputError for a placeholder that does not exist, or a sequence of files that would all be one.

    {slice_index} is filled in where a sequence is written.
    """
    if sequence:
        known = [*known, SLICE]
        sequence_paths(template, 1)
    for found in _ANY.findall(template):
        if found == SLICE and not sequence:
            check_one_file(template)
        if found not in known:
            raise InputError(
                f"output {template!r}: unknown placeholder {found}", hint=f"there are {', '.join(known)}"
            )
