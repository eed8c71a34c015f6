"""The method end to end, in one process: every stage, its files, resuming, additions, refusals."""

import csv
import json
import re
import shutil

import numpy as np
import pytest
from PIL import Image

from semiprune_jax import pipeline
from semiprune_jax.config import schema
from semiprune_jax.data import sources
from semiprune_jax.errors import ConfigError, DataError, TrainingError
from semiprune_jax.features import blocks, kmeans, neighbours
from semiprune_jax.stages import label, pseudolabel
from semiprune_jax.stages.context import Context
from semiprune_jax.train import meter
from semiprune_jax.workdir import directory, formats
from tests import small


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """One whole run; tests that change it work on copies."""
    root = tmp_path_factory.mktemp("run")
    config = small.config()
    config.data.path = small.write_npz(root / "pool.npz")
    config.retrain.seeds = (0, 1)
    config.retrain.full = config.retrain.labelled_only = True
    saving = config.copy_and_resolve_references()
    saving.retrain.save_model = True
    lines = small.run(saving, root / "work")
    return root / "work", config, lines


def test_every_stage_leaves_what_the_readme_says(finished):
    work, _, _ = finished
    files = {str(p.relative_to(work)) for p in work.rglob("*") if p.is_file() and "model/" not in str(p)}
    for name in (
        *("config.json", "manifest.json", "metrics.jsonl", "metrics.csv", "examples.parquet", "oracle.parquet"),
        *("label/DONE.json", "label/classes.json", "pseudolabel/pseudolabels.parquet", "pseudolabel/quality.json"),
        *("score/dynamics.npz", "score/scores.parquet", "select/semi_aum_keep0.50/coreset.parquet"),
        *("select/semi_dual_keep0.25/kept.txt", "select/random_keep0.50/spec.json", "retrain/full_seed0/result.json"),
        *("retrain/semi_aum_keep0.25_seed1/result.json", "retrain/labelled_only_seed0/result.json"),
        *("report/results.csv", "report/results.md", "report/index.html", "report/figures/scores.png"),
    ):
        assert name in files, name
    assert (work / "retrain/semi_dual_keep0.25_seed1/model/hashes.json").exists()
    assert not [name for name in files if "checkpoints" in name or name.endswith("STARTED.json") or ".tmp" in name]


def test_what_pseudo_labels_are_worth_is_written_beside_the_training_that_made_them(finished):
    lines = [json.loads(line) for line in (finished[0] / "metrics.jsonl").read_text().splitlines()]
    lines = [line for line in lines if line["stage"] == "pseudolabel"]
    measured = [line for line in lines if {"unlabelled_accuracy", "pool_accuracy"} & set(line)]
    trained = [line["step"] for line in lines if "loss" in line]
    assert len(measured) == 2
    assert {line["step"] for line in measured} == {max(trained)}


def test_examples_carry_the_budget_and_the_oracle_the_rest(finished):
    work, _, _ = finished
    examples = formats.read_table(work / "examples.parquet")
    truth = formats.read_table(work / "oracle.parquet")["label"]
    known = examples["label"] >= 0
    assert known.sum() == 16
    np.testing.assert_array_equal(examples["label"][known], truth[known])
    np.testing.assert_array_equal(truth, small.pool(64)[1])


def test_pseudo_labels_keep_what_is_known(finished):
    work, _, _ = finished
    examples = formats.read_table(work / "examples.parquet")
    pseudo = formats.read_table(work / "pseudolabel" / "pseudolabels.parquet")
    known = examples["label"] >= 0
    np.testing.assert_array_equal(pseudo["pseudo_label"][known], examples["label"][known])
    np.testing.assert_array_equal(pseudo["pseudo_label"][~known], pseudo["prediction"][~known])
    assert set(pseudo["label_source"][known]) == {"budget"}
    assert set(pseudo["label_source"][~known]) == {"fixmatch"}
    assert np.all((pseudo["confidence"] > 0) & (pseudo["confidence"] <= 1))


def test_known_labels_win_over_predictions(finished, tmp_path, monkeypatch):
    _, config, _ = finished
    wrong = {"prediction": np.zeros(64, np.int32), "confidence": np.full(64, 0.5, np.float32)}
    monkeypatch.setattr(pseudolabel, "fixmatch", lambda *args, **named: (wrong, {"params": np.zeros(1)}))
    small.run(config, tmp_path / "w", until="pseudolabel")
    label = formats.read_table(tmp_path / "w" / "examples.parquet")["label"]
    pseudo = formats.read_table(tmp_path / "w" / "pseudolabel" / "pseudolabels.parquet")["pseudo_label"]
    np.testing.assert_array_equal(pseudo, np.where(label >= 0, label, 0))
    assert len(set(pseudo)) == 3


def test_coresets_are_whole_and_consistent(finished):
    work, config, _ = finished
    for name in config.select.names:
        for keep in config.select.keep:
            at = work / "select" / f"{name}_keep{keep:.2f}"
            table = formats.read_table(at / "coreset.parquet")
            assert list(table)[:6] == ["id", "key", "label", "pseudo_label", "confidence", "label_source"]
            assert {"aum", "dual", "el2n", "forgetting", "kept"} <= set(table)
            assert ("score" in table) == (name != "random")
            assert table["id"].tolist() == list(range(64))
            kept, dropped = ((at / f"{part}.txt").read_text().split() for part in ("kept", "dropped"))
            assert table["key"][table["kept"]].tolist() == kept
            assert sorted(kept + dropped) == sorted(table["key"])
            unknown = table["key"][table["kept"] & (table["label"] < 0)].tolist()
            assert (at / "to_label.txt").read_text().split() == unknown
            spec = formats.read_json(at / "spec.json")
            assert len(kept) == int(64 * keep) == spec["kept"]
            assert (spec["name"], spec["keep"], spec["of"], spec["pruned"]) == (name, keep, 64, 1 - keep)
    aum = formats.read_table(work / "select" / "semi_aum_keep0.50" / "coreset.parquet")
    # The hardest 10% are dropped: the lowest AUM kept is the seventh of the pool.
    assert aum["score"][aum["kept"]].min() == pytest.approx(np.sort(aum["aum"])[6])


def test_results_and_their_table(finished):
    work, _, lines = finished
    rows = list(csv.DictReader((work / "report" / "results.csv").read_text().splitlines()))
    assert [row["name"] for row in rows[:1]] == ["full"]
    assert {(row["name"], row["n"]) for row in rows} == {
        (name, "2") for name in ("full", "random", "semi_aum", "semi_dual", "labelled_only")
    }
    one = next(row for row in rows if row["name"] == "semi_dual" and row["keep"] == "0.25")
    results = [json.loads((work / f"retrain/semi_dual_keep0.25_seed{seed}/result.json").read_text()) for seed in (0, 1)]
    assert float(one["test_accuracy_mean"]) == pytest.approx(np.mean([r["test_accuracy"] for r in results]))
    assert float(one["test_accuracy_std"]) == pytest.approx(np.std([r["test_accuracy"] for r in results], ddof=1))
    assert {r["labels"] for r in results} == {"true labels"}
    assert "semi_dual" in lines[-1]
    assert "| semi_dual |" in (work / "report" / "results.md").read_text()


def snapshot(work):
    """The bytes of all files that later stages read."""
    return {
        str(p.relative_to(work)): p.read_bytes()
        for pattern in ("*.parquet", "**/*.npz", "**/coreset.parquet", "**/pseudolabels.parquet")
        for p in work.glob(pattern)
    }


def test_the_same_command_again_does_nothing(finished):
    work, config, _ = finished
    before, lines_before = snapshot(work), (work / "metrics.jsonl").read_text()
    lines = small.run(config, work)
    assert sum("done before" in line for line in lines) == 3 + 3 + 8
    assert snapshot(work) == before
    assert (work / "metrics.jsonl").read_text() == lines_before


def test_a_fresh_run_gives_the_same_bits(finished, tmp_path):
    work, config, _ = finished
    small.run(config, tmp_path / "again", until="select")
    before, again = snapshot(work), snapshot(tmp_path / "again")
    assert before == again


class Killed(BaseException):
    """Stands for SIGKILL: no handler of ours may catch it."""


@pytest.mark.parametrize("at", [9, *(pytest.param(at, marks=pytest.mark.long) for at in (1, 5, 14, 20, 27))])
def test_killed_inside_stages_it_goes_on_to_the_same_bits(finished, tmp_path, monkeypatch, at):
    """The run is killed after ``at`` dispatches, then after twice as many, and so on; it saves every third step."""
    work, config, _ = finished
    config = config.copy_and_resolve_references()
    config.runtime.checkpoint_every_steps = 3
    real, left, kills = meter.Meter.collect, [0], 0

    def collect(self, pending):
        left[0] -= 1
        if left[0] < 0:
            raise Killed
        return real(self, pending)

    monkeypatch.setattr(meter.Meter, "collect", collect)
    while True:
        left[0] = at * (1 + kills)  # later each time: without a first checkpoint it would never end
        try:
            small.run(config, tmp_path / "cut", until="select")
            break
        except Killed:
            kills += 1
            assert kills < 40
    assert kills >= 1
    assert snapshot(tmp_path / "cut") == snapshot(work)


@pytest.mark.parametrize("after", ["label", "pseudolabel", "score"])
def test_killed_between_stages(finished, tmp_path, after):
    work, config, _ = finished
    small.run(config, tmp_path / "cut", until=after)
    lines = small.run(config, tmp_path / "cut", until="select")
    assert any("done before" in line for line in lines)
    assert snapshot(tmp_path / "cut") == snapshot(work)


def test_additions_are_welcome(finished, tmp_path):
    _, config, _ = finished
    work = shutil.copytree(finished[0], tmp_path / "work")
    more = config.copy_and_resolve_references()
    more.select.keep = (0.5, 0.25, 0.75)
    more.select.names = (*config.select.names, "ccs")
    more.select.ccs.cutoff = (0.0,)
    more.report.examples = 3
    more.score.first = 1  # EL2N's window: no selection here uses EL2N
    lines = small.run(more, work, until="select")
    shown = {line.split()[0]: line.split(maxsplit=1)[1] for line in lines}
    assert shown["select/semi_aum"].startswith("48 at 0.75 (2 done before)")
    assert shown["select/ccs"].startswith("32 at 0.50, 16 at 0.25, 48 at 0.75  ")
    assert (work / "select" / "ccs_keep0.75" / "kept.txt").exists()


def test_scores_with_other_settings_reach_finished_coresets(finished, tmp_path):
    """The tables of all coresets are updated; the coresets and the networks trained on them stay valid."""
    work, config = shutil.copytree(finished[0], tmp_path / "work"), finished[1].copy_and_resolve_references()
    table = work / "select" / "semi_aum_keep0.50" / "coreset.parquet"
    before = formats.read_table(table)
    config.score.last = 4
    lines = small.run(config, work, until="retrain")
    assert all("done before" in line for line in lines), lines
    after = formats.read_table(table)
    np.testing.assert_array_equal(after["el2n"], formats.read_table(work / "score/scores.parquet")["el2n"])
    assert not np.array_equal(after["el2n"], before["el2n"])
    assert list(after) == list(before)
    assert all(np.array_equal(after[name], before[name]) for name in before if name != "el2n")


def test_retraining_depends_on_the_labels_it_is_trained_on(finished):
    for name, inputs in (
        ("full", {"label"}),
        ("labelled_only", {"label"}),
        ("random_keep0.50", {"select/random_keep0.50"}),
    ):
        done = formats.read_json(finished[0] / f"retrain/{name}_seed0/DONE.json")
        assert set(done["identity"]["inputs"]) == inputs


def test_additions_that_need_more_stages_are_welcome(finished, tmp_path):
    """A network trained with true labels does not depend on pseudo-labels that come later."""
    config = finished[1].copy_and_resolve_references()
    config.select.names, config.select.keep = ("random",), (0.5,)
    config.retrain.full = config.retrain.labelled_only = True
    small.run(config, tmp_path / "work", until="retrain")
    assert not (tmp_path / "work" / "pseudolabel").exists()
    config.select.names = ("random", "semi_aum")
    lines = small.run(config, tmp_path / "work", until="retrain")
    for name in ("full", "labelled_only"):
        assert any(re.match(rf"retrain/{name} +done before", line) for line in lines), lines


def test_selections_by_embeddings(finished, tmp_path):
    """The proxy, FixMatch or a file gives embeddings, once, and only if a selection needs them."""
    base, config, _ = finished
    assert not (base / "embed").exists()
    names = ("moderate", "prototypicality", "k_centre", "d2", "badge")
    for source, width in (("proxy", 16), ("fixmatch", 16), ("file", 3)):
        work = shutil.copytree(base, tmp_path / source)
        more = config.copy_and_resolve_references()
        more.embed.source, more.select.names, more.select.keep = source, names, (0.25,)
        if source == "file":
            more.select.names = names[:-1]  # BADGE needs predictions
            more.embed.path = str(tmp_path / "mine.npy")
            with pytest.raises(DataError, match=r"mine\.npy' is not a file"):
                small.run(more, work, until="select")
            np.save(tmp_path / "mine.npy", small.pool(64)[0].mean(axis=(1, 2)))
        lines = small.run(more, work, until="select")
        assert any(line.startswith("embed") and f"{width} numbers an image, from {source}" in line for line in lines)
        made = formats.read_npz(work / "embed" / "embeddings.npz")
        assert made["features"].shape == (64, width)
        for name in more.select.names:
            assert formats.read_table(work / f"select/{name}_keep0.25/coreset.parquet")["kept"].sum() == 16
        again = small.run(more, work, until="select")
        assert all("done before" in line for line in again if not line.startswith(("note", "warning")))
    p = formats.read_npz(tmp_path / "proxy/embed/embeddings.npz")["probabilities"]
    np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-5)
    np.save(tmp_path / "mine.npy", np.ones((64, 3)))
    with pytest.raises(ConfigError, match=r"embed was made .*: what it reads from 'file' changed"):
        small.run(more, work, until="select")


def test_each_kept_fraction_has_its_own_cutoff(finished, tmp_path):
    """A cutoff of a half fits a kept quarter, but not three quarters."""
    work, config = shutil.copytree(finished[0], tmp_path / "work"), finished[1].copy_and_resolve_references()
    config.embed.source, config.select.names, config.select.keep = "proxy", ("d2",), (0.25, 0.75)
    config.select.d2.cutoff = (0.5, 0.1)
    small.run(config, work, until="select")
    aum = formats.read_table(work / "score/scores.parquet")["aum"]
    for keep, size, cut in ((0.25, 16, 32), (0.75, 48, 6)):
        kept = formats.read_table(work / f"select/d2_keep{keep:.2f}/coreset.parquet")["kept"]
        assert kept.sum() == size
        assert aum[kept].min() >= np.sort(aum)[cut]


def test_a_coreset_depends_on_all_that_its_selection_reads(finished, tmp_path):
    work, config = shutil.copytree(finished[0], tmp_path / "work"), finished[1].copy_and_resolve_references()
    config.select.names, config.select.keep = ("balanced_hardest", "semi_aum", "random"), (0.5,)
    small.run(config, work, until="select")
    for name, inputs in (
        ("balanced_hardest", {"pseudolabel", "score"}),
        ("semi_aum", {"score"}),
        ("random", {"label"}),
    ):
        done = formats.read_json(work / f"select/{name}_keep0.50/DONE.json")
        assert set(done["identity"]["inputs"]) == inputs, name


def test_two_selections_with_the_same_coreset_are_pointed_out(finished, tmp_path):
    _, config, _ = finished
    work = shutil.copytree(finished[0], tmp_path / "work")
    more = config.copy_and_resolve_references()
    more.select.names, more.select.keep = ("semi_aum", "again", "hardest"), (0.5, 1.0)
    more.select.semi_aum.cutoff = (0.1, 0.0)
    more.select.again = schema.selection(selector="double_end", score="aum", cutoff=(0.1, 0.0))
    more.retrain.seeds = (0,)
    lines = small.run(more, work, until="select")
    notes = [line for line in lines if line.startswith("note")]
    assert notes == ["note: again_keep0.50 and semi_aum_keep0.50 keep the same images"]  # no note for whole pools
    pipeline.remake_report(more, work, log=lines.append)
    assert "again_keep0.50 and semi_aum_keep0.50 keep the same images." in (work / "report" / "index.html").read_text()


def test_a_coreset_that_was_never_finished_is_no_part_of_a_report(finished, tmp_path):
    """The stage was killed between two files, and the config no longer asks for the coreset."""
    _, config, _ = finished
    work = shutil.copytree(finished[0], tmp_path / "work")
    (work / "select" / "gone_keep0.50").mkdir()
    shutil.copy(work / "select" / "semi_aum_keep0.50" / "kept.txt", work / "select" / "gone_keep0.50")
    lines = []
    pipeline.remake_report(config, work, log=lines.append)
    assert "semi_aum" in lines[-1]
    assert "gone" not in (work / "report" / "index.html").read_text()


def test_averages_too_slow_for_the_run_are_said_at_the_start(finished, tmp_path):
    _, config, _ = finished
    config = config.copy_and_resolve_references()
    config.ssl.ema_decay = 0.999
    lines = small.run(config, tmp_path / "w", until="label")
    assert len(lines) == 1  # no warning before anything trains
    lines = small.run(config, tmp_path / "w", until="pseudolabel")
    warnings = [line for line in lines if line.startswith("warning")]
    assert warnings[0].startswith("warning: ssl.ema_decay = 0.999 still holds 99% of the first weights after 12")
    assert any("retrain.bn_momentum = 0.9 still holds 81%" in line for line in warnings)  # 16 images, 2 epochs
    again = small.run(config, tmp_path / "w", until="pseudolabel")
    assert not any("ssl." in line for line in again if line.startswith("warning"))  # pseudo-labels are done already


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"threshold": 1.0}, "at step 6 of 12, 0% of the unlabelled images are predicted with a probability of 1 or"),
        ({"learning_rate": 1e30}, r"the loss at step \d+ is (nan|inf)"),
        (None, "at step 6 of 12, 100.0% of the unlabelled images are predicted as '1' .of the labels 31.2%.: training"),
    ],
)
def test_a_training_that_goes_wrong_ends(finished, tmp_path, change, message):
    _, config, _ = finished
    config = config.copy_and_resolve_references()
    if change is None:  # equal images are all predicted as one class
        images, labels = small.pool(64)
        config.data.path = str(tmp_path / "same.npz")
        np.savez(config.data.path, x_train=np.full_like(images, 7), y_train=labels)
    else:
        config.ssl.update(change)
    with pytest.raises(TrainingError, match=message):
        small.run(config, tmp_path / "w")
    assert not (tmp_path / "w" / "pseudolabel" / "DONE.json").exists()


def test_changes_are_refused_with_the_difference(finished):
    work, config, _ = finished
    for path, value, message in (
        ("fixmatch.steps", 13, "fixmatch.steps was 12, now 13"),
        ("label.budget", 0.5, "label.budget was 0.25, now 0.5"),
        ("proxy.learning_rate", 0.2, "proxy.learning_rate was 0.1, now 0.2"),
        ("data.flip", True, "pseudolabel was made .*: data.flip was False, now True"),
        ("data.crops", "resized", "pseudolabel was made .*: data.crops was 'padded', now 'resized'"),
        ("data.supervised_crops", "cached", "score was made .*: data.supervised_crops was 'original', now 'cached'"),
        ("select.semi_aum.cutoff", (0.2,), "cutoff was 0.1, now 0.2"),
        ("retrain.epochs", 3, "retrain.epochs was 2, now 3"),
    ):
        other = config.copy_and_resolve_references()
        section = other
        *parts, last = path.split(".")
        for part in parts:
            section = section[part]
        section[last] = value
        with pytest.raises(ConfigError, match=message):
            small.run(other, work)


def test_an_altered_artifact_is_noticed(finished, tmp_path):
    _, config, _ = finished
    small.run(config, tmp_path / "w", until="label")
    table = formats.read_table(tmp_path / "w" / "examples.parquet")
    table["label"] = np.roll(table["label"], 1)
    formats.write_table(tmp_path / "w" / "examples.parquet", table)
    with pytest.raises(DataError, match="is not what stage 'label' wrote"):
        small.run(config, tmp_path / "w")


def test_a_folder_of_pngs_with_blank_labels(tmp_path):
    """A data team's pool: no oracle, a test set taken from the pool, and many labels missing."""
    root = small.write_folder(tmp_path / "photos", n=76, size=8)
    keys = sorted(p.relative_to(root).as_posix() for p in (tmp_path / "photos").rglob("*.png"))
    rows = [f"{key},{key.split('/')[0] if i % 2 else ''}" for i, key in enumerate(keys)]
    (tmp_path / "labels.csv").write_text("path,label\n" + "\n".join(rows) + "\n")
    config = small.config()
    config.data.source, config.data.path, config.data.labels = "folder", root, str(tmp_path / "labels.csv")
    config.data.test_fraction, config.data.oracle, config.label.rule = 0.34, False, "given"
    config.ssl.steps = 3
    config.select.names, config.select.keep, config.retrain.epochs = ("semi_aum",), (0.5,), 1
    lines = small.run(config, tmp_path / "work")
    work = tmp_path / "work"
    assert not (work / "oracle.parquet").exists()
    assert formats.read_json(work / "manifest.json")["oracle"] is False
    table = formats.read_table(work / "select" / "semi_aum_keep0.50" / "coreset.parquet")
    assert len(table["key"]) == 64  # twelve of the 38 labelled images are set apart
    assert np.sum(table["label"] >= 0) == 26
    assert set(table["label_source"]) == {"budget", "fixmatch"}
    result = formats.read_json(work / "retrain" / "semi_aum_keep0.50_seed0" / "result.json")
    assert result["labels"] == "pseudo-labels"
    assert 0 <= result["test_accuracy"] <= 1
    page = (work / "report" / "index.html").read_text()
    assert "pseudo-labels for the rest" in page
    assert "semi_aum" in lines[-1]


def test_unlabelled_truth_never_reaches_a_stage(tmp_path, monkeypatch):
    """Without the oracle, coresets are the same whether or not the file holds labels outside the budget."""
    images, labels = small.pool(64)
    config = small.config()
    config.data.oracle = False
    config.label.rule = "given"
    config.retrain.seeds = (0,)
    outcomes = []
    for filler in (-1, None):
        y = labels.copy()
        y[16:] = -1
        if filler is None:  # the truth is in the file, but not in the budget
            y = labels
            config.label.rule, config.label.budget = "uniform", 16
        np.savez(tmp_path / "p.npz", x_train=images, y_train=y, classes=np.array(["a", "b", "c"]))
        config.data.path = str(tmp_path / "p.npz")
        if filler is None:
            monkeypatch.setattr(label, "draw", lambda *args: np.arange(16))
        work = tmp_path / str(filler)
        small.run(config, work, until="select")
        outcomes.append(formats.read_table(work / "select" / "semi_dual_keep0.25" / "coreset.parquet")["kept"])
    np.testing.assert_array_equal(*outcomes)


def test_a_corrupted_long_tail(tmp_path):
    """A table records each image's corruption; the pool shrinks, and the test set stays whole."""
    config = small.config()
    config.data.path = small.write_npz(tmp_path / "pool.npz", n=90)
    config.data.imbalance, config.data.corruption = 0.5, 0.3
    lines = small.run(config, tmp_path / "w", until="label")
    sizes = [30, 21, 15]
    assert f"{sum(sizes)} images" in lines[0]
    assert "24 to test" in lines[0]
    table = formats.read_table(tmp_path / "w" / "label" / "corruption.parquet")
    truth = formats.read_table(tmp_path / "w" / "oracle.parquet")
    assert np.bincount(truth["label"]).tolist() == sizes
    assert table["key"].tolist() == truth["key"].tolist()
    assert sorted(table["corruption"]) == [""] * 51 + [kind for kind in sorted(sources.KINDS) for _ in range(3)]
    images = small.squares(Context(config, tmp_path / "w").dataset.train)
    original = small.pool(90)[0]
    rows = [int(key.split("/")[1]) for key in table["key"]]
    same = [np.array_equal(image, original[row]) for image, row in zip(images, rows, strict=True)]
    assert same == [kind == "" for kind in table["corruption"]]


def test_other_images_under_the_same_names_are_refused(tmp_path):
    """A folder's digest covers names and sizes only, so decoded images are compared before a training."""
    config = small.config()
    config.data.source, config.data.path, config.data.image_size = "folder", str(tmp_path / "photos"), 8
    for i in range(64):
        folder = tmp_path / "photos" / "abc"[i % 3]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((8, 8, 3), 3 * i, np.uint8)).save(folder / f"{i:02d}.bmp")
    config.ssl.steps = 2
    small.run(config, tmp_path / "w", until="pseudolabel")
    Image.fromarray(np.full((8, 8, 3), 255, np.uint8)).save(tmp_path / "photos" / "a" / "00.bmp")
    with pytest.raises(DataError, match=r"are not those that .* was begun with"):
        small.run(config, tmp_path / "w", until="score")


def test_other_classes_are_refused(finished, tmp_path):
    _, config, _ = finished
    small.run(config, tmp_path / "w", until="label")
    images, labels = small.pool(64)
    test_images, test_labels = small.pool(24, seed=1)
    other = config.copy_and_resolve_references()
    other.data.path = str(tmp_path / "p.npz")
    names = np.array(["ant", "bee", "cat", "dog"])
    np.savez(tmp_path / "p.npz", x_train=images, y_train=labels, x_test=test_images, y_test=test_labels, classes=names)
    with pytest.raises(ConfigError, match="what it reads from 'classes' changed"):
        small.run(other, tmp_path / "w", until="label")


def test_a_refused_run_leaves_the_records_alone(finished, tmp_path):
    work, config, _ = finished
    work = shutil.copytree(work, tmp_path / "work")
    before = {name: (work / name).read_bytes() for name in ("manifest.json", "config.json")}
    other = config.copy_and_resolve_references()
    other.data.oracle = False
    with pytest.raises(ConfigError, match=r"data\.oracle was True, now False"):
        small.run(other, work)
    assert {name: (work / name).read_bytes() for name in before} == before
    with pytest.raises(ConfigError, match=r"data\.oracle was True, now False"):
        pipeline.remake_report(other, work)


def test_the_report_alone(finished, tmp_path):
    work, config, _ = finished
    work = shutil.copytree(work, tmp_path / "work")
    (work / "report" / "results.csv").unlink()
    pipeline.remake_report(config, work, log=lambda line: None)
    assert (work / "report" / "results.csv").exists()
    directory.open_workdir(tmp_path / "new", overwrite=False)
    with pytest.raises(ConfigError, match="holds nothing to report yet"):
        pipeline.remake_report(config, tmp_path / "new", log=lambda line: None)


def test_a_kept_fraction_that_keeps_none_is_told_at_once(finished, tmp_path):
    _, config, _ = finished
    other = config.copy_and_resolve_references()
    other.select.keep = (0.01,)
    with pytest.raises(ConfigError, match=r"keep = 0\.01 of 64 examples keeps none"):
        small.run(other, tmp_path / "w", until="label")


def test_classes_without_a_label(tmp_path):
    images, labels = small.pool(30)
    np.savez(
        tmp_path / "p.npz", x_train=images, y_train=np.where(labels == 2, -1, labels), classes=np.array(["a", "b", "c"])
    )
    config = small.config()
    config.data.path, config.data.oracle, config.label.rule = str(tmp_path / "p.npz"), False, "given"
    with pytest.raises(DataError, match=r"1 of 3 classes have no labelled example \(c\)"):
        small.run(config, tmp_path / "w")


def test_oracle_needs_every_label(tmp_path):
    images, labels = small.pool(30)
    labels[0] = -1
    np.savez(tmp_path / "p.npz", x_train=images, y_train=labels)
    config = small.config()
    config.data.path, config.label.rule = str(tmp_path / "p.npz"), "given"
    with pytest.raises(DataError, match=r"data\.oracle=True needs every label, but 1 are unknown"):
        small.run(config, tmp_path / "w")
    assert not (tmp_path / "w" / "oracle.parquet").exists()


def test_selections_by_embeddings_use_the_devices_of_the_config(finished, tmp_path, monkeypatch):
    """The stages that select and cluster use two of the four devices."""
    seen = []
    real = blocks.placed

    def placed(rows, columns):
        for block in real(rows, columns):
            seen.append({device.id for device in block[1].devices()})
            yield block

    for module in (neighbours, kmeans):
        monkeypatch.setattr(module, "placed", placed)
    config = finished[1].copy_and_resolve_references()
    config.runtime.devices = 2
    config.embed.source, config.embed.path = "file", str(tmp_path / "mine.npy")
    np.save(tmp_path / "mine.npy", small.pool(64)[0].mean(axis=(1, 2)))
    config.pseudolabel.source = "clusters"
    config.temi.update({"heads": 2, "neighbours": 5, "epochs": 2, "batch_size": 32, "warm_up_epochs": 1})
    config.select.names, config.select.keep = ("prototypicality",), (0.5,)
    config.data.oracle = False
    small.run(config, tmp_path / "w", until="select")
    assert seen
    assert all(devices == {0, 1} for devices in seen)
