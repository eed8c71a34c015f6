"""How a stage is done: at most once, in a line of the log, with all processes at one."""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from semiprune_jax.distributed import preemption, processes
from semiprune_jax.train import loop
from semiprune_jax.workdir.stage import Stage

_DONE_BEFORE = "done before"


class Outcome(NamedTuple):
    """What a stage's work comes to."""

    files: list[Path]  # that later stages depend on
    summary: str


class Runner:
    """Does the stages of one work directory.

    Args:
      log: takes a line; that of process 0 only.
    """

    def __init__(self, workdir: Path, log: Callable[[str], None]):
        self._workdir = workdir
        self.log = log if processes.is_lead_host() else lambda line: None

    def stage(self, name: str, settings: dict[str, Any], inputs: Mapping[str, str]) -> Stage:
        """The stage that is to be done with these settings and inputs; see ``Stage``."""
        return Stage(self._workdir, name, version=1, settings=settings, inputs=inputs)

    def do(self, stage: Stage, work: Callable[[], Outcome], line: list[str] | None = None) -> Stage:
        """Does the stage's work, unless it is done; says so on a line of its own, or on one shared with others."""
        if line is None:
            with self.line(stage.name) as own:
                return self.do(stage, work, own)
        summary = _DONE_BEFORE
        preemption.check()  # of all processes, whether they find the stage done already or not
        if not stage.is_done():
            stage.start()
            files, summary = work()
            stage.finish(*files)
        loop.forget(stage.directory / "checkpoints")  # also of a run killed between being done and tidying up
        processes.barrier(f"{stage.name} is done")
        line.append(summary)
        return stage

    @contextlib.contextmanager
    def line(self, name: str) -> Iterator[list[str]]:
        """Logs one line: the name, the summaries put into the list, and the time they took."""
        began, summaries = time.time(), []
        yield summaries
        new = [text for text in summaries if text != _DONE_BEFORE]
        before = len(summaries) - len(new)
        shown = ", ".join(new) + f" ({before} done before)" * bool(new and before) if new else _DONE_BEFORE
        self.log(f"{name:<28} {shown:<58} {time.time() - began:6.1f} s")
