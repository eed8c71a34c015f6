"""The report: tables, figures and the page, and the cases in which there is little to show."""

import numpy as np
import pytest

from semiprune_jax import report
from semiprune_jax.report import figures, tables
from semiprune_jax.report.contents import Contents


def result(name, keep, seed, accuracy):
    run = {"name": name, "keep": keep, "seed": seed, "examples": 10, "labels": "true labels"}
    return run | {"test_accuracy": accuracy, "best_test_accuracy": accuracy + 0.01}


RESULTS = {
    "a": result("random", 0.5, 0, 0.80),
    "b": result("random", 0.5, 1, 0.84),
    "c": result("random", 0.1, 0, 0.50),
    "d": result("semi_aum", 0.5, 0, 0.90),
}


def test_summary_over_seeds():
    rows = tables.summarise(RESULTS)
    assert [(row["name"], row["keep"], row["n"]) for row in rows] == [
        ("random", 0.5, 2),
        ("random", 0.1, 1),
        ("semi_aum", 0.5, 1),
    ]
    assert rows[0]["test_accuracy_mean"] == pytest.approx(0.82)
    assert rows[0]["test_accuracy_std"] == pytest.approx(0.04 / np.sqrt(2))
    assert rows[0]["best_test_accuracy_mean"] == pytest.approx(0.83)
    assert rows[1]["test_accuracy_std"] is None


def test_text_is_aligned():
    text = tables.as_texts(tables.summarise(RESULTS), None)[1].splitlines()
    assert text == [
        "                keep 0.50   keep 0.10",
        "random     82.0 ± 2.8 (2)    50.0 (1)",
        "semi_aum         90.0 (1)",
    ]
    assert tables.as_texts([], None) == ["No network has been retrained yet."]


def contents(rng, classes=3, n=40, **changes):
    score = rng.normal(size=n)
    kept = score > np.median(score)
    table = {"score": score, "kept": kept, "pseudo_label": np.arange(n) % classes}
    table["label_source"] = np.full(n, "fixmatch")
    spec = {
        "name": "semi_aum",
        "selector": "double_end",
        "score": "aum",
        "keep": 0.5,
        "kept": 20,
        "of": n,
        "pruned": 0.5,
    }
    losses = [{"loss_labelled": 1 / s, "loss_unlabelled": 1 / s} for s in range(1, 9)]
    trained = [{"stage": "pseudolabel", "step": s} | line for s, line in enumerate(losses, 1)]
    tested = [{"stage": "retrain/a", "epoch": e, "test_accuracy": e / 9} for e in range(9)]
    values = {
        "classes": tuple(f"<class {c}>" for c in range(classes)),
        "examples": {"label": np.where(np.arange(n) < 9, np.arange(n) % classes, -1)},
        "pseudolabels": {"pseudo_label": np.arange(n) % classes, "label_source": np.full(n, "fixmatch")},
        "truth": None,
        "coresets": {"semi_aum_keep0.50": {"spec": spec, "table": table}},
        "results": RESULTS,
        "lines": [*trained, *tested],
        "quality": None,
        "search": None,
        "same_images": [["a_keep0.50", "b_keep0.50"]],
        "images": lambda ids: np.zeros((len(ids), 8, 8, 3), np.uint8),
        "examples_per_row": 4,
        "config": {"data": {"path": "<script>alert(1)</script>"}, "seed": 0},
    }
    values["classes"] = changes.pop("classes_named", values["classes"])
    return Contents(**(values | changes))


@pytest.mark.parametrize("classes", [3, 60])
def test_everything_is_drawn(tmp_path, rng, classes):
    report.write(tmp_path, contents(rng, classes=classes, n=max(40, classes)))
    figures = {p.name for p in (tmp_path / "figures").iterdir()}
    assert figures == {"accuracy.png", "scores.png", "training.png", "classes.png", "examples.png", "retraining.png"}
    page = (tmp_path / "index.html").read_text()
    assert page.count("data:image/png") == 6
    assert "<script>" not in page
    assert "&lt;script&gt;" in page


@pytest.mark.parametrize("with_truth", [False, True])
def test_labels_that_are_guesses_are_marked(rng, with_truth):
    """Without the truth, a name with a question mark is a pseudo-label; with it, both are shown where they differ."""
    truth = np.zeros(40, np.int32) if with_truth else None
    shown = contents(rng, classes_named=("ant", "bee", "cat"), truth=truth)
    figure = figures._examples(shown, shown.coresets)
    order = np.argsort(shown.coresets["semi_aum_keep0.50"]["table"]["score"], kind="stable")[:4]
    texts = [ax.texts[0].get_text() for ax in figure.axes[:4]]
    pseudo = [("ant", "bee", "cat")[row % 3] for row in order]
    if with_truth:
        assert texts == [name if name == "ant" else f"ant, read as {name}" for name in pseudo]
    else:
        assert texts == [name + "?" * int(row >= 9) for name, row in zip(pseudo, order, strict=True)]


def test_any_kept_fraction_and_class_name_can_be_shown(tmp_path, rng):
    results = {str(k): result("random", k, 0, k) for k in (0.12, 0.125, 0.001)}
    text = report.write(tmp_path, contents(rng, results=results, classes_named=("$a_$", "b^", "{c")))
    for keep in ("keep 0.125", "keep 0.12 ", "keep 0.001", "12.5 (1)", "12.0 (1)", "0.1 (1)"):
        assert keep in text


def test_cuts_lie_where_the_selection_cuts():
    score = np.arange(10.0)
    band = np.isin(score, [3, 4, 5])
    for spec, kept, expected in (
        ({"selector": "double_end", "score": "aum"}, band, [3, 5]),
        ({"selector": "double_end", "score": "el2n"}, band, [3, 5]),
        ({"selector": "top", "score": "aum", "end": "hard"}, score < 4, [3]),
        ({"selector": "top", "score": "dual", "end": "hard"}, score > 6, [7]),
        ({"selector": "top", "score": "dual", "end": "easy"}, score < 4, [3]),
        ({"selector": "stratified", "score": "aum", "cutoff": 0.3}, band, [3]),
        ({"selector": "stratified", "score": "el2n", "cutoff": 0.3}, band, [6]),
        ({"selector": "beta", "score": "dual"}, band, []),
    ):
        assert sorted(figures.cuts(spec, score, kept)) == expected, spec


def test_a_loss_below_zero_points_downwards(rng):
    """TEMI's loss is negative; its axis must neither be reversed nor lose the curve."""
    lines = [{"stage": "pseudolabel", "epoch": e, "loss": -0.1 * e, "best_loss": -0.2 * e} for e in range(1, 9)]
    ax = figures._training(contents(rng, lines=lines)).axes[0]
    low, high = ax.get_ylim()
    assert low < -1.6
    assert low < high
    assert ax.get_title() == "clusters"
    lines = [{"stage": "score", "epoch": e, "loss": 1.0 / e, "accuracy": 0.1 * e} for e in range(1, 9)]
    assert figures._training(contents(rng, lines=lines)).axes[0].get_ylim()[0] == 0


def test_a_search_is_shown(tmp_path, rng):
    chosen = {"semi_aum": {"cutoff": {"0.5": 0.1, "0.3": 0.4}, "horizon": None, "c_d": None, "exponent": None}}
    chosen["semi_dual"] = {"cutoff": {}, "horizon": 20, "c_d": 4.0, "exponent": None}
    found = {"chosen": chosen, "trials": 14, "steps": 2800.0, "seconds": 61.2}
    report.write(tmp_path, contents(rng, search=found))
    page = (tmp_path / "index.html").read_text()
    assert "Chosen by 14 trials of 2,800 steps and\n61 s in all" in page
    assert "<th>cutoff, by fraction kept</th><th>horizon</th><th>c_D</th></tr>" in page
    assert "<td>0.5: 0.1, 0.3: 0.4</td><td></td><td></td>" in page
    assert "<td></td><td>20</td><td>4.0</td>" in page


def test_clusters_are_not_shown_as_labels(rng):
    """Clusters have numbers, not names, so an image shows only its label."""
    made = contents(rng, truth=np.arange(40) % 3)
    made.pseudolabels["pseudo_label"] = (np.arange(40) + 1) % 3
    texts = [text.get_text() for ax in figures._examples(made, made.coresets).axes for text in ax.texts]
    assert all("read as" in text for text in texts)
    made.pseudolabels["label_source"][:] = "clusters"
    texts = [text.get_text() for ax in figures._examples(made, made.coresets).axes for text in ax.texts]
    assert set(texts) <= set(made.classes)


def test_clusters_without_the_truth(tmp_path, rng):
    """Known labels keep their names; the other images, and the figure of the classes, show clusters."""
    made = contents(rng)
    made.pseudolabels["pseudo_label"] = (np.arange(40) + 1) % 3
    made.pseudolabels["label_source"][:] = "clusters"
    assert figures._named(made, 0) == "<class 0>"
    assert figures._named(made, 9) == "cluster 1"
    ticks = [tick.get_text() for tick in figures._classes(made).axes[0].get_xticklabels()]
    assert ticks == ["cluster 0", "cluster 1", "cluster 2"]
    report.write(tmp_path, made)
    assert "so that no network is retrained" in (tmp_path / "index.html").read_text()
    known = contents(rng)
    assert [figures._named(known, row) for row in (0, 9)] == ["<class 0>", "<class 0>?"]


def test_nothing_to_show_yet(tmp_path, rng):
    text = report.write(tmp_path, contents(rng, coresets={}, results={}, lines=[]))
    assert "No network" in text
    assert "No network has been retrained yet" in (tmp_path / "index.html").read_text()


def test_without_a_test_set(tmp_path, rng):
    results = {"a": {k: v for k, v in RESULTS["a"].items() if "accuracy" not in k}}
    assert "no test set" in report.write(tmp_path, contents(rng, results=results))
