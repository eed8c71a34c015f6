"""Views made in the reference's way: image by image in Pillow, by the worker processes of a DataLoader."""

import math
import random
from collections.abc import Iterator

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset, Sampler

from benchmarks.reference import augmentation

Statistics = tuple[tuple[float, ...], tuple[float, ...]]  # mean and standard deviation of the channels


class Views(Dataset):
    """Images u8[N, H, W, 3] as training views: (id, label, view, ...).

    Args:
      kinds: the kinds of each image's views: "weak", "strong", or "resized" (a random part, without operations).
      padding: the padding of the crop, see ``augmentation.crop_flip``.
      size: pixels of a view; if images are larger, weak views are windows and strong ones random parts.
    """

    def __init__(
        self,
        images: np.ndarray,
        labels: np.ndarray,
        kinds: tuple[str, ...],
        statistics: Statistics,
        *,
        padding: float,
        size: int,
    ):
        self.images, self.labels, self.kinds, self.statistics = images, labels, kinds, statistics
        self.padding, self.size = padding, size

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple:
        image = Image.fromarray(self.images[index])
        views = [
            torch.from_numpy(augmentation.normalise(self._view(image, kind), *self.statistics).astype(np.float32))
            for kind in self.kinds
        ]
        return index, int(self.labels[index]), *views

    def _view(self, image: Image.Image, kind: str) -> Image.Image:
        flip = random.random() < 0.5
        if kind == "resized" or (kind == "strong" and self.size < image.width):
            view = augmentation.resize_flip(image, draw_part(*image.size), flip, self.size)
        elif self.size < image.width:
            room = image.width - self.size
            left, top = random.randint(0, room), random.randint(0, room)
            view = image.crop((left, top, left + self.size, top + self.size))
            view = view.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if flip else view
        else:
            reach = int(image.width * self.padding)
            offset = (random.randint(-reach, reach), random.randint(-reach, reach))
            view = augmentation.crop_flip(image, offset, flip, self.padding)
        return augmentation.strong(view, *draw_strong(self.size)) if kind == "strong" else view


def draw_strong(size: int) -> tuple[list[tuple[str, float]], tuple[float, float, float]]:
    """Three operations with magnitudes in [0, 1), and a cutout."""
    names = list(augmentation.OPERATIONS)
    operations = [(random.choice(names), random.random()) for _ in range(3)]
    return operations, (random.random() / 2, random.random() * size, random.random() * size)


def draw_part(width: int, height: int) -> tuple[int, int, int, int]:
    """(top, left, height, width) as torchvision's RandomResizedCrop draws it."""
    for _ in range(10):
        area = width * height * random.uniform(0.08, 1.0)
        aspect = math.exp(random.uniform(math.log(3 / 4), math.log(4 / 3)))
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            return random.randint(0, height - h), random.randint(0, width - w), h, w
    return 0, 0, height, width


class Endless(Sampler[int]):
    """Whole permutations of the given ids, one after the other."""

    def __init__(self, ids: np.ndarray):
        self.ids = ids

    def __iter__(self) -> Iterator[int]:
        while True:
            yield from np.random.permutation(self.ids).tolist()


def endless(views: Views, ids: np.ndarray, batch_size: int, workers: int) -> Iterator[list[torch.Tensor]]:
    """Batches without end. Workers are spawned, since a fork beside JAX's threads can hang."""
    loader = DataLoader(
        views,
        batch_size,
        sampler=Endless(ids),
        num_workers=workers,
        drop_last=True,
        multiprocessing_context="spawn" if workers else None,
    )
    return iter(loader)
