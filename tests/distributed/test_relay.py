"""The relay between JAX and process 0: it passes everything on, and tells the two ends from each other."""

import socket
import threading
import time

import pytest

from semiprune_jax.distributed import relay


@pytest.fixture
def lead():
    """A listener in the place of process 0."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


def connect(lead, silence=60.0):
    """The near end, the end of process 0, and the event of its loss."""
    lost = threading.Event()
    address = relay.start(f"127.0.0.1:{lead.getsockname()[1]}", lost.set, silence=silence)
    near = socket.create_connection(relay.host_and_port(address), timeout=10)
    far, _ = lead.accept()
    far.settimeout(10)
    return near, far, lost


def test_bytes_pass_both_ways(lead, rng):
    near, far, lost = connect(lead)
    with near, far:
        for one, other in ((near, far), (far, near)):
            data = rng.bytes(3_000_000)  # more than fits into a buffer
            threading.Thread(target=one.sendall, args=[data]).start()
            found = b""
            while len(found) < len(data):
                found += other.recv(1 << 20)
            assert found == data
        assert not lost.is_set()


def test_the_end_of_process_0_is_a_loss(lead):
    near, far, lost = connect(lead)
    far.close()
    assert lost.wait(10)
    assert near.recv(1) == b""  # closed after that
    near.close()


def test_the_near_end_may_be_closed(lead):
    near, far, lost = connect(lead)
    near.close()
    assert far.recv(1) == b""
    far.close()
    assert not lost.wait(0.2)


def test_silence_is_a_loss(lead):
    """However much process 0 is asked; a word from time to time keeps it."""
    near, far, lost = connect(lead, silence=0.5)
    with near, far:
        for _ in range(10):
            near.sendall(b"?")
            far.sendall(b"!")
            time.sleep(0.1)
        assert not lost.is_set()
        until = time.monotonic() + 10
        while not lost.is_set() and time.monotonic() < until:
            near.sendall(b"?")
            time.sleep(0.02)
        assert lost.is_set()
        far.sendall(b"!" * 20)  # on_loss has returned: the relay goes on
        assert near.recv(1) == b"!"


def test_process_0_may_come_late():
    """JAX tries again until somebody answers."""
    with socket.create_server(("127.0.0.1", 0)) as reserved:
        port = reserved.getsockname()[1]
    address = relay.host_and_port(relay.start(f"127.0.0.1:{port}", pytest.fail, silence=60))
    with socket.create_connection(address, timeout=10) as early:
        assert early.recv(1) == b""
    with socket.create_server(("127.0.0.1", port)) as lead, socket.create_connection(address, timeout=10) as near:
        far, _ = lead.accept()
        with far:
            near.sendall(b"hello")
            assert far.recv(5) == b"hello"


@pytest.mark.parametrize("environment", [{"no_proxy": "node1,node2"}, {"NO_PROXY": "node1,node2"}, {}])
def test_grpc_takes_no_proxy_to_the_relay(monkeypatch, lead, environment):
    for name in ("no_grpc_proxy", "no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "")  # put back in the end
        monkeypatch.delenv(name)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    near, far, _ = connect(lead)
    near.close(), far.close()
    assert relay.os.environ["no_grpc_proxy"] == ",".join([*environment.values(), "127.0.0.1"])


@pytest.mark.parametrize("address", ["here", "here:", ":1", "1.2.3.4:port"])
def test_addresses_that_are_none(address):
    with pytest.raises(ValueError, match=address):
        relay.host_and_port(address)
    assert relay.host_and_port("[::1]:80") == ("::1", 80)
