"""Pools lie in memory if they fit, and are streamed otherwise; and each stage sees the right parts of images."""

import jax
import numpy as np
import pytest

from semiprune_jax.augment import views
from semiprune_jax.data.cache import Cache
from semiprune_jax.data.memory import MemoryPool
from semiprune_jax.data.samplers import EpochSampler
from semiprune_jax.data.sizes import Sizes
from semiprune_jax.data.stream import StreamPool
from semiprune_jax.distributed.layout import Layout
from semiprune_jax.stages.context import train_context
from semiprune_jax.workdir.metrics import Metrics
from tests import small

SQUARES = Sizes(8, 8, resized=False, exact=True)
CROPS = Sizes(8, 10, resized=True, exact=True)


def pools(monkeypatch=None, memory=10**9, **options):
    if monkeypatch:
        monkeypatch.setattr(Layout, "memory", memory)
    return small.pools(Layout.of("jit", 1), small.pool(64, size=12), small.pool(24, size=12, seed=1), **options)


@pytest.mark.parametrize(
    ("placement", "share", "train", "test"),
    [
        ("auto", 1.0, MemoryPool, MemoryPool),
        ("auto", 0.5, StreamPool, MemoryPool),  # 64 and 24 squares of 192 bytes; devices have 15,000
        ("auto", 0.1, StreamPool, StreamPool),
        ("stream", 1.0, StreamPool, StreamPool),
        ("memory", 0.1, MemoryPool, MemoryPool),
    ],
)
def test_pools_that_fit_lie_in_memory(monkeypatch, placement, share, train, test):
    made = pools(monkeypatch, 15_000, placement=placement, memory_share=share)
    assert type(made.squares) is train
    assert type(made.test) is test
    assert made.eval_pool is made.squares is made.supervised(0, "proxy/crops")


def test_crops_come_from_the_original_or_from_the_square():
    exact, cached = pools(sizes=CROPS), pools(sizes=CROPS._replace(exact=False))
    assert type(exact.squares) is MemoryPool
    assert type(exact.supervised(0, "proxy/crops")) is StreamPool
    assert cached.supervised(0, "proxy/crops") is cached.squares
    assert type(exact.eval_pool) is StreamPool
    assert exact.squares.arrays(np.zeros(64)).image.shape == (64, 10, 10, 3)
    assert exact.test is not None
    assert exact.test.arrays(np.zeros(24)).image.shape == (24, 8, 8, 3)


def test_streams_that_are_read_more_than_once_are_cached(tmp_path):
    made = pools(sizes=CROPS, placement="stream", cache=tmp_path)
    assert type(made.squares._images) is Cache
    assert type(made.test._images) is Cache
    assert type(made.eval_pool._images) is not Cache
    assert type(made.supervised(0, "s")._images) is not Cache
    assert sorted(path.name.split("-")[0] for path in tmp_path.glob("*.u8")) == ["central8", "square10"]


def test_digests_are_of_pixels():
    one, again = pools().digests(), pools().digests()
    assert one == again
    assert set(one) == {"all"}
    streamed = pools(placement="stream").digests()
    assert set(streamed) == {"sample"}
    images, labels = small.pool(64, size=12)
    images[5] += 1
    for placement, before in (("memory", one), ("stream", streamed)):
        other = small.pools(Layout.of("jit", 1), (images, labels), small.pool(24, size=12, seed=1), placement=placement)
        assert other.digests() != before


def test_each_process_feeds_its_own_rows_of_a_memory_pool(monkeypatch):
    made = pools().squares
    order = EpochSampler(0, "s", np.arange(64), batch_size=12, rows=12, pad_id=64)
    parts = []
    for process in range(3):
        monkeypatch.setattr(Layout, "part", (process, 3))
        with made.feed(order, 6) as feed:
            parts.append(feed(2, 2))
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), order(2, 2))


@pytest.mark.parametrize(("cores", "count"), [(7, 7), (224, 64), (None, 1)])
def test_minus_one_worker_is_one_per_core(monkeypatch, cores, count):
    monkeypatch.setattr("os.cpu_count", lambda: cores)
    assert pools(placement="stream", workers=-1).squares._workers == count


def test_supervised_views_of_cached_squares_are_crops(tmp_path, tiny_config):
    """The device draws crops of cached squares; it only flips crops that the host has cut."""
    tiny_config.data.flip = False
    keys, images = jax.random.split(jax.random.key(0), 2), small.pool(2, size=10)[0]
    for sizes, side in ((CROPS._replace(exact=False), 10), (CROPS, 8)):
        made = pools(sizes=sizes)
        trainer = train_context(tiny_config, made, Metrics(tmp_path), tmp_path)
        given = images[:, :side, :side]
        view = jax.jit(trainer.supervised_view)(keys, given)
        assert view.shape == (2, 8, 8, 3)
        as_it_is = views.normalise(given[:, :8, :8], tiny_config.data.mean, tiny_config.data.std)
        assert np.allclose(view, as_it_is) == (side == 8)
