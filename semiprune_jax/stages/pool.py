"""The pool as selections read it: the artifacts that a selection needs, and the arrays in them."""

from collections.abc import Set

import numpy as np

from semiprune_jax.select.coreset import Pool
from semiprune_jax.stages.embed import EMBEDDINGS
from semiprune_jax.stages.label import CLASSES, EXAMPLES, HELD_OUT, bought
from semiprune_jax.stages.pseudolabel import PSEUDOLABELS, pseudo_labels
from semiprune_jax.stages.score import DYNAMICS
from semiprune_jax.workdir.artifacts import Artifact, Inputs

_BY_STAGE: dict[str, Artifact] = {"pseudolabel": PSEUDOLABELS, "score": DYNAMICS, "embed": EMBEDDINGS}


def sources(stages: Set[str]) -> tuple[Artifact, ...]:
    """The artifacts that a selection needs if it reads from these stages; see ``coreset.reads``."""
    return (EXAMPLES, HELD_OUT, CLASSES, *(_BY_STAGE[stage] for stage in sorted(stages & _BY_STAGE.keys())))


def read_pool(inputs: Inputs, rows: np.ndarray | None = None) -> Pool:
    """The pool, or its examples ``rows`` i64[n] alone, with those arrays that the inputs hold."""

    def part(array: np.ndarray) -> np.ndarray:
        return array if rows is None else array[rows]

    examples, guesses = inputs[EXAMPLES], inputs.get(PSEUDOLABELS)
    embeddings = inputs.get(EMBEDDINGS)
    return Pool(
        keys=list(part(examples["key"])),
        dynamics={name: part(array) for name, array in (inputs.get(DYNAMICS) or {}).items()},
        classes=part(pseudo_labels(guesses)) if guesses else None,
        embeddings=embeddings and {name: part(array) for name, array in embeddings.items()},
        known=part(examples["label"]) >= 0,
        bought=part(bought(examples, inputs[HELD_OUT])),
        clusters=len(inputs[CLASSES]),
    )
