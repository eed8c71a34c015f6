import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.learners import BATCH, C, assert_same, run, seen
from tests.oracles import learners as oracle


def test_targets_and_loss_are_those_of_a_loop(rng):
    expected, fairness, counted = oracle.FreeMatch(C), [], []
    later = {"tau": 0.7, "p": np.array([0.5, 0.3, 0.2], np.float32), "h": np.array([0.6, 0.3, 0.1], np.float32)}
    expected.tau, expected.p, expected.h = later["tau"], later["p"].tolist(), later["h"].tolist()
    for learner, memory, targets, (p, _, mask) in run("freematch", rng, **later):
        labels, weights = expected.step(p)
        counted += weights
        assert_same(targets, mask, labels, weights)
        np.testing.assert_allclose(memory.shared["tau"], expected.tau, rtol=1e-5)
        strong = rng.normal(size=(BATCH, C)).astype(np.float32)
        q = (np.exp(strong) / np.exp(strong).sum(-1, keepdims=True))[mask].tolist()
        fairness.append(expected.fairness(q, weights))
        full = np.zeros(BATCH, int), mask
        got = learner.aux_loss(memory.shared, jnp.asarray(strong), targets, seen(np.ones((BATCH, C)), *full))
        assert got == pytest.approx(fairness[-1], rel=1e-4)
    assert len(set(fairness)) > 1
    assert 0.2 < np.mean(counted) < 0.9
    nothing = targets._replace(weight=jnp.zeros(BATCH))
    loss, gradient = jax.value_and_grad(
        lambda x: learner.aux_loss(memory.shared, x, nothing, seen(np.ones((BATCH, C)), *full))
    )(jnp.asarray(strong))
    assert loss == 0
    assert not np.any(gradient)  # 0, not NaN, where no image counts
