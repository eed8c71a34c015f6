"""Tasks are done once and read only declared artifacts; derived tables follow their sources."""

import json

import numpy as np
import pytest

from semiprune_jax.errors import ConfigError, DataError
from semiprune_jax.workdir import artifacts, formats, record
from semiprune_jax.workdir.tasks import Outcome, Runner, Task, View

NUMBERS = artifacts.arrays("label/numbers.npz", "label")
DOUBLED = artifacts.arrays("double/numbers.npz", "double")
SHOWN = artifacts.table("double/shown.parquet", "double")


class Killed(BaseException):
    """Stands for SIGKILL."""


def label(value=1):
    return Task("label", {"value": value}, (), lambda inputs: Outcome({NUMBERS: {"x": np.full(3, value)}}, "made"))


def double(reads=(NUMBERS,), view=None):
    def work(inputs):
        return Outcome({DOUBLED: {"x": 2 * inputs[NUMBERS]["x"]}}, "doubled")

    return Task("double", {}, reads, work, view=view)


def shown(added=0, reads=(NUMBERS, DOUBLED)):
    return View(SHOWN, reads, lambda inputs: {"x": inputs[DOUBLED]["x"] + added}, {"added": added})


def run(root, *tasks):
    lines = []
    runner = Runner(root, lines.append)
    for task in tasks:
        runner.run(task)
    return [line.split()[1] for line in lines]


def test_a_task_is_done_once(tmp_path):
    assert run(tmp_path, label(), double()) == ["made", "doubled"]
    assert formats.read_npz(tmp_path / DOUBLED.path)["x"].tolist() == [2, 2, 2]
    assert run(tmp_path, label(), double()) == ["done", "done"]


def test_a_task_reads_only_what_it_declares(tmp_path):
    with pytest.raises(KeyError, match=r"label/numbers\.npz is not declared; add it to what the task reads"):
        run(tmp_path, label(), double(reads=()))


def test_what_a_task_reads_is_in_its_fingerprint(tmp_path):
    run(tmp_path, label(), double())
    done = formats.read_json(tmp_path / "double/DONE.json")
    assert done["identity"]["inputs"] == {"label": record.digest(tmp_path, "label")}
    other = tmp_path / "other"
    run(other, label(2))
    (tmp_path / "double").rename(other / "double")
    with pytest.raises(ConfigError, match="what it reads from 'label' changed"):
        run(other, double())


def test_a_view_follows_its_sources_and_settings(tmp_path):
    run(tmp_path, label(), double(view=shown()))
    before = record.digest(tmp_path, "double")
    assert formats.read_table(tmp_path / SHOWN.path)["x"].tolist() == [2, 2, 2]
    written = (tmp_path / SHOWN.path).stat().st_mtime_ns
    assert run(tmp_path, double(view=shown())) == ["done"]
    assert (tmp_path / SHOWN.path).stat().st_mtime_ns == written  # it is not written again
    assert run(tmp_path, double(view=shown(added=5))) == ["done"]
    assert formats.read_table(tmp_path / SHOWN.path)["x"].tolist() == [7, 7, 7]
    assert record.digest(tmp_path, "double") == before  # nothing depends on it


def test_an_altered_view_is_noticed(tmp_path):
    run(tmp_path, label(), double(view=shown()))
    formats.write_table(tmp_path / SHOWN.path, {"x": np.zeros(3)})
    with pytest.raises(DataError, match=r"shown\.parquet is not what stage 'double' wrote"):
        run(tmp_path, double(view=shown()))
    with pytest.raises(DataError, match=r"shown\.parquet is not what stage 'double' wrote"):
        record.verify(tmp_path)


@pytest.mark.parametrize("at", ["forget_view", "save", "note_view"])
def test_a_kill_while_a_view_is_made_again_costs_nothing(tmp_path, monkeypatch, at):
    """The kill comes before, between or after its two files; the next run makes the view."""
    run(tmp_path, label(), double(view=shown()))
    owner = artifacts.Store if at == "save" else record.Record
    with monkeypatch.context() as patch:
        real = getattr(owner, at)

        def killed(*args):
            real(*args) if at != "note_view" else None
            raise Killed

        patch.setattr(owner, at, killed)
        with pytest.raises(Killed):
            run(tmp_path, double(view=shown(added=1)))
    record.verify(tmp_path)
    assert run(tmp_path, double(view=shown(added=1))) == ["done"]
    assert formats.read_table(tmp_path / SHOWN.path)["x"].tolist() == [3, 3, 3]


def test_a_view_that_an_earlier_version_listed_as_a_file_becomes_one(tmp_path):
    run(tmp_path, label(), double(view=shown()))
    path = tmp_path / "double/DONE.json"
    done = json.loads(path.read_text())
    done["files"][SHOWN.path] = done.pop("views")[SHOWN.path]["hash"]
    path.write_text(json.dumps(done))
    assert run(tmp_path, double(view=shown(added=1))) == ["done"]
    done = json.loads(path.read_text())
    assert list(done["files"]) == [DOUBLED.path]
    assert list(done["views"]) == [SHOWN.path]
