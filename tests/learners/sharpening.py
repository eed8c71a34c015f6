"""A learner from outside the package: it sharpens predictions into soft targets, as MixMatch does."""

from semiprune_jax.learners.learner import Learner, Memory, Options, Seen, Targets, normalised

TEMPERATURE = 0.5


def create(options: Options) -> Learner:
    """Weights every image by its largest probability."""
    del options

    def targets(memory: Memory, seen: Seen) -> tuple[Memory, Targets]:
        sharp = normalised(seen.probabilities ** (1 / TEMPERATURE))
        return memory, Targets(sharp, seen.probabilities.max(axis=-1))

    return Learner(targets)
