import numpy as np
import pytest

from semiprune_jax import scores
from tests.oracles import scores as oracle

N, T, C = 40, 14, 5


@pytest.fixture
def record(rng):
    logits = rng.normal(0, 3, (N, T, C))
    p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    label = rng.integers(0, C, N)
    p_label = p[np.arange(N), :, label]
    others = p.copy()
    others[np.arange(N), :, label] = -1
    return {
        "p": p,
        "label": label,
        "p_label": p_label.astype(np.float32),
        "p_other": others.max(-1).astype(np.float32),
        "correct": p.argmax(-1) == label[:, None],
        "el2n": np.sqrt(((p - np.eye(C)[label][:, None]) ** 2).sum(-1)).astype(np.float32),
        "entropy": (-(p * np.log(p + 1e-10)).sum(-1)).astype(np.float32),
    }


def test_aum(record):
    got = scores.aum(record["p_label"] - record["p_other"])
    np.testing.assert_allclose(got, oracle.aum(record["p_label"], record["p_other"]), rtol=1e-5, atol=1e-6)


def test_forgetting(record):
    np.testing.assert_array_equal(scores.forgetting(record["correct"]), oracle.forgetting(record["correct"]))
    assert scores.forgetting(np.array([[True, False, True, False]])) == 2
    assert scores.forgetting(np.zeros((1, 4), bool)) == 0  # never learned counts as never forgotten


def test_correctness(record):
    np.testing.assert_array_equal(scores.correctness(record["correct"]), [sum(row) for row in record["correct"]])


@pytest.mark.parametrize(("first", "last"), [(0, 10), (0, T), (5, 6)])
def test_el2n(record, first, last):
    got = scores.el2n(record["el2n"], first, last)
    np.testing.assert_allclose(got, oracle.el2n(record["p"], record["label"], first, last), rtol=1e-5)


@pytest.mark.parametrize(("window", "horizon", "exponent"), [(10, None, 1.0), (3, 12, 1.0), (10, 10, 2.0), (5, 7, 0.5)])
def test_dual(record, window, horizon, exponent):
    got = scores.dual(record["p_label"], window, horizon, exponent)
    np.testing.assert_allclose(got, oracle.dual(record["p_label"], window, horizon, exponent), rtol=1e-5, atol=1e-7)


def test_dual_by_hand():
    assert scores.dual(np.full((1, 12), 0.3, np.float32)) == 0
    assert scores.dual(np.array([[0.0, 1.0] * 5])) == pytest.approx(0.25)


@pytest.mark.parametrize("window", [2, 10, T])
def test_dyn_unc(record, window):
    got = scores.dyn_unc(record["p_label"], window)
    np.testing.assert_allclose(got, oracle.dyn_unc(record["p_label"], window), rtol=1e-5)


def test_mean_probability_and_entropy(record):
    got = scores.mean_probability(record["p_label"], 7)
    np.testing.assert_allclose(got, [np.mean(row[:7]) for row in record["p_label"]], rtol=1e-6)
    np.testing.assert_allclose(scores.entropy(record["entropy"]), oracle.entropy(record["p"]), rtol=1e-5)


def test_saturated_trajectories_keep_their_digits():
    # Running sums in float32 would give noise of the size of the answer here.
    p = np.float32(1) - np.float32(1e-4) * np.arange(12, dtype=np.float32)[None] / 12
    np.testing.assert_allclose(scores.dual(p, 10), oracle.dual(p, 10, None, 1.0), rtol=1e-4)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda p: scores.dual(p, horizon=T + 1), r"horizon 15 is not in 1\.\.14"),
        (lambda p: scores.dual(p, window=10, horizon=9), r"window 10 is not in 1\.\.9"),
        (lambda p: scores.dyn_unc(p, window=15), "window 15"),
        (lambda p: scores.mean_probability(p, 0), "horizon 0"),
        (lambda p: scores.el2n(p, 0, 15), r"el2n window 0\.\.15"),
        (lambda p: scores.el2n(p, 5, 5), r"el2n window 5\.\.5"),
    ],
)
def test_windows_beyond_the_record_are_errors(record, call, message):
    with pytest.raises(ValueError, match=message):
        call(record["p_label"])


@pytest.mark.parametrize("name", scores.SCORES)
def test_every_score(name, record, rng):
    options = {"window": 5, "horizon": 8, "exponent": 1.0, "first": 0, "last": 10}
    got = scores.compute(name, record, options)
    assert got.shape == (N,)
    assert got.dtype == np.float32
    assert np.all(np.isfinite(got))
    order = rng.permutation(N)
    shuffled = {key: value[order] for key, value in record.items()}
    np.testing.assert_array_equal(scores.compute(name, shuffled, options), got[order])


@pytest.mark.parametrize("name", [name for name in scores.SCORES if name not in ("dual", "dyn_unc", "entropy")])
def test_the_hard_end_is_hard(name):
    """An example that is never right against one that always is; every score must call the first harder."""
    t = np.ones((1, 10), np.float32)
    record = {
        "p_label": np.concatenate([0.1 * t, 0.9 * t]),
        "p_other": np.concatenate([0.9 * t, 0.1 * t]),
        "correct": np.array([[True, False] * 5, [True] * 10]),
        "el2n": np.concatenate([1.2 * t, 0.1 * t]),
    }
    hard, easy = scores.compute(name, record, {"horizon": 10})
    assert hard > easy if scores.SCORES[name].high_is_hard else hard < easy


def test_entropy_is_scored_only_when_recorded(record):
    assert scores.recorded("entropy", record)
    assert not scores.recorded("entropy", {key: value for key, value in record.items() if key != "entropy"})
    assert scores.recorded("aum", {"p_label": 0, "p_other": 0})
