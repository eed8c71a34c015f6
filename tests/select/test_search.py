"""Searches: their grids and order, and trials that are made once."""

import csv
import itertools
import json

import numpy as np
import pytest

from semiprune_jax.errors import DataError
from semiprune_jax.select import search, selectors
from semiprune_jax.select.selectors import SELECTORS, Search, Selector, Sweep


def trials(path, accuracy, seeds=(0,)):
    """Trials whose accuracy is a function of the point, and a list of the points in the order tried."""
    made = []

    def attempt(name, changes, keep, seed, length):
        made.append((name, dict(changes), keep, seed, length))
        return {"accuracy": accuracy(changes, keep, seed), "examples": 5, "steps": 10, "seconds": 0.5}

    return search.Trials(path, attempt, seeds), made


def cutoffs_of(keeps, made):
    """The choice at each kept fraction, as in a run: one search for each, written and read back."""
    parts = [tune(SPEC, part, made) for part in search.parts("double_end", keeps)]
    chosen = search.Chosen.of([json.loads(json.dumps(part.to_json())) for part in parts])
    return {keep: chosen.at(keep) for keep in keeps}


def tune(spec, keeps, made, **options):
    """A search without a limit, unless the options have a cost."""
    return search.tune(spec, keeps, made, {"cost": 0, "share": 1, "seeds": (0,)} | options, lambda keep: 1000 * keep)


SPEC = {"name": "mine", "selector": "double_end", "cutoff": ()}
BETA = {"name": "mine", "selector": "beta", "horizon": -1, "c_d": -1.0, "exponent": 1.0}


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
    """The largest kept fraction alone chooses the horizon, with a c_D of 4."""

    def accuracy(changes, keep, seed):
        if keep == 0.1:
            return -10.0 if changes["c_d"] == 5.0 else 0.0  # it loses more here than it gains at 0.7
        return -abs(changes["horizon"] - 20) + (1.0 if changes["c_d"] == 5.0 else 0.0)

    made, points = trials(tmp_path / "trials.csv", accuracy)
    chosen = tune(BETA, (0.7, 0.1), made, horizons=(10, 20, 30), c_d=(4.0, 5.0))
    assert chosen == search.Chosen({}, {"horizon": 20, "c_d": 4.0})
    assert chosen == search.Chosen.of([chosen.to_json()])
    assert chosen.at(0.1) == {"horizon": 20, "c_d": 4.0}
    assert [(p[1]["horizon"], p[1]["c_d"], p[2]) for p in points] == [
        (10, 4.0, 0.7),
        (20, 4.0, 0.7),
        (30, 4.0, 0.7),
        (20, 4.0, 0.1),
        (20, 5.0, 0.7),
        (20, 5.0, 0.1),
    ]


def test_settings_with_a_value_are_not_searched_for(tmp_path):
    made, points = trials(tmp_path / "trials.csv", lambda changes, keep, seed: changes["c_d"])
    spec = BETA | {"horizon": 30}
    assert [sweep.field for sweep in search.open_sweeps(spec)] == ["c_d"]
    assert tune(spec, (0.5,), made, c_d=(4.0, 5.0)).at(0.5) == {"c_d": 5.0}
    assert [point[1] for point in points] == [{"c_d": 4.0}, {"c_d": 5.0}]
    assert search.open_sweeps(SPEC | {"cutoff": (0.1,)}) == search.open_sweeps(SPEC | {"selector": "top"}) == []


@pytest.mark.parametrize("points", range(1, 30))
@pytest.mark.parametrize("budget", [0.1, 1.0, 2.5, 40.0])
def test_rounds_cost_no_more_than_their_budget(points, budget):
    made = search.rounds(points, budget)
    assert made[0].points == points
    assert sum(now.points * now.length for now in made) <= budget + 1e-9
    assert all(0 < now.length <= 1 for now in made)
    for before, after in itertools.pairwise(made):
        assert after.points < before.points
        assert after.length > before.length


def test_short_trials_of_all_points_and_longer_ones_of_the_best(tmp_path):
    """At keep = 0.1 the ten cutoffs share a third of the cost of one retraining, the best four another third, ..."""
    made, points = trials(tmp_path / "trials.csv", lambda changes, keep, seed: -abs(changes["cutoff"] - 0.72))
    chosen = tune(SPEC, (0.1,), made, cost=1.0)
    assert chosen.at(0.1) == {"cutoff": 0.7}
    assert [(point[1]["cutoff"], round(point[4], 3)) for point in points] == [
        *((round(0.1 * i, 1), 0.033) for i in range(10)),
        *((cutoff, 0.083) for cutoff in (0.7, 0.8, 0.6, 0.9)),
        *((cutoff, 0.167) for cutoff in (0.7, 0.8)),
    ]
    made.rows.clear()
    dual, points = trials(tmp_path / "other.csv", lambda changes, keep, seed: changes["c_d"])
    tune(BETA, (0.5, 0.3), dual, cost=1.0, horizons=(10, 20), c_d=(2.0, 4.0))
    # Half of the cost of a retraining at 0.5 and one at 0.3 each for two horizons, at 0.5, and for two values of c_D.
    assert [(point[2], point[4]) for point in points] == [(0.5, 0.4)] * 2 + [(0.5, 0.25), (0.3, 0.25)] * 2


def test_a_trial_is_made_once_and_counts_for_all_seeds(tmp_path):
    path = tmp_path / "trials.csv"
    made, points = trials(path, lambda changes, keep, seed: seed + changes["cutoff"], seeds=(0, 1))
    assert made.mean("mine", {"cutoff": 0.5}, 0.3, 1.0) == 1.0
    assert made.mean("mine", {"cutoff": 0.5}, 0.3, 1.0) == 1.0
    assert len(points) == 2
    again, points = trials(path, lambda changes, keep, seed: 99.0, seeds=(0, 1, 2))
    assert again.mean("mine", {"cutoff": 0.5}, 0.3, 1.0) == pytest.approx((0.5 + 1.5 + 99) / 3)
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
        tune(SPEC | {"selector": "random"}, (0.5,), made)


def test_what_is_held_out():
    held = search.hold_out(20, 0.1, np.arange(20)[::-1])
    assert np.flatnonzero(held).tolist() == [18, 19]
    assert search.hold_out(5, 0.1, np.arange(5)).sum() == 1


def test_whole_numbers_of_a_grid_are_hashed_as_any_other(tmp_path):
    """--config.search.c_d=3,4 gives whole numbers, but a coreset's settings hold 4.0 for either spelling."""
    made, _ = trials(tmp_path / "trials.csv", lambda changes, keep, seed: changes["c_d"])
    chosen = tune(BETA, (0.5,), made, horizons=(10,), c_d=(3, 4))
    assert json.dumps(chosen.at(0.5)) == '{"horizon": 10, "c_d": 4.0}'


@pytest.fixture
def reach(monkeypatch):
    """A selector with its own setting to search for."""
    sweeps = (Sweep("reach", 1, lambda options, keep: (1, 2), kind=int, title="reach, steps"),)
    record = Selector("far", selectors.top, ("score", "tiebreak"), search=Search(sweeps, together=True))
    monkeypatch.setitem(SELECTORS, "far", record)


def test_earlier_searches_stay_valid_when_there_is_more_to_search_for(tmp_path, monkeypatch, request):
    """Files written before a selector was added lack its settings."""
    path = tmp_path / "trials.csv"
    before, _ = trials(path, lambda changes, keep, seed: changes["cutoff"])
    chosen = tune(SPEC, (0.8,), before)
    saved = json.loads(json.dumps(chosen.to_json()))
    request.getfixturevalue("reach")
    after, points = trials(path, lambda changes, keep, seed: 0.0 if "cutoff" in changes else changes["reach"])
    assert tune(SPEC, (0.8,), after) == search.Chosen.of([saved]) == chosen
    assert points == []
    assert str(tune({"name": "mine", "selector": "far", "reach": -1}, (0.8,), after)) == "reach, steps 2"
    with path.open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["cutoff"], row["reach"]) for row in rows] == [
        ("0.0", ""),
        ("0.1", ""),
        ("0.2", ""),
        ("", "1"),
        ("", "2"),
    ]


def test_a_setting_is_searched_for_in_one_way():
    """Selectors may share a setting, and then share its column in trials.csv and its place in the results."""
    for selector in SELECTORS.values():
        for sweep in selector.search.sweeps if selector.search else ():
            assert search.sweeps()[sweep.field][1] == selector.search.together


def test_the_results_of_all_searches():
    """Results are ordered by name, then by decreasing kept fraction."""
    cost = {"trials": 2, "steps": 10.0, "seconds": 1.5}
    parts = [
        {"name": "b", "cutoff": {}, "horizon": 20, "c_d": 4.0} | cost,
        {"name": "a", "cutoff": {"0.3": 0.4}, "horizon": None, "c_d": None} | cost,
        {"name": "a", "cutoff": {"0.5": 0.1}, "horizon": None, "c_d": None} | cost,
    ]
    found = search.summary(parts)
    assert list(found["chosen"]) == ["a", "b"]
    assert list(found["chosen"]["a"]["cutoff"].items()) == [("0.5", 0.1), ("0.3", 0.4)]
    assert found["chosen"]["b"] == {"cutoff": {}, "horizon": 20, "c_d": 4.0, "exponent": None}
    assert (found["trials"], found["steps"], found["seconds"]) == (6, 30.0, 4.5)
