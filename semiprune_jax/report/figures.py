"""The report's figures, as PNG files that remain legible in grey."""

from pathlib import Path
from typing import Any

import numpy as np

from semiprune_jax.report.contents import Contents
from semiprune_jax.select.coreset import keep_text, orientation
from semiprune_jax.select.scores import SCORES
from semiprune_jax.select.selectors import SELECTORS

DARK, LIGHT, LINE = "#1f3b57", "#c9d2db", "#b5442c"
_MARKERS, _DASHES = "osD^vPX*", ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1, 1, 1)))
_SHADES = ("#000000", "#1f3b57", "#b5442c", "#5b8c5a", "#8a6fae", "#7f7f7f", "#c29a2c")


def draw(directory: Path, contents: Contents, rows: list[dict[str, Any]]) -> dict[str, Path]:
    """Draws every figure that has something to show, and returns caption -> file.

    Args:
      rows: as ``tables.summarise`` returns them.
    """
    directory.mkdir(parents=True, exist_ok=True)
    scored = {name: c for name, c in contents.coresets.items() if "score" in c["spec"]}
    figures = {
        "accuracy.png": ("Test accuracy by fraction kept: mean and standard deviation over seeds.", _accuracy(rows)),
        "scores.png": (
            "Scores of the pool (light) and of the coreset (dark). Dashed lines show where the selector cuts.",
            _scores(scored),
        ),
        "classes.png": (
            f"Images of the pool (light) and of the coreset (dark), by {_label_kind(contents)}.",
            _classes(contents),
        ),
        "examples.png": (
            "The hardest, kept and easiest images, each with its label, or with its cluster if no label is known."
            if contents.clustered
            else "The hardest, kept and easiest images, each with its label. A question mark marks a pseudo-label; "
            "'read as' names a pseudo-label that differs from the label.",
            _examples(contents, scored),
        ),
        "training.png": ("The trainings that give pseudo-labels and the proxy's scores.", _training(contents)),
        "retraining.png": (
            "Test accuracy of the retrained networks during training, mean over seeds.",
            _retraining(contents),
        ),
    }
    drawn = {}
    for file, (caption, figure) in figures.items():
        (directory / file).unlink(missing_ok=True)  # an earlier report may have drawn it
        if figure is not None:
            figure.savefig(directory / file, dpi=110, metadata={"Software": None})
            drawn[caption] = directory / file
    return drawn


def _axes(rows: int, columns: int, width: float, height: float, **options):
    from matplotlib.figure import Figure  # a slow import; pyplot would start a window system

    figure = Figure((width, height), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, **options)
    for ax in axes.flat:
        ax.spines[["top", "right"]].set_visible(False)
        ax.tick_params(labelsize=8)
    return figure, axes


def _label_kind(contents: Contents) -> str:
    if contents.truth is not None:
        return "true label"
    return "cluster" if contents.clustered else "pseudo-label"


def _style(names: list[str], name: str) -> dict[str, Any]:
    """Colour, marker and dashes of a selection; marker and dashes distinguish selections in grey."""
    i = names.index(name)
    return {
        "color": _SHADES[i % len(_SHADES)],
        "marker": _MARKERS[i % len(_MARKERS)],
        "linestyle": _DASHES[i % len(_DASHES)],
        "markersize": 5,
        "linewidth": 1.2,
        "label": name,
    }


def _accuracy(rows: list[dict[str, Any]]):
    tested = [row for row in rows if row["test_accuracy_mean"] is not None]
    if not tested:
        return None
    figure, axes = _axes(1, 1, 6.4, 4.0)
    ax = axes[0, 0]
    names = list(dict.fromkeys(row["name"] for row in tested))
    keeps = sorted({100 * row["keep"] for row in tested if row["name"] != "full"}) or [100.0]
    apart = 0.008 * (keeps[-1] - keeps[0])  # error bars at one kept fraction stand side by side
    for i, name in enumerate(names):
        points = sorted(
            (r["keep"], r["test_accuracy_mean"], r["test_accuracy_std"] or 0) for r in tested if r["name"] == name
        )
        keep, mean, std = 100 * np.array(points).T
        if name == "full":
            ax.axhline(mean[0], linestyle=(0, (1, 1)), linewidth=1, color="black", label="full")
        else:
            shift = apart * (i - (len(names) - 1) / 2)
            ax.errorbar(keep + shift, mean, std, capsize=3, **_style(names, name))
    ax.set_xticks(keeps, [f"{keep:g}" for keep in keeps])
    ax.set_xlabel("kept (% of the pool)", fontsize=9)
    ax.set_ylabel("test accuracy (%)", fontsize=9)
    ax.grid(axis="y", color=LIGHT, linewidth=0.5)
    ax.legend(fontsize=8, frameon=False)
    return figure


def _small_multiples(coresets: dict[str, dict[str, Any]]):
    """A figure with one panel per coreset, one row per selection and one column per kept fraction.

    Returns:
      The figure, and for each coreset (ax, spec, table, whether its panel is the first of its row).
    """
    names = list(dict.fromkeys(c["spec"]["name"] for c in coresets.values()))
    keeps = sorted({c["spec"]["keep"] for c in coresets.values()}, reverse=True)
    figure, axes = _axes(len(names), len(keeps), 2.6 * len(keeps) + 0.8, 1.9 * len(names) + 0.4)
    for ax in axes.flat:
        ax.set_visible(False)
    panels = []
    for coreset in coresets.values():
        spec = coreset["spec"]
        ax = axes[names.index(spec["name"]), keeps.index(spec["keep"])]
        ax.set_visible(True)
        ax.set_title(f"{spec['name']}, keep {keep_text(spec['keep'])}", fontsize=9)
        panels.append((ax, spec, coreset["table"], keeps.index(spec["keep"]) == 0))
    return figure, panels


def _scores(coresets: dict[str, dict[str, Any]]):
    if not coresets:
        return None
    figure, panels = _small_multiples(coresets)
    for ax, spec, table, first in panels:
        score, kept = table["score"], table["kept"]
        bins = np.linspace(score.min(), score.max() + 1e-9, 41)
        ax.hist(score, bins, color=LIGHT, label="pool")
        ax.hist(score[kept], bins, color=DARK, label="kept")
        for cut in cuts(spec, score, kept):
            ax.axvline(cut, color=LINE, linewidth=1, linestyle="--")
        ax.set_yscale("log")
        ax.set_ylim(bottom=0.7)  # so that a bar of one example shows
        ax.yaxis.set_minor_formatter("")
        ax.set_xlabel(_score_title(spec["score"]), fontsize=8)
        if first:
            ax.set_ylabel("examples (log)", fontsize=8)
    figure.legend(
        *panels[0][0].get_legend_handles_labels(), loc="outside upper right", ncols=2, fontsize=8, frameon=False
    )
    return figure


def cuts(spec: dict[str, Any], score: np.ndarray, kept: np.ndarray) -> list[float]:
    """The values at which a selection cuts the score [N]: at both ends, at one, or nowhere."""
    turned = orientation(spec)
    return [turned * cut for cut in SELECTORS[spec["selector"]].cuts(spec, turned * score, kept)]


def _score_title(name: str) -> str:
    score = SCORES[name]
    return f"{score.title} ({'high' if score.high_is_hard else 'low'}: hard)"


def _training(contents: Contents):
    panels = (
        ("FixMatch: losses", "pseudolabel", "step", "nats", ("loss_labelled", "loss_unlabelled")),
        ("FixMatch: weak views", "pseudolabel", "step", "share", ("mask_rate", "class_entropy")),
        ("clusters", "pseudolabel", "epoch", "nats", ("loss", "best_loss")),
        ("proxy", "score", "epoch", "nats, share", ("loss", "accuracy")),
    )

    def points(stage: str, unit: str, key: str) -> list[tuple[float, float]]:
        lines = (line for line in contents.lines if line["stage"] == stage)
        return [(line[unit], line[key]) for line in lines if key in line and unit in line]

    panels = [panel for panel in panels if all(points(panel[1], panel[2], key) for key in panel[4])]
    if not panels:
        return None
    figure, axes = _axes(1, len(panels), 10.0 / 3 * len(panels), 2.9)
    for ax, (title, stage, unit, values, keys) in zip(axes[0], panels, strict=True):
        for key, dashes in zip(keys, ("-", "--"), strict=True):
            ax.plot(
                *np.array(points(stage, unit, key)).T, dashes, color=DARK, linewidth=1.2, label=key.replace("_", " ")
            )
        ax.set_title(title, fontsize=9)
        ax.set_xlabel(unit, fontsize=8)
        ax.set_ylabel(values, fontsize=8)
        if ax.dataLim.ymin >= 0:  # TEMI's loss is negative
            ax.set_ylim(bottom=0)
        ax.legend(fontsize=8, frameon=False)
    return figure


def _retraining(contents: Contents):
    """One panel per kept fraction, one line per selection."""
    curves: dict[tuple[float, str], dict[float, list[float]]] = {}
    for directory, result in contents.results.items():
        points = curves.setdefault((result["keep"], result["name"]), {})
        for line in contents.lines:
            if line["stage"] == f"retrain/{directory}" and "test_accuracy" in line:
                points.setdefault(line["epoch"], []).append(100 * line["test_accuracy"])
    curves = {key: points for key, points in curves.items() if points}
    if not curves:
        return None
    names = list(dict.fromkeys(name for _, name in curves))
    keeps = sorted({keep for keep, _ in curves}, reverse=True)
    figure, axes = _axes(1, len(keeps), 2.6 * len(keeps) + 0.8, 2.9, sharey=True)
    for (keep, name), points in curves.items():
        epochs = sorted(points)
        mean = [np.mean(points[epoch]) for epoch in epochs]
        axes[0, keeps.index(keep)].plot(epochs, mean, **_style(names, name) | {"markersize": 3})
    for ax, keep in zip(axes[0], keeps, strict=True):
        ax.set_title(f"keep {keep_text(keep)}", fontsize=9)
        ax.set_xlabel("epoch", fontsize=8)
        ax.legend(fontsize=7, frameon=False)
    axes[0, 0].set_ylabel("test accuracy (%)", fontsize=8)
    return figure


def _classes(contents: Contents):
    if not contents.coresets:
        return None
    (labels, names), number = contents.groups, len(contents.classes)
    before = np.bincount(labels, minlength=number)
    order = np.argsort(-before, kind="stable") if number > 20 else np.arange(number)
    figure, panels = _small_multiples(contents.coresets)
    for ax, _, table, first in panels:
        after = np.bincount(labels[table["kept"]], minlength=number)
        ax.bar(np.arange(number), before[order], width=0.9, color=LIGHT, label="pool")
        ax.bar(np.arange(number), after[order], width=0.9 if number > 20 else 0.6, color=DARK, label="kept")
        if number <= 20:
            ax.set_xticks(np.arange(number), [names[c][:10].replace("$", r"\$") for c in order], fontsize=7)
            long = max(len(name) for name in names) > 2
            ax.tick_params(axis="x", rotation=60 if long else 0)
        else:
            ax.set_xlabel("classes, largest first", fontsize=8)
        if first:
            ax.set_ylabel("examples", fontsize=8)
    figure.legend(
        *panels[0][0].get_legend_handles_labels(), loc="outside upper right", ncols=2, fontsize=8, frameon=False
    )
    return figure


def _examples(contents: Contents, coresets: dict[str, dict[str, Any]]):
    """Images from the hard end, the coreset and the easy end of the first scored selection, at its middle fraction."""
    if not coresets:
        return None
    first = next(iter(coresets.values()))["spec"]["name"]
    same = sorted((c for c in coresets.values() if c["spec"]["name"] == first), key=lambda c: c["spec"]["keep"])
    coreset = same[len(same) // 2]
    spec, table, count = coreset["spec"], coreset["table"], contents.examples_per_row
    score = -table["score"] if SCORES[spec["score"]].high_is_hard else table["score"]
    order = np.argsort(score, kind="stable")
    kept = order[table["kept"][order]]
    rows = {
        "hardest of the pool": order[:count],
        f"kept by {first} at {keep_text(spec['keep'])}": kept[
            np.linspace(0, len(kept) - 1, min(count, len(kept))).astype(int)
        ],
        "easiest of the pool": order[::-1][:count],
    }
    figure, axes = _axes(3, count, 1.05 * count + 0.3, 4.4)
    for i, (title, ids) in enumerate(rows.items()):
        axes[i, 0].set_title(title, fontsize=9, loc="left", pad=16)
        for ax in axes[i]:
            ax.axis("off")
        for ax, image, row in zip(axes[i], contents.images(ids), ids, strict=False):
            ax.imshow(image, interpolation="nearest")
            ax.text(0.0, 1.03, _named(contents, row), transform=ax.transAxes, fontsize=7, va="bottom", parse_math=False)
    return figure


def _named(contents: Contents, row: int) -> str:
    """The label of an image: with "?" if it is a pseudo-label, and with the pseudo-label if that differs."""
    label, guesses = contents.labels[row], contents.pseudolabels
    if label < 0:
        return contents.groups[1][contents.groups[0][row]]
    name = contents.classes[label]
    if contents.truth is None and contents.examples["label"][row] < 0:
        return f"{name}?"
    if guesses is None or contents.clustered or guesses["pseudo_label"][row] == label:
        return name
    return f"{name}, read as {contents.classes[guesses['pseudo_label'][row]]}"
