"""The doctor: one line per check, which describes a problem in words, and the exit code of the first problem."""

import importlib.metadata
import shutil
from pathlib import Path

import numpy as np
import pytest

from semiprune_jax.distributed.layout import Layout
from semiprune_jax.preflight import doctor, plan
from tests import small


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(plan, "_SECONDS", 0.01)


def examine(config, workdir=Path()):
    lines = []
    return doctor.examine(config, workdir, lines.append), lines


def test_all_is_well(tiny_config, tmp_path):
    tiny_config.data.path = small.write_npz(tmp_path / "pool.npz")
    tiny_config.runtime.devices = 1
    code, lines = examine(tiny_config, tmp_path / "w")
    assert code == 0, lines
    assert [line.split()[0] for line in lines] == ["ok"] * 7
    assert "64 images, 3 classes, 16 labelled; 24 to test; a sample decodes" in lines[2]
    assert not (tmp_path / "w").exists()  # it leaves nothing behind


def test_every_problem_is_told(tiny_config, tmp_path, monkeypatch):
    tiny_config.data.path = small.write_npz(tmp_path / "pool.npz")
    tiny_config.label.budget = 5000
    tiny_config.runtime.devices = 99
    tiny_config.data.cache = str(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 9, 1))
    real = importlib.metadata.version
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "0.1" if name == "flax" else real(name))
    code, lines = examine(tiny_config, tmp_path / "w")
    assert code == 2
    assert "PROBLEM  versions       needed: flax >=0.12 (found 0.1); install with" in lines[0]
    assert "PROBLEM  devices        runtime.devices = 99, but there are 4" in lines[1]
    assert "PROBLEM  data           a budget of 5000 gives 5000 labels of 64" in lines[2]
    assert lines[3].startswith("ok       decoding")
    assert "PROBLEM  disk           --workdir = " in lines[4]
    assert "name a larger disk" in lines[4]
    assert "PROBLEM  shared memory  /dev/shm has 0.00 GB free; streaming needs up to" in lines[5]


def test_embeddings_that_are_brought(tiny_config, tmp_path):
    """The file must exist, and fit the pool or the network."""
    tiny_config.data.path = small.write_npz(tmp_path / "pool.npz")
    tiny_config.select.names, tiny_config.embed.source = ("zcore",), "file"

    def told():
        lines = []
        code = doctor.examine(tiny_config, tmp_path / "w", lines.append)
        return code, next(line for line in lines if "embeddings" in line)

    assert told() == (
        3,
        "PROBLEM  embeddings     embed.path = '' is not a file; name one that holds the pool's embeddings",
    )
    tiny_config.embed.path = str(tmp_path / "e.npy")
    np.save(tmp_path / "e.npy", np.ones((63, 5)))
    assert "63 embeddings; the pool has 64" in told()[1]
    np.save(tmp_path / "e.npy", np.ones((64, 5)))
    assert told() == (0, f"ok       embeddings     {tmp_path / 'e.npy'} has 5 numbers for each image")
    tiny_config.embed.source = "weights"
    assert "expected a .safetensors" in told()[1]
    tiny_config.select.names = ("random",)
    assert told() == (0, "ok       embeddings     none are brought")


def test_a_package_that_is_missing(tiny_config, monkeypatch):
    def version(name):
        if name == "grain":
            raise importlib.metadata.PackageNotFoundError(name)
        return real(name)

    real = importlib.metadata.version
    monkeypatch.setattr(importlib.metadata, "version", version)
    code, lines = examine(tiny_config)
    assert code == 2
    assert "grain >=0.2.12 (found none)" in lines[0]


def test_images_that_are_broken_and_decoders_that_are_missing(tiny_config, tmp_path, monkeypatch):
    tiny_config.data.source = "folder"
    tiny_config.data.path = small.write_folder(tmp_path / "pool", n=9)
    (tmp_path / "pool" / "ant" / "000.png").write_bytes(b"broken")
    code, lines = examine(tiny_config)
    assert code == 3
    assert "PROBLEM  data           1 of 9 images" in lines[2]
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    tiny_config.data.decoder = "fast"
    assert "data.decoder='fast' needs the extra fast-decode" in examine(tiny_config)[1][3]


def test_a_gpu_that_jax_does_not_see(tiny_config, monkeypatch):
    monkeypatch.setattr(Path, "glob", lambda self, pattern: iter([Path("/dev/nvidia0")]))
    code, lines = examine(tiny_config)
    assert "PROBLEM  devices        there is an NVIDIA GPU, but JAX sees none; pip install" in lines[1]
    assert code == 4  # the first problem's code; the data are missing too


def test_a_device_that_cannot_add(tiny_config, monkeypatch):
    monkeypatch.setattr("jax.device_put", lambda x, device: x * 2)
    code, lines = examine(tiny_config)
    assert "adds 4,096 ones up to 8192; replace it" in lines[1]
    assert code == 4
    monkeypatch.undo()
    assert "4 x cpu (cpu)" in examine(tiny_config)[1][1]
    assert Layout.of("jit", 0).memory > 0


def test_workers_without_shared_memory(tiny_config):
    tiny_config.runtime.workers = 0
    assert "shared memory  not needed" in examine(tiny_config)[1][5]
