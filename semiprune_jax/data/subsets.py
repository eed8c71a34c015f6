"""Parts of datasets: a test set held out, classes limited or cut to a long tail, broken images left out.

Draws go by hash(seed, key), so that images added later change nothing about those already drawn.
"""

import dataclasses
import hashlib

import numpy as np

from semiprune_jax.apportionment import first_of_each_class, largest_remainder
from semiprune_jax.data import variants
from semiprune_jax.data.split import Dataset, Skipped, Split
from semiprune_jax.errors import DataError
from semiprune_jax.randomness import hash_keys


def take(split: Split, rows: np.ndarray) -> Split:
    """The rows i64[n] of a split, in that order."""
    keys = [split.keys[int(i)] for i in rows]
    content = hashlib.sha256(split.content.encode() + rows.tobytes()).hexdigest()
    return Split(keys, split.labels[rows], content, split.where, lambda row: split.image(int(rows[row])))


def find_broken(dataset: Dataset) -> tuple[Skipped, ...]:
    """The images that cannot be decoded; reads all of them."""
    parts = {"train": dataset.train, "test": dataset.test}
    return tuple(
        Skipped(part, split.keys[row], reason)
        for part, split in parts.items()
        if split
        for row, reason in split.find_broken().items()
    )


def leave_out(dataset: Dataset, skipped: tuple[Skipped, ...]) -> Dataset:
    """The dataset without some images, which it lists as skipped."""

    def rest(split: Split | None, part: str) -> Split | None:
        names = {entry.key for entry in skipped if entry.part == part}
        if split is None or not names:
            return split
        rows = np.flatnonzero([key not in names for key in split.keys])
        # The digest stays that of all files: only their contents say which of them are broken.
        return dataclasses.replace(take(split, rows), content=split.content)

    train = rest(dataset.train, "train")
    assert train is not None
    return dataclasses.replace(dataset, train=train, test=rest(dataset.test, "test"), skipped=skipped)


def cut_tail(dataset: Dataset, factor: float, seed: int) -> Dataset:
    """A long-tailed pool, see ``variants.long_tailed``; the test set stays as it is."""
    rows = variants.long_tailed(dataset.train.labels, dataset.train.keys, factor, seed)
    return dataclasses.replace(dataset, train=take(dataset.train, rows))


def hold_out_test(dataset: Dataset, fraction: float, seed: int) -> Dataset:
    """Moves a stratified part of the pool's labelled examples into a test set; never the only label of a class.

    Raises:
      DataError: the fraction is less than one example.
    """
    pool = dataset.train
    labelled = np.flatnonzero(pool.labels >= 0)
    total = int(np.floor(fraction * len(labelled) + 1e-9))
    if total < 1:
        raise DataError(
            f"data.test_fraction = {fraction:g} of {len(labelled)} labelled examples is none; "
            "label more, raise it, or set it to 0 for no test set"
        )
    ranking = labelled[np.argsort(hash_keys(seed, "test", [pool.keys[int(i)] for i in labelled]), kind="stable")]
    counts = np.bincount(pool.labels[labelled])
    sizes = np.minimum(largest_remainder(counts, total, minimum=1), np.maximum(counts - 1, 0))
    test = first_of_each_class(ranking, pool.labels, sizes)
    train = np.setdiff1d(np.arange(len(pool.keys)), test)
    return dataclasses.replace(dataset, train=take(pool, train), test=take(pool, test))


def limit_classes(dataset: Dataset, most: int, seed: int) -> Dataset:
    """At most so many examples of each class, of the pool and of the test set; unlabelled ones count as one class."""

    def limited(split: Split | None) -> Split | None:
        if split is None:
            return None
        ranking = np.argsort(hash_keys(seed, "limit", split.keys), kind="stable")
        sizes = np.minimum(np.bincount(split.labels + 1), most)
        return take(split, first_of_each_class(ranking, split.labels + 1, sizes))

    train = limited(dataset.train)
    assert train is not None
    return dataclasses.replace(dataset, train=train, test=limited(dataset.test))
