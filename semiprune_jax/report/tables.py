"""Results over seeds, as CSV, Markdown and text."""

from pathlib import Path
from typing import Any

import numpy as np

from semiprune_jax.select.coreset import keep_text
from semiprune_jax.workdir.formats import write_atomically, write_csv

COLUMNS = (
    *("name", "keep", "pruned", "examples", "labels", "n"),
    *("test_accuracy_mean", "test_accuracy_std", "best_test_accuracy_mean", "best_test_accuracy_std"),
)


def summarise(results: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """One row per name and kept fraction: mean and standard deviation over seeds.

    ``test_accuracy`` is that of the last epoch. ``best_test_accuracy`` is that of the best evaluation, which is
    optimistic, since the test set chooses it. Accuracies are fractions. The standard deviation divides by n - 1, and is
    None for one seed.

    Args:
      results: directory name -> result.json of a retraining.
    """
    groups: dict[tuple[str, float], list[dict[str, Any]]] = {}
    for result in results.values():
        groups.setdefault((result["name"], result["keep"]), []).append(result)
    rows = []
    for (name, keep), group in groups.items():
        row = {
            "name": name,
            "keep": keep,
            "pruned": round(1 - keep, 6),
            "examples": group[0]["examples"],
            "labels": group[0]["labels"],
            "n": len(group),
        }
        for key in ("test_accuracy", "best_test_accuracy"):
            values = [result[key] for result in group if key in result]
            row[f"{key}_mean"] = float(np.mean(values)) if values else None
            row[f"{key}_std"] = float(np.std(values, ddof=1)) if len(values) > 1 else None
        rows.append(row)
    return rows


def write(directory: Path, rows: list[dict[str, Any]]) -> None:
    """Writes results.csv with one line per row, and results.md with the grid of ``as_grid``."""
    write_csv(directory / "results.csv", COLUMNS, rows)
    head, *body = as_grid(rows)
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *body]
    markdown = "".join(f"| {' | '.join(line)} |\n" for line in lines)
    write_atomically(directory / "results.md", f"{CAPTION}\n\n{markdown}".encode())


CAPTION = "Test accuracy (%) after the last epoch: mean ± standard deviation (seeds), by fraction kept."


def as_grid(rows: list[dict[str, Any]]) -> list[list[str]]:
    """A header, then one line per name; one column per kept fraction, the largest first."""
    keeps = [keep_text(keep) for keep in sorted({row["keep"] for row in rows}, reverse=True)]
    cells = {(row["name"], keep_text(row["keep"])): _cell(row) for row in rows}
    names = dict.fromkeys(row["name"] for row in rows)
    head = ["", *(f"keep {keep}" for keep in keeps)]
    return [head, *([name, *(cells.get((name, keep), "") for keep in keeps)] for name in names)]


def as_text(rows: list[dict[str, Any]]) -> str:
    """The grid with aligned columns."""
    grid = as_grid(rows)
    if len(grid) == 1:
        return "No network has been retrained yet."
    widths = [max(len(line[i]) for line in grid) for i in range(len(grid[0]))]
    lines = [
        "   ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in grid
    ]
    return "\n".join([CAPTION, "", *(line.rstrip() for line in lines)])


def _cell(row: dict[str, Any]) -> str:
    mean, std = row["test_accuracy_mean"], row["test_accuracy_std"]
    if mean is None:
        return "no test set"
    return f"{100 * mean:.1f}" + (f" ± {100 * std:.1f}" if std is not None else "") + f" ({row['n']})"
