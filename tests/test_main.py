"""The program as a person starts it: exit codes, one-line errors, a real kill."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from semiprune_jax import main
from tests import small

ROOT = Path(__file__).parent.parent
CONFIG = """
from tests.small import config
def get_config():
    return config()
"""


def command(tmp_path, *flags):
    path = tmp_path / "small_config.py"
    path.write_text(CONFIG)
    return [sys.executable, "-m", "semiprune_jax.main", f"--config={path}", f"--workdir={tmp_path / 'w'}", *flags]


def environment():
    return os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}


def start(arguments, **options):
    return subprocess.run(
        arguments, capture_output=True, text=True, cwd=ROOT, env=environment(), check=False, **options
    )


def test_help_is_quick_and_complete():
    began = time.monotonic()
    done = start([sys.executable, "-m", "semiprune_jax.main", "--help"])
    assert done.returncode == 0
    for word in ("run", "report", "--config", "--workdir", "--until", "overwrite"):
        assert word in done.stdout
    assert time.monotonic() - began < 2


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), 4),
        (RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 1 bytes\nmore"), 4),
        (KeyboardInterrupt(), 130),
    ],
)
def test_trouble_from_outside_is_a_line_and_a_code(monkeypatch, capsys, error, code):
    def fail(argv):
        raise error

    monkeypatch.setattr(main, "_command", fail)
    assert main.main([]) == code
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_deterministic_kernels_are_asked_for_before_jax_starts(tmp_path):
    """In a process of its own: the compiler reads its flags once."""
    pool = small.write_npz(tmp_path / "pool.npz")
    flags = [f"--config.data.path={pool}", "--until=label", "--config.runtime.deterministic=True"]
    arguments = command(tmp_path, *flags)
    code = "import os, sys; from semiprune_jax import main; print(main.main(sys.argv), os.environ['XLA_FLAGS'])"
    done = start([sys.executable, "-c", code, *arguments[3:]])
    assert done.stdout.splitlines()[-1] == "0  --xla_gpu_deterministic_ops=true", done.stderr


def test_a_bug_of_ours_stays_visible(monkeypatch):
    monkeypatch.setattr(main, "_command", lambda argv: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        main.main([])


def test_killed_for_real_it_goes_on(tmp_path):
    """SIGKILL in the middle of a training; the same command then ends as an undisturbed one does."""
    pool = small.write_npz(tmp_path / "pool.npz")
    flags = [
        f"--config.data.path={pool}", "--until=pseudolabel", "--config.fixmatch.steps=90",
        "--config.runtime.checkpoint_every_steps=3", "--config.fixmatch.eval_every_steps=90",
    ]  # fmt: skip
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    process = subprocess.Popen(command(tmp_path / "a", *flags), cwd=ROOT, env=environment(), stdout=subprocess.DEVNULL)
    metrics = tmp_path / "a" / "w" / "metrics.jsonl"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not (metrics.exists() and metrics.read_text().count("\n") > 5):
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "a/w/pseudolabel/DONE.json").exists()
    for place in ("a", "b"):
        done = start(command(tmp_path / place, *flags))
        assert done.returncode == 0, done.stderr
    name = "pseudolabel/pseudolabels.parquet"
    assert (tmp_path / "a/w" / name).read_bytes() == (tmp_path / "b/w" / name).read_bytes()
    starts = json.loads((tmp_path / "a/w/manifest.json").read_text())["starts"]
    assert len(starts) == 2
