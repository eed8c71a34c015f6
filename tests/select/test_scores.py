"""Scores against plain loops, cases worked out by hand, and the properties of their formulas."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from semiprune_jax.select import scores
from tests.oracles import scores as oracle

N, T, C = 3, 12, 3
PADDING = 2


@st.composite
def records(draw):
    """The record of a run on N examples, often with probabilities of exactly 0 or 1."""
    logits = draw(arrays.arrays(float, (N, T, C), elements=st.sampled_from([0, 1e4, -1e4]) | st.floats(-9, 9)))
    p = np.exp(logits - logits.max(-1, keepdims=True))
    p /= p.sum(-1, keepdims=True)
    label = np.array(draw(st.lists(st.integers(0, C - 1), min_size=N, max_size=N)))
    one_hot = np.eye(C)[label][:, None]
    return {
        "p": p,
        "label": label,
        "p_label": (p * one_hot).sum(-1).astype(np.float32),
        "p_other": (p - 2 * one_hot).max(-1).astype(np.float32),
        "correct": p.argmax(-1) == label[:, None],
        "el2n": np.sqrt(((p - one_hot) ** 2).sum(-1)).astype(np.float32),
        "entropy": (-(p * np.log(p + 1e-10)).sum(-1)).astype(np.float32),
        "kl": np.array([oracle.moves(rows) for rows in p], np.float32),
        "grad_norm": np.abs(logits).sum(-1).astype(np.float32),
    }


@given(records(), st.data())
@settings(deadline=None, max_examples=50)
def test_every_score_against_loops(record, data):
    last, horizon = data.draw(st.integers(1, T)), data.draw(st.integers(1, T))
    first, window = data.draw(st.integers(0, last - 1)), data.draw(st.integers(1, horizon))
    never_learned, decay = data.draw(st.sampled_from(["zero", "hardest"])), data.draw(st.floats(0.1, 1.0))
    exponent = data.draw(st.sampled_from([0.5, 1.0, 2.0]))
    expected = {
        "aum": oracle.aum(record["p_label"], record["p_other"]),
        "forgetting": oracle.forgetting(record["correct"], never_learned),
        "correctness": [sum(row) for row in record["correct"]],
        "el2n": oracle.el2n(record["p"], record["label"], first, last),
        "grand": [sum(row[first:last]) for row in record["grad_norm"].astype(float)],
        "dual": oracle.dual(record["p_label"], window, horizon, exponent),
        "dyn_unc": oracle.dyn_unc(record["p_label"], window),
        "mean_probability": [np.mean(row[:horizon]) for row in record["p_label"]],
        "entropy": oracle.entropy(record["p"]),
        "tdds": oracle.tdds(record["p"], window, horizon, decay) if window > 1 else [],
    }
    assert expected.keys() == scores.SCORES.keys()
    options = {"first": first, "last": last, "window": window, "horizon": horizon, "exponent": exponent}
    options |= {"never_learned": never_learned, "decay": decay}
    for name, values in expected.items():
        if name == "tdds" and window == 1:  # a window of one visit has no differences
            continue
        got = scores.compute(name, record, options)
        np.testing.assert_allclose(got, values, rtol=1e-5, atol=1e-6, err_msg=name)


def test_forgetting_by_hand():
    assert scores.forgetting(np.array([[True, False, True, False]])) == 2
    assert scores.forgetting(np.zeros((1, 4), bool)) == 0  # never learned counts as never forgotten
    assert scores.forgetting(np.zeros((1, 4), bool), "hardest") == 4


def test_tdds_by_hand():
    """Two windows of three visits, with moves (0, .4) and (.4, 0); the last one counts ten times as much."""
    kl = np.array([[0.0, 0.0, 0.4, 0.0]])
    norm = 0.4 / np.sqrt(2)
    assert scores.tdds(kl, window=3) == pytest.approx(0.9 * norm + 0.09 * norm)
    assert scores.tdds(kl + 0.3, window=3) == pytest.approx(0.99 * norm)  # only changes of the distance count
    assert scores.tdds(kl, window=3, horizon=3) == pytest.approx(0.9 * norm)


def test_dual_by_hand():
    alternating = np.array([[0.0, 1.0] * 5])
    assert scores.dual(alternating) == pytest.approx(0.25)
    assert 10 * scores.dual(alternating) * np.sqrt(10 / 9) == pytest.approx(2.63523)  # on the scale of DUAL's script


@given(st.floats(0, 1, width=32), st.integers(1, T), st.sampled_from([0.5, 1.0, 2.0]))
@example(0.0, 10, 1.0)
@example(1.0, 10, 0.5)
@settings(deadline=None, max_examples=50)
def test_a_constant_trajectory_has_no_uncertainty(p, window, exponent):
    p_label = np.full((1, T), p, np.float32)
    assert scores.dual(p_label, window, None, exponent) == 0
    assert scores.dyn_unc(p_label, window) == 0


def test_saturated_trajectories_keep_their_digits():
    p = np.float32(1) - np.float32(2**-24) * (np.arange(12, dtype=np.float32)[None] % 3)  # 1 and the next two below
    np.testing.assert_allclose(scores.dual(p, 10), oracle.dual(p, 10, None, 1.0), rtol=1e-4)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda p: scores.dual(p, horizon=T + 1), r"horizon 13 is not in 1\.\.12"),
        (lambda p: scores.dual(p, window=10, horizon=9), r"window 10 is not in 1\.\.9"),
        (lambda p: scores.dyn_unc(p, window=13), "window 13"),
        (lambda p: scores.mean_probability(p, 0), "horizon 0"),
        (lambda p: scores.tdds(p, window=13), r"window 13 is not in 2\.\.12"),
        (lambda p: scores.tdds(p, window=1), r"window 1 is not in 2\.\.12"),
        (lambda p: scores.tdds(p, horizon=13), "horizon 13"),
        (lambda p: scores.tdds(p, decay=0.0), r"decay = 0\.0 is not in"),
        (lambda p: scores.forgetting(p, "inf"), "never_learned = 'inf' is neither"),
        (lambda p: scores.el2n(p, 0, 13), r"el2n window 0\.\.13"),
        (lambda p: scores.el2n(p, 5, 5), r"el2n window 5\.\.5"),
    ],
)
def test_windows_beyond_the_record_are_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call(np.full((N, T), 0.5, np.float32))


@given(records(), st.sampled_from([0.0, 1.0, np.nan, 1e30]), st.permutations(range(N + PADDING)))
@settings(deadline=None, max_examples=50)
def test_every_score_is_finite_and_reads_its_own_row_alone(record, filler, order):
    options = {"window": 5, "horizon": 8, "exponent": 0.5, "first": 0, "last": 10}
    fields = ("p_label", "p_other", "correct", "el2n", "entropy", "grad_norm", "kl")
    padding = {key: np.full((PADDING, T), filler).astype(record[key].dtype) for key in fields}
    padded = {key: np.concatenate([record[key], padding[key]])[order] for key in fields}
    for name in scores.SCORES:
        got = scores.compute(name, record, options)
        assert got.shape == (N,)
        assert got.dtype == np.float32
        assert np.all(np.isfinite(got)), name
        again = scores.compute(name, padded, options)[np.argsort(order)]
        np.testing.assert_array_equal(again[:N], got, err_msg=name)


@given(records())
@settings(deadline=None, max_examples=50)
def test_a_reversed_record_reverses_its_scores(record):
    swapped = record | {"p_label": record["p_other"], "p_other": record["p_label"]}
    np.testing.assert_array_equal(scores.compute("aum", swapped, {}), -scores.compute("aum", record, {}))
    p, correct = record["p_label"], record["correct"]
    learned = scores.forgetting(~correct)  # wrong, then right
    np.testing.assert_array_equal(learned - scores.forgetting(correct), correct[:, -1] * 1.0 - correct[:, 0])
    np.testing.assert_allclose(scores.dyn_unc(1 - p, 4), scores.dyn_unc(p, 4), rtol=1e-5, atol=1e-6)


@given(records(), records())
@settings(deadline=None, max_examples=50)
def test_sums_and_means_rise_with_every_epoch(one, other):
    for function, field in (
        (scores.aum, "p_label"),
        (scores.el2n, "el2n"),
        (scores.mean_probability, "p_label"),
        (scores.correctness, "correct"),
    ):
        assert np.all(function(np.maximum(one[field], other[field])) >= function(one[field])), function.__name__


@pytest.mark.parametrize("name", [name for name in scores.SCORES if name not in ("dual", "dyn_unc", "entropy", "tdds")])
def test_the_hard_end_is_hard(name):
    """Every score calls an example that is often wrong harder than one that is always right."""
    t = np.ones((1, 10), np.float32)
    record = {
        "p_label": np.concatenate([0.1 * t, 0.9 * t]),
        "p_other": np.concatenate([0.9 * t, 0.1 * t]),
        "correct": np.array([[True, False] * 5, [True] * 10]),
        "el2n": np.concatenate([1.2 * t, 0.1 * t]),
        "grad_norm": np.concatenate([9.0 * t, 2.0 * t]),
    }
    hard, easy = scores.compute(name, record, {"horizon": 10})
    assert hard > easy if scores.SCORES[name].high_is_hard else hard < easy


def test_some_are_scored_only_when_recorded():
    record = dict.fromkeys(("p_label", "p_other", "correct", "el2n"), np.zeros((1, 3)))
    options = {"window": 2, "last": 3}
    assert [n for n in scores.SCORES if not scores.recorded(n, record, options)] == ["grand", "tdds", "entropy"]
    assert scores.recorded("grand", record | {"grad_norm": np.zeros((1, 3))}, options)
    assert scores.recorded("entropy", record | {"entropy": np.zeros((1, 3))}, options)
    assert scores.recorded("tdds", record | {"kl": np.zeros((1, 3))}, options)
    assert not scores.recorded("el2n", record, options | {"last": 4})  # of a proxy that has stopped early
    assert not scores.recorded("dual", record, options | {"window": 4})


@pytest.mark.parametrize("n", [1, 127, 128, 129, 300])
def test_windows_of_any_number_of_examples(n, rng):
    """Windows are computed in chunks of rows; no row is lost or doubled at the seams."""
    p = rng.random((n, 23), np.float32)
    expected = oracle.dual(p, 5, 20, 1.5)
    np.testing.assert_allclose(scores.dual(p, window=5, horizon=20, exponent=1.5), expected, rtol=1e-5)
