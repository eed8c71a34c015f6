import numpy as np

from tests.learners import C, assert_same, run
from tests.oracles import learners as oracle


def test_targets_and_memory_are_those_of_a_loop(rng):
    expected, counted = oracle.SoftMatch(C), []
    expected.mean, expected.var = 0.8, 0.04
    for _, memory, targets, (p, _, mask) in run("softmatch", rng, mean=0.8, var=0.04):
        labels, weights = expected.step(p)
        counted += weights
        assert_same(targets, mask, labels, weights)
        np.testing.assert_allclose(memory.shared["var"], expected.var, rtol=1e-4)
    assert 0.2 < np.mean(counted) < 0.9
