from semiprune_jax import learners
from semiprune_jax.learners.learner import Memory
from tests.learners import OPTIONS, assert_same, run, seen
from tests.oracles import learners as oracle


def test_images_count_from_the_threshold_on(rng):
    for _, _, targets, (p, _, mask) in run("fixmatch", rng):
        assert_same(targets, mask, [oracle.argmax(row) for row in p], [float(max(row) >= 0.7) for row in p])
    learner = learners.create("fixmatch", OPTIONS._replace(threshold=0.5))
    assert learner.targets(Memory(), seen([[0.5, 0.5, 0.0]], [0], [True]))[1].weight == 1
