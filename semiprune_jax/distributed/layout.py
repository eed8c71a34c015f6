"""How arrays lie on devices, and how a pure step becomes a compiled one. Steps do not know how many devices there are.

There are two ways of compiling the same step, with the same results:

* "jit": ``jax.jit`` over a one-dimensional mesh; state is replicated, batches and records are sharded by rows;
* "pmap": ``jax.pmap``; the step sees one device's share and sums over ``AXIS`` itself.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from semiprune_jax.distributed.devices import Devices

AXIS = "data"
RECORD_MULTIPLE = 1024  # rows of a saved record: a multiple of this, whatever the number of devices


class Layout(Devices):
    """Devices, and how the arrays of a run lie on them; arguments as for ``Devices``."""

    def __init__(self, mode: str = "jit", devices: Sequence[Any] | None = None):
        super().__init__(mode, devices)
        # Auto: the compiler propagates shardings; the default of make_mesh is explicit mode, which flax rejects.
        self.mesh = Mesh(np.array(self.devices), (AXIS,), axis_types=(AxisType.Auto,))
        self._replicated = NamedSharding(self.mesh, PartitionSpec())
        self._rows = NamedSharding(self.mesh, PartitionSpec(AXIS))
        self._batches = NamedSharding(self.mesh, PartitionSpec(None, AXIS))

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
        """A tree of shapes, each whole on every device, into which a checkpoint is restored."""
        return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=self._replicated), shapes)

    def compile_init(self, function: Callable) -> Callable:
        """``function``, compiled; its results are whole on every device."""
        return jax.jit(function, out_shardings=self._replicated)

    def create_record(self, function: Callable[[], Any]) -> Any:
        """The result of ``function``, arrays of ``record_rows`` rows, sharded by rows and never whole anywhere."""
        return self._fold(jax.jit(function, out_shardings=self._rows)())

    def save_record(self, record: Any) -> Any:
        """The record on the host, for checkpoints; it has the same rows on any number of devices."""

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
        """The rows of this process in K steps of batches, arrays [K, B, ...], as the compiled step takes them."""
        if self.mode == "pmap":
            share = len(self.devices)
            return jax.tree.map(lambda x: x.reshape(x.shape[0], share, -1, *x.shape[2:]), feed)
        if jax.process_count() == 1:
            return jax.device_put(feed, self._batches)
        return jax.tree.map(lambda x: jax.make_array_from_process_local_data(self._batches, x), feed)

    def per_shard(self, view: Callable) -> Callable:
        """A batch view in which each device maps over its own rows only.

        The compiler would gather the whole batch everywhere for a sequential map over a sharded axis.
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
            axes = {"in_axes": (None, 0, None, 1, None), "out_axes": (None, 0, None)}
            return jax.pmap(dispatch, AXIS, devices=self.devices, donate_argnums=(0, 1), **axes)
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
        """The record as a step takes it: under pmap [devices, rows of each, ...]."""
        if self.mode == "jit":
            return record
        share = len(self.devices)
        fold = jax.jit(
            lambda tree: jax.tree.map(lambda x: x.reshape(share, -1, *x.shape[1:]), tree), out_shardings=self._rows
        )
        return fold(record)


def _saved_rows(n: int) -> int:
    return math.ceil(n / RECORD_MULTIPLE) * RECORD_MULTIPLE
