"""The parameters, outputs and types of each network, and the names of networks that a config may use."""

import subprocess
import sys
from functools import partial
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from semiprune_jax import models
from semiprune_jax.config.embeddings import SWAV
from semiprune_jax.config.trainings import NETWORK
from semiprune_jax.errors import ConfigError
from semiprune_jax.models import networks, pretrained
from semiprune_jax.models.batch_norm import BatchNorm


@pytest.mark.parametrize(
    ("name", "classes", "count"),
    [
        ("wrn_28_2", 10, 1_467_626),
        ("wrn_28_8", 100, 23_401_028),
        ("resnet18_cifar", 10, 11_173_962),
        ("resnet18_cifar", 100, 11_220_132),
        # torchvision's own counts for ImageNet.
        ("resnet18", 1000, 11_689_512),
        ("resnet34", 1000, 21_797_672),
        ("resnet50", 1000, 25_557_032),
    ],
)
def test_parameter_counts(name, classes, count):
    network = models.create(name, num_classes=classes, bn_momentum=0.9)
    params, _ = jax.eval_shape(lambda key: network.init(key, (32, 32, 3)), jax.random.key(0))
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == count


@pytest.mark.parametrize("name", ["wrn_16_2", "resnet8"])
def test_shapes_and_modes(name):
    network = models.create(name, num_classes=7, bn_momentum=0.9)
    params, stats = jax.jit(network.init, static_argnums=1)(jax.random.key(0), (8, 8, 3))
    x = jax.random.normal(jax.random.key(1), (4, 8, 8, 3))
    logits, features, new_stats = jax.jit(partial(network.apply, train=True))(params, stats, x)
    assert logits.shape == (4, 7)
    assert features.shape[0] == 4
    assert logits.dtype == features.dtype == jnp.float32
    moved = jax.tree.map(lambda a, b: float(jnp.max(jnp.abs(a - b))), stats, new_stats)
    assert all(change > 0 for change in jax.tree.leaves(moved))
    _, _, same_stats = jax.jit(partial(network.apply, train=False))(params, stats, x)
    jax.tree.map(np.testing.assert_array_equal, same_stats, stats)


@pytest.mark.parametrize("name", ["wrn_10_1", "resnet8"])
def test_bfloat16_keeps_parameters_statistics_and_outputs_in_float32(name):
    x = jax.random.normal(jax.random.key(1), (16, 8, 8, 3))
    outputs = {}
    for dtype in (jnp.float32, jnp.bfloat16):
        network = models.create(name, num_classes=5, bn_momentum=0.9, dtype=dtype)
        params, stats = jax.jit(network.init, static_argnums=1)(jax.random.key(0), (8, 8, 3))
        logits, features, stats = jax.jit(partial(network.apply, train=True))(params, stats, x)
        assert {leaf.dtype for leaf in jax.tree.leaves((params, stats, logits, features))} == {jnp.dtype("float32")}
        outputs[dtype] = logits
    difference = np.abs(outputs[jnp.float32] - outputs[jnp.bfloat16]).max()
    assert (
        0 < difference < 0.1 * np.abs(outputs[jnp.float32]).max()
    )  # it does compute in bfloat16, with nearly the same result


def test_a_config_may_name_the_networks_that_can_be_made():
    for name in ("wrn_10_1", "wrn_28_2", "wrn_40_12", *networks.NETWORKS):
        assert NETWORK.holds(name)
        models.create(name, num_classes=2, bn_momentum=0.9)
    wrong = ("wrn_27_2", "wrn_28", "wrn_4_1", "wrn_28_0", "resnet34_cifar", "resnet", "")
    for name in (*wrong, "wrn_46_2", "wrn_028_2", "wrn_28_02", "wrn_28_2 "):
        assert not NETWORK.holds(name)
        with pytest.raises(
            ConfigError, match=r"expected wrn_<depth>_<width> of depth .* \| resnet8 \| .* \| resnet50$"
        ):
            models.create(name, num_classes=2, bn_momentum=0.9)
    for depth in range(1, 60):
        assert NETWORK.holds(f"wrn_{depth}_2") == (depth in (10, 16, 22, 28, 34, 40))


def test_a_config_may_name_the_encoders_and_the_weights_that_can_be_loaded():
    for name in SWAV.fields["network"].rule.expected.split(" | "):
        assert SWAV.fields["network"].rule.holds(name)
        assert NETWORK.holds(name)
        models.create_swav(name, prototypes=3)
    patches = {"vit_s16": 16, "vit_b16": 16, "vit_s14": 14, "vit_b14": 14, "resnet50": 32}
    assert patches == {name: record.multiple for name, record in networks.PRETRAINED.items()}
    for name, patch in patches.items():
        apply, variables = pretrained.shapes(name)
        side = 2 * patch
        features = jax.eval_shape(apply, variables, jax.ShapeDtypeStruct((3, side, side, 3), jnp.float32))
        assert features.shape[0] == 3


class Shallow(nn.Module):
    """One convolution."""

    num_classes: int
    channels: int
    bn_momentum: float
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x, *, train, mask=None, axis_name=None):
        x = nn.Conv(self.channels, (3, 3), dtype=self.dtype)(x)
        x = BatchNorm(self.bn_momentum)(x, train=train, mask=mask, axis_name=axis_name)
        features = jnp.mean(nn.relu(x), axis=(1, 2), dtype=jnp.float32)
        return nn.Dense(self.num_classes)(features), features


def test_a_new_network_is_one_record(monkeypatch):
    record = networks.Architecture(__name__, "Shallow", {"channels": 6})
    monkeypatch.setitem(networks.NETWORKS, "shallow", record)
    assert NETWORK.holds("shallow")
    network = models.create("shallow", num_classes=7, bn_momentum=0.9)
    params, stats = network.init(jax.random.key(0), (8, 8, 3))
    logits, features, _ = network.apply(params, stats, jnp.ones((4, 8, 8, 3)), train=False)
    assert logits.shape == (4, 7)
    assert features.shape == (4, 6)


def test_names_of_networks_load_no_jax():
    """Importing the functions that make networks loads none either."""
    code = "import sys; from semiprune_jax.models import networks, create; print({'jax', 'flax'} & set(sys.modules))"
    root = Path(networks.__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    assert done.stdout.strip() == "set()"
