"""The context that the stages of one run share: the config, the work directory, the images and the devices."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import cached_property
from pathlib import Path

from semiprune_jax.augment.views import Recipe
from semiprune_jax.config.schema import Config
from semiprune_jax.data.pools import Pools
from semiprune_jax.data.split import Dataset
from semiprune_jax.distributed.compilation_cache import enable_compilation_cache
from semiprune_jax.distributed.layout import Layout
from semiprune_jax.errors import DataError
from semiprune_jax.features import blocks
from semiprune_jax.stages import images, settings
from semiprune_jax.train.context import TrainContext
from semiprune_jax.workdir.metrics import Metrics
from semiprune_jax.workdir.tasks import Runner


class Context:
    """One run of the stages.

    Args:
      log: receives each line, on process 0 only.
    """

    def __init__(self, config: Config, workdir: Path, log: Callable[[str], None] = print):
        self.config, self.workdir = config, workdir
        self.runner = Runner(workdir, log)
        self.store = self.runner.store
        self.metrics = Metrics(workdir, config.report.wandb_project)

    def close(self) -> None:
        """Closes the metrics' files."""
        self.metrics.close()

    # Made on first use, so that a run whose stages are done starts no device and decodes only its report's images.

    @cached_property
    def dataset(self) -> Dataset:
        """The pool and its test set; nothing is decoded yet."""
        skipped = None
        if self.config.data.skip_bad and self.store.exists(images.SKIPPED):
            skipped = images.skipped(self.store.load(images.SKIPPED), self.store.path(images.SKIPPED))
        return images.load(self.config, skipped=skipped, notes=self.workdir / "label")

    @cached_property
    def layout(self) -> Layout:
        """The devices that the config asks for."""
        enable_compilation_cache(self.config.runtime.compilation_cache)
        return Layout.of(self.config.runtime.parallel, self.config.runtime.devices)

    def feature_devices(self) -> AbstractContextManager[None]:
        """A context in which work on embeddings uses the devices that the config asks for."""
        return blocks.devices(self.layout.own_devices)

    @cached_property
    def trainer(self) -> TrainContext:
        """The context that the trainings of this run share."""
        pools = images.pools(self.config, self.dataset, self.layout)
        self._check_pixels(pools)
        return train_context(self.config, pools, self.metrics, self.workdir)

    def _check_pixels(self, pools: Pools) -> None:
        """Raises DataError if earlier stages saw other images; a folder's digest covers the sizes of files only."""
        digests = pools.digests()
        before = self.store.load_if_made(images.PIXELS) or {}
        if any(before.get(name, digest) != digest for name, digest in digests.items()):
            raise DataError(
                f"the images in {self.dataset.train.where} are not those that {self.workdir} "
                "was begun with; put them back, use another --workdir, or start afresh with --overwrite"
            )
        if before.keys() != digests.keys():
            self.store.save(images.PIXELS, before | digests)


def train_context(config: Config, pools: Pools, metrics: Metrics, workdir: Path) -> TrainContext:
    """The context of the trainings that a config describes, on these pools."""
    data, sizes = config.data, pools.sizes
    recipe = Recipe(
        mean=tuple(data.mean),
        std=tuple(data.std),
        padding=0.0 if sizes.resized else data.padding,  # windows of larger squares need no border
        flip=data.flip,
        operations=config.ssl.operations,
        size=sizes.image,
        resized=sizes.resized,
    )
    return TrainContext(
        classes=pools.dataset.classes,
        pools=pools,
        layout=pools.layout,
        recipe=recipe,
        supervised_recipe=recipe._replace(mean=settings.supervised_mean(config), std=settings.supervised_std(config)),
        runtime=config.runtime,
        wide_resnet=config.model.wide_resnet,
        metrics=metrics,
        workdir=workdir,
    )
