import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from semiprune_jax.select import scores
from semiprune_jax.train import dynamics
from tests.oracles import pytorch
from tests.oracles import scores as oracle

N, BATCHES, B, C = 10, 4, 4, 3
SLOTS = BATCHES * B  # rows past N are padding
LOGITS = arrays.arrays(
    np.float32, (SLOTS, C), elements=st.sampled_from([0.0, 1e4, -1e4, 3e38, -3e38]) | st.floats(-20, 20, width=32)
)
LABELS = arrays.arrays(np.int32, SLOTS, elements=st.integers(0, C - 1))


def test_observe_by_hand():
    logits = jnp.log(jnp.array([[0.7, 0.2, 0.1], [0.7, 0.2, 0.1]]))
    seen = dynamics.observe(logits, jnp.array([0, 1]))
    np.testing.assert_allclose(seen["p_label"], [0.7, 0.2], rtol=1e-5)
    np.testing.assert_allclose(seen["p_other"], [0.2, 0.7], rtol=1e-5)
    aum = scores.compute("aum", {name: np.asarray(value)[:, None] for name, value in seen.items()}, {})
    np.testing.assert_allclose(aum, [0.5, -0.5], rtol=1e-5)
    assert seen["correct"].tolist() == [True, False]
    np.testing.assert_allclose(seen["el2n"], np.sqrt([0.09 + 0.04 + 0.01, 0.49 + 0.64 + 0.01]), rtol=1e-5)
    np.testing.assert_allclose(
        seen["entropy"], 2 * [-(0.7 * np.log(0.7) + 0.2 * np.log(0.2) + 0.1 * np.log(0.1))], rtol=1e-4
    )


def test_the_norm_of_the_last_layers_gradient_is_autodiffs(rng):
    features, label = jnp.asarray(rng.normal(size=(5, 7)), jnp.float32), jnp.array([0, 1, 2, 2, 0])
    w, b = jnp.asarray(rng.normal(size=(7, C)), jnp.float32), jnp.asarray(rng.normal(size=C), jnp.float32)

    def loss(layer, h, y):
        return -jax.nn.log_softmax(h @ layer[0] + layer[1])[y]

    expected = []
    for h, y in zip(features, label, strict=True):
        of_w, of_b = jax.grad(loss)((w, b), h, y)
        expected.append(np.sqrt(np.sum(of_w**2) + np.sum(of_b**2)))
    seen = dynamics.observe(features @ w + b[None], label, features)
    np.testing.assert_allclose(seen["grad_norm"], expected, rtol=1e-4)
    assert "grad_norm" not in dynamics.observe(features @ w + b[None], label)


def test_observe_saturated():
    seen = dynamics.observe(jnp.array([[200.0, 0.0], [200.0, 0.0]]), jnp.array([0, 1]))
    np.testing.assert_allclose(seen["el2n"], [0, np.sqrt(2)], rtol=1e-6)
    assert np.all(np.isfinite(seen["entropy"]))


@given(LOGITS, LABELS)
@settings(deadline=None, max_examples=50)
def test_observe_against_loops_however_large_the_logits(logits, label):
    seen = jax.device_get(jax.jit(dynamics.observe)(logits, label))
    p = np.array([pytorch.softmax(row) for row in logits.astype(float)])
    others = [np.delete(row, y).max() for row, y in zip(p, label, strict=True)]
    np.testing.assert_allclose(seen["p_label"], p[np.arange(SLOTS), label], atol=1e-5)
    np.testing.assert_allclose(seen["p_other"], others, atol=1e-5)
    np.testing.assert_allclose(seen["el2n"], oracle.el2n(p[:, None], label, 0, 1), atol=1e-6)
    np.testing.assert_allclose(seen["entropy"], oracle.entropy(p[:, None]), atol=1e-5)
    untied = seen["p_label"] != seen["p_other"]
    np.testing.assert_array_equal(seen["correct"][untied], (seen["p_label"] > seen["p_other"])[untied])


def test_of_equal_logits_the_first_is_the_prediction():
    label = np.arange(SLOTS) % C
    seen = jax.jit(dynamics.observe)(np.zeros((SLOTS, C), np.float32), label.astype(np.int32))
    np.testing.assert_array_equal(seen["correct"], label == 0)


def test_el2n_keeps_its_digits_where_all_is_learned():
    """sqrt(sum p^2 - 2 p_y + 1) would cancel to 0 or to multiples of 2e-4."""
    gaps = np.arange(5, 16, 0.25, np.float32)
    seen = dynamics.observe(jnp.stack([jnp.array(gaps), jnp.zeros(len(gaps))], axis=1), jnp.zeros(len(gaps), jnp.int32))
    other = 1 / (1 + np.exp(gaps.astype(np.float64)))
    np.testing.assert_allclose(seen["el2n"], np.sqrt(2) * other, rtol=2e-3, atol=1e-7)
    assert len(np.unique(seen["el2n"])) == len(gaps)


def test_update_writes_its_rows_and_drops_those_past_the_end():
    record = dynamics.init(5, 3)
    seen = {
        "p_label": jnp.array([0.1, 0.2, 0.3, 0.4]),
        "p_other": jnp.array([0.5, 0.6, 0.7, 0.8]),
        "correct": jnp.array([True, False, True, True]),
        "el2n": jnp.array([1.0, 2.0, 3.0, 4.0]),
        "entropy": jnp.zeros(4),
        "previous": jnp.ones((4, 2)),
    }
    new = jax.jit(dynamics.update)(record, jnp.array([4, 5, 0, 6]), 1, seen)
    expected = np.zeros((5, 3), np.float32)
    expected[4, 1], expected[0, 1] = 0.1, 0.3
    np.testing.assert_array_equal(new.p_label, expected)
    assert new.correct.sum() == 2
    assert new.el2n[0, 1] == 3.0
    assert new.entropy is None


@jax.jit
def epoch(record, batches, column, logits, label):
    def step(record, rows):
        return dynamics.update(record, rows, column, dynamics.observe(logits[rows], label[rows])), None

    return jax.lax.scan(step, record, batches)[0]


@given(LOGITS, LABELS, st.permutations(range(SLOTS)), st.integers(0, 2))
@settings(deadline=None, max_examples=50)
def test_batches_in_any_order_and_split_write_every_example_once(logits, label, order, column):
    blank = dynamics.init(N, 3, entropy=True, kl_classes=C)
    blank = jax.tree.map(lambda array: jnp.full_like(array, True), blank)
    made = jax.device_get(epoch(blank, np.reshape(order, (BATCHES, B)), column, logits, label))
    in_turn = jax.device_get(epoch(blank, np.arange(SLOTS).reshape(BATCHES, B), column, logits, label))
    jax.tree.map(np.testing.assert_array_equal, made, in_turn)
    seen = jax.device_get(jax.jit(dynamics.observe)(logits, label))
    p = seen["previous"][:N].astype(float)
    seen["kl"] = [oracle.moves([[1.0] * C, row])[1] if column else 0.0 for row in p] + [0.0] * (SLOTS - N)
    for name, value in seen.items():
        expected = np.array(getattr(blank, name))
        expected[:, slice(None) if name == "previous" else column] = value[:N]
        np.testing.assert_allclose(getattr(made, name), expected, atol=1e-6, err_msg=name)


def test_bytes_per_visit():
    record = dynamics.init(1, 1)
    assert sum(leaf.nbytes for leaf in jax.tree.leaves(record)) == 13


def test_a_record_can_be_given_away():
    """A record's arrays share no buffer, so a program can take it by donation and overwrite it in place."""
    seen = dynamics.observe(jnp.zeros((1, 3)), jnp.array([0]))
    write = jax.jit(lambda record: dynamics.update(record, jnp.array([1]), 0, seen), donate_argnums=0)
    for options in ({}, {"entropy": True}, {"kl_classes": 3}):
        assert write(dynamics.init(4, 2, **options)).p_label[1, 0] > 0


def test_how_far_predictions_move_is_recorded_visit_by_visit(rng):
    """Three epochs have different orders, and a padding row leaves no trace."""
    logits = rng.normal(size=(3, 5, C)).astype(np.float32)
    record = dynamics.init(5, 3, kl_classes=C)
    for column, order in enumerate(([0, 1, 2, 3, 4], [4, 2, 0, 1, 3], [3, 4, 1, 0, 2])):
        for rows in (order[:3], [*order[3:], 7]):
            seen = dynamics.observe(logits[column][np.minimum(rows, 4)], jnp.zeros(3, jnp.int32))
            record = jax.jit(dynamics.update)(record, jnp.array(rows), column, seen)
    p = np.array([[pytorch.softmax(row) for row in epoch] for epoch in logits.astype(float)]).transpose(1, 0, 2)
    np.testing.assert_allclose(record.kl, [oracle.moves(rows) for rows in p], rtol=1e-4)
    assert sorted(dynamics.results(record)) == ["correct", "el2n", "kl", "p_label", "p_other"]
