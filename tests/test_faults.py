"""A short form of the kinds of trial in ``tests/faults`` that no other test has.

test_main.py and test_pipeline.py kill and signal a single process, and distributed/ one of two processes;
test_bad_inputs.py and workdir/test_checkpoint.py damage files.
"""

import pytest

from tests.faults import fuzz, run, trials

FLAGS = ["--config.select.names=('semi_aum',)", "--config.runtime.checkpoint_every_steps=6", "--until=select"]
TINY = [f"--config.model.{name}=tiny" for name in ("ssl", "proxy", "retrain")] + ["--config.ssl.learning_rate=0.03"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return trials.Place(tmp_path_factory.mktemp("faults"), at_once=1, flags=[*FLAGS, *TINY])


@pytest.mark.parametrize(
    ("kind", "count"),
    [(trials.full, 1), (trials.clock, 1), (trials.nothing_left, 2)],  # after SIGKILL and after a crash
)
def test_it_holds(place, kind, count):
    holds(kind(place, count), count)


@pytest.mark.long
@pytest.mark.parametrize(
    ("kind", "count"),
    [(trials.several, 2), (trials.moved, 1)],  # in memory and streamed; by way of two processes of two devices
)
def test_it_holds_on_other_devices(tmp_path, kind, count):
    """The networks of ``tests/faults/config.py`` train long enough to be preempted."""
    holds(kind(trials.Place(tmp_path, at_once=1, flags=FLAGS), count), count)


def holds(row, count):
    assert not row.troubles
    assert row.trials == count


def test_hostile_input(tmp_path):
    row = fuzz.fuzz(tmp_path, 400)
    assert not row.troubles
    assert row.trials > 400
    for outcome in ("configs refused", "tables taken", "npz taken", "images taken", "pages escaped"):
        assert outcome in row.figures  # both outcomes occur


@pytest.mark.long
def test_memory_is_flat():
    row = run.steady(60)
    assert not row.troubles
    assert row.figures.count("MB") == 3


def test_the_table_shows_every_kind():
    rows = [line.split("|") for line in run.README.read_text().splitlines() if line.startswith("| `")]
    assert [row[1].strip(" `") for row in rows] == list(run.KINDS)
    for row in rows:
        assert row[3] == row[4], row  # all trials held
