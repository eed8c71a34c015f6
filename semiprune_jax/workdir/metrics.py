"""Metrics of a run: one ``metrics.jsonl`` for all stages, the same as TensorBoard events, and a CSV made from it.

Each line is a JSON object: ``stage`` (the task's directory), ``step``, then scalars.
"""

import contextlib
import json
import os
import secrets
import time
from pathlib import Path
from typing import Any

from semiprune_jax.distributed import processes
from semiprune_jax.errors import ConfigError
from semiprune_jax.workdir.formats import write_atomically, write_csv


class Metrics:
    """The metrics of one work directory.

    Args:
      directory: the work directory; it gets metrics.jsonl, metrics.csv and tb/.
      wandb_project: also log to this project at Weights & Biases (extra ``wandb``); empty: none.
    """

    def __init__(self, directory: Path, wandb_project: str = ""):
        self._path = directory / "metrics.jsonl"
        self._tensorboard_directory = directory / "tb"
        self._board_of: tuple[str, _Board] | None = None  # only one, since each holds a file open
        self._wandb = _Wandb(directory, wandb_project) if wandb_project and processes.is_lead_host() else None

    def write(self, stage: str, step: int, values: dict[str, float]) -> None:
        """On process 0: appends one line, and returns once it is on the disk."""
        if not processes.is_lead_host():
            return
        line = {"stage": stage, "step": step} | {key: _number(value) for key, value in values.items()}
        with self._path.open("a") as file:
            file.write(json.dumps(line) + "\n")
            file.flush()
            os.fsync(file.fileno())  # so that no checkpoint is newer than its metrics
        self._board(stage).write(step, values)
        if self._wandb is not None:
            self._wandb.write(stage, step, values)

    def lines(self, stage: str | None = None) -> list[dict[str, Any]]:
        """All lines, or those of one stage, in order."""
        if not self._path.exists():
            return []
        lines = []
        for text in self._path.read_text(errors="replace").splitlines():
            try:
                line = json.loads(text)
            except json.JSONDecodeError:
                continue  # a run was killed while writing this line
            if isinstance(line, dict) and "stage" in line and isinstance(line.get("step"), int):
                lines.append(line)
        return [line for line in lines if stage is None or line["stage"] == stage]

    def rewind(self, stage: str, step: int) -> None:
        """Drops the stage's lines beyond ``step``, which a killed run wrote after its last checkpoint."""
        if not processes.is_lead_host():
            return
        kept = [line for line in self.lines() if line["stage"] != stage or line["step"] <= step]
        if self._path.exists():
            write_atomically(self._path, "".join(json.dumps(line) + "\n" for line in kept).encode())
        self._board(stage, first_step=step + 1)

    def close(self) -> None:
        """Writes metrics.csv and closes the writers."""
        if not processes.is_lead_host():
            return
        lines = self.lines()
        columns = list(dict.fromkeys(key for line in lines for key in line))
        write_csv(self._path.with_suffix(".csv"), columns, lines)
        if self._board_of is not None:
            self._board_of[1].close()
        if self._wandb is not None:
            self._wandb.close()

    def _board(self, stage: str, first_step: int | None = None) -> "_Board":
        if self._board_of is None or self._board_of[0] != stage:
            if self._board_of is not None:
                self._board_of[1].close()
            self._board_of = (stage, _Board(self._tensorboard_directory / stage, first_step))
        return self._board_of[1]


class _Wandb:
    """The Weights & Biases run of a work directory; the first values open it, and later runs resume it."""

    def __init__(self, directory: Path, project: str):
        try:
            import wandb  # pyright: ignore[reportMissingImports]  (an extra)
        except ImportError as error:
            raise ConfigError(f"report.wandb_project needs the extra wandb ({error}); install it") from None
        self._init, self._directory, self._project = wandb.init, directory, project
        self._run: Any = None
        self._stages: set[str] = set()

    def write(self, stage: str, step: int, values: dict[str, float]) -> None:
        if self._run is None:
            path = self._directory / "wandb.json"
            if not path.exists():
                write_atomically(path, json.dumps({"id": secrets.token_hex(8)}).encode())
            known = json.loads(path.read_text())["id"]
            self._run = self._init(project=self._project, dir=str(self._directory), id=known, resume="allow")
        if stage not in self._stages:  # each stage counts its own steps
            self._stages.add(stage)
            self._run.define_metric(f"{stage}/*", step_metric=f"{stage}/step")
        self._run.log({f"{stage}/{key}": value for key, value in ({"step": step} | values).items()})

    def close(self) -> None:
        if self._run is not None:
            self._run.finish()


class _Board:
    """Events for TensorBoard.

    tensorboardX's SummaryWriter writes in a thread, and again when Python ends, where a full disk can only show as a
    stack trace.

    Args:
      directory: receives a file.
      first_step: if given, TensorBoard hides the events of earlier files from this step on.
    """

    def __init__(self, directory: Path, first_step: int | None):
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto import event_pb2

        self._protocol: Any = event_pb2  # Any: it makes its classes when it is imported
        directory.mkdir(parents=True, exist_ok=True)
        self._events: Any = EventsWriter(str(directory / "events"), f".{os.getpid()}")
        if first_step is not None:
            start = self._protocol.SessionLog(status=self._protocol.SessionLog.START)
            self._events.write_event(self._protocol.Event(step=first_step, session_log=start))

    def write(self, step: int, values: dict[str, float]) -> None:
        from tensorboardX.summary import scalar

        for key, value in values.items():
            summary = scalar(key, float(value))
            self._events.write_event(self._protocol.Event(wall_time=time.time(), step=step, summary=summary))
        self._events.flush()

    def close(self) -> None:
        events, self._events = self._events, None
        if events:
            events.close()

    def __del__(self):
        with contextlib.suppress(Exception):
            self.close()


def _number(value: Any) -> float | int:
    return int(value) if isinstance(value, int) else float(f"{float(value):.8g}")
