"""Labels without labels: clusters of embeddings, as ELFS takes them for classes (Zheng et al., ICLR 2025)."""

import contextlib
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from semiprune_jax import loop
from semiprune_jax.config import Config
from semiprune_jax.datasets.order import EpochFeed
from semiprune_jax.errors import DataError
from semiprune_jax.features import blocks, temi
from semiprune_jax.features.neighbours import nearest
from semiprune_jax.loop import Pace, Training
from semiprune_jax.mesh import Layout
from semiprune_jax.metrics import Metrics
from semiprune_jax.randomness import stream_key


def cluster(
    features: np.ndarray, clusters: int, options: Config, seed: int, *,
    name: str, layout: Layout, metrics: Metrics, pace: Pace, workdir: Path,
) -> dict[str, np.ndarray]:  # fmt: skip
    """Trains TEMI's heads on embeddings and gives each example a cluster.

    Args:
      features: f32[N, D].
      options: config.temi.
      name: the stage's directory.

    Returns:
      prediction i32[N], clusters without names, and confidence f32[N].

    Raises:
      DataError: there are fewer examples than clusters or neighbours.
    """
    features, n = blocks.checked(features), len(features)
    if clusters > n or options.neighbours >= n:
        raise DataError(
            f"{clusters} clusters by {options.neighbours} neighbours each, of {n} images; "
            "lower temi.neighbours, or bring more images"
        )
    batch_size = min(options.batch_size, n)
    steps_per_epoch = -(-n // batch_size)
    tx = temi.optimizer(options.learning_rate, options.warm_up_epochs * steps_per_epoch)
    step = partial(
        temi.step, tx=tx, steps_per_epoch=steps_per_epoch, teacher_decay=options.teacher_decay, beta=options.beta
    )
    create = partial(temi.create, tx=tx, heads=options.heads, width=features.shape[1], clusters=clusters)
    feed = EpochFeed(
        seed, f"{name}/order", np.arange(n), batch_size=batch_size, rows=layout.padded(batch_size), pad_id=n
    )
    found, _ = nearest(features, options.neighbours, "cosine")
    training = Training(
        name=name,
        state=layout.compile_init(create)(layout.replicate(stream_key(seed, f"{name}/init"))),
        record=None,
        dispatch=layout.compile(step, temi.fetch),
        pool=layout.replicate(temi.Pool(jnp.asarray(features), jnp.asarray(found))),
        feed=contextlib.nullcontext(feed),
        key=layout.replicate(stream_key(seed, f"{name}/pairs")),
        total_steps=options.epochs * steps_per_epoch,
        steps_per_epoch=steps_per_epoch,
        passes=("epoch", steps_per_epoch),
        images_per_step=batch_size,
        evaluate=None,
        evaluate_every=1,
    )
    directory = workdir / name / "checkpoints"
    state, _ = loop.run(training, layout=layout, metrics=metrics, pace=pace, directory=directory)
    host, columns = jax.device_get(state), 2 * temi.HIDDEN
    made: dict[str, np.ndarray] = {"prediction": np.empty(n, np.int32), "confidence": np.empty(n, np.float32)}
    assign = jax.jit(temi.assign)
    for first in range(0, n, size := max(1, blocks.BLOCK_BYTES // (4 * columns))):
        part = jax.device_get(assign(host, features[first : first + size]))
        for key, values in part.items():
            made[key][first : first + size] = values
    return made
