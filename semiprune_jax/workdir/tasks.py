"""Tasks: pieces of work, each with its own directory, that are done at most once in a work directory."""

import contextlib
import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from semiprune_jax.distributed import preemption, processes
from semiprune_jax.workdir import checkpoint, record
from semiprune_jax.workdir.artifacts import Artifact, Inputs, Store
from semiprune_jax.workdir.record import Record

_DONE_BEFORE = "done before"
_FIRST = "label"  # every other task depends on it, directly or through others, and every run checks it first


class Outcome(NamedTuple):
    """The result of a task's work."""

    outputs: Mapping[Artifact, Any]  # in the order in which they are written
    summary: str


class View(NamedTuple):
    """A table that is derived from finished work. It is made again when its sources or settings have changed.

    Unless its artifact is ``derived``, no task depends on its bytes, so that all stay valid when it changes.
    """

    artifact: Artifact
    reads: tuple[Artifact, ...]  # its sources; sources that do not exist are left out
    make: Callable[[Inputs], Any]  # may also read the artifact's present value
    settings: Mapping[str, Any] = {}


@dataclass(frozen=True)
class Task:
    """One piece of work.

    Attributes:
      name: its directory.
      settings: the part of the config that it depends on, as plain values.
      reads: the artifacts that ``work`` may read.
      work: computes the outputs from the inputs.
      outside: name -> digest of data from outside the work directory.
      view: a table that is derived from its outputs, if there is one.
    """

    name: str
    settings: Mapping[str, Any]
    reads: tuple[Artifact, ...]
    work: Callable[[Inputs], Outcome]
    outside: Mapping[str, str] = field(default_factory=dict)
    view: View | None = None


class Runner:
    """Runs the tasks of one work directory.

    Args:
      root: the work directory.
      log: receives each line, on process 0 only.
    """

    def __init__(self, root: Path, log: Callable[[str], None]):
        self._root = root
        self.store = Store(root)
        self.log = log if processes.is_lead_host() else lambda line: None

    def run(self, task: Task, line: list[str] | None = None) -> None:
        """Runs a task at most once, logs one line (or adds to a shared one), and synchronises the processes."""
        if line is None:
            with self.line(task.name) as own:
                return self.run(task, own)
        summary, entry = _DONE_BEFORE, self.record(task)
        preemption.check()  # all processes must call it, even if the task is done already
        if not entry.is_done():
            entry.start()
            outputs, summary = task.work(Inputs(self.store, task.reads))
            for artifact, value in outputs.items():
                self.store.save(artifact, value)
            derived = task.view and task.view.artifact
            hashed = [artifact for artifact in outputs if artifact.hashed and artifact != derived]
            entry.finish([self.store.path(artifact) for artifact in hashed])
        checkpoint.forget(self._root / task.name / "checkpoints")  # also if a run was killed before this
        processes.barrier(f"{task.name} is done")
        if task.view:
            self._refresh(entry, task.view)
        return line.append(summary)

    def record(self, task: Task) -> Record:
        """The task's record, which depends on its settings and on the tasks that it reads from.

        Every run checks the first task, so its digest is needed only by a task that reads from no other.
        """
        tasks = {artifact.task for artifact in task.reads}
        tasks = tasks - {_FIRST} or tasks
        inputs = {name: record.digest(self._root, name) for name in sorted(tasks)}
        for view in (artifact for artifact in task.reads if artifact.derived):
            inputs[view.path] = record.file_hash(self._root, view.task, view.path)
        return Record(self._root, task.name, settings=task.settings, inputs=inputs | dict(task.outside))

    def _refresh(self, entry: Record, view: View) -> None:
        """Makes a derived table again if its sources have changed since it was written."""
        reads = [artifact for artifact in view.reads if self.store.exists(artifact)]
        hashes = {source.path: record.file_hash(self._root, source.task, source.path) for source in reads}
        sources = hashlib.sha256(json.dumps([hashes, dict(view.settings)], sort_keys=True).encode()).hexdigest()
        path = self.store.path(view.artifact)
        is_current = entry.view(path) == sources
        processes.barrier(f"{view.artifact.path} is looked at")
        if is_current:
            return
        made = view.make(Inputs(self.store, [*reads, view.artifact]))
        entry.forget_view(path)
        self.store.save(view.artifact, made)
        entry.note_view(path, sources)
        processes.barrier(f"{view.artifact.path} is made")

    @contextlib.contextmanager
    def line(self, name: str) -> Iterator[list[str]]:
        """Logs one line when it exits: the name, the caller's summaries in the list, and the time."""
        began, summaries = time.time(), []
        yield summaries
        new = [text for text in summaries if text != _DONE_BEFORE]
        before = len(summaries) - len(new)
        shown = ", ".join(new) + f" ({before} done before)" * bool(new and before) if new else _DONE_BEFORE
        self.log(f"{name:<28} {shown:<58} {time.time() - began:6.1f} s")


def directories(root: Path, stage: str) -> list[Path]:
    """The directories of a stage's finished tasks, in the order of their names."""
    return sorted(done.parent for done in (root / stage).glob("*/DONE.json"))
