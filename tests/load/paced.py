"""Load at a fixed rate, for latency: each request has a time at which it is due, whatever the server does.

wrk cannot do this. It sends a connection's next request when the last one was answered, so a server that
stalls is asked less often just then, and the stall counts once instead of once for each request that
should have come (coordinated omission); a Lua `delay()` only spaces such requests out. Here latency runs
from the moment at which a request was *due*, waiting for a free connection included.

Plain sockets and epoll in one Python thread sustain some 15,000 requests a second, more than half of
what one bare worker serves. The client sleeps between requests instead of spinning: with two processors,
a spinning client takes one of them from the server, and the tail that it then measures is its own
(p99 of the bare app: 5 to 8 ms spinning, 3 ms sleeping).
"""

import ctypes
import gc
import select
import socket
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType

from tests.load.measure import HarnessError, steal_ticks

_PR_SET_TIMERSLACK = 29
_libc = ctypes.CDLL(None)


@dataclass(frozen=True)
class Slice:
    """What one stretch of paced load saw. Times in milliseconds from when each request was due."""

    requests: int
    sent_per_second: float
    p50_ms: float
    p99_ms: float
    # How late the client sent, where a connection was free: its own share of the latencies.
    client_late_p99_ms: float
    steal_ticks: int
    latencies_ms: list[float]


def quantile(ordered: list[float], share: float) -> float:
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]


class PacedClient:
    """Keep-alive connections to one server, all with the same request and an answer of known length."""

    def __init__(
        self, port: int, path: str, headers: Mapping[str, str], *, body_bytes: int, connections: int
    ) -> None:
        lines = [f"GET {path} HTTP/1.1", f"Host: 127.0.0.1:{port}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        self._request = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
        self._body_bytes = body_bytes
        self._epoll = select.epoll()
        self._sockets: dict[int, socket.socket] = {}
        # Linux rounds sleeps up by 50 µs unless asked not to; a request is due each 100 µs or so.
        _libc.prctl(_PR_SET_TIMERSLACK, 1_000, 0, 0, 0)
        for _ in range(connections):
            connection = socket.create_connection(("127.0.0.1", port), timeout=10)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.setblocking(False)
            self._sockets[connection.fileno()] = connection
            self._epoll.register(connection.fileno(), select.EPOLLIN)

    def __enter__(self) -> "PacedClient":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._epoll.close()
        for connection in self._sockets.values():
            connection.close()

    def run(self, rate: float, seconds: float) -> Slice:
        """Send `rate` requests a second for `seconds`, and wait at most twice that long for the answers.

        Raises HarnessError for an answer that is not a 200 of the known length, and for a server so far
        behind that answers are still missing: connections are then no longer in step.
        """
        sockets, request, epoll, clock = self._sockets, self._request, self._epoll, time.perf_counter
        count, interval = max(1, int(rate * seconds)), 1 / rate
        idle = deque(sockets)
        due_at: dict[int, float] = {}
        missing = dict.fromkeys(sockets, 0)
        latencies: list[float] = []
        client_late: list[float] = []
        sent, last_sent = 0, 0.0
        connection_free_since = 0.0
        steal_before = steal_ticks()
        collecting = gc.isenabled()
        gc.disable()  # A collection would stall the client for milliseconds, and look like the server.
        start = clock() + 0.005
        give_up = start + seconds * 3 + 1
        try:
            while len(latencies) < count:
                now = clock()
                if now > give_up:
                    raise HarnessError(f"{count - len(latencies)} of {count} paced requests had no answer")
                while sent < count and idle and (due := start + sent * interval) <= now:
                    number = idle.popleft()
                    sockets[number].send(request)
                    due_at[number] = due
                    client_late.append(now - max(due, connection_free_since))
                    sent += 1
                    last_sent = now
                pause = start + sent * interval - clock() if sent < count and idle else 0.01
                if pause > 20e-6:  # Below that, going to sleep takes longer than the sleep.
                    # select, because epoll's own timeout counts whole milliseconds.
                    select.select([epoll], [], [], pause)
                for number, _ in epoll.poll(0):
                    data = sockets[number].recv(262_144)
                    left = missing[number] - len(data) if missing[number] else self._left(data)
                    missing[number] = left
                    if left == 0:
                        if not idle:
                            connection_free_since = clock()
                        latencies.append(clock() - due_at[number])
                        idle.append(number)
                    elif left < 0:
                        raise HarnessError(f"an answer was {-left} bytes longer than the known body")
        finally:
            if collecting:
                gc.enable()
        ordered = sorted(latency * 1e3 for latency in latencies)
        return Slice(
            requests=count,
            sent_per_second=count / (last_sent - start + interval),
            p50_ms=quantile(ordered, 0.5),
            p99_ms=quantile(ordered, 0.99),
            client_late_p99_ms=quantile(sorted(client_late), 0.99) * 1e3,
            steal_ticks=steal_ticks() - steal_before,
            latencies_ms=ordered,
        )

    def _left(self, data: bytes) -> int:
        """How many bytes of an answer are still to come after its first ones."""
        head_ends = data.find(b"\r\n\r\n")
        if not data.startswith(b"HTTP/1.1 200 ") or head_ends < 0:
            raise HarnessError(f"paced load was answered with {data[:200]!r}")
        return head_ends + 4 + self._body_bytes - len(data)
