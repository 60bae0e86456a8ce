"""A TCP proxy with the faults of networks, towards a simulator, a database, or whatever listens.

with Proxy(("127.0.0.1", 5432)).running() as proxy:
    proxy.fault = "half_open"      # of connections from now on, and of what the open ones still pass
    connect_to(proxy.port)
"""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

FAULTS = {
    "": "everything passes",
    "black_hole": "everything is taken and nothing passes",
    "half_open": "requests pass, answers do not",
    "slow_drip": "answers pass one byte at a time",
    "reset": "connections are reset",
    "cut": "connections are reset after cut_at bytes of answers",
}
_BLOCK = 64 * 1024


class Proxy:
    """to: an address, or the path of a Unix socket. fault: one of FAULTS. latency_secs: before each block passes.
    drip_secs: between two bytes. cut_at: bytes of a connection's answers that still pass. opened: connections so far.

    before, after: asked with each block of a client, before and after it is passed on; True resets the connection.
    """

    def __init__(self, to: tuple[str, int] | str) -> None:
        self.to = to
        self.port = 0
        self.fault = ""
        self.latency_secs = 0.0
        self.drip_secs = 0.1
        self.cut_at = 0
        self.opened = 0
        self.before: Callable[[bytes], bool] = lambda block: False
        self.after: Callable[[bytes], bool] = lambda block: False
        self._stopping = threading.Event()

    @contextmanager
    def running(self) -> Iterator[Proxy]:
        """Listen on 127.0.0.1 until the block ends."""
        with socket.create_server(("127.0.0.1", 0), backlog=128) as server:
            self.port = server.getsockname()[1]
            server.settimeout(0.05)
            listener = threading.Thread(target=self._listen, args=(server,), daemon=True)
            listener.start()
            try:
                yield self
            finally:
                self._stopping.set()
                listener.join()

    def _listen(self, server: socket.socket) -> None:
        while not self._stopping.is_set():
            with suppress(TimeoutError):
                client, _ = server.accept()
                self.opened += 1
                threading.Thread(target=self._connect, args=(client,), daemon=True).start()

    def _connect(self, client: socket.socket) -> None:
        far = socket.socket(socket.AF_UNIX if isinstance(self.to, str) else socket.AF_INET)
        pair = _Pair(client, far)
        try:
            far.connect(self.to)
        except OSError:
            return pair.reset()
        threading.Thread(target=self._pass, args=(pair, far, client, False), daemon=True).start()
        return self._pass(pair, client, far, True)

    def _pass(self, pair: _Pair, one: socket.socket, other: socket.socket, asks: bool) -> None:
        """From one end to the other, until either is closed or a fault ends it."""
        passed = 0
        with suppress(OSError):
            one.settimeout(0.05)
            while not self._stopping.is_set() and not pair.over:
                if self.fault == "reset":
                    break
                try:
                    block = one.recv(_BLOCK)
                except TimeoutError:
                    continue
                fault = self.fault
                if not block or fault == "reset":
                    break
                if pair.lost or fault == "black_hole" or (fault == "half_open" and not asks):
                    pair.lost = pair.lost or not asks or fault == "black_hole"
                    continue  # what was swallowed never comes, so nothing after it does
                self._stopping.wait(self.latency_secs)
                if asks and self.before(block):
                    break
                if fault == "cut" and not asks and passed + len(block) > self.cut_at:
                    other.sendall(block[: self.cut_at - passed])
                    break
                if fault == "slow_drip" and not asks:
                    self._drip(pair, other, block)
                else:
                    other.sendall(block)
                passed += len(block)
                if asks and self.after(block):
                    break
        pair.reset()

    def _drip(self, pair: _Pair, other: socket.socket, block: bytes) -> None:
        for index in range(len(block)):
            other.sendall(block[index : index + 1])
            if self._stopping.wait(self.drip_secs) or pair.over:
                return


class _Pair:
    """Both ends of a connection. lost: something was swallowed. over: it was reset."""

    def __init__(self, *ends: socket.socket) -> None:
        self.ends = ends
        self.lost = False
        self.over = False

    def reset(self) -> None:
        self.over = True
        for end in self.ends:
            with suppress(OSError):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                end.shutdown(socket.SHUT_RDWR)
            end.close()
