import numpy as np

from tests.learners import C, N, assert_same, run
from tests.oracles import learners as oracle


def test_targets_and_memory_are_those_of_a_loop(rng):
    expected, weights = oracle.FlexMatch(C, N, 0.7), []
    for _, memory, targets, (p, ids, mask) in run("flexmatch", rng):
        labels, weight = expected.step(p, ids)
        assert_same(targets, mask, labels, weight)
        weights += [(w, max(row) >= 0.7) for w, row in zip(weight, p, strict=True)]
        np.testing.assert_array_equal(memory.examples, [c if c >= 0 else C for c in expected.selected])
        np.testing.assert_array_equal(memory.shared, np.bincount(memory.examples, minlength=C + 1))
    assert any(w and not confident for w, confident in weights)  # its thresholds are lower
