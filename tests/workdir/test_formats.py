import numpy as np
import pytest

from semiprune_jax.errors import DataError
from semiprune_jax.workdir import formats


def test_nothing_half_written(tmp_path, monkeypatch):
    path = tmp_path / "x.json"
    formats.write_json(path, 1)

    def fail(fd):
        raise OSError("disk full")

    monkeypatch.setattr(formats.os, "fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        formats.write_json(path, 2)
    assert formats.read_json(path) == 1
    assert [p.name for p in tmp_path.iterdir()] == ["x.json"]


def test_arrays_that_do_not_fit_leave_those_before(tmp_path, monkeypatch):
    """Arrays are written straight into a file, which may fail midway."""
    path = tmp_path / "x.npz"
    formats.write_npz(path, {"a": np.arange(3)})

    def fail(file, **arrays):
        file.write(b"half of it")
        raise OSError("disk full")

    monkeypatch.setattr(formats.np, "savez", fail)
    with pytest.raises(OSError, match="disk full"):
        formats.write_npz(path, {"a": np.arange(4)})
    assert formats.read_npz(path)["a"].tolist() == [0, 1, 2]
    assert [p.name for p in tmp_path.iterdir()] == ["x.npz"]


def test_tables_and_arrays_come_back(tmp_path):
    columns = {"id": np.arange(3), "key": ["a", "b/ü.png", "c"], "kept": np.array([True, False, True])}
    formats.write_table(tmp_path / "t.parquet", columns)
    back = formats.read_table(tmp_path / "t.parquet")
    assert back["key"].tolist() == columns["key"]
    assert back["kept"].dtype == bool
    np.savez(tmp_path / "objects.npz", x=np.array([{}], object))
    with pytest.raises(DataError, match="allow_pickle"):
        formats.read_npz(tmp_path / "objects.npz")


@pytest.mark.parametrize("read", [formats.read_table, formats.read_npz, formats.read_json])
def test_what_cannot_be_read_is_named(tmp_path, read):
    (tmp_path / "x").write_bytes(b"PAR1\xff")
    with pytest.raises(DataError, match=r"x cannot be read \(.+\); restore it"):
        read(tmp_path / "x")


def test_missing_files_are_named(tmp_path):
    for read in (formats.read_json, formats.read_npz, formats.read_table):
        with pytest.raises(DataError, match="gone is missing; run the stage that writes it"):
            read(tmp_path / "gone")
