"""Kinds of trial: each causes a fault in many runs and sums up the outcomes. A trial that does not hold is Trouble."""

import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from semiprune_jax.workdir import checkpoint
from tests import small
from tests.faults import program
from tests.faults.program import Ended, Program, Trouble

TOLERANCE = 1e-4  # of dynamics on other devices, and of the distance from the cut at which coresets may differ
CHECKPOINTS = "pseudolabel/checkpoints"


class Row(NamedTuple):
    """The outcome of one kind of trial."""

    what: str
    trials: int
    troubles: list[str]
    figures: str


class Place:
    """A directory for trials, and undisturbed runs to compare them with.

    Args:
      root: the directory.
      seed: the seed of the random moments.
      at_once: the number of trials that run side by side.
      flags: the flags of every run.
    """

    def __init__(self, root: Path, seed: int = 0, at_once: int = 2, flags: Sequence[str] = ()):
        self.root, self.seed, self.at_once = root, seed, at_once
        self.memory, self.stream = (Program(root, placement, flags) for placement in ("memory", "stream"))

    def rng(self, kind: str, trial: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, sum(kind.encode()), trial])

    @contextmanager
    def work(self, name: str) -> Iterator[Path]:
        """A work directory that is removed afterwards."""
        path = self.root / "work" / name
        shutil.rmtree(path, ignore_errors=True)
        path.parent.mkdir(exist_ok=True)
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)

    @cached_property
    def expected(self) -> dict[str, bytes]:
        """Results of one process on one device; a streamed run has the same."""
        return self.memory.whole(self.root / "undisturbed")

    @cached_property
    def seconds(self) -> float:
        """Time from a new work directory to the end of the run, with as many runs side by side as in the trials."""
        _ = self.expected  # compiles all programs

        def one(i: int) -> float:
            with self.work(f"timed{i}") as work:
                process = self.memory.begin(work)
                program.until((work / "manifest.json").exists)
                began = time.monotonic()
                program.ended(process)
                return time.monotonic() - began

        with ThreadPoolExecutor(self.at_once) as threads:
            return float(np.mean(list(threads.map(one, range(self.at_once)))))

    @cached_property
    def four(self) -> Path:
        """The work directory of a run by one process on four devices."""
        work = self.root / "four"
        self.memory.whole(work, devices=4)
        return work

    @cached_property
    def two_by_two(self) -> Path:
        """The work directory of a run by two processes, each on two devices."""
        work = self.root / "two_by_two"
        self.memory.whole(work, processes=2, devices=2)
        return work


def each(what: str, trials: int, trial: Callable[[int], str], at_once: int) -> Row:
    """Runs trials, ``at_once`` side by side; each returns a word for the tally, or raises Trouble."""
    tally, troubles = Counter(), []

    def one(i: int) -> None:
        try:
            tally[trial(i)] += 1
        except Exception as error:
            troubles.append(f"trial {i}: {type(error).__name__}: {error}")

    with ThreadPoolExecutor(at_once) as threads:
        list(threads.map(one, range(trials)))
    shown = ", ".join(f"{count} {word}" for word, count in sorted(tally.items()) if word)
    return Row(what, trials, troubles, shown)


def expect(end: Ended, code: int, says: str = "") -> None:
    """Raises Trouble unless a process ended with this code and text, without a traceback or a child left running."""
    if end.code != code or not re.search(says, end.printed) or "Traceback" in end.printed or end.left:
        raise Trouble(
            f"exit code {end.code}, expected {code} and {says!r}; left: {end.left}; printed: {end.printed[-1500:]}"
        )


# Kills and signals.


def killed(place: Place, trials: int) -> Row:
    """SIGKILL at random moments, and inside checkpoints, writes and streams; then the run goes on to its end."""
    kinds = ("moment", "checkpoint", "flush", "rename", "prefetch", "moment")
    at_most = {"checkpoint": 20, "flush": 120, "rename": 40, "prefetch": 60}
    _ = place.seconds
    found: Counter[str] = Counter()

    def trial(i: int) -> str:
        rng, kind = place.rng("killed", i), kinds[i % len(kinds)]
        streamed = kind == "prefetch" or i % 4 == 1
        target = place.stream if streamed else place.memory
        with place.work(f"killed{i}") as work:
            while True:  # until the signal comes before the end
                if kind == "moment":
                    process = target.begin(work)
                    strike_later(process, work, rng.uniform(0, place.seconds), signal.SIGKILL)
                else:
                    delay = 0 if kind in ("flush", "rename") else rng.uniform(0, 0.2)
                    blow = f"{kind}:{rng.integers(1, at_most[kind])}:{delay:.3f}:{int(signal.SIGKILL)}"
                    process = target.begin(work, blow=blow)
                end = program.ended(process)
                if end.code != 0:
                    break
                shutil.rmtree(work)
            expect(end, -signal.SIGKILL)
            program.check_whole(work)
            found[f"{program.find_stage(work)}"] += 1
            found["with half a file"] += any(work.rglob(".*.tmp"))
            found["with half a checkpoint"] += has_half_a_checkpoint(work)
            found["streaming"] += streamed
            program.check_same(target.whole(work), place.expected)
        return ""

    row = each("`kill -9`, then the same command", trials, trial, place.at_once)
    return row._replace(figures=", ".join(f"{count} {word}" for word, count in sorted(found.items()) if count))


def strike_later(process: subprocess.Popen, work: Path, seconds: float, number: int, *, all_of_them=False) -> None:
    """Sends a signal some seconds after the work directory is made; to the whole session if ``all_of_them``."""
    program.until(lambda: (work / "manifest.json").exists() or process.poll() is not None)
    time.sleep(seconds)
    if process.poll() is None:
        (os.killpg if all_of_them else os.kill)(process.pid, number)


def has_half_a_checkpoint(work: Path) -> bool:
    steps = [path for path in work.glob("*/checkpoints/*")] + [path for path in work.glob("*/*/checkpoints/*")]
    return any(not (path / "hashes.json").exists() for path in steps)


def told_to_stop(place: Place, trials: int) -> Row:
    """SIGTERM at random moments; in streamed runs to the decoding workers too, as launchers send it."""
    _ = place.seconds

    def trial(i: int) -> str:
        rng, target = place.rng("told", i), (place.memory, place.stream)[i % 2]
        with place.work(f"told{i}") as work:
            while True:
                process = target.begin(work)
                moment = rng.uniform(0, place.seconds)
                strike_later(process, work, moment, signal.SIGTERM, all_of_them=i % 2 == 1)
                end = program.ended(process)
                if end.code != 0:
                    break
                shutil.rmtree(work)
            expect(end, 42, "preempted.*run the same command again")
            program.check_whole(work)
            saved = re.search(r"(\w+)[^:\n]*: preempted, and saved", end.printed)
            program.check_same(target.whole(work), place.expected)
        return f"saved in {saved[1]}" if saved else "between two trainings"

    return each("SIGTERM: 42, then the same command", trials, trial, place.at_once)


def lost(place: Place, trials: int) -> Row:
    """One of two processes is killed, the other ends in time, and both are started again."""
    seconds: list[float] = []
    expected = program.results(place.two_by_two)

    def trial(i: int) -> str:
        rng, victim = place.rng("lost", i), i % 2
        with place.work(f"lost{i}") as work:
            running = place.memory.begin_all(work, processes=2, devices=2)
            lines = int(rng.integers(1, 45))  # of 48
            small.wait_for_lines(work / "metrics.jsonl", lines)
            running[victim].send_signal(signal.SIGKILL)
            began = time.monotonic()
            end = program.ended(running[1 - victim], 30)
            seconds.append(time.monotonic() - began)
            program.ended(running[victim])
            expect(end, 4, r"semiprune: .*process [01].* is gone.*start all processes again")
            if seconds[-1] > 10:
                raise Trouble(f"took {seconds[-1]:.1f} s")
            program.check_same(place.memory.whole(work, processes=2, devices=2), expected)
        return f"of process {victim}"

    row = each("`kill -9` of one of two processes, then both again", trials, trial, at_once=1)
    spread = f"{min(seconds):.1f} to {max(seconds):.1f} s to the other's end (10 s allowed)" if seconds else ""
    return row._replace(figures=f"{row.figures}; {spread}")


# Other processes and devices.


def several(place: Place, trials: int) -> Row:
    """Two processes of two devices give the results of one process of four at every stage, also from a stream."""
    figures: list[str] = []

    def trial(i: int) -> str:
        with place.work(f"several{i}") as work:
            target = (place.memory, place.stream)[i % 2]
            for end in target.run(work, processes=2, devices=2):
                expect(end, 0)
            figures.append(compare(work, place.four))
        return ("in memory", "streamed")[i % 2]

    row = each("2 processes x 2 devices against 1 x 4, every stage", trials, trial, at_once=1)
    return row._replace(figures=f"{row.figures}; {'; '.join(figures)}")


def compare(work: Path, other: Path) -> str:
    """Tells how far two runs differ; raises Trouble if it is more than ``TOLERANCE``."""
    dynamics, cut = program.apart(work, other)
    if max(dynamics, cut) > TOLERANCE:
        raise Trouble(f"dynamics {dynamics:.1e} apart, examples {cut:.1e} from the cut changed sides")
    return f"dynamics {dynamics:.0e} apart, {'the same coresets' if cut == 0 else f'changes {cut:.0e} from the cut'}"


SHAPES = ((2, 2), (1, 1), (1, 3))


def moved(place: Place, trials: int) -> Row:
    """A run begins on four devices, stops in FixMatch, goes on elsewhere, stops in the proxy, and ends on four."""
    figures: list[str] = []

    def trial(i: int) -> str:
        rng, (processes, devices) = place.rng("moved", i), SHAPES[i % len(SHAPES)]
        with place.work(f"moved{i}") as work:
            step, later = int(rng.integers(3, 19)), int(rng.integers(3, 14))
            stop = int(signal.SIGTERM)
            # Each dispatch is collected once, and after each but the first the meter is called once more.
            for end in place.memory.run(work, devices=4, blow=f"step:{2 * step}:0:{stop}"):
                expect(end, 42, "pseudolabel: preempted, and saved")
            left = 2 * (20 - saved_step(end.printed)) + 2 * later
            for end in place.memory.run(work, processes=processes, devices=devices, blow=f"step:{left}:0:{stop}"):
                expect(end, 42, "preempted")
            place.memory.whole(work, devices=4)
            figures.append(compare(work, place.four))
        return f"by way of {processes} x {devices}"

    row = each("saved on 1 x 4, resumed elsewhere, and back", trials, trial, at_once=1)
    return row._replace(figures=f"{row.figures}; {'; '.join(sorted(set(figures)))}")


def saved_step(printed: str) -> int:
    found = re.search(r"saved at step (\d+)", printed)
    if not found:
        raise Trouble(f"does not say where it saved: {printed[-500:]}")
    return int(found[1])


# Disks, files and clocks.


def full(place: Place, trials: int) -> Row:
    """From a random flush on, the disk is full; at the next start it has room."""

    def trial(i: int) -> str:
        rng = place.rng("full", i)
        with place.work(f"full{i}") as work:
            [end] = place.memory.run(work, blow=f"flush:{rng.integers(2, 60)}:0:full")
            expect(end, 4, "No space left on device.*make room.*run the same command again")
            program.check_whole(work)
            at = program.find_stage(work)
            program.check_same(place.memory.whole(work), place.expected)
        return f"in {at}"

    return each("no room from a random flush on (simulated), then room", trials, trial, place.at_once)


def full_disk(place: Place, trials: int) -> Row:
    """The work directory lies on a file system of its own, which is too small at first and larger later."""

    def trial(i: int) -> str:
        rng, disk = place.rng("disk", i), place.root / f"disk{i}"
        disk.mkdir()
        needed = peak(place)
        mount("-t", "tmpfs", "-o", f"size={int(rng.uniform(0.1, 0.9) * needed)}", "tmpfs", str(disk))
        try:
            [end] = place.memory.run(disk / "w")
            expect(end, 4, "make room")
            program.check_whole(disk / "w")
            at = program.find_stage(disk / "w")
            mount("-o", f"remount,size={10 * needed}", str(disk))
            program.check_same(place.memory.whole(disk / "w"), place.expected)
        finally:
            subprocess.run(["umount", str(disk)], check=False)
        return f"in {at}"

    return each("a full disk (tmpfs), then a larger one", trials, trial, place.at_once)


def read_only(place: Place, trials: int) -> Row:
    """A run is killed at a random moment; its file system is read-only at the next start, and writable after that."""
    _ = place.seconds

    def trial(i: int) -> str:
        rng, disk = place.rng("read", i), place.root / f"only{i}"
        disk.mkdir()
        mount("-t", "tmpfs", "tmpfs", str(disk))
        try:
            work = disk / "w"
            process = place.memory.begin(work)
            strike_later(process, work, rng.uniform(0, place.seconds), signal.SIGKILL)
            program.ended(process)
            mount("-o", "remount,ro", str(disk))
            expect(place.memory.run(work)[0], 2, "cannot be used: Read-only file system")
            at = program.find_stage(work)
            mount("-o", "remount,rw", str(disk))
            program.check_same(place.memory.whole(work), place.expected)
        finally:
            subprocess.run(["umount", str(disk)], check=False)
        return f"in {at}"

    return each("a disk that is read-only at the next start, then writable again", trials, trial, place.at_once)


def peak(place: Place) -> int:
    """Bytes of a finished run's files; in between a run needs a little more."""
    _ = place.expected
    return sum(path.stat().st_size for path in (place.root / "undisturbed").rglob("*") if path.is_file())


def mount(*arguments: str) -> None:
    done = subprocess.run(["mount", *arguments], check=False, capture_output=True, text=True)
    if done.returncode:
        raise Trouble(f"no file system can be mounted here ({done.stderr.strip()}); run as root")


def truncated(place: Place, trials: int) -> Row:
    """A file of the newest checkpoint is cut short: the run goes on from the checkpoint before, or begins again."""
    _ = place.expected

    def trial(i: int) -> str:
        rng = place.rng("truncated", i)
        with place.work(f"truncated{i}") as work:
            [end] = place.memory.run(work, blow=f"step:{rng.integers(12, 36)}:0:{int(signal.SIGTERM)}")
            expect(end, 42)
            steps = sorted(int(path.name) for path in (work / CHECKPOINTS).iterdir())
            struck = steps if i % 5 == 4 else steps[-1:]  # in every fifth trial all checkpoints
            for step in struck:
                files = [p for p in (work / CHECKPOINTS / str(step)).rglob("*") if p.is_file() and p.stat().st_size]
                file = files[int(rng.integers(len(files)))]
                os.truncate(file, int(rng.integers(file.stat().st_size)))
            [end] = place.memory.run(work)
            expect(end, 0, rf"checkpoints/{struck[-1]} is damaged")
            program.check_same(program.results(work), place.expected)
        return "began again" if struck == steps else "took the one before"

    return each("a checkpoint cut at a random length", trials, trial, place.at_once)


def flipped(place: Place, trials: int) -> Row:
    """One bit of each file of a finished run is flipped: the file is refused by name or made again."""
    _ = place.expected
    undisturbed = place.root / "undisturbed"
    files = sorted(
        path.relative_to(undisturbed)
        for path in undisturbed.rglob("*")
        if path.is_file() and path.stat().st_size and "random_" not in str(path) and "semi_dual_" not in str(path)
    )
    outcomes: dict[str, list[str]] = {}

    def trial(i: int) -> str:
        rng, file = place.rng("flipped", i), files[i % len(files)]
        with place.work(f"flipped{i}") as work:
            shutil.copytree(undisturbed, work)
            data = bytearray((work / file).read_bytes())
            data[int(rng.integers(len(data)))] ^= 1 << int(rng.integers(8))
            (work / file).write_bytes(data)
            [end] = place.memory.run(work)
            if end.code == 0:
                held = program.results(work)
                program.check_same(held, place.expected)
                if (work / file).read_bytes() != bytes(data):
                    word = "made again"
                elif "model" in file.parts:
                    if not checkpoint.altered(work / Path(*file.parts[: file.parts.index("model") + 1])):
                        raise Trouble(f"{file} would be loaded")
                    word = "refused when loaded"
                else:
                    word = "a record that no result depends on"
            else:
                expect(end, 3, re.escape(str(work)))
                word = "refused by name"
            outcomes.setdefault(word, []).append(file.as_posix())
        return word

    row = each("a flipped bit in each file of a finished run", max(trials, len(files)), trial, place.at_once)
    records = sorted(
        {"tb/" if f.startswith("tb/") else f for f in outcomes.get("a record that no result depends on", [])}
    )
    return row._replace(figures=f"{row.figures}; the records: {', '.join(records)}" if records else row.figures)


def clock(place: Place, trials: int) -> Row:
    """The clock goes back by an hour in the middle of a run."""
    _ = place.expected

    def trial(i: int) -> str:
        rng = place.rng("clock", i)
        with place.work(f"clock{i}") as work:
            expect(place.memory.run(work, blow=f"clock:{rng.integers(1, 2000)}:0:back")[0], 0)
            program.check_same(program.results(work), place.expected)
            took = [json.loads(p.read_text())["seconds"] for p in work.rglob("DONE.json")]
            if not took or min(took) < 0:
                raise Trouble(f"stages took {took} s")
        return ""

    return each("a clock that goes back by an hour", trials, trial, place.at_once)


def nothing_left(place: Place, trials: int) -> Row:
    """A streamed run leaves nothing behind after its end, a crash, an interruption, SIGTERM or SIGKILL."""
    before = small.shared_memory()
    blows = {
        "SIGKILL": f"prefetch:9:0.05:{int(signal.SIGKILL)}",
        "crash": "prefetch:9:0:crash",
        "end": "",
        "interruption": f"prefetch:9:0.05:{int(signal.SIGINT)}",
        "SIGTERM": f"prefetch:9:0.05:{int(signal.SIGTERM)}",
    }
    codes = {"end": 0, "crash": 1, "interruption": 130, "SIGTERM": 42, "SIGKILL": -9}

    def trial(i: int) -> str:
        kind = list(blows)[i % len(blows)]
        with place.work(f"left{i}") as work:
            [end] = place.stream.run(work, blow=blows[kind])
            if end.code != codes[kind] or end.left:
                raise Trouble(f"{kind}: exit code {end.code}, left {end.left}: {end.printed[-1500:]}")
        return f"after {kind}"

    row = each("processes and shared memory left by a streaming run", trials, trial, place.at_once)
    end = time.monotonic() + 10
    while small.shared_memory() - before and time.monotonic() < end:
        time.sleep(0.1)
    if left := small.shared_memory() - before:
        row.troubles.append(f"{len(left)} blocks of shared memory are left")
    return row._replace(figures=f"none; {row.figures}")
