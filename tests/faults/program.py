"""The program under trial: it is started as a person starts it, and examined after a fault."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from semiprune_jax.workdir import formats, record
from tests import small

ROOT = Path(__file__).parent.parent.parent
# The results of a run: on the same devices they have the same bits, with faults and without.
RESULTS = (
    *("examples.parquet", "pseudolabel/pseudolabels.parquet", "score/dynamics.npz", "score/scores.parquet"),
    *("select/*/coreset.parquet", "select/*/kept.txt", "retrain/*/result.json", "report/results.csv"),
)


class Ended(NamedTuple):
    """How a process ended."""

    code: int  # -n: killed by signal n
    printed: str
    left: list[str]  # command lines of processes that outlived it


class Trouble(Exception):
    """A trial did not hold."""


class Program:
    """One command on one pool, for any number of work directories.

    Args:
      root: a directory of its own.
      placement: where the pool lies, "memory" or "stream".
      flags: flags of the command, beside those of the pool.
    """

    def __init__(self, root: Path, placement: str = "memory", flags: Sequence[str] = ()):
        self.root = root
        (root / placement).mkdir(parents=True, exist_ok=True)
        self.pool = root / placement / "pool"
        small.write_folder(self.pool / "train", n=64, size=8)
        small.write_folder(self.pool / "test", n=24, size=8)
        self.flags = [
            f"--config={ROOT / 'tests/faults/config.py'}:{placement}",
            f"--config.data.path={self.pool / 'train'}",
            f"--config.data.test_path={self.pool / 'test'}",
            *flags,
        ]

    def begin(
        self, work: Path, *flags: str, blow: str = "", devices: int = 1, peers: Sequence[str] = ()
    ) -> subprocess.Popen:
        """Starts the program in a session of its own; ``peers`` are the flags of one process among several."""
        environment = os.environ | {
            "JAX_PLATFORMS": "cpu",
            "JAX_NUM_CPU_DEVICES": str(devices),
            "PYTHONPATH": str(ROOT),
            "JAX_COMPILATION_CACHE_DIR": str(small.COMPILED["jax_compilation_cache_dir"]),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.1",
        }
        module = ["tests.faults.strike", blow, "--"] if blow else ["semiprune_jax.main"]
        return subprocess.Popen(
            [sys.executable, "-m", *module, *self.flags, f"--workdir={work}", *flags, *peers],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def begin_all(self, work: Path, *flags: str, processes: int, devices: int, blow: str = "") -> list:
        """Starts several processes of one run over loopback; the last one has the blow."""
        address = f"127.0.0.1:{small.free_port()}"
        peers = [f"--coordinator={address}", f"--num_processes={processes}"] if processes > 1 else []
        if processes > 1:  # a checkpoint of several processes takes a second
            flags = ("--config.runtime.checkpoint_every_steps=6", *flags)
        return [
            self.begin(
                work,
                *flags,
                devices=devices,
                blow=blow if i == processes - 1 else "",
                peers=[*peers, f"--process_id={i}"] if peers else [],
            )
            for i in range(processes)
        ]

    def run(self, work: Path, *flags: str, processes: int = 1, devices: int = 1, blow: str = "") -> list[Ended]:
        """Starts the program and waits for its end."""
        return [ended(p) for p in self.begin_all(work, *flags, processes=processes, devices=devices, blow=blow)]

    def whole(self, work: Path, processes: int = 1, devices: int = 1) -> dict[str, bytes]:
        """Starts or resumes a run and returns its results; raises Trouble if the run does not end well."""
        for process in self.run(work, processes=processes, devices=devices):
            if process.code != 0:
                raise Trouble(f"exit code {process.code}: {process.printed[-2000:]}")
        return results(work)


def ended(process: subprocess.Popen, patience: float = 240) -> Ended:
    """Waits for a process, and for all processes that it started."""
    try:
        printed = process.communicate(timeout=patience)[0]
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise Trouble(f"has not ended within {patience:g} s: {process.communicate()[0][-2000:]}") from None
    until = time.monotonic() + 10
    while (left := _session(process.pid)) and time.monotonic() < until:
        time.sleep(0.05)
    return Ended(process.returncode, printed, left)


def _session(leader: int) -> list[str]:
    """Command lines of the processes of a session, zombies too."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            if os.getsid(int(name)) == leader:
                found.append(Path(f"/proc/{name}/cmdline").read_text().replace("\0", " ")[:200] or "a zombie")
        except OSError:  # the process has ended meanwhile
            continue
    return found


def results(work: Path) -> dict[str, bytes]:
    """The results of a run: path below the work directory -> bytes."""
    return {path.relative_to(work).as_posix(): path.read_bytes() for pattern in RESULTS for path in work.glob(pattern)}


def check_same(found: dict[str, bytes], expected: dict[str, bytes]) -> None:
    """Raises Trouble if results differ."""
    different = sorted(name for name in found.keys() | expected.keys() if found.get(name) != expected.get(name))
    if different:
        raise Trouble(f"{', '.join(different)} are not those of a run that nothing befell")


def check_whole(work: Path) -> None:
    """Raises Trouble if a file of an interrupted run is not whole; files under temporary names do not count."""
    record.verify(work)
    readers = {".json": formats.read_json, ".parquet": formats.read_table, ".npz": formats.read_npz}
    for path in work.rglob("*"):
        if path.suffix in readers and path.name[0] != "." and "/checkpoints/" not in str(path):
            readers[path.suffix](path)


def find_stage(work: Path) -> str:
    """The stage that a run had begun, by its files; else the last stage that it had finished, or "start"."""
    started = sorted(path.parent.relative_to(work).parts[0] for path in work.rglob("STARTED.json"))
    if started:
        return started[0]
    done = {path.parent.relative_to(work).parts[0] for path in work.rglob("DONE.json")}
    order = ("label", "pseudolabel", "score", "select", "retrain")
    return next((name for name in reversed(order) if name in done), "start")


def until(condition: Callable[[], object], patience: float = 120) -> None:
    """Waits for a condition."""
    end = time.monotonic() + patience
    while not condition():
        if time.monotonic() > end:
            raise Trouble(f"has not come so far within {patience:g} s")
        time.sleep(0.002)


def apart(one: Path, other: Path) -> tuple[float, float]:
    """The largest difference of two runs' dynamics, and the largest distance from the cut at which coresets differ."""
    records = [formats.read_npz(work / "score/dynamics.npz") for work in (one, other)]
    dynamics = max(float(np.abs(a.astype(float) - records[1][name]).max()) for name, a in records[0].items())
    cut = 0.0
    for path in one.glob("select/*/coreset.parquet"):
        tables = [formats.read_table(path), formats.read_table(other / path.relative_to(one))]
        changed = tables[0]["kept"] != tables[1]["kept"]
        if "score" in tables[0] and changed.any():
            score, kept = tables[0]["score"], tables[0]["kept"]
            edges = [score[kept].min(), score[kept].max()]
            cut = max(cut, float(np.min([np.abs(score[changed] - edge) for edge in edges], axis=0).max()))
        elif changed.any():
            cut = np.inf
    return dynamics, cut
