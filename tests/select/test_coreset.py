"""Coresets: from dynamics, classes and embeddings to the kept examples, and the settings that they depend on."""

import importlib

import numpy as np
import pytest

from semiprune_jax.config import schema
from semiprune_jax.select import coreset, scores

KEYS = [f"k{i}" for i in range(60)]
CLASSES = np.arange(60) % 3


def spec(name="mine", **changes):
    options = schema.settings(schema.selection(selector=changes.pop("selector"))) | schema.settings(
        schema.base_config().score
    )
    return coreset.relevant(options | {"name": name, "keep": 0.3, "cutoff": 0.2, "seed": 0, "window": 5} | changes)


def choose(spec, dynamics, classes, embeddings=None, *, known=None, clusters=0, memo=None, largest=None):
    pool = coreset.Pool(KEYS, dynamics, classes, embeddings, known, clusters)
    return coreset.choose(spec, pool, memo, largest)


@pytest.fixture
def dynamics(rng):
    p = np.sort(rng.random((60, 12)), axis=1).astype(np.float32)
    return {"p_label": p, "p_other": (1 - p) / 2, "correct": p > 0.4, "el2n": (1 - p).astype(np.float32)}


def test_balanced_selections_are_of_the_labels_in_use(dynamics):
    for selector in ("balanced_top", "balanced_random"):
        _, kept = choose(spec(selector=selector), dynamics, CLASSES)
        assert np.bincount(CLASSES[kept]).tolist() == [6, 6, 6]
    hard = choose(spec(selector="balanced_top"), dynamics, CLASSES)[1]
    easy = choose(spec(selector="balanced_top", end="easy"), dynamics, CLASSES)[1]
    aum = scores.compute("aum", dynamics, {})
    assert aum[hard].max() < aum[easy].max()
    assert not np.any(hard & easy)


def test_d2_leaves_out_the_lowest_aum(dynamics, rng):
    features = {"features": rng.normal(size=(60, 4)).astype(np.float32)}
    cut = spec(selector="d2", score="forgetting", cutoff=0.5)
    _, kept = choose(cut, dynamics, CLASSES, features)
    aum = scores.compute("aum", dynamics, {})
    assert aum[kept].min() >= np.sort(aum)[30]
    _, plain = choose(cut | {"cutoff": 0.0}, dynamics, CLASSES, features)
    assert aum[plain].min() < np.sort(aum)[30]


def test_scores_of_some_are_carried_over_to_all(dynamics, rng):
    """Selection and report use the extrapolated scores; known examples keep their own scores."""
    features, known = {"features": rng.normal(size=(60, 4)).astype(np.float32)}, np.arange(60) < 30
    carried = spec(selector="top", score="dyn_unc", extrapolate="neighbours", neighbours=3)
    assert coreset.reads(carried) == {"score", "embed"}
    assert "extrapolate" not in spec(selector="top", score="dyn_unc", neighbours=3)
    score, kept = choose(carried, dynamics, None, features, known=known)
    own = scores.compute("dyn_unc", dynamics, {"window": 5})
    np.testing.assert_array_equal(score[known], own[known])
    assert not np.array_equal(score, own)
    assert score[kept].min() >= np.sort(score)[42]


@pytest.mark.parametrize(
    "changes",
    [
        {"selector": "zcore", "samples": 200},
        {"selector": "prototypicality"},
        {"selector": "top", "score": "dyn_unc", "extrapolate": "neighbours", "neighbours": 3},
        {"selector": "k_centre"},
        {"selector": "badge"},
        {"selector": "d2", "score": "aum", "end": "hard", "cutoff": 0.1, "neighbours": 4, "gamma": 0.5},
    ],
)
def test_work_that_serves_all_kept_fractions_is_done_once(dynamics, rng, monkeypatch, changes):
    features = {"features": rng.normal(size=(60, 4)).astype(np.float32), "probabilities": rng.dirichlet(np.ones(3), 60)}
    given = {"known": np.arange(60) < 30, "clusters": 3, "largest": 0.5}
    made = []
    functions = ("zcore.zcore", "kmeans.fit", "extrapolation.nearest", "graph.nearest", "centres.farthest_first")
    for name in (*functions, "centres.badge"):
        module, function = name.split(".")
        module = importlib.import_module(f"semiprune_jax.features.{module}")
        real = getattr(module, function)
        monkeypatch.setattr(module, function, lambda *a, real=real, **k: made.append(real) or real(*a, **k))
    memo = {}
    for keep in (0.3, 0.5):
        shared = choose(spec(keep=keep, **changes), dynamics, CLASSES, features, **given, memo=memo)
        assert len(made) == 1
        by_itself = given | {"largest": None}
        alone = choose(spec(keep=keep, **changes), dynamics, CLASSES, features, **by_itself)
        np.testing.assert_array_equal(shared[1], alone[1])
        assert shared[1].sum() == 60 * keep
        del made[1:]


@pytest.mark.parametrize("selector", ["k_centre", "random", "top", "beta"])
def test_a_budget_is_in_every_coreset_that_can_hold_it(dynamics, rng, selector):
    """A smaller coreset lies in the budget. Kept fractions of both kinds share a memo."""
    features, bought = {"features": rng.normal(size=(60, 4)).astype(np.float32)}, np.arange(60) < 24
    pool, memo = coreset.Pool(KEYS, dynamics, CLASSES, features, bought=bought), {}
    for keep in (0.8, 0.6, 0.4, 0.3, 0.1):
        own = spec(selector=selector, score="dual", c_d=4.0, keep=keep, include_labelled=True)
        for largest, shared in ((None, None), (0.8, memo)):
            _, kept = coreset.choose(own, pool, shared, largest)
            assert kept.sum() == int(60 * keep)
            assert np.all(kept[bought]) if keep >= 0.4 else not np.any(kept[~bought])


def test_orders_of_choice_are_shared_by_kept_fractions_with_the_same_cutoff_only(dynamics, rng):
    features, memo = {"features": rng.normal(size=(60, 4)).astype(np.float32)}, {}
    for keep, cutoff in ((0.3, 0.5), (0.5, 0.1), (0.2, 0.5)):
        cut = spec(selector="d2", score="forgetting", keep=keep, cutoff=cutoff)
        _, shared = choose(cut, dynamics, CLASSES, features, memo=memo)
        _, alone = choose(cut, dynamics, CLASSES, features)
        np.testing.assert_array_equal(shared, alone)


def test_a_spec_holds_only_the_settings_in_use():
    assert set(spec(selector="random")) == {"name", "selector", "keep", "seed"}
    assert set(spec(selector="double_end")) == {"name", "selector", "keep", "seed", "score", "cutoff"}
    assert set(spec(selector="top", score="dual")) == {
        *("name", "selector", "keep", "seed", "score", "end", "window", "horizon", "exponent")
    }
    assert {"c_d", "form", "concentration", "horizon"} <= set(spec(selector="beta", score="dual"))
    assert "cutoff" not in spec(selector="beta", score="dual")


@pytest.mark.parametrize("score", ["aum", "el2n", "forgetting", "correctness", "mean_probability"])
def test_cutoffs_drop_the_hard_end_of_any_score(dynamics, score):
    values, kept = choose(spec(selector="double_end", score=score, last=12), dynamics, CLASSES)
    assert values is not None
    hardness = values if scores.SCORES[score].high_is_hard else -values
    assert kept.sum() == 18
    assert np.sum(hardness > hardness[kept].max()) <= 12  # the cutoff is 20% of 60
    assert hardness[kept].max() <= np.sort(hardness)[::-1][11]


def test_top_keeps_the_end_that_is_asked_for(dynamics):
    aum = scores.aum(dynamics["p_label"] - dynamics["p_other"])
    for end, expected in (("hard", np.argsort(aum)[:18]), ("easy", np.argsort(aum)[-18:])):
        _, kept = choose(spec(selector="top", end=end), dynamics, CLASSES)
        assert set(np.flatnonzero(kept)) == set(expected)


def test_each_selection_has_a_draw_of_its_own_that_can_be_repeated(dynamics):
    one = choose(spec("one", selector="random"), dynamics, CLASSES)[1]
    np.testing.assert_array_equal(one, choose(spec("one", selector="random"), dynamics, CLASSES)[1])
    assert not np.array_equal(one, choose(spec("two", selector="random"), dynamics, CLASSES)[1])


def test_beta_looks_at_its_horizon_only(dynamics):
    beta = spec(selector="beta", score="dual", horizon=6, c_d=4.0)
    _, kept = choose(beta, dynamics, CLASSES)
    later = {key: value.copy() for key, value in dynamics.items()}
    later["p_label"][:, 6:] = 0.5
    np.testing.assert_array_equal(choose(beta, later, CLASSES)[1], kept)
    later["p_label"][:, 3:6] = 0.5
    assert not np.array_equal(choose(beta, later, CLASSES)[1], kept)


def test_a_horizon_beyond_the_record(dynamics):
    with pytest.raises(ValueError, match="horizon 13"):
        choose(spec(selector="beta", score="dual", horizon=13, c_d=4.0), dynamics, CLASSES)


def test_kept_fractions_in_names():
    assert [coreset.keep_text(k) for k in (1.0, 0.3, 0.1 + 0.2, 0.125)] == ["1.00", "0.30", "0.30", "0.125"]
