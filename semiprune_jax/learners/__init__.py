"""Semi-supervised learners by name. They share one step (``steps.fixmatch_step``).

Another one is a module here with ``create(options)``, an entry in ``LEARNERS``, and a test against a loop.
"""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np

from semiprune_jax.learners import fixmatch, flexmatch, freematch, pseudo_label, softmatch
from semiprune_jax.learners.alignment import aligned
from semiprune_jax.learners.learner import Learner, Memory, Options, Seen, Targets

__all__ = ["LEARNERS", "Learner", "Memory", "Options", "Seen", "Targets", "create"]

LEARNERS: dict[str, Callable[[Options], Learner]] = {
    "fixmatch": fixmatch.create,
    "flexmatch": flexmatch.create,
    "freematch": freematch.create,
    "softmatch": softmatch.create,
    "pseudo_label": pseudo_label.create,
}


def create(name: str, options: Options, alignment: np.ndarray | None = None) -> Learner:
    """The named learner.

    Args:
      alignment: f32[C], shares of the classes that predictions are aligned with; None: they stay as they are.
    """
    learner = LEARNERS[name](options)
    return learner if alignment is None else aligned(learner, jnp.asarray(alignment, jnp.float32))
