"""Pools of images behind one interface: keys, labels where known, and pixels by id."""

import dataclasses
import hashlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from semiprune_jax.apportionment import first_of_each_class, largest_remainder
from semiprune_jax.data import arrays, folder, tfds, variants
from semiprune_jax.data.decode import check_decoder
from semiprune_jax.data.split import Dataset, Skipped, Split
from semiprune_jax.data.variants import KINDS
from semiprune_jax.errors import DataError
from semiprune_jax.randomness import hash_keys

__all__ = ["KINDS", "Dataset", "Skipped", "Split", "load"]


def load(
    source: str,
    *,
    path: str = "",
    labels: str = "",
    test_path: str = "",
    test_labels: str = "",
    name: str = "",
    split: str = "train",
    test_split: str = "",
    test_fraction: float = 0.0,
    decoder: str = "pillow",
    classes: tuple[str, ...] = (),
    follow_links: bool = False,
    skip_bad: bool = False,
    skipped: Iterable[Skipped] | None = None,
    imbalance: float = 1.0,
    corruption: float = 0.0,
    faithful: bool = False,
    corrupted_size: int = 32,
    limit_per_class: int = 0,
    expected: tuple[int, ...] = (),
    seed: int = 0,
    notes: Path | None = None,
) -> Dataset:
    """The named source: "digits", "arrays" (an .npz file), "folder" or "tfds". Decodes no images yet.

    Args:
      path, labels, test_path, test_labels, name, split, test_split: where the data lies, see ``config.data``.
      test_fraction: part of the labelled examples that becomes the test set where the source has none.
      decoder: "pillow" or "fast".
      classes: the names there may be, in order; folders only. Empty: those that occur.
      follow_links: whether images of a folder may be links that leave it.
      skip_bad: leave out images that cannot be decoded; to find them, every image is decoded once.
      skipped: what an earlier call left out, to be left out again; None: to be found.
      imbalance: the last class keeps this share of the first one's examples, see ``variants.long_tail_sizes``; 1: all.
      corruption: share of the pool whose images are corrupted; the test set stays clean.
      faithful: with the mistakes of the released script, see ``variants.corrupt``.
      corrupted_size: pixels of a side, of the squares that corrupted images become.
      limit_per_class: at most so many examples of each class, of the pool and of the test set; 0: all.
      expected: how many images pool and test set should have, before they are limited, and how many classes.
      seed: of the draws.
      notes: a directory to note in what is costly to find again.

    Raises:
      DataError: the data is missing, broken, or does not fit together.
    """
    check_decoder(decoder)
    if source == "digits":
        dataset = arrays.digits()
    elif source == "arrays":
        dataset = arrays.npz(path)
    elif source == "tfds":
        dataset = tfds.tfds(name, path, split, test_split, decoder, notes)
    else:
        dataset = folder.scan(path, labels, test_path, test_labels, decoder, classes, follow_links)
    if skip_bad:
        dataset = _skip(dataset, _broken(dataset) if skipped is None else tuple(skipped))
    if len(dataset.train.keys) == 0:
        raise DataError(f"no images in {path}; name a folder or file that holds some")
    if imbalance < 1:
        rows = variants.long_tailed(dataset.train.labels, dataset.train.keys, imbalance, seed)
        dataset = dataclasses.replace(dataset, train=_subset(dataset.train, rows))
    if dataset.test is None and test_fraction > 0:
        dataset = _set_apart(dataset, test_fraction, seed)
    found = len(dataset.train.keys), len(dataset.test.keys) if dataset.test else 0, len(dataset.classes)
    if expected and found != expected:
        counts = ["{:,} images, {:,} to test, {:,} classes".format(*values) for values in (found, expected)]
        raise DataError(
            f"{dataset.train.where} holds {counts[0]}; data.expected says {counts[1]}; "
            "complete the data, or take what there is: --config.data.expected=()"
        )
    if limit_per_class:
        dataset = _limit(dataset, limit_per_class, seed)
    if corruption > 0:
        kinds = variants.corruptions(dataset.train.keys, corruption, seed)
        train = variants.corrupted(dataset.train, kinds, corrupted_size, faithful=faithful)
        dataset = dataclasses.replace(dataset, train=train, corruption=kinds)
    return dataset


def _set_apart(dataset: Dataset, fraction: float, seed: int) -> Dataset:
    """Moves a stratified, hash-drawn part of the labelled examples into a test set."""
    pool = dataset.train
    labelled = np.flatnonzero(pool.labels >= 0)
    total = int(np.floor(fraction * len(labelled) + 1e-9))
    if total < 1:
        raise DataError(
            f"data.test_fraction = {fraction:g} of {len(labelled)} labelled examples is none; "
            "label more, raise it, or set it to 0 for no test set"
        )
    rank = labelled[np.argsort(hash_keys(seed, "test", [pool.keys[int(i)] for i in labelled]), kind="stable")]
    counts = np.bincount(pool.labels[labelled])
    sizes = np.minimum(
        largest_remainder(counts, total, minimum=1), np.maximum(counts - 1, 0)
    )  # never a class's only label
    test = first_of_each_class(rank, pool.labels, sizes)
    train = np.setdiff1d(np.arange(len(pool.keys)), test)
    return dataclasses.replace(dataset, train=_subset(pool, train), test=_subset(pool, test))


def _limit(dataset: Dataset, most: int, seed: int) -> Dataset:
    """The lowest hashes of each class; those of no known class count as one."""

    def limited(split: Split | None) -> Split | None:
        if split is None:
            return None
        rank = np.argsort(hash_keys(seed, "limit", split.keys), kind="stable")
        counts = np.bincount(split.labels + 1)
        return _subset(split, first_of_each_class(rank, split.labels + 1, np.minimum(counts, most)))

    train = limited(dataset.train)
    assert train is not None
    return dataclasses.replace(dataset, train=train, test=limited(dataset.test))


def _broken(dataset: Dataset) -> tuple[Skipped, ...]:
    parts = {"train": dataset.train, "test": dataset.test}
    return tuple(
        Skipped(part, split.keys[row], reason)
        for part, split in parts.items()
        if split
        for row, reason in split.find_broken().items()
    )


def _skip(dataset: Dataset, skipped: tuple[Skipped, ...]) -> Dataset:
    def rest(split: Split | None, part: str) -> Split | None:
        names = {entry.key for entry in skipped if entry.part == part}
        if split is None or not names:
            return split
        rows = np.flatnonzero([key not in names for key in split.keys])
        # The digest stays that of all files: which of them are broken, only their contents say.
        return dataclasses.replace(_subset(split, rows), content=split.content)

    train = rest(dataset.train, "train")
    assert train is not None
    return dataclasses.replace(dataset, train=train, test=rest(dataset.test, "test"), skipped=skipped)


def _subset(split: Split, rows: np.ndarray) -> Split:
    keys = [split.keys[int(i)] for i in rows]
    content = hashlib.sha256(split.content.encode() + rows.tobytes()).hexdigest()
    return Split(keys, split.labels[rows], content, split.where, lambda row: split.image(int(rows[row])))
