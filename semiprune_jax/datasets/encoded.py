"""Splits whose images are encoded files, wherever their bytes come from: decoded in threads, broken ones together."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from PIL import UnidentifiedImageError
from tqdm import tqdm

from semiprune_jax.datasets.decode import decode
from semiprune_jax.datasets.split import Split
from semiprune_jax.errors import ConfigError, DataError

_CHUNK = 1024  # images decoded between two progress reports


def encoded_split(
    keys: Sequence[str],
    labels: np.ndarray,
    content: str,
    fetch: Callable[[int], bytes],
    *,
    where: str,
    image_size: int,
    decoder: str,
) -> Split:
    """A split that decodes what ``fetch`` gives for an id.

    Args:
      keys, labels, content: see ``Split``.
      where: the source, as a message should name it.
      image_size, decoder: see ``decode``.
    """

    def visit(ids: np.ndarray, keep: Callable[[int, np.ndarray], None], progress) -> dict[int, str]:
        """Decodes images in threads and hands each to ``keep``; id -> why not, of those that cannot be."""
        broken: dict[int, str] = {}

        def one(row: int) -> None:
            try:
                keep(row, decode(fetch(int(ids[row])), image_size, decoder))
            except ImportError as error:
                raise ConfigError(f"data.decoder='fast' needs the extra fast-decode ({error}); install it") from None
            except Exception as error:  # a decoder may raise anything on a broken file
                # Pillow shows the buffer it was given, which differs from run to run.
                text = "not an image" if isinstance(error, UnidentifiedImageError) else " ".join(str(error).split())
                broken[int(ids[row])] = text or type(error).__name__

        with ThreadPoolExecutor(os.cpu_count()) as threads:
            for first in range(0, len(ids), _CHUNK):
                list(threads.map(one, range(first, min(first + _CHUNK, len(ids)))))
                if progress:
                    progress(min(first + _CHUNK, len(ids)))
        return dict(sorted(broken.items()))

    def read(ids: np.ndarray, progress: Callable[[int], None] | None = None) -> np.ndarray:
        images = np.empty((len(ids), image_size, image_size, 3), np.uint8)
        if broken := visit(ids, images.__setitem__, progress):
            some = "; ".join(f"{keys[i]} ({why})" for i, why in list(broken.items())[:10])
            raise DataError(
                f"{len(broken)} of {len(ids)} images in {where} cannot be decoded: {some}"
                f"{'; ...' if len(broken) > 10 else ''}; repair or remove them, or leave them out: "
                "--config.data.skip_bad=True, with --overwrite"
            )
        return images

    def find_broken() -> dict[int, str]:
        with tqdm(total=len(keys), desc="checking", unit="img", leave=False, disable=None) as bar:
            return visit(np.arange(len(keys)), lambda row, image: None, lambda count: bar.update(count - bar.n))

    return Split(keys, labels, content, read, find_broken)
