"""Labels without labels: clusters of embeddings, as ELFS takes them for classes (Zheng et al., ICLR 2025)."""

import contextlib
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from semiprune_jax import loop, quality
from semiprune_jax.config import Config
from semiprune_jax.datasets.order import EpochFeed
from semiprune_jax.errors import DataError
from semiprune_jax.features import blocks, temi
from semiprune_jax.features.neighbours import nearest
from semiprune_jax.loop import Pace, Training
from semiprune_jax.mesh import Layout
from semiprune_jax.metrics import Metrics
from semiprune_jax.randomness import stream_key

ORACLE_CANDIDATES = 10  # ELFS compares as many checkpoints: one in 20 of 200 epochs

_assign = jax.jit(temi.assign)


def cluster(
    features: np.ndarray, clusters: int, options: Config, seed: int, *,
    name: str, layout: Layout, metrics: Metrics, pace: Pace, workdir: Path, truth: np.ndarray | None = None,
) -> dict[str, np.ndarray]:  # fmt: skip
    """Trains TEMI's heads on embeddings and gives each example a cluster.

    Args:
      features: f32[N, D].
      options: config.temi.
      name: the stage's directory.
      truth: true labels i[N], which options.select = "oracle" chooses by.

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
        temi.step, tx=tx, steps_per_epoch=steps_per_epoch, epochs=options.epochs,
        teacher_decay=options.teacher_decay, beta=options.beta,
    )  # fmt: skip
    keep = min(ORACLE_CANDIDATES, options.epochs) if options.select == "oracle" else 1
    create = partial(temi.create, tx=tx, heads=options.heads, width=features.shape[1], clusters=clusters, keep=keep)
    feed = EpochFeed(
        seed, f"{name}/order", np.arange(n), batch_size=batch_size, rows=layout.padded(batch_size), pad_id=n
    )
    near, _ = nearest(features, options.neighbours, "cosine")
    training = Training(
        name=name,
        state=layout.compile_init(create)(layout.replicate(stream_key(seed, f"{name}/init"))),
        record=None,
        dispatch=layout.compile(step, temi.fetch),
        pool=layout.replicate(temi.Pool(jnp.asarray(features), jnp.asarray(near))),
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
    host: temi.TemiState = jax.device_get(state)
    if options.select == "oracle":
        assert truth is not None
        found = [_assigned(jax.tree.map(lambda value, i=i: value[i], host.kept), features) for i in range(keep)]
        return max(found, key=lambda made: quality.matched_accuracy(made["prediction"], truth, clusters))
    heads, loss = (host.teacher, host.epoch_loss) if options.select == "last" else (host.kept, host.kept_loss)
    return _assigned(temi.best_head(heads, loss), features)


def _assigned(head: temi.Heads, features: np.ndarray) -> dict[str, np.ndarray]:
    """Every example's cluster and confidence by one head, in blocks."""
    size = max(1, blocks.BLOCK_BYTES // (4 * 2 * temi.HIDDEN))
    parts = [jax.device_get(_assign(head, features[i : i + size])) for i in range(0, len(features), size)]
    return {key: np.concatenate([part[key] for part in parts]) for key in ("prediction", "confidence")}
