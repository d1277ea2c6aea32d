"""Tables of objects as files: CSV, HDF5 or Parquet by their suffix, whole or not at all."""

import os
from collections.abc import Callable
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gpuseg.errors import BackendUnavailableError, FileError, InputError, ResourceError
from gpuseg.io.faults import size
from gpuseg.io.partial import partial_path

if TYPE_CHECKING:
    import pandas as pd

DATASET = "table"  # of an HDF5 file, as ilastik names it


def write_table(table: "pd.DataFrame", path: str | Path) -> None:
    """Write a table to a file that is complete or does not appear.

    .csv: UTF-8, quoted where it must be, numbers in full. .h5: a structured array `table`, text as UTF-8
    bytes, as ilastik writes it. .parquet: with the extra `gpuseg[parquet]`.
    """
    file = check_path(path)
    try:
        data = WRITERS[file.suffix.lower()](table)
    except InputError as error:
        raise error.at(str(file)) from None
    partial = partial_path(file)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("xb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        if partial.read_bytes() != data:
            raise ResourceError(f"{file}: does not read back as it was written", hint="check the disk")
        partial.replace(file)
    except OSError as error:
        raise ResourceError(
            f"{file}: cannot be written: {error.strerror}; it takes {size(len(data))}",
            hint="free disk space, or write to a folder that is writable and has room",
        ) from error
    finally:
        partial.unlink(missing_ok=True)


def check_path(path: str | Path) -> Path:
    """`path`, if a table can be written there: an error before anything is measured."""
    file = Path(path)
    if file.suffix.lower() not in WRITERS:
        raise InputError(
            f"{file}: no table has the suffix {file.suffix!r}", hint=f"choose one of {' '.join(WRITERS)}"
        )
    parent = next(p for p in file.absolute().parents if os.access(p, os.F_OK))
    if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
        what = "is not writable" if parent.is_dir() else "is no folder"
        raise FileError(f"{file}: {parent} {what}", hint="choose a folder that can be written to")
    if file.is_dir():
        raise FileError(f"{file}: is a folder", hint="choose another name")
    if file.suffix.lower() == ".parquet" and find_spec("pyarrow") is None:
        raise BackendUnavailableError(
            f"{file}: Parquet needs the package pyarrow, which is not installed",
            hint="pip install 'gpuseg[parquet]', or write .csv or .h5",
        )
    return file


def _csv(table: "pd.DataFrame") -> bytes:
    text: str = table.to_csv(index=False, lineterminator="\n")
    return text.encode()


def _hdf5(table: "pd.DataFrame") -> bytes:
    import h5py

    columns = {str(name): table[name].to_numpy() for name in table}
    stored = {
        name: np.array([str(v).encode() for v in values], "S") if values.dtype.kind not in "biuf" else values
        for name, values in columns.items()
    }
    rows = np.empty(len(table), [(name, values.dtype) for name, values in stored.items()])
    for name, values in stored.items():
        rows[name] = values
    stream = BytesIO()
    with h5py.File(stream, "w") as file:
        try:
            file.create_dataset(DATASET, data=rows)
        except (OSError, RuntimeError, ValueError) as error:  # a type is described in 64 kB at most
            raise InputError(
                f"{len(columns)} columns are more than HDF5 can name in one table",
                hint="write .csv or .parquet, or choose fewer features",
            ) from error
    return stream.getvalue()


def _parquet(table: "pd.DataFrame") -> bytes:
    stream = BytesIO()
    table.to_parquet(stream, engine="pyarrow", index=False)
    return stream.getvalue()


WRITERS: dict[str, Callable[["pd.DataFrame"], bytes]] = {
    ".csv": _csv,
    ".h5": _hdf5,
    ".hdf5": _hdf5,
    ".parquet": _parquet,
}
