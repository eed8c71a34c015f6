"""The compiled programs of the trainings: their collectives, their memory, their transfers and recompilations."""

import dataclasses
import re
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from semiprune_jax import learners
from semiprune_jax.data.stream import StreamArrays
from semiprune_jax.distributed.compilation_cache import enable_compilation_cache
from semiprune_jax.train import loop
from tests import small

POOL, DEVICES = 90, 4


@pytest.fixture(params=[1, DEVICES], ids=["one device", "four devices"])
def made(request, tiny_config, tmp_path):
    tiny_config.proxy.epochs = 2  # the same programs as in test_supervised.py
    trainer, _ = small.trainer(tmp_path, tiny_config, devices=request.param, n=POOL)
    yield trainer
    trainer.metrics.close()


@pytest.fixture
def begin(made, tiny_config):
    return lambda kind: training(made, tiny_config, kind)


def training(made, config, kind):
    labels = small.pool(POOL)[1]
    if kind in learners.LEARNERS:
        config.ssl.learner = kind
        return small.fixmatch_training(made, config, np.where(np.arange(POOL) < 24, labels, -1))
    config.proxy.record_kl = kind == "proxy with kl"
    return small.proxy_training(made, config, labels)


def compiled(made, begun):
    with begun.feed as read:
        feed = made.layout.put_feed(read(0, 1))
    return begun.dispatch.lower(begun.state, begun.record, begun.pool, feed, begun.key).compile()


def bytes_of(tree, device):
    shards = [shard for leaf in jax.tree.leaves(tree) for shard in leaf.addressable_shards if shard.device == device]
    return sum(shard.data.nbytes for shard in shards)


@pytest.mark.parametrize("kind", ["fixmatch", "proxy"])
def test_state_and_record_are_written_over(made, begin, kind):
    """Both are donated, and each device reuses all their bytes."""
    begun = begin(kind)
    reused = compiled(made, begun).memory_analysis().alias_size_in_bytes
    assert reused == bytes_of((begun.state, begun.record), made.layout.devices[0])


@pytest.mark.parametrize(
    "kind", ["fixmatch", "proxy", "proxy with kl", pytest.param("flexmatch", marks=pytest.mark.long)]
)
def test_only_batches_and_gradients_travel(made, begin, kind):
    """No collective has a side as long as the pool, the record or a shard; one device has no collectives."""
    text = compiled(made, begin(kind)).as_text()
    names = "all-gather|all-reduce|all-to-all|collective-permute|reduce-scatter"
    sent = re.findall(rf"= (.*?) (?:{names})(?:-start)?\(", text)
    assert bool(sent) == (len(made.layout.devices) > 1)
    rows = made.layout.record_rows(POOL)
    sides = {int(side) for shape in sent for side in re.findall(r"\d+", re.sub(r"\{.*?\}", "", shape))}
    assert not sides & {POOL, rows, rows // DEVICES}, sorted(sides)


@pytest.mark.parametrize("kind", ["fixmatch", "proxy"])
def test_a_step_does_not_talk_to_the_host(made, begin, kind):
    text = compiled(made, begin(kind)).as_text()
    assert not re.search(r"\b(infeed|outfeed|send|recv|host_compute)\(|callback|MoveToHost", text)


@pytest.mark.parametrize("kind", ["fixmatch", "proxy"])
def test_nothing_is_compiled_after_the_second_step(made, begin, kind, tmp_path):
    """Nothing is moved implicitly either, over two epochs with evaluations and checkpoints."""
    began, compilations, steps = [], [], []
    jax.monitoring.register_event_duration_secs_listener(
        listener := lambda event, seconds, **_: began.append(event) if "backend_compile" in event else None
    )
    try:
        begun = begin(kind)

        def dispatch(*arguments):
            compilations.append(len(began))
            steps.append(1)
            with jax.transfer_guard("disallow"):
                return begun.dispatch(*arguments)

        counted = dataclasses.replace(begun, dispatch=dispatch)
        pace = made.pace(begun)
        loop.run(counted, layout=made.layout, metrics=made.metrics, pace=pace, directory=tmp_path / "checkpoints")
        compilations.append(len(began))
    finally:
        jax.monitoring.unregister_event_duration_listener(listener)
    assert len(steps) == begun.total_steps
    assert begun.total_steps >= 2 * begun.steps_per_epoch or kind == "fixmatch"
    # The first evaluation compiles in between; steps do not.
    assert begun.dispatch._cache_size() == 1
    evaluated = begun.evaluate_every
    between = np.diff(compilations)
    assert not np.any(np.delete(between, [0, 1, evaluated - 1])), compilations


def test_programs_are_kept(tmp_path):
    """Programs go to the configured directory, unless JAX has another or it cannot be made."""
    from jax.experimental.compilation_cache import compilation_cache

    before = {name: getattr(jax.config, name) for name in small.COMPILED}
    try:
        enable_compilation_cache(str(tmp_path / "unused"))
        assert jax.config.jax_compilation_cache_dir == before["jax_compilation_cache_dir"]
        jax.config.update("jax_compilation_cache_dir", None)
        (tmp_path / "file").write_text("in the way")
        for nowhere in ("", str(tmp_path / "file" / "programs")):
            enable_compilation_cache(nowhere)
            assert jax.config.jax_compilation_cache_dir is None
        compilation_cache.reset_cache()
        enable_compilation_cache(str(tmp_path / "programs"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
        jax.jit(lambda x: x * 3 + 1)(np.arange(5.0)).block_until_ready()
        assert any((tmp_path / "programs").iterdir())
        assert not (tmp_path / "unused").exists()
    finally:
        for name, value in before.items():
            jax.config.update(name, value)
        compilation_cache.reset_cache()


def test_steps_of_a_dispatch(tiny_config, tmp_path):
    """The default is sixteen, but one for streamed images and on a CPU, where scans are slow."""
    made, labels = small.trainer(tmp_path, tiny_config)
    resident = small.proxy_training(made, tiny_config, labels)
    streamed = dataclasses.replace(resident, pool=StreamArrays(jnp.asarray(labels)))
    assert made.pace(resident).steps_per_dispatch == 1
    elsewhere = dataclasses.replace(made, layout=SimpleNamespace(platform="gpu"))
    assert [elsewhere.pace(training).steps_per_dispatch for training in (resident, streamed)] == [16, 1]
    elsewhere.runtime.steps_per_dispatch = 4
    assert [elsewhere.pace(training).steps_per_dispatch for training in (resident, streamed)] == [4, 4]
    made.metrics.close()
