"""The devices that work on features uses."""

import jax
import numpy as np
import pytest

from semiprune_jax.features import blocks, centres, extrapolation, kmeans, neighbours, zcore


@pytest.fixture
def features(rng):
    return rng.normal(size=(60, 3)).astype(np.float32)


@pytest.fixture
def seen(monkeypatch):
    """The devices of all arrays that these modules fetch to the host or get from compiled functions."""
    found = set()

    def note(tree):
        found.update(*(leaf.devices() for leaf in jax.tree.leaves(tree) if isinstance(leaf, jax.Array)))
        return tree

    fetch = jax.device_get
    monkeypatch.setattr(jax, "device_get", lambda tree: fetch(note(tree)))
    compiled = {centres: ("_farthest", "_plus_plus"), zcore: ("_cover",), kmeans: ("_draw", "_potential")}
    for module, names in (compiled | {extrapolation: ("_train", "_predict")}).items():
        for name in names:
            real = getattr(module, name)
            monkeypatch.setattr(module, name, lambda *a, real=real, **k: note(real(*a, **k)))
    return found


def by_graph(features):
    known = np.arange(60) < 30
    return extrapolation.by_graph(features, known, features[:, 0], 5)


WORK = {
    "neighbours": lambda features: neighbours.nearest(features, 4)[0],
    "kmeans": lambda features: kmeans.fit(features, 3).cluster,
    "farthest_first": lambda features: centres.farthest_first(features, 10, 0),
    "badge": lambda features: centres.badge(np.abs(features), features, 10),
    "zcore": lambda features: zcore.zcore(features, samples=50),
    "graph": by_graph,
}


@pytest.mark.parametrize("work", WORK)
def test_only_the_named_devices_are_used(features, seen, work, monkeypatch):
    """Devices change between calls, which would reveal a program compiled for earlier devices."""
    monkeypatch.setattr(extrapolation, "HIDDEN", (6, 4))
    monkeypatch.setattr(extrapolation, "STEPS", 2)
    everywhere = WORK[work](features)
    for numbers in ([2], [3, 1]):
        named = [jax.local_devices()[number] for number in numbers]
        seen.clear()
        with blocks.devices(named):
            here = WORK[work](features)
        assert seen
        assert seen <= set(named)
        assert named[0] in seen
        np.testing.assert_allclose(here, everywhere, rtol=1e-4, atol=1e-5)


def test_blocks_lie_on_all_devices_but_for_named_ones(features):
    def devices():
        return {device for _, block, _ in blocks.placed(features, 3) for device in block.devices()}

    first, second = jax.local_devices()[:2]
    with blocks.devices([first, second]):
        with blocks.devices([second]):
            assert devices() == {second}
        assert devices() == {first, second}
    assert devices() == set(jax.local_devices())
    assert len(devices()) == 4
