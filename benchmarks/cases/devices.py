"""M1: the record on eight virtual devices, and the collectives of its update.

``python -m benchmarks.cases.devices WAY N BATCH`` measures it in a process with eight devices, and prints JSON.
"""

import json
import os
import re
import subprocess
import sys
import time
from functools import partial
from typing import NamedTuple

from benchmarks.protocol import OURS, Case, Contender

_DEVICES, _STEPS = 8, 64


class Task(NamedTuple):
    """A record of ``n`` examples, of which a batch is written."""

    n: int
    batch: int = 256


TASKS = {"cpu": {"M1": Task(1_281_167)}, "gpu": {"M1": Task(1_281_167)}, "smoke": {"M1": Task(4_096, 16)}}


def build(suite: str, name: str) -> Case:
    """The case, in the size of the suite."""
    task = TASKS[suite][name]
    return Case(
        what=f"write {task.batch} examples into a record of {task.n:,} on {_DEVICES} virtual devices",
        unit="step",
        n=task.n,
        dtype="float32",
        contenders={
            OURS: partial(_contender, task, "ours"),
            "added to, not set": partial(_contender, task, "added"),
        },
        rounds=2,
        warm_ups=0,
        alone=False,
    )


def _contender(task: Task, way: str) -> Contender:
    found: dict[str, float] = {}

    def run() -> float:
        environment = {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": str(_DEVICES)}
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.cases.devices", way, str(task.n), str(task.batch)],
            check=True,
            capture_output=True,
            text=True,
            env=os.environ | environment,
        )
        found.update(json.loads(done.stdout))
        return found.pop("seconds")

    return Contender(run, facts=lambda: found)


def main(way: str, n: str, batch: str) -> None:
    """Compiles the update, measures its collectives, and times it."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    from semiprune_jax.distributed.layout import Layout
    from semiprune_jax.train import dynamics

    layout, rows, size = Layout("jit"), int(n), int(batch)
    record = layout.create_record(partial(dynamics.init, layout.record_rows(rows), 1))

    def step(state, record, batch, key):
        seen = dynamics.observe(batch["logits"], batch["id"] % 1000)
        if way == "ours":
            return state, dynamics.update(record, batch["id"], 0, seen), {"loss": state}
        new = {
            name: getattr(record, name).at[batch["id"], 0].add(seen[name]) for name in ("p_label", "p_other", "el2n")
        }
        return state, record.replace(**new), {"loss": state}

    rng = np.random.default_rng(0)
    feed = layout.put_feed(
        {
            "id": rng.permutation(rows)[:size][None].astype(np.int32),
            "logits": rng.standard_normal((1, size, 1000), np.float32),
        }
    )
    state, key = layout.replicate(np.float32(0)), layout.replicate(jax.random.key(0))
    dispatch = layout.compile(step, lambda pool, item: item).lower(state, record, None, feed, key).compile()
    text = dispatch.as_text()
    shapes = re.findall(r"= (\S+?\[[\d,]*\])\S* (?:all-gather|all-reduce|all-to-all|collective-permute)\(", text)
    sent = [int(np.prod([int(side) for side in shape.split("[")[1][:-1].split(",") if side])) for shape in shapes]
    began = time.perf_counter()
    for _ in range(_STEPS):
        state, record, metrics = dispatch(state, record, None, feed, key)
        jax.block_until_ready(record)
    seconds = (time.perf_counter() - began) / _STEPS
    print(json.dumps({"seconds": seconds, "collectives": len(sent), "largest_collective": max(sent, default=0)}))
    assert jnp.isfinite(metrics["loss"]).all()


if __name__ == "__main__":
    main(*sys.argv[1:])
