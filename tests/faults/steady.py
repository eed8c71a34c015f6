"""``python -m tests.faults.steady STEPS``: memory over the steps of every training.

Prints the megabytes of each stage at twenty log lines. Each training saves ten checkpoints; more would measure
tensorstore, which never frees some lists of its JSON output (23 kB for a checkpoint of 40 arrays, by tracemalloc).
"""

import ctypes
import gc
import json
import sys
import tempfile
from pathlib import Path

import numpy as np

from semiprune_jax.distributed.layout import Layout
from semiprune_jax.stages.context import train_context
from semiprune_jax.workdir.metrics import Metrics
from tests import small


def own_memory() -> float:
    """Megabytes in use by this process alone, including those that the kernel has swapped out.

    The allocator first returns its free memory: a compilation leaves hundreds of megabytes of it.
    """
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return sum(int(status[name].split()[0]) for name in ("RssAnon", "VmSwap")) / 1e3


def measure(steps: int, work: Path) -> dict[str, list[float]]:
    """The memory at each of the twenty log lines of each training."""
    seen: dict[str, list[float]] = {}

    class Watched(Metrics):
        def write(self, stage, step, values):
            super().write(stage, step, values)
            if stage not in seen:  # all is compiled; live objects need not be traversed again
                gc.collect()
                gc.freeze()
            seen.setdefault(stage, []).append(own_memory())

    config, train = small.config(), small.pool(64)
    config.ssl.steps, config.ssl.eval_every_steps = steps, steps // 10
    config.proxy.epochs = config.retrain.epochs = steps // 4  # of four batches
    config.proxy.eval_every_epochs = steps // 40
    config.runtime.log_every_steps = steps // 20
    config.runtime.checkpoint_every_steps = steps // 10
    layout = Layout.of("jit", 1)
    pools = small.pools(layout, train, small.pool(24, seed=1))
    made = train_context(config, pools, Watched(work), work)
    small.predicted(made, config, np.where(np.arange(64) < 16, train[1], -1).astype(np.int32))
    small.proxy(made, config, train[1])
    small.retrain(made, config, "retrain", train[1], np.arange(64), batch_size=16, seed=0)
    made.metrics.close()
    return seen


if __name__ == "__main__":
    from absl import flags

    flags.FLAGS.mark_as_parsed()  # read by libraries
    with tempfile.TemporaryDirectory() as directory:
        print(json.dumps(measure(int(sys.argv[1]), Path(directory))))
