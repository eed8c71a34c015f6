"""Runs the command line in processes of their own, forked from this one."""

import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

from semiprune_jax import main, pipeline  # noqa: F401  (before the forks)


def run(flags: list[str]) -> int:
    """Runs the command line in this process."""
    given = {flag.partition("=")[0] for flag in flags}
    defaults = [flag for flag in ("--config=config.py", "--workdir=w") if flag.partition("=")[0] not in given]
    sys.argv = ["main", *defaults, *flags]  # config_flags reads the overrides of the file from it
    return main.main(sys.argv)


def start(place: Path, work: Callable[[], object]) -> int:
    """Forks a process that does ``work`` in a directory; returns its id. Its output goes to the file "preparing"."""
    sys.stdout.flush()
    sys.stderr.flush()
    if pid := os.fork():
        return pid
    code: object = 1
    try:
        place.mkdir(exist_ok=True)
        os.chdir(place)
        for stream in (sys.stdout, sys.stderr):
            os.dup2(os.open("preparing", os.O_WRONLY | os.O_CREAT | os.O_APPEND), stream.fileno())
        code = work()
    except SystemExit as exit_:
        code = exit_.code
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else 0)


def fork(work: Callable[[], object]) -> None:
    """Runs ``work`` in a forked child, in this directory, and waits for its end."""
    os.waitpid(start(Path(), work), 0)
