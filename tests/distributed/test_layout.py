import jax
import jax.numpy as jnp
import numpy as np
import pytest

from semiprune_jax.distributed.layout import RECORD_MULTIPLE, Layout
from semiprune_jax.errors import DeviceError
from semiprune_jax.train import dynamics


def test_padding_is_to_the_devices():
    assert [Layout.of("jit", d).padded(8) for d in (1, 3, 4)] == [8, 9, 8]
    assert Layout.of("jit", 3).record_rows(10) == 1026
    assert Layout.of("jit", 4).record_rows(1025) == 2048


@pytest.mark.parametrize("save_on", [("jit", 1), ("jit", 3), ("pmap", 3), ("pmap", 4)])
@pytest.mark.parametrize("restore_on", [("jit", 3), ("jit", 4), ("pmap", 1), ("pmap", 3)])
def test_records_travel_between_device_counts(save_on, restore_on):
    source, target = Layout.of(*save_on), Layout.of(*restore_on)
    made = source.create_record(lambda: dynamics.init(source.record_rows(10), 2))
    saved = source.save_record(made)
    assert saved.p_label.shape == (RECORD_MULTIPLE, 2)
    saved = saved.replace(p_label=np.random.default_rng(0).random(saved.p_label.shape, np.float32))
    restored = target.restore_record(saved)
    expected = (len(target.devices), -1, 2) if target.mode == "pmap" else (target.record_rows(10), 2)
    assert restored.p_label.shape == tuple(d if d >= 0 else target.record_rows(10) // expected[0] for d in expected)
    jax.tree.map(np.testing.assert_array_equal, target.save_record(restored), saved)


def test_records_lie_in_shards():
    layout = Layout.of("jit", 4)
    record = layout.create_record(lambda: dynamics.init(layout.record_rows(10), 3))
    assert {s.data.shape for s in record.p_label.addressable_shards} == {(RECORD_MULTIPLE // 4, 3)}


def test_no_record_is_ever_gathered():
    """The compiled step moves ids and values of a batch between devices, never an [N, T] array."""
    layout = Layout.of("jit", 4)
    rows, epochs, batch = layout.record_rows(4000), 7, 16

    def step(state, record, batch, key):
        seen = {name: batch["value"] for name in ("p_label", "p_other", "correct", "el2n", "entropy")}
        return state + 1, dynamics.update(record, batch["id"], state % epochs, seen), {"loss": state * 1.0}

    record = layout.create_record(lambda: dynamics.init(rows, epochs))
    feed = layout.put_feed({"id": np.arange(batch, dtype=np.int32)[None], "value": np.ones((1, batch), np.float32)})
    dispatch = layout.compile(step, lambda pool, item: item)
    text = dispatch.lower(jnp.int32(0), record, None, feed, jax.random.key(0)).compile().as_text()
    collectives = [line for line in text.splitlines() if "all-gather(" in line or "all-reduce(" in line]
    assert not any(f"{rows}," in line or f"{rows // 4}," in line for line in collectives), collectives
    assert "input_output_alias" in text  # donated buffers are reused


def test_too_many_devices():
    with pytest.raises(DeviceError, match=r"runtime\.devices = 5, but there are 4"):
        Layout.of("jit", 5)
