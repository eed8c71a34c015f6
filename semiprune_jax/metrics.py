"""Metrics of a run: one append-only ``metrics.jsonl`` for all stages, TensorBoard beside it, CSV from it.

A line is one JSON object: ``stage`` (its directory), ``step``, then scalars.
"""

import csv
import json
import os
from pathlib import Path
from typing import Any

from semiprune_jax import processes
from semiprune_jax.artifacts import write_atomically
from semiprune_jax.errors import ConfigError


class Metrics:
    """The metrics of one work directory.

    Args:
      directory: the work directory; it gets metrics.jsonl, metrics.csv and tb/.
      wandb_project: also log there, if not empty (extra ``wandb``).
    """

    def __init__(self, directory: Path, wandb_project: str = ""):
        self._path = directory / "metrics.jsonl"
        self._tensorboard_directory = directory / "tb"
        self._board_of: tuple[str, Any] | None = None  # one stage's at a time: each holds a file and a thread
        self._wandb = None
        if wandb_project and processes.leads():
            try:
                import wandb  # pyright: ignore[reportMissingImports]  (an extra)
            except ImportError as error:
                raise ConfigError(f"report.wandb_project needs the extra wandb ({error}); install it") from None

            self._wandb = wandb.init(project=wandb_project, dir=str(directory), resume="allow")

    def write(self, stage: str, step: int, values: dict[str, float]) -> None:
        """Appends one line; it is on the disk when this returns. Process 0 does."""
        if not processes.leads():
            return
        line = {"stage": stage, "step": step} | {key: _number(value) for key, value in values.items()}
        with self._path.open("a") as file:
            file.write(json.dumps(line) + "\n")
            file.flush()
            os.fsync(file.fileno())  # before the checkpoint that says it is written
        board = self._board(stage)
        for key, value in values.items():
            board.add_scalar(key, float(value), step)
        if self._wandb is not None:
            self._wandb.log({f"{stage}/{key}": value for key, value in values.items()})

    def lines(self, stage: str | None = None) -> list[dict[str, Any]]:
        """All lines, or those of one stage, in order."""
        if not self._path.exists():
            return []
        lines = []
        for text in self._path.read_text(errors="replace").splitlines():
            try:
                line = json.loads(text)
            except json.JSONDecodeError:
                continue  # the half line of a run that was killed while writing it
            if isinstance(line, dict) and "stage" in line and isinstance(line.get("step"), int):
                lines.append(line)
        return [line for line in lines if stage is None or line["stage"] == stage]

    def rewind(self, stage: str, step: int) -> None:
        """Drops the stage's lines beyond ``step``: those a killed run wrote after its last checkpoint."""
        if not processes.leads():
            return
        kept = [line for line in self.lines() if line["stage"] != stage or line["step"] <= step]
        if self._path.exists():
            write_atomically(self._path, "".join(json.dumps(line) + "\n" for line in kept).encode())
        self._board(stage, purge_step=step + 1)

    def close(self) -> None:
        """Writes metrics.csv and ends the writers."""
        if not processes.leads():
            return
        lines = self.lines()
        columns = list(dict.fromkeys(key for line in lines for key in line))
        with self._path.with_suffix(".csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows(lines)
        if self._board_of is not None:
            self._board_of[1].close()
        if self._wandb is not None:
            self._wandb.finish()

    def _board(self, stage: str, purge_step: int | None = None):
        if self._board_of is None or self._board_of[0] != stage:
            from tensorboardX import SummaryWriter

            if self._board_of is not None:
                self._board_of[1].close()
            writer = SummaryWriter(str(self._tensorboard_directory / stage), purge_step=purge_step)
            self._board_of = (stage, writer)
        return self._board_of[1]


def _number(value: Any) -> float | int:
    return int(value) if isinstance(value, int) else float(f"{float(value):.8g}")
