"""Whether files can be written: their names, who else has them, and room on the disk."""

import shutil
from collections.abc import Iterable, Sequence
from os.path import realpath
from pathlib import Path

from gpuseg.errors import InputError, ResourceError
from gpuseg.io import check_inside, locate
from gpuseg.io.faults import size
from gpuseg.io.places import check_folder, check_names

ORIGIN = {  # of the axes of an image
    "file": "from the file",
    "shape": "guessed from the shape",
    "user": "as you said",
    "image": "as its image",
    "training": "as in training",
}
SHORTAGE = 1.05  # an estimate this much above the free space is refused: compression is not counted


def check_name(path: str) -> None:
    """InputError for a name that files cannot have, in a folder that is none, or inside of a file without."""
    check_names(path)
    check_inside(path)
    check_folder(locate(path)[0])


def check_collisions(targets: Iterable[tuple[str, str, str]], inputs: Iterable[str]) -> None:
    """InputError if two results share a file, or one would go into that of an input.

    targets: (image, result, path) of everything about to be written.
    """
    taken = {realpath(locate(path)[0]): (f"the input {path}", path, "read") for path in inputs}
    for image, result, path in targets:
        what, (file, inside) = f"the {result} of {image}", locate(path)
        other, there, used = taken.setdefault(realpath(file), (what, path, "written"))
        if other is not what:
            if inside != locate(there)[1]:
                raise InputError(
                    f"{path}: {what} cannot go into the file of {other}, which is being {used}",
                    hint="write to another file",
                )
            raise InputError(
                f"{path}: {what} would overwrite {other}",
                hint="use {nickname} and {result_type} in the output name, or another folder",
            )


def check_space(needs: Iterable[tuple[str, int]]) -> None:
    """ResourceError if a disk has less free than what is to be written there.

    needs: path and bytes, uncompressed, of every output.
    """
    disks: dict[int, tuple[Path, int]] = {}
    for path, need in needs:
        folder = next(p for p in Path(path).absolute().parents if p.is_dir())
        disk = folder.stat().st_dev
        disks[disk] = folder, disks.get(disk, (folder, 0))[1] + need
    for folder, need in disks.values():
        free = shutil.disk_usage(folder).free
        if need > SHORTAGE * free:
            raise ResourceError(
                f"{folder}: the results need {size(need)}, the disk has {size(free)} free",
                hint="free some space, export less, or write elsewhere with --output",
            )


def axes_text(axes: str, shape: Sequence[int], said_by: str) -> str:
    """How an image was understood: `512 x 512, axes yx (from the file)`."""
    return f"{' x '.join(map(str, shape))}, axes {axes} ({ORIGIN[said_by]})"
