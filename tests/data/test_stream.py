"""Streamed pools: every id once with any number of processes, the same run as from memory, and workers that fail."""

import multiprocessing
import os
import signal
import time

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from semiprune_jax.data import memory, stream
from semiprune_jax.data.pools import Pools
from semiprune_jax.data.resize import RandomResizedCrop, Resize
from semiprune_jax.data.samplers import EndlessSampler, EpochSampler, PairedSampler
from semiprune_jax.data.sizes import Sizes
from semiprune_jax.data.stream import StreamFeed
from semiprune_jax.distributed.layout import Layout
from semiprune_jax.errors import DataError, DeviceError
from semiprune_jax.stages.context import train_context
from semiprune_jax.workdir.metrics import Metrics
from tests import small


def feed(split, order, *, fit=Resize(8), total=100, workers=0, part=(0, 1)):  # noqa: B008
    return StreamFeed(split, fit, order, len(split.keys), total_steps=total, workers=workers, part=part)


@pytest.mark.parametrize("n", [48, 45])
@pytest.mark.parametrize("processes", [1, 2, 3, 4])
def test_the_slices_of_processes_are_the_pool(n, processes):
    """Apart from padding, processes share each id of an epoch once, in equally many steps, for any size."""
    pool = small.split(n)
    order = EpochSampler(0, "s", np.arange(n), batch_size=12, rows=12, pad_id=n)
    seen, steps = [], order.steps_per_epoch
    for process in range(processes):
        made = feed(pool, order, part=(process, processes), total=steps)
        for step in range(steps):
            batch = made(step, 1)
            assert batch["id"].shape == (1, 12 // processes)
            np.testing.assert_array_equal(
                batch["id"][0], order(step, 1)[0][process * 12 // processes :][: 12 // processes]
            )
            for row, image in zip(batch["id"][0], batch["image"][0], strict=True):
                np.testing.assert_array_equal(image, pool.image(row) if row < n else 0)
            seen += [row for row in batch["id"][0] if row < n]
        made.close()
    assert sorted(seen) == list(range(n))


def test_any_step_may_be_asked_for(monkeypatch):
    """Batches follow the order from any step on, several at once, and when asked for again."""
    pool = small.split(40)
    order = EndlessSampler(0, "s", np.arange(40), batch_size=8, rows=9, pad_id=40)
    made, opened = feed(pool, order), []
    monkeypatch.setattr(made, "_open", lambda step, opening=made._open: [opened.append(step), opening(step)])
    for step, count in ((0, 1), (1, 3), (4, 2), (17, 2), (2, 1)):
        batch = made(step, count)
        np.testing.assert_array_equal(batch["id"], order(step, count))
        assert batch["image"].shape == (count, 9, 8, 8, 3)
        assert not batch["image"][:, 8].any()  # padding
    assert opened == [0, 17, 2]  # the step that follows opens nothing new
    made.close()


def test_a_batch_is_that_of_a_memory_pool():
    """Images, labels, ids and the mask of padding are the same."""
    images, labels = small.pool(5)
    ids = np.array([3, 5, 0, 4], np.int32)
    item = {"id": jnp.asarray(ids), "image": jnp.asarray(images[np.minimum(ids, 4)])}
    streamed = stream.fetch(stream.StreamArrays(jnp.asarray(labels)), item)
    resident = memory.fetch(memory.MemoryArrays.of(images, labels), jnp.asarray(ids))
    assert streamed.keys() == resident.keys()
    for name, value in resident.items():
        np.testing.assert_array_equal(value, streamed[name], err_msg=name)


def test_workers_change_nothing():
    """Processes and threads give the same images; random crops depend on the place in the batch."""
    pool, shared = small.split(30, size=20), small.shared_memory()
    order = PairedSampler(
        EndlessSampler(0, "l", np.arange(10), batch_size=4, rows=4, pad_id=30),
        EndlessSampler(0, "u", np.arange(30), batch_size=8, rows=8, pad_id=30),
    )
    batches = []
    for workers in (0, 2):
        made = feed(pool, order, fit=RandomResizedCrop(0, "c", 8), workers=workers, total=7)
        batches.append([made(step, 1) for step in range(3, 7)])
        made.close()
    for one, other in zip(*batches, strict=True):
        for part in ("labelled", "unlabelled"):
            np.testing.assert_array_equal(one[part]["id"], other[part]["id"])
            np.testing.assert_array_equal(one[part]["image"], other[part]["image"])
    assert not [process for process in multiprocessing.active_children() if "grain" in process.name]
    deadline = time.monotonic() + 10
    while small.shared_memory() - shared and time.monotonic() < deadline:
        time.sleep(0.05)  # of other tests' feeds
    assert not small.shared_memory() - shared
    halves = [feed(pool, order, fit=RandomResizedCrop(0, "c", 8), part=(i, 2)) for i in range(2)]
    for step, batch in enumerate(batches[0], start=3):
        parts = [half(step, 1)["unlabelled"]["image"] for half in halves]
        np.testing.assert_array_equal(np.concatenate(parts, axis=1), batch["unlabelled"]["image"])


def broken_at_five(row):
    if row == 5:
        raise OSError("image file is truncated")
    return small.pool(30)[0][row]


@pytest.mark.parametrize("workers", [0, 1])
def test_an_image_that_breaks_in_mid_epoch_is_named(workers):
    order = EpochSampler(0, "s", np.arange(30), batch_size=10, rows=10, pad_id=30)
    made = feed(small.split(30, image=broken_at_five), order, workers=workers)
    with pytest.raises(DataError, match=r"the pool cannot be decoded: 005\.png \(image file is truncated\).*skip_bad"):
        [made(step, 1) for step in range(3)]
    made.close()


def test_a_worker_that_is_killed_ends_the_run_with_the_reason():
    order = EndlessSampler(0, "s", np.arange(30), batch_size=10, rows=10, pad_id=30)
    made = feed(small.split(30), order, workers=1, total=10_000)
    made(0, 1)
    for pid in _workers():
        os.kill(pid, signal.SIGKILL)
    began = time.monotonic()
    with pytest.raises(DeviceError, match=r"a worker that decodes images died .*runtime\.workers"):
        [made(step, 1) for step in range(1, 1000)]
    assert time.monotonic() - began < 10
    made.close()


def test_workers_ignore_signals_to_all_processes():
    """SIGTERM and Ctrl-C concern only the process that the workers serve."""
    order = EndlessSampler(0, "s", np.arange(30), batch_size=10, rows=10, pad_id=30)
    made = feed(small.split(30), order, workers=1, total=10_000)
    made(0, 1)
    for pid in _workers():
        for number in (signal.SIGTERM, signal.SIGINT):
            os.kill(pid, number)
    for step in range(1, 40):
        np.testing.assert_array_equal(made(step, 1)["id"], order(step, 1))
    made.close()
    assert signal.SIGTERM not in signal.pthread_sigmask(signal.SIG_BLOCK, ())  # this process heeds it


def _workers():
    """This process's decoding workers; fails if there are none."""
    children = [int(name) for name in os.listdir("/proc") if name.isdigit() and _parent(name) == os.getpid()]
    workers = [pid for pid in children if b"multiprocessing.spawn" in _command(pid)]
    assert workers
    return workers


def _parent(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return int(file.read().rsplit(")", 1)[1].split()[1])
    except OSError:
        return 0


def _command(pid):
    with open(f"/proc/{pid}/cmdline", "rb") as file:
        return file.read()


@pytest.mark.long
@pytest.mark.parametrize(("mode", "devices"), [("jit", 1), ("jit", 3), ("pmap", 3)])
def test_a_run_on_a_stream_is_that_on_memory(tmp_path, tiny_config, mode, devices):
    """FixMatch's predictions, the proxy's dynamics and a retraining on some ids give the same bits."""
    tiny_config.ssl.steps = 4
    tiny_config.proxy.epochs = 1
    tiny_config.retrain.epochs = 1
    ends = {}
    for placement in ("memory", "stream"):
        layout, work = Layout.of(mode, devices), tmp_path / placement
        work.mkdir()
        train, test = small.pool(64), small.pool(24, seed=1)
        pools = small.pools(layout, train, test, placement=placement)
        made = train_context(tiny_config, pools, Metrics(work), work)
        labels = np.where(np.arange(64) < 16, train[1], -1).astype(np.int32)
        found = small.predicted(made, tiny_config, labels)
        record = small.proxy(made, tiny_config, train[1])
        ids = np.arange(5, 60)
        tested, _ = small.retrain(made, tiny_config, "retrain/a_seed0", train[1], ids, batch_size=16, seed=0)
        made.metrics.close()
        ends[placement] = found | record | tested
    for name, value in ends["memory"].items():
        np.testing.assert_array_equal(value, ends["stream"][name], err_msg=name)


def test_a_streamed_run_resumes_where_it_was_killed(tmp_path, tiny_config, monkeypatch):
    """Killed between two checkpoints, it gives the dynamics of an undisturbed run."""
    tiny_config.proxy.epochs = 3
    tiny_config.runtime.checkpoint_every_steps = 3
    train = small.pool(64)
    ends = []
    for killed_at in (None, 5):
        work = tmp_path / str(killed_at)
        work.mkdir()
        for attempt in range(2 if killed_at else 1):
            layout = Layout.of("jit", 1)
            pools = small.pools(layout, train, placement="stream")
            made = train_context(tiny_config, pools, Metrics(work), work)
            read = StreamFeed.__call__

            def interrupted(self, step, count, attempt=attempt, killed_at=killed_at, read=read):
                if killed_at and attempt == 0 and step == killed_at:
                    raise KeyboardInterrupt
                if attempt == 1:
                    assert step >= 3  # from the checkpoint, not from the start
                return read(self, step, count)

            with monkeypatch.context() as patch:
                patch.setattr(StreamFeed, "__call__", interrupted)
                try:
                    ends.append(small.proxy(made, tiny_config, train[1]))
                except KeyboardInterrupt:
                    assert attempt == 0
            made.metrics.close()
    for name, value in ends[0].items():
        np.testing.assert_array_equal(value, ends[1][name])


def _resident(pid):
    """Bytes that a process and its children own, without the memory that they share in /dev/shm."""
    total = 0
    for name in [str(pid), *(name for name in os.listdir("/proc") if name.isdigit() and _parent(name) == pid)]:
        try:
            with open(f"/proc/{name}/status") as file:
                total += sum(int(line.split()[1]) * 1024 for line in file if line.startswith("RssAnon"))
        except OSError:  # it has ended
            continue
    return total


@pytest.mark.long
def test_memory_is_flat_over_a_hundred_thousand_jpegs(tmp_path, tiny_config, capsys):
    """A proxy's epoch with two decoding workers takes no more memory than its first fifth."""
    image = small.pool(1, size=32)[0][0]
    for i in range(100):
        folder = tmp_path / "pool" / "ab"[i % 2] / f"{i:02d}"
        folder.mkdir(parents=True)
        for j in range(1000):
            Image.fromarray(np.roll(image, i * 1000 + j)).save(folder / f"{j:03d}.jpg")
    began = time.monotonic()
    dataset = small.dataset("folder", path=str(tmp_path / "pool"))
    listed = time.monotonic() - began
    layout = Layout.of("jit", 1)
    sizes, memory = Sizes(8, 8, resized=False, exact=True), {"memory_share": 1, "cache": None}
    pools = Pools(dataset, sizes, layout, placement="stream", decoder="pillow", workers=2, **memory)
    tiny_config.proxy.epochs = 1
    tiny_config.proxy.batch_size = 100
    tiny_config.runtime.log_every_steps = 20
    seen = []

    class Watch(Metrics):
        def write(self, stage, step, values):
            shared = sum(os.stat(f"/dev/shm/{name}").st_size for name in small.shared_memory())
            seen.append((step, _resident(os.getpid()), shared))
            super().write(stage, step, values)

    made = train_context(tiny_config, pools, Watch(tmp_path), tmp_path)
    began = time.monotonic()
    record = small.proxy(made, tiny_config, dataset.train.labels)
    seconds = time.monotonic() - began
    made.metrics.close()
    assert np.all(record["p_label"][:, 0] > 0)  # each once
    own = np.array([row[1] for row in seen])
    fifth = len(own) // 5
    with capsys.disabled():
        print(f"\n100,000 JPEGs listed in {listed:.1f} s, streamed in {seconds:.0f} s; MB of all processes, by tenths:")
        print(" ".join(f"{value / 1e6:.0f}" for value in own[:: len(own) // 10]), end="; ")
        print(f"shared {min(row[2] for row in seen) / 1e6:.1f} to {max(row[2] for row in seen) / 1e6:.1f}")
    assert own[fifth:].max() < 1.05 * own[:fifth].max()
