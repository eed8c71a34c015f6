"""Labels that are held out judge a run, and no training reads them; budgets that are paid for are in every coreset."""

import re

import numpy as np
import pytest

from semiprune_jax.config import schema
from semiprune_jax.errors import ConfigError
from semiprune_jax.select import selectors
from semiprune_jax.stages import label, pseudolabel, score
from semiprune_jax.stages import settings as stages
from semiprune_jax.workdir import formats
from tests import small


def settings(root, **fields):
    """A config whose budget of 48 of 96 labels has 24 held out, since 5 of each of four classes, at least, are."""
    config = small.config()
    images, labels = small.pool(96, classes=4)
    tests = small.pool(24, classes=4, seed=1)
    np.savez(root / "pool.npz", x_train=images, y_train=labels, x_test=tests[0], y_test=tests[1])
    config.data.path = str(root / "pool.npz")
    config.label.budget, config.label.held_out = 0.5, 0.5
    for field, value in fields.items():
        config.update_from_flattened_dict({field.replace("__", "."): value})
    return config


@pytest.fixture(scope="module")
def judged(tmp_path_factory):
    """A run in a benchmark, and its lines."""
    root = tmp_path_factory.mktemp("judged")
    config = settings(root, select__names=("semi_aum",))
    return root, config, small.run(config, root / "work")


def test_estimates_and_truths_stand_side_by_side(judged):
    root, _, lines = judged
    work = root / "work"
    held_out = formats.read_table(work / "label/held_out.parquet")
    examples, truth = (formats.read_table(work / f"{name}.parquet")["label"] for name in ("examples", "oracle"))
    assert len(held_out["id"]) == 24
    assert np.all(examples[held_out["id"]] == -1)
    np.testing.assert_array_equal(held_out["label"], truth[held_out["id"]])
    assert np.sum(examples >= 0) == 24

    found = formats.read_json(work / "report/verdict.json")
    predicted = formats.read_table(work / "pseudolabel/pseudolabels.parquet")["prediction"]
    assert found["pseudo_labels"]["value"] == pytest.approx(np.mean(predicted[held_out["id"]] == truth[held_out["id"]]))
    assert found["pseudo_labels"]["truth"] == pytest.approx(np.mean(predicted[examples < 0] == truth[examples < 0]))
    names = {(entry["name"], entry["keep"]) for entry in found["selections"]}
    assert names == {(name, keep) for name in ("random", "semi_aum") for keep in (0.5, 0.25)}  # random always
    for entry in found["selections"]:
        place = work / f"judge/{entry['name']}_keep{entry['keep']:.2f}_seed0"
        own = formats.read_table(place / "held_out.parquet")
        np.testing.assert_array_equal(own["id"], held_out["id"])
        assert entry["accuracy"]["value"] == pytest.approx(np.mean(own["prediction"] == held_out["label"]))
        result = formats.read_json(place / "result.json")
        assert (entry["truth"], result["labels"]) == (result["test_accuracy"], "pseudo-labels")
        kept = formats.read_table(work / f"select/{place.name[:-6]}/coreset.parquet")["kept"]
        assert result["examples"] == kept.sum() - kept[held_out["id"]].sum()
    assert "Verdict" in lines[-1]
    page = (work / "report/index.html").read_text()
    assert all(sentence in page for sentence in found["words"])


def results_of(work):
    """The bytes of all that trainings and selections have made."""
    parts = ("pseudolabel/*.parquet", "score/*.npz", "search/*.csv", "select/*/*.txt", "retrain/*/*.*", "judge/*/*.*")
    files = [path for part in parts for path in work.glob(part) if path.name != "DONE.json"]
    assert len(files) > 20
    return {str(path.relative_to(work)): path.read_bytes() for path in files if path.suffix != ".csv"}


@pytest.mark.parametrize("oracle", [True, False])
def test_no_training_reads_what_is_held_out(judged, tmp_path, monkeypatch, oracle):
    """Other labels there change the estimates, and nothing else."""
    config = judged[1].copy_and_resolve_references()
    config.data.oracle, config.select.semi_aum.cutoff = oracle, ()  # a search, too
    small.run(config, tmp_path / "one")
    real = label._held_out

    def other(*arguments):
        table = real(*arguments)
        return table | {"label": (table["label"] + 1) % 4}

    monkeypatch.setattr(label, "_held_out", other)
    small.run(config, tmp_path / "two")
    one, two = results_of(tmp_path / "one"), results_of(tmp_path / "two")
    assert one.keys() == two.keys()
    assert [name for name in one if one[name] != two[name]] == []
    one, two = (formats.read_json(tmp_path / work / "report/verdict.json") for work in ("one", "two"))
    assert one["pseudo_labels"]["value"] != two["pseudo_labels"]["value"]


def test_a_selection_worse_than_random_is_called_that(tmp_path, monkeypatch):
    """A quarter of the pseudo-labels is wrong, and the hardest images are these: their networks learn what is wrong."""
    config = settings(tmp_path, data__oracle=False, select__names=("mine",), select__keep=(0.25,))
    config.select.mine = schema.selection(selector="top", score="aum")
    config.proxy.epochs = config.retrain.epochs = 12

    def learnt(context, job, labels):
        del context, job
        truth = small.pool(96, classes=4)[1]
        wrong = np.arange(96) % 16 < 4
        prediction = np.where(wrong, (truth + 1) % 4, truth).astype(np.int32)
        return {"prediction": prediction, "confidence": np.ones(96, np.float32)}, {"params": np.zeros(1)}

    monkeypatch.setattr(pseudolabel, "fixmatch", learnt)
    lines = small.run(config, tmp_path / "work")
    found = formats.read_json(tmp_path / "work/report/verdict.json")
    assert re.search(
        r"take random: it is ahead of every selection; mine is worse than random, by \d+\.\d points", lines[-1]
    )
    assert found["selections"][1]["ahead"]["high"] < 0


def test_the_budget_is_in_every_coreset(judged, tmp_path):
    """The rest is chosen by the selectors, and to_label.txt lists what is to be bought."""
    config = judged[1].copy_and_resolve_references()
    config.data.oracle, config.select.include_labelled, config.select.keep = False, True, (0.75, 0.5, 0.25)
    config.select.names = ("random", "semi_aum", "mine")
    config.select.mine = schema.selection(selector="top", score="aum")
    small.run(config, tmp_path / "work", until="select")
    work = tmp_path / "work"
    examples = formats.read_table(work / "examples.parquet")
    bought = examples["label"] >= 0
    bought[formats.read_table(work / "label/held_out.parquet")["id"]] = True
    assert bought.sum() == 48
    aum = formats.read_table(work / "score/scores.parquet")["aum"]
    for name in config.select.names:
        for keep in config.select.keep:
            place = work / f"select/{name}_keep{keep:.2f}"
            kept = formats.read_table(place / "coreset.parquet")["kept"]
            assert kept.sum() == 96 * keep
            assert np.all(kept[bought]) if keep >= 0.5 else np.all(bought[kept])
            to_label = (place / "to_label.txt").read_text().split()
            assert to_label == examples["key"][kept & ~bought].tolist()
            assert len(to_label) == max(0, 96 * keep - 48)
    hardest = formats.read_table(work / "select/mine_keep0.75/coreset.parquet")["kept"] & ~bought
    assert aum[hardest].max() <= aum[~bought & ~hardest].min()
    cut = formats.read_table(work / "select/semi_aum_keep0.75/coreset.parquet")["kept"] & ~bought
    np.testing.assert_array_equal(
        np.flatnonzero(cut), np.flatnonzero(~bought)[selectors.double_end(aum[~bought], 0.5, 0.1)]
    )


def test_cutoffs_are_searched_for_where_there_is_a_choice(judged, tmp_path):
    """Beyond the budget, in the rest; at its size, nowhere; below it, among the labelled images."""
    config = judged[1].copy_and_resolve_references()
    config.data.oracle, config.select.include_labelled, config.select.keep = False, True, (0.75, 0.5, 0.25)
    config.select.names, config.select.semi_aum.cutoff, config.search.cost = ("semi_aum",), (), 0.0
    lines = small.run(config, tmp_path / "work", until="select")
    line = next(line for line in lines if line.startswith("search/semi_aum"))
    # Half of the rest may be left out, or half of the labelled images; six cutoffs each.
    assert re.search(r"at 0\.75 of 6 trials, cutoff 0 at 0\.5 of 0 trials, cutoff \S+ at 0\.25 of 6 trials", line), line


def test_settings_of_a_budget_that_is_included_are_hashed():
    config = small.config()
    before = stages.used(config, "semi_aum")
    config.select.include_labelled = True
    assert stages.used(config, "semi_aum") == before | {"include_labelled": True}


@pytest.mark.parametrize(
    ("names", "epochs"),
    [
        (("semi_dual",), 3),  # as many as its horizon
        (("semi_aum", "semi_dual"), 4),
        (("random", "tdds"), 4),
        (("random",), 4),
    ],
)
def test_a_proxy_stops_where_no_selection_reads_on(names, epochs):
    config = small.config()
    config.select.names, config.select.semi_dual.horizon = names, 3
    assert score.recorded_epochs(config) == epochs
    config.select.semi_dual.horizon, config.search.horizons = -1, (3,)  # a search looks no further, either
    assert score.recorded_epochs(config) == epochs


def test_a_proxy_that_stops_early_is_the_beginning_of_a_whole_one(judged, tmp_path):
    _, config, _ = judged
    config = config.copy_and_resolve_references()
    config.select.names, config.select.semi_dual.horizon = ("semi_dual",), 3
    small.run(config, tmp_path / "early", until="select")
    config.select.names = ("semi_dual", "semi_aum")
    small.run(config, tmp_path / "whole", until="select")
    early, whole = (formats.read_npz(tmp_path / work / "score/dynamics.npz") for work in ("early", "whole"))
    for name, array in early.items():
        assert array.shape[1] == 3
        np.testing.assert_array_equal(array, whole[name][:, :3])
    scored = [set(formats.read_table(tmp_path / work / "score/scores.parquet")) for work in ("early", "whole")]
    assert scored[0] == scored[1]
    with pytest.raises(ConfigError, match=r"score was made .*: recorded_epochs was 3, now 'absent'"):
        small.run(config, tmp_path / "early", until="select")
