"""Every stage in a few seconds, for trials of what may strike a run."""

from tests import small


def get_config(placement="memory"):
    """``placement`` is data.pool: "memory", or "stream" with a worker process."""
    c = small.config()
    c.data.source = "folder"
    c.data.pool = placement
    c.runtime.workers = 1
    c.runtime.checkpoint_every_steps = 2
    c.runtime.log_every_steps = 1
    c.runtime.peer_timeout_seconds = 10
    # Slow enough that rounding, which differs between numbers of devices, does not grow beyond what it should.
    c.fixmatch.learning_rate = c.proxy.learning_rate = c.retrain.learning_rate = 0.001
    c.fixmatch.steps = 20
    c.fixmatch.threshold = 0.3
    c.select.names = ("random", "semi_aum", "semi_dual")
    c.select.keep = (0.5,)
    return c
