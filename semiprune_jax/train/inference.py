"""Forward passes of a trained network: its outputs for the pool, and its accuracy on the test set."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

import jax
import numpy as np

from semiprune_jax.augment.views import View
from semiprune_jax.data.pools import Pool, Pools
from semiprune_jax.data.samplers import SequentialSampler
from semiprune_jax.distributed.layout import Layout
from semiprune_jax.models import Network
from semiprune_jax.train import steps
from semiprune_jax.train.state import TrainState

Evaluate: TypeAlias = Callable[[TrainState], dict[str, float]]

_ROWS, _PIXELS = 512, 1 << 21  # at most: rows of a batch, pixels of a device's share of it


@dataclass(frozen=True)
class Inference:
    """Forward passes over a run's images.

    Attributes:
      view: the view of a whole batch that networks are tested on.
      side: its side in pixels.
    """

    layout: Layout
    pools: Pools
    view: View
    side: int

    def over_pool(
        self, step: Callable, network: Network, trained: TrainState, view: tuple[View, int] | None = None
    ) -> dict[str, np.ndarray]:
        """The outputs of a forward step for each image of the pool, arrays [N, ...] by name.

        Args:
          step: ``steps.prediction_step`` or ``steps.embedding_step``.
          view: another view of a whole batch, and its side in pixels.
        """
        pool = self.pools.eval_pool
        nothing = np.full(pool.n, -1, np.int32)
        parts = self.forward(step, network, pool, nothing, view=view)(trained)
        return {key: np.concatenate([part[key] for part in parts])[: pool.n] for key in parts[0]}

    def evaluation(self, network: Network) -> Evaluate | None:
        """A function: state -> test_accuracy and test_loss, over each test image once; None without a test set."""
        test, split = self.pools.test, self.pools.dataset.test
        if test is None or split is None:
            return None
        forward = self.forward(steps.evaluation_step, network, test, split.labels)

        def evaluate(current: TrainState) -> dict[str, float]:
            sums = forward(current)
            total = {key: float(sum(part[key] for part in sums)) for key in sums[0]}
            return {
                "test_accuracy": total["correct"] / total["count"],
                "test_loss": total["loss"] / total["count"],
            }

        return evaluate

    def forward(
        self,
        step: Callable,
        network: Network,
        pool: Pool,
        labels: np.ndarray,
        *,
        ids: np.ndarray | None = None,
        view: tuple[View, int] | None = None,
    ) -> Callable[[TrainState], list[dict]]:
        """A function: state -> the step's outputs for each batch of the pool, or of ``ids``, in order, on the host."""
        seen, side = view or (self.view, self.side)
        forward = self.layout.compile_forward(partial(step, model=network, view=seen), pool.fetch)
        ids = np.arange(pool.n) if ids is None else ids
        share = max(32, _PIXELS // side**2)
        rows = self.layout.padded(min(_ROWS, share * len(self.layout.devices), len(ids)))
        order, arrays = SequentialSampler(ids, rows=rows, pad_id=pool.n), pool.arrays(labels)

        def run(current: TrainState) -> list[dict]:
            # One batch at a time: the program has collectives, which must not pile up on virtual CPU devices.
            with pool.feed(order, order.steps) as feed:
                return [
                    jax.device_get(forward(current, arrays, self.layout.put_feed(feed(i, 1))))
                    for i in range(order.steps)
                ]

        return run
