"""The training loop alone, on a step that only counts."""

import contextlib
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from semiprune_jax.distributed.layout import Layout
from semiprune_jax.errors import TrainingError
from semiprune_jax.train import loop, meter
from semiprune_jax.train.state import TrainState
from semiprune_jax.train.training import Pace, Training
from semiprune_jax.workdir import checkpoint
from semiprune_jax.workdir.checkpoint import Checkpoints
from semiprune_jax.workdir.metrics import Metrics


class Killed(Exception):
    """Stands for SIGKILL: nothing after it runs."""


def counting(
    tmp_path, *, total=20, per_epoch=5, evaluate_every=10, kill_at=None, per_dispatch=1, nan_at=None, log_every=2
):
    layout = Layout.of("jit", 1)

    def step(state, record, batch, key):
        loss = jnp.where(state.step == (-1 if nan_at is None else nan_at), jnp.nan, 1.0 / (1 + state.step))
        # The state remembers everything that it was fed.
        params = state.params * 1.0001 + batch.sum() + jax.random.uniform(jax.random.fold_in(key, state.step))
        record = record.at[state.step % 4].add(1)
        return state.replace(step=state.step + 1, params=params), record, {"loss": loss}

    compiled = layout.compile(step, lambda pool, item: item)
    calls = []

    def dispatch(state, record, pool, feed, key):
        if kill_at is not None and sum(calls) >= kill_at:
            raise Killed
        calls.append(feed.shape[0])
        return compiled(state, record, pool, feed, key)

    training = Training(
        name="score",
        state=TrainState(jnp.int32(0), layout.replicate(jnp.float32(0)), {}, {}, None),
        record=layout.create_record(lambda: jnp.zeros(layout.record_rows(4))),
        dispatch=dispatch,
        pool=None,
        feed=contextlib.nullcontext(lambda at, count: np.arange(at, at + count, dtype=np.float32)[:, None]),
        key=jax.random.key(0),
        total_steps=total,
        steps_per_epoch=per_epoch,
        passes=("epoch", per_epoch),
        images_per_step=1,
        evaluate=lambda state: {"test_accuracy": float(state.step)},
        evaluate_every=evaluate_every,
    )
    metrics = Metrics(tmp_path)
    try:
        state, record = loop.run(
            training,
            layout=layout,
            metrics=metrics,
            pace=Pace(steps_per_dispatch=per_dispatch, log_every=log_every, checkpoint_every=4),
            directory=tmp_path / "checkpoints",
        )
    finally:
        metrics.close()
    return state, layout.save_record(record), metrics.lines("score"), calls


def test_lines_and_evaluations(tmp_path):
    state, record, lines, _ = counting(tmp_path)
    assert state.step == 20
    assert [line["step"] for line in lines] == list(range(2, 21, 2))
    assert [line["test_accuracy"] for line in lines if "test_accuracy" in line] == [10, 20]
    assert lines[0]["loss"] == pytest.approx((1 + 1 / 2) / 2)
    assert lines[4]["epoch"] == 2
    assert record[:4].tolist() == [5, 5, 5, 5]


@pytest.mark.parametrize("kill_at", [1, 3, 7, 11, 19])
def test_a_killed_run_ends_in_the_same_bits(tmp_path, kill_at):
    expected, record, lines, _ = counting(tmp_path / "whole")
    with pytest.raises(Killed):
        counting(tmp_path / "cut", kill_at=kill_at)
    state, record_cut, lines_cut, calls = counting(tmp_path / "cut")
    assert state.params == expected.params
    np.testing.assert_array_equal(record_cut, record)
    strip = [{k: v for k, v in line.items() if k != "images_per_second"} for line in lines]
    assert [{k: v for k, v in line.items() if k != "images_per_second"} for line in lines_cut] == strip
    assert sum(calls) == 20 - kill_at // 4 * 4  # from the last checkpoint on


def test_a_finished_run_is_not_run_again(tmp_path):
    counting(tmp_path)
    _, _, lines, calls = counting(tmp_path)
    assert not calls
    assert len(lines) == 10


@pytest.mark.parametrize("per_dispatch", [2, 3, 16])
def test_dispatches_stop_at_epochs_lines_and_evaluations(tmp_path, per_dispatch):
    expected, _, lines, _ = counting(tmp_path / "one")
    state, _, lines_many, calls = counting(tmp_path / "many", per_dispatch=per_dispatch)
    assert state.params == expected.params
    assert [line["loss"] for line in lines_many] == pytest.approx([line["loss"] for line in lines])
    at = np.cumsum([0, *calls])
    assert set(range(0, 21, 5)) | set(range(0, 21, 2)) <= set(at.tolist())
    if per_dispatch == 2:
        assert 2 in calls


def test_a_loss_that_is_not_finite_ends_the_run_with_its_step(tmp_path):
    with pytest.raises(TrainingError, match="score: the loss at step 13 is nan"):
        counting(tmp_path, nan_at=13)


def test_two_checkpoints_are_kept_and_forgotten_when_done(tmp_path):
    counting(tmp_path)
    with Checkpoints(tmp_path / "checkpoints") as saved:
        assert saved.latest() == 20
    assert len(list((tmp_path / "checkpoints").iterdir())) == 2
    checkpoint.forget(tmp_path / "checkpoints")
    assert not (tmp_path / "checkpoints").exists()


def test_spacing_is_chosen_once_from_the_speed(monkeypatch):
    clock = [1.0]
    monkeypatch.setattr(loop.time, "monotonic", lambda: clock[0])
    saver = loop._Saver(Pace(1, log_every=10, checkpoint_every=0), 0)
    saved = []
    for step in range(1, 1000):
        clock[0] += 0.125 if step < 500 else 0.0625  # 8 steps a second, later 16
        if saver.is_due(step):
            saved.append(step)
    assert saved == [121, *range(240, 1000, 120)]  # 15 s after the first step, then at multiples


def test_slow_steps_are_saved_as_they_come(monkeypatch):
    clock = [1.0]
    monkeypatch.setattr(loop.time, "monotonic", lambda: clock[0])
    saver = loop._Saver(Pace(1, log_every=50, checkpoint_every=0), 0)
    due = []
    for step in range(1, 12):
        clock[0] += 8
        due.append(saver.is_due(step))
    assert due[2]
    assert sum(due) == 5


def test_checkpoints_do_not_wait_for_lines(tmp_path):
    with pytest.raises(Killed):
        counting(tmp_path, kill_at=9, log_every=50)
    with Checkpoints(tmp_path / "checkpoints") as saved:
        assert saved.latest() == 8


def test_a_log_that_is_no_terminal_is_told_now_and_then(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(meter, "TELL_SECONDS", 0.0)
    counting(tmp_path / "often")
    told = capsys.readouterr().err.splitlines()
    assert re.fullmatch(r"score: step 4 of 20, loss 0\.2\d\d, images/s [\d,]+, 00:00 left", told[1])
    assert len(told) == 10
    monkeypatch.setattr(meter, "TELL_SECONDS", 60.0)
    counting(tmp_path / "seldom")
    assert capsys.readouterr().err == ""
