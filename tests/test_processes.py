"""Several processes over loopback: the run of one, slices of one pool, and one that fails ends them all."""

import os
import re
import socket
import subprocess
import sys

import numpy as np
import pytest

from semiprune_jax import artifacts
from tests import small
from tests.test_smoke import photographs

FAILING = """
import sys
import jax
from semiprune_jax import processes
from semiprune_jax.datasets.order import EpochFeed
from semiprune_jax.errors import in_words
from tests.test_stream_pool import broken_at_five, feed, split
import numpy as np
from absl import flags

if __name__ == "__main__":
    flags.FLAGS.mark_as_parsed()
    processes.start(sys.argv[1], 2, int(sys.argv[2]))
    order = EpochFeed(0, "s", np.arange(30), batch_size=10, rows=10, pad_id=30)
    made = feed(split(30, image=broken_at_five), order, workers=1, part=(processes.index(), 2))
    try:
        for step in range(3):
            made(step, 1)
            processes.wait(f"step {step}")  # as a step's collectives would
    except Exception as error:
        made.close()
        processes.fail(*in_words(error))
    print("all steps were made")
"""


def port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def together(commands, timeout=240):
    """Runs commands at the same time; their exit codes and what they printed."""
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "2", "PYTHONPATH": os.getcwd()}
    running = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)
        for command in commands
    ]
    printed = [process.communicate(timeout=timeout)[0] for process in running]
    return [process.returncode for process in running], printed


def mains(work, *flags, count=2):
    """The command lines of a run of two processes of two devices."""
    address = f"--coordinator=127.0.0.1:{port()}"
    command = [sys.executable, "-m", "semiprune_jax.main", f"--workdir={work}", address, f"--num_processes={count}"]
    return [[*command, f"--process_id={i}", *flags] for i in range(count)]


def test_an_image_that_breaks_on_one_process_ends_both(tmp_path):
    """In a worker of the process whose slice it is; the other one waits for it, and gets the same message and code."""
    script = tmp_path / "failing.py"
    script.write_text(FAILING)
    address = f"127.0.0.1:{port()}"
    codes, printed = together([[sys.executable, str(script), address, str(i)] for i in range(2)], timeout=60)
    assert codes == [3, 3], printed
    for text in printed:
        assert "all steps were made" not in text
        assert "Traceback" not in text
        told = re.findall(r"^semiprune: .*$", text, re.MULTILINE)
        assert len(told) == 1
        assert re.search(r"the pool cannot be decoded: 005\.png \(image file is truncated\).*data\.skip_bad", told[0])
    assert sum("semiprune: process" in text for text in printed) == 1


def test_several_processes_need_jit_and_all_devices(tmp_path):
    flags = ["--config=configs/digits.py:smoke", "--until=pseudolabel", "--config.runtime.parallel=pmap"]
    codes, printed = together(mains(tmp_path / "w", *flags), timeout=60)
    assert codes == [4, 4], printed
    assert all("several processes run under 'jit', on all their devices (0)" in text for text in printed)


@pytest.mark.long
@pytest.mark.parametrize("source", ["resident", "streamed"])
def test_two_processes_of_two_devices_are_one_of_four(tmp_path, source):
    """Every stage, with checkpoints and a test set: dynamics within 1e-4, nearly the same coresets, one writer."""
    if source == "resident":
        flags = ["--config=configs/digits.py:smoke", "--config.data.limit_per_class=20"]
    else:
        train, test = photographs(tmp_path / "train", 45), photographs(tmp_path / "val", 13, seed=1)
        flags = ["--config=configs/imagenet.py:smoke", "--config.data.source=folder"]
        flags += [f"--config.data.path={train}", f"--config.data.test_path={test}"]
    flags += ["--config.runtime.checkpoint_every_steps=7"]
    codes, printed = together(mains(tmp_path / "two", *flags))
    assert codes == [0, 0], printed
    assert "report" in printed[0]
    assert "pseudolabel  " not in printed[1]  # process 0 speaks
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "4"}
    one = [sys.executable, "-m", "semiprune_jax.main", f"--workdir={tmp_path / 'one'}", *flags]
    subprocess.run(one, check=True, env=environment, capture_output=True)
    records = [artifacts.read_npz(tmp_path / name / "score" / "dynamics.npz") for name in ("one", "two")]
    for field, value in records[0].items():
        # Rounding grows at a learning rate of 0.1: the later epochs of a run this small may differ by more.
        assert np.abs(value.astype(float) - records[1][field])[:, :2].max() < 1e-4, field
    for name in ("random", "semi_aum", "semi_dual"):
        kept = [
            artifacts.read_table(tmp_path / work / "select" / f"{name}_keep0.50" / "coreset.parquet")["kept"]
            for work in ("one", "two")
        ]
        assert np.sum(kept[0] != kept[1]) <= 0.02 * len(kept[0])  # those at the cut may change sides
    lines = [len((tmp_path / name / "metrics.jsonl").read_text().splitlines()) for name in ("one", "two")]
    assert lines[0] == lines[1]  # each once
    codes, printed = together(mains(tmp_path / "two", *flags))
    assert codes == [0, 0], printed
    assert printed[0].count("done before") >= 8
    assert "images, " not in printed[0]  # no retraining


@pytest.mark.long
def test_a_run_goes_on_with_other_processes(tmp_path):
    """Begun by two, killed within FixMatch, ended by one of three devices: as if it had been one all along."""
    npz = small.write_npz(tmp_path / "pool.npz")
    (tmp_path / "c.py").write_text(
        "from tests.small import config\n\ndef get_config():\n    c = config()\n"
        f"    c.data.path = {npz!r}\n    c.runtime.checkpoint_every_steps = 3\n    return c\n"
    )
    flags = [f"--config={tmp_path / 'c.py'}", "--until=score"]
    script = tmp_path / "killed.py"
    script.write_text(
        "import sys, os\nfrom semiprune_jax import loop, main\nreal, left = loop._Meter.collect, [13]\n"
        "def collect(self, pending):\n    left[0] -= 1\n    if left[0] < 0:\n        os._exit(9)\n"
        "    return real(self, pending)\n"
        "if __name__ == '__main__':\n    loop._Meter.collect = collect\n    sys.exit(main.main(sys.argv))\n"
    )
    commands = [[sys.executable, str(script), *command[3:]] for command in mains(tmp_path / "w", *flags)]
    codes, _ = together(commands)
    assert 9 in codes
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "PYTHONPATH": os.getcwd()}
    for name, devices in (("w", "3"), ("whole", "4")):
        one = [sys.executable, "-m", "semiprune_jax.main", f"--workdir={tmp_path / name}", *flags]
        subprocess.run(one, check=True, env=environment | {"JAX_NUM_CPU_DEVICES": devices}, capture_output=True)
    records = [artifacts.read_npz(tmp_path / name / "score" / "dynamics.npz") for name in ("w", "whole")]
    for field, value in records[0].items():
        assert np.abs(value.astype(float) - records[1][field]).max() < 1e-4, field
