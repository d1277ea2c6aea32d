"""Tables as files: every format gives back what was written, whole or not at all."""

import csv
import os
import sys

import h5py
import numpy as np
import pandas as pd
import pytest

from gpuseg import tables
from gpuseg.errors import BackendUnavailableError, FileError, InputError, ResourceError
from gpuseg.tables import write_table

TABLE = pd.DataFrame(
    {
        "image": ['a, "b".h5', "Zellen µ.tif"],
        "object_id": np.array([0, 1]),
        "Size (µm²)": [0.1 + 0.2, 1e-300],
        "Skewness": [np.nan, -1.5],
    }
)


def read(path):
    if path.suffix == ".csv":
        return pd.read_csv(path)
    if path.suffix == ".parquet":
        return pd.read_parquet(path)
    with h5py.File(path) as file:
        rows = file["table"][()]
    return pd.DataFrame(
        {n: rows[n] if rows[n].dtype.kind != "S" else _text(rows[n]) for n in rows.dtype.names}
    )


def _text(column):
    return [value.decode() for value in column]


@pytest.mark.parametrize("suffix", [".csv", ".h5", ".hdf5", ".parquet", ".CSV"])
def test_a_table_reads_back_as_it_was_written(tmp_path, suffix):
    write_table(TABLE, tmp_path / f"new/table{suffix}")
    found = read((tmp_path / f"new/table{suffix}").rename(tmp_path / f"t{suffix.lower()}"))
    pd.testing.assert_frame_equal(found, TABLE, check_exact=True)


@pytest.mark.parametrize("suffix", [".csv", ".h5", ".parquet"])
def test_a_table_without_rows_keeps_its_columns(tmp_path, suffix):
    write_table(TABLE[:0], tmp_path / f"t{suffix}")
    found = read(tmp_path / f"t{suffix}")
    assert (list(found), len(found)) == (list(TABLE), 0)


def test_names_with_commas_and_quotes_are_quoted(tmp_path):
    write_table(TABLE, tmp_path / "t.csv")
    with (tmp_path / "t.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    assert [len(row) for row in rows] == [4, 4, 4]
    assert rows[1][0] == 'a, "b".h5'


def test_hdf5_has_a_structured_array_with_text_as_bytes(tmp_path):
    write_table(TABLE, tmp_path / "t.h5")
    with h5py.File(tmp_path / "t.h5") as file:
        assert list(file) == ["table"]
        assert file["table"].dtype.names == tuple(TABLE)
        assert file["table"]["image"][1] == "Zellen µ.tif".encode()
        assert file["table"]["object_id"].dtype == np.int64


def test_many_columns_fit_or_are_refused_by_name(tmp_path):
    wide = pd.DataFrame({f"a rather long title of a feature_{k}": [1.0] for k in range(3000)})
    write_table(wide, tmp_path / "t.csv")
    with pytest.raises(InputError, match=r"t.h5: 3000 columns are more than HDF5(.|\n)*\.csv"):
        write_table(wide, tmp_path / "t.h5")


@pytest.mark.parametrize("name", ["t.xlsx", "t", "t.txt"])
def test_an_unknown_suffix_is_refused(tmp_path, name):
    with pytest.raises(InputError, match=r"no table has the suffix(.|\n)*\.csv \.h5 \.hdf5 \.parquet"):
        tables.check_path(tmp_path / name)


def test_a_folder_is_refused(tmp_path):
    (tmp_path / "t.csv").mkdir()
    with pytest.raises(FileError, match="is a folder"):
        write_table(TABLE, tmp_path / "t.csv")


def test_a_folder_that_cannot_be_written_to_is_refused_before_anything_is_done(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    with pytest.raises(FileError, match=r"t.csv: .*file is no folder"):
        tables.check_path(tmp_path / "file/new/t.csv")
    access = os.access  # tests may run as root, who may write anywhere
    monkeypatch.setattr("os.access", lambda p, mode: access(p, mode) and (p != tmp_path or mode == os.F_OK))
    with pytest.raises(FileError, match=r"t.csv: .* is not writable"):
        tables.check_path(tmp_path / "new/er/t.csv")
    assert not (tmp_path / "new").exists()


def test_parquet_without_pyarrow_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setattr(tables, "find_spec", lambda name: None)
    with pytest.raises(BackendUnavailableError, match=r"pyarrow(.|\n)*pip install 'gpuseg\[parquet\]'"):
        tables.check_path(tmp_path / "t.parquet")


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    (tmp_path / "t.csv").write_text("old")

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(ResourceError, match=r"t.csv: cannot be written: No space left on device; it takes"):
        write_table(TABLE, tmp_path / "t.csv")
    assert [p.name for p in tmp_path.iterdir()] == ["t.csv"]
    assert (tmp_path / "t.csv").read_text() == "old"


def test_what_does_not_read_back_is_no_result(tmp_path, monkeypatch):
    monkeypatch.setattr("pathlib.Path.read_bytes", lambda self: b"")
    with pytest.raises(ResourceError, match="does not read back"):
        write_table(TABLE, tmp_path / "t.csv")
    assert not list(tmp_path.iterdir())
