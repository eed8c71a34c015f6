"""The benchmarks' protocol, on contenders that only count. The cases need PyTorch: ``.ci/run`` runs small ones."""

import contextlib
import csv
import json
import time
from pathlib import Path

import numpy as np
import pytest

from benchmarks import cases, protocol, run, table
from benchmarks.protocol import Case, Contender


def test_turns_are_taken(monkeypatch):
    """Contenders alternate, helpers wake for their own turns only, and warm-ups are not timed."""
    log, clock = [], iter(range(1000))
    monkeypatch.setattr(protocol.time, "perf_counter", lambda: next(clock))

    @contextlib.contextmanager
    def awake():
        log.append("wake")
        yield
        log.append("sleep")

    contenders = {
        "a": Contender(lambda: log.append("a"), units=2),
        "b": Contender(lambda: log.append("b"), awake=awake),
        "c": Contender(lambda: 0.25, units=5),  # reports its own time
    }
    times = protocol.take_turns(contenders, rounds=3, warm_ups=1)
    assert log == ["a", "wake", "b", "sleep"] * 4
    assert times["a"].wall == [0.5] * 3
    assert times["b"].wall == [1] * 3
    assert times["c"].wall == times["c"].cpu == [0.05] * 3


def test_cpu_time_is_that_of_all_work():
    def work():
        end = time.process_time() + 0.05
        while time.process_time() < end:
            pass

    times = protocol.take_turns({"works": Contender(work), "sleeps": Contender(lambda: time.sleep(0.05))}, 1, 0)
    assert times["works"].cpu[0] >= 0.05
    assert times["sleeps"].cpu[0] < 0.03
    assert times["sleeps"].wall[0] >= 0.05


def test_summary_by_hand():
    assert protocol.summary(np.array([4.0, 1, 2, 3, 100])) == {"median_s": 3, "minimum_s": 1, "spread_s": 2}


def test_the_interval_holds_the_ratio_as_often_as_it_says(rng):
    """Times scatter by a tenth; rounds that were disturbed for both do not count."""
    held = 0
    for _ in range(200):
        disturbed = np.where(rng.random(15) < 0.2, 3.0, 1.0)
        theirs, ours = (scale * disturbed * np.exp(0.1 * rng.standard_normal(15)) for scale in (2.0, 1.0))
        found = protocol.ratio(theirs, ours, draws=300)
        assert found["ratio_low"] <= found["ratio"] <= found["ratio_high"]
        held += found["ratio_low"] <= 2.0 <= found["ratio_high"]
    assert held >= 180  # 95% of 200 is 190


def test_a_contender_beside_itself_is_as_fast():
    times = np.array([1.0, 2.0, 3.0])
    assert set(protocol.ratio(times, times).values()) == {1.0}


def case(contenders, **options):
    return Case("counts", "step", 8, "float32", contenders, alone=False, **options)


@pytest.fixture
def suite(monkeypatch, tmp_path):
    """Three cases, the second of which fails its proof."""

    def differ():
        raise AssertionError("ours and theirs are not the same")

    closed = []
    made = {
        "good": case(
            {
                "ours": lambda: Contender(lambda: 0.01, images=8, flops=1e6, facts=lambda: {"stored_bytes": 5_000_000}),
                "R0": lambda: Contender(lambda: 0.02, images=8, close=lambda: closed.append(1)),
            },
            prove=lambda: {"difference": 0.0},
        ),
        "bad": case({"ours": lambda: Contender(lambda: 0.01)}, prove=differ),
        "last": case({"ours": lambda: Contender(lambda: 0.01)}, rounds=2),
    }
    monkeypatch.setattr(cases, "names", lambda suite: list(made))
    monkeypatch.setattr(cases, "build", lambda suite, name: made[name])
    monkeypatch.setattr(run, "_keep_programs", lambda directory: None)
    return tmp_path, closed


def lines(directory):
    return [json.loads(line) for line in (directory / "smoke.jsonl").read_text().splitlines()]


def test_a_line_for_each_contender(suite, capsys):
    directory, closed = suite
    assert run.main(["--suite=smoke", "--cases=good,last", "--rounds=3", f"--results={directory}"]) == 0
    ours, theirs, last = lines(directory)
    assert (ours["implementation"], theirs["implementation"]) == ("ours", "R0")
    for line in (ours, theirs):
        assert line["case"] == "good"
        assert {"versions", "device", "n", "dtype", "load", "time", "proof", "cpu_s", "unit"} <= set(line)
        assert line["rounds"] == 3
    assert theirs["median_s"] == theirs["minimum_s"] == 0.02
    assert theirs["ratio"] == theirs["ratio_low"] == theirs["ratio_of_minima"] == 2
    assert theirs["images_per_second"] == 400
    assert ours["flops_per_second"] == pytest.approx(1e8)
    assert ours["stored_bytes"] == 5_000_000
    assert last["rounds"] == 2  # as many as the case allows
    assert closed == [1]
    head, *rows = capsys.readouterr().out.splitlines()
    assert len(rows) == 3
    assert rows[1].split()[:4] == ["good", "R0", "20.00", "ms"]
    assert rows[1].endswith("2 (2 to 2)")
    assert "theirs / ours" in head


def test_lines_are_added(suite):
    directory, _ = suite
    for _ in range(2):
        run.main(["--suite=smoke", "--cases=last", "--rounds=1", f"--results={directory}"])
    assert len(lines(directory)) == 2


def test_what_differs_is_not_timed(suite, capsys):
    """A case that fails ends in an error, and the others still run."""
    directory, _ = suite
    assert run.main(["--suite=smoke", "--rounds=1", f"--results={directory}"]) == 1
    assert {line["case"] for line in lines(directory)} == {"good", "last"}
    error = capsys.readouterr().err
    assert "ours and theirs are not the same" in error
    assert error.endswith("failed, see above: bad\n")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--suite=smoke", "--cases=F9"], "no case F9 in the suite smoke; it has good, bad, last"),
        (["--suite=smoke", "--rounds=0"], "--rounds=0; at least one is needed"),
        ([], "the following arguments are required: --suite"),
    ],
)
def test_bad_flags(suite, capsys, flags, message):
    with pytest.raises(SystemExit) as ended:
        run.main(flags)
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.long
def test_every_row_of_a_table(tmp_path):
    arguments = [f"--config={Path(__file__).parent.parent / 'configs/digits.py'}:smoke", f"--workdir={tmp_path}"]
    assert table.main(arguments) == 0
    for directory, titles in ((tmp_path, table.ROWS), (tmp_path / "ablation", table.ABLATION)):
        with (directory / "results.csv").open() as file:
            rows = list(csv.DictReader(file))
        assert [(row["name"], row["keep"]) for row in rows] == [(title, "0.5") for title in titles]
        assert all(0 <= float(row["test_accuracy_mean"]) <= 1 for row in rows)
