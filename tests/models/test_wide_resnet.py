"""The two variants of wide ResNets."""

import jax
import jax.numpy as jnp
import numpy as np

from semiprune_jax import models


def test_usb_variant_ignores_the_first_norm_of_stages_two_and_three():
    x = jax.random.normal(jax.random.key(1), (4, 8, 8, 3))
    networks = {v: models.create("wrn_10_1", num_classes=3, bn_momentum=0.9, variant=v) for v in ("usb", "tf")}
    params, stats = jax.jit(networks["usb"].init, static_argnums=1)(jax.random.key(0), (8, 8, 3))  # for both
    grads = {}
    for variant, network in networks.items():

        def loss(params, network=network):
            return jnp.sum(network.apply(params, stats, x, train=True)[0] ** 2)

        grads[variant] = jax.jit(jax.grad(loss))(params)
    for stage in ("stage1", "stage2"):
        assert not np.any(grads["usb"][f"{stage}_block0_bn1"]["scale"])
        assert np.any(grads["tf"][f"{stage}_block0_bn1"]["scale"])
    assert np.any(grads["usb"]["stage0_block0_bn1"]["scale"])
