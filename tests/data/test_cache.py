"""The cache of fitted images: it decodes each image once, and again if its row is damaged."""

import dataclasses
import os
import shutil

import cloudpickle
import numpy as np
import pytest

from semiprune_jax.data.cache import Cache
from semiprune_jax.data.resize import CenterCrop, Resize
from semiprune_jax.errors import DeviceError
from tests import small


def make(tmp_path, pool, size=8):
    return Cache(tmp_path / "cache", pool, Resize(size), "pillow")


def test_names_of_files_do_not_drift(tmp_path):
    """Golden: under another name the images of a whole pool would be decoded again."""
    for fit in (Resize(8), CenterCrop(10, 8)):
        Cache(tmp_path, small.split(20), fit, "pillow")
    names = sorted(path.name for path in tmp_path.glob("*.u8"))
    assert names == ["central8-b89b0a8b9a81ff23.u8", "square8-fe94193b4645ef99.u8"]


def test_an_image_is_decoded_once(tmp_path):
    decoded = []

    def image(row):
        decoded.append(row)
        return images[row]

    images = small.split(20).image.__self__
    pool = small.split(20, image=image)
    cache = make(tmp_path, pool)
    for row in (3, 19, 3, 0, 19):
        np.testing.assert_array_equal(cache.one(row), images[row])
    assert decoded == [3, 19, 0]
    assert cache.count() == 3
    again = make(tmp_path, pool)  # as in another run or process
    np.testing.assert_array_equal(again.one(19), images[19])
    # A worker receives the names of the files, not their contents.
    assert cloudpickle.loads(cloudpickle.dumps(again))._files is None
    assert cloudpickle.loads(cloudpickle.dumps(again)).one(0).tolist() == images[0].tolist()
    assert decoded == [3, 19, 0]


def test_another_pool_size_or_decoder_has_files_of_its_own(tmp_path):
    pool = small.split(20)
    make(tmp_path, pool).one(3)
    other = dataclasses.replace(pool, content="another", image=lambda row: np.full((8, 8, 3), row, np.uint8))
    assert make(tmp_path, other).one(3).tolist() == np.full((8, 8, 3), 3).tolist()
    assert make(tmp_path, pool, 16).one(3).shape == (16, 16, 3)
    assert Cache(tmp_path / "cache", pool, Resize(8), "fast").count() == 0
    assert make(tmp_path, pool).count() == 1


@pytest.mark.parametrize("damage", ["images", "checksums", "shorter"])
def test_a_damaged_cache_heals(tmp_path, damage):
    pool = small.split(20)
    cache = make(tmp_path, pool)
    for row in range(20):
        cache.one(row)
    [images], [sums] = (list((tmp_path / "cache").glob(f"*.{kind}")) for kind in ("u8", "crc32"))
    if damage == "shorter":
        os.truncate(images, 1000)
    else:
        damaged = bytearray((images if damage == "images" else sums).read_bytes())
        damaged[5 * (192 if damage == "images" else 4) + 1] ^= 1
        (images if damage == "images" else sums).write_bytes(damaged)
    healed = make(tmp_path, pool)
    for row in range(20):
        np.testing.assert_array_equal(healed.one(row), pool.image(row))
    np.testing.assert_array_equal(
        np.fromfile(images, np.uint8).reshape(20, 8, 8, 3), [pool.image(i) for i in range(20)]
    )


def test_a_disk_that_is_too_small(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 9, 1000))
    with pytest.raises(DeviceError, match=r"data\.cache = .* needs 0\.0 GB more, but 0\.0 GB are free; name a larger"):
        make(tmp_path, small.split(20))


def test_a_disk_that_fills_up_is_an_error_and_not_a_signal(tmp_path, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    cache = make(tmp_path, small.split(20))
    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(OSError, match="No space left"):
        cache.one(0)
