"""``python -m tests.faults.run --trials=50``: runs every kind of trial and writes the figures to ``README.md`` here.

The exit code is 1 if a trial did not hold; the program prints the reason.
"""

import argparse
import json
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np

from tests.faults import fuzz, program, trials
from tests.faults.trials import Place, Row

README = Path(__file__).parent / "README.md"
# In megabytes, from the third fifth of the steps to the last.
ALLOWED_GROWTH = 10.0
# Kind of trial -> its function, and its number of trials if N are asked for.
KINDS: dict[str, tuple[Callable[[Place, int], Row], Callable[[int], int]]] = {
    "several": (trials.several, lambda n: 2),
    "killed": (trials.killed, lambda n: n),
    "lost": (trials.lost, lambda n: max(2, n // 8)),
    "told_to_stop": (trials.told_to_stop, lambda n: -(-2 * n // 5)),
    "moved": (trials.moved, lambda n: max(3, n // 16)),
    "full": (trials.full, lambda n: max(2, n // 10)),
    "full_disk": (trials.full_disk, lambda n: max(2, n // 10)),
    "read_only": (trials.read_only, lambda n: max(1, n // 16)),
    "truncated": (trials.truncated, lambda n: -(-2 * n // 5)),
    "flipped": (trials.flipped, lambda n: n),
    "clock": (trials.clock, lambda n: max(1, n // 16)),
    "nothing_left": (trials.nothing_left, lambda n: max(5, n // 10)),
    "fuzz": (lambda place, n: fuzz.fuzz(place.root / "fuzz", n), lambda n: 200 * n),
    "steady": (lambda place, n: steady(n), lambda n: 1000),
}


def steady(steps: int) -> Row:
    """Measures memory over the steps of every training, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults.steady", str(steps)],
        cwd=program.ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        return Row("memory", steps, [done.stderr[-2000:]], "")
    troubles, figures = [], []
    for stage, megabytes in json.loads(done.stdout.splitlines()[-1]).items():
        fifth = len(megabytes) // 5
        first, last = np.median(megabytes[2 * fifth : 3 * fifth]), np.median(megabytes[-fifth:])
        figures.append(f"{stage} {first:.0f} to {last:.0f} MB")
        if last - first > ALLOWED_GROWTH:
            troubles.append(f"{stage} grew from {first:.1f} to {last:.1f} MB")
    return Row(
        "memory over the steps of each training, from the third fifth to the last", steps, troubles, ", ".join(figures)
    )


def record(kind: str, row: Row, options: argparse.Namespace) -> None:
    """Replaces the row of a kind in the README's table; rows keep the order of ``KINDS``."""
    begin, end = "<!-- figures -->", "<!-- end -->"
    before, _, rest = README.read_text().partition(begin)
    table, _, after = rest.partition(end)
    lines = {line.split("`")[1]: line for line in table.splitlines() if line.startswith("| `")}
    by = f"{time.strftime('%Y-%m-%d')}, Python {platform.python_version()}, jax {jax.__version__}, seed {options.seed}"
    lines[kind] = (
        f"| `{kind}` | {row.what} | {row.trials:,} | {row.trials - len(row.troubles):,} | {row.figures} | {by} |"
    )
    head = ["| kind | fault | trials | held | figures | made |", "| --- | --- | ---: | ---: | --- | --- |"]
    shown = [*head, *(lines[kind] for kind in KINDS if kind in lines)]
    README.write_text(f"{before}{begin}\n" + "\n".join(shown) + f"\n{end}{after}")


def main() -> int:
    """Runs the kinds that are asked for, and records each as soon as it is done."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=50, help="kills; other kinds are in proportion")
    parser.add_argument("--kinds", default=",".join(KINDS), help="with commas between them; all if not given")
    parser.add_argument("--seed", type=int, default=0, help="of the random moments")
    options = parser.parse_args()
    asked = options.kinds.split(",")
    if unknown := [kind for kind in asked if kind not in KINDS]:
        parser.error(f"unknown kind {unknown[0]!r}; expected some of {', '.join(KINDS)}")
    failed = False
    with tempfile.TemporaryDirectory(prefix="semiprune-faults-") as root:
        place = Place(Path(root), options.seed)
        for kind in asked:
            at, (run, count) = time.monotonic(), KINDS[kind]
            row = run(place, count(options.trials))
            record(kind, row, options)
            failed |= bool(row.troubles)
            print(
                f"{kind}: {row.trials - len(row.troubles)} of {row.trials} held; {row.figures} "
                f"({time.monotonic() - at:.0f} s)",
                flush=True,
            )
            for trouble in row.troubles:
                print(f"  {trouble}", file=sys.stderr, flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
