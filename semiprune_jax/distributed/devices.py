"""The devices of a run: which ones it uses, and what they have."""

import os
from collections.abc import Sequence
from typing import Any, Self

import jax

from semiprune_jax.errors import DeviceError


class Devices:
    """Devices that a step runs on.

    Args:
      mode: "jit" or "pmap", how a step is compiled for them.
      devices: those to use; None for all.
    """

    def __init__(self, mode: str = "jit", devices: Sequence[Any] | None = None):
        self.mode = mode
        everywhere = jax.devices() if devices is None else devices
        # The devices of a process lie together, so that its rows of a batch do.
        self.devices = sorted(everywhere, key=lambda device: device.process_index)

    @classmethod
    def of(cls, mode: str, count: int) -> Self:
        """The first ``count`` devices, 0 for all.

        Raises:
          DeviceError: there are fewer, or several processes cannot use them so.
        """
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
        """The devices of this process, the only ones that it can ask or put something on."""
        return [device for device in self.devices if device.process_index == jax.process_index()]

    @property
    def memory(self) -> int:
        """Bytes of a device's memory; where devices have none of their own, an equal share of the machine's."""
        stats = self.own_devices[0].memory_stats() if self.platform != "cpu" else None
        machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        return stats["bytes_limit"] if stats else machine // len(self.devices)

    @property
    def part(self) -> tuple[int, int]:
        """The number of this process, and how many processes there are."""
        return jax.process_index(), jax.process_count()

    def padded(self, n: int) -> int:
        """``n`` rounded up to a multiple of the device count: rows of a batch."""
        return -(-n // len(self.devices)) * len(self.devices)
