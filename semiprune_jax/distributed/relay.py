"""The connection of a process to process 0, watched.

JAX aborts a process at the moment at which its connection to process 0 ends, without a reason that a person could
read. So JAX connects to a relay in its own process, which passes everything on, sees the end first, and can tell it.
"""

import os
import selectors
import socket
import threading
import time
from collections.abc import Callable

_LOOPBACK = "127.0.0.1"
_CHUNK = 1 << 16
_LOOKS = 10  # in the seconds after which a silent process is given up


def host_and_port(address: str) -> tuple[str, int]:
    """The parts of "host:port", where an IPv6 host has brackets; ValueError if one is missing."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise ValueError(address)
    return host.strip("[]"), int(port)


def start(address: str, on_loss: Callable[[], None], *, silence: float) -> str:
    """Relays connections to process 0 for as long as this process lives.

    Args:
      address: "host:port" of process 0.
      on_loss: called, on a thread of the relay, when process 0 has closed a connection or is silent. If it returns, the
        relay does without it: it closes the near end as well, or goes on.
      silence: seconds without a byte from process 0 after which it counts as silent.

    Returns:
      "host:port" of the relay, a port of the loopback address.
    """
    listener = socket.create_server((_LOOPBACK, 0))
    target = host_and_port(address)
    # gRPC would look for the relay behind an HTTP proxy, where the environment names one.
    direct = (os.environ.get(name) for name in ("no_grpc_proxy", "no_proxy", "NO_PROXY"))
    found = next(filter(None, direct), "")
    os.environ["no_grpc_proxy"] = ",".join(filter(None, [found, _LOOPBACK]))  # noqa: SIM112  (gRPC's spelling)

    def accept() -> None:
        while True:
            near, _ = listener.accept()
            try:
                far = socket.create_connection(target, timeout=silence)
            except OSError:
                near.close()  # JAX tries again
                continue
            far.settimeout(None)
            threading.Thread(target=_pass_on, args=(near, far, on_loss, silence), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    return f"{_LOOPBACK}:{listener.getsockname()[1]}"


def _pass_on(near: socket.socket, far: socket.socket, on_loss: Callable[[], None], silence: float) -> None:
    """Copies bytes both ways until one end is closed, then closes the other one."""
    # Looks are counted, not seconds: when this machine stands still for a while, process 0 is not silent.
    interval, looks, last = silence / _LOOKS, 0, time.monotonic()
    with near, far, selectors.DefaultSelector() as ends:
        ends.register(near, selectors.EVENT_READ, (near, far))
        ends.register(far, selectors.EVENT_READ, (far, near))
        while True:
            ready = [key.data for key, _ in ends.select(interval)]
            if any(source is far for source, _ in ready):
                looks = 0
            elif time.monotonic() - last >= interval:
                looks, last = looks + 1, time.monotonic()
            if looks >= _LOOKS:
                on_loss()
                looks = 0
            for source, target in ready:
                closed = _copy(source, target)
                if closed is far:
                    on_loss()
                if closed:
                    return


def _copy(source: socket.socket, target: socket.socket) -> socket.socket | None:
    """Passes on the bytes that have come; returns the end that is closed, if one is."""
    try:
        data = source.recv(_CHUNK)
    except OSError:
        return source
    if not data:
        return source
    try:
        target.sendall(data)
    except OSError:
        return target
    return None
