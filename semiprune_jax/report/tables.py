"""Results over seeds, as CSV, Markdown and text."""

from pathlib import Path
from typing import Any

import numpy as np

from semiprune_jax.report.verdict import Judged, Verdict
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


def as_texts(rows: list[dict[str, Any]], verdict: Verdict | None) -> list[str]:
    """Paragraphs for a terminal: the results on a test set, if there is one, the estimates, and the verdict."""
    if not rows:
        return ["No network has been retrained yet."]
    texts = []
    if verdict is None or any(row["test_accuracy_mean"] is not None for row in rows):
        texts += [CAPTION, _aligned(as_grid(rows))]
    if verdict:
        if verdict.judged:
            texts += [judged_caption(verdict), _aligned(judged_grid(verdict))]
        texts.append("\n".join(["Verdict", *(f"- {sentence}" for sentence in verdict.words)]))
    return texts


def judged_caption(verdict: Verdict) -> str:
    """The caption of ``judged_grid``."""
    truth = "; in brackets that of the same networks on the test set" * any(j.truth is not None for j in verdict.judged)
    return (
        f"Accuracy (%) of networks trained on pseudo-labels, by {verdict.pseudo_labels.n} labels that no training has "
        f"read, with 95% intervals{truth}."
    )


def judged_grid(verdict: Verdict) -> list[list[str]]:
    """A header, then one line per selection; one column per kept fraction, the largest first."""
    keeps = sorted({entry.keep for entry in verdict.judged}, reverse=True)
    cells = {(entry.name, entry.keep): _judged_cell(entry) for entry in verdict.judged}
    names = dict.fromkeys(entry.name for entry in verdict.judged)
    head = ["", *(f"keep {keep_text(keep)}" for keep in keeps)]
    return [head, *([name, *(cells.get((name, keep), "") for keep in keeps)] for name in names)]


def _judged_cell(entry: Judged) -> str:
    value, low, high = (100 * x for x in entry.accuracy[:3])
    return f"{value:.1f} ({low:.1f} to {high:.1f})" + (f" [{100 * entry.truth:.1f}]" if entry.truth is not None else "")


def verdict_as_json(verdict: Verdict) -> dict[str, Any]:
    """The verdict as plain values: accuracies and differences as fractions, with their intervals."""
    return {
        "pseudo_labels": verdict.pseudo_labels._asdict() | {"truth": verdict.truth},
        "selections": [
            entry._asdict()
            | {"accuracy": entry.accuracy._asdict(), "ahead": entry.ahead._asdict() if entry.ahead else None}
            for entry in verdict.judged
        ],
        "fixmatch": verdict.rising._asdict() if verdict.rising else None,
        "words": verdict.words,
    }


def _aligned(grid: list[list[str]]) -> str:
    """The grid with aligned columns."""
    widths = [max(len(line[i]) for line in grid) for i in range(len(grid[0]))]
    lines = [
        "   ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in grid
    ]
    return "\n".join(line.rstrip() for line in lines)


def _cell(row: dict[str, Any]) -> str:
    mean, std = row["test_accuracy_mean"], row["test_accuracy_std"]
    if mean is None:
        return "no test set"
    return f"{100 * mean:.1f}" + (f" ± {100 * std:.1f}" if std is not None else "") + f" ({row['n']})"
