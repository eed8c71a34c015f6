"""Answers of the program to bad input from users and disks.

``python -m tests.bad_inputs`` writes the table of tests/README.md; tests/test_bad_inputs.py checks the exit code and
the words of every case. Each case runs the real command line in a process of its own, forked from one that has imported
everything, in a directory that holds a pool as .npz and as class folders, a table of labels, and a finished run.
"""

import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import jax

from tests import small
from tests.bad_inputs.cases import CASES, CONFIG, DONE, Case, killed
from tests.bad_inputs.processes import fork, run, start

README = Path(__file__).parents[1] / "README.md"


class Outcome(NamedTuple):
    """The end of a case."""

    case: Case
    code: int
    stdout: str
    stderr: str
    trouble: str  # how the case ended wrongly; empty if it did not

    @property
    def printed(self) -> str:
        """The lines that a person would look at: the error, or the line that tells how it was handled."""
        lines = (self.stderr + self.stdout).splitlines()
        return self.stderr if self.code else next((line for line in lines if re.search(self.case.says, line)), "")


def outcomes() -> Iterator[Outcome]:
    """Runs every case, two at a time."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name).resolve()
        os.waitpid(start(root / "template", make_template), 0)
        running: dict[int, tuple[Case, Path]] = {}
        for number, case in enumerate(CASES):
            if len(running) == 2:
                yield ended(running)
            place = root / f"{number:02d}"
            shutil.copytree(root / "template", place)
            running[start(place, lambda case=case: act(case))] = (case, place)
        while running:
            yield ended(running)


def make_template() -> int:
    """Makes a pool, a folder, a table, a run up to its coresets, and a run that was killed."""
    Path("config.py").write_text(CONFIG)
    small.write_npz(Path("pool.npz"))
    small.write_folder(Path("photos"), n=64, size=8)  # of the pool's shape, so that programs are shared
    names = sorted(path.relative_to("photos").as_posix() for path in Path("photos").rglob("*.png"))
    rows = [f"{name},{name.partition('/')[0] if i % 3 == 0 else ''}" for i, name in enumerate(names)]
    Path("labels.csv").write_text("\n".join(["path,label", *rows, ""]))
    fork(killed)
    return run([*DONE, "--until=select"])


def act(case: Case) -> int:
    """Prepares in silence, then runs the command line."""
    case.prepare()
    for stream, path in ((sys.stdout, "stdout"), (sys.stderr, "stderr")):
        stream.flush()
        os.dup2(os.open(f"printed.{path}", os.O_WRONLY | os.O_CREAT), stream.fileno())
    Path("done.before").write_text("\n".join(finished(Path())))
    return run(case.flags)


def finished(place: Path) -> list[str]:
    return sorted(str(path.relative_to(place)) for path in place.rglob("DONE.json"))


def ended(running: dict[int, tuple[Case, Path]]) -> Outcome:
    """Waits until one of the processes ends, and examines its files."""
    pid, status = os.waitpid(-1, 0)
    case, place = running.pop(pid)
    code = os.waitstatus_to_exitcode(status)
    if not (place / "printed.stderr").exists():
        return Outcome(case, code, "", (place / "preparing").read_text(), "it could not be prepared")
    stdout, stderr = ((place / f"printed.{name}").read_text().replace(f"{place}/", "") for name in ("stdout", "stderr"))
    half = [str(path) for path in place.rglob("*.tmp")]
    before = (place / "done.before").read_text().splitlines()
    troubles = {
        f"exit code {code}, not {case.code}": code != case.code,
        "a traceback": "Traceback" in stderr,
        f"{case.says!r} is not said": not re.search(case.says, stderr + stdout, re.DOTALL if code == 0 else 0),
        f"{len(stderr.splitlines())} lines": code != 0 and len(stderr.splitlines()) != case.lines,
        f"half-written: {half}": bool(half),
        "a stage is done that failed": case.code == 6
        and any("pseudolabel" in path for path in set(finished(place)) - set(before)),
    }
    shutil.rmtree(place)
    return Outcome(case, code, stdout, stderr, "; ".join(text for text, is_so in troubles.items() if is_so))


def as_table(found: list[Outcome]) -> str:
    """A table in Markdown, one row per case."""

    def cell(text: str) -> str:
        text = " ".join(text.removeprefix("semiprune: ").split()).replace("|", "\\|")
        return text if len(text) <= 400 else text[:397] + "..."

    rows = [f"| {o.case.what} | {o.code} | {cell(o.printed)} |" for o in found]
    return "\n".join(["| what | exit | what it printed |", "| --- | ---: | --- |", *rows])


if __name__ == "__main__":
    for option, value in {"jax_platforms": "cpu", **small.COMPILED}.items():
        jax.config.update(option, value)
    results = sorted(outcomes(), key=lambda o: CASES.index(o.case))
    if "--json" in sys.argv:
        print(json.dumps([{"what": o.case.what, "trouble": o.trouble, "printed": o.stderr} for o in results]))
    else:
        begin, end = "<!-- bad inputs -->", "<!-- end -->"
        before, _, rest = README.read_text().partition(begin)
        README.write_text(f"{before}{begin}\n{as_table(results)}\n{end}{rest.partition(end)[2]}")
        for o in results:
            if o.trouble:
                print(f"{o.case.what}: {o.trouble}\n{o.stderr}\n{o.stdout}", file=sys.stderr)
    sys.exit(any(o.trouble for o in results))
