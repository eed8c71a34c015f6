import json
import time

import numpy as np
import pytest

from semiprune_jax.errors import ConfigError, DataError
from semiprune_jax.workdir import formats
from semiprune_jax.workdir.record import Record, digest


def record(root, settings=None, inputs=None):
    return Record(root, "some/thing", settings=settings or {"a": {"b": 1}}, inputs=inputs or {"x": "1"})


def finished(root, **changes):
    made = record(root, **changes)
    made.start()
    path = made.directory / "out.npz"
    formats.write_npz(path, {"v": np.arange(3)})
    made.finish([path])
    return made


def test_a_task_is_new_then_started_then_done(tmp_path):
    one = record(tmp_path)
    assert not one.is_done()
    one.start()
    assert not record(tmp_path).is_done()
    finished(tmp_path)
    assert record(tmp_path).is_done()
    assert not (tmp_path / "some/thing/STARTED.json").exists()
    done = json.loads((tmp_path / "some/thing/DONE.json").read_text())
    assert list(done["files"]) == ["some/thing/out.npz"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"settings": {"a": {"b": 2}}}, "a.b was 1, now 2"),
        ({"settings": {"a": {"b": 1}, "c": 0}}, "c was 'absent', now 0"),
        ({"inputs": {"x": "2"}}, "what it reads from 'x' changed"),
        ({"inputs": {"y": "1"}}, "what it reads from 'x' changed; what it reads from 'y' changed"),
    ],
)
@pytest.mark.parametrize("begun_only", [True, False])
def test_another_fingerprint_is_refused_with_the_difference(tmp_path, change, message, begun_only):
    record(tmp_path).start() if begun_only else finished(tmp_path)
    with pytest.raises(ConfigError, match=message):
        record(tmp_path, **change).is_done()


def test_tuples_and_lists_are_the_same_setting(tmp_path):
    finished(tmp_path, settings={"a": (1, 2)})
    assert record(tmp_path, settings={"a": [1, 2]}).is_done()


def test_altered_and_missing_files_are_named(tmp_path):
    path = finished(tmp_path).directory / "out.npz"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"out\.npz is not what stage 'some/thing' wrote"):
        record(tmp_path).is_done()
    path.unlink()
    with pytest.raises(DataError, match=r"out\.npz, which stage 'some/thing' wrote, is gone"):
        record(tmp_path).is_done()


def test_broken_json_is_named(tmp_path):
    (finished(tmp_path).directory / "DONE.json").write_text('{"finge')
    with pytest.raises(DataError, match=r"DONE\.json cannot be read"):
        record(tmp_path).is_done()


def test_digest_follows_contents_not_time(tmp_path):
    one = finished(tmp_path / "a")
    time.sleep(0.01)
    finished(tmp_path / "b")
    before = digest(tmp_path / "a", "some/thing")
    assert digest(tmp_path / "b", "some/thing") == before
    formats.write_npz(one.directory / "out.npz", {"v": np.arange(4)})
    one.start()
    one.finish([one.directory / "out.npz"])
    assert digest(tmp_path / "a", "some/thing") != before


def test_what_a_kill_between_the_two_leaves_is_tidied(tmp_path):
    one = finished(tmp_path)
    formats.write_json(one.directory / "STARTED.json", {"fingerprint": one.fingerprint, "identity": {}})
    assert one.is_done()
    assert not (one.directory / "STARTED.json").exists()
