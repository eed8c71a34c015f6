"""The file formats of a work directory. Files are written whole or not at all, and nothing is ever unpickled."""

import csv
import hashlib
import io
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from semiprune_jax.distributed import processes
from semiprune_jax.errors import DataError


def write_atomically(path: Path, data: bytes | Callable[[BinaryIO], object]) -> None:
    """On process 0: writes a file under a temporary name, flushes it to the disk, and renames it into place.

    ``data`` holds the bytes to write, or is a function that writes them.
    """
    if not processes.is_lead_host():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(data) if isinstance(data, bytes) else data(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Writes indented JSON."""
    write_atomically(path, (json.dumps(value, indent=2) + "\n").encode())


def read_json(path: Path, *fields: str) -> Any:
    """Reads JSON; DataError if the file is missing or broken, or is not an object with all of ``fields``."""
    _expect(path)
    try:
        value = json.loads(path.read_text())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise _broken(path, error) from None
    if fields and not (isinstance(value, dict) and value.keys() >= set(fields)):
        raise _broken(path, f"expected an object with {', '.join(fields)}")
    return value


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """Writes one string per line, in UTF-8."""
    write_atomically(path, "".join(f"{line}\n" for line in lines).encode())


def read_lines(path: Path) -> list[str]:
    """Reads one string per line."""
    _expect(path)
    try:
        return path.read_text().splitlines()
    except UnicodeDecodeError as error:
        raise _broken(path, error) from None


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Writes a header and one line per row; a value that a row lacks is left blank."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns)
    writer.writeheader()
    writer.writerows(rows)
    write_atomically(path, text.getvalue().encode())


def write_npz(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes named arrays."""
    # Straight into the file, since dynamics take gigabytes. (Numpy's stub types every keyword as a bool.)
    write_atomically(path, lambda file: np.savez(file, **arrays))  # pyright: ignore[reportArgumentType]


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """Reads named arrays; objects are refused."""
    _expect(path)
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:  # np.load leaves broken files open
            return dict(arrays)
    except Exception as error:  # numpy and zlib raise many types of errors
        raise _broken(path, error) from None


def write_table(path: Path, columns: Mapping[str, Any]) -> None:
    """Writes a parquet file of equally long columns."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = io.BytesIO()
    pq.write_table(pa.table(dict(columns)), sink, compression="zstd")
    write_atomically(path, sink.getvalue())


def read_table(path: Path, *columns: str) -> dict[str, np.ndarray]:
    """Reads the named columns of a parquet file, where it has them, or all; text becomes an object array."""
    import pyarrow.parquet as pq

    _expect(path)
    try:
        with pq.ParquetFile(path) as file:
            table = file.read([name for name in file.schema_arrow.names if name in columns] if columns else None)
    except Exception as error:  # arrow's own, and OSError
        raise _broken(path, error) from None
    return {name: table.column(name).to_numpy(zero_copy_only=False) for name in table.column_names}


def _expect(path: Path) -> None:
    if not path.exists():
        raise DataError(f"{path} is missing; run the stage that writes it, or restore it")


def _broken(path: Path, reason: object) -> DataError:
    text = " ".join(str(reason).split())
    return DataError(f"{path} cannot be read ({text}); restore it, or start afresh with --overwrite")


def hash_file(path: Path) -> str:
    """sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
