import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from semiprune_jax.distributed.layout import Layout
from semiprune_jax.errors import DataError
from semiprune_jax.workdir import checkpoint
from semiprune_jax.workdir.checkpoint import Checkpoints


def tree(value):
    return {"w": jnp.full((3, 2), value), "step": jnp.int32(value), "record": np.full((4, 2), value, np.float32)}


def test_the_newest_two_are_kept(tmp_path):
    with Checkpoints(tmp_path / "c") as saved:
        assert saved.latest() is None
        for step in (3, 6, 9):
            saved.save(step, tree(step))
    assert {p.name for p in (tmp_path / "c").iterdir()} == {"6", "9"}
    with Checkpoints(tmp_path / "c") as saved:
        assert saved.latest() == 9
        back = saved.restore(tree(0))
    assert back["step"] == 9
    np.testing.assert_array_equal(back["record"], tree(9)["record"])


def test_a_step_may_be_saved_again(tmp_path):
    with Checkpoints(tmp_path) as saved:
        saved.save(3, tree(1))
        saved.save(3, tree(2))
        assert saved.restore(tree(0))["step"] == 2


def test_a_full_disk_is_said_to_be_one(tmp_path, monkeypatch):
    """Orbax's message is that of a device out of memory; ``tests.faults`` fills a real disk."""

    def fail(*args, **options):
        raise ValueError("RESOURCE_EXHAUSTED: Failed writing: \"d/4d\": No space left on device [os_error_code='28']")

    with Checkpoints(tmp_path) as saved:
        monkeypatch.setattr(saved._checkpointer, "save_checkpointables", fail)
        with pytest.raises(OSError, match=r"\[Errno 28\] No space left on device: .*test_a_full_disk"):
            saved.save(3, tree(1))


def test_state_comes_back_onto_the_layout(tmp_path):
    with Checkpoints(tmp_path) as saved:
        saved.save(1, Layout.of("jit", 1).replicate(tree(5)))
        layout = Layout.of("jit", 4)
        like = layout.replicate(tree(0))
        back = saved.restore(like)
    assert back["w"].sharding == like["w"].sharding
    assert len(back["w"].devices()) == 4


def files(root):
    return sorted(path for path in root.rglob("*") if path.is_file())


@pytest.mark.parametrize("how", ["cut", "flipped", "gone", "empty"])
def test_whatever_file_of_it_is_damaged_the_one_before_is_used(tmp_path, how):
    """Each file of the newest checkpoint is damaged in turn."""
    with Checkpoints(tmp_path / "c") as saved:
        for step in (3, 6):
            saved.save(step, tree(step))
    count = len(files(tmp_path / "c" / "6"))
    assert count > 8
    for number in range(count):
        copy = tmp_path / f"{how}{number}"
        shutil.copytree(tmp_path / "c", copy)
        victim = files(copy / "6")[number]
        data = bytearray(victim.read_bytes())
        if how == "gone":
            victim.unlink()
        else:
            data[len(data) // 2] ^= 0xFF
            victim.write_bytes({"cut": data[: len(data) // 2], "flipped": data, "empty": b""}[how])
        with Checkpoints(copy) as saved:
            assert saved.latest() == 3, victim
            assert saved.restore(tree(0))["step"] == 3
            saved.save(6, tree(7))  # later checkpoints can be saved
            assert saved.restore(tree(0))["step"] == 7
        if victim.name != "hashes.json" or how != "gone":
            assert len(saved.damaged) == 1
            assert victim.name in saved.damaged[0]


def test_with_every_checkpoint_damaged_there_is_none(tmp_path):
    with Checkpoints(tmp_path) as saved:
        for step in (3, 6):
            saved.save(step, tree(step))
    for path in tmp_path.glob("*/tree/_METADATA"):
        path.write_text("{}")
    with Checkpoints(tmp_path) as saved:
        assert saved.latest() is None
        assert len(saved.damaged) == 2


@pytest.mark.parametrize(
    ("like", "message"),
    [
        (
            {"w": jnp.zeros((3, 3)), "step": jnp.int32(0), "record": np.zeros((4, 2))},
            r"w of shape \(3, 2\), this run has \(3, 3\)",
        ),
        ({"w": jnp.zeros((3, 2)), "step": jnp.int32(0)}, r"record of shape \(4, 2\), this run has None"),
    ],
)
def test_another_runs_checkpoint_is_named(tmp_path, like, message):
    with Checkpoints(tmp_path) as saved:
        saved.save(1, tree(1))
        with pytest.raises(DataError, match=message):
            saved.restore(like)


def test_one_tree(tmp_path):
    checkpoint.save(tmp_path / "model", {"p": jnp.arange(3.0)})
    checkpoint.save(tmp_path / "model", {"p": jnp.arange(3.0) + 1})
    back = checkpoint.restore(tmp_path / "model", {"p": jnp.zeros(3)})
    np.testing.assert_array_equal(back["p"], [1, 2, 3])
    assert isinstance(back["p"], jax.Array)


@pytest.mark.parametrize("damage", [b"", b"[]", None])
def test_a_damaged_tree_is_refused(tmp_path, damage):
    """The damage is in a byte of its largest file, or in its file of hashes."""
    checkpoint.save(tmp_path / "model", {"p": jnp.arange(300.0)})
    victim = tmp_path / "model" / "hashes.json"
    if damage is None:
        files = [path for path in (tmp_path / "model").rglob("*") if path.is_file()]
        victim = max(files, key=lambda path: path.stat().st_size)
        damage = victim.read_bytes()[:-1] + bytes([victim.read_bytes()[-1] ^ 1])
    victim.write_bytes(damage)
    with pytest.raises(DataError, match=rf"model is damaged \(.*{victim.name} is not what was saved\)"):
        checkpoint.restore(tmp_path / "model", {"p": jnp.zeros(300)})
