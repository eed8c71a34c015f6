import inspect

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from semiprune_jax import selection
from tests.oracles import selection as oracle


def run(name, score, keep, cutoff=0.0, **extra):
    """Any selector on the same inputs."""
    arguments = {
        "n": len(score), "score": score, "mean_probability": np.linspace(0.05, 0.95, len(score)), "keep": keep,
        "cutoff": cutoff, "c_d": 4.0, "seed": 0, "strata": 5, **extra,
    }  # fmt: skip
    return selection.select(name, arguments)


def test_coreset_size():
    assert selection.coreset_size(50_000, 0.1) == 5_000
    assert selection.coreset_size(50_000, 1 - 0.9) == 5_000  # binary fractions lose one
    assert selection.coreset_size(10, 0.39) == 3
    assert selection.coreset_size(7, 1.0) == 7


def test_double_end_by_hand():
    aum = np.arange(10.0)
    np.testing.assert_array_equal(selection.double_end(aum, 0.3, 0.2), [2, 3, 4])
    np.testing.assert_array_equal(selection.double_end(aum, 0.3, 0.7), [7, 8, 9])  # cutoff + keep = 1


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=40), st.floats(0.05, 1), st.floats(0, 1))
@settings(deadline=None)
def test_top_and_double_end_against_loops(score, keep, cutoff):
    if oracle.size(len(score), keep) < 1:
        return
    assert selection.top(np.array(score), keep).tolist() == oracle.top(score, keep)
    if oracle.size(len(score), keep) + oracle.size(len(score), cutoff) <= len(score):
        got = selection.double_end(np.array(score), keep, cutoff)
        assert got.tolist() == oracle.double_end(score, keep, cutoff)


@given(
    st.sampled_from(list(selection.SELECTORS)),
    st.lists(st.floats(0, 1, width=32), min_size=1, max_size=60),
    st.floats(0.02, 1),
)
@settings(deadline=None)
def test_every_selector_keeps_exactly_its_size(name, score, keep):
    if oracle.size(len(score), keep) < 1:
        return
    kept = run(name, np.array(score), keep)
    assert kept.dtype == np.int64
    assert len(kept) == oracle.size(len(score), keep)
    assert len(np.unique(kept)) == len(kept)
    assert np.all(np.diff(kept) > 0)
    assert kept.min() >= 0
    assert kept.max() < len(score)


def test_beta_parameters_by_hand():
    a, b = selection.beta_parameters(0.4, 0.3, 4.0)
    assert (a, b) == (pytest.approx(9.1609), pytest.approx(6.8391))
    a, b = selection.beta_parameters(0.4, 0.1, 4.0)
    assert (a, b) == (pytest.approx(12.9049), pytest.approx(3.0951))
    a, b = selection.beta_parameters(0.4, 0.3, 4.0, form="paper")
    assert (a, b) == (pytest.approx(8.1609), pytest.approx(6.8391))


@pytest.mark.parametrize(("form", "extra"), [("code", 1.0), ("paper", 0.0)])
def test_beta_draws_as_often_as_sequential_draws_would(form, extra):
    rng = np.random.default_rng(0)
    score, q = rng.random(15), rng.uniform(0.05, 0.95, 15)
    weights = oracle.beta_weights(score, q, 0.4, 4.0, 15.0, extra)
    trials = 4000
    ours, theirs = np.zeros(15), np.zeros(15)
    for seed in range(trials):
        ours[selection.beta(score, q, 0.4, 4.0, seed=seed, form=form)] += 1
        theirs[oracle.sequential_draw(weights, 6, rng)] += 1
    # Two binomial frequencies of 4,000 trials differ by more than 0.045 once in ten thousand.
    np.testing.assert_allclose(ours / trials, theirs / trials, atol=0.045)


def test_beta_survives_weights_below_the_smallest_double():
    score = np.full(500, 1e-30)
    kept = selection.beta(score, np.full(500, 1e-9), 0.9, 4.0)
    assert len(kept) == 450
    assert selection.beta(np.r_[score, 0.0], np.full(501, 0.5), 0.99, 4.0).max() < 500  # a score of 0 comes last


def test_stratified_spreads_the_budget():
    score = np.r_[np.linspace(0, 0.19, 50), np.linspace(0.8, 1.0, 10)]
    kept = selection.stratified(score, 0.5, 0.0, strata=5)
    counts = [int(np.sum((score >= lo) & (score < lo + 0.2))) for lo in (0, 0.2, 0.4, 0.6)]
    counts.append(60 - sum(counts))
    sizes = oracle.stratum_sizes(counts, 30)
    for stratum, lo in enumerate((0, 0.2, 0.4, 0.6, 0.8)):
        assert np.sum((score[kept] >= lo) & (score[kept] < lo + 0.2 + (stratum == 4))) == sizes[stratum]


def test_stratum_sizes_by_hand():
    """Strata of 0, 1, 5 and 10 examples and a budget of 8."""
    assert list(oracle.stratum_sizes([0, 1, 5, 10], 8).values()) == [0, 1, 3, 4]
    score = np.r_[0.0, np.full(5, 1.0), np.full(10, 3.9), 4.0]  # four strata of width 1: 1, 5, 0 and 11
    kept = selection.stratified(score, 8 / 17, 0.0, strata=4)
    assert [int(np.sum(np.floor(score[kept]).clip(max=3) == s)) for s in range(4)] == [1, 3, 0, 4]


def test_stratified_drops_the_hardest_first():
    kept = selection.stratified(np.arange(100.0), 0.3, 0.5, strata=10)
    assert kept.min() >= 50
    assert len(selection.stratified(np.full(20, 7.0), 0.5, 0.2)) == 10  # all scores equal


def test_ties_and_draws_follow_the_example_not_its_position(rng):
    score = rng.integers(0, 3, 50).astype(float)
    tiebreak, noise, order = rng.random(50), rng.random(50), rng.permutation(50)
    for name in selection.SELECTORS:
        extra = {"tiebreak": tiebreak, "noise": noise}
        kept = set(run(name, score, 0.3, **extra, mean_probability=score / 4))
        moved = run(
            name, score[order], 0.3, tiebreak=tiebreak[order], noise=noise[order], mean_probability=score[order] / 4
        )
        assert set(order[moved]) == kept, name


def test_random_is_uniform_and_seeded():
    counts = np.zeros(10)
    for seed in range(2000):
        counts[selection.random(10, 0.3, seed)] += 1
    np.testing.assert_allclose(counts / 2000, 0.3, atol=0.05)
    np.testing.assert_array_equal(selection.random(100, 0.5, 3), selection.random(100, 0.5, 3))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: selection.top(np.ones(5), 0.0), "keep = 0.0 is not in"),
        (lambda: selection.top(np.ones(5), 1.5), "keep = 1.5 is not in"),
        (lambda: selection.top(np.ones(5), 0.1), "keeps none"),
        (lambda: selection.top(np.array([1.0, np.nan]), 0.5), "1 of 2 scores are not finite"),
        (lambda: selection.top(np.ones((2, 2)), 0.5), r"shape \(2, 2\)"),
        (lambda: selection.top(np.ones(5), 0.5, np.ones(4)), "tiebreak has shape"),
        (lambda: selection.double_end(np.ones(10), 0.5, 0.6), "lower the cutoff to at most 0.5"),
        (lambda: selection.double_end(np.ones(10), 0.5, -0.1), "cutoff = -0.1"),
        (lambda: selection.beta(np.ones(5), np.ones(4), 0.5, 4.0), "both must be"),
        (lambda: selection.beta(-np.ones(5), np.ones(5), 0.5, 4.0), "must not be negative"),
        (lambda: selection.beta(np.ones(5), np.ones(5), 0.5, 0.0), "must both be positive"),
        (lambda: selection.beta(np.ones(5), np.ones(5), 0.5, 4.0, form="x"), "neither 'code'"),
        (lambda: selection.stratified(np.ones(5), 0.5, 0.0, strata=0), "strata = 0"),
        (lambda: selection.random(5, 0.5, noise=np.ones(4)), "noise has shape"),
    ],
)
def test_bad_arguments(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_parameters_are_the_contract():
    """``select`` matches by name, so a renamed parameter would silently get its default."""
    known = {"n", "score", "mean_probability", "keep", "cutoff", "c_d", "seed", "concentration", "form", "strata"}
    for function in selection.SELECTORS.values():
        assert set(inspect.signature(function).parameters) <= known | {"noise", "tiebreak"}
