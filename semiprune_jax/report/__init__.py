"""The report of a run: tables, figures and one self-contained page."""

from pathlib import Path

from semiprune_jax.report import figures, page, tables
from semiprune_jax.report.contents import Contents
from semiprune_jax.workdir import formats

__all__ = ["Contents", "write"]


def write(directory: Path, contents: Contents) -> str:
    """Writes results.csv, results.md, verdict.json, the figures and index.html; returns text for a terminal."""
    directory.mkdir(parents=True, exist_ok=True)
    rows = tables.summarise(contents.results)
    tables.write(directory, rows)
    (directory / "verdict.json").unlink(missing_ok=True)
    if contents.verdict:
        formats.write_json(directory / "verdict.json", tables.verdict_as_json(contents.verdict))
    drawn = figures.draw(directory / "figures", contents, rows)
    page.write(directory / "index.html", contents, rows, drawn)
    texts = tables.as_texts(rows, contents.verdict)
    if rows and contents.verdict is None:
        texts.append("No verdict: there are no labels held out that could judge (label.held_out).")
    return "\n\n".join(texts)
