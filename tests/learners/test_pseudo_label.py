from tests.learners import STEPS, assert_same, run
from tests.oracles import learners as oracle


def test_pseudo_labels_count_more_and_more(rng):
    for step, (learner, _, targets, (p, _, mask)) in enumerate(run("pseudo_label", rng)):
        assert learner.views == 1
        ramp = min(step / (0.4 * STEPS), 1)
        assert_same(targets, mask, [oracle.argmax(row) for row in p], [ramp * (max(row) >= 0.7) for row in p])
