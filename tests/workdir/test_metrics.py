import csv
import errno
import subprocess
import sys
import types
from pathlib import Path

import pytest

from semiprune_jax.errors import ConfigError
from semiprune_jax.workdir.metrics import Metrics


def test_lines_csv_and_tensorboard(tmp_path):
    metrics = Metrics(tmp_path)
    metrics.write("score", 10, {"loss": 0.5})
    metrics.write("retrain/a_seed0", 5, {"loss": 0.25, "test_accuracy": 1})
    assert [line["step"] for line in metrics.lines()] == [10, 5]
    assert metrics.lines("score") == [{"stage": "score", "step": 10, "loss": 0.5}]
    metrics.close()
    rows = list(csv.DictReader((tmp_path / "metrics.csv").read_text().splitlines()))
    assert rows[1] == {"stage": "retrain/a_seed0", "step": "5", "loss": "0.25", "test_accuracy": "1"}
    assert list((tmp_path / "tb" / "score").glob("events.*"))
    assert list((tmp_path / "tb" / "retrain" / "a_seed0").glob("events.*"))


FULL = """
import errno, os, pathlib, sys
from semiprune_jax.workdir.metrics import Metrics
metrics = Metrics(pathlib.Path(sys.argv[1]))
metrics.write("score", 1, {"loss": 0.5})
def fail(file):
    raise OSError(errno.ENOSPC, "No space left on device")
os.fsync = fail
for act in (lambda: metrics.write("score", 2, {"loss": 0.5}), metrics.close):
    try:
        act()
    except OSError as error:
        print(error.errno)
"""


def test_a_full_disk_is_told_once_and_by_us(tmp_path):
    """Neither a thread nor Python's exit prints a stack trace."""
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path)], capture_output=True, text=True, check=False, cwd=Path.cwd()
    )
    assert done.stdout.split() == [str(errno.ENOSPC)] * 2
    assert done.stderr == ""


def test_rewind_drops_what_a_killed_run_wrote_after_its_checkpoint(tmp_path):
    metrics = Metrics(tmp_path)
    for step in (1, 2, 3):
        metrics.write("score", step, {"loss": step})
        metrics.write("pseudolabel", step, {"loss": step})
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"stage": "sco')  # killed within a line
    metrics.close()
    again = Metrics(tmp_path)
    again.rewind("score", 2)
    assert [line["step"] for line in again.lines("score")] == [1, 2]
    assert [line["step"] for line in again.lines("pseudolabel")] == [1, 2, 3]
    again.write("score", 3, {"loss": 9})
    assert again.lines("score")[-1]["loss"] == 9
    again.close()


def test_wandb_gets_the_same(tmp_path, monkeypatch):
    """The first line opens one wandb run, which later starts continue, with each stage's own steps."""
    seen = []
    run = types.SimpleNamespace(
        log=seen.append,
        finish=lambda: seen.append("finished"),
        define_metric=lambda name, step_metric: seen.append((name, step_metric)),
    )
    fake = types.SimpleNamespace(init=lambda **options: seen.append(options) or run)
    monkeypatch.setitem(sys.modules, "wandb", fake)
    Metrics(tmp_path, "mine").close()
    assert seen == []
    metrics = Metrics(tmp_path, "mine")
    metrics.write("score", 1, {"loss": 0.5})
    metrics.write("score", 2, {"loss": 0.25})
    metrics.close()
    opened, *logged = seen
    assert (opened["project"], opened["resume"]) == ("mine", "allow")
    assert logged == [
        ("score/*", "score/step"),
        {"score/step": 1, "score/loss": 0.5},
        {"score/step": 2, "score/loss": 0.25},
        "finished",
    ]
    again = Metrics(tmp_path, "mine")
    again.write("retrain/a", 1, {"loss": 0.5})
    again.close()
    assert seen[5]["id"] == opened["id"]


def test_wandb_is_an_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ConfigError, match="needs the extra wandb"):
        Metrics(tmp_path, "mine")


def test_what_is_no_line_of_ours_is_passed_over(tmp_path):
    """Garbage from a disk and half a line do not stop a run."""
    metrics = Metrics(tmp_path)
    metrics.write("score", 1, {"loss": 1.0})
    with (tmp_path / "metrics.jsonl").open("ab") as file:
        file.write(b'\xff\xfe\n[1]\n5\n{"stage": "score"}\n{"stage": "score", "step": "x"}\n{"stage": "sco')
    assert [line["step"] for line in metrics.lines("score")] == [1]
    metrics.rewind("score", 0)
    assert metrics.lines() == []
    metrics.close()
