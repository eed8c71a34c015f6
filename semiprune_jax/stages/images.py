"""The images that a config names: their dataset, the sizes at which they are seen, and their pools."""

from collections.abc import Iterable
from pathlib import Path

from semiprune_jax.config.schema import Config
from semiprune_jax.data import sources
from semiprune_jax.data.pools import Pools
from semiprune_jax.data.sizes import Sizes
from semiprune_jax.data.split import Dataset, Skipped
from semiprune_jax.distributed.layout import Layout
from semiprune_jax.errors import DataError
from semiprune_jax.workdir import artifacts

SKIPPED = artifacts.json("label/skipped.json", "label")  # images that data.skip_bad left out
PIXELS = artifacts.json("label/pixels.json", "label")  # digests of the pixels that trainings have seen


def load(config: Config, *, skipped: Iterable[Skipped] | None = None, notes: Path | None = None) -> Dataset:
    """Lists the pool and the test set with ``sources.load``; decodes nothing."""
    return sources.load(config.data, seed=config.seed, skipped=skipped, notes=notes)


def sizes(config: Config) -> Sizes:
    """The pixels that stages see."""
    return Sizes.of(config.data)


def pools(config: Config, dataset: Dataset, layout: Layout) -> Pools:
    """The pools of images, on the devices of a layout."""
    data, runtime = config.data, config.runtime
    return Pools(
        dataset,
        sizes(config),
        layout,
        placement=data.pool,
        memory_share=runtime.memory_share,
        cache=Path(data.cache) if data.cache else None,
        decoder=data.decoder,
        workers=runtime.workers,
    )


def skipped(entries: list[dict], path: Path) -> list[Skipped]:
    """The images that an earlier start left out, from the list that it wrote to ``path``."""
    try:
        return [Skipped(**entry) for entry in entries]
    except TypeError:
        raise DataError(f"{path} is not what was written; restore it, or use --overwrite") from None


def cache_bytes(config: Config, n: int, tests: int) -> int:
    """Bytes of the squares of ``n`` examples and of ``tests`` test images, in memory or in ``data.cache``."""
    seen = sizes(config)
    return 3 * (n * seen.square**2 + tests * seen.image**2)


def worker_bytes(config: Config) -> int:
    """Bytes of shared memory for a decoding worker's batches: those that are ready, in work, and handed over."""
    seen, f = sizes(config), config.ssl
    return 4 * 3 * max(f.batch_size * (1 + f.mu) * seen.square**2, config.proxy.batch_size * seen.image**2)
