"""Tables of images and labels: CSV or parquet, with the columns ``path`` and ``label``."""

import csv
import io
import math
from typing import Any, NamedTuple

from semiprune_jax.errors import DataError


class Line(NamedTuple):
    """One row of a table."""

    where: str  # "labels.csv, line 3", as a message should name it
    path: str  # with forward slashes
    label: str  # empty: unknown


def read_table(name: str, field: str) -> list[Line]:
    """The lines of a table, in its order; no path occurs twice.

    Args:
      name: ending in .parquet, or a CSV in UTF-8.
      field: the config field that named it, for messages.

    Raises:
      DataError: it cannot be read, or a line is wrong, which the message names.
    """
    from etils import epath  # tables may lie in a bucket

    try:
        data = epath.Path(name).read_bytes()
    except OSError as error:
        raise DataError(f"{field} = '{name}' cannot be read: {error.strerror or error}") from None
    rows, columns, hint = _parquet(name, data) if name.endswith(".parquet") else _csv(name, data)
    if "path" not in columns or "label" not in columns:
        raise DataError(f"{name} has the columns {', '.join(columns) or 'none'}; expected path,label{hint}")
    lines: list[Line] = []
    seen: set[str] = set()
    for where, row in rows:
        path = epath.Path(row["path"] or "").as_posix()
        if path in seen:
            raise DataError(f"{where}: {path!r} stands there twice; keep one line per image")
        seen.add(path)
        lines.append(Line(where, path, _text(row["label"])))
    return lines


def _text(value: Any) -> str:
    """A label as text; 3.0, which is how a table with blanks holds a whole number, becomes 3."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return str(int(value) if isinstance(value, float) and value.is_integer() else value).strip()


def _parquet(name: str, data: bytes) -> tuple[list[tuple[str, dict[str, Any]]], list[str], str]:
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.read_table(io.BytesIO(data))
    except Exception as error:  # the format and each of its compressions raise their own
        text = " ".join(str(error).split())
        raise DataError(f"{name} cannot be read as parquet ({text}); write it again, or use CSV") from None
    columns = [column for column in table.column_names if column in ("path", "label")]
    rows = table.select(columns).to_pylist()
    return [(f"{name}, row {i}", row) for i, row in enumerate(rows)], table.column_names, ""


def _csv(name: str, data: bytes) -> tuple[list[tuple[str, dict[str, Any]]], list[str], str]:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(f"{name}, line {line}, is not UTF-8 ({error.reason}); save the table as UTF-8") from None
    try:
        reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
        rows, columns = [(f"{name}, line {reader.line_num}", row) for row in reader], list(reader.fieldnames or [])
    except csv.Error as error:
        raise DataError(f"{name} cannot be read as CSV ({error}); save the table as CSV with commas") from None
    separators = [mark for mark in (";", "\t", "|") if len(columns) == 1 and mark in columns[0]]
    return rows, columns, f", separated by commas, not by {separators[0]!r}" if separators else ""
