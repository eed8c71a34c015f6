"""Where images and their labels come from: the sources by name, and how a config section becomes a dataset.

A new source is a file of its own with a ``load`` and a ``check``, and one line in ``SOURCES``. Importing this module
does not import JAX: the validation of a config reads the registry.
"""

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from semiprune_jax.data import arrays, folder, subsets, tfds, variants
from semiprune_jax.data.decode import check_decoder
from semiprune_jax.data.sizes import Sizes
from semiprune_jax.data.split import Dataset, Skipped, Split
from semiprune_jax.data.variants import KINDS
from semiprune_jax.errors import DataError

__all__ = ["KINDS", "SOURCES", "Dataset", "Skipped", "Source", "Split", "load"]


class Source(NamedTuple):
    """A kind of place that images come from."""

    load: Callable[[Any, Path | None], Dataset]  # (section, directory for notes) -> the dataset; decodes no images
    check: Callable[[Any], Iterator[tuple[str, str]]]  # section -> each wrong field, and the value expected of it
    names_classes: bool = False  # whether the section's ``classes`` say which classes there are

    def problems(self, options: Any) -> Iterator[tuple[str, str]]:
        """The fields of a config's ``data`` section that do not fit this source, each with the value expected of it."""
        yield from self.check(options)
        if options.classes and not self.names_classes:
            takers = " | ".join(repr(name) for name, source in SOURCES.items() if source.names_classes)
            yield "classes", f"none, but for data.source = {takers}"


SOURCES: dict[str, Source] = {
    "digits": Source(arrays.load_digits, arrays.check_digits),
    "arrays": Source(arrays.load_npz, arrays.check_npz),
    "folder": Source(folder.load, folder.check, names_classes=True),
    "tfds": Source(tfds.load, tfds.check),
}


def load(options: Any, *, seed: int, skipped: Iterable[Skipped] | None = None, notes: Path | None = None) -> Dataset:
    """Lists the pool and the test set that a config's ``data`` section asks for; decodes no images yet.

    Args:
      options: the section, or any object with its attributes; see ``config.schema`` for their meaning.
      seed: of the draws: long tail, test set, limit and corruptions.
      skipped: images that an earlier call left out under ``skip_bad``, to be left out again. None: every image is
        decoded once to find them.
      notes: a directory for findings that are costly to repeat, where the section names no ``cache``.

    Raises:
      ConfigError: the decoder is not installed.
      DataError: the data is missing, broken, or does not fit together.
    """
    check_decoder(options.decoder)
    dataset = SOURCES[options.source].load(options, Path(options.cache) if options.cache else notes)
    if options.skip_bad:
        dataset = subsets.leave_out(dataset, subsets.find_broken(dataset) if skipped is None else tuple(skipped))
    if len(dataset.train.keys) == 0:
        raise DataError(f"no images in {options.path}; name a folder or file that holds some")
    if options.imbalance < 1:
        dataset = subsets.cut_tail(dataset, options.imbalance, seed)
    if dataset.test is None and options.test_fraction > 0:
        dataset = subsets.hold_out_test(dataset, options.test_fraction, seed)
    if options.expected:
        _check_counts(dataset, tuple(options.expected))
    if options.limit_per_class:
        dataset = subsets.limit_classes(dataset, options.limit_per_class, seed)
    if options.corruption > 0:
        kinds = variants.corruptions(dataset.train.keys, options.corruption, seed)
        side, faithful = Sizes.of(options).square, options.corruption_faithful
        train = variants.corrupted(dataset.train, kinds, side, faithful=faithful)
        dataset = dataclasses.replace(dataset, train=train, corruption=kinds)
    return dataset


def _check_counts(dataset: Dataset, expected: tuple[int, ...]) -> None:
    found = len(dataset.train.keys), len(dataset.test.keys) if dataset.test else 0, len(dataset.classes)
    if found != expected:
        counts = ["{:,} images, {:,} to test, {:,} classes".format(*values) for values in (found, expected)]
        raise DataError(
            f"{dataset.train.where} holds {counts[0]}; data.expected says {counts[1]}; "
            "complete the data, or take what there is: --config.data.expected=()"
        )
