"""Devices: where arrays lie, and how a pure step becomes a compiled one. Nothing else knows how many there are.

Two ways of compiling the same step, with the same results:

* "jit": ``jax.jit`` over a one-dimensional mesh; state is replicated, batches and records are sharded by rows;
* "pmap": ``jax.pmap``; the step sees one device's share and sums over ``AXIS`` itself.
"""

import math
import os
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from semiprune_jax.errors import DeviceError

AXIS = "data"
RECORD_MULTIPLE = 1024  # rows of a saved record: a multiple of this, whatever the number of devices


class Layout:
    """How the arrays of one run lie on its devices.

    Args:
      mode: "jit" or "pmap".
      devices: those to use; None for all.
    """

    def __init__(self, mode: str = "jit", devices: Sequence[Any] | None = None):
        self.mode = mode
        everywhere = jax.devices() if devices is None else devices
        # A process' devices lie together, so that its rows of a batch do.
        self.devices = sorted(everywhere, key=lambda device: device.process_index)
        # Auto: the compiler propagates shardings; the default of make_mesh is explicit mode, which flax rejects.
        self.mesh = Mesh(np.array(self.devices), (AXIS,), axis_types=(AxisType.Auto,))
        self._replicated = NamedSharding(self.mesh, PartitionSpec())
        self._rows = NamedSharding(self.mesh, PartitionSpec(AXIS))
        self._batches = NamedSharding(self.mesh, PartitionSpec(None, AXIS))

    @classmethod
    def of(cls, mode: str, count: int) -> "Layout":
        """The first ``count`` devices, 0 for all; DeviceError if there are fewer."""
        try:
            devices = jax.devices()
        except Exception as error:  # plugins raise anything, assertions too
            raise DeviceError(f"JAX finds no device ({' '.join(str(error).split())}); check JAX_PLATFORMS") from None
        if count > len(devices):
            raise DeviceError(
                f"runtime.devices = {count}, but there are {len(devices)} ({devices[0].platform}); "
                "ask for fewer, or for 0, which uses them all"
            )
        if jax.process_count() > 1 and (count or mode == "pmap"):
            raise DeviceError(
                f"runtime.parallel = {mode!r} and runtime.devices = {count} with {jax.process_count()} processes; "
                "several processes run under 'jit', on all their devices (0)"
            )
        return cls(mode, devices[: count or None])

    @property
    def platform(self) -> str:
        """ "cpu", "gpu" or "tpu"."""
        return self.devices[0].platform

    @property
    def own_devices(self) -> list[Any]:
        """Those of this process, which alone it can ask or put something on."""
        return [device for device in self.devices if device.process_index == jax.process_index()]

    @property
    def memory(self) -> int:
        """Bytes of a device's memory; the machine's, shared out, where devices have none of their own."""
        stats = self.own_devices[0].memory_stats() if self.platform != "cpu" else None
        machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        return stats["bytes_limit"] if stats else machine // len(self.devices)

    @property
    def part(self) -> tuple[int, int]:
        """This process among those of the run, and how many there are."""
        return jax.process_index(), jax.process_count()

    def padded(self, n: int) -> int:
        """``n`` rounded up to a multiple of the device count: rows of a batch."""
        return -(-n // len(self.devices)) * len(self.devices)

    def record_rows(self, n: int) -> int:
        """Rows of a record of ``n`` examples."""
        return self.padded(_saved_rows(n))

    def replicate(self, tree: Any) -> Any:
        """The tree, whole on every device."""

        def whole(x: Any) -> jax.Array:
            if isinstance(x, jax.Array) and jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
                return jax.random.wrap_key_data(whole(jax.random.key_data(x)), impl=jax.random.key_impl(x))
            x = np.asarray(x)
            return jax.make_array_from_callback(x.shape, self._replicated, lambda index: x[index])

        # device_put would compare the copies of all processes first.
        return jax.device_put(tree, self._replicated) if jax.process_count() == 1 else jax.tree.map(whole, tree)

    def abstract(self, shapes: Any) -> Any:
        """A tree of shapes, each whole on every device: what a checkpoint is restored into."""
        return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=self._replicated), shapes)

    def compile_init(self, function: Callable) -> Callable:
        """``function``, compiled, with what it makes on every device."""
        return jax.jit(function, out_shardings=self._replicated)

    def create_record(self, function: Callable[[], Any]) -> Any:
        """What ``function`` makes (arrays of ``record_rows`` rows), sharded by rows and never whole anywhere."""
        return self._fold(jax.jit(function, out_shardings=self._rows)())

    def save_record(self, record: Any) -> Any:
        """The record on the host, its rows the same whatever the device count; for checkpoints."""

        def rows(array: np.ndarray) -> np.ndarray:
            whole = array.reshape(-1, *array.shape[2:]) if self.mode == "pmap" else array
            return whole[: len(whole) // RECORD_MULTIPLE * RECORD_MULTIPLE]

        whole = multihost_utils.process_allgather(record, tiled=True) if jax.process_count() > 1 else record
        return jax.tree.map(rows, jax.device_get(whole))

    def restore_record(self, saved: Any) -> Any:
        """The inverse of ``save_record``, on any number of devices."""

        def rows(array: np.ndarray) -> jax.Array:
            extra = self.padded(len(array)) - len(array)
            padded = np.pad(array, [(0, extra)] + [(0, 0)] * (array.ndim - 1))
            return jax.make_array_from_callback(padded.shape, self._rows, lambda index: padded[index])

        return self._fold(jax.tree.map(rows, saved))

    def put_feed(self, feed: Any) -> Any:
        """This process' rows of K steps of batches, a tree of arrays [K, B, ...], as the compiled step takes them."""
        if self.mode == "pmap":
            share = len(self.devices)
            return jax.tree.map(lambda x: x.reshape(x.shape[0], share, -1, *x.shape[2:]), feed)
        if jax.process_count() == 1:
            return jax.device_put(feed, self._batches)
        return jax.tree.map(lambda x: jax.make_array_from_process_local_data(self._batches, x), feed)

    def per_shard(self, view: Callable) -> Callable:
        """A batch view in which each device maps over its own rows only.

        Left to the compiler, a sequential map over a sharded axis would gather the whole batch everywhere.
        """
        if self.mode == "pmap" or len(self.devices) == 1:
            return view
        spec = PartitionSpec(AXIS)
        return jax.shard_map(view, mesh=self.mesh, in_specs=(spec, spec), out_specs=spec)

    def compile(self, step: Callable, fetch: Callable) -> Callable:
        """A training dispatch ``(state, record, pool, feed, key) -> (state, record, metrics [K])``.

        Runs the K steps of the feed in one program; ``fetch(pool, item) -> batch`` turns one step's item of the
        feed into its batch. State and record are donated.
        """
        step = partial(step, axis_name=AXIS) if self.mode == "pmap" else step

        def dispatch(state, record, pool, feed, key):
            def body(carry, item):
                state, record, metrics = step(*carry, fetch(pool, item), key)
                return (state, record), metrics

            if jax.tree.leaves(feed)[0].shape[0] > 1:
                (state, record), metrics = jax.lax.scan(body, (state, record), feed)
            else:
                (state, record), metrics = body((state, record), jax.tree.map(lambda x: x[0], feed))
                metrics = jax.tree.map(lambda m: m[None], metrics)
            return state, record, metrics

        if self.mode == "pmap":
            return jax.pmap(
                dispatch, AXIS, devices=self.devices, in_axes=(None, 0, None, 1, None), out_axes=(None, 0, None),
                donate_argnums=(0, 1),
            )  # fmt: skip
        out = (self._replicated, self._rows, self._replicated)
        return jax.jit(dispatch, donate_argnums=(0, 1), out_shardings=out)

    def compile_forward(self, step: Callable, fetch: Callable) -> Callable:
        """A forward dispatch ``(state, pool, feed) -> outputs``, whole on every device. Donates nothing.

        The feed holds one step, [1, B].
        """
        step = partial(step, axis_name=AXIS) if self.mode == "pmap" else step

        def dispatch(state, pool, feed):
            return step(state, fetch(pool, jax.tree.map(lambda x: x[0], feed)))

        if self.mode == "pmap":
            return jax.pmap(dispatch, AXIS, devices=self.devices, in_axes=(None, None, 1), out_axes=None)
        return jax.jit(dispatch, out_shardings=self._replicated)

    def _fold(self, record: Any) -> Any:
        """pmap takes a record as [devices, rows of each, ...]."""
        if self.mode == "jit":
            return record
        share = len(self.devices)
        fold = jax.jit(
            lambda tree: jax.tree.map(lambda x: x.reshape(share, -1, *x.shape[1:]), tree), out_shardings=self._rows
        )
        return fold(record)


def _saved_rows(n: int) -> int:
    return math.ceil(n / RECORD_MULTIPLE) * RECORD_MULTIPLE
