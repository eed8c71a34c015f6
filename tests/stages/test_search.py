"""The search: its grid and order, trials that are made once, and test labels that nobody reads."""

import csv
import json
import re
import shutil

import numpy as np
import pytest

from semiprune_jax.data.pools import Pools
from semiprune_jax.errors import ConfigError, DataError
from semiprune_jax.select import search, selectors
from semiprune_jax.stages import report
from semiprune_jax.stages.label import ORACLE
from semiprune_jax.workdir import formats
from semiprune_jax.workdir.artifacts import Store
from tests import small


def trials(path, accuracy, seeds=(0,)):
    """Trials whose accuracy is a function of the point; and the points, as they are made."""
    made = []

    def attempt(name, changes, keep, seed):
        made.append((name, dict(changes), keep, seed))
        return {"accuracy": accuracy(changes, keep, seed), "examples": 5, "steps": 10, "seconds": 0.5}

    return search.Trials(path, attempt, seeds), made


def cutoffs_of(keeps, made):
    """What is chosen at each kept fraction, as a run does it: one search each, written and read again."""
    parts = [search.tune(SPEC, part, made, {}) for part in search.parts("double_end", keeps)]
    chosen = search.Chosen.of([json.loads(json.dumps(part.to_json())) for part in parts])
    return {keep: chosen.at(keep) for keep in keeps}


SPEC = {"name": "mine", "selector": "double_end", "c_d": 4.0}


def test_the_papers_grid():
    assert [len(selectors.cutoffs(keep)) for keep in (0.7, 0.5, 0.3, 0.2, 0.1)] == [4, 6, 8, 9, 10]
    assert selectors.cutoffs(0.2)[-1] == 0.8
    assert selectors.cutoffs(1.0) == [0.0]


def test_a_cutoff_for_each_kept_fraction(tmp_path):
    made, points = trials(tmp_path / "trials.csv", lambda changes, keep, seed: -abs(changes["cutoff"] - (0.8 - keep)))
    chosen = cutoffs_of((0.5, 0.3), made)
    assert chosen == {0.5: {"cutoff": 0.3}, 0.3: {"cutoff": 0.5}}
    assert len(points) == 6 + 8


def test_of_equal_points_the_first(tmp_path):
    made, _ = trials(tmp_path / "trials.csv", lambda changes, keep, seed: 0.5)
    assert cutoffs_of((0.5,), made) == {0.5: {"cutoff": 0.0}}


def test_the_horizon_first_and_then_c_d(tmp_path):
    """The horizon by the largest kept fraction alone, with the c_D that is configured."""

    def accuracy(changes, keep, seed):
        if keep == 0.1:
            return -10.0 if changes["c_d"] == 5.0 else 0.0  # which outweighs what it gains at 0.7
        return -abs(changes["horizon"] - 20) + (1.0 if changes["c_d"] == 5.0 else 0.0)

    made, points = trials(tmp_path / "trials.csv", accuracy)
    spec = SPEC | {"selector": "beta"}
    chosen = search.tune(spec, (0.7, 0.1), made, {"horizons": (10, 20, 30), "c_d": (4.0, 5.0)})
    assert chosen == search.Chosen({}, {"horizon": 20, "c_d": 4.0})
    assert chosen == search.Chosen.of([chosen.to_json()])
    assert chosen.at(0.1) == {"horizon": 20, "c_d": 4.0}
    assert [(p[1]["horizon"], p[1]["c_d"], p[2]) for p in points] == [
        (10, 4.0, 0.7), (20, 4.0, 0.7), (30, 4.0, 0.7), (20, 4.0, 0.1), (20, 5.0, 0.7), (20, 5.0, 0.1),
    ]  # fmt: skip


def test_a_trial_is_made_once_and_counts_for_all_seeds(tmp_path):
    path = tmp_path / "trials.csv"
    made, points = trials(path, lambda changes, keep, seed: seed + changes["cutoff"], seeds=(0, 1))
    assert made.mean("mine", {"cutoff": 0.5}, 0.3) == 1.0
    assert made.mean("mine", {"cutoff": 0.5}, 0.3) == 1.0
    assert len(points) == 2
    again, points = trials(path, lambda changes, keep, seed: 99.0, seeds=(0, 1, 2))
    assert again.mean("mine", {"cutoff": 0.5}, 0.3) == pytest.approx((0.5 + 1.5 + 99) / 3)
    assert [p[3] for p in points] == [2]
    with path.open() as file:
        rows = list(csv.DictReader(file))
    assert [row["accuracy"] for row in rows] == ["0.5", "1.5", "99.0"]


@pytest.mark.parametrize("text", ["name,keep\n", "x", ",".join(search.columns()) + "\nmine,0.3,0.1\n"])
def test_a_broken_list_of_trials_is_refused(tmp_path, text):
    (tmp_path / "trials.csv").write_text(text)
    with pytest.raises(DataError, match=r"trials\.csv is not what was written; remove it"):
        trials(tmp_path / "trials.csv", lambda *_: 0.0)


def test_selectors_without_anything_to_choose(tmp_path):
    made, _ = trials(tmp_path / "trials.csv", lambda *_: 0.0)
    with pytest.raises(ValueError, match="mine: random has nothing to search for"):
        search.tune(SPEC | {"selector": "random"}, (0.5,), made, {})


def test_what_is_held_out():
    held = search.hold_out(20, 0.1, np.arange(20)[::-1])
    assert np.flatnonzero(held).tolist() == [18, 19]
    assert search.hold_out(5, 0.1, np.arange(5)).sum() == 1


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    """A run as far as its scores, which is to be searched."""
    root = tmp_path_factory.mktemp("search")
    config = small.config()
    config.data.path = small.write_npz(root / "pool.npz")
    config.select.names = config.search.names = ("semi_aum", "semi_dual")
    config.select.keep = (0.7, 0.5)
    config.search.horizons, config.search.c_d = (3, 4), (4.0,)
    small.run(config, root / "work", until="score")
    return root, config


def test_end_to_end(scored, tmp_path, monkeypatch):
    """Killed after three trials it goes on from the fourth; what it chose is what is selected by and reported."""
    root, config = scored
    whole = shutil.copytree(root / "work", tmp_path / "whole")
    lines = small.run(config, whole)
    assert any(re.match(r"search/semi_dual +horizon [34], c_D 4 of 4 trials", line) for line in lines), lines
    found = report.searched(whole)
    assert found["trials"] == 14  # four and six cutoffs; two horizons, and one c_D at the other kept fraction too
    assert found["steps"] > 0
    chosen = found["chosen"]["semi_aum"]["cutoff"]
    for keep, text in ((0.7, "0.70"), (0.5, "0.50")):
        spec = formats.read_json(whole / "select" / f"semi_aum_keep{text}" / "spec.json")
        assert spec["cutoff"] == chosen[str(keep)]
        assert f"cutoff {chosen[str(keep)]:g} at {keep:g} of" in next(
            line for line in lines if "search/semi_aum" in line
        )
    spec = formats.read_json(whole / "select" / "semi_dual_keep0.50" / "spec.json")
    assert (spec["horizon"], spec["c_d"]) == (found["chosen"]["semi_dual"]["horizon"], 4.0)
    assert "14 trials" in (whole / "report" / "index.html").read_text()
    parts = {"semi_aum_keep0.70", "semi_aum_keep0.50", "semi_dual"}
    assert {path.name for path in (whole / "search").iterdir()} == {"trials.csv", *parts}
    assert {path.name for path in (whole / "search" / "semi_dual").iterdir()} == {"DONE.json", "chosen.json"}

    killed, write = shutil.copytree(root / "work", tmp_path / "killed"), formats.write_csv

    def dies(path, columns, rows):
        write(path, columns, rows)
        if path.name == "trials.csv" and len(rows) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(formats, "write_csv", dies)
    with pytest.raises(KeyboardInterrupt):
        small.run(config, killed)
    monkeypatch.undo()
    small.run(config, killed, until="select")

    def accuracies(work):
        with (work / "search" / "trials.csv").open() as file:
            return [(row["cutoff"], row["horizon"], row["accuracy"]) for row in csv.DictReader(file)]

    assert accuracies(killed) == accuracies(whole)


def test_no_test_label_is_read(scored, tmp_path, monkeypatch):
    """Nor any true label of the pool: with all of them changed the search finds the same."""
    root, config = scored
    plain = shutil.copytree(root / "work", tmp_path / "plain")
    small.run(config, plain, until="search")
    blind = shutil.copytree(root / "work", tmp_path / "blind")
    # Whoever asks for a test set, or for the truth, is stopped.
    monkeypatch.setattr(Pools, "test", property(lambda pools: pytest.fail("a test set")))
    monkeypatch.setattr(Pools, "digests", lambda pools: {})
    load = Store.load
    monkeypatch.setattr(Store, "load", lambda store, a: pytest.fail("the truth") if a == ORACLE else load(store, a))
    small.run(config, blind, until="search")
    one, other = (report.searched(work) for work in (plain, blind))
    assert one["chosen"] == other["chosen"]


def test_additions_are_welcome(scored, tmp_path):
    """Another selection, searched for or not, another kept fraction, and settings that no trial goes by."""
    root, config = scored
    work, first = shutil.copytree(root / "work", tmp_path / "work"), config.copy_and_resolve_references()
    first.search.names = ("semi_aum",)
    small.run(first, work, until="search")
    rows = (work / "search" / "trials.csv").read_text()
    more = config.copy_and_resolve_references()
    more.select.names, more.select.keep = ("semi_aum", "moderate", "semi_dual"), (0.7, 0.5, 0.8)
    more.score.decay = 0.5  # of TDDS
    more.search.c_d = (4.0, 5.0)  # of Beta sampling
    lines = small.run(more, work, until="select")
    assert any(re.match(r"search/semi_aum +cutoff .* at 0\.8 of 3 trials \(2 done before\)", line) for line in lines), (
        lines
    )
    assert (work / "search" / "trials.csv").read_text().startswith(rows)
    more.search.held_out = 0.2
    with pytest.raises(ConfigError, match=r"search\.held_out was 0\.1, now 0\.2"):
        small.run(more, work, until="search")
