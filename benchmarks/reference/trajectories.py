"""Training dynamics in the reference's way: all logits in half precision are pickled, loaded again, and scored."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor


class Logger:
    """Keeps the logits of every step in the host's memory until the end of the training."""

    def __init__(self) -> None:
        self.steps: list[dict[str, Any]] = []

    def log(self, epoch: int, ids: Tensor, logits: Tensor) -> None:
        """Copies the step's logits to the host and halves their precision there."""
        half = logits.detach().cpu().numpy().astype(np.float16)
        self.steps.append({"epoch": epoch, "ids": ids.cpu().numpy().astype(np.int32), "logits": half})

    def save(self, path: Path) -> None:
        """Writes one pickle."""
        with path.open("wb") as file:
            pickle.dump(self.steps, file, protocol=pickle.HIGHEST_PROTOCOL)


def load(path: Path) -> list[dict[str, Any]]:
    """Reads a file of ``save``."""
    with path.open("rb") as file:
        return pickle.load(file)


def score(
    steps: list[dict[str, Any]], labels: np.ndarray, epochs: int, *, el2n_epochs: int, horizon: int, window: int = 10
) -> dict[str, np.ndarray]:
    """The scores of the reference's script, in one pass over the steps, and DUAL of the first epochs.

    Returns:
      aum, forgetting, correctness, el2n, dual, mean_probability, [N] each.
    """
    n, truth = len(labels), torch.from_numpy(labels).long()
    totals = {name: torch.zeros(n) for name in ("aum", "forgetting", "correctness", "el2n")}
    last = torch.zeros(n, dtype=torch.bool)
    p_label = torch.zeros(epochs, n)
    for step in steps:
        ids, epoch = torch.from_numpy(step["ids"]).long(), step["epoch"]
        p, y = torch.softmax(torch.from_numpy(step["logits"]).float(), 1), truth[ids]
        own = p.gather(1, y[:, None])[:, 0]
        correct = p.argmax(1) == y
        totals["aum"][ids] += own - p.scatter(1, y[:, None], -1.0).max(1).values
        totals["forgetting"][ids] += (last[ids] & ~correct).float()
        totals["correctness"][ids] += correct.float()
        if epoch < el2n_epochs:
            square = (p * p).sum(1) - 2 * own + 1
            totals["el2n"][ids] += square.clamp(min=0).sqrt()
        last[ids] = correct
        p_label[epoch, ids] = own
    head = p_label[:horizon]
    windows = head.unfold(0, window, 1)
    dual = ((1 - windows.mean(-1)) * windows.std(-1, unbiased=True) * 10).mean(0)
    made = totals | {"dual": dual, "mean_probability": head.mean(0)}
    return {name: values.numpy() for name, values in made.items()}
