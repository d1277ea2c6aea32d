"""Where files may go: names that a file system takes, folders that can be written to."""

import os
from pathlib import Path

from gpuseg.errors import FileError, InputError

LONGEST = 255  # bytes in a file name
LONGEST_PATH = 4000  # systems take 4096, and a file is written under a longer name first


def check_names(path: Path | str) -> None:
    """InputError for a path that no file can have."""
    text = str(path)
    if "\0" in text:
        raise InputError(f"{text!r}: a name cannot hold the character NUL")
    length, size = max(len(os.fsencode(part)) for part in (*Path(text).parts, "")), len(os.fsencode(text))
    if length > LONGEST:
        raise InputError(
            f"{text}: its name has {length} bytes, at most {LONGEST} are possible",
            hint="choose a shorter name with --output",
        )
    if size > LONGEST_PATH:
        raise InputError(f"{text[:60]}...: the path has {size} bytes, at most {LONGEST_PATH} are possible")


def check_folder(file: Path) -> None:
    """FileError if nothing can be written beside `file`, as far as can be told before it is tried."""
    check_names(file)
    parent = next((p for p in file.absolute().parents if os.path.lexists(p)), file)
    if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
        what = "is not writable" if parent.is_dir() else "is no folder"
        raise FileError(f"{file}: {parent} {what}", hint="choose a folder that can be written to")


def check_place(path: Path | str) -> Path:
    """`path`, if a file can be written there: the same, and FileError if a folder has that name."""
    check_folder(file := Path(path))
    if file.is_dir():
        raise FileError(f"{file}: is a folder", hint="choose another name")
    return file
