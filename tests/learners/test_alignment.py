import jax.numpy as jnp
import numpy as np
import pytest

from semiprune_jax import learners
from tests.learners import BATCH, OPTIONS, C, assert_same, run, seen
from tests.oracles import learners as oracle


@pytest.mark.parametrize("shares", [(1 / 3, 1 / 3, 1 / 3), (0.6, 0.3, 0.1)])
def test_predictions_are_aligned_as_in_a_loop(rng, shares):
    expected, moved = oracle.Alignment(shares), 0
    for _, _, targets, (p, _, mask) in run("fixmatch", rng, np.array(shares)):
        rows = expected.step(p)
        assert_same(targets, mask, [oracle.argmax(row) for row in rows], [float(max(row) >= 0.7) for row in rows])
        moved += sum(oracle.argmax(a) != oracle.argmax(b) for a, b in zip(p, rows, strict=True))
    assert moved  # alignment does change predictions


def test_a_learner_keeps_its_memory_and_its_loss(rng):
    """Alignment changes neither FlexMatch's memory nor FreeMatch's loss."""
    *_, (_, memory, _, _) = run("flexmatch", rng, np.full(C, 1 / C))
    np.testing.assert_array_equal(memory.shared["learner"], np.bincount(memory.examples, minlength=C + 1))
    *_, (learner, memory, targets, (*_, mask)) = run("freematch", rng, np.full(C, 1 / C))
    plain = learners.create("freematch", OPTIONS)
    strong, given = jnp.asarray(rng.normal(size=(BATCH, C))), seen(np.ones((BATCH, C)), np.zeros(BATCH, int), mask)
    expected = plain.aux_loss(memory.shared["learner"], strong, targets, given)
    assert learner.aux_loss(memory.shared, strong, targets, given) == expected
