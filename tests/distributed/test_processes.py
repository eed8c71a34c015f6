"""Several processes over loopback: they find each other, and one that fails ends them all."""

import os
import re
import signal
import subprocess
import sys
import time

import pytest

from semiprune_jax.distributed import initialize
from semiprune_jax.errors import DeviceError
from tests import small
from tests.faults.program import Program

FAILING = """
import sys
import jax
from semiprune_jax.data.samplers import EpochSampler
from semiprune_jax.distributed import processes
from semiprune_jax.errors import in_words
from tests import small
from tests.data.test_stream import broken_at_five, feed
import numpy as np
from absl import flags

if __name__ == "__main__":
    flags.FLAGS.mark_as_parsed()
    processes.start(sys.argv[1], 2, int(sys.argv[2]), patience=300, lost_after=100)
    order = EpochSampler(0, "s", np.arange(30), batch_size=10, rows=10, pad_id=30)
    made = feed(small.split(30, image=broken_at_five), order, workers=1, part=(processes.index(), 2))
    try:
        for step in range(3):
            made(step, 1)
            processes.barrier(f"step {step}")  # as a step's collectives would
    except Exception as error:
        made.close()
        processes.fail(*in_words(error))
    print("all steps were made")
"""


def begin(commands, environments=({}, {}, {})):
    """Starts commands at the same time."""
    shared = os.environ | {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "2", "PYTHONPATH": os.getcwd()}
    return [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=shared | own)
        for command, own in zip(commands, environments, strict=False)
    ]


def together(commands, timeout=240, environments=({}, {}, {})):
    """Runs commands at the same time; returns their exit codes and output."""
    return ended(begin(commands, environments), timeout)


def ended(running, timeout):
    """Waits for processes; returns their exit codes and output. None outlives the test."""
    try:
        printed = [process.communicate(timeout=timeout)[0] for process in running]
    finally:
        for process in running:
            process.kill()
    return [process.returncode for process in running], printed


def mains(work, *flags, count=2):
    """The command lines of a run's processes, of two devices each."""
    address = f"--coordinator=127.0.0.1:{small.free_port()}"
    command = [sys.executable, "-m", "semiprune_jax.main", f"--workdir={work}", address, f"--num_processes={count}"]
    return [[*command, f"--process_id={i}", *flags] for i in range(count)]


def test_an_image_that_breaks_on_one_process_ends_both(tmp_path):
    """A worker of one process finds the image; the other process gets the same message and code."""
    script = tmp_path / "failing.py"
    script.write_text(FAILING)
    address = f"127.0.0.1:{small.free_port()}"
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


def arrays(tmp_path):
    """Flags for a pool that loads faster than scikit-learn imports."""
    return ["--config.data.source=arrays", f"--config.data.path={small.write_npz(tmp_path / 'pool.npz')}"]


SLURM = {"SLURM_JOB_ID": str(os.getpid()), "SLURM_STEP_NODELIST": "localhost", "SLURM_NTASKS": "2"}
OPEN_MPI = {"OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_LOCAL_SIZE": "2"}


def ranks(launcher, machines=1):
    """The environments of two processes, as a launcher makes them."""
    if launcher == "SLURM":
        own = [{"SLURM_PROCID": str(i), "SLURM_LOCALID": str(i), "SLURM_STEP_NUM_NODES": str(machines)} for i in (0, 1)]
        return [SLURM | one for one in own]
    uri = {"OMPI_MCA_orte_hnp_uri": f"{os.getpid() << 12}.0;tcp://127.0.0.1:34911"}
    own = [{"OMPI_COMM_WORLD_RANK": str(i), "OMPI_COMM_WORLD_LOCAL_RANK": str(i)} for i in (0, 1)]
    return [OPEN_MPI | uri | one for one in own]


@pytest.mark.parametrize("launcher", ["SLURM", "Open MPI"])
def test_a_launcher_says_who_takes_part(tmp_path, launcher):
    command = [sys.executable, "-m", "semiprune_jax.main", "--config=configs/digits.py:smoke", "--until=label"]
    command += [f"--workdir={tmp_path / 'w'}", "--config.runtime.join_timeout_seconds=60", *arrays(tmp_path)]
    codes, printed = together([command, command], 90, ranks(launcher))
    assert codes == [0, 0], printed
    assert sorted("images, 3 classes" in text for text in printed) == [False, True]


@pytest.mark.parametrize("found", [[0], [1], [0, 2]])
def test_the_missing_are_named_in_time(tmp_path, found):
    flags = ["--config=configs/digits.py:smoke", "--config.runtime.join_timeout_seconds=6"]
    commands = mains(tmp_path / "w", *flags, count=3)
    began = time.monotonic()
    codes, printed = together([commands[i] for i in found], 60)
    assert set(codes) == {4}, printed
    assert time.monotonic() - began < 30  # 6 s, and start-up
    who = "process 0 has not come" if found == [1] else "missing: 1 of 3" if 2 in found else "missing: 1, 2 of 3"
    for text in printed:
        assert re.search(rf"^semiprune: .*{who}", text, re.MULTILINE), text
        assert "Traceback" not in text
    assert not (tmp_path / "w").exists()


def test_a_coordinator_that_others_cannot_reach(tmp_path):
    """All processes end at once, before any waits for another."""
    flags = ["--config=configs/digits.py:smoke", f"--workdir={tmp_path / 'w'}", "--coordinator=localhost:4444"]
    command = [sys.executable, "-m", "semiprune_jax.main", *flags]
    began = time.monotonic()
    codes, printed = together([command] * 2, 60, ranks("SLURM", machines=2))
    assert codes == [4, 4], printed
    assert "each machine's own address (127.0.0.1" in printed[0]
    assert "SLURM runs 2 processes on 2 machines" in printed[0]
    assert time.monotonic() - began < 10


def test_a_likely_reason_is_named_long_before_the_time_out(monkeypatch, capsys):
    """Flags do not tell where process 0 runs, but nothing answers here."""
    monkeypatch.setattr(initialize, "_NOTED_AFTER", 0.2)
    with pytest.raises(DeviceError, match=r"has not come within 0\.7 s .* so process 0 has to run here"):
        initialize._reach("127.0.0.1", small.free_port(), 0.7, local=True)
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 1
    assert re.fullmatch(r"semiprune: nothing answers at 127\.0\.0\.1:\d+ yet; .* process 0 has to run here", told[0])


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--coordinator=here", "--num_processes=2", "--process_id=0"], "expected HOST:PORT of process 0"),
        (["--coordinator=127.0.0.1:1", "--num_processes=2"], "needs --num_processes and --process_id"),
        (["--coordinator=127.0.0.1:1", "--num_processes=2", "--process_id=2"], "expected 0 to 1"),
        (["--num_processes=2"], "needs --coordinator=HOST:PORT"),
    ],
)
def test_flags_that_leave_something_open(tmp_path, flags, message):
    command = [sys.executable, "-m", "semiprune_jax.main", "--config=configs/digits.py:smoke", f"--workdir={tmp_path}"]
    codes, printed = together([[*command, *flags]], 60)
    assert codes == [2]
    assert message in printed[0]


def test_alone_among_others(tmp_path):
    """On request, a run ignores the launcher's environment, as in a sweep of single runs."""
    command = [sys.executable, "-m", "semiprune_jax.main", "--config=configs/digits.py:smoke", "--until=label"]
    command += [f"--workdir={tmp_path / 'w'}", "--coordinator=none", *arrays(tmp_path)]
    codes, printed = together([command], 60, ranks("SLURM"))
    assert codes == [0], printed


def test_the_doctor_looks_at_every_machine(tmp_path):
    """Each process checks its own devices and prints its own lines."""
    flags = ["--config=configs/digits.py", *arrays(tmp_path), "doctor"]
    codes, printed = together(mains(tmp_path / "w", *flags), 60)
    assert codes == [0, 0], printed
    for i, text in enumerate(printed):
        assert re.search(rf"^process {i}  ok       devices        4 x cpu", text, re.MULTILINE), text
        assert "PROBLEM" not in text


def struck(tmp_path, victim, number):
    """Signals one of two processes during FixMatch; returns exit codes, output, and seconds to the end."""
    work, flags = tmp_path / "w", ["--config.ssl.steps=4000", "--config.model.ssl=tiny", "--until=pseudolabel"]
    running = Program(tmp_path).begin_all(work, *flags, processes=2, devices=1)
    small.wait_for_lines(work / "metrics.jsonl", 5)
    running[victim].send_signal(number)
    began = time.monotonic()
    return *ended(running, 60), time.monotonic() - began


@pytest.mark.parametrize("victim", [0, 1])
def test_one_that_is_killed_ends_the_other_in_time(tmp_path, victim):
    codes, printed, seconds = struck(tmp_path, victim, signal.SIGKILL)
    assert codes[victim] == -signal.SIGKILL
    told, who = printed[1 - victim], "1 of 2 is gone" if victim else "0, which keeps the run together, is gone"
    assert codes[1 - victim] == 4, told
    assert re.search(f"^semiprune: process {who}.*start all processes again", told, re.MULTILINE), told
    assert seconds < 15  # the config's 10 s, which tests.faults checks, and more for a busy machine


@pytest.mark.parametrize("victim", [pytest.param(0, marks=pytest.mark.long), 1])
def test_one_that_is_preempted_ends_both_in_order(tmp_path, victim):
    codes, printed, _ = struck(tmp_path, victim, signal.SIGTERM)
    assert codes == [42, 42], printed
    step = re.search(r"preempted, and saved at step (\d+) of 4000", printed[victim])
    assert step, printed
    assert max(int(path.name) for path in (tmp_path / "w/pseudolabel/checkpoints").iterdir()) == int(step[1])
