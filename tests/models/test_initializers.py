"""Initial weights against the distributions of USB, torchvision and PyTorch."""

import math

import jax
import numpy as np
import pytest
from scipy import stats as stats_of

from semiprune_jax import models


def expected_spread(name, path, params):
    """(distribution, scale) of a new tensor, after USB, torchvision and PyTorch's defaults."""
    module, leaf = path.split("/")
    kernel = params[module].get("kernel")
    fan_in, fan_out = (math.prod(kernel.shape[:-1]), math.prod((*kernel.shape[:-2], kernel.shape[-1])))
    if leaf == "bias":  # of the wide network's stem, or a ResNet's head
        return "uniform", 1 / math.sqrt(fan_in)
    if module == "head":
        return ("normal", math.sqrt(2 / (fan_in + fan_out))) if "wrn" in name else ("uniform", 1 / math.sqrt(fan_in))
    if name == "resnet8":
        return "uniform", 1 / math.sqrt(fan_in)
    return "normal", math.sqrt(2 / fan_out)


@pytest.mark.parametrize("name", ["wrn_10_2", "resnet8", "resnet18"])
def test_initial_weights(name):
    """A Kolmogorov-Smirnov test checks each tensor (the draw is fixed); norms start at 1 and 0."""
    network = models.create(name, num_classes=500, bn_momentum=0.9)
    params, stats = jax.jit(network.init, static_argnums=1)(jax.random.key(0), (32, 32, 3))
    for keys, leaf in jax.tree_util.tree_flatten_with_path(params)[0]:
        path, values = jax.tree_util.keystr(keys, simple=True, separator="/"), np.asarray(leaf).ravel()
        if "bn" in path.split("/", maxsplit=1)[0] or (path == "head/bias" and "wrn" in name):
            assert np.all(values == path.endswith("scale")), path
            continue
        kind, scale = expected_spread(name, path, params)
        if kind == "uniform":
            assert np.abs(values).max() <= scale, path
            found = stats_of.kstest(values[:20_000], stats_of.uniform(-scale, 2 * scale).cdf)
        else:
            found = stats_of.kstest(values[:20_000], stats_of.norm(0, scale).cdf)
        assert found.pvalue > 1e-4, (path, kind, scale)
    for keys, leaf in jax.tree_util.tree_flatten_with_path(stats)[0]:
        assert np.all(np.asarray(leaf) == (keys[-1].key == "var"))
