import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from semiprune_jax.data.samplers import EndlessSampler, EpochSampler, SequentialSampler, epoch_order


def test_order_is_a_function_of_its_name():
    one = epoch_order(0, "proxy", 3, 100)
    assert sorted(one) == list(range(100))
    np.testing.assert_array_equal(one, epoch_order(0, "proxy", 3, 100))
    for other in ((1, "proxy", 3), (0, "retrain", 3), (0, "proxy", 4)):
        assert not np.array_equal(one, epoch_order(*other, 100))


def test_order_does_not_drift():
    """Golden: a change here changes every run. Unless intended, it is a bug."""
    assert epoch_order(0, "proxy", 0, 10).tolist() == GOLDEN


GOLDEN = [3, 2, 6, 0, 5, 1, 4, 7, 8, 9]


@given(st.integers(1, 60), st.integers(1, 20), st.integers(0, 5))
@settings(deadline=None)
def test_an_epoch_visits_every_example_exactly_once(n, batch_size, extra):
    ids = np.arange(n) * 3 + 1  # a subset of a larger pool
    feed = EpochSampler(0, "s", ids, batch_size=batch_size, rows=batch_size + extra, pad_id=3 * n + 1)
    assert feed.steps_per_epoch == -(-n // batch_size)
    for epoch in (0, 1):
        first = epoch * feed.steps_per_epoch
        rows = np.concatenate([feed(first + s, 1) for s in range(feed.steps_per_epoch)])
        assert rows.shape == (feed.steps_per_epoch, batch_size + extra)
        real = rows[rows != 3 * n + 1]
        assert sorted(real) == sorted(ids)
        assert np.all(rows[:, batch_size:] == 3 * n + 1)
        np.testing.assert_array_equal(feed(first, feed.steps_per_epoch), rows)


def test_rows_of_the_batch_do_not_depend_on_padding():
    feeds = [EpochSampler(0, "s", np.arange(20), batch_size=8, rows=rows, pad_id=20) for rows in (8, 9, 12)]
    for step in range(3):
        for feed in feeds[1:]:
            np.testing.assert_array_equal(feed(step, 1)[:, :8], feeds[0](step, 1))


def test_a_dispatch_never_crosses_an_epoch():
    feed = EpochSampler(0, "s", np.arange(20), batch_size=8, rows=8, pad_id=20)
    with pytest.raises(ValueError, match="cross an epoch of 3 steps"):
        feed(2, 2)


@given(st.integers(1, 30), st.integers(1, 20), st.integers(0, 40))
@settings(deadline=None)
def test_endless_streams_are_chains_of_permutations(n, batch_size, start):
    ids = np.arange(n) + 5
    feed = EndlessSampler(0, "u", ids, batch_size=batch_size, rows=batch_size + 1, pad_id=99)
    steps = -(-3 * n // batch_size)
    flat = feed(0, steps)[:, :batch_size].ravel()
    for p in range(len(flat) // n):
        assert sorted(flat[p * n : (p + 1) * n]) == sorted(ids)
    assert np.all(feed(0, steps)[:, batch_size] == 99)
    np.testing.assert_array_equal(feed(start, 2)[1:], feed(start + 1, 1))  # the position depends on the step alone


@given(st.integers(1, 50), st.integers(1, 20))
@settings(deadline=None)
def test_evaluation_visits_everything_in_order(n, rows):
    order = SequentialSampler(np.arange(n), rows=rows, pad_id=n)
    feed = order(0, order.steps)
    assert feed.shape == (-(-n // rows), rows)
    assert feed[feed < n].tolist() == list(range(n))
    np.testing.assert_array_equal(feed[-1:], order(order.steps - 1, 1))
