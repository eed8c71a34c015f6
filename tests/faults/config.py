"""A config that runs every stage in a few seconds, for trials of faults."""

from tests import small


def get_config(placement="memory"):
    """``placement`` is data.pool: "memory", or "stream" with a worker process."""
    c = small.config()
    c.model.ssl, c.model.proxy, c.model.retrain = "wrn_10_1", "resnet8", "resnet8"  # their steps can be struck
    c.data.source = "folder"
    c.data.pool = placement
    c.runtime.workers = 1
    c.runtime.checkpoint_every_steps = 2
    c.runtime.log_every_steps = 1
    c.runtime.peer_timeout_seconds = 10
    # Low rates, so that differences of rounding between numbers of devices stay small.
    c.ssl.learning_rate = c.proxy.learning_rate = c.retrain.learning_rate = 0.001
    c.ssl.steps = 20
    c.ssl.threshold = 0.3
    c.select.names = ("random", "semi_aum", "semi_dual")
    c.select.keep = (0.5,)
    return c
