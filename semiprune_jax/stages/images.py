"""The images that a config names: the dataset they come from, the sizes they are seen at, and where they lie."""

from collections.abc import Iterable
from pathlib import Path

from semiprune_jax.config.schema import Config
from semiprune_jax.data import sources
from semiprune_jax.data.pools import Pools, Sizes
from semiprune_jax.data.sources import Dataset, Skipped
from semiprune_jax.distributed.layout import Layout, enable_compilation_cache
from semiprune_jax.errors import DataError
from semiprune_jax.workdir import artifacts

SKIPPED = artifacts.json("label/skipped.json", "label")  # images that data.skip_bad left out
PIXELS = artifacts.json("label/pixels.json", "label")  # digests of the pixels that trainings have seen


def load(config: Config, *, skipped: Iterable[Skipped] | None = None, notes: Path | None = None) -> Dataset:
    """Lists pool and test set; see ``datasets.load``. Decodes nothing.

    What is costly to find again is noted in ``data.cache``, for all runs, or else in the directory ``notes``.
    """
    data = config.data
    return sources.load(
        data.source,
        path=data.path,
        labels=data.labels,
        test_path=data.test_path,
        test_labels=data.test_labels,
        name=data.name,
        split=data.split,
        test_split=data.test_split,
        test_fraction=data.test_fraction,
        decoder=data.decoder,
        classes=tuple(data.classes),
        follow_links=data.follow_links,
        skip_bad=data.skip_bad,
        skipped=skipped,
        imbalance=data.imbalance,
        corruption=data.corruption,
        faithful=data.corruption_faithful,
        corrupted_size=sizes(config).square,
        limit_per_class=data.limit_per_class,
        expected=tuple(data.expected),
        seed=config.seed,
        notes=Path(data.cache) if data.cache else notes,
    )


def sizes(config: Config) -> Sizes:
    """Pixels of what stages see."""
    data = config.data
    resized = data.crops == "resized"
    square = data.square_size if resized else data.image_size
    return Sizes(data.image_size, square, resized, exact=data.supervised_crops == "original")


def pools(config: Config, dataset: Dataset) -> Pools:
    """Where the images lie, on the devices that the config asks for."""
    data, runtime = config.data, config.runtime
    enable_compilation_cache(runtime.compilation_cache)
    return Pools(
        dataset,
        sizes(config),
        Layout.of(runtime.parallel, runtime.devices),
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
    """Bytes of the squares of ``n`` examples and the views of ``tests``: in memory, or in ``data.cache``."""
    seen = sizes(config)
    return 3 * (n * seen.square**2 + tests * seen.image**2)


def worker_bytes(config: Config) -> int:
    """Bytes of shared memory that a decoding worker fills: batches that are ready, in work, and handed over."""
    seen, f = sizes(config), config.fixmatch
    return 4 * 3 * max(f.batch_size * (1 + f.mu) * seen.square**2, config.proxy.batch_size * seen.image**2)
