"""The search stage: it survives kills, takes additions, and reads no test label; ``tests/select`` tests its parts."""

import csv
import re
import shutil

import pytest

from semiprune_jax.data.pools import Pools
from semiprune_jax.errors import ConfigError
from semiprune_jax.stages import report
from semiprune_jax.stages.label import ORACLE
from semiprune_jax.workdir import formats
from semiprune_jax.workdir.artifacts import Store
from tests import small


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    """A run up to its scores, ready for a search."""
    root = tmp_path_factory.mktemp("search")
    config = small.config()
    config.data.path = small.write_npz(root / "pool.npz")
    config.select.names = ("random", "semi_aum", "semi_dual")
    config.select.semi_aum.cutoff, config.select.semi_dual.horizon, config.select.semi_dual.c_d = (), -1, -1.0
    config.search.cost = 0.0
    config.select.keep = (0.7, 0.5)
    config.search.horizons, config.search.c_d = (3, 4), (4.0,)
    small.run(config, root / "work", until="score")
    return root, config


@pytest.fixture(scope="module")
def searched(scored):
    """The run from its search to its report; and its lines."""
    root, config = scored
    whole = shutil.copytree(root / "work", root / "whole")
    return whole, small.run(config, whole)


def test_end_to_end(scored, searched, tmp_path, monkeypatch):
    """Killed after three trials, it goes on with the fourth; selections and report use its choices."""
    (root, config), (whole, lines) = scored, searched
    assert any(re.match(r"search/semi_dual +horizon [34], c_D 4 of 2 trials", line) for line in lines), lines
    found = report.searched(whole)
    assert found["trials"] == 12  # four and six cutoffs, and two horizons; one c_D alone needs no trial
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
    assert "12 trials" in (whole / "report" / "index.html").read_text()
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


def test_no_test_label_is_read(scored, searched, tmp_path, monkeypatch):
    """The search reads no true label of the pool either, except the labels in the budget."""
    (root, config), (plain, _) = scored, searched
    blind = shutil.copytree(root / "work", tmp_path / "blind")
    # Reading a test set or the truth fails the test.
    monkeypatch.setattr(Pools, "test", property(lambda pools: pytest.fail("a test set")))
    monkeypatch.setattr(Pools, "digests", lambda pools: {})
    load = Store.load
    monkeypatch.setattr(Store, "load", lambda store, a: pytest.fail("the truth") if a == ORACLE else load(store, a))
    small.run(config, blind, until="search")
    one, other = (report.searched(work) for work in (plain, blind))
    assert one["chosen"] == other["chosen"]


def test_additions_are_welcome(scored, tmp_path):
    """Selections and kept fractions may be added, and settings that no trial uses may change."""
    root, config = scored
    work, first = shutil.copytree(root / "work", tmp_path / "work"), config.copy_and_resolve_references()
    first.select.names = ("random", "semi_aum")
    small.run(first, work, until="search")
    rows = (work / "search" / "trials.csv").read_text()
    more = config.copy_and_resolve_references()
    more.select.names, more.select.keep = ("random", "semi_aum", "moderate", "semi_dual"), (0.7, 0.5, 0.8)
    more.score.decay = 0.5  # only TDDS uses it
    more.search.c_d = (4.0, 5.0)  # only Beta sampling uses it
    lines = small.run(more, work, until="select")
    assert any(re.match(r"search/semi_aum +cutoff .* at 0\.8 of 3 trials \(2 done before\)", line) for line in lines), (
        lines
    )
    assert (work / "search" / "trials.csv").read_text().startswith(rows)
    more.search.held_out = 0.2
    with pytest.raises(ConfigError, match=r"search\.held_out was 0\.1, now 0\.2"):
        small.run(more, work, until="search")
