"""Tables as files: CSV, HDF5, Parquet or AnnData by their suffix, whole or not at all."""

import csv
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from io import BytesIO, FileIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gpuseg.errors import BackendUnavailableError, FileError, InputError
from gpuseg.io.places import check_place
from gpuseg.io.whole import committed, unlike, write_whole
from gpuseg.objects.columns import ORIGINAL
from gpuseg.tables.columns import IDENTITY, of_class

if TYPE_CHECKING:
    import pandas as pd

    from gpuseg.tables.cutouts import Cutouts

DATASET = "table"  # of an HDF5 file, as ilastik names it
HDF5 = (".h5", ".hdf5")
NEEDS = {".parquet": ("Parquet", "pyarrow", "parquet"), ".h5ad": ("AnnData", "anndata", "anndata")}


def write_table(table: "pd.DataFrame", path: str | Path, pictures: "Cutouts | None" = None) -> None:
    """Write a table to a file that is complete or does not appear.

    .csv: UTF-8, quoted where it must be, numbers in full. .h5: a structured array `table`, text as UTF-8
    bytes, as ilastik writes it, and a picture of each object if `pictures` says where from. .parquet and
    .h5ad (AnnData): with the extras of these names.
    """
    file = check_path(path, pictures=pictures is not None)
    try:
        if pictures is None:
            write_whole(file, WRITERS[file.suffix.lower()](table))
            return
        with committed(file) as partial:
            _write_pictures(file, partial, table, pictures)
    except InputError as error:
        raise error.at(str(file)) from None


def check_path(path: str | Path, *, pictures: bool = False) -> Path:
    """`path`, if a table can be written there: an error before anything is measured."""
    file = Path(path)
    suffix = file.suffix.lower()
    if suffix not in WRITERS and file.is_dir():
        raise FileError(f"{file}: is a folder", hint="name a file in it, such as objects.csv")
    if suffix not in WRITERS:
        raise InputError(
            f"{file}: no table has the suffix {file.suffix!r}", hint=f"choose one of {' '.join(WRITERS)}"
        )
    if pictures and suffix not in HDF5:
        raise InputError(
            f"{file}: a {suffix} table holds no pictures of objects", hint="write .h5, or leave them out"
        )
    check_place(file)
    name, package, extra = NEEDS.get(suffix, ("", "", ""))
    if package and find_spec(package) is None:
        raise BackendUnavailableError(
            f"{file}: {name} needs the package {package}, which is not installed",
            hint=f"pip install 'gpuseg[{extra}]', or write .csv or .h5",
        )
    return file


class _Patient(FileIO):
    """A file for HDF5 to write to, that fails when it is asked and not before.

    HDF5 that cannot write what it has left, for the disk is full, crashes the process at its end.
    """

    error: OSError | None = None

    def write(self, data: Any) -> int:
        rest = memoryview(data).cast("B")
        with self._kept():
            while rest:
                rest = rest[super().write(rest) :]
        return memoryview(data).nbytes

    def truncate(self, length: int | None = None) -> int:
        with self._kept():
            super().truncate(length)
        return length or 0

    @contextmanager
    def _kept(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self.error = self.error or error

    def check(self) -> None:
        """Raise the error that there was."""
        if self.error is not None:
            raise self.error


def _write_pictures(file: Path, partial: Path, table: "pd.DataFrame", cutouts: "Cutouts") -> None:
    """Table and pictures, straight to the file: all pictures together may be larger than memory."""
    import h5py

    from gpuseg.io.hdf5 import VERSION
    from gpuseg.tables.cutouts import GROUP, ImageWriter, first_row

    rows = _rows(table)
    with _Patient(partial, "xb+") as stream:
        with h5py.File(stream, "w", libver=VERSION, rdcc_nbytes=0) as stored:
            _store(stored, rows)
            pictures = ImageWriter(stored.create_group(GROUP), table, cutouts, stream.check)
            pictures.write()
        stream.check()
        os.fsync(stream.fileno())
    with h5py.File(partial, "r", locking="best-effort") as stored:
        same = stored[DATASET][()].tobytes() == rows.tobytes()
        for name, values in pictures.samples.items():
            found = stored[name]
            same = same and found[first_row(found.ndim)].tobytes() == values.tobytes()
    if not same:
        raise unlike(file)


def _csv(table: "pd.DataFrame") -> bytes:
    text: str = table.to_csv(index=False, lineterminator="\n")
    if "\r" in text:  # the csv module quotes it from Python 3.13 on; a reader would end the line there
        text = table.to_csv(index=False, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    return text.encode(errors="backslashreplace")


def _hdf5(table: "pd.DataFrame") -> bytes:
    import h5py

    from gpuseg.io.hdf5 import VERSION

    stream = BytesIO()
    with h5py.File(stream, "w", libver=VERSION) as file:
        _store(file, _rows(table))
    return stream.getvalue()


def _rows(table: "pd.DataFrame") -> NDArray[Any]:
    """A structured array, text as UTF-8 bytes."""
    columns = {str(name): table[name].to_numpy() for name in table}
    stored = {
        name: values if values.dtype.kind in "biuf" else np.array([_bytes(v) for v in values], "S")
        for name, values in columns.items()
    }
    rows = np.empty(len(table), [(name, values.dtype) for name, values in stored.items()])
    for name, values in stored.items():
        rows[name] = values
    return rows


def _bytes(value: Any) -> bytes:
    return str(value).encode(errors="backslashreplace")  # names of files may be no text


def _store(file: Any, rows: NDArray[Any]) -> None:
    try:
        file.create_dataset(DATASET, data=rows)
    except (OSError, RuntimeError, ValueError) as error:
        if "too large" not in str(error):
            raise
        # A type is described in 64 kB at most, under a name of its own too.
        raise InputError(
            f"{len(rows.dtype.names or ())} columns are more than HDF5 can name in one table",
            hint="write .csv or .parquet, or choose fewer features",
        ) from error


def _parquet(table: "pd.DataFrame") -> bytes:
    stream = BytesIO()
    table.to_parquet(stream, engine="pyarrow", index=False)
    return stream.getvalue()


def _anndata(table: "pd.DataFrame") -> bytes:
    """What was measured in X, what objects are called and were predicted in obs, centres in obsm."""
    import anndata
    import h5py
    import pandas as pd

    from gpuseg.objects.columns import CENTER

    said = [name for name in table if name in (*IDENTITY, ORIGINAL) or of_class(str(name))]
    features = [name for name in table if name not in said]
    about = table[said].set_axis([name.replace("/", "∕") for name in said], axis=1)  # HDF5 would make a group
    data = anndata.AnnData(
        X=table[features].to_numpy(np.float64),
        obs=about.set_axis(table["object_id"].astype(str)).rename_axis(None),
        var=pd.DataFrame(index=features),
        obsm={"spatial": table[[n for n in features if n.startswith(f"{CENTER}_")]].to_numpy(np.float64)},
    )
    stream = BytesIO()
    with h5py.File(stream, "w") as file:
        anndata.io.write_elem(file, "/", data)
    return stream.getvalue()


WRITERS: dict[str, Callable[["pd.DataFrame"], bytes]] = {
    ".csv": _csv,
    **dict.fromkeys(HDF5, _hdf5),
    ".parquet": _parquet,
    ".h5ad": _anndata,
}
