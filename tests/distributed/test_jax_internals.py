"""The names inside JAX that several processes rely on. A new version of JAX is tried here first."""

import inspect

import jax
import pytest
from packaging.specifiers import SpecifierSet

from semiprune_jax.distributed import jax_internals
from semiprune_jax.errors import DeviceError

KNOWN = f"distributed/jax_internals.py is known to work with JAX {jax_internals.VERSIONS}"


def broke(name):
    return f"JAX {jax.__version__} broke {name}; {KNOWN}"


def test_this_version_is_known():
    """Add a version once tests/distributed and the trials "lost" and "several" of tests/faults pass with it."""
    assert jax_internals.is_known(), f"JAX {jax.__version__} has not been tried; {KNOWN}"


def test_the_runtime_has_what_is_read_of_it():
    state = jax_internals.runtime()
    assert {"client", "preemption_sync_manager"} <= set(dir(state)), broke("jax._src.distributed.global_state")
    from jaxlib import _jax

    used = {"key_value_set", "key_value_dir_get", "blocking_key_value_get", "wait_at_barrier"}
    assert used <= set(dir(_jax.DistributedRuntimeClient)), broke("jaxlib._jax.DistributedRuntimeClient")


def test_jax_starts_its_runtime_through_the_names_that_are_replaced():
    from jax._src import distributed
    from jaxlib import _jax

    source = inspect.getsource(distributed.State.initialize)
    for name, option in (("service", "cluster_register_timeout"), ("client", "missed_heartbeat_callback")):
        factory = f"get_distributed_runtime_{name}"
        assert f"_jax.{factory}(" in source, broke(f"jax._src.distributed.State.initialize: no {factory}")
        assert option not in source, broke(f"the reason for {option}: jax.distributed.initialize takes it itself")
        assert option in (getattr(_jax, factory).__doc__ or ""), broke(f"jaxlib._jax.{factory}: no {option}")


def test_orbax_asks_through_the_name_that_is_replaced(monkeypatch):
    from jax.experimental import multihost_utils
    from orbax.checkpoint._src.multihost import multihost

    assert list(inspect.signature(multihost_utils.reached_preemption_sync_point).parameters) == ["step_id"], broke(
        "jax.experimental.multihost_utils.reached_preemption_sync_point"
    )
    monkeypatch.setattr(multihost_utils, "reached_preemption_sync_point", lambda step_id: step_id == 7)
    assert multihost.reached_preemption(7), broke("or Orbax did: it asks elsewhere whether the run is preempted")
    jax_internals.own_sync_points()
    assert not multihost.reached_preemption(7)


def factories():
    from jaxlib import _jax

    return _jax.get_distributed_runtime_service, _jax.get_distributed_runtime_client


def test_options_are_replaced_for_a_start_only(monkeypatch):
    before = factories()
    with jax_internals.start_options(5, print):
        assert all(one is not other for one, other in zip(before, factories(), strict=True))
    assert factories() == before
    monkeypatch.setattr(jax_internals, "VERSIONS", SpecifierSet("<0.1"))
    with jax_internals.start_options(5, print):  # an untried version is left as it is
        assert factories() == before


def test_a_version_without_the_runtime_is_named(monkeypatch):
    from jax._src import distributed

    monkeypatch.delattr(distributed, "global_state")
    with pytest.raises(
        DeviceError, match=rf"JAX {jax.__version__} does not show its runtime .*; install JAX <0\.13,>=0\.10\.2"
    ):
        jax_internals.runtime()
