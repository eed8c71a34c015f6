"""The report of a run: tables, figures and one self-contained page."""

from pathlib import Path

from semiprune_jax.report import figures, page, tables
from semiprune_jax.report.contents import Contents

__all__ = ["Contents", "write"]


def write(directory: Path, contents: Contents) -> str:
    """Writes results.csv, results.md, the figures and index.html; returns the table as text for a terminal."""
    directory.mkdir(parents=True, exist_ok=True)
    rows = tables.summarise(contents.results)
    tables.write(directory, rows)
    drawn = figures.draw(directory / "figures", contents, rows)
    page.write(directory / "index.html", contents, rows, drawn)
    return tables.as_text(rows)
