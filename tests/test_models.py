import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats as stats_of

from semiprune_jax import models
from semiprune_jax.config import validation
from semiprune_jax.models.batch_norm import BatchNorm
from tests.oracles import pytorch


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
    assert 0 < difference < 0.1 * np.abs(outputs[jnp.float32]).max()  # it does compute in bfloat16, and nearly alike


def test_names_are_those_of_the_config():
    for name in ("wrn_10_1", "wrn_28_2", "wrn_40_12", *models.RESNETS):
        assert validation._NETWORK.fullmatch(name)
        models.create(name, num_classes=2, bn_momentum=0.9)
    for name in ("wrn_27_2", "wrn_28", "wrn_4_1", "wrn_28_0", "resnet34_cifar", "resnet", ""):
        assert not validation._NETWORK.fullmatch(name)
        with pytest.raises(KeyError):
            models.create(name, num_classes=2, bn_momentum=0.9)


def test_usb_variant_ignores_the_first_norm_of_stages_two_and_three():
    x = jax.random.normal(jax.random.key(1), (4, 8, 8, 3))
    networks = {v: models.create("wrn_10_1", num_classes=3, bn_momentum=0.9, variant=v) for v in ("usb", "tf")}
    params, stats = jax.jit(networks["usb"].init, static_argnums=1)(jax.random.key(0), (8, 8, 3))  # of both
    grads = {}
    for variant, network in networks.items():

        def loss(params, network=network):
            return jnp.sum(network.apply(params, stats, x, train=True)[0] ** 2)

        grads[variant] = jax.jit(jax.grad(loss))(params)
    for stage in ("stage1", "stage2"):
        assert not np.any(grads["usb"][f"{stage}_block0_bn1"]["scale"])
        assert np.any(grads["tf"][f"{stage}_block0_bn1"]["scale"])
    assert np.any(grads["usb"]["stage0_block0_bn1"]["scale"])


def expected_spread(name, path, params):
    """(distribution, scale) of a freshly drawn tensor, by methods of USB, torchvision and PyTorch's defaults."""
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
    """Each tensor's distribution, by a Kolmogorov-Smirnov test (the draw is fixed); norms start at 1 and 0."""
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


def norm(x, mask=None, train=True, momentum=0.9, variables=None):
    module = BatchNorm(momentum, 1e-5)
    variables = variables or {
        "params": {"scale": jnp.array([1.5, 0.5]), "bias": jnp.array([0.1, -0.2])},
        "batch_stats": {"mean": jnp.array([0.3, 0.4]), "var": jnp.array([2.0, 3.0])},
    }
    return module.apply(variables, x, train=train, mask=mask, axis_name=None, mutable=["batch_stats"]), variables


def test_batch_norm_is_pytorchs(rng):
    x = rng.normal(1, 2, (5, 3, 3, 2)).astype(np.float32)
    (y, new), variables = norm(jnp.array(x))
    p, s = variables["params"], variables["batch_stats"]
    expected = pytorch.batch_norm(
        x, *(np.array(v) for v in (p["scale"], p["bias"], s["mean"], s["var"])), momentum=0.1, eps=1e-5
    )
    np.testing.assert_allclose(y, expected[0], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(new["batch_stats"]["mean"], expected[1], rtol=1e-5)
    np.testing.assert_allclose(new["batch_stats"]["var"], expected[2], rtol=1e-5)


def test_gradients_of_batch_norm_in_bfloat16_are_summed_in_float32(rng):
    x, slope = (jnp.array(rng.normal(1, 2, (64, 16, 16, 2)), jnp.bfloat16) for _ in range(2))
    _, variables = norm(x)

    def gradients(dtype):
        def loss(params):
            (y, _), _ = norm(x.astype(dtype), variables=variables | {"params": params})
            return jnp.sum((y * slope.astype(dtype)).astype(jnp.float32))

        return jax.grad(loss)(variables["params"])

    half, exact = gradients(jnp.bfloat16), gradients(jnp.float32)
    for name in ("scale", "bias"):
        np.testing.assert_allclose(half[name], exact[name], rtol=0.005)


def test_batch_norm_leaves_padding_out(rng):
    x = rng.normal(1, 2, (6, 3, 3, 2)).astype(np.float32)
    mask = jnp.array([True, True, False, True, False, False])
    junk = np.where(np.asarray(mask)[:, None, None, None], x, 1e6).astype(np.float32)
    (y, new), _ = norm(jnp.array(junk), mask)
    (y_alone, new_alone), _ = norm(jnp.array(x[np.asarray(mask)]))
    np.testing.assert_allclose(np.asarray(y)[np.asarray(mask)], y_alone, rtol=1e-4, atol=1e-5)
    for key in ("mean", "var"):
        np.testing.assert_allclose(new["batch_stats"][key], new_alone["batch_stats"][key], rtol=1e-5)


def test_batch_norm_evaluates_with_running_statistics(rng):
    x = rng.normal(size=(2, 3, 3, 2)).astype(np.float32)
    (y, new), variables = norm(jnp.array(x), train=False)
    expected = (x - [0.3, 0.4]) / np.sqrt(np.array([2.0, 3.0]) + 1e-5) * [1.5, 0.5] + [0.1, -0.2]
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)
    assert not new or jax.tree.all(jax.tree.map(jnp.array_equal, new["batch_stats"], variables["batch_stats"]))


def test_an_empty_batch_gives_no_nan():
    (y, new), _ = norm(jnp.ones((2, 3, 3, 2)), jnp.zeros(2, bool))
    assert np.all(np.isfinite(y))
    assert np.all(np.isfinite(new["batch_stats"]["var"]))
