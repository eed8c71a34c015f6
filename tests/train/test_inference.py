"""Forward passes over the pool: how large their batches are."""

import jax
import jax.numpy as jnp
import pytest

from semiprune_jax.distributed.layout import Layout
from semiprune_jax.models import Network
from semiprune_jax.train.inference import Inference
from semiprune_jax.train.state import TrainState
from tests import small


@pytest.mark.parametrize(("side", "batches"), [(8, 1), (64, 1), (400, 3)])
def test_batches_fit_the_size_that_images_are_seen_at(side, batches):
    """90 images of 8 pixels are one batch; enlarged to 400 for weights of a file, they come 32 at a time."""
    layout = Layout.of("jit", 1)
    sizes = []

    def step(state, batch, *, model, view):
        sizes.append(len(batch["id"]))
        return {"found": batch["id"].astype(jnp.float32)}

    inference = Inference(layout, small.pools(layout, small.pool(90)), lambda keys, images: images, 8)
    network, trained = Network(None, None), TrainState(jnp.int32(0), {}, {}, None, None)
    view = (inference.view, side) if side != 8 else None
    parts = inference.forward(step, network, inference.pools.eval_pool, small.pool(90)[1], view=view)(trained)
    assert len(parts) == batches
    assert sizes == [90 if batches == 1 else 32]
    found = inference.over_pool(step, network, trained, view)["found"]
    assert jax.device_get(found).tolist() == list(range(90))
