"""Semi-supervised learners by name. They share one step, ``steps.fixmatch_step``.

A new learner is a file of its own with ``create(options) -> Learner``, and one line in ``LEARNERS``. Importing this
module does not import JAX: the validation of a config reads the registry.
"""

import importlib
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np

    from semiprune_jax.learners.learner import Learner, Options


class LearnerSpec(NamedTuple):
    """A learner that is not imported yet."""

    module: str  # has ``create(options) -> Learner``
    views: int = 2  # of each unlabelled image in a step: see ``Learner``


LEARNERS: dict[str, LearnerSpec] = {
    "fixmatch": LearnerSpec("semiprune_jax.learners.fixmatch"),
    "flexmatch": LearnerSpec("semiprune_jax.learners.flexmatch"),
    "freematch": LearnerSpec("semiprune_jax.learners.freematch"),
    "softmatch": LearnerSpec("semiprune_jax.learners.softmatch"),
    "pseudo_label": LearnerSpec("semiprune_jax.learners.pseudo_label", views=1),
}


def create(name: str, options: "Options", alignment: "np.ndarray | None" = None) -> "Learner":
    """The named learner; imports its module.

    Args:
      alignment: f32[C], the shares of the classes that predictions are aligned with; None leaves predictions as they
        are.
    """
    from semiprune_jax.learners.alignment import aligned

    spec = LEARNERS[name]
    learner = importlib.import_module(spec.module).create(options)._replace(views=spec.views)
    return learner if alignment is None else aligned(learner, alignment)
