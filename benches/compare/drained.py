"""A client for what wrk cannot do: it knows that an answer to HEAD has no body, and it leaves nothing unanswered.

wrk stops when its time is over, whatever is on its way; of objects of 64 MiB that would be a large part of the
work. Here every request that was begun is answered and counted. One thread of Python is slower than wrk: what it
finds of many small requests in a second says more of the client than of the server, what it finds of the
server's CPU time does not.
"""

import selectors
import socket
import statistics
import time
from collections.abc import Callable, Iterator

# Nothing happens for so long: the run is given up.
TIMEOUT_SECONDS = 30
PIECE = 256 * 1024
HEAD_BYTES_MAX = 64 * 1024


class _Connection:
    """One request at a time."""

    def __init__(self, address: tuple[str, int], bodies: bool):
        self.socket = socket.create_connection(address)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self.bodies = bodies
        self.out: list[memoryview] = []
        self.answer, self.left, self.status = b"", None, 0
        self.started = 0.0

    def begin(self, head: bytes, body: bytes) -> None:
        """Takes the next request."""
        self.out = [memoryview(part) for part in (head, body) if part]
        self.answer, self.left, self.status = b"", None, 0
        self.started = time.monotonic()

    def send(self) -> bool:
        """Sends what the socket takes; true when all is sent."""
        try:
            while self.out:
                sent = self.socket.send(self.out[0])
                self.out[0] = self.out[0][sent:]
                if not self.out[0]:
                    self.out.pop(0)
        except BlockingIOError:
            return False
        return True

    def receive(self, into: memoryview) -> tuple[bool, int]:
        """Takes what has come: whether the answer is whole, and how many bytes came."""
        try:
            count = self.socket.recv_into(into)
        except BlockingIOError:
            return False, 0
        if not count:
            raise ConnectionError("the server closed the connection")
        if self.left is None:
            self.answer += into[:count]
            self._read_head()
        else:
            self.left -= count
        return self.left is not None and self.left <= 0, count

    def _read_head(self) -> None:
        head, end, rest = self.answer.partition(b"\r\n\r\n")
        if not end:
            if len(self.answer) > HEAD_BYTES_MAX:
                raise ConnectionError("the answer's head does not end")
            return
        lines = head.lower().split(b"\r\n")
        self.status = int(lines[0].split()[1])
        length = next((int(line.split(b":")[1]) for line in lines if line.startswith(b"content-length:")), 0)
        self.left = (length if self.bodies else 0) - len(rest)


class Drained:
    """A run: so many connections, each with its next request when it has its answer, until time or names end."""

    def __init__(self, url: str, method: str, requests: Iterator[bytes], body: bytes):
        host, _, port = url.removeprefix("http://").partition(":")
        self.address = (host, int(port))
        self.bodies = method != "HEAD"
        self.requests, self.body = requests, body
        self.selector = selectors.DefaultSelector()
        self.into = memoryview(bytearray(PIECE))
        self.latencies: list[float] = []
        self.bytes = self.refused = self.broken = self.timeouts = self.begun = self.busy = 0
        self.deadline = 0.0

    def run(self, connections: int, seconds: float, clock: Callable[[], float] = time.monotonic) -> dict:
        """Returns what wrk's script would tell."""
        started = clock()
        self.deadline = started + seconds
        for _ in range(connections):
            connection = _Connection(self.address, self.bodies)
            self.selector.register(connection.socket, selectors.EVENT_READ, connection)
            self.busy += 1
            self._next(connection)
        while self.busy:
            ready = self.selector.select(TIMEOUT_SECONDS)
            if not ready:
                self.timeouts = self.busy
                break
            for key, events in ready:
                self._serve(key.data, events)
        self._close()
        return self._told(clock() - started)

    def _serve(self, connection: _Connection, events: int) -> None:
        try:
            if events & selectors.EVENT_WRITE and connection.send():
                self.selector.modify(connection.socket, selectors.EVENT_READ, connection)
            if events & selectors.EVENT_READ:
                whole, count = connection.receive(self.into)
                self.bytes += count
                if whole:
                    self.latencies.append(time.monotonic() - connection.started)
                    self.refused += connection.status >= 400
                    self._next(connection)
        except OSError:
            self.broken += 1
            self._end(connection)

    def _next(self, connection: _Connection) -> None:
        head = next(self.requests, None) if time.monotonic() < self.deadline else None
        if head is None:
            self._end(connection)
            return
        self.begun += 1
        connection.begin(head, self.body)
        if not connection.send():
            both = selectors.EVENT_READ | selectors.EVENT_WRITE
            self.selector.modify(connection.socket, both, connection)

    def _end(self, connection: _Connection) -> None:
        self.selector.unregister(connection.socket)
        connection.socket.close()
        self.busy -= 1

    def _close(self) -> None:
        for key in list(self.selector.get_map().values()):
            self._end(key.data)
        self.selector.close()

    def _told(self, seconds: float) -> dict:
        ordered = sorted(self.latencies) or [0.0]
        return {
            "seconds": seconds, "answers": len(self.latencies), "bytes": self.bytes,
            "p50_ms": statistics.median(ordered) * 1000,
            "p99_ms": ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)] * 1000,
            "last": self.begun, "refused": self.refused, "connect": 0, "read": self.broken, "write": 0,
            "timeout": self.timeouts,
        }
